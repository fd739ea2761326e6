"""Checkpoint to bundle: the certificate holds what was measured; a failure leaves no bundle, or the old one."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from export import build as build_module
from export import make_variants as variants_module
from export.__main__ import main
from export.build import build
from export.final import Final
from export.judge import Assessment
from export.options import Options
from export.parity import ParityError
from export.plans import Plan, installed, parity_runtimes
from export.quantize import METHODS, VariantError
from export.remeasure import remeasure
from export.speed import Measured
from handlers import bundle as bundles
from handlers.certificate import BatchSpeed, Difference, FailedVariant
from handlers.engine.choice import open_model
from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes import device, registry
from handlers.runtimes.device import Machine, machine
from handlers.runtimes.runtime import Arrays, Runtime, SessionError
from tests.conftest import CPU_RUNTIMES, ROOT, Tiny
from training import checkpoint

BUNDLE = Path("artifacts/bundles/tiny")
FP32 = Options(variants=("fp32",), runtimes=("onnxruntime",), quick=True)
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")]


def quiet(_: str) -> None:
    """Says nothing."""


def fake_assess(self: Any, plan: Plan) -> Assessment:
    """Every INT8 file is three times as fast; quality is perfect."""
    speeds = tuple(BatchSpeed(b, 1.0, 1.1, b * 1000.0, 9, 3.0 if plan.variant != "fp32" else 1.0) for b in (1, 8, 32))
    quality = {"psnr_db": 50.0, "psnr_db_worst": 45.0, "ssim": 1.0, "max_abs": 1.0, "mean_abs": 0.1, "swd_delta": 0.1}
    return Assessment(plan, quality, True, Measured(speeds, 1.0, 1.0), ("0" * 64,) * 4, "engine of nobody")


@pytest.fixture
def tiny_copy(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same; PyTorch is not timed beside assessments that are made up, and neither are the fastest."""
    monkeypatch.setattr("export.judge.Judge.eager", lambda _: ())
    monkeypatch.setattr("export.judge.Judge.final", lambda _, plans: Final(tuple(p.id for p in plans), "made up"))
    return tiny_copy


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> bundles.Bundle:
    """A whole quick build of the tiny model, every variant in every runtime."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(tiny.folder / "artifacts/checkpoints", folder / "artifacts/checkpoints")
    before = Path.cwd()
    os.chdir(folder)
    try:
        build("tiny", Options(quick=True), say=quiet)
        return bundles.read(folder / BUNDLE)
    finally:
        os.chdir(before)


def test_every_candidate_is_in_the_certificate_with_its_figures(whole: bundles.Bundle) -> None:
    certificate = whole.certificate
    here = certificate.devices[machine().cpu]
    assert here.environment["versions"].keys() >= {"torch", "onnxruntime", "numpy"}
    names = set(here.candidates)
    assert {"fp32-onnxruntime", "int8_static-onnxruntime", "int8_rewritten-onnxruntime"} <= names
    assert {"fp32-openvino", "fp32-openvino-bf16", "int8_static-openvino"} <= names
    for name, entry in here.candidates.items():
        if entry.verdict == "failed":
            assert entry.reason
            continue
        if entry.quality is None:  # given up as too slow: nobody looked further
            assert [speed.batch for speed in entry.speed] == [8]
            assert entry.at(8).speedup < certificate.policy.min_speedup
            assert entry.verdict == "rejected" and "its quality was not looked at" in entry.reason
            continue
        assert 8 in [speed.batch for speed in entry.speed]
        assert all(0 < s.p50_ms <= s.p95_ms and s.speedup > 0 for s in entry.speed)
        assert entry.quality.keys() == {"psnr_db", "psnr_db_worst", "ssim", "max_abs", "mean_abs", "swd_delta"}
        assert entry.load_ms is not None and entry.load_ms > 0
        inside = all(entry.quality[figure] >= bound for figure, bound in certificate.policy.budget.items())
        faster = entry.at(8).spread[0] >= certificate.policy.min_speedup
        served = "passed" if inside and faster and entry.batch_invariant else "rejected"
        assert entry.verdict == ("reference" if name == "fp32-onnxruntime" else served), name
    assert [speed.batch for speed in here.eager] == [1, 8, 32]
    assert all(speed.p50_ms > 0 for speed in here.eager)
    # Convolutions have no row-wise form: said, not dropped.
    assert "the graph has no MatMul" in failure(whole, "int8_rowwise")
    assert how(whole, "int8_static")["calibration"] in METHODS
    reference = here.candidates["fp32-onnxruntime"]
    assert reference.quality is not None and reference.quality["psnr_db_worst"] > 60  # it is PyTorch's own graph
    # A reference whose rows depend on the batch is served row by row.
    assert reference.batch_invariant == (whole.manifest.limits.max_tile > 1)
    for runtime in ("onnxruntime", "openvino"):
        found = certificate.parity.runtimes[runtime]
        assert [(d.tensor, d.tolerance) for d in found] == [("pixels", 0.001), ("image", 1)]
        assert all(d.max_abs <= d.tolerance for d in found)


def how(bundle: bundles.Bundle, variant: str) -> dict[str, Any]:
    """How the generator's file of a variant came about."""
    files = bundle.certificate.variants[variant]
    assert not isinstance(files, FailedVariant), files
    return files["generator"].how


