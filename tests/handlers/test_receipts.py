"""Receipts: bounded whatever they hold, and without a word about the machine or the text."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from handlers.engine.receipts import MAX_RECEIPT, Receipts, describe, without_folders
from handlers.identity import HOME, Identity
from tests.conftest import Tiny

LONG = {f"field {number}": "x" * 20 for number in range(20)}  # longer than any of ours


class Params:
    def __init__(self, public: dict[str, Any]) -> None:
        self._public = public

    content_type, rows = "text/plain", 1

    def public(self) -> dict[str, Any]:
        return self._public


def receipts(reason: str, name: str = "model") -> Receipts:
    return Receipts(name, Identity("b" * 64, "c" * 64), {"generator": "g-int8-openvino"}, "avx2 onnxruntime-1", reason)


def opened(value: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)))
    return found


@pytest.mark.parametrize("character", ["a", "\u00e4", "\u4f60", "\U0001f600", "\ud800", '"', "\0"])
def test_the_reason_gives_way_however_many_bytes_its_characters_have(character: str) -> None:
    value = receipts("chosen " + character * 5000)(Params(LONG))
    assert len(value) <= MAX_RECEIPT
    found = opened(value)
    assert found["params"] == LONG
    assert found["why"].startswith("chosen " + character * 100)
    assert len(found["why"]) <= 500


def test_a_reason_that_fits_is_told_as_it_is() -> None:
    assert opened(receipts("chosen for avx2; 4 golden items equal")(Params({"seed": 1}))) == {
        "model": "model",
        "version": Identity("b" * 64, "c" * 64).version,
        "bundle": "b" * 64,
        "handlers": "c" * 64,
        "candidate": {"generator": "g-int8-openvino"},
        "fingerprint": "avx2 onnxruntime-1",
        "why": "chosen for avx2; 4 golden items equal",
        "params": {"seed": 1},
    }


def test_parameters_without_bound_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"a receipt of \d+ bytes is over 4096: hash large parameters"):
        receipts("chosen")(Params({"text": "x" * 4000}))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("passed over a: /home/anna/b c.onnx is damaged", "passed over a: b c.onnx is damaged"),
        (f"{HOME.parent}/bundle/files/g.onnx is damaged", "g.onnx is damaged"),
        ("cannot read '/home/anna m/g.onnx'", "cannot read 'g.onnx'"),
        ("from /usr/lib/libfoo.so.1: no such file; /opt/x/y", "from libfoo.so.1: no such file; y"),
        ("64/s or 1/2, and https is a word", "64/s or 1/2, and https is a word"),
        ("chosen for avx512-vnni; 4 golden items equal", "chosen for avx512-vnni; 4 golden items equal"),
    ],
)
def test_of_a_path_the_name_of_the_file_is_told(text: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/anna m")
    assert without_folders(text) == told
    assert opened(receipts(text)(Params({})))["why"] == told


def test_the_describe_document_tells_no_folders_either(tiny: Tiny) -> None:
    reason = f"passed over x: {tiny.bundle.directory}/files/g.onnx is damaged"
    found = describe(tiny.bundle, Identity("b" * 64, "c" * 64), {}, "f", reason)
    assert found["serving"]["reason"] == "passed over x: g.onnx is damaged"
