"""Bodies for other servers are refused with the remedy: what they are, and what this model wants in their place."""

from __future__ import annotations

from typing import Any

import pytest

from export.graphs.latent_image import PARAMS as IMAGES
from export.graphs.step_text import PARAMS as PROMPT
from export.graphs.text_schema import params_of
from handlers.params import ParamSpec, check_all
from handlers.refusals import Refusal
from tests.support.sounds import SPECS as SOUNDS

SUMMARY, CHAT = params_of(False, 32), params_of(True, 32)
TALK = [{"role": "user", "content": "Hi"}]
TENSOR = {"name": "z", "shape": [1], "datatype": "FP32", "data": [0.5]}


@pytest.mark.parametrize(
    ("specs", "params", "field", "remedy"),
    [
        (
            IMAGES,
            {"instances": [{"seed": 7}]},
            "instances",
            "this is a body of TensorFlow Serving (KServe v1): send the",
        ),
        (SUMMARY, {"signature_name": "x", "instances": [1]}, "signature_name", "fields of each instance as a request"),
        (IMAGES, {"inputs": {"seed": [7]}}, "inputs", "this is a body of TensorFlow Serving: send the fields of each"),
        (IMAGES, {"inputs": [TENSOR]}, "inputs", "the Open Inference Protocol (KServe v2): send the fields themselves"),
        (PROMPT, {"id": "1", "inputs": [TENSOR], "outputs": []}, "id", "a body of the Open Inference Protocol"),
        (SUMMARY, {"inputs": "a long text"}, "inputs", "a body of Hugging Face: send the words as text, and the other"),
        (PROMPT, {"inputs": "Once", "parameters": {"top_k": 5}}, "inputs", "Hugging Face: send the words as prompt"),
        (CHAT, {"inputs": ["a", "b"]}, "inputs", "a body of Hugging Face: send the words as messages"),
        (PROMPT, {"prompt": "a", "parameters": {"top_k": 5}}, "parameters", "what is in parameters beside the other"),
        (IMAGES, {"prompt": "a cat", "n": 1}, "prompt", "send the known fields alone; this model draws from a seed"),
        (SUMMARY, {"messages": TALK}, "messages", "in OpenAI's API this is what a model reads: send the words as text"),
        (CHAT, {"prompt": "Hi"}, "prompt", "in OpenAI's API this is what a model reads: send the words as messages"),
        (CHAT, {"model": "gpt", "messages": TALK}, "model", "OpenAI's API; the address names the model: leave it out"),
        (CHAT, {"messages": TALK, "max_completion_tokens": 5}, "max_completion_tokens", "API; here it is max_tokens"),
        (IMAGES, {"seed": 7, "response_format": "b64_json"}, "response_format", "says its form: leave it out"),
        (SOUNDS, {"response_format": "mp3"}, "response_format", "in a body of OpenAI's API; here it is format"),
        (SOUNDS, {"response_format": ["mp3"]}, "response_format", "says its form: leave it out"),
        (SOUNDS, {"voice": "alloy"}, "voice", "in a body of OpenAI's API; leave it out"),
        (SOUNDS, {"sampling_rate": 8000}, "sampling_rate", "did you mean sample_rate?"),
        (SOUNDS, {"duration": 2}, "duration", "did you mean seconds?"),
        (CHAT, {"messages": TALK, "stream_options": {}}, "stream_options", "a stream always ends with the usage"),
        (PROMPT, {"max_new_tokens": 5}, "max_new_tokens", "did you mean max_tokens?"),
        (SUMMARY, {"text": "a", "num_beams": 5}, "num_beams", "did you mean beams?"),
        (IMAGES, {"sed": 7}, "sed", "did you mean seed?"),
        (IMAGES, {"Seed": 7}, "Seed", "did you mean seed?"),
        (PROMPT, {"temprature": 1}, "temprature", "did you mean temperature?"),
    ],
)
def test_the_remedy_is_told(specs: tuple[ParamSpec, ...], params: dict[str, Any], field: str, remedy: str) -> None:
    with pytest.raises(Refusal) as caught:
        check_all(params, specs)
    message, known = caught.value.message, ", ".join(spec.name for spec in specs)
    assert (caught.value.status, caught.value.field) == (400, field)
    assert message.startswith(f'unknown field "{field}"; known fields: {known}; ')
    assert remedy in message


def test_a_list_of_requests_is_told_to_be_several() -> None:
    with pytest.raises(Refusal) as caught:
        check_all([{"seed": 1}, {"seed": 2}], IMAGES)
    assert caught.value.message.startswith("the body is a list, wanted a JSON object with any of: seed, n, ")
    assert caught.value.message.endswith("; send what is in the list one by one")


@pytest.mark.parametrize("params", [{"x" * 500_000: 1}, {"zzzz": 1}, {"messages": []}, {"inputs_": 1}, {"": 1}])
def test_what_is_like_nothing_known_gets_no_remedy(params: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as caught:
        check_all(params, IMAGES)
    assert caught.value.message.endswith("known fields: seed, n, truncation, format, quality, grid")
