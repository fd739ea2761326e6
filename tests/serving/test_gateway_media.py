"""Images and a model's own words through the gateway, before real engines."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from PIL import Image

from gateway.settings import Settings
from tests.gateway.conftest import Gateway, running
from tests.gateway.media import error, official, receipt
from tests.serving.conftest import Server

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.fixture(scope="module")
def gateway(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("gateway")
    settings = Settings(
        port=0,
        run_dir=server.run_dir,
        spool=folder / "spool",
        database=f"sqlite:///{folder}/gateway.db",
        aliases={"gpt-image-1": "tiny"},
        log_level="error",
    )
    with running(settings) as made:
        yield made


@pytest.fixture(scope="module")
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with official(gateway.url) as made:
        yield made


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_the_same_image_by_the_client_by_accept_and_in_the_model_s_own_words(
    gateway: Gateway, client: openai.OpenAI, server: Server
) -> None:
    known = client.images.generate(model="gpt-image-1", prompt="", extra_body={"seed": 7})
    data = base64.b64decode((known.data or [])[0].b64_json or "")
    side = opened(data).size[0]
    assert known.size == f"{side}x{side}"
    raw = gateway.post(
        "/v1/images/generations", {"model": "tiny", "prompt": "", "seed": 7}, headers={"Accept": "image/png"}
    )
    native = gateway.post("/api/generate/tiny", {"seed": 7})
    assert data == raw.body == native.body
    assert receipt(raw) == receipt(native)
    assert receipt(native)["params"]["seed"] == 7
    assert b"trainedAlgorithmicMedia" in data


def test_seeds_formats_streams_and_links(gateway: Gateway, client: openai.OpenAI) -> None:
    drawn = client.images.generate(model="tiny", prompt="", n=3, output_format="webp", output_compression=70)
    seeds: list[Any] = [item.seed for item in drawn.data or []]  # type: ignore[attr-defined]
    assert seeds == list(range(seeds[0], seeds[0] + 3))
    again = client.images.generate(
        model="tiny", prompt="", output_format="webp", output_compression=70, extra_body={"seed": seeds[2]}
    )
    assert (again.data or [])[0].b64_json == (drawn.data or [])[2].b64_json
    assert opened(base64.b64decode((again.data or [])[0].b64_json or "")).format == "WEBP"
    events = list(client.images.generate(model="tiny", prompt="", stream=True, extra_body={"seed": 7}))
    assert [event.type for event in events] == ["image_generation.completed"]
    link = client.images.generate(model="tiny", prompt="", response_format="url", extra_body={"seed": 7})
    fetched = gateway.get(((link.data or [])[0].url or "").removeprefix(gateway.url))
    assert fetched.body == base64.b64decode(events[0].b64_json)


def test_what_the_engine_refuses_names_the_field_that_the_caller_knows(gateway: Gateway) -> None:
    path = "/v1/images/generations"
    assert error(gateway.post(path, {"model": "tiny", "prompt": "", "seed": -1}))[:2] == (400, "seed")
    assert error(gateway.post(path, {"model": "tiny", "prompt": "", "truncation": 3}))[:2] == (400, "truncation")
    assert error(gateway.post(path, {"model": "tiny", "prompt": "", "size": "512x512"}))[:2] == (400, "size")
    assert error(gateway.post("/api/generate/tiny", {"n": 99}))[:2] == (400, "n")
    status, _, message = error(gateway.post("/api/generate/tight", {"n": 16}))
    assert status == 413
    assert message


def test_models_are_told_as_their_engines_describe_them(gateway: Gateway, server: Server) -> None:
    found = gateway.get("/api/models/tiny").json
    described = server.control("tiny", "describe")
    assert {name: found[name] for name in described} == described
    assert found["medium"] == "image"
    assert found["licence"]["data"]
    assert gateway.post("/api/generate/tiny", found["example"]).status == 200


def test_texts_stream_and_jobs_end(gateway: Gateway) -> None:
    streamed = gateway.post("/api/generate/text", {"prompt": "a", "max_tokens": 5, "seed": 1, "stream": True})
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    job = gateway.post("/api/jobs/text", {"prompt": "a", "max_tokens": 5, "seed": 1}).json["id"]
    events = gateway.get(f"/api/jobs/{job}/events").body.decode()
    assert '"status": "done"' in events.split("\n\n")[-2]
    whole = gateway.get(f"/api/jobs/{job}/result")
    pieces = [json.loads(line[6:]) for line in streamed.body.decode().split("\n\n") if line.startswith("data: {")]
    assert "".join(piece["choices"][0]["text"] for piece in pieces) == whole.json["choices"][0]["text"]
    assert receipt(whole)["model"] == "text"


def test_nothing_of_it_stays(gateway: Gateway) -> None:
    assert gateway.state.spool.files == 0
    assert gateway.state.jobs._orders == {}
