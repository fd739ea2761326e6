"""A model in its own words: what it is, and everything that it takes."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.accounts.caller import Caller
from tests.gateway.conftest import eventually
from tests.gateway.media import ALIASES, Media, error, media, picture, receipt
from tests.gateway.raw import connected, request
from tests.support.fake_documents import documents
from tests.support.fake_upstream import Asked, Reply, usual

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    with media(tmp_path_factory.mktemp("native"), aliases=ALIASES) as made:
        yield made


def form(**parts: str | bytes | io.BytesIO) -> tuple[bytes, dict[str, str]]:
    """A form's body and headers; bytes are files."""
    boundary = uuid.uuid4().hex
    body = b""
    for name, value in parts.items():
        data = value.getvalue() if isinstance(value, io.BytesIO) else value
        told = '; filename="x"' if isinstance(data, bytes) else ""
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'.encode()
        body += (data if isinstance(data, bytes) else data.encode()) + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def test_models_are_listed_with_their_routes_and_aliases(served: Media) -> None:
    found = served.gateway.get("/api/models").json
    assert [model["name"] for model in found["models"]] == sorted(documents())
    by_name = {model["name"]: model for model in found["models"]}
    assert by_name["drawn"]["aliases"] == ["gpt-image-1"]
    assert by_name["drawn"]["routes"] == ["/api/generate/drawn", "/api/jobs/drawn", "/v1/images/generations"]
    assert by_name["altered"]["routes"][2:] == ["/v1/images/edits", "/v1/images/variations"]
    assert by_name["chat"]["routes"][2:] == ["/v1/chat/completions", "/v1/responses"]
    assert by_name["told"]["routes"][2:] == ["/v1/completions", "/v1/responses"]
    assert by_name["digits"]["medium"] == "audio"
    assert found["not_readable"] == {}


def test_a_model_is_told_whole(served: Media) -> None:
    found = served.gateway.get("/api/models/gpt-image-1").json
    described = json.loads(json.dumps(documents()["drawn"]))
    assert {name: found[name] for name in described} == described
    assert found["licence"]["data"] == "Apache-2.0"
    assert found["certificate"]["format"] == "atelier-certificate/1"
    assert error(served.gateway.get("/api/models/nothing"))[0] == 404


def test_everything_that_a_model_takes_reaches_it(served: Media) -> None:
    params = {"seed": 7, "n": 2, "truncation": 0.5, "format": "webp"}
    reply = served.gateway.post("/api/generate/drawn", params)
    assert served.asked == params
    assert reply.headers["content-type"] == "application/json"
    assert [item["seed"] for item in reply.json["data"]] == [7, 8]
    assert receipt(reply)["params"] == params
    one = served.gateway.post("/api/generate/gpt-image-1", {"seed": 7})
    assert one.headers["content-type"] == "image/png"
    assert one.body.startswith(b"\x89PNG")
    assert served.fake.asked[-1].headers["x-atelier-caller"] == "anybody"


