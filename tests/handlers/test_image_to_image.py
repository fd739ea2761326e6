"""A generator that starts from pictures, in the engine's own parts: uploads in, answers out, each alone."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers import generators
from handlers.engine.choice import open_model
from handlers.engine.main import scheduler_of
from handlers.engine.receipts import describe
from handlers.frames import Data, End, Refused, Started, Unpacker
from handlers.identity import Identity
from handlers.spool import VARIABLE
from serving.tryout import decode_receipt
from tests.conftest import Tiny
from tests.support.helpers import run_out
from tests.support.image_bundles import KIND, image_bundle
from tests.support.image_to_image import changed
from tests.support.pictures import decoded, encoded, gradient, png_bomb

Ask = Callable[[list[Any]], list[tuple[Started | None, bytes, Refused | None]]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "spool"
    made.mkdir(mode=0o700)
    monkeypatch.setenv(VARIABLE, str(made))
    return made


@pytest.fixture
def ask(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Hand requests to an engine's scheduler together: (head, body, refusal) of each."""
    monkeypatch.setitem(generators.KINDS, KIND, ("tests.support.image_to_image", "ImageToImage"))
    bundle = image_bundle(tiny.bundle, tmp_path / "bundle", "change")
    model = open_model(bundle)
    unpacker, frames = Unpacker(), []
    scheduler = scheduler_of(
        bundle, Identity(bundle.digest, "h" * 64), model, lambda data: frames.extend(unpacker.feed(data)), lambda: None
    )

    def asked(requests: list[Any]) -> list[tuple[Started | None, bytes, Refused | None]]:
        frames.clear()
        for number, params in enumerate(requests):
            scheduler.submit(number, params, None)
        run_out(scheduler)
        answers = []
        for number in range(len(requests)):
            mine = [frame.message for frame in frames if frame.number == number]
            assert sum(isinstance(message, End | Refused) for message in mine) == 1
            head = next((message for message in mine if isinstance(message, Started)), None)
            body = b"".join(message.body for message in mine if isinstance(message, Data))
            answers.append((head, body, next((message for message in mine if isinstance(message, Refused)), None)))
        return answers

    return asked


def put(folder: Path, data: bytes) -> Any:
    digest = hashlib.sha256(data).hexdigest()
    (folder / digest[:32]).write_bytes(data)
    return {"spooled": {"name": digest[:32], "sha256": digest, "bytes": len(data)}}


def test_an_answer_depends_on_its_picture_and_seed_alone(ask: Ask, folder: Path) -> None:
    pictures = [gradient(54 + 7 * i, 30 + 5 * i) for i in range(5)]
    references = [put(folder, encoded(pixels)) for pixels in pictures]
    asked = [{"image": references[i % 5], "seed": 100 + i} for i in range(20)]
    alone = [ask([params])[0][1] for params in asked]
    for i, body in enumerate(alone):
        assert np.array_equal(decoded(body), changed(pictures[i % 5], 100 + i))
    assert [body for _, body, _ in ask(asked)] == alone
    assert [body for _, body, _ in ask(asked[::-1])] == alone[::-1]


def test_a_receipt_names_the_digest_in_place_of_the_reference(ask: Ask, folder: Path) -> None:
    data = encoded(gradient())
    ((head, _, _), (inline, _, _)) = ask(
        [{"image": put(folder, data), "seed": 1}, {"image": {"b64_json": base64.b64encode(data).decode()}, "seed": 1}]
    )
    assert head is not None and inline is not None
    wanted = {"image": {"sha256": hashlib.sha256(data).hexdigest()}, "seed": 1, "format": "png"}
    assert decode_receipt(head.receipt)["params"] == decode_receipt(inline.receipt)["params"] == wanted


def test_a_bad_upload_is_refused_alone(ask: Ask, folder: Path) -> None:
    good = put(folder, encoded(gradient()))
    large = put(folder, encoded(np.random.default_rng(1).integers(0, 256, (700, 700, 3), np.uint8)))
    bad = [
        ({"image": put(folder, png_bomb(2000, 2000))}, 413, "has 2000 x 2000 = 4000000 pixels, at most 10000"),
        ({"image": large}, 413, "at most 1048576 are taken"),
        ({"image": put(folder, b"GIF89a" + bytes(50))}, 400, "is no PNG, JPEG or WebP"),
        ({"image": {"spooled": {**good["spooled"], "sha256": "0" * 64}}}, 400, "its sha256 is another"),
        ({"image": {"spooled": {**good["spooled"], "name": "gone"}}}, 400, "cannot be opened in the spool"),
        ({"image": "good"}, 400, "wanted an image by reference"),
        ({"seed": 1}, 400, "image is missing"),
    ]
    requests = [part for params, _, _ in bad for part in (params, {"image": good, "seed": 3})]
    answers = ask(requests)
    assert len({body for _, body, _ in answers[1::2]}) == 1
    for (_, body, refusal), (_, status, words) in zip(answers[::2], bad, strict=True):
        assert refusal is not None and not body
        assert (refusal.status, refusal.field) == (status, "image")
        assert words in refusal.message


def test_a_whole_request_may_come_by_reference_with_a_reference_inside(ask: Ask, folder: Path) -> None:
    params = {"image": put(folder, encoded(gradient())), "seed": 9}
    (direct, spooled) = ask([params, put(folder, json.dumps(params).encode())])
    assert direct[1] == spooled[1]
    (_, _, refusal) = ask([put(folder, b" " * (65 << 10))])[0]
    assert refusal is not None and (refusal.status, refusal.field) == (413, None)


def test_the_describe_document_names_the_type(tiny: Tiny, tmp_path: Path) -> None:
    bundle = image_bundle(tiny.bundle, tmp_path / "bundle", "change")
    document = describe(bundle, Identity(bundle.digest, "h" * 64), {}, "f", "why")
    assert [spec["type"] for spec in document["params"]] == ["image", "integer", "string"]
    assert document["limits"]["max_pixels"] == 10_000
    example = Image.open(io.BytesIO(base64.b64decode(document["example"]["image"]["b64_json"])))
    assert example.size == (8, 8)
