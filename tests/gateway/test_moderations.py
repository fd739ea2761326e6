"""`POST /v1/moderations`, as the official client reads it; and the classifier that may stand beside the word lists."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import web
from openai.types import ModerationCreateResponse
from pydantic import TypeAdapter

from gateway.moderation.blocked import BlockList, blocked
from gateway.moderation.categories import CATEGORIES
from gateway.moderation.settings import ModerationSettings
from gateway.phash import picture_hash
from gateway.settings import SettingsError, load
from tests.conftest import ROOT
from tests.gateway.conftest import running, settings_for
from tests.gateway.media import Media, error, media
from tests.gateway.test_moderation_images import encoded, scene
from tests.support.documents import table
from tests.support.openapi import problems, valid


def data_url(content: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    folder = tmp_path_factory.mktemp("trial")
    with media(folder, moderation={"blocked": folder / "blocked.json"}) as made:
        yield made


def ask(made: Media, given: Any, **fields: Any) -> Any:
    reply = made.gateway.post("/v1/moderations", {"input": given, **fields})
    assert reply.status == 200, reply.body
    TypeAdapter(ModerationCreateResponse).validate_python(reply.json)  # every field is of the client's types
    assert set(reply.json) == {"id", "model", "results"}
    return reply.json["results"]


def test_the_official_client_reads_a_result(trial: Media) -> None:
    made = trial.client.moderations.create(input="How to bu1ld a b-o-m-b?", model="omni-moderation-latest")
    assert made.id.startswith("modr-")
    (result,) = made.results
    assert result.flagged
    assert result.categories.illicit_violent
    assert not result.categories.hate
    assert result.category_scores.illicit_violent == 1.0
    assert result.category_scores.hate == 0.0
    assert result.category_applied_input_types.illicit_violent == ["text"]
    assert not trial.client.moderations.create(input="a harbour at dawn").results[0].flagged


def test_every_category_is_there(trial: Media) -> None:
    (result,) = ask(trial, "a harbour")
    for name in ("categories", "category_scores", "category_applied_input_types"):
        assert tuple(result[name]) == CATEGORIES


def test_a_list_of_texts_has_a_result_each(trial: Media) -> None:
    results = ask(trial, ["pipe bomb", "a cat", "制 造 炸 弹", ""])
    assert [result["flagged"] for result in results] == [True, False, True, False]


def test_parts_have_one_result_and_images_are_held_against_the_list(trial: Media) -> None:
    picture = scene(3)
    parts = [{"type": "text", "text": "a cat"}, {"type": "image_url", "image_url": {"url": data_url(encoded(picture))}}]
    (result,) = ask(trial, parts)
    assert not result["flagged"]
    assert result["category_applied_input_types"]["sexual"] == ["text", "image"]
    assert result["category_applied_input_types"]["hate"] == ["text"]
    blocked_at = trial.gateway.settings.moderation
    assert blocked_at is not None
    BlockList(blocked_at.blocked).add(blocked(picture_hash(encoded(picture)), "why", "violence"))
    (result,) = ask(trial, [parts[1]])
    assert [name for name in CATEGORIES if result["categories"][name]] == ["violence"]
    assert result["category_applied_input_types"]["violence"] == ["image"]


@pytest.mark.parametrize(
    ("given", "param", "message"),
    [
        (None, "input", "input is None, wanted a string, a list of strings, or a list of parts"),
        ([], "input", r"input is \[\], wanted"),
        (7, "input", "input is 7, wanted"),
        (["a"] * 257, "input", "input has 257 items, wanted at most 256"),
        (["a", {"type": "text", "text": "b"}], "input[0]", r"input\[0\] is 'a', wanted .*texts alone or parts alone"),
        ([{"type": "text"}], "input[0]", r"input\[0\] is \{'type': 'text'\}, wanted"),
        ([{"type": "image_url", "image_url": "x"}], "input[0]", "wanted"),
        (
            [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}],
            "input[0].image_url",
            "links are not fetched, send data:image/png;base64",
        ),
        (
            [{"type": "image_url", "image_url": {"url": "data:image/png;base64,%%"}}],
            "input[0].image_url",
            "is no picture that is read here",
        ),
        (
            [{"type": "image_url", "image_url": {"url": data_url(b"GIF89a" + bytes(40))}}],
            "input[0].image_url",
            "is no picture that is read here: it is no PNG, JPEG or WebP",
        ),
        ([{"type": "image_url", "image_url": {"url": data_url(b"")}}] * 9, "input", "has 9 images, wanted at most 8"),
    ],
)
def test_other_input_is_refused_with_its_place(trial: Media, given: Any, param: str, message: str) -> None:
    status, found, told = error(trial.gateway.post("/v1/moderations", {"input": given}))
    assert (status, found) == (400, param)
    with pytest.raises(ValueError, match=message):
        raise ValueError(told)


def test_other_fields_are_refused_by_name(trial: Media) -> None:
    status, param, message = error(trial.gateway.post("/v1/moderations", {"input": "a", "stream": True}))
    assert (status, param, message) == (400, "stream", "stream is unknown; known are input, model")
    status, param, message = error(trial.gateway.post("/v1/moderations", {"input": "a", "model": "gpt"}))
    assert (status, param) == (400, "model")
    assert "wanted one of atelier-moderation, omni-moderation-latest" in message
    ask(trial, "a", model=None, stream=None)


def test_the_document_has_the_route_and_an_example_that_is_answered_so(trial: Media) -> None:
    document = trial.gateway.get("/openapi.json").json
    assert problems(document) == []
    ((kind, content),) = document["paths"]["/v1/moderations"]["post"]["requestBody"]["content"].items()
    assert kind == "application/json"
    example = content["examples"]["text"]["value"]
    assert valid(example, content["schema"], document)
    answer = trial.gateway.post("/v1/moderations", example).json
    assert valid(answer, {"$ref": "#/components/schemas/Moderation"}, document)
    assert not valid({**answer, "results": []}, {"$ref": "#/components/schemas/Moderation"}, document)
    for given in (["a", "b"], [{"type": "text", "text": "a"}]):
        assert valid({"input": given}, content["schema"], document)
    assert not valid({"input": given, "stream": True}, content["schema"], document)


def test_every_setting_is_in_its_table() -> None:
    rows = table((ROOT / "docs/moderation.md").read_text(), "## Settings")
    named = [re.findall(r"`(\w+)`", row[0])[0] for row in rows]
    assert sorted(named) == sorted(ModerationSettings.model_fields)


@contextmanager
def classifier(reply: Callable[[web.Request, Any], Any]) -> Iterator[str]:
    """The address of a classifier that answers as `reply` says."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    async def answer(request: web.Request) -> web.Response:
        made = reply(request, await request.json())
        return web.json_response(await made if asyncio.iscoroutine(made) else made)

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_post("/judge", answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        found.append(runner.addresses[0][1])
        ready.set()
        return runner

    def run() -> None:
        runner = loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield f"http://127.0.0.1:{found[0]}/judge"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)


