"""Text from text: right facts, speed of INT8, tokens through the server, of the bare engine and of stock TorchServe.

Facts: the demo's summarizer, trained if it is absent, summarizes reports it never learned; its certified engine,
greedily. Speed: the same network at paper size (any weights: texts are as long as is asked for), 32 closed-loop clients
with streams, mixed lengths, against the same requests in one process. Invariance: answers of the server alone and in
company, byte for byte.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks import page
from benchmarks.bare_engine import BareEngine
from benchmarks.blocks import WARM_SECONDS, Bench
from benchmarks.export import ensure
from benchmarks.load import CHOICE, SEED, Load, send
from benchmarks.peers import launch
from benchmarks.peers.process import Peer
from benchmarks.peers.stock import stock_text
from benchmarks.steps import SETTLE_SECONDS, under_load
from export.archive import archive
from handlers.bundle import Bundle
from handlers.engine.choice import open_model
from handlers.generator import Request
from handlers.limits import SourceLimits
from handlers.runtimes.device import machine
from handlers.runtimes.session import Session, open_session
from training.data import Pair, reports
from training.rouge import rouge

DEMO, SPEED = "summarizer", "bench-summarizer"
DEMO_RECIPE = ["summarizer", "--name", DEMO, "--preset", "demo"]
SPEED_RECIPE = ["summarizer", "--name", SPEED, "--preset", "paper", "--world-size", "2000", "--steps", "1"]
ROLE = "decoder_step"
STREAMS = 32
LENGTHS = (8, 16, 32, 64)  # tokens of the texts, each as often as the others
FRESH = 200  # reports that are summarized, of a seed that no training draws
FRESH_SEED = 7
BATCHES = (1, 8, 32)


def run(quick: bool) -> dict[str, Any]:
    """All figures; trains and builds what is absent."""
    demo, speed = ensure(DEMO, DEMO_RECIPE, quick), ensure(SPEED, SPEED_RECIPE, quick)
    bench = Bench(quick)
    pairs = [reports.report(FRESH_SEED, index) for index in range(FRESH)]
    written = summaries(demo, pairs)
    figures = facts(pairs, written)
    figures["token_agreement"] = served_quality(demo)["greedy_agreement"]
    figures["perplexity_kept"] = served_quality(demo)["perplexity_kept"]
    speedups = step_speedups(speed, 0.5 if quick else 2.0)
    figures["int8_speedup_step"] = speedups["1"]["speedup"]
    figures["int8_step_ms"] = {batch: of["int8_ms"] for batch, of in speedups.items()}
    figures["int8_speedups_step"] = {batch: of["speedup"] for batch, of in speedups.items()}
    figures |= through_the_server(bench, speed)
    figures["spreads"] = bench.spreads
    print(f"report: {report(figures, pairs[:6], written)}")
    return figures


def facts(pairs: Sequence[Pair], written: Sequence[str]) -> dict[str, Any]:
    """Shares of right facts and right summaries, and ROUGE-L, of the texts written for reports."""
    checks = [reports.check(pair.source[0], text) for pair, text in zip(pairs, written, strict=True)]
    return {
        "fact_accuracy": round(sum(c.right for c in checks) / sum(c.facts for c in checks), 4),
        "summaries_right": round(sum(c.problem is None for c in checks) / len(checks), 4),
        "rouge_l": rouge([pair.target for pair in pairs], written)["rouge_l"],
        "rouge_l_lead": rouge([pair.target for pair in pairs], [lead(pair.source[0]) for pair in pairs])["rouge_l"],
    }


def lead(document: str) -> str:
    """The first sentence: what a summary must be better than."""
    return document.partition(". ")[0] + "."


def summaries(bundle: Bundle, pairs: Sequence[Pair]) -> list[str]:
    """Greedy texts of the served engine, as many at once as it takes."""
    generator, texts = open_model(bundle).generator, list[str]()
    for at in range(0, len(pairs), generator.capacity):
        asked = [{"text": pair.source[0], "truncate": True, "seed": 0} for pair in pairs[at : at + generator.capacity]]
        slots = generator.start([generator.parse(Request(params)) for params in asked])
        while live := [slot for slot in slots if slot.finished is None]:
            generator.step(live)
        texts += [json.loads(generator.drain(slot))["choices"][0]["text"] for slot in slots]
    return texts


def served_quality(bundle: Bundle) -> dict[str, int | float]:
    """The certificate's quality of the row-wise INT8 form, whether or not it is the one that is served."""
    entry = bundle.certificate.devices[machine().cpu].candidates["int8_rowwise-onnxruntime"]
    if entry.quality is None:
        raise ValueError(f"row-wise INT8 of {bundle.manifest.name} has no figures of quality: {entry.reason}")
    return entry.quality


