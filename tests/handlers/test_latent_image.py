"""The generator kind: parameters to pixels to files, each item on its own."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from handlers.engine.choice import OpenedModel, open_model
from handlers.generator import Request
from handlers.generators import latent_image
from handlers.generators.latent_image import LatentImage
from handlers.params import MAX_SEED
from handlers.refusals import Refusal
from tests.conftest import Tiny
from tests.support.helpers import with_limits


@pytest.fixture(scope="module")
def engine(tiny: Tiny) -> OpenedModel:
    return open_model(tiny.bundle)


@pytest.fixture(scope="module")
def generator(engine: OpenedModel) -> LatentImage:
    assert isinstance(engine.generator, LatentImage)
    return engine.generator


def make(generator: LatentImage, *requests: dict[str, Any]) -> list[bytes]:
    return [m.body for m in generator.generate([generator.parse(Request(request)) for request in requests])]


def pixels(data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(Image.open(io.BytesIO(data)))


def test_one_image_answers_as_an_image(generator: LatentImage) -> None:
    params = generator.parse(Request({"seed": 5}))
    (answer,) = generator.generate([params])
    assert params.content_type == "image/png"
    assert pixels(answer.body).shape == (16, 16, 3)
    assert params.public() == {"seed": 5, "n": 1, "truncation": 1.0, "format": "png", "grid": False}


def test_several_answer_as_json_and_image_i_is_seed_plus_i(generator: LatentImage) -> None:
    params = generator.parse(Request({"seed": 10, "n": 5, "format": "webp"}))
    (answer,) = generator.generate([params])
    assert params.content_type == "application/json"
    body = json.loads(answer.body)
    assert [entry["seed"] for entry in body["data"]] == [10, 11, 12, 13, 14]
    assert body["content_type"] == "image/webp"
    for i, entry in enumerate(body["data"]):
        assert base64.b64decode(entry["b64_json"]) == make(generator, {"seed": 10 + i, "format": "webp"})[0]


def test_a_grid_is_one_sheet_of_the_same_images(generator: LatentImage) -> None:
    sheet = pixels(make(generator, {"seed": 3, "n": 4, "grid": True})[0])
    assert sheet.shape == (2 * 258 + 2, 2 * 258 + 2, 3)
    for i in range(4):
        row, column = divmod(i, 2)
        part = sheet[row * 258 + 2 : row * 258 + 258 : 16, column * 258 + 2 : column * 258 + 258 : 16]
        np.testing.assert_array_equal(part, pixels(make(generator, {"seed": 3 + i})[0]))


def test_an_item_does_not_depend_on_its_batch(generator: LatentImage) -> None:
    requests: list[dict[str, Any]] = [
        {"seed": 1},
        {"seed": 2, "n": 16},
        {"seed": 1, "truncation": 0.3},
        {"seed": 9, "n": 16, "grid": True},
        {"seed": 4, "format": "jpeg", "quality": 40},
        {"seed": 1},
    ]
    together = make(generator, *requests)  # 36 images: more than one tile
    assert together == [make(generator, request)[0] for request in requests]
    assert together[0] == together[-1]


def test_truncation_goes_to_the_average(generator: LatentImage) -> None:
    average = [pixels(make(generator, {"seed": seed, "truncation": 0})[0]) for seed in (1, 2)]
    np.testing.assert_array_equal(average[0], average[1])

    def distance(truncation: float) -> float:
        images = [pixels(make(generator, {"seed": s, "truncation": truncation})[0]).astype(int) for s in range(4)]
        return float(np.mean([np.abs(image - average[0]).mean() for image in images]))

    assert 0 < distance(0.25) < distance(0.5) < distance(1.0)


def test_a_drawn_seed_is_told(generator: LatentImage) -> None:
    params = generator.parse(Request({"n": 16}))
    seed = params.public()["seed"]
    assert 0 <= seed <= MAX_SEED - 15
    assert generator.parse(Request({"n": 16})).public()["seed"] != seed


@pytest.mark.parametrize(
    ("request_params", "field", "message"),
    [
        ({"quality": 50}, "quality", "png has no quality; leave it out, or use format jpeg or webp"),
        ({"seed": MAX_SEED, "n": 2}, "seed", "seed + n - 1 is over 9007199254740991"),
    ],
)
def test_contradictions_are_refused(
    generator: LatentImage, request_params: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(Refusal) as caught:
        generator.parse(Request(request_params))
    assert (caught.value.field, caught.value.status) == (field, 400)
    assert caught.value.message.startswith(message)


def test_a_tile_of_one_gives_the_same_images(tiny: Tiny, engine: OpenedModel, generator: LatentImage) -> None:
    single = LatentImage(with_limits(tiny.bundle.model(), max_tile=1), engine.sessions)
    assert make(single, {"seed": 2, "n": 7}) == make(generator, {"seed": 2, "n": 7})


def test_between_two_pieces_of_work_it_is_alive(generator: LatentImage, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a request takes: of a slow model a run of the graph has fewer images, and they are the same."""
    request = {"seed": 2, "n": 9}
    wanted = make(generator, request)
    signs: list[int] = []
    monkeypatch.setattr(generator, "alive", lambda: signs.append(generator._run))
    make(generator, {"seed": 1})
    assert len(signs) == 2  # after the run and after the file
    monkeypatch.setattr(latent_image, "RUN_SECONDS", 0.0)  # slower than anything
    make(generator, {"seed": 1})
    signs.clear()
    assert make(generator, request) == wanted
    assert signs == [1] * 10
    monkeypatch.setattr(latent_image, "RUN_SECONDS", 1e9)
    make(generator, {"seed": 1})
    signs.clear()
    assert make(generator, request) == wanted
    assert len(signs) == 2
