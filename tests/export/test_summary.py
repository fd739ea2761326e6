"""The report's first line says in words what is fastest on a machine, and why where that is FP32."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from export.budget import OUT_OF_TIME
from export.eager import NAME
from export.report_rows import OTHERWISE, rows_of
from export.summary import first_line, paragraph
from handlers.certificate import BatchSpeed, Device, FailedVariant, JudgedCandidate, Policy, Verdict
from handlers.manifest import Precision

POLICY = Policy(1.15, 8, {"psnr_db": 42.0})


def speeds(speedup: float) -> tuple[BatchSpeed, ...]:
    return tuple(BatchSpeed(batch, 1.0, 1.1, 1000.0, 9, speedup) for batch in (1, 8))


def entry(
    verdict: Verdict, speedup: float, psnr: float | None = 50.0, invariant: bool = True, reason: str = ""
) -> JudgedCandidate:
    quality = None if psnr is None else {"psnr_db": psnr}
    return JudgedCandidate(verdict, reason, quality, None if psnr is None else invariant, 1.0, 1.0, speeds(speedup))


def told(
    served: str,
    eager: float | None,
    precision: Precision = "f32",
    final: str = "",
    variants: dict[str, Any] | None = None,
    **entries: JudgedCandidate,
) -> tuple[str, str, Device]:
    """First line, paragraph and device of a class `avx2` whose first choice is the plan `served`."""
    candidates = {name.replace("__", "-"): found for name, found in entries.items()}
    device = Device({}, True, "today", candidates, () if eager is None else speeds(eager), final)
    variant, runtime = served.split("-")[:2]
    verdict = candidates[served].verdict
    candidate = SimpleNamespace(variant=variant, runtime=runtime, precision=precision, verdict=verdict)
    manifest: Any = SimpleNamespace(choice={"avx2": ({"generator": "id"},)}, candidate=lambda _: candidate)
    certificate: Any = SimpleNamespace(devices={"avx2": device}, policy=POLICY, variants=variants or {})
    return first_line(manifest, certificate, "avx2"), paragraph(manifest, certificate, "avx2"), device


REFERENCE = entry("reference", 1.0, 99.0)


def test_int8_is_told_in_times_of_pytorch() -> None:
    line, _, _ = told(
        "int8_static-openvino", 0.5, fp32__onnxruntime=REFERENCE, int8_static__openvino=entry("passed", 2.7)
    )
    assert line == f"On this processor (avx2) INT8 in OpenVINO is 5.4 times as fast as {NAME}."
    line, _, _ = told(
        "int8_static-openvino", None, fp32__onnxruntime=REFERENCE, int8_static__openvino=entry("passed", 2.7)
    )
    assert line == "On this processor (avx2) INT8 in OpenVINO is 2.7 times as fast as the FP32 reference."


def test_bf16_is_no_fp32() -> None:
    names: dict[str, Any] = {"fp32__onnxruntime": REFERENCE, "fp32__openvino__bf16": entry("passed", 2.0)}
    line, _, _ = told("fp32-openvino-bf16", 0.5, "bf16", "", **names)
    assert line.startswith("On this processor (avx2) BF16 in OpenVINO is 4.0 times as fast as")


@pytest.mark.parametrize(
    ("int8", "because"),
    [
        (
            entry("rejected", 0.82, None),
            "INT8 gains nothing: the fastest form of it (int8_static-openvino) has 0.82 of",
        ),
        (
            entry("rejected", 1.4, 38.0),
            "INT8 (int8_static-openvino), 1.40 times as fast, is outside the quality budget",
        ),
        (entry("rejected", 1.4, 50.0, False), "1.40 times as fast, gives a row other bits in another batch"),
        (
            entry("rejected", 1.2, reason="undecided whether"),
            "FP32 is kept, because INT8 (int8_static-openvino), 1.20 times as fast, owes that to noise",
        ),
        (entry("rejected", 1.1), "is not 1.15 times as fast as the reference, which is wanted for another format"),
    ],
)
def test_fp32_comes_with_its_reason(int8: JudgedCandidate, because: str) -> None:
    line, _, _ = told("fp32-onnxruntime", 0.8, fp32__onnxruntime=REFERENCE, int8_static__openvino=int8)
    assert line.startswith(f"On this processor (avx2) FP32 in ONNX Runtime is served, 1.2 times {NAME}: FP32 is ")
    assert because in line


def test_without_an_int8_form_that_is_said() -> None:
    line, _, _ = told("fp32-onnxruntime", None, fp32__onnxruntime=REFERENCE)
    assert line.endswith(" FP32 in ONNX Runtime is served: FP32 is kept, because no INT8 form of it was measured.")


def test_the_paragraph_says_what_was_tried_and_what_stayed_undecided() -> None:
    _, text, _ = told(
        "int8_static-openvino",
        0.5,
        final="side by side in 5 rounds",
        fp32__onnxruntime=REFERENCE,
        int8_static__openvino=entry("passed", 2.7),
        int8_rewritten__onnxruntime=entry("rejected", 1.15, reason="undecided whether it is"),
    )
    assert text.startswith("3 candidates were tried: 1 passed, 1 were rejected, 0 failed; ")
    assert "inside the quality budget (psnr_db at least 42)" in text
    assert "What is served has psnr_db 50 against PyTorch." in text
    assert "The fastest were timed among each other: side by side in 5 rounds." in text
    assert text.endswith("Undecided on this machine, so not served: int8_rewritten-onnxruntime.")


def test_the_paragraph_begins_with_what_was_left_out_for_want_of_time() -> None:
    late = JudgedCandidate("rejected", OUT_OF_TIME.format("measured"), None, None, None, None, ())
    variants = {
        "fp32": {},
        "int8_dynamic": FailedVariant(OUT_OF_TIME.format("made")),
        "fp16": FailedVariant("no kernel"),
    }
    line, text, device = told(
        "fp32-onnxruntime", 0.5, variants=variants, fp32__onnxruntime=REFERENCE, int8_static__openvino=late
    )
    assert text.startswith(
        "The build's time was used up before all was tried, so something faster may be missing; left out: "
        "the form int8_dynamic, int8_static-openvino. The same command with more --minutes goes on with them. "
        "1 candidates were tried: 0 passed, 0 were rejected, 0 failed; "
    )
    assert line.endswith("because no INT8 form of it was measured.")
    assert [row.figures for row in rows_of(device) if row.candidate == "int8_static-openvino"] == [None]
    _, text, _ = told("fp32-onnxruntime", 0.5, variants={"fp16": variants["fp16"]}, fp32__onnxruntime=REFERENCE)
    assert text.startswith("1 candidates were tried")


def test_the_table_begins_with_pytorch_eager() -> None:
    _, _, device = told(
        "fp32-onnxruntime", 0.5, fp32__onnxruntime=REFERENCE, int8_static__openvino=entry("rejected", 0.75, None)
    )
    rows = rows_of(device)
    assert [(row.candidate, row.of_eager) for row in rows[:3]] == [(NAME, 1.0), (NAME, 1.0), ("fp32-onnxruntime", 2.0)]
    assert rows[0].verdict == OTHERWISE
    assert [row.of_eager for row in rows if row.candidate == "int8_static-openvino"] == [1.5, 1.5]
    assert rows_of(Device({}, True, "", {"fp32-onnxruntime": REFERENCE}))[0].of_eager is None  # an older certificate
