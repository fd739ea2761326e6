"""One owner of certificate.json: what is read is written again byte by byte, and another format is refused."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from handlers.certificate import decode
from handlers.manifest import CERTIFICATE
from handlers.records import RecordError
from tests.conftest import ROOT, Tiny


@pytest.fixture
def raw(tiny: Tiny) -> Any:
    return json.loads((tiny.bundle.directory / CERTIFICATE).read_bytes())


def test_it_is_written_as_it_was_read(tiny: Tiny, tiny_text: Tiny) -> None:
    for bundle in (tiny.bundle, tiny_text.bundle):
        data = (bundle.directory / CERTIFICATE).read_bytes()
        assert bundle.certificate.encode() == data == decode(data, CERTIFICATE).encode()
        assert json.loads(json.dumps(bundle.certificate.document())) == json.loads(data)
    assert b'"tolerance": 1,' in (tiny.bundle.directory / CERTIFICATE).read_bytes()  # not 1.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"format": "atelier-certificate/9"},
            "certificate.json has format 'atelier-certificate/9', this version reads 'atelier-certificate/1'",
        ),
        ({"mood": "good"}, "certificate.json has the unknown field 'mood'; known: format, name, step"),
        ({"step": "six"}, "certificate.json.step is 'six' (str), wanted int; build the bundle again"),
        ({"golden": {"items": []}}, "certificate.json.golden lacks the field 'sha256'"),
        ({"variants": {"fp32": 3}}, "certificate.json.variants.fp32 is '3' (int), wanted FailedVariant or dict"),
    ],
)
def test_what_does_not_fit_is_named(raw: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecordError, match=re.escape(message)):
        decode(json.dumps({**raw, **change}).encode(), "certificate.json")


def test_an_older_certificate_without_spreads_and_pytorch_is_read() -> None:
    older = json.loads((ROOT / "tests/golden/describe.json").read_text())["certificate"]
    for device in decode(json.dumps(older).encode(), CERTIFICATE).devices.values():
        assert (device.eager, device.final) == ((), "")
        assert {(speed.blocks, speed.spread) for entry in device.candidates.values() for speed in entry.speed} == {
            (0, ())
        }


@pytest.mark.parametrize(("data", "message"), [(b"{", "is not valid JSON"), (b"[]", "has format 'list'")])
def test_what_is_no_certificate_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        decode(data, "certificate.json")


def test_golden_hashes_are_found_by_engine_and_candidates(tiny: Tiny) -> None:
    golden = tiny.bundle.certificate.golden
    fingerprint = next(iter(golden.sha256))
    recorded = golden.recorded(fingerprint, tiny.bundle.manifest.reference())
    assert recorded is not None
    assert len(recorded) == len(golden.items) == 4
    assert golden.recorded("engine of nobody", tiny.bundle.manifest.reference()) is None
    assert golden.recorded(fingerprint, {"generator": "absent"}) is None
