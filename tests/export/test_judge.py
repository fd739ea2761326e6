"""The policy: inside the budget, batch-invariant and faster, or not served. Notes survive an interruption."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from export.budget import start
from export.judge import MIN_SPEEDUP, SERVING_BATCH, Assessment, Judged, verdict
from export.make_variants import make_variants
from export.measure import MIN_RUNS, Contestant, Inputs, MeasureError, Run
from export.notebook import Notebook, open_notebook
from export.options import Options
from export.plans import REFERENCE, Plan
from export.quality import image_quality, margin
from export.results import recall_or_judge
from export.speed import Effort, Measured, compare_speed
from export.variants import Variant
from handlers.certificate import BatchSpeed
from handlers.runtimes.device import Machine

BUDGET = {"psnr_db": 42.0, "psnr_db_worst": 40.0}
FAST = Plan("int8_static", "openvino")


def assessment(speedup: float = 3.0, psnr: float = 45.0, invariant: bool = True, plan: Plan = FAST) -> Assessment:
    measured = Measured((BatchSpeed(SERVING_BATCH, 2.0, 2.5, 4000.0, 50, speedup),), 12.0, 30.0)
    return Assessment(plan, {"psnr_db": psnr, "psnr_db_worst": psnr - 1}, invariant, measured, ("a",), "engine")


@pytest.mark.parametrize(
    ("found", "word", "reason"),
    [
        (assessment(), "passed", "3.00 times the reference's speed at batch 8; psnr_db 45, psnr_db_worst 44"),
        (assessment(speedup=1.15), "passed", "1.15 times"),
        (assessment(speedup=1.14), "rejected", f"not {MIN_SPEEDUP} times as fast"),
        (assessment(psnr=41.9), "rejected", "outside the budget (psnr_db at least 42, psnr_db_worst at least 40)"),
        (assessment(psnr=float("nan")), "rejected", "outside the budget"),
        (assessment(speedup=float("nan")), "rejected", "not 1.15 times as fast"),
        (assessment(invariant=False), "rejected", "a row's bits depend on the batch it is in"),
        (assessment(plan=REFERENCE, speedup=1.0), "reference", "FP32: 2.00 ms at batch 8"),
    ],
)
def test_verdicts(found: Assessment, word: str, reason: str) -> None:
    assert verdict(found, BUDGET)[0] == word
    assert reason in verdict(found, BUDGET)[1]


def test_undecided_is_no_second_reason() -> None:
    speed = BatchSpeed(SERVING_BATCH, 2.0, 2.5, 4000.0, 50, 1.2, 9, (1.0, 1.3))
    for psnr, words in ((45.0, "undecided whether it is 1.15"), (41.0, "psnr_db_worst at least 40)")):
        found = dataclasses.replace(assessment(psnr=psnr), measured=Measured((speed,), 1.0, 1.0))
        word, reason = verdict(found, BUDGET)
        assert word == "rejected" and words in reason
        assert ("undecided" in reason) == (psnr == 45.0)


def test_what_cannot_run_failed_and_says_why() -> None:
    broken = Assessment(FAST, None, None, None, (), "engine", "openvino does not load the graph: no kernel")
    assert verdict(broken, BUDGET) == ("failed", "openvino does not load the graph: no kernel")


class CountingJudge:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def judge(self, plan: Plan) -> Judged:
        self.asked.append(plan.id)
        return Judged.of(assessment(plan=plan), BUDGET)


def test_notes_are_taken_up_where_they_end(tmp_path: Path) -> None:
    judge: Any = CountingJudge()
    build: Any = SimpleNamespace(notebook=Notebook(tmp_path / "notes"), here=Machine("avx2"), budget=start(0))
    first = recall_or_judge(build, judge, FAST)
    again = recall_or_judge(build, judge, FAST)
    assert first == again
    assert (first.verdict, first.speedup) == ("passed", 3.0)
    assert judge.asked == ["int8_static-openvino"]
    (next((tmp_path / "notes").glob("*.json"))).write_text('{"cut')  # a half note is found out again
    assert recall_or_judge(build, judge, FAST) == first
    assert len(judge.asked) == 2


def test_files_are_kept_as_they_are(tmp_path: Path) -> None:
    notebook = Notebook(tmp_path / "notes")
    assert notebook.recall_file("step-fp32.onnx") is None
    notebook.note_file("step-fp32.onnx", b"graph")
    assert notebook.recall_file("step-fp32.onnx") == b"graph"


def test_a_variant_whose_file_is_gone_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.make_variants.make", lambda name, graph, data, *_: Variant(data, {"by": name}))
    monkeypatch.setattr("export.make_variants.check_finite", lambda *_: None)
    kind = SimpleNamespace(graphs={"step": SimpleNamespace(example=lambda count, seed: {})})
    build: Any = SimpleNamespace(
        kind=kind,
        options=Options(("fp32",)),
        fp32={"step": b"graph"},
        runtimes=(),
        notebook=Notebook(tmp_path),
        here=Machine("avx2"),
        budget=start(0),
    )
    wanted: Any = {"fp32": {"step": Variant(b"graph", {"by": "fp32"})}}, {}
    assert make_variants(build) == wanted
    (tmp_path / "step-fp32.onnx").unlink()
    assert make_variants(build) == wanted  # and not an empty graph
    assert (tmp_path / "step-fp32.onnx").read_bytes() == b"graph"
    monkeypatch.setattr("export.make_variants.make", lambda *_: pytest.fail("it was made again, though it is there"))
    assert make_variants(build) == wanted


@pytest.mark.parametrize(
    ("digests", "options", "scored_in", "code"),
    [
        ({"model": "b"}, Options(), "onnxruntime", "1"),
        ({"model": "a"}, Options(quick=True), "onnxruntime", "1"),
        ({"model": "a"}, Options(calibration=64), "onnxruntime", "1"),
        ({"model": "a"}, Options(), "openvino", "1"),
        ({"model": "a"}, Options(), "onnxruntime", "2"),
    ],
)
def test_notes_of_other_inputs_are_not_taken_up(
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    digests: dict[str, str],
    options: Options,
    scored_in: str,
    code: str,
) -> None:
    monkeypatch.setattr("export.notebook._code_digests", lambda: ["1"])
    open_notebook("tiny", {"model": "a"}, Options(), "onnxruntime").note("found", 1)
    assert open_notebook("tiny", {"model": "a"}, Options(), "onnxruntime").recall("found") == 1
    monkeypatch.setattr("export.notebook._code_digests", lambda: [code])
    assert open_notebook("tiny", digests, options, scored_in).recall("found") is None
    assert open_notebook("tiny", {"model": "a"}, Options(), "onnxruntime").recall("found") is None  # it was removed


def test_quality_figures_are_those_of_the_definitions() -> None:
    random = np.random.default_rng(0)
    wanted = random.integers(20, 235, (8, 16, 16, 3), dtype=np.uint8)
    same = image_quality(wanted, wanted)
    best = {"psnr_db": 99.0, "psnr_db_worst": 99.0, "ssim": 1.0, "max_abs": 0.0, "mean_abs": 0.0, "swd_delta": 0.0}
    assert same == best
    shifted = wanted.copy()
    shifted[3] += 10
    figures = image_quality(wanted, shifted)
    assert figures["psnr_db_worst"] == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)
    assert figures["psnr_db"] == pytest.approx((7 * 99 + figures["psnr_db_worst"]) / 8, abs=1e-3)
    assert figures["max_abs"] == 10
    assert figures["mean_abs"] == pytest.approx(10 / 8, abs=1e-3)
    assert figures["ssim"] < 1


def test_margins() -> None:
    assert margin({"psnr_db": 45, "psnr_db_worst": 41}, BUDGET) == 1
    assert margin({"psnr_db": 41, "psnr_db_worst": 41}, BUDGET) == -1
    assert np.isnan(margin({"psnr_db": float("nan"), "psnr_db_worst": 41}, BUDGET))


@dataclasses.dataclass
class Scripted:
    """A contestant that notes when it is asked, and says that every run took `seconds`."""

    name: str
    seconds: float
    asked: list[tuple[str, int, float]]

    def run(self, inputs: Inputs, seconds: float) -> list[float]:
        self.asked.append((self.name, len(inputs), seconds))
        self.seconds *= 2 if seconds else 1  # the machine gets slower and slower, for everybody
        return [self.seconds, self.seconds, self.seconds * 1.5]

    def costs(self) -> tuple[float, float]:
        return 12.0, 30.0


def test_ratios_are_measured_side_by_side() -> None:
    asked: list[tuple[str, int, float]] = []
    slow, quick = Scripted("slow", 0.010, asked), Scripted("quick", 0.002, asked)
    measured = compare_speed(quick, slow, {1: {"z": 0}, 8: {"z": 0, "y": 0}}, Effort(2, 0.05))  # type: ignore[arg-type]
    pair = [("slow", 0.05), ("quick", 0.05)]
    assert asked == [(name, n, s) for n in (1, 2) for name, s in [("slow", 0.0), ("quick", 0.0), *pair, *pair]]
    assert [(speed.batch, speed.speedup, speed.runs) for speed in measured.speeds] == [(1, 5.0, 6), (8, 5.0, 6)]
    first, second = measured.speeds
    assert (first.p50_ms, first.p95_ms, first.items_per_s) == (7.0, 11.0, 142.9)  # of 4, 4, 6 and 8, 8, 12 ms
    assert (second.p50_ms, second.items_per_s) == (28.0, 285.7)
    assert (measured.load_ms, measured.peak_memory_mb) == (12.0, 30.0)


@dataclasses.dataclass(frozen=True)
class Opener:
    """Opener for a child: a run that answers its inputs, or one that fails, or kills its process."""

    problem: str = ""

    def __call__(self) -> Run:
        if self.problem == "open":
            raise ValueError("no such\n  kernel\n")
        if self.problem == "die":
            os._exit(9)
        return dict


@pytest.mark.slow
def test_a_child_runs_what_it_opened() -> None:
    with Contestant("good", Opener()) as good:
        assert good.outputs({"z": 1}) == {"z": 1}
        assert len(good.run({"z": 1}, 0.0)) == MIN_RUNS
        load_ms, peak_mb = good.costs()
    assert load_ms >= 0
    assert peak_mb >= 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("problem", "message"),
    [("open", "bad failed while it was measured: ValueError: no such kernel"), ("die", r"bad died .*exit code 9")],
)
def test_a_child_that_fails_is_named(problem: str, message: str) -> None:
    with pytest.raises(MeasureError, match=message), Contestant("bad", Opener(problem)):
        raise AssertionError("it was opened")
