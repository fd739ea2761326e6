"""TorchServe as its documentation teaches it: eager PyTorch, default settings and logging. What differs: loopback, no tokens, one worker.

The default is a worker for every processor. Each of them has as many threads of PyTorch's again, which fight over the cores: about
half as many images a second. What is compared with should be as good as its users can easily make it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from benchmarks.load import Load
from benchmarks.load import run as send
from benchmarks.peers.process import Peer, process, wait
from benchmarks.server import ROOT
from export.archive import pack
from serving.config import free_ports
from serving.torchserve import java_command
from serving.warm import CONNECTIONS, REQUESTS
from training import checkpoint

DELAY_MS = 20  # maxBatchDelay as users set it


@contextmanager
def stock(model: str, batch: int) -> Iterator[Peer]:
    """Batches of `batch` that form within 20 ms; the model is the checkpoint of that name. Its JVM is warm."""
    with tempfile.TemporaryDirectory(prefix="st-", dir="/tmp") as name:  # unix sockets have short paths
        folder = Path(name)
        _archive(folder, model, batch)
        inference, management, metrics, grpc_a, grpc_b = free_ports(5)
        settings = folder / "config.properties"
        settings.write_text(
            f"inference_address=http://127.0.0.1:{inference}\nmanagement_address=http://127.0.0.1:{management}\n"
            f"metrics_address=http://127.0.0.1:{metrics}\ngrpc_inference_port={grpc_a}\ngrpc_management_port={grpc_b}\n"
            f"disable_token_authorization=true\nmodel_store={folder}\nload_models=stock.mar\n"
        )
        # What its `torchserve` command adds where TEMP is set. Two TorchServes in one temporary folder take each other's sockets.
        command = java_command([f"-Djava.io.tmpdir={folder}"], settings, folder, folder)
        environment = {"TMPDIR": name, "TEMP": name, "LOG_LOCATION": name, "METRICS_LOCATION": name}
        with tempfile.TemporaryFile() as log, process(command, environment, folder, log) as running:
            address = f"http://127.0.0.1:{inference}"
            peer = Peer(f"stock TorchServe b{batch}", address, "/predictions/stock", pid=running.pid)
            wait(peer, running, log)
            # The front end's code is compiled after some 20,000 requests; /ping is as cheap as the pings that warm ours.
            send(Load(address, "/ping", "", 8.0, 0.0, CONNECTIONS, requests=REQUESTS, method="GET"))
            yield peer


def _archive(folder: Path, model: str, batch: int) -> None:
    """folder/stock.mar: network definition, weights as safetensors, handler."""
    source = checkpoint.directory(model)
    meta = checkpoint.read(source)
    weights = next(source / name for name in meta.files if name.startswith("model-"))
    sizes = folder / "model.json"
    sizes.write_text(json.dumps(dict(meta.model)))
    config = folder / "model-config.yaml"
    config.write_text(yaml.safe_dump({"minWorkers": 1, "maxWorkers": 1, "batchSize": batch, "maxBatchDelay": DELAY_MS}))
    pack(
        folder,
        model_name="stock",
        version="1.0",
        model_file=str(ROOT / "training/models/dcgan.py"),
        serialized_file=str(weights),
        handler=str(ROOT / "benchmarks/peers/stock_handler.py"),
        extra_files=str(sizes),
        config_file=str(config),
    )
