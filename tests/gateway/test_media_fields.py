"""The neutral-value rule for images and sounds, field by field, as JSON and as forms."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from openai.types import image_create_variation_params, image_edit_params, image_generate_params
from openai.types.audio import speech_create_params

from gateway.v1.asked import Table
from gateway.v1.image_fields import EDITS, GENERATIONS, VARIATIONS
from gateway.v1.speech_fields import TABLE
from tests.gateway.conftest import Reply
from tests.gateway.media import VOICES, Media, error, media, picture


@dataclasses.dataclass(frozen=True)
class Route:
    table: Table
    path: str
    usual: dict[str, Any]
    hints: Any  # of the official client
    files: frozenset[str] = frozenset()  # fields that are files: the route is asked by a form


ROUTES = {
    "generations": Route(
        GENERATIONS,
        "/v1/images/generations",
        {"model": "drawn", "prompt": ""},
        image_generate_params.ImageGenerateParamsStreaming,
    ),
    "edits": Route(
        EDITS,
        "/v1/images/edits",
        {"model": "altered", "prompt": ""},
        image_edit_params.ImageEditParamsStreaming,
        frozenset({"image", "mask"}),
    ),
    "variations": Route(
        VARIATIONS,
        "/v1/images/variations",
        {"model": "altered"},
        image_create_variation_params.ImageCreateVariationParams,
        frozenset({"image"}),
    ),
    "speech": Route(
        TABLE, "/v1/audio/speech", {"model": "digits", "input": "4 2"}, speech_create_params.SpeechCreateParams
    ),
}
# A value that each honoured field takes, and one that it does not.
HONOURED: dict[str, tuple[Any, Any]] = {
    "prompt": ("", "a face"),
    "n": (1, 0),
    "size": ("auto", "large"),
    "response_format": ("b64_json", "bytes"),
    "output_format": ("webp", "svg"),
    "output_compression": (100, 101),
    "stream": (False, "yes"),
    "partial_images": (0, 4),
    "user": ("ann", None),
    "safety_identifier": ("a1", None),
    "input": ("7", 7),
    "voice": ("alloy", "none"),
    "speed": (1, 5),
    "stream_format": ("audio", "file"),
}
SOUND = {"response_format": ("flac", "aac")}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    with media(tmp_path_factory.mktemp("fields"), voices=VOICES, ignore_fields=("backend",)) as made:
        yield made


def asked(served: Media, name: str, fields: dict[str, Any]) -> Reply:
    route = ROUTES[name]
    values = {**route.usual, **fields}
    if not route.files:
        return served.gateway.post(route.path, values)
    text = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    parts = [f'--b\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n' for key, value in text.items()]
    head = '--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    body = "".join([*parts, head]).encode() + picture().read() + b"\r\n--b--\r\n"
    return served.gateway.post(route.path, body=body, headers={"Content-Type": "multipart/form-data; boundary=b"})


def rows(part: str) -> list[Any]:
    return [
        pytest.param(name, field, id=f"{name}-{field}")
        for name, route in ROUTES.items()
        for field in getattr(route.table, part)
        if field != "model"
    ]


@pytest.mark.parametrize(("name", "field"), rows("refused"))
def test_a_refused_field_is_named(served: Media, name: str, field: str) -> None:
    values: tuple[Any, ...] = ("strange", 0, False, [], {})
    for value in values:
        status, param, message = error(asked(served, name, {field: value}))
        assert (status, param, "not taken here" in message) == (400, field, True), value


@pytest.mark.parametrize(("name", "field"), rows("neutral"))
def test_a_neutral_field_passes_at_its_values_alone(served: Media, name: str, field: str) -> None:
    for value in ROUTES[name].table.neutral[field]:
        reply = asked(served, name, {field: value})
        assert reply.status == 200, reply.body
        assert served.asked.get(field) is None
    wrongs: tuple[Any, ...] = ("strange", 2, ["auto"])
    for wrong in wrongs:
        status, param, message = error(asked(served, name, {field: wrong}))
        assert (status, param, "alone, or leave it out" in message) == (400, field, True), wrong


@pytest.mark.parametrize(("name", "field"), rows("honoured"))
def test_an_honoured_field_is_taken_and_held_to_what_it_may_be(served: Media, name: str, field: str) -> None:
    right, wrong = (SOUND if name == "speech" else {}).get(field, HONOURED[field])
    reply = asked(served, name, {field: right})
    assert reply.status == 200, reply.body
    if wrong is None:
        return  # any text is one
    status, param, message = error(asked(served, name, {field: wrong}))
    assert (status, param) == (400, field), message


@pytest.mark.parametrize("name", ROUTES)
def test_every_field_of_the_official_client_has_one_rule(name: str) -> None:
    route = ROUTES[name]
    names = [*route.table.honoured, *route.table.neutral, *route.table.refused]
    assert len(names) == len(set(names))
    assert set(typing.get_type_hints(route.hints)) - {*names, *route.files} == set()


@pytest.mark.parametrize("name", ROUTES)
def test_what_is_unknown_is_told_what_is_known_and_what_is_overlooked_passes(served: Media, name: str) -> None:
    status, param, message = error(asked(served, name, {"steps": 7}))
    assert (status, param, "known are model" in message) == (400, "steps", True)
    assert asked(served, name, {"backend": "x"}).status == 200
