"""Completions by the official client: prompts and lists of them, echo, streams, and the list of models."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway.clients import STORY, client
from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.gateway.raw import connected, request
from tests.support.fake_upstream import Asked, FakeUpstream, Reply, refused, usual

URL = "/v1/completions"


@pytest.fixture
def api(gateway: Gateway) -> Iterator[Any]:
    with client(gateway) as made:
        yield made


def refused_with(gateway: Gateway, **fields: Any) -> dict[str, Any]:
    reply = gateway.post(URL, {"model": "told", **fields})
    assert reply.status == 400, reply.body
    error: dict[str, Any] = reply.json["error"]
    return error


def test_an_answer_is_the_clients_own_object(fake: FakeUpstream, gateway: Gateway, api: Any) -> None:
    answer = api.completions.create(model="told", prompt="It was", max_tokens=2, seed=7, extra_body={"top_k": 3})
    assert answer.id.startswith("cmpl-")
    assert (answer.object, answer.model, answer.seed) == ("text_completion", "told", 7)
    assert answer.created > 1_700_000_000
    (choice,) = answer.choices
    assert (choice.index, choice.text, choice.finish_reason, choice.logprobs) == (0, "It was ", "length", None)
    assert answer.usage.total_tokens == 5
    assert fake.asked[-1].params == {"prompt": "It was", "max_tokens": 2, "seed": 7, "top_k": 3}
    assert gateway.post(URL, {"model": "told"}).headers["x-atelier-receipt"]


def test_a_model_begins_by_itself_where_no_prompt_is_given(fake: FakeUpstream, gateway: Gateway) -> None:
    assert gateway.post(URL, {"model": "told"}).status == 200
    assert fake.asked[-1].params == {}
    error = refused_with(gateway, model="summary")
    assert (error["param"], error["message"]) == ("prompt", "prompt is missing: it is what model summary reads")


def test_a_summarizer_reads_the_prompt_as_its_text(fake: FakeUpstream, gateway: Gateway, api: Any) -> None:
    api.completions.create(model="summary", prompt="long")
    assert fake.asked[-1].params == {"text": "long"}
    error = refused_with(gateway, model="summary", text="long", prompt="long")
    assert (error["param"], "what this route calls prompt" in error["message"]) == ("text", True)
    fake.models["summary"].reply = lambda _: refused(400, "text has 900 tokens, wanted at most 256", "text")
    assert refused_with(gateway, model="summary", prompt="long")["param"] == "prompt"


def test_lists_of_prompts_give_n_texts_each_in_order(fake: FakeUpstream, gateway: Gateway, api: Any) -> None:
    answer = api.completions.create(model="told", prompt=["a", "b", "c"], n=2, echo=True, seed=10)
    assert [choice.index for choice in answer.choices] == list(range(6))
    assert [choice.text for choice in answer.choices] == [f"{prompt}{STORY}" for prompt in "aabbcc"]
    assert answer.usage.model_dump(exclude_unset=True) == {
        "prompt_tokens": 18,
        "completion_tokens": 30,
        "total_tokens": 48,
    }
    asked = sorted((one.params["prompt"], one.params["seed"]) for one in fake.asked)
    assert asked == [(prompt, seed) for prompt in "abc" for seed in (10, 11)]
    reply = gateway.post(URL, {"model": "told", "prompt": ["a", "b"]})
    assert "x-atelier-receipt" not in reply.headers, "a receipt is that of one answer of a model"


def test_a_model_that_makes_n_by_itself_is_asked_once_a_prompt(fake: FakeUpstream, api: Any) -> None:
    answer = api.completions.create(model="summary", prompt=["a", "b"], n=3, temperature=1)
    assert [choice.index for choice in answer.choices] == list(range(6))
    assert [(one.params["text"], one.params["n"]) for one in fake.asked] == [("a", 3), ("b", 3)]


def test_seeds_that_are_drawn_follow_one_another(fake: FakeUpstream, api: Any) -> None:
    answer = api.completions.create(model="told", prompt=["a", "b"], n=3)
    for prompt in "ab":
        seeds = sorted(one.params["seed"] for one in fake.asked if one.params["prompt"] == prompt)
        assert seeds == [answer.seed, answer.seed + 1, answer.seed + 2]


def test_a_stream_of_several_has_each_ones_words_and_reason(api: Any) -> None:
    options = {"include_usage": True}
    stream = api.completions.create(
        model="told", prompt=["a", "b"], n=2, echo=True, stream=True, stream_options=options
    )
    found = list(stream)
    for index, prompt in enumerate("aabb"):
        mine = [chunk.choices[0] for chunk in found if chunk.choices and chunk.choices[0].index == index]
        assert "".join(choice.text for choice in mine) == f"{prompt}{STORY}"
        assert [choice.finish_reason for choice in mine] == [None] * (len(mine) - 1) + ["stop"]
    assert found[-1].choices == []
    assert found[-1].usage is not None
    assert found[-1].usage.completion_tokens == 20
    assert len({chunk.id for chunk in found}) == 1
    assert all(chunk.object == "text_completion" for chunk in found)


@pytest.mark.parametrize("prompt", [[1, 2, 3], [[1, 2], [3]], ["a", 7]])
def test_tokens_are_refused(gateway: Gateway, prompt: Any) -> None:
    error = refused_with(gateway, prompt=prompt)
    assert (error["param"], "token arrays are not read" in error["message"]) == ("prompt", True)


def test_bounds_of_lists(gateway: Gateway) -> None:
    assert "at most 64 items" in refused_with(gateway, prompt=["a"] * 65)["message"]
    assert refused_with(gateway, prompt=[])["param"] == "prompt"
    error = refused_with(gateway, prompt=["a"] * 64, n=3)
    assert (error["param"], error["message"]) == ("n", "n is 3 for 64 prompts, wanted at most 128 texts in all")
    assert gateway.post(URL, {"model": "told", "prompt": ["a"] * 64, "n": 2}).status == 200
    error = refused_with(gateway, n=2, seed=2**53 - 1)
    assert (error["param"], "the last seed is over" in error["message"]) == ("seed", True)


def test_best_of_is_n(gateway: Gateway) -> None:
    assert gateway.post(URL, {"model": "told", "n": 2, "best_of": 2}).status == 200
    error = refused_with(gateway, n=2, best_of=3)
    assert (error["param"], error["message"]) == (
        "best_of",
        "best_of is 3, wanted n, which is 2: every text is sent; leave it out",
    )


def test_an_error_of_one_prompt_says_which_and_ends_the_others(fake: FakeUpstream, gateway: Gateway) -> None:
    document = fake.models["told"].document

    def reply(asked: Asked) -> Reply:
        wrong = asked.params["prompt"] == "c"
        return refused(400, "prompt holds a NUL character", "prompt") if wrong else usual(document, asked.params)

    fake.models["told"].reply = reply
    error = refused_with(gateway, prompt=["a", "b", "c", "d"])
    assert (error["param"], error["message"]) == ("prompt", "prompt[2]: prompt holds a NUL character")
    eventually(lambda: not fake.running, 30, "requests go on whose answer nobody gets")
    stream = gateway.post(URL, {"model": "told", "prompt": ["a", "c"], "stream": True})
    assert stream.status == 200
    assert b"prompt[1]: prompt holds a NUL character" in stream.body
    assert b"[DONE]" not in stream.body


def test_a_caller_who_leaves_ends_all_its_texts(fake: FakeUpstream, gateway: Gateway) -> None:
    fake.hold()
    with connected(gateway.port) as caller:
        caller.sendall(request(URL, {"model": "told", "prompt": ["a", "b", "c"]}))
        eventually(lambda: fake.running == 3, 30, "not all were asked")
    eventually(lambda: len(fake.cancelled) == 3, 30, "the requests were not cancelled")
    eventually(lambda: not fake.running, 30, "the requests were not ended")


def test_a_dialogue_is_not_completed(gateway: Gateway) -> None:
    error = refused_with(gateway, model="chat", prompt="a")
    assert error["param"] == "model"
    assert "POST /v1/chat/completions" in error["message"]
    assert error["message"].endswith("models that are: summary, told")


def test_models_are_listed_with_what_they_can(fake: FakeUpstream, tmp_path: Path) -> None:
    fake.models["told"].document["certificate"]["date"] = "2026-11-24T07:46:44+00:00"
    aliases = {"gpt-image-1": "drawn", "lost": "nothing"}
    with running(settings_for(fake, tmp_path, aliases=aliases)) as gateway, client(gateway) as api:
        found = {model.id: model for model in api.models.list()}
        assert set(found) == {*fake.models, "gpt-image-1"}, "an alias of no model is no model"
        assert (found["told"].object, found["told"].owned_by, found["told"].created) == (
            "model",
            "atelier",
            1_795_506_404,
        )
        alias = found["gpt-image-1"].model_dump()
        assert (alias["alias_of"], alias["medium"], alias["created"]) == ("drawn", "image", 0)
        assert "/v1/chat/completions" in found["chat"].model_dump()["routes"]
        assert api.models.retrieve("gpt-image-1").id == "gpt-image-1"
        with pytest.raises(openai.NotFoundError, match="there is no model 'a/b'") as caught:
            api.models.retrieve("a/b")
    assert caught.value.code == "model_not_found"