def failure(bundle: bundles.Bundle, variant: str) -> str:
    """Why a variant could not be made."""
    found = bundle.certificate.variants[variant]
    assert isinstance(found, FailedVariant), found
    return found.failed


def test_engines_are_files_of_the_bundle_and_not_served(whole: bundles.Bundle) -> None:
    engines = [c for c in whole.manifest.candidates if c.runtime == "tensorrt"]
    assert {c.device_class for c in engines} == {"sm80", "sm86", "sm89", "sm120"}
    assert {c.variant for c in engines} == {"fp16", "int8_static"}
    for candidate in engines:
        assert candidate.verdict == "rejected"  # nobody measured it
        assert candidate.requires.keys() == {"module", "version"}
        assert len(whole.read_file(candidate.file)) > 1000


def test_the_choice_is_served_and_says_so(whole: bundles.Bundle) -> None:
    engine = open_model(whole)
    assert engine.candidate == whole.manifest.choice[machine().cpu][0]
    assert engine.reason.startswith(f"chosen for {machine().cpu}; 4 golden items equal")


def test_the_manifest_says_where_it_came_from(tiny: Tiny) -> None:
    source = tiny.bundle.manifest.source
    assert source["step"] == "6"
    assert source["data_name"].startswith("drawn-faces")
    assert source["data_licence"] == "Apache-2.0"
    assert source["checkpoint"] in checkpoint.read(tiny.folder / "artifacts/checkpoints/tiny").files.values()


