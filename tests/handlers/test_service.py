"""A batch in, an answer per item out: nothing raises, nobody suffers for a neighbour, headers hold no user text."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from handlers import image_handler
from handlers.bundle import BundleError
from handlers.engine import open_engine
from handlers.generator import Media
from handlers.service import DESCRIBE_FORMAT, Answer, BatchService
from serving.tryout import decode_receipt
from tests.conftest import ROOT, Tiny

JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def service(tiny: Tiny) -> BatchService:
    return BatchService(tiny.bundle, open_engine(tiny.bundle))


def item(body: bytes | None = b"{}", **headers: str) -> tuple[dict[str, Any], dict[str, str]]:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return ({} if body is None else {"body": bytearray(body)}), (JSON | names)


def message(answer: Answer) -> str:
    body = json.loads(answer.body)
    assert body["code"] == answer.status
    return str(body["message"])


@pytest.mark.parametrize(
    ("body", "headers", "status", "text"),
    [
        (b"", {}, 400, "the body is empty; send at least {}: curl -H 'Content-Type: application/json'"),
        (b"  \n", {}, 400, "the body is empty"),
        (None, {}, 400, "the body is empty"),
        (b'{"seed":', {}, 400, "the body is not valid JSON (Expecting value)"),
        (b'{"seed": NaN}', {}, 400, "the body holds NaN, which is not JSON; use a finite number"),
        (b'{"seed": -Infinity}', {}, 400, "the body holds -Infinity"),
        (b'{"seed": 1, "seed": 2}', {}, 400, "the body names a field twice"),
        (b'{"\xff": 1}', {}, 400, "the body is not valid JSON (UnicodeDecodeError)"),
        (b"[" * 60_000, {}, 400, "the body is not valid JSON (RecursionError)"),
        (b"null", {}, 400, "the body is null, wanted a JSON object"),
        (b'"x"', {}, 400, 'the body is "x", wanted a JSON object'),
        (b'{"seed": true}', {}, 400, "seed is a boolean (true), wanted an integer"),
        (b'{"n": 99}', {}, 400, "n is 99, wanted an integer from 1 to 16"),
        (b'{"steps": 1}', {}, 400, 'unknown field "steps"; known fields: seed, n'),
        (b'{"x": "' + b"a" * 70_000 + b'"}', {}, 413, "the body has 70009 bytes, tiny takes at most 65536"),
        (b"seed=7", {"content_type": "application/x-www-form-urlencoded"}, 415, "parameters are a JSON object sent as"),
        (None, {"content_type": ""}, 415, "(a form or a query string would lose them); use: curl -H"),
        (b"{}", {"x_atelier": "dance"}, 400, "unknown value of the header X-Atelier; known: ping, describe"),
        (b"{}", {"x_atelier_deadline": "soon"}, 400, "X-Atelier-Deadline wants seconds since the epoch"),
        (b"{}", {"x_atelier_deadline": "nan"}, 400, "X-Atelier-Deadline wants seconds since the epoch"),
        (b"{}", {"x_atelier_deadline": "1000.5"}, 504, "the deadline passed before the engine was free"),
    ],
)
def test_bad_items(service: BatchService, body: bytes | None, headers: dict[str, str], status: int, text: str) -> None:
    (answer,) = service.answer([item(body, **headers)])
    assert answer.status == status
    assert text in message(answer)
    assert answer.receipt is None


def test_a_bad_item_does_not_touch_its_neighbours(service: BatchService) -> None:
    good = item(b'{"seed": 3}')
    (alone,) = service.answer([good])
    answers = service.answer([item(b"["), good, item(b'{"seed": "x"}'), good, item(b"{}", x_atelier="ping")])
    assert [answer.status for answer in answers] == [400, 200, 400, 200, 200]
    assert answers[1].body == answers[3].body == alone.body
    assert json.loads(answers[4].body) == {"status": "ok"}


def test_charset_and_case_of_the_content_type_do_not_matter(service: BatchService) -> None:
    (answer,) = service.answer([item(b"{}", content_type="Application/JSON; charset=utf-8")])
    assert answer.status == 200


def test_a_deadline_ahead_is_served(service: BatchService) -> None:
    (answer,) = service.answer([item(b"{}", x_atelier_deadline=str(time.time() + 60))])
    assert answer.status == 200


def test_json_that_torchserve_has_parsed_is_taken(service: BatchService) -> None:
    (answer,) = service.answer([({"body": {"seed": 3}}, JSON)])
    assert answer.body == service.answer([item(b'{"seed": 3}')])[0].body


class Faulty:
    """A generator in which seed 13 crashes whatever batch it is in, and seed 14 computes nothing."""

    def __init__(self, inner: Any) -> None:
        self.parse, self._inner = inner.parse, inner
        self.batches: list[list[int]] = []

    def generate(self, batch: Sequence[Any]) -> list[Media]:
        self.batches.append([params.seed for params in batch])
        if any(params.seed == 13 for params in batch):
            raise RuntimeError("the engine broke")
        answers: list[Media] = self._inner.generate(batch)
        return answers


def test_only_the_culprit_of_a_crashed_batch_fails(service: BatchService, tiny: Tiny) -> None:
    engine = open_engine(tiny.bundle)
    faulty = Faulty(engine.generator)
    broken = BatchService(tiny.bundle, dataclasses.replace(engine, generator=faulty))  # type: ignore[arg-type]
    items = [item(json.dumps({"seed": seed}).encode()) for seed in (1, 13, 2)]
    answers = broken.answer(items)
    assert [answer.status for answer in answers] == [200, 500, 200]
    assert faulty.batches == [[1, 13, 2], [1], [13], [2]]
    assert "this item could not be computed" in message(answers[1])
    whole = service.answer(items)
    assert (answers[0].body, answers[2].body) == (whole[0].body, whole[2].body)


def test_a_generator_that_miscounts_fails_alone(tiny: Tiny) -> None:
    class Short(Faulty):
        def generate(self, batch: Sequence[Any]) -> list[Media]:
            return super().generate(batch)[:-1] if len(batch) != 1 or batch[0].seed == 13 else super().generate(batch)

    engine = open_engine(tiny.bundle)
    short = Short(engine.generator)
    service = BatchService(tiny.bundle, dataclasses.replace(engine, generator=short))  # type: ignore[arg-type]
    answers = service.answer([item(json.dumps({"seed": seed}).encode()) for seed in (1, 2)])
    assert [answer.status for answer in answers] == [200, 200]


def test_an_answer_over_the_limit_is_refused_alone(tiny: Tiny) -> None:
    limits = {**tiny.bundle.manifest.limits, "max_response_bytes": 3000}
    bundle = dataclasses.replace(tiny.bundle, manifest=dataclasses.replace(tiny.bundle.manifest, limits=limits))
    answers = BatchService(bundle, open_engine(bundle)).answer([item(b'{"seed": 1, "n": 16}'), item(b'{"seed": 1}')])
    assert [answer.status for answer in answers] == [413, 200]
    assert "the limit is 3000: lower n, or use format jpeg" in message(answers[0])


def test_receipts_tell_how_to_make_the_answer_again(service: BatchService, tiny: Tiny) -> None:
    (answer,) = service.answer([item(b'{"n": 2, "format": "jpeg"}')])
    assert answer.receipt is not None
    assert len(answer.receipt) <= 4096
    assert answer.receipt.isascii()
    receipt = decode_receipt(answer.receipt)
    assert receipt["model"] == "tiny"
    assert receipt["bundle"] == tiny.bundle.digest
    assert receipt["candidate"] == {"generator": "generator-fp32-onnxruntime"}
    assert "onnxruntime-" in receipt["fingerprint"]
    assert receipt["why"].startswith("chosen for ")
    assert receipt["params"].keys() == {"seed", "n", "truncation", "format", "quality", "grid"}
    again = json.dumps(receipt["params"]).encode()
    assert service.answer([item(again)])[0].body == answer.body


def test_describe_is_the_golden_document(service: BatchService) -> None:
    """tests/golden/describe.json is what a gateway may rely on: its shape changes only with DESCRIBE_FORMAT."""
    (answer,) = service.answer([item(b"{}", x_atelier="describe")])
    assert service.answer([({}, {"describe": "True"})])[0].body == answer.body  # TorchServe's own way of asking
    document = json.loads(answer.body)
    assert document["format"] == DESCRIBE_FORMAT
    golden = json.loads((ROOT / "tests/golden/describe.json").read_text())
    assert document["certificate"].keys() == golden["certificate"].keys()
    del document["certificate"], golden["certificate"]  # its contents are whatever was measured
    assert shape(document) == shape(golden)
    for key in ("params", "content_types", "limits", "scope", "kind"):
        assert document[key] == golden[key], key


def shape(value: Any) -> Any:
    """Keys and types of a JSON document; lists by their first element, maps with free keys by their values."""
    if isinstance(value, dict):
        free = any(" " in key or "-" in key for key in value)
        return {"*": shape(next(iter(value.values())))} if free else {k: shape(v) for k, v in sorted(value.items())}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return type(value).__name__ if not isinstance(value, (int, float)) or isinstance(value, bool) else "number"


class Context:
    """As much of TorchServe's context as a handler uses."""

    def __init__(self, folder: Path, version: str, headers: list[dict[str, Any]]) -> None:
        self.system_properties = {"model_dir": str(folder)}
        self.manifest = {"model": {"modelVersion": version}}
        self._headers = headers
        self.types: dict[int, str] = {}
        self.statuses: dict[int, tuple[int, str]] = {}
        self.sent: dict[int, dict[str, str]] = {}

    def get_all_request_header(self, index: int) -> dict[str, Any]:
        return self._headers[index]

    def set_response_content_type(self, index: int, value: str) -> None:
        self.types[index] = value

    def set_response_status(self, code: int, phrase: str, index: int) -> None:
        self.statuses[index] = (code, phrase)

    def set_response_header(self, index: int, key: str, value: str) -> None:
        self.sent.setdefault(index, {})[key] = value


