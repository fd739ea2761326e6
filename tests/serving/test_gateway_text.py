"""Text through the gateway by the official client, before real engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.settings import Settings
from tests.conftest import Tiny
from tests.gateway.clients import client
from tests.gateway.conftest import Gateway
from tests.gateway.conftest import running as gateway_running
from tests.serving.conftest import Server, running
from tests.support.openapi import problems
from tests.support.sabotage import renamed

pytestmark = [pytest.mark.server, pytest.mark.slow]
HELLO = [{"role": "user", "content": "What color is it?"}]
OPTIONS = {"include_usage": True}


@pytest.fixture(scope="module")
def served(tiny_text: Tiny, tiny_dialogue: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    store = tmp_path_factory.mktemp("texts")
    renamed(tiny_text.bundle, "poems", store)
    renamed(tiny_dialogue.bundle, "talk", store)
    with running(store, tmp_path_factory.mktemp("texts-run")) as started:
        yield started


@pytest.fixture(scope="module")
def gateway(served: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder: Path = tmp_path_factory.mktemp("gateway")
    settings = Settings(
        port=0,
        run_dir=served.run_dir,
        spool=folder / "spool",
        database=f"sqlite:///{folder}/gateway.db",
        aliases={"gpt-4o-mini": "talk"},
        system={"talk": "prepend"},
        log_level="error",
    )
    with gateway_running(settings) as made:
        yield made


@pytest.fixture(scope="module")
def api(gateway: Gateway) -> Iterator[Any]:
    with client(gateway) as made:
        yield made


def test_a_chat_is_the_same_whole_and_streamed(api: Any) -> None:
    ask = {"model": "gpt-4o-mini", "messages": HELLO, "seed": 7, "temperature": 1, "max_tokens": 8}
    whole = api.chat.completions.create(**ask)
    assert whole.model == "talk"
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert 0 < whole.usage.completion_tokens <= 8
    assert whole.system_fingerprint
    found = list(api.chat.completions.create(**ask, stream=True, stream_options=OPTIONS))
    assert found[0].choices[0].delta.role == "assistant"
    text = "".join(chunk.choices[0].delta.content or "" for chunk in found[:-1])
    assert text == whole.choices[0].message.content
    assert found[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert (found[-1].choices, found[-1].usage) == ([], whole.usage)
    assert {chunk.system_fingerprint for chunk in found} == {whole.system_fingerprint}


def test_n_turns_are_those_of_the_seeds_that_follow(api: Any) -> None:
    ask: dict[str, Any] = {"model": "talk", "messages": HELLO, "temperature": 1, "max_tokens": 6}
    several = api.chat.completions.create(**ask, n=3, seed=5, logprobs=True)
    for choice in several.choices:
        alone = api.chat.completions.create(**ask, seed=5 + choice.index)
        assert alone.choices[0].message.content == choice.message.content
        assert all(token.logprob <= 0 for token in choice.logprobs.content)


def test_system_messages_and_parts_are_read(api: Any) -> None:
    parts = [{"type": "text", "text": "What color"}, {"type": "text", "text": " is it?"}]
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": parts}]
    told = api.chat.completions.create(model="talk", messages=messages)
    joined = [{"role": "user", "content": "Be kind.\n\nWhat color is it?"}]
    assert told.choices[0].message == api.chat.completions.create(model="talk", messages=joined).choices[0].message
    assert told.usage.prompt_tokens > 0


def test_completions_of_several_prompts_are_those_of_each(api: Any) -> None:
    ask: dict[str, Any] = {"model": "poems", "max_tokens": 12}
    several = api.completions.create(**ask, prompt=["The ", "A "], n=2, seed=3, echo=True)
    assert len(several.choices) == 4
    for choice in several.choices:
        prompt, i = ("The ", "A ")[choice.index // 2], choice.index % 2
        alone = api.completions.create(**ask, prompt=prompt, seed=3 + i)
        assert choice.text == prompt + alone.choices[0].text
    found = list(api.completions.create(**ask, prompt=["The ", "A "], n=2, seed=3, echo=True, stream=True))
    for choice in several.choices:
        mine = [chunk.choices[0] for chunk in found if chunk.choices[0].index == choice.index]
        assert "".join(piece.text for piece in mine) == choice.text
        assert mine[-1].finish_reason == choice.finish_reason


def test_what_the_engine_refuses_names_the_clients_field(api: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="max_tokens is 5000, wanted an integer from 1") as caught:
        api.chat.completions.create(model="talk", messages=HELLO, max_completion_tokens=5000)
    assert caught.value.param == "max_completion_tokens"
    with pytest.raises(openai.BadRequestError, match=r"prompt\[1\]: prompt holds a NUL character") as caught:
        api.completions.create(model="poems", prompt=["a", "b\0"])
    assert caught.value.param == "prompt"
    with pytest.raises(openai.BadRequestError, match="top_p has no effect at temperature 0") as caught:
        api.chat.completions.create(model="talk", messages=HELLO, top_p=0.5)
    assert caught.value.param == "top_p"
    assert api.chat.completions.create(model="talk", messages=HELLO, top_p=1, n=1, stop=[]).choices


def test_the_document_is_of_what_is_served(gateway: Gateway) -> None:
    document = gateway.get("/openapi.json").json
    assert problems(document) == []
    schema = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert schema["properties"]["model"]["enum"] == ["talk", "gpt-4o-mini"]
    assert schema["properties"]["max_tokens"]["maximum"] < 5000
    assert gateway.get("/docs").status == 200
    ids = [model["id"] for model in gateway.get("/v1/models").json["data"]]
    assert ids == ["poems", "talk", "gpt-4o-mini"]