def test_texts_and_sounds_stream_as_the_model_streams(served: Media) -> None:
    reply = served.gateway.post("/api/generate/told", {"prompt": "It was", "stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert receipt(reply)["model"] == "told"
    reply = served.gateway.post("/api/generate/digits", {"label": "7", "format": "pcm", "stream": True})
    assert len(reply.body) == 3200
    assert reply.headers["content-type"] == "audio/pcm; rate=16000; channels=1; encoding=s16le"


def test_a_model_refuses_by_its_own_names(served: Media) -> None:
    assert error(served.gateway.post("/api/generate/drawn", {"truncation": 3}))[:2] == (400, "truncation")
    status, param, message = error(served.gateway.post("/api/generate/drawn", {"sed": 3}))
    assert (status, param) == (400, "sed")
    assert message == "model drawn knows no 'sed'; it knows seed, n, truncation, format, quality, grid"


@pytest.mark.parametrize("word", ["spooled", "image"])
def test_nobody_but_the_gateway_refers_to_uploads(served: Media, word: str) -> None:
    """A caller who knew another's upload by name and digest still could not have it read."""
    before = len(served.fake.asked)
    body = {word: {"spooled": {"name": "x", "sha256": "0" * 64, "bytes": 1}}}
    status, param, _ = error(served.gateway.post("/api/generate/altered", body))
    assert (status, param) == (400, word)
    assert len(served.fake.asked) == before


def test_a_small_image_may_stand_in_the_request(served: Media) -> None:
    image = {"b64_json": base64.b64encode(picture(8).getvalue()).decode()}
    assert served.gateway.post("/api/generate/altered", {"image": image, "seed": 3}).status == 200
    assert served.asked == {"image": image, "seed": 3}
    both = {"image": {**image, "spooled": {}}}
    assert error(served.gateway.post("/api/generate/altered", both))[:2] == (400, "image")


def test_models_say_how_large_an_upload_may_be(tmp_path: Path) -> None:
    described = documents()["altered"]
    small = {**described, "name": "small", "limits": {**described["limits"], "max_upload_bytes": 50, "max_pixels": 900}}
    with media(tmp_path, small) as served:
        body, headers = form(image=picture(8))
        status, param, message = error(served.gateway.post("/api/generate/small", body=body, headers=headers))
        assert (status, param) == (413, "image")
        assert "more than 50 bytes" in message
        for side, told in ((40, "40 x 40 = 1600 pixels"), (8, "takes 900 pixels in 50 bytes")):
            body, headers = form(image=picture(side), model="small", prompt="")
            status, param, message = error(served.gateway.post("/v1/images/edits", body=body, headers=headers))
            assert (status, param) == (413, "image")
            assert told in message
        body, headers = form(image=picture(40), model="altered", prompt="")
        assert served.gateway.post("/v1/images/edits", body=body, headers=headers).status == 200


def test_an_image_comes_in_a_form(served: Media) -> None:
    body, headers = form(image=picture(), seed="12", format="jpeg")
    reply = served.gateway.post("/api/generate/altered", body=body, headers=headers)
    assert (reply.status, reply.headers["content-type"]) == (200, "image/jpeg")
    assert served.asked["seed"] == 12
    assert set(served.asked["image"]["spooled"]) == {"name", "sha256", "bytes"}
    eventually(lambda: served.gateway.state.spool.files == 0, 20, "the upload is still there")
    body, headers = form(image=picture(), seed="twelve")
    assert "wanted integer" in error(served.gateway.post("/api/generate/altered", body=body, headers=headers))[2]
    body, headers = form(picture=b"abc")
    assert (
        "fields that take files: image"
        in error(served.gateway.post("/api/generate/altered", body=body, headers=headers))[2]
    )
    body, headers = form(mode="x")
    assert error(served.gateway.post("/api/generate/drawn", body=body, headers=headers))[:2] == (400, "mode")


def test_a_long_request_goes_by_the_spool(tmp_path: Path) -> None:
    described = documents()["summary"]
    described = {**described, "name": "long", "limits": {**described["limits"], "max_request_bytes": 200_000}}
    with media(tmp_path, described) as served:
        seen: list[dict[str, Any]] = []
        model = served.fake.models["long"]

        def reply(asked: Any) -> Any:
            reference = asked.params["spooled"]
            seen.append(json.loads((tmp_path / "spool" / reference["name"]).read_bytes()))
            model.reply = None
            return served.fake._reply(model, asked)

        model.reply = reply
        assert served.gateway.post("/api/generate/long", {"text": "word " * 20_000}).status == 200
        assert seen == [{"text": "word " * 20_000}]
        assert len(served.fake.asked[-1].body) < 300
        eventually(lambda: served.gateway.state.spool.files == 0, 20, "the request is still there")
        assert error(served.gateway.post("/api/generate/long", {"text": "x" * 200_000}))[0] == 413


@pytest.mark.parametrize("zeros", [17, 400])
def test_a_number_of_images_of_any_length_is_the_models_to_refuse(served: Media, zeros: int) -> None:
    body = b'{"n": 1' + b"0" * zeros + b"}"
    status, param, _ = error(served.gateway.post("/api/generate/drawn", body=body, headers=JSON))
    assert (status, param) == (400, "n")


def test_a_large_number_of_images_takes_nothing_from_others(tmp_path: Path) -> None:
    with media(tmp_path) as served, ThreadPoolExecutor(1) as pool:
        served.fake.hold()
        other = pool.submit(served.gateway.post, "/api/generate/drawn", {"seed": 1})
        eventually(lambda: served.fake.running == 1, 20, "it was not asked")
        with connected(served.gateway.port) as connection:
            connection.sendall(request("/api/generate/drawn", {"n": 10**17}))
            eventually(lambda: served.fake.running == 2, 20, "it was not asked")
        eventually(lambda: served.fake.running == 1, 20, "it was not cancelled")
        served.fake.release()
        assert other.result().status == 200


@pytest.mark.parametrize("text", ["[" * 100_000, "[" * 40 + "]" * 40, "NaN", '{"a": 1, "a": 2}'])
def test_a_field_of_a_form_that_is_no_number_is_named(served: Media, text: str) -> None:
    body, headers = form(seed=text, image=picture())
    status, param, message = error(served.gateway.post("/api/generate/altered", body=body, headers=headers))
    assert (status, param) == (400, "seed")
    assert "wanted integer" in message
    body, headers = form(model="altered", n=text, image=picture())
    status, param, message = error(served.gateway.post("/v1/images/edits", body=body, headers=headers))
    assert (status, param) == (400, "n")
    assert "wanted an integer" in message


def test_images_that_break_off_are_not_counted(tmp_path: Path) -> None:
    with media(tmp_path, limits={"images_a_day": 1}) as served:
        model = served.fake.models["drawn"]

        def half(asked: Asked) -> Reply:
            whole = usual(model.document, asked.params)
            return dataclasses.replace(whole, pieces=[whole.pieces[0][:50]], breaks=True)

        model.reply = half
        for _ in range(2):
            assert "broke off" in error(served.gateway.post("/api/generate/drawn", {"seed": 1}))[2]
        model.reply = None
        assert served.gateway.post("/api/generate/drawn", {"seed": 1}).status == 200
        assert served.gateway.post("/api/generate/drawn", {"seed": 1}).json["error"]["code"] == "insufficient_quota"


def test_tokens_of_texts_are_counted(tmp_path: Path) -> None:
    with media(tmp_path, limits={"tokens_a_day": 9}) as served:
        assert served.gateway.post("/api/generate/told", {"prompt": "It"}).status == 200  # five tokens
        assert served.gateway.post("/api/generate/told", {"prompt": "It", "stream": True}).status == 200
        reply = served.gateway.post("/api/generate/told", {"prompt": "It"})
        assert reply.status == 429
        assert "10 are used" in reply.json["error"]["message"]


def test_a_picture_is_the_same_by_every_route(served: Media) -> None:
    native = served.gateway.post("/api/generate/drawn", {"seed": 77}).body
    known = served.gateway.post("/v1/images/generations", {"model": "drawn", "prompt": "", "seed": 77}).json
    raw = served.gateway.post(
        "/v1/images/generations", {"model": "drawn", "prompt": "", "seed": 77}, headers={"Accept": "image/png"}
    )
    assert base64.b64decode(known["data"][0]["b64_json"]) == native == raw.body


def test_a_key_for_texts_makes_no_images_or_sounds(served: Media, monkeypatch: pytest.MonkeyPatch) -> None:
    async def writer(_headers: Any, _changes: bool = False) -> Caller:
        return Caller("key_1", "writer", frozenset({"text:generate"}))

    monkeypatch.setattr(served.gateway.state.accounts, "caller", writer)
    before = len(served.fake.asked)
    body, headers = form(image=picture(), model="altered", prompt="")
    for reply in (
        served.gateway.post("/v1/images/generations", {"model": "drawn", "prompt": ""}),
        served.gateway.post("/v1/images/edits", body=body, headers=headers),
        served.gateway.post("/v1/audio/speech", {"model": "digits", "input": "4"}),
        served.gateway.post("/api/generate/drawn", {}),
        served.gateway.post("/api/jobs/digits", {"label": "7"}),
    ):
        assert reply.status == 403
        assert reply.json["error"]["code"] == "insufficient_scope"
    assert len(served.fake.asked) == before
    assert served.gateway.post("/api/generate/told", {"prompt": "It"}).status == 200
    assert served.fake.asked[-1].headers["x-atelier-caller"] == "key_1"
