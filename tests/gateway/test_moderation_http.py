"""Moderation as callers meet it: prompts of every route, what models make, streams, and what is written down."""

# ruff: noqa: RUF001  # what looks alike is what is tested

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from benchmarks.server import eventually
from gateway.accounts.database import open_database
from gateway.moderation.blocked import BlockList, blocked
from gateway.moderation.decided import decided
from gateway.phash import picture_hash
from gateway.sealed import read_ring
from handlers.media.image import contact_sheet
from handlers.params import ParamSpec
from tests.gateway.conftest import Reply
from tests.gateway.media import Media, answering, media, official
from tests.gateway.test_moderation_images import encoded, scene
from tests.support.accounts import rows
from tests.support.fake_documents import SEED, SOUND_TYPES, SOUNDS, document
from tests.support.fake_replies import Reply as Answer

LISTS = {"hate.txt": "zork\n", "self-harm.txt": "blorp\n", "violence.txt": "zork the king\n禁词\n"}
PAINTER = document(
    "painter",
    "text_image",
    (ParamSpec("prompt", "string", "what is drawn"), SEED, ParamSpec("n", "integer", "how many", 1, 1, 4)),
    ("image/png", "application/json"),
    {"prompt": "a cat"},
)
SAYER = document(
    "sayer",
    "speech",
    SOUNDS[1:],
    SOUND_TYPES,
    {"text": "hello"},
    max_audio_seconds=30,
    rate=16_000,
)


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    folder = tmp_path / "lists"
    folder.mkdir()
    for name, text in LISTS.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def guarded(tmp_path: Path, lists: Path) -> Iterator[Media]:
    settings = {"folder": lists, "blocked": tmp_path / "blocked.json", "actions": {"self-harm": "log"}}
    with media(tmp_path, PAINTER, SAYER, moderation=settings) as made:
        yield made


def decisions(media: Media, folder: Path) -> list[Any]:
    assert media.gateway.state.accounts.audit.flush(30)
    query = "select owner, route, category, rule, action, stage, text from moderation_decisions order by created, id"
    return rows(folder / "gateway.db", query)


def refused(reply: Reply) -> tuple[str | None, str]:
    """The param and message of a refusal."""
    assert reply.status == 400, reply.body
    assert reply.headers["x-should-retry"] == "false"
    error = reply.json["error"]
    assert (error["type"], error["code"]) == ("invalid_request_error", "content_policy_violation")
    return error["param"], error["message"]


