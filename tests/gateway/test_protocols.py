"""Responses and tensors of real models: what they say is what the other routes say, byte for byte."""

from __future__ import annotations

import base64
import io
import json
import urllib.request
import warnings
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from tests.support.gateway_server import Front

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.http as triton

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def address(front: Front) -> str:
    assert front.server.gateway is not None
    return front.server.gateway


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def tensors(address: str) -> Iterator[Any]:
    made = triton.InferenceServerClient(address.removeprefix("http://"), network_timeout=60, connection_timeout=60)
    yield made
    made.close()


def given(name: str, values: list[Any], datatype: str, kind: Any) -> Any:
    made = triton.InferInput(name, [len(values)], datatype)
    made.set_data_from_numpy(np.array(values, dtype=kind))
    return made


def test_a_response_is_the_text_of_the_other_route(client: Any) -> None:
    own = {"seed": 7}
    text = client.completions.create(model="text", prompt="The ", max_tokens=12, extra_body=own)
    made = client.responses.create(model="text", input="The ", max_output_tokens=12, extra_body=own)
    assert (made.output_text, made.seed) == (text.choices[0].text, 7)
    assert (made.usage.input_tokens, made.usage.output_tokens) == (
        text.usage.prompt_tokens,
        text.usage.completion_tokens,
    )
    asked = {"model": "text", "input": "The ", "max_output_tokens": 12, "stream": True, "extra_body": own}
    events = list(client.responses.create(**asked))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == made.output_text
    assert events[-1].response.usage == made.usage
    assert events[-1].response.status == made.status


def test_pixels_are_those_of_the_file(client: Any, tensors: Any) -> None:
    outputs = [triton.InferRequestedOutput(name) for name in ("pixels", "seed", "receipt")]
    found = tensors.infer("tiny", [given("seed", [7, 8], "INT64", np.int64)], outputs=outputs)
    images = client.images.generate(model="tiny", prompt="", n=2, extra_body={"seed": 7, "format": "png"})
    for image, pixels in zip(images.data, found.as_numpy("pixels"), strict=True):
        with Image.open(io.BytesIO(base64.b64decode(image.b64_json))) as opened:
            assert np.array_equal(np.array(opened.convert("RGB")), pixels)
    assert found.as_numpy("seed").tolist() == [7, 8]
    assert [json.loads(one)["params"]["seed"] for one in found.as_numpy("receipt")] == [7, 8]


def test_samples_are_those_of_the_file(address: str, tensors: Any) -> None:
    body = json.dumps({"seed": 7, "format": "wav"}).encode()
    request = urllib.request.Request(f"{address}/api/generate/voice", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer, wave.open(io.BytesIO(answer.read())) as sound:
        samples = np.frombuffer(sound.readframes(sound.getnframes()), "<i2")
        rate = sound.getframerate()
    outputs = [triton.InferRequestedOutput(name) for name in ("audio", "audio_int16", "sample_rate", "lengths")]
    found = tensors.infer("voice", [given("seed", [7], "INT64", np.int64)], outputs=outputs)
    assert np.array_equal(found.as_numpy("audio_int16")[0], samples)
    assert np.array_equal(found.as_numpy("audio")[0], samples / np.float32(32768))
    assert (found.as_numpy("sample_rate").tolist(), found.as_numpy("lengths").tolist()) == ([rate], [len(samples)])


def test_a_number_of_32_bits_is_the_number_of_the_other_route(client: Any, tensors: Any) -> None:
    inputs = [
        given("prompt", ["The "], "BYTES", np.object_),
        given("temperature", [0.7], "FP32", np.float32),
        given("max_tokens", [12], "INT64", np.int64),
        given("seed", [7], "INT64", np.int64),
    ]
    asked = {"model": "text", "prompt": "The ", "max_tokens": 12, "temperature": 0.7, "extra_body": {"seed": 7}}
    text = client.completions.create(**asked).choices[0].text
    assert tensors.infer("text", inputs).as_numpy("text")[0].decode() == text