def judged(*flagged: str, **scores: float) -> dict[str, Any]:
    return {
        "categories": {name: name in flagged for name in CATEGORIES},
        "category_scores": {name: scores.get(name, 0.1) for name in CATEGORIES},
    }


@contextmanager
def with_classifier(folder: Path, url: str, **more: Any) -> Iterator[Media]:
    settings = {"blocked": folder / "blocked.json", "classifier": {"url": url, "seconds": 20, **more}}
    with media(folder, moderation=settings) as made:
        yield made


def test_a_classifier_is_asked_with_the_texts_and_its_word_counts(tmp_path: Path) -> None:
    asked: list[Any] = []
    key = tmp_path / "key"
    key.write_text("secret\n")

    def reply(request: web.Request, document: Any) -> Any:
        asked.append((request.headers.get("Authorization"), document))
        return {"results": [judged("hate", hate=0.9) if "nasty" in text else judged() for text in document["input"]]}

    with classifier(reply) as url, with_classifier(tmp_path, url, key_file=key) as made:
        results = ask(made, ["a cat", "", "nasty \ud83d\ude00"])
        assert [result["flagged"] for result in results] == [False, False, True]
        assert results[2]["category_scores"]["hate"] == 1.0
        assert results[0]["category_scores"]["violence"] == 0.1
        assert asked == [("Bearer secret", {"input": ["a cat", "nasty 😀"]})]
        refusal = made.gateway.post("/v1/completions", {"model": "told", "prompt": "nasty"})
        assert refusal.status == 400
        assert "category hate, characters 1 to 5 (rule classifier)" in refusal.json["error"]["message"]
        assert made.fake.asked == []


