"""The text benchmark: its requests, its bare engine, and that the stock handler writes the model's own text."""

from __future__ import annotations

import importlib
import itertools
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from benchmarks import load
from benchmarks.bare_engine import _step_block, _Tokens
from benchmarks.peers.process import Peer
from benchmarks.text import LENGTHS, STREAMS, closed_load, lead, median_ms, summaries
from handlers.engine.choice import open_engine
from tests.conftest import Tiny
from training.data import Pair

ASKS = [{"text": "a \u2013 b", "min_tokens": length, "max_tokens": length} for length in LENGTHS]


def test_clients_ask_for_mixed_lengths_each_with_a_seed() -> None:
    wanted = closed_load(Peer("x", "http://127.0.0.1:1", "/predictions/x"), ASKS, 3.0, number=2, stream=True)
    requests = [request.partition(b"\r\n\r\n") for request in itertools.islice(load._requests(wanted), 8)]
    bodies = [json.loads(body) for _, _, body in requests]
    assert [body["max_tokens"] for body in bodies] == [LENGTHS[(2_000_001 + i) % 4] for i in range(8)]
    assert len({body["seed"] for body in bodies}) == 8
    assert all(body["stream"] and body["text"] == "a \u2013 b" for body in bodies)
    assert all(f"Content-Length: {len(body)}".encode() in head for head, _, body in requests)
    assert wanted.clients == STREAMS


def test_the_lead_is_the_first_sentence() -> None:
    assert lead("It rained. Nobody came.") == "It rained."


def test_the_engine_alone_is_asked_for_the_same(tiny_summary: Tiny) -> None:
    generator = open_engine(tiny_summary.bundle).generator
    text = tiny_summary.bundle.manifest.example["text"]
    asks = [{"text": text, "min_tokens": n, "max_tokens": n} for n in (2, 4)]
    tokens_per_s, p50_ms = _step_block(asks, _Tokens(generator), generator, 4, 0.2)
    assert tokens_per_s > 0
    assert p50_ms > 0
    assert generator.free == generator.capacity


def test_stock_torchserve_would_write_what_the_engine_writes(
    tiny_summary: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are greedy: what is compared is the way, not the text."""
    # TorchServe's own package leaves a file open when it is imported; of its base class the handler uses nothing.
    base = ModuleType("ts.torch_handler.base_handler")
    base.BaseHandler = object  # type: ignore[attr-defined]
    for module in (ModuleType("ts"), ModuleType("ts.torch_handler"), base):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    handler = importlib.import_module("benchmarks.peers.stock_text_handler").StockTextHandler()
    checkpoint = tiny_summary.folder / "artifacts/checkpoints/summary"
    (tmp_path / "model.json").write_text(json.dumps({"checkpoint": str(checkpoint)}))
    handler.initialize(SimpleNamespace(system_properties={"model_dir": str(tmp_path)}))
    document = tiny_summary.bundle.manifest.example["text"]
    for least in (0, 6):
        body = json.dumps({"text": document, "min_tokens": least, "max_tokens": 12}).encode()
        (answer,) = handler.postprocess(handler.inference(handler.preprocess([{"body": bytearray(body)}])))
        assert least <= answer["tokens"] <= 12
    (whole,) = summaries(tiny_summary.bundle, [Pair((document,), "")])
    body = json.dumps({"text": document, "max_tokens": 16}).encode()
    (answer,) = handler.postprocess(handler.inference(handler.preprocess([{"body": body}])))
    assert answer["text"] == whole.strip()


def test_times_are_medians_of_at_least_three_runs() -> None:
    runs: list[int] = []
    session: Any = SimpleNamespace(run=lambda _: runs.append(1))
    assert median_ms(session, {}, 0.0) >= 0
    assert len(runs) >= 3


@pytest.mark.parametrize("text", ["", "no sentence at all"])
def test_a_lead_of_what_has_no_sentence(text: str) -> None:
    assert lead(text) == f"{text}."