def test_the_leaf_handler_speaks_torchserve(tiny: Tiny, tiny_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_handler, "_services", [])
    (tiny_copy / "artifacts/bundles/tiny").rename(tiny_copy / "bundle")
    headers: list[dict[str, Any]] = [{"Content-Type": "application/json", "body": {"content-type": "x"}}] * 2
    context = Context(tiny_copy, tiny.bundle.version, headers)
    assert image_handler.handle(None, context) is None
    bodies = image_handler.handle([{"body": b'{"seed": 1}'}, {"body": b'{"seed": "\r\nX: 1"}'}], context)
    assert bodies is not None
    assert bodies[0].startswith(b"\x89PNG")
    assert context.statuses == {0: (200, ""), 1: (400, "Bad Request")}
    assert context.types == {0: "image/png", 1: "application/json"}
    assert list(context.sent) == [0]
    for value in context.sent[0].values():
        assert value.isascii()
        assert value.isprintable()


def test_an_archive_whose_bundle_was_exchanged_is_refused(tiny: Tiny, tiny_copy: Path) -> None:
    (tiny_copy / "artifacts/bundles/tiny").rename(tiny_copy / "bundle")
    with pytest.raises(BundleError, match=f"the archive is version 000000000000, its bundle is {tiny.bundle.version}"):
        BatchService.from_context(Context(tiny_copy, "0" * 12, []))