def step_speedups(bundle: Bundle, seconds: float) -> dict[str, dict[str, float]]:
    """FP32 over row-wise INT8, one step of the decoder in ONNX Runtime with one thread, in alternating blocks."""
    import numpy as np

    spec = bundle.manifest.graphs[ROLE]
    sessions = {
        variant: open_session("onnxruntime", bundle.read_file(f"{ROLE}-{variant}"), spec, 1)
        for variant in ("fp32", "int8_rowwise")
    }
    found = {}
    for batch in BATCHES:
        sizes: dict[str, int] = {"batch": batch, "source": bundle.model().limits_as(SourceLimits).source_multiple}
        inputs = {
            tensor.name: np.zeros(
                [sizes[size] if isinstance(size, str) else size for size in tensor.shape], tensor.dtype
            )
            for tensor in spec.inputs
        }
        inputs["lengths"] += sizes["source"]
        times: dict[str, list[float]] = {variant: [] for variant in sessions}
        for _ in range(5):
            for variant, session in sessions.items():
                times[variant].append(median_ms(session, inputs, seconds / 5))
        ratios = [a / b for a, b in zip(*times.values(), strict=True)]
        found[str(batch)] = {
            "speedup": round(statistics.median(ratios), 2),
            "int8_ms": round(statistics.median(times["int8_rowwise"]), 3),
        }
    return found


def median_ms(session: Session, inputs: Mapping[str, Any], seconds: float) -> float:
    """Median milliseconds of a run, over at least that long."""
    times, until = list[float](), time.perf_counter() + seconds
    while (began := time.perf_counter()) < until or len(times) < 3:
        session.run(inputs)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


def through_the_server(bench: Bench, bundle: Bundle) -> dict[str, Any]:
    """Tokens a second of the server, of the engine alone, and of stock TorchServe; invariance of answers."""
    example = {"text": bundle.manifest.example["text"]}
    asks = [{**example, "min_tokens": length, "max_tokens": length} for length in LENGTHS]
    engines, fractions, ratios, first, rates = [], [], [], [], []
    with (
        tempfile.TemporaryDirectory() as folder,
        launch.ours(archive(SPEED, Path(folder))) as ours,
        BareEngine(bundle.directory, asks) as bare,
        stock_text(SPEED, example) as stock,
    ):
        invariant = equal_in_company(ours, asks)
        for number in range(bench.pairs):
            engines.append(bare.block(STREAMS, bench.seconds)[0])
            load = closed_load(ours, asks, bench.seconds + 2 * SETTLE_SECONDS, number, stream=True)
            result, tokens_per_s = under_load(ours, load, bench.seconds)
            rates.append(tokens_per_s)
            fractions.append(tokens_per_s / engines[-1])
            first.append(result.first_byte_p50_ms)
            other = send(closed_load(stock, asks, 2 * bench.seconds, number, stream=False))
            ratios.append(tokens_per_s / (other.good_per_s * statistics.mean(LENGTHS)))
    return {
        "tokens_fraction_of_engine": bench.note("tokens_fraction_of_engine", fractions, 3),
        "ratio_vs_stock": bench.note("ratio_vs_stock", ratios, 1),
        "first_chunk_p50_ms": bench.note("first_chunk_p50_ms", first, 1),
        "tokens_per_s": round(statistics.median(rates)),
        "engine_tokens_per_s": round(statistics.median(engines)),
        "batch_invariant": invariant,
    }


def closed_load(peer: Peer, asks: Sequence[Mapping[str, Any]], seconds: float, number: int, stream: bool) -> Load:
    """A closed loop of `STREAMS` clients that ask for `asks` in turn."""
    choices = [json.dumps({**ask, **({"stream": True} if stream else {})})[1:-1] for ask in asks]
    body = f'{{"seed": {SEED}, {CHOICE}}}'
    warm = SETTLE_SECONDS if stream else WARM_SECONDS
    return Load(
        peer.address, peer.path, body, seconds, warm, STREAMS, first_seed=1 + number * 1_000_000, choices=choices
    )


def equal_in_company(ours: Peer, asks: Sequence[Mapping[str, Any]]) -> bool:
    """Whether drawn texts are the same bytes when each is asked for alone and when all are asked for together."""
    assert ours.server is not None
    model = ours.path.rpartition("/")[2]
    server = ours.server
    requests = [{**ask, "temperature": 1.0, "seed": seed} for seed, ask in enumerate([*asks] * 8)]

    def ask(params: Mapping[str, Any]) -> bytes:
        return server.post(params, model).body

    alone = [ask(params) for params in requests]
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(ask, requests)) == alone


def report(figures: Mapping[str, Any], pairs: Sequence[Pair], written: Sequence[str]) -> Path:
    """The page."""
    rates = {"server": figures["tokens_per_s"], "engine alone": figures["engine_tokens_per_s"]}
    rates["stock TorchServe"] = round(figures["tokens_per_s"] / figures["ratio_vs_stock"])
    shown: list[Sequence[Any]] = [("report", "wanted", "written")]
    shown += [(pair.source[0], pair.target, text) for pair, text in zip(pairs, written, strict=False)]
    steps: list[Sequence[Any]] = [("texts in a step", "row-wise INT8, ms", "times FP32")]
    steps += [(b, figures["int8_step_ms"][b], figures["int8_speedups_step"][b]) for b in figures["int8_step_ms"]]
    lengths = f"{STREAMS} streams, texts of {', '.join(map(str, LENGTHS))} tokens, each as often."
    return page.write(
        "text",
        figures,
        [
            page.Section("Tokens", lengths, page.bars(rates, "tokens a second")),
            page.Section(
                "A step of the decoder", "Paper size, one thread, sources of one step of padding.", rows=steps
            ),
            page.Section("Summaries", "Of reports that were never learned.", rows=shown),
        ],
    )
