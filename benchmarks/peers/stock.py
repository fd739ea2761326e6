"""TorchServe as its documentation teaches it: eager PyTorch, default settings and logging.

It differs in three settings: loopback, no tokens, one worker.

The default is a worker for every processor. Each of them has as many threads of PyTorch's again, which fight over the
cores: about half as many images a second. A peer should be as good as its users can easily make it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.load import Load, send
from benchmarks.peers.process import Peer, process, wait
from benchmarks.server import ROOT
from export.archive import pack
from serving.config import free_ports
from serving.jvm import java_command
from serving.warm import CONNECTIONS, REQUESTS
from training import checkpoint

DELAY_MS = 20  # maxBatchDelay as users set it
IMAGE = (b'{"seed": 1}', b"\x89PNG")


@contextmanager
def stock(model: str, batch: int) -> Iterator[Peer]:
    """Images in batches of `batch` that form within 20 ms; `model` is the name of a checkpoint. Its JVM is warm."""
    with _folder() as name:
        folder = Path(name)
        source = checkpoint.directory(model)
        meta = checkpoint.read(source)
        sizes = folder / "model.json"
        sizes.write_text(json.dumps(dict(meta.model)))
        weights = next(source / name for name in meta.files if name.startswith("model-"))
        network = {"model_file": str(ROOT / "training/models/dcgan.py"), "serialized_file": str(weights)}
        _archive(folder, batch, "stock_handler.py", sizes, **network)
        # The network definition imports from the project, as that of texts does.
        with _serving(folder, f"stock TorchServe b{batch}", {"PYTHONPATH": str(ROOT)}, *IMAGE) as peer:
            yield peer


@contextmanager
def stock_audio(model: str, batch: int) -> Iterator[Peer]:
    """Sounds in batches of `batch` that form within 20 ms; `model` is the name of a checkpoint. Its JVM is warm."""
    with _folder() as name:
        folder = Path(name)
        settings = folder / "model.json"
        settings.write_text(json.dumps({"checkpoint": str(checkpoint.directory(model).resolve())}))
        _archive(folder, batch, "stock_audio_handler.py", settings)
        with _serving(folder, f"stock TorchServe b{batch}", {"PYTHONPATH": str(ROOT)}, b'{"seed": 1}', b"RIFF") as peer:
            yield peer


@contextmanager
def stock_text(model: str, example: Mapping[str, Any]) -> Iterator[Peer]:
    """Texts, one request after the other; the network definition is imported from the project. Its JVM is warm."""
    with _folder() as name:
        folder = Path(name)
        settings = folder / "model.json"
        settings.write_text(json.dumps({"checkpoint": str(checkpoint.directory(model).resolve())}))
        _archive(folder, 1, "stock_text_handler.py", settings)
        body = json.dumps({**example, "max_tokens": 1}).encode()
        with _serving(folder, "stock TorchServe", {"PYTHONPATH": str(ROOT)}, body, b"{") as peer:
            yield peer


def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="st-", dir="/tmp")  # unix sockets have short paths


@contextmanager
def _serving(folder: Path, peer_name: str, more: Mapping[str, str], body: bytes, wanted: bytes) -> Iterator[Peer]:
    name = str(folder)
    inference, management, metrics, grpc_a, grpc_b = free_ports(5)
    settings = folder / "config.properties"
    settings.write_text(
        f"inference_address=http://127.0.0.1:{inference}\nmanagement_address=http://127.0.0.1:{management}\n"
        f"metrics_address=http://127.0.0.1:{metrics}\ngrpc_inference_port={grpc_a}\ngrpc_management_port={grpc_b}\n"
        f"disable_token_authorization=true\nmodel_store={folder}\nload_models=stock.mar\n"
    )
    # The `torchserve` command adds this where TEMP is set. Two TorchServes in one temporary folder take each other's
    # sockets.
    command = java_command([f"-Djava.io.tmpdir={folder}"], settings, folder, folder)
    environment = {"TMPDIR": name, "TEMP": name, "LOG_LOCATION": name, "METRICS_LOCATION": name, **more}
    with tempfile.TemporaryFile() as log, process(command, environment, folder, log) as running:
        address = f"http://127.0.0.1:{inference}"
        peer = Peer(peer_name, address, "/predictions/stock", pid=running.pid)
        wait(peer, running, log, body, wanted)
        # The front end's code is compiled after some 20,000 requests; /ping is as cheap as the pings that warm ours.
        send(Load(address, "/ping", "", 8.0, 0.0, CONNECTIONS, requests=REQUESTS, method="GET"))
        yield peer


def _archive(folder: Path, batch: int, handler: str, extra: Path, **network: str) -> None:
    """folder/stock.mar."""
    config = folder / "model-config.yaml"
    config.write_text(yaml.safe_dump({"minWorkers": 1, "maxWorkers": 1, "batchSize": batch, "maxBatchDelay": DELAY_MS}))
    pack(
        folder,
        model_name="stock",
        version="1.0",
        handler=str(ROOT / "benchmarks/peers" / handler),
        extra_files=str(extra),
        config_file=str(config),
        **network,
    )
