"""Parameters of a request for bytes of text: their checks, and the ones that a receipt holds."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

import pytest

from handlers.engine.choice import open_model
from handlers.generator import Request
from handlers.generators.step_text import StepText
from handlers.params import MAX_SEED
from handlers.refusals import Refusal
from tests.conftest import Tiny
from tests.support.helpers import finish, start


@pytest.fixture(scope="module")
def generator(tiny_text: Tiny) -> StepText:
    opened = open_model(tiny_text.bundle).generator
    assert isinstance(opened, StepText)
    return opened


@pytest.mark.parametrize(
    ("request_params", "field", "message"),
    [
        ({"prompt": "x" * 1025}, "prompt", "prompt has 1025 bytes in UTF-8, text takes at most 1024"),
        ({"prompt": "é" * 513}, "prompt", "prompt has 1026 bytes in UTF-8, text takes at most 1024"),
        ({"prompt": "a\0b"}, "prompt", "prompt holds a NUL character, which ends a text here; leave it out"),
        ({"prompt": "\a" * 1025}, "prompt", "prompt has 1025 bytes in UTF-8, text takes at most 1024"),
        (
            {"prompt": "a\ud800"},
            "prompt",
            "prompt holds half of a surrogate pair, which is no text; send whole characters",
        ),
        ({"prompt": 7}, "prompt", "prompt is 7, wanted a string"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens is 0, wanted an integer from 1 to 1024"),
        ({"max_tokens": 1025}, "max_tokens", "max_tokens is 1025, wanted an integer from 1 to 1024"),
        ({"max_tokens": 1.5}, "max_tokens", "max_tokens is 1.5, wanted an integer from 1 to 1024"),
        ({"temperature": -0.1}, "temperature", "temperature is -0.1, wanted a number from 0 to 2"),
        ({"temperature": "hot"}, "temperature", 'temperature is "hot", wanted a number from 0 to 2'),
        ({"top_k": 257}, "top_k", "top_k is 257, wanted an integer from 0 to 256"),
        ({"top_k": True}, "top_k", "top_k is a boolean (true), wanted an integer from 0 to 256"),
        ({"seed": MAX_SEED + 1}, "seed", f"seed is {MAX_SEED + 1}, wanted an integer from 0 to {MAX_SEED}"),
        ({"stream": 1}, "stream", "stream is 1, wanted true or false"),
        (
            {"messages": []},
            "messages",
            'unknown field "messages"; known fields: prompt, max_tokens, temperature, top_k, seed, stream',
        ),
    ],
)
def test_bad_requests(generator: StepText, request_params: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(Refusal) as caught:
        generator.parse(Request(request_params))
    assert (caught.value.field, caught.value.message, caught.value.status) == (field, message, 400)


def test_a_body_that_is_no_object_is_refused(generator: StepText) -> None:
    with pytest.raises(Refusal, match="the body is a list, wanted a JSON object with any of: prompt, max_tokens"):
        generator.parse(Request([]))  # type: ignore[arg-type]


def test_the_longest_prompt_is_taken(generator: StepText) -> None:
    assert generator.parse(Request({"prompt": "é" * 512})).prompt == "é" * 512


def test_a_drawn_seed_is_told(generator: StepText) -> None:
    (slot,) = start(generator, {"max_tokens": 1})
    (data,) = finish(generator, [slot])
    assert json.loads(data)["seed"] == slot.params.seed
    assert generator.parse(Request({})).seed != slot.params.seed


def test_a_receipt_holds_a_hash_of_a_prompt_that_nobody_can_try(generator: StepText) -> None:
    """Whoever sees the receipt of a short text could find it if its hash were a plain one."""
    public = [generator.parse(Request({"prompt": text, "seed": 1})).public() for text in ("geheim", "geheim", "other")]
    assert re.fullmatch("[0-9a-f]{64}", public[0]["prompt"]["hmac_sha256"])
    assert public[0] == public[1] != public[2]
    told = json.dumps(public[0])
    assert "geheim" not in told
    for plain in (hashlib.sha256(b"geheim"), hashlib.sha1(b"geheim"), hashlib.md5(b"geheim")):
        assert plain.hexdigest() not in told


def test_streams_and_answers_have_their_content_types(generator: StepText) -> None:
    types = [generator.parse(Request({"stream": stream})).content_type for stream in (True, False)]
    assert types == ["text/event-stream; charset=utf-8", "application/json"]