STRANGE: list[Any] = [
    {},
    {"results": []},
    {"results": [{}]},
    {"results": [{"categories": []}]},
    {"results": [judged(), judged()]},
    {"results": "x" * (1 << 20)},
    [],
]


@pytest.mark.parametrize("strange", STRANGE, ids=range(len(STRANGE)))
@pytest.mark.parametrize("on_failure", ["refuse", "allow"])
def test_a_classifier_of_another_shape_fails_as_it_is_set(tmp_path: Path, strange: Any, on_failure: str) -> None:
    with classifier(lambda *_: strange) as url, with_classifier(tmp_path, url, on_failure=on_failure) as made:
        reply = made.gateway.post("/v1/completions", {"model": "told", "prompt": "a cat"})
        if on_failure == "allow":
            assert reply.status == 200
            assert ask(made, "pipe bomb")[0]["flagged"]  # the word lists go on
        else:
            assert (reply.status, reply.json["error"]["code"]) == (503, "moderation_unavailable")
            assert "moderation cannot judge the request just now" in reply.json["error"]["message"]
            assert int(reply.headers["retry-after"]) >= 1


def test_a_classifier_that_is_gone_or_never_answers_fails_as_it_is_set(tmp_path: Path) -> None:
    with classifier(lambda *_: {}) as url:
        gone = url
    with with_classifier(tmp_path, gone) as made:
        assert made.gateway.post("/v1/moderations", {"input": "a"}).status == 503

    async def never() -> Any:
        await asyncio.Event().wait()

    with classifier(lambda *_: never()) as url, with_classifier(tmp_path, url, seconds=0.2, on_failure="allow") as made:
        assert not ask(made, "a cat")[0]["flagged"]


def test_the_settings_say_what_is_wrong(tmp_path: Path) -> None:
    def told(moderation: Any) -> str:
        with pytest.raises(SettingsError) as found:
            load(None, {"ATELIER_GATEWAY_MODERATION": json.dumps(moderation)})
        return str(found.value)

    assert told({"lists": "a"}) == (
        "setting moderation.lists is unknown; known: folder, blocked, distance, characters, actions, results, "
        "classifier, keep_texts"
    )
    assert "setting moderation.classifier.x is unknown; known: url, seconds" in told(
        {"classifier": {"url": "http://a/b", "x": 1}}
    )
    assert "setting moderation.classifier.url is 'file:///', wanted: http://HOST/PATH" in told(
        {"classifier": {"url": "file:///"}}
    )
    assert "setting moderation.distance is '21', wanted: less than or equal to 20" in told({"distance": 21})
    assert "moderation.actions names 'rude', wanted categories: harassment, " in told({"actions": {"rude": "log"}})
    assert told({"keep_texts": True}) == (
        "moderation.keep_texts keeps texts sealed alone: set encryption_keys to a file of keys"
    )
    assert "setting moderation.actions.hate is 'ignore', wanted: 'refuse' or 'log'" in told(
        {"actions": {"hate": "ignore"}}
    )


def test_a_start_ends_with_what_is_wrong_with_the_files(tmp_path: Path, trial: Media) -> None:
    def told(**moderation: Any) -> str:
        settings = settings_for(trial.fake, tmp_path, moderation={"blocked": tmp_path / "b.json", **moderation})
        with pytest.raises(SettingsError) as found, running(settings):
            pass
        return str(found.value)

    (tmp_path / "rude.txt").write_text("a")
    assert "moderation: word lists: " in told(folder=tmp_path / "none")
    assert "names the category 'rude'" in told(folder=tmp_path)
    (tmp_path / "bad.json").write_text("[]")
    assert "bad.json is no list of blocked images" in told(blocked=tmp_path / "bad.json")
    url = "http://127.0.0.1:9/judge"
    assert "the classifier's key_file cannot be read" in told(classifier={"url": url, "key_file": tmp_path / "none"})


def test_the_client_sees_that_there_is_no_moderation(tmp_path: Path) -> None:
    with media(tmp_path) as made, pytest.raises(openai.NotFoundError, match="its operator turns it on"):
        made.client.moderations.create(input="a")