ASKED = [
    ("/v1/images/generations", {"model": "painter", "prompt": "a Zоrk"}, "prompt"),
    ("/v1/completions", {"model": "told", "prompt": "a z0rk"}, "prompt"),
    ("/v1/completions", {"model": "told", "prompt": "z-o-r-k", "stream": True}, "prompt"),
    ("/v1/completions", {"model": "summary", "prompt": ["fine", "zork"]}, "prompt"),
    ("/v1/chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "zork!"}]}, "messages[0]"),
    ("/v1/audio/speech", {"model": "sayer", "input": "ｚｏｒｋ"}, "input"),
    ("/v1/audio/speech", {"model": "sayer", "input": "zork", "stream_format": "sse"}, "input"),
    ("/api/generate/told", {"prompt": "zork"}, "prompt"),
    ("/api/generate/told", {"prompt": "zork", "stream": True}, "prompt"),
    ("/api/generate/chat", {"messages": [{"role": "user", "content": "zork"}]}, "messages[0].content"),
    ("/api/generate/chat", {"messages": [{"role": "user", "content": "a"}], "stop": ["b", "zork"]}, "stop[1]"),
    ("/api/jobs/told", {"prompt": "zork"}, "prompt"),
    ("/v1/responses", {"model": "chat", "input": "zork"}, ""),
    ("/v1/responses", {"model": "chat", "input": "zork", "stream": True}, ""),
]


@pytest.mark.parametrize(("path", "body", "param"), ASKED)
def test_a_prompt_is_refused_before_its_model_is_asked(
    guarded: Media, tmp_path: Path, path: str, body: dict[str, Any], param: str
) -> None:
    found, message = refused(guarded.gateway.post(path, body))
    assert (found or "").startswith(param)
    assert "is refused by this server's rules: category hate, characters " in message
    assert guarded.fake.asked == []
    route = path.rpartition("/")[0] + "/{name}" if path.startswith("/api/g") else path
    route = "/api/jobs/{id}" if path.startswith("/api/j") else route
    ((owner, told, category, rule, action, stage, text),) = decisions(guarded, tmp_path)
    assert (owner, told, category, action, stage, text) == ("anybody", route, "hate", "refuse", "prompt", None)
    assert rule.startswith("hate#")


def test_where_it_is_is_told(guarded: Media) -> None:
    _, message = refused(guarded.gateway.post("/v1/completions", {"model": "summary", "prompt": ["fine", "a zork"]}))
    assert message.startswith("prompt[1]: text is refused by this server's rules: category hate, characters 3 to 6 ")


def test_a_prompt_of_many_texts_is_decided_once(guarded: Media, tmp_path: Path) -> None:
    refused(guarded.gateway.post("/v1/completions", {"model": "told", "prompt": "zork zork", "n": 8}))
    assert len(decisions(guarded, tmp_path)) == 1


def test_a_category_that_is_only_logged_goes_on(guarded: Media, tmp_path: Path) -> None:
    reply = guarded.gateway.post("/v1/completions", {"model": "told", "prompt": "blorp"})
    assert reply.status == 200
    assert next(row[2:6] for row in decisions(guarded, tmp_path))[::2] == ("self-harm", "log")
    metrics = guarded.gateway.get("/metrics").body.decode()
    name = "atelier_gateway_moderation_decisions_total"
    assert f'{name}{{action="log",category="self-harm",stage="prompt"}} 1.0' in metrics


def test_where_a_decision_cannot_be_written_down_nothing_goes_on(guarded: Media) -> None:
    guarded.gateway.state.accounts.audit._room_bytes = 100
    reply = guarded.gateway.post("/v1/completions", {"model": "told", "prompt": "blorp"})
    assert reply.status == 503
    assert "the log of requests is full" in reply.json["error"]["message"]
    assert guarded.fake.asked == []


def test_the_official_client_reads_the_refusal_and_does_not_retry(guarded: Media) -> None:
    with official(guarded.gateway.url, retries=5) as client, pytest.raises(openai.BadRequestError) as error:
        client.images.generate(model="painter", prompt="zork")
    assert error.value.code == "content_policy_violation"


def test_what_is_fine_comes_as_it_comes_without(guarded: Media) -> None:
    text = "".join(["It ", "was ", "a ", "dark ", "night."])
    whole = guarded.client.completions.create(model="told", prompt="It")
    assert whole.choices[0].text == text
    pieces = list(guarded.client.completions.create(model="told", prompt="It", stream=True))
    assert "".join(piece.choices[0].text for piece in pieces) == text
    assert pieces[-1].choices[0].finish_reason == "stop"
    native = guarded.gateway.post("/api/generate/told", {"prompt": "It", "stream": True})
    events = native.body.decode().split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""]


def says(guarded: Media, model: str, *pieces: str) -> None:
    """Have a model write these pieces, as it is asked: whole or as a stream."""

    def reply(asked: Any) -> Answer:
        head: dict[str, Any] = {"id": "x", "object": "text_completion", "model": model, "created": 1}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        if not asked.params.get("stream"):
            choice = {"index": 0, "text": "".join(pieces), "finish_reason": "stop", "logprobs": None}
            return Answer([json.dumps({**head, "choices": [choice], "usage": usage}).encode()])
        choices: list[dict[str, Any]] = [
            {"index": 0, "text": piece, "finish_reason": None, "logprobs": None} for piece in pieces
        ]
        choices.append({"index": 0, "text": "", "finish_reason": "stop", "logprobs": None})
        events = [f"data: {json.dumps({**head, 'choices': [choice]})}\n\n".encode() for choice in choices]
        return Answer([*events, b"data: [DONE]\n\n"], "text/event-stream")

    guarded.fake.models[model].reply = reply


def test_a_text_that_was_written_is_refused_whole(guarded: Media, tmp_path: Path) -> None:
    says(guarded, "told", "here is a z", "ork for you")
    param, message = refused(guarded.gateway.post("/v1/completions", {"model": "told", "prompt": "It"}))
    assert param is None
    assert message.startswith("what the model wrote is refused by this server's rules: category hate, in choices[0]")
    assert [row[5] for row in decisions(guarded, tmp_path)] == ["result"]
    refused(guarded.gateway.post("/api/generate/told", {"prompt": "It"}))


def streamed(reply: Reply) -> list[Any]:
    return [json.loads(line[6:]) for line in reply.body.decode().split("\n\n") if line.startswith("data: {")]


