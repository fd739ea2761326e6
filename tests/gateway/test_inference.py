"""The Open Inference Protocol as Triton's client speaks it: metadata, tensors raw and as JSON, batches, refusals."""

from __future__ import annotations

import asyncio
import io
import json
import warnings
import wave
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gateway.v2 import decoded, infer, outputs
from gateway.v2.room import Room
from tests.gateway.clients import STORY
from tests.gateway.conftest import Gateway, eventually, running, settings_for
from tests.gateway.media import answering, picture
from tests.gateway.raw import connected, request
from tests.support.fake_replies import RATE, SIDE
from tests.support.fake_upstream import FakeUpstream, Reply, fake_upstream, refused, usual

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import tritonclient.http as triton
    import tritonclient.http.aio as triton_aio
    from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeUpstream]:
    with fake_upstream(tmp_path_factory.mktemp("up")) as fake:
        yield fake


@pytest.fixture(scope="module")
def door(upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with running(settings_for(upstream, tmp_path_factory.mktemp("gw"), aliases={"painter": "drawn"})) as made:
        yield made


@pytest.fixture
def client(door: Gateway) -> Iterator[Any]:
    made = triton.InferenceServerClient(f"127.0.0.1:{door.port}", network_timeout=30)
    yield made
    made.close()


def tensor(name: str, values: Any, datatype: str, *, binary: bool = True) -> Any:
    found: Any = np.array(
        values, dtype={"BYTES": np.object_, "FP32": np.float32, "BOOL": np.bool_}.get(datatype, np.int64)
    )
    made = triton.InferInput(name, list(found.shape), datatype)
    made.set_data_from_numpy(found, binary_data=binary)
    return made


def wanted(*names: str, binary: bool = True) -> list[Any]:
    return [triton.InferRequestedOutput(name, binary_data=binary) for name in names]


def test_the_server_and_its_models(client: Any, upstream: FakeUpstream) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.is_model_ready("drawn")
    found = client.get_model_metadata("drawn")
    assert found == client.get_model_metadata("painter", model_version=found["versions"][0])
    assert (found["name"], found["platform"]) == ("drawn", "atelier_latent_image")
    inputs = {one["name"]: one for one in found["inputs"]}
    assert {name: one["datatype"] for name, one in inputs.items()} == {
        "seed": "INT64",
        "n": "INT64",
        "truncation": "FP32",
        "format": "BYTES",
        "quality": "INT64",
        "grid": "BOOL",
    }
    assert inputs["n"]["parameters"]["maximum"] == 16
    assert {one["name"]: one["shape"] for one in found["outputs"]}["pixels"] == [-1, -1, -1, 3]
    assert not client.is_model_ready("drawn", model_version="1")
    with pytest.raises(InferenceServerException, match="model drawn has no version '1'; it has fd3a063f3f36"):
        client.get_model_metadata("drawn", model_version="1")
    with pytest.raises(InferenceServerException, match="there is no model 'none'; there is altered, chat"):
        client.get_model_metadata("none")


@pytest.mark.parametrize("binary", [True, False])
def test_images_as_files_and_as_pixels(client: Any, upstream: FakeUpstream, binary: bool) -> None:
    inputs = [tensor("seed", [7], "INT64", binary=binary), tensor("n", [2], "INT64", binary=binary)]
    found = client.infer("drawn", inputs, outputs=[*wanted("image"), *wanted("pixels", "seed", binary=binary)])
    assert upstream.asked[-1].params == {"seed": 7, "n": 2, "format": "png"}
    files, pixels = found.as_numpy("image"), found.as_numpy("pixels")
    assert (files.shape, pixels.shape, pixels.dtype) == ((2,), (2, SIDE, SIDE, 3), np.uint8)
    for file, numbers in zip(files, pixels, strict=True):
        with Image.open(io.BytesIO(file)) as image:
            assert np.array_equal(np.array(image.convert("RGB")), numbers)
    assert [tuple(pixel) for pixel in pixels[:, 0, 0]] == [(7, 0, 90), (8, 0, 90)]
    assert found.as_numpy("seed").tolist() == [7, 8]


def test_without_outputs_the_usual_ones_come_raw(client: Any, upstream: FakeUpstream) -> None:
    found = client.infer("drawn", [tensor("seed", [7], "INT64")], request_id="a 1", parameters={"format": "webp"})
    assert upstream.asked[-1].params == {"seed": 7, "format": "webp"}
    head = found.get_response()
    assert (head["id"], head["model_name"], head["model_version"]) == ("a 1", "drawn", "fd3a063f3f36")
    assert [output["name"] for output in head["outputs"]] == ["image", "seed", "receipt"]
    assert found.as_numpy("image")[0][8:12] == b"WEBP"
    assert json.loads(found.as_numpy("receipt")[0])["params"]["seed"] == 7


@pytest.mark.parametrize("binary", [True, False])
def test_texts(client: Any, upstream: FakeUpstream, binary: bool) -> None:
    inputs = [
        tensor("prompt", ["Es war"], "BYTES", binary=binary),
        tensor("temperature", [0.7], "FP32", binary=binary),
        tensor("max_tokens", [3], "INT64", binary=binary),
    ]
    found = client.infer("told", inputs, outputs=wanted("text", "finish_reason", "usage", binary=binary))
    assert upstream.asked[-1].params == {"prompt": "Es war", "temperature": 0.7, "max_tokens": 3}, "0.7 stays 0.7"
    said = (b"It was a ", b"length") if binary else ("It was a ", "length")
    assert (*found.as_numpy("text"), *found.as_numpy("finish_reason")) == said
    assert found.as_numpy("usage").tolist() == [[3, 3]]


def test_a_tensor_of_several_elements_is_as_many_requests(client: Any, upstream: FakeUpstream) -> None:
    before = len(upstream.asked)
    inputs = [tensor("prompt", ["a", "b", "c"], "BYTES"), tensor("seed", [1, 2, 3], "INT64")]
    found = client.infer("told", [*inputs, tensor("top_k", [5], "INT64")])
    asked = sorted((one.params["prompt"], one.params["seed"], one.params["top_k"]) for one in upstream.asked[before:])
    assert asked == [("a", 1, 5), ("b", 2, 5), ("c", 3, 5)]
    assert found.as_numpy("text").shape == (3,)
    assert found.as_numpy("seed").tolist() == [1, 2, 3]
    assert len(found.as_numpy("receipt")) == 3


def test_messages_and_several_texts_of_a_parameter(client: Any, upstream: FakeUpstream) -> None:
    messages = [{"role": "user", "content": "hello"}]
    inputs = [
        tensor("messages", [json.dumps(messages)], "BYTES"),
        tensor("stop", ["x", "y"], "BYTES"),
        tensor("logprobs", [True], "BOOL"),
    ]
    assert client.infer("chat", inputs).as_numpy("text").tolist() == [STORY.encode()]
    assert upstream.asked[-1].params == {"messages": messages, "stop": ["x", "y"], "logprobs": True}
    with pytest.raises(InferenceServerException, match="input messages is no JSON"):
        client.infer("chat", [tensor("messages", ["["], "BYTES")])


@pytest.mark.parametrize("binary", [True, False])
def test_sounds_as_samples(client: Any, upstream: FakeUpstream, binary: bool) -> None:
    names = ("audio", "audio_int16", "lengths", "sample_rate")
    found = client.infer("digits", [tensor("label", ["7"], "BYTES")], outputs=wanted(*names, binary=binary))
    assert upstream.asked[-1].params == {"label": "7", "format": "wav"}
    assert (found.as_numpy("audio").shape, found.as_numpy("audio").dtype) == ((1, RATE // 10), np.float32)
    assert (found.as_numpy("audio_int16").shape, found.as_numpy("audio_int16").dtype) == ((1, RATE // 10), np.int16)
    assert (found.as_numpy("lengths").tolist(), found.as_numpy("sample_rate").tolist()) == ([RATE // 10], [RATE])
    file = client.infer(
        "digits", [tensor("label", ["7"], "BYTES")], outputs=wanted("file"), parameters={"format": "mp3"}
    )
    assert file.as_numpy("file")[0].startswith(b"ID3")


def test_sounds_keep_their_samples_and_shorter_ones_are_followed_by_silence(
    client: Any, upstream: FakeUpstream
) -> None:

    def wav(samples: list[int]) -> bytes:
        out = io.BytesIO()
        with wave.open(out, "wb") as file:
            file.setparams((1, 2, 16_000, 0, "NONE", ""))
            file.writeframes(np.array(samples, "<i2").tobytes())
        return out.getvalue()

    sounds = {1: [1, -2, 32767, -32768], 2: [5]}
    upstream.models["digits"].reply = lambda asked: answering([wav(sounds[asked.params["seed"]])], "audio/wav")(asked)
    try:
        inputs = [tensor("seed", [1, 2], "INT64")]
        found = client.infer("digits", inputs, outputs=wanted("audio", "audio_int16", "lengths"))
    finally:
        upstream.models["digits"].reply = None
    assert found.as_numpy("audio_int16").tolist() == [[1, -2, 32767, -32768], [5, 0, 0, 0]]
    assert np.array_equal(found.as_numpy("audio"), found.as_numpy("audio_int16") / np.float32(32768))
    assert found.as_numpy("lengths").tolist() == [4, 1]


def test_an_image_goes_through_the_spool(client: Any, door: Gateway, upstream: FakeUpstream) -> None:
    file = picture(32).read()
    made = triton.InferInput("image", [1], "BYTES")
    made.set_data_from_numpy(np.array([file], dtype=np.object_))
    assert client.infer("altered", [made]).as_numpy("image").shape == (1,)
    spooled = upstream.asked[-1].params["image"]["spooled"]
    assert (spooled["bytes"], len(spooled["sha256"])) == (len(file), 64)
    assert door.state.spool.files == 0
    with pytest.raises(InferenceServerException, match="no PNG, JPEG or WebP"):
        client.infer("altered", [tensor("image", ["GIF89a"], "BYTES")])
    assert door.state.spool.files == 0


@pytest.mark.parametrize("packing", ["gzip", "deflate"])
def test_packed_requests(client: Any, packing: str) -> None:
    found = client.infer("drawn", [tensor("seed", [7], "INT64")], request_compression_algorithm=packing)
    assert found.as_numpy("seed").tolist() == [7]


def test_asynchronous_clients(client: Any, door: Gateway) -> None:
    later = client.async_infer("drawn", [tensor("seed", [7], "INT64")])
    assert later.get_result().as_numpy("seed").tolist() == [7]

    async def ask() -> Any:
        async with triton_aio.InferenceServerClient(f"127.0.0.1:{door.port}") as other:
            assert await other.is_server_ready()
            found = await asyncio.gather(*(other.infer("drawn", [tensor("seed", [at], "INT64")]) for at in range(5)))
            return [one.as_numpy("seed").tolist() for one in found]

    assert asyncio.run(ask()) == [[0], [1], [2], [3], [4]]


def test_a_caller_who_leaves_ends_all_of_its_work(door: Gateway, upstream: FakeUpstream) -> None:
    """Five requests to the model, of one that hangs up."""
    tensors = [{"name": "seed", "datatype": "INT64", "shape": [5], "data": [1, 2, 3, 4, 5]}]
    before = len(upstream.cancelled)
    upstream.hold()
    try:
        with connected(door.port) as caller:
            caller.sendall(request("/v2/models/told/infer", {"inputs": tensors}))
            eventually(lambda: upstream.running == 5, 10, "not all were asked")
        eventually(lambda: upstream.running == 0, 10, "the work goes on")
        assert len(upstream.cancelled) == before + 5
        eventually(lambda: door.state.tensors.held == 0, 10, "its room is held")
    finally:
        upstream.release()


def test_one_that_is_refused_ends_the_others(client: Any, upstream: FakeUpstream) -> None:
    def reply(asked: Any) -> Reply:
        return refused(400, "seed is odd", "seed") if asked.params["seed"] == 7 else usual(model.document, asked.params)

    model = upstream.models["told"]
    model.reply = reply
    try:
        with pytest.raises(InferenceServerException, match="seed is odd") as error:
            client.infer("told", [tensor("seed", [6, 7, 8], "INT64")])
        assert error.value.status() == "400"
    finally:
        model.reply = None


def test_a_timeout_is_microseconds(client: Any, upstream: FakeUpstream) -> None:
    upstream.hold()
    try:
        with pytest.raises(InferenceServerException, match="the deadline passed") as error:
            client.infer("drawn", [], timeout=1000)
        assert error.value.status() == "504"
    finally:
        upstream.release()


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        ({"sequence_id": 7}, "sequence_id is 7: requests here have no order"),
        ({"priority": 1}, "priority is 1: requests here have no order"),
        ({"parameters": {"stream": True}}, "knows no 'stream'; it knows seed, n"),
        ({"parameters": {"seed": 7}, "inputs": [tensor("seed", [7], "INT64")]}, "seed is a tensor and in parameters"),
        ({"inputs": [tensor("colour", [7], "INT64")]}, "knows no 'colour'; it knows seed, n"),
        ({"inputs": [tensor("seed", ["7"], "BYTES")]}, "of the datatype BYTES, wanted INT64"),
        ({"inputs": [tensor("seed", [1, 2], "INT64"), tensor("n", [1, 2, 3], "INT64")]}, "different numbers"),
        ({"inputs": [tensor("seed", list(range(33)), "INT64")]}, "33 elements, wanted at most 32"),
        ({"inputs": [tensor("n", [17], "INT64")]}, "n"),
        ({"outputs": wanted("picture")}, "has no output 'picture'; it has image, pixels"),
        ({"outputs": wanted("seed", "seed")}, "asked for twice"),
        ({"outputs": wanted("image", binary=False)}, "is no text: ask for it with binary_data true"),
        ({"outputs": [triton.InferRequestedOutput("seed", class_count=2)]}, "has classification, which is not taken"),
    ],
)
def test_what_is_not_taken_is_told(client: Any, ask: dict[str, Any], said: str) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.infer("drawn", **{"inputs": [], **ask})
    assert said in error.value.message()
    assert error.value.status() == "400"


def test_file_and_samples_are_not_asked_together(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="file and audio are of two formats"):
        client.infer("digits", [], outputs=wanted("file", "audio"))
    with pytest.raises(InferenceServerException, match="format is of files"):
        client.infer("digits", [], outputs=wanted("audio"), parameters={"format": "mp3"})


def test_what_triton_has_beside_the_protocol_is_an_error_that_its_client_reads(client: Any) -> None:
    asks: list[Any] = [
        lambda: client.load_model("drawn"),
        client.get_trace_settings,
        client.get_log_settings,
        lambda: client.register_system_shared_memory("a", "/a", 1),
    ]
    for ask in asks:
        with pytest.raises(InferenceServerException, match="there is nothing at this path") as error:
            ask()
        assert error.value.status() == "404"


def raw(head: Any, body: bytes = b"", length: Any = None) -> tuple[bytes, dict[str, str]]:
    text = head if isinstance(head, bytes) else json.dumps(head).encode()
    return text + body, {"Inference-Header-Content-Length": str(len(text) if length is None else length)}


def seed(size: Any, shape: Any = (1,), datatype: str = "INT64") -> dict[str, Any]:
    one = {"name": "seed", "shape": list(shape), "datatype": datatype, "parameters": {"binary_data_size": size}}
    return {"inputs": [one]}


HOSTILE: dict[str, tuple[tuple[bytes, dict[str, str]], str]] = {
    "header beyond the body": (raw(seed(8), bytes(8), 9999), "the body has"),
    "header of nothing": (raw(seed(8), bytes(8), 0), "the body has"),
    "negative header": (raw(seed(8), bytes(8), -1), "the body has"),
    "header of words": (raw(seed(8), bytes(8), "ten"), "the body has"),
    "long header": (raw(seed(8), bytes(8), "9" * 400), "the body has"),
    "header that cuts the JSON": (raw(seed(8), bytes(8), 20), "the body is no JSON"),
    "no header": ((raw(seed(8), bytes(8))[0], {}), "the body is no"),
    "size beyond the body": (raw(seed(1 << 60), bytes(8)), "but 8 bytes are left"),
    "size beside the shape": (raw(seed(9), bytes(9)), "has 9 bytes of data; 1 elements of INT64 are 8"),
    "negative size": (raw(seed(-8), bytes(8)), "wanted a number of bytes"),
    "size of no number": (raw(seed("8"), bytes(8)), "wanted a number of bytes"),
    "true as size": (raw(seed(True), bytes(8)), "wanted a number of bytes"),
    "bytes of nobody": (raw(seed(8), bytes(9)), "1 bytes at the end of the body belong to no input"),
    "a huge shape": (raw(seed(8, (1 << 40, 1 << 40)), bytes(8)), "wanted at most 65536"),
    "a shape of zero": (raw(seed(0, (0,))), "wanted a list of sizes from 1"),
    "a negative shape": (raw(seed(8, (-1,)), bytes(8)), "wanted a list of sizes from 1"),
    "an empty shape": (raw(seed(8, ()), bytes(8)), "wanted a list of sizes from 1"),
    "many dimensions": (raw(seed(8, (1,) * 9), bytes(8)), "wanted a list of sizes from 1"),
    "a length beyond the data": (raw(seed(8, (1,), "BYTES"), b"\xff\xff\xff\xff1234"), "a length that is beyond"),
    "half a length": (raw(seed(2, (1,), "BYTES"), b"\x01\x00"), "which are not 1 elements"),
    "fewer texts": (raw(seed(5, (2,), "BYTES"), b"\x01\x00\x00\x00a"), "which are not 2 elements"),
    "more texts": (raw(seed(10, (1,), "BYTES"), b"\x01\x00\x00\x00a" * 2), "which are not 1 elements"),
    "a datatype of nobody": (raw(seed(8, (1,), "FP8"), bytes(8)), "wanted one of BYTES"),
    "no truth": (raw(seed(1, (1,), "BOOL"), b"\x02"), "neither 0 nor 1"),
    "no number": (raw(seed(4, (1,), "FP32"), b"\x00\x00\xc0\x7f"), "which is no number"),
    "shared memory": (
        raw({"inputs": [{**seed(8)["inputs"][0], "parameters": {"shared_memory_region": "a"}}]}),
        "no memory is shared",
    ),
    "a tensor twice": (raw({"inputs": seed(8)["inputs"] * 2}, bytes(16)), "is there twice"),
    "many tensors": (raw({"inputs": [{}] * 65}), "at most 64 objects"),
    "inputs of no objects": (raw({"inputs": [7]}), "at most 64 objects"),
    "no name": (raw({"inputs": [{"shape": [1]}]}), "has no name"),
    "no data": (raw({"inputs": [{"name": "seed", "shape": [1], "datatype": "INT64"}]}), "neither data nor"),
    "many values": (
        raw({"inputs": [{"name": "seed", "shape": [1], "datatype": "INT64", "data": [[1, 2]]}]}),
        "more than the 1 values",
    ),
    "no values": (raw({"inputs": [{"name": "seed", "shape": [1], "datatype": "INT64", "data": []}]}), "has 0 values"),
    "half a number": (
        raw({"inputs": [{"name": "seed", "shape": [1], "datatype": "INT64", "data": [1.5]}]}),
        "is 1.5, wanted INT64",
    ),
    "a number too large": (
        raw({"inputs": [{"name": "seed", "shape": [1], "datatype": "INT8", "data": [200]}]}),
        "which is no INT8",
    ),
    "an infinite number": (
        raw(b'{"inputs": [{"name": "seed", "shape": [1], "datatype": "INT64", "data": [1e999]}]}'),
        "wanted INT64",
    ),
    "a field of nobody": (raw({"model": "drawn"}), "model is unknown; known are id, inputs"),
    "an id of no text": (raw({"id": 7}), "wanted a string"),
    "a timeout of no number": (raw({"parameters": {"timeout": "1"}}), "wanted a number of microseconds"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_sizes_that_lie_are_refused(door: Gateway, upstream: FakeUpstream, name: str) -> None:
    (body, headers), said = HOSTILE[name]
    before = len(upstream.asked)
    reply = door.post("/v2/models/drawn/infer", body=body, headers=headers)
    assert (reply.status, list(reply.json)) == (400, ["error"]), reply.body
    assert said in reply.json["error"]
    assert len(upstream.asked) == before


def test_a_body_is_bounded_by_what_the_model_takes(door: Gateway) -> None:
    reply = door.post("/v2/models/drawn/infer", body=b" " * (4 << 20))
    assert (reply.status, "which is all that is taken" in reply.json["error"]) == (413, True)


def test_large_requests_share_a_bounded_room(door: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    room: Room = door.state.tensors
    monkeypatch.setattr(room, "_most", 100)
    reply = door.post("/v2/models/drawn/infer", body=b" " * 101)
    assert (reply.status, "too many large requests" in reply.json["error"]) == (503, True)
    assert int(reply.headers["retry-after"]) >= 1
    assert door.post("/v2/models/drawn/infer", body=b" " * 100).status == 400, "the body is empty"
    assert room.held == 0


def test_answers_are_bounded_together(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(infer, "MAX_ANSWERS", 300)
    client.infer("drawn", [tensor("seed", [7], "INT64")])
    with pytest.raises(InferenceServerException, match="the answers have over 300 bytes together; ask for fewer"):
        client.infer("drawn", [tensor("seed", [7, 8, 9, 10], "INT64")])


@pytest.mark.parametrize(("name", "most"), [("pixels", 2 * SIDE * SIDE * 3 - 1), ("pixels", 10)])
def test_numbers_are_bounded(client: Any, monkeypatch: pytest.MonkeyPatch, name: str, most: int) -> None:
    monkeypatch.setattr(decoded, "MAX_BYTES", most)
    with pytest.raises(InferenceServerException, match=f"at most {most} are sent as numbers: ask for files"):
        client.infer("drawn", [tensor("n", [2], "INT64")], outputs=wanted(name))


def test_numbers_as_json_are_bounded(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MAX_NUMBERS", 100)
    with pytest.raises(InferenceServerException, match="over 100: ask for it with binary_data true"):
        client.infer("drawn", [], outputs=wanted("pixels", binary=False))


def test_without_a_key_health_alone_is_told(upstream: FakeUpstream, tmp_path: Any) -> None:
    with running(settings_for(upstream, tmp_path, keys="required")) as gateway:
        assert gateway.get("/v2/health/ready").json == {"ready": True}
        reply = gateway.get("/v2/models/drawn")
        assert (reply.status, list(reply.json)) == (401, ["error"])


def test_before_a_model_answers_the_server_is_not_ready(upstream: FakeUpstream, tmp_path: Any) -> None:
    with running(settings_for(upstream, tmp_path, upstream=f"unix:{tmp_path}/none.sock")) as gateway:
        reply = gateway.get("/v2/health/ready")
        assert (reply.status, reply.json["ready"]) == (503, False)
        assert gateway.get("/v2/health/live").status == 200