def test_the_fastest_passed_candidate_comes_first(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    options = Options(variants=("fp32", "int8_static"), runtimes=("onnxruntime",), quick=True)
    bundle = build("tiny", options, say=quiet)
    here = machine().cpu
    assert bundle.manifest.choice == {
        here: ({"generator": f"generator-int8_static-onnxruntime@{here}"}, {"generator": "generator-fp32-onnxruntime"})
    }
    assert not Path("artifacts/builds/tiny").exists()  # notes go when the bundle is whole


def test_an_interrupted_build_goes_on_at_the_missing_candidate(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = Options(variants=("fp32", "int8_static", "int8_rewritten"), runtimes=CPU_RUNTIMES, quick=True)
    asked: list[str] = []

    def interrupted(self: Any, plan: Plan) -> Assessment:
        asked.append(plan.id)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return fake_assess(None, plan)

    monkeypatch.setattr("export.judge.Judge.assess", interrupted)
    before = bundles.read(BUNDLE).digest
    with pytest.raises(KeyboardInterrupt):
        build("tiny", options, say=quiet)
    assert bundles.read(BUNDLE).digest == before
    monkeypatch.setattr("export.make_variants.make", lambda *_: pytest.fail("a variant was made twice"))
    build("tiny", options, say=quiet)
    assert asked[:2] == ["fp32-onnxruntime", "fp32-openvino"]
    assert asked[2] == asked[3]  # the one that was interrupted, and no other again
    assert len(asked) == len(set(asked)) + 1


def test_a_build_whose_time_is_used_up_serves_what_passed_and_goes_on_the_next_time(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A clock that only judging moves: forty seconds a candidate, of which two begin within a minute."""
    clock = [0.0]
    asked: list[str] = []
    looked: list[str] = []
    promise = {"int8_static-openvino": 3.0, "fp32-openvino": 1.3}

    def assess(self: Any, plan: Plan) -> Assessment:
        asked.append(plan.id)
        clock[0] += 40
        return fake_assess(None, plan)

    def look(self: Any, plan: Plan) -> float:
        looked.append(plan.id)
        return promise.get(plan.id, 0.5)

    monkeypatch.setattr("export.budget.now", lambda: clock[0])
    monkeypatch.setattr("export.judge.Judge.assess", assess)
    monkeypatch.setattr("export.judge.Judge.look", look)
    command = ["build", "tiny", "--quick", "--variants", "fp32", "int8_static", "--runtimes", *CPU_RUNTIMES]
    assert main([*command, "--minutes", "1"]) == 0
    assert asked == ["fp32-onnxruntime", "int8_static-openvino"]  # the reference, and the most promising one
    said = capsys.readouterr().out
    assert "left out, the time of 1 minutes was used up: fp32-openvino, fp32-openvino-bf16, int8_static-onnx" in said
    first = bundles.read(BUNDLE)
    here = machine().cpu
    assert next(iter(first.manifest.choice[here][0].values())) == f"generator-int8_static-openvino@{here}"
    late = first.certificate.devices[here].candidates["fp32-openvino"]
    assert (late.verdict, late.speed) == ("rejected", ())
    assert late.reason == (
        "the build's time was used up before it was measured; the same command with more --minutes goes on with it"
    )
    page = Path("artifacts/reports/tiny/report.md").read_text()
    assert "The build's time was used up before all was tried" in page
    monkeypatch.setattr("export.make_variants.make", lambda *_: pytest.fail("a variant was made twice"))
    assert main([*command, "--minutes", "10"]) == 0
    assert len(asked) == len(set(asked)) == 5
    assert len(looked) == len(set(looked)) == 4
    whole = bundles.read(BUNDLE)
    assert list(whole.certificate.devices[here].candidates) == list(first.certificate.devices[here].candidates)
    assert "time was used up" not in Path("artifacts/reports/tiny/report.md").read_text()
    assert not Path("artifacts/builds/tiny").exists()


def fail_parity(*_: Any) -> list[Difference]:
    raise ParityError("tensor pixels differs by up to 1 from PyTorch")


@pytest.mark.parametrize("older", [False, True])
def test_failed_parity_leaves_no_bundle_or_the_older_one(
    tiny: Tiny, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], older: bool
) -> None:
    if not older:
        shutil.rmtree("artifacts/bundles")
    monkeypatch.setattr(build_module, "compare", fail_parity)
    assert main(["build", "tiny", "--quick"]) == 1
    assert "error: tensor pixels differs" in capsys.readouterr().err
    assert Path("artifacts/bundles").exists() == older
    assert not older or bundles.read(BUNDLE).digest == tiny.bundle.digest


def test_a_variant_that_is_nan_fails_alone(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check = variants_module.check_finite

    def spoiled(name: str, graph: Any, data: bytes) -> None:
        if name == "int8_static":
            raise VariantError("int8_static: the tensor pixels is NaN or infinite somewhere")
        check(name, graph, data)

    monkeypatch.setattr(variants_module, "check_finite", spoiled)
    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    bundle = build("tiny", Options(("fp32", "int8_static", "int8_rewritten"), ("onnxruntime",), quick=True), say=quiet)
    assert "NaN or infinite" in failure(bundle, "int8_static")
    assert "int8_rewritten-onnxruntime" in bundle.certificate.devices[machine().cpu].candidates


def test_a_reference_that_depends_on_the_batch_is_served_row_by_row(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.judge.batch_invariant", lambda *_: False)
    assert build("tiny", FP32, say=quiet).manifest.limits.max_tile == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--variants", "int3"], "--variants names int3; known: fp32, fp32_rewritten"),
        (["--minutes", "-1"], "--minutes is -1, wanted a number of minutes of at least 0 (0: no bound)"),
        (["--minutes", "nan"], "--minutes is nan, wanted a number of minutes"),
        (["--runtimes", "abacus"], "--runtimes names abacus; known: onnxruntime, openvino"),
        (
            ["--runtimes", "openvino"],
            "no backend for the reference: pip install -r requirements/export.txt (onnxruntime)",
        ),
    ],
)
def test_bad_options_are_refused(
    tiny_copy: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert main(["build", "tiny", *arguments]) == 1
    assert message in capsys.readouterr().err


def test_too_small_a_calibration_set_fails_its_variant_alone(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    bundle = build("tiny", Options(("fp32", "int8_static"), ("onnxruntime",), quick=True, calibration=4), say=quiet)
    assert "4 rows, wanted at least 16: raise --calibration" in failure(bundle, "int8_static")


def test_no_runtime_is_opened_that_is_not_wanted(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even to choose the calibration in, fast as it may be."""

    def opener(*_: Any) -> Any:
        raise AssertionError("it was opened, and nobody wants it")

    unwanted = dataclasses.replace(registry.find("openvino"), opener=opener)
    others = [runtime for runtime in registry.RUNTIMES if runtime.name != unwanted.name]
    monkeypatch.setattr(registry, "RUNTIMES", [unwanted, *others])
    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    bundle = build("tiny", Options(("fp32", "int8_static"), ("onnxruntime",), quick=True), say=quiet)
    assert not isinstance(bundle.certificate.variants["int8_static"], FailedVariant)


@dataclasses.dataclass
class Evaluated:
    """A graph in onnx's own evaluator, which computes in numpy."""

    model: bytes
    spec: GraphSpec
    threads: int
    precision: Precision

    def run(self, inputs: Arrays) -> Arrays:
        names = [output.name for output in self.spec.outputs]
        found = ReferenceEvaluator(onnx.load_from_string(self.model)).run(names, inputs)
        return {name: np.asarray(array) for name, array in zip(names, found, strict=True)}

    def close(self) -> None:
        pass


def test_a_runtime_more_is_compared_planned_chosen_and_served(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row in the registry is all: no file of export/ or of the engine knows its name."""
    evaluator = Runtime("evaluator", ("onnx",), ("onnx",), "cpu", ("fp32", "fp32_rewritten"), Evaluated)
    monkeypatch.setattr(registry, "RUNTIMES", [*registry.RUNTIMES, evaluator])
    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    here = Machine("riscv-v9")
    options = Options(("fp32", "fp32_rewritten"), ("onnxruntime", "evaluator"), quick=True)
    bundle = build("tiny", options, quiet, here)
    assert [d.tensor for d in bundle.certificate.parity.runtimes["evaluator"]] == ["pixels", "image"]
    assert {"fp32-evaluator", "fp32_rewritten-evaluator"} < set(bundle.certificate.devices["riscv-v9"].candidates)
    candidate = bundle.manifest.candidate("generator-fp32_rewritten-evaluator@riscv-v9")
    assert (candidate.verdict, candidate.requires) == ("passed", {"module": "onnx"})
    only = dataclasses.replace(bundle.manifest, choice={"riscv-v9": ({"generator": candidate.id},)})
    with contextlib.closing(open_model(dataclasses.replace(bundle, manifest=only), here)) as served:
        assert served.candidate == {"generator": candidate.id}
        assert f" evaluator-{version('onnx')} " in served.fingerprint
        assert served.generator.preview([1]).shape == (1, 16, 16, 3)


def test_fp32_is_compared_where_its_file_is_opened_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in a runtime that takes other forms alone, nor in one whose files are built ahead of time."""
    quantized = dataclasses.replace(registry.find("openvino"), name="quantized", variants=("int8_static",))
    built = dataclasses.replace(registry.find("openvino"), name="built", ahead_of_time=True)
    monkeypatch.setattr(registry, "RUNTIMES", [*registry.RUNTIMES, quantized, built])
    assert parity_runtimes(registry.names()) == ["onnxruntime", "openvino", "compiled"]


def test_a_runtime_of_other_kinds_is_no_candidate() -> None:
    """The compiled step refuses every graph but a WaveNet's: asked for images, it would end the build."""
    heard: list[str] = []
    here = Machine("avx2")
    everything = installed(Options(("fp32",)), here, "latent_image", heard.append)
    assert "compiled" not in everything
    assert not any("compiled" in line for line in heard)
    assert "compiled" in installed(Options(("fp32",)), here, "step_audio", heard.append)
    named = installed(Options(("fp32",), ("onnxruntime", "compiled")), here, "latent_image", heard.append)
    assert named == ("onnxruntime",)
    assert heard[-1] == "compiled is for step_audio, so of latent_image it is no candidate"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (registry.names(), []),  # a machine without a GPU is no news
        (
            ("onnxruntime", "onnxruntime-cuda"),
            ["onnxruntime-cuda needs a CUDA device, and this machine has none, so it is no candidate"],
        ),
    ],
)
def test_a_runtime_of_gpus_that_is_asked_for_by_name_is_told_to_be_none(
    names: tuple[str, ...], said: list[str]
) -> None:
    heard: list[str] = []
    found = installed(Options(("fp32",), names), Machine("avx2"), "latent_image", heard.append)
    assert [line for line in heard if "cuda" in line] == said
    assert "onnxruntime-cuda" not in found


def refuse_graph(model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> Evaluated:
    raise SessionError("the graph has what is not known here")


def test_a_runtime_that_does_not_open_the_graph_ends_no_build(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are judged; nothing is certified in a runtime that was not compared with PyTorch."""
    picky = Runtime("picky", ("onnx",), ("onnx",), "cpu", ("fp32", "fp32_rewritten"), refuse_graph)
    monkeypatch.setattr(registry, "RUNTIMES", [*registry.RUNTIMES, picky])
    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    heard: list[str] = []
    options = Options(("fp32", "fp32_rewritten"), ("onnxruntime", "picky"), quick=True)
    bundle = build("tiny", options, heard.append, Machine("riscv-v9"))
    assert list(bundle.certificate.parity.runtimes) == ["onnxruntime"]
    assert {candidate.runtime for candidate in bundle.manifest.candidates} == {"onnxruntime"}
    said = "  picky cannot be compared with PyTorch, so it is no candidate: the graph has what is not known here"
    assert said in heard


def test_a_reference_that_does_not_open_the_graph_ends_the_build(
    tiny_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bundles.read(BUNDLE).digest
    broken = dataclasses.replace(registry.REFERENCE, opener=refuse_graph)
    monkeypatch.setattr(registry, "RUNTIMES", [broken, *registry.RUNTIMES[1:]])
    with pytest.raises(SessionError, match="the graph has what is not known here"):
        build("tiny", Options(("fp32",), ("onnxruntime",), quick=True), quiet, Machine("riscv-v9"))
    assert bundles.read(BUNDLE).digest == before


def test_a_truncated_checkpoint_is_refused(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = next(Path("artifacts/checkpoints/tiny").glob("model-*"))
    model.write_bytes(model.read_bytes()[:1000])
    assert main(["build", "tiny"]) == 1
    assert f"{model.name} is damaged: 1000 bytes" in capsys.readouterr().err


def test_a_checkpoint_of_an_unknown_recipe_is_refused(tiny_copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    meta = Path("artifacts/checkpoints/tiny/checkpoint.json")
    meta.write_text(json.dumps({**json.loads(meta.read_text()), "recipe": "alchemy"}))
    assert main(["build", "tiny"]) == 1
    assert "error: unknown recipe 'alchemy'; known recipes: charlm, dcgan" in capsys.readouterr().err


def test_a_checkpoint_is_read_once(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that saves in the meantime cannot mix two checkpoints."""
    read, asked = checkpoint.read, []

    def counted(path: Path) -> checkpoint.Meta:
        asked.append(path)
        return read(path)

    monkeypatch.setattr(checkpoint, "read", counted)
    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    build("tiny", FP32, say=quiet)
    assert asked == [Path("artifacts/checkpoints/tiny")]


def test_a_missing_checkpoint_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "absent"]) == 1
    assert "no checkpoint at artifacts/checkpoints/absent; train one with" in capsys.readouterr().err


def test_a_read_only_output_directory_is_named(tiny_copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def read_only(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    monkeypatch.setattr(bundles, "write_file", read_only)
    assert main(["build", "tiny", "--variants", "fp32", "--runtimes", "onnxruntime"]) == 1
    assert (
        "could not write the bundle artifacts/bundles/tiny (Permission denied); nothing was changed"
        in capsys.readouterr().err
    )


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


def test_another_machine_adds_its_device_class(tiny_copy: Path) -> None:
    here = machine().cpu
    before = bundles.read(BUNDLE)
    bundle = remeasure("tiny", FP32, quiet, Machine("riscv-v9"))
    assert set(bundle.manifest.choice) == {here, "riscv-v9"}
    assert set(bundle.certificate.devices) == {here, "riscv-v9"}
    assert bundle.certificate.devices[here] == before.certificate.devices[here]
    assert bundle.manifest.files == before.manifest.files
    assert any(fingerprint.startswith("riscv-v9 ") for fingerprint in bundle.certificate.golden.sha256)
    assert [c.id for c in bundle.manifest.candidates].count("generator-fp32-onnxruntime") == 1
    assert open_model(bundles.read(BUNDLE)).reason.startswith(f"chosen for {here}")
    elsewhere = open_model(bundles.read(BUNDLE), Machine("riscv-v9"))
    assert elsewhere.reason.startswith("chosen for riscv-v9")


def test_a_gpu_gets_a_choice_of_its_own(whole: bundles.Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that says it has an sm89, the engines for it are judged and filed under its class, not the CPU's."""
    if not any(c.runtime == "tensorrt" for c in whole.manifest.candidates):
        pytest.skip("TensorRT is not installed: pip install -r requirements/export.txt")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(whole.directory.parent.parent, tmp_path / "artifacts")
    monkeypatch.setattr("export.judge.Judge.assess", fake_assess)
    bundle = remeasure("tiny", Options(quick=True), quiet, Machine(machine().cpu, "sm89"))
    assert bundle.manifest.choice["sm89"] == (
        {"generator": "generator-fp16-tensorrt@sm89"},  # as fast as the next one, and tried before it
        {"generator": "generator-int8_static-tensorrt@sm89"},
        {"generator": "generator-fp32-onnxruntime"},
    )
    by_id = {c.id: c for c in bundle.manifest.candidates}
    engine = by_id["generator-int8_static-tensorrt@sm89"]
    assert (engine.verdict, engine.file) == ("passed", "generator-int8_static-sm89")
    assert engine.requires.keys() == {"module", "version"}
    assert by_id["generator-int8_static-tensorrt@sm80"].verdict == "rejected"
    assert not any("tensorrt" in next(iter(o.values())) for o in bundle.manifest.choice[machine().cpu])
    assert set(bundle.certificate.devices) == {machine().cpu, "sm89"}
    served = open_model(bundles.read(tmp_path / BUNDLE))  # without that GPU, the CPU's choice is served
    assert served.reason.startswith(f"chosen for {machine().cpu}")


CAPPED = """
import sys
from pathlib import Path
from handlers import bundle
from handlers.engine import choice as engine
from handlers.runtimes.device import Machine, machine
from handlers.runtimes.session import open_session
from handlers.sampling import philox
import hashlib
opened = engine.open_model(bundle.read(Path(sys.argv[1])))
read = bundle.read(Path(sys.argv[1]))
session = open_session("openvino", read.read_file("generator-int8_static"), read.manifest.graphs["generator"], 1)
image = session.run({"z": philox.normals(range(4), 100)})["image"]
print(machine().cpu, hashlib.sha256(image.tobytes()).hexdigest())
print(opened.reason)
"""


@pytest.mark.parametrize(("cap", "name"), [("AVX512_CORE", "avx512"), ("AVX2", "avx2")])
def test_a_capped_isa_is_another_device_class(whole: bundles.Bundle, cap: str, name: str, tmp_path: Path) -> None:
    """Another instruction set gives other bytes, so it is another class: uncertified here, served by the reference."""
    pytest.importorskip("openvino", reason="openvino is not installed: pip install -r requirements/export.txt")
    if not {"avx512f", "avx512_vnni"} <= device._cpu_flags():
        pytest.skip("this CPU has no AVX-512 with VNNI to cap")

    def run(**extra: str) -> list[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(tmp_path), **extra}
        command = [sys.executable, "-c", CAPPED, str(whole.directory)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()

    free, capped = run(), run(ONEDNN_MAX_CPU_ISA=cap)
    assert free[0].split()[0] == machine().cpu
    assert capped[0].split()[0] == name
    assert free[0].split()[1] != capped[0].split()[1]  # other bytes
    assert re.search(rf"FP32 reference: {name} is not certified \(certified: {machine().cpu}\)", capped[1])