@pytest.mark.parametrize(
    ("pieces", "sent"),
    [
        (("fine words ", "then zork"), "fine words "),
        (("fine words ", "z", "o", "r", "k", " and on"), "fine words "),
        (("fine words ", "z", "-o-", "rk."), "fine words "),
        (("fine", " words", " so", " zork"), "fine words so"),
        (("fine ", "z o r k ", "x"), "fine "),
        (("干净的", "禁", "词", "后"), "干净的禁"),
        (("fine ", "zоrk"), "fine "),
        (("fine zork\u200b", "x", " zork"), "fine zork\u200bx"),
    ],
)
def test_a_stream_ends_before_the_word_that_is_refused(
    guarded: Media, tmp_path: Path, pieces: tuple[str, ...], sent: str
) -> None:
    says(guarded, "told", *pieces)
    events = streamed(guarded.gateway.post("/v1/completions", {"model": "told", "prompt": "It", "stream": True}))
    *chunks, last, error = events
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == sent
    assert last["choices"][0]["finish_reason"] == "content_filter"
    assert error["error"]["code"] == "content_policy_violation"
    assert len(decisions(guarded, tmp_path)) == 1
    native = streamed(guarded.gateway.post("/api/generate/told", {"prompt": "It", "stream": True}))
    assert "".join(event["choices"][0]["text"] for event in native[:-1]) == sent
    assert native[-1]["error"]["code"] == "content_policy_violation"
    assert guarded.gateway.state.history.flush(30)
    for (made,) in rows(tmp_path / "gateway.db", "select id from generations"):
        kept = guarded.gateway.get(f"/api/history/{made}").json  # what was refused is not kept either
        assert (kept["status"], kept["text"]) == ("failed", None)


def test_a_stream_that_is_refused_at_once_has_a_status(guarded: Media) -> None:
    says(guarded, "told", "zork ", "and more")
    refused(guarded.gateway.post("/v1/completions", {"model": "told", "prompt": "It", "stream": True}))


def test_longer_words_and_parted_ones_pass_a_stream(guarded: Media) -> None:
    pieces = ("zork", "ian ", "aero", "zork", " z", "orks ", "禁", "止", "x" * 200, "zork ")
    says(guarded, "told", *pieces)
    reply = guarded.gateway.post("/v1/completions", {"model": "told", "prompt": "It", "stream": True})
    text = "".join(event["choices"][0]["text"] for event in streamed(reply))
    assert text == "".join(pieces)


def test_a_chat_that_is_refused_says_so_to_the_official_client(guarded: Media) -> None:
    def reply(_asked: Any) -> Answer:
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, {"content": "fine "}, {"content": "zork"}]
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        return Answer(
            [*(f"data: {json.dumps({'choices': [choice]})}\n\n".encode() for choice in choices), b"data: [DONE]\n\n"],
            "text/event-stream",
        )

    guarded.fake.models["chat"].reply = reply
    stream = guarded.client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "hello"}], stream=True
    )
    said, reasons = "", []
    while True:
        try:
            chunk = next(stream)
        except openai.APIError as error:
            found = error.message
            break
        said += chunk.choices[0].delta.content or ""
        reasons.append(chunk.choices[0].finish_reason)
    assert found.startswith("what the model wrote is refused")
    assert said == "fine "
    assert reasons[-1] == "content_filter"


def drawing(*contents: bytes) -> Any:
    """The reply of a model that draws these, with seeds from 7 on."""
    if len(contents) == 1:
        return answering([contents[0]], "image/png", seed=7)
    data = [{"b64_json": base64.b64encode(one).decode(), "seed": 7 + at} for at, one in enumerate(contents)]
    return answering([json.dumps({"data": data, "content_type": "image/png"}).encode()], "application/json")


