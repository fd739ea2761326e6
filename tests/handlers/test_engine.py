"""The engine that is opened, and why: the choice for this device class, golden items, the reference as last resort."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest

from handlers import bundle as bundles
from handlers.bundle import Bundle
from handlers.engine.choice import open_model
from handlers.manifest import BundleError, Candidate
from handlers.runtimes.device import Machine, machine, thread_count
from handlers.runtimes.fingerprint import engine_fingerprint
from handlers.runtimes.runtime import SessionError
from tests.conftest import Tiny

REFERENCE = {"generator": "generator-fp32-onnxruntime"}


def with_manifest(bundle: Bundle, **changes: Any) -> Bundle:
    return dataclasses.replace(bundle, manifest=dataclasses.replace(bundle.manifest, **changes))


def with_openvino(bundle: Bundle, verdict: str = "passed", **changes: Any) -> Bundle:
    """The bundle with an OpenVINO candidate as the first choice here."""
    pytest.importorskip("openvino", reason="openvino is not installed: pip install -r requirements/serve.txt")
    others = [c for c in bundle.manifest.candidates if c.runtime != "openvino"]
    fields = {"id": "fast", "role": "generator", "variant": "fp32", "file": "generator-fp32", "runtime": "openvino"}
    candidate = Candidate(
        **(
            fields
            | {"precision": "f32", "requires": {}, "device_class": machine().cpu}
            | {"verdict": verdict, "reason": ""}
            | changes
        )
    )
    certificate = copy.deepcopy(bundle.certificate)
    hashes = certificate.golden.sha256
    hashes[engine_fingerprint(machine(), ["openvino"], thread_count(0))] = {
        "fast": next(iter(hashes[engine_fingerprint(machine(), ["onnxruntime"], thread_count(0))].values()))
    }
    changed = dataclasses.replace(bundle, certificate=certificate)
    return with_manifest(
        changed, candidates=(*others, candidate), choice={machine().cpu: ({"generator": "fast"}, REFERENCE)}
    )


def test_the_choice_of_this_device_class_is_served(tiny: Tiny) -> None:
    opened = open_model(with_openvino(tiny.bundle))
    assert opened.candidate == {"generator": "fast"}
    assert opened.passed_over == ""
    assert opened.reason.startswith(f"chosen for {machine().cpu}; 4 golden items equal")
    assert "openvino-" in opened.fingerprint


def test_an_unknown_device_class_gets_the_reference_and_says_so(tiny: Tiny) -> None:
    bundle = with_manifest(with_openvino(tiny.bundle), choice={"riscv-v9": ({"generator": "fast"},)})
    opened = open_model(bundle)
    assert opened.candidate == REFERENCE
    assert f"FP32 reference: {machine().cpu} is not certified (certified: riscv-v9)" in opened.reason


def test_the_machine_may_be_another(tiny: Tiny) -> None:
    opened = open_model(tiny.bundle, Machine("riscv-v9"))
    assert opened.candidate == REFERENCE
    assert opened.reason.startswith(f"FP32 reference: riscv-v9 is not certified (certified: {machine().cpu})")
    assert opened.fingerprint.startswith("riscv-v9 ")


def test_closed_it_computes_no_more(tiny: Tiny) -> None:
    opened = open_model(tiny.bundle)
    opened.close()
    with pytest.raises(SessionError, match="the session in onnxruntime is closed; open the graph again"):
        opened.generator.preview([1])


def test_a_choice_whose_requirement_fails_is_passed_over(tiny: Tiny) -> None:
    opened = open_model(with_openvino(tiny.bundle, requires={"module": "no_such_runtime"}))
    assert opened.candidate == REFERENCE
    assert "passed over fast: it requires module no_such_runtime, which is not installed here" in opened.reason
    assert opened.passed_over == "passed over fast: it requires module no_such_runtime, which is not installed here"
    unknown = open_model(with_openvino(tiny.bundle, requires={"moon": "full"}))
    assert "passed over fast: it requires moon full, which is unknown to this version here" in unknown.reason
    older = open_model(with_openvino(tiny.bundle, requires={"module": "openvino", "version": "1.0"}))
    assert "passed over fast: it requires version 1.0, which is " in older.reason


def with_golden(bundle: Bundle, runtime: str, value: str) -> Bundle:
    certificate = copy.deepcopy(bundle.certificate)
    known = certificate.golden.sha256[engine_fingerprint(machine(), [runtime], thread_count(0))]
    for key in known:
        known[key] = (value,) * 4
    return dataclasses.replace(bundle, certificate=certificate)


def test_a_choice_with_other_numbers_is_passed_over(tiny: Tiny) -> None:
    opened = open_model(with_golden(with_openvino(tiny.bundle), "openvino", "0" * 64))
    assert opened.candidate == REFERENCE
    assert "passed over fast: golden item" in opened.reason
    assert "4 golden items equal" in opened.reason


def test_a_reference_with_other_numbers_is_not_served(tiny: Tiny) -> None:
    bundle = with_golden(tiny.bundle, "onnxruntime", "0" * 64)
    with pytest.raises(BundleError, match=r"no candidate can be served: .*other numbers than were certified"):
        open_model(bundle)


def test_an_engine_without_a_record_is_served_and_says_so(tiny: Tiny) -> None:
    bundle = with_manifest(tiny.bundle, resources=dataclasses.replace(tiny.bundle.manifest.resources, threads=1))
    other = engine_fingerprint(machine(), ["onnxruntime"], 1)
    assert f"golden items not checked, no record for this engine ({other})" in open_model(bundle).reason


def test_a_file_changed_after_reading_is_not_loaded(tiny: Tiny, tiny_copy: Any) -> None:
    bundle = bundles.read(tiny_copy / "artifacts/bundles/tiny")
    path = bundle.directory / bundle.manifest.files["generator-fp32"].path
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(BundleError, match=r"generator-fp32\.onnx is damaged"):
        open_model(bundle)
