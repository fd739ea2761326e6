"""Checkpoint to bundle: the certificate holds what was measured; a failure leaves no bundle, or the old one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from export import build as build_module
from export.__main__ import main
from export.build import MIN_SPEEDUP, _verdict
from export.measure import Contestant, MeasureError, Speed, measure
from export.parity import Difference, ParityError
from handlers import bundle as bundles
from handlers.bundle import GraphSpec, TensorSpec
from handlers.device import device_class
from tests.conftest import Tiny

BUNDLE = Path("artifacts/bundles/tiny")


def test_the_certificate_holds_the_measurements(tiny: Tiny) -> None:
    certificate = tiny.bundle.certificate
    assert certificate["environment"]["device_class"] == device_class()
    assert certificate["environment"]["versions"].keys() >= {"torch", "onnxruntime", "numpy"}
    reference = certificate["candidates"]["generator-fp32-onnxruntime"]
    assert reference["verdict"] == "reference"
    assert reference["batch_invariant"] is True
    assert [(d["tensor"], d["tolerance"]) for d in reference["parity"]] == [("pixels", 0.001), ("image", 1)]
    for candidate in certificate["candidates"].values():
        assert all(d["max_abs"] <= d["tolerance"] for d in candidate["parity"])
        assert [speed["batch"] for speed in candidate["speed"]] == [1, 8, 32]
        assert all(0 < speed["p50_ms"] <= speed["p95_ms"] for speed in candidate["speed"])
    golden = certificate["golden"]
    assert len(golden["items"]) == 4
    for digests in golden["sha256"].values():
        assert len(set(digests)) == 4


def test_the_manifest_says_where_it_came_from(tiny: Tiny) -> None:
    source = tiny.bundle.manifest.source
    assert source["step"] == "6"
    assert source["data_name"].startswith("drawn-faces")
    assert source["data_licence"] == "Apache-2.0"
    checkpoint = json.loads((tiny.folder / "artifacts/checkpoints/tiny/checkpoint.json").read_text())
    assert source["checkpoint"] in checkpoint["files"].values()


def speeds(reference_ms: float, other_ms: float) -> dict[str, list[Speed]]:
    return {
        "onnxruntime": [Speed(8, reference_ms, reference_ms, 1, 9)],
        "openvino": [Speed(8, other_ms, other_ms, 1, 9)],
    }


def test_a_candidate_must_be_faster_and_batch_invariant() -> None:
    assert _verdict("g", "onnxruntime", True, speeds(10, 5)).verdict == "reference"
    faster = _verdict("g", "openvino", True, speeds(10, 8))
    assert (faster.verdict, faster.device_class) == ("passed", device_class())
    assert "1.25 times the reference's speed" in faster.reason
    slower = _verdict("g", "openvino", True, speeds(10, 9))
    assert slower.verdict == "rejected"
    assert f"1.11 times the reference's speed at batch 8 (9.00 ms), wanted at least {MIN_SPEEDUP}" in slower.reason
    nosy = _verdict("g", "openvino", False, speeds(10, 1))
    assert (nosy.verdict, nosy.reason) == ("rejected", "a row's bits depend on the batch it is in")


def test_a_passed_candidate_is_the_first_choice(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed: pip install -r requirements/export.txt")
    monkeypatch.setattr(build_module, "measure", lambda *_: speeds(10, 5))
    bundle = build_module.build("tiny", say=lambda _: None)
    assert bundle.manifest.choice == {
        device_class(): ({"generator": "generator-fp32-openvino"}, {"generator": "generator-fp32-onnxruntime"})
    }


def test_a_reference_that_depends_on_the_batch_is_served_row_by_row(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "measure", lambda *_: speeds(10, 10))
    monkeypatch.setattr(build_module, "batch_invariant", lambda *_: False)
    bundle = build_module.build("tiny", say=lambda _: None)
    assert bundle.manifest.limits["max_tile"] == 1


def fail_parity(*_: Any) -> list[Difference]:
    raise ParityError("tensor pixels differs by up to 1 from PyTorch")


def test_failed_parity_leaves_no_bundle(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree("artifacts/bundles")
    monkeypatch.setattr(build_module, "measure", lambda *_: speeds(10, 10))
    monkeypatch.setattr(build_module, "compare", fail_parity)
    assert main(["build", "tiny"]) == 1
    assert "error: tensor pixels differs" in capsys.readouterr().err
    assert not Path("artifacts/bundles").exists()


def test_failed_parity_leaves_an_older_bundle_alone(
    tiny: Tiny, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_module, "measure", lambda *_: speeds(10, 10))
    monkeypatch.setattr(build_module, "compare", fail_parity)
    assert main(["build", "tiny"]) == 1
    assert bundles.read(BUNDLE).digest == tiny.bundle.digest


def test_a_truncated_checkpoint_is_refused(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = next(Path("artifacts/checkpoints/tiny").glob("model-*"))
    model.write_bytes(model.read_bytes()[:1000])
    assert main(["build", "tiny"]) == 1
    assert f"{model.name} is damaged: 1000 bytes" in capsys.readouterr().err


def test_a_missing_checkpoint_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "absent"]) == 1
    assert "no checkpoint at artifacts/checkpoints/absent; train one with" in capsys.readouterr().err


def test_verify_repeats_everything(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "tiny"]) == 0
    report = capsys.readouterr().out
    assert "schema and digests right" in report
    assert "pixels differs by at most" in report
    assert "4 golden items equal" in report


def test_verify_finds_a_flipped_byte(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = BUNDLE / "files/generator-fp32.onnx"
    data = bytearray(file.read_bytes())
    data[5000] ^= 1
    file.write_bytes(data)
    assert main(["verify", "tiny"]) == 1
    assert "generator-fp32.onnx is damaged" in capsys.readouterr().err


def test_verify_finds_a_newer_checkpoint(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from training.__main__ import main as train

    assert train(["dcgan", "--name", "tiny", "--preset", "tiny", "--steps", "9"]) == 0
    assert main(["verify", "tiny"]) == 1
    assert (
        "was built from step 6, artifacts/checkpoints/tiny is now at step 9: build it again" in capsys.readouterr().err
    )


def test_a_child_that_fails_is_named() -> None:
    spec = GraphSpec((TensorSpec("z", "float32", ("batch", 1)),), (TensorSpec("y", "float32", ("batch", 1)),))
    with pytest.raises(MeasureError, match="broken failed while it was timed: "):
        measure({"broken": Contestant("onnxruntime", b"no model", spec, 1)}, {})