def test_an_image_like_a_blocked_one_is_refused_from_when_it_is_on_the_list(guarded: Media, tmp_path: Path) -> None:
    first, second = scene(1), encoded(scene(2))
    served = encoded(first.resize((96, 96)))
    guarded.fake.models["drawn"].reply = drawing(served)
    body = {"model": "drawn", "prompt": ""}
    assert guarded.gateway.post("/v1/images/generations", body).status == 200
    listed = blocked(picture_hash(encoded(first)), "why", "sexual")
    BlockList(tmp_path / "blocked.json").add(listed)
    _, message = refused(guarded.gateway.post("/v1/images/generations", body))
    assert message == (
        "image 1 of 1 (seed 7) is refused by this server's rules: category sexual, it is like the blocked image "
        f"{listed.id}"
    )
    guarded.fake.models["drawn"].reply = drawing(second, served, second)
    _, message = refused(guarded.gateway.post("/v1/images/generations", {**body, "n": 3}))
    assert message.startswith("image 2 of 3 (seed 8) is refused")
    assert message.endswith("; the whole answer is refused, ask for the others by their seeds")
    refused(guarded.gateway.post("/api/generate/drawn", {"n": 3}))
    sheet = encoded(Image.fromarray(contact_sheet(np.stack([np.asarray(scene(seed)) for seed in (4, 1, 5)]))))
    before = guarded.fake.models["drawn"].reply
    guarded.fake.models["drawn"].reply = answering([sheet], "image/png", seed=7)
    _, message = refused(guarded.gateway.post("/api/generate/drawn", {"n": 3, "grid": True}))
    assert message.startswith("image 2 of 3 (seed 8) is refused")
    assert guarded.gateway.post("/api/generate/drawn", {"n": 9, "grid": True}).status == 200
    guarded.fake.models["drawn"].reply = before
    assert {row[3] for row in decisions(guarded, tmp_path)} == {f"blocked#{listed.id}"}
    job = guarded.gateway.post("/api/jobs/drawn", {"n": 3}).json["id"]
    eventually(lambda: guarded.gateway.get(f"/api/jobs/{job}").json["status"] == "failed", 20, "the job goes on")
    assert guarded.gateway.get(f"/api/jobs/{job}").json["error"]["code"] == "content_policy_violation"
    refused(guarded.gateway.get(f"/api/jobs/{job}/result"))
    BlockList(tmp_path / "blocked.json").remove(listed.id)
    assert guarded.gateway.post("/v1/images/generations", body).status == 200


def test_an_image_that_is_sent_is_held_against_the_list_too(guarded: Media, tmp_path: Path) -> None:
    picture = encoded(scene(1))
    BlockList(tmp_path / "blocked.json").add(blocked(picture_hash(picture), "why", "sexual"))
    with pytest.raises(openai.BadRequestError, match="image is refused by this server's rules: category sexual") as one:
        guarded.client.images.edit(model="altered", image=("a.png", picture), prompt="")
    assert (one.value.code, one.value.param) == ("content_policy_violation", "image")
    inline = {"image": {"b64_json": base64.b64encode(picture).decode()}}
    param, _ = refused(guarded.gateway.post("/api/generate/altered", inline))
    assert param == "image"
    assert [row[5] for row in decisions(guarded, tmp_path)] == ["prompt", "prompt"]
    assert guarded.fake.asked == []
    guarded.client.images.edit(model="altered", image=("a.png", encoded(scene(2))), prompt="")


def test_texts_are_kept_sealed_where_a_setting_says_so(tmp_path: Path, lists: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"one {base64.b64encode(bytes(range(32))).decode()}\n")
    keys.chmod(0o600)
    settings = {"folder": lists, "blocked": tmp_path / "blocked.json", "keep_texts": True}
    with media(tmp_path, moderation=settings, encryption_keys=keys) as made:
        refused(made.gateway.post("/v1/completions", {"model": "told", "prompt": "please zork 一"}))
        ((*_, text),) = decisions(made, tmp_path)
        assert b"zork" not in text
        engine = open_database(f"sqlite:///{tmp_path}/gateway.db")
        assert [row["text"] for row in decided(engine, 5, read_ring(keys))] == ["please zork 一"]
        assert [row["text"] for row in decided(engine, 5, None)] == ["(sealed; the settings name no encryption_keys)"]
        engine.dispose()


def test_more_text_than_is_looked_at_is_refused_and_says_so(tmp_path: Path, lists: Path) -> None:
    settings = {"folder": lists, "blocked": tmp_path / "blocked.json", "characters": 100}
    with media(tmp_path, moderation=settings) as made:
        reply = made.gateway.post("/v1/completions", {"model": "told", "prompt": "a" * 101})
        assert (reply.status, reply.json["error"]["code"]) == (400, "too_long")
        assert (
            "101 characters together, and this server's moderation looks at 100 at most"
            in reply.json["error"]["message"]
        )
        assert made.fake.asked == []


def test_without_the_setting_nothing_is_refused(tmp_path: Path) -> None:
    with media(tmp_path) as made:
        assert made.gateway.post("/v1/completions", {"model": "told", "prompt": "build a bomb"}).status == 200
        reply = made.gateway.post("/v1/moderations", {"input": "build a bomb"})
        assert (reply.status, reply.json["error"]["code"]) == (404, "moderation_off")


def test_results_are_left_alone_where_a_setting_says_so(tmp_path: Path, lists: Path) -> None:
    with media(tmp_path, moderation={"folder": lists, "blocked": tmp_path / "b.json", "results": False}) as made:
        says(made, "told", "a zork")
        assert made.gateway.post("/v1/completions", {"model": "told", "prompt": "It"}).status == 200
        assert made.gateway.post("/v1/completions", {"model": "told", "prompt": "zork"}).status == 400
