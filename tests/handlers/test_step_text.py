"""The generator kind: a text follows from its request alone, whoever else is in the batch; no character is ever cut."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from handlers.engine.choice import OpenedModel, open_model
from handlers.generator import Model
from handlers.generators.step_text import PromptSlot, StepText
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.manifest import BundleError
from handlers.media.mark import SOURCE_TYPE
from handlers.sampling import philox
from handlers.sampling.next_token import Rule, draw
from tests.conftest import Tiny
from tests.support.helpers import events, finish, start, with_limits
from tests.support.scripted import Scripted, scripted

GREEDY = {"temperature": 0, "seed": 1}


@pytest.fixture(scope="module")
def engine(tiny_text: Tiny) -> OpenedModel:
    return open_model(tiny_text.bundle)


@pytest.fixture(scope="module")
def generator(engine: OpenedModel) -> StepText:
    assert isinstance(engine.generator, StepText)
    return engine.generator


@pytest.fixture(autouse=True)
def _all_slots_are_free_at_the_end(generator: StepText) -> Any:
    yield
    assert generator.free == generator.capacity


def write(generator: StepText, *requests: Mapping[str, Any]) -> list[bytes]:
    """The bytes of texts that are made together."""
    slots = start(generator, *requests)
    finish(generator, slots)
    return [written(slot) for slot in slots]


def written(slot: PromptSlot) -> bytes:
    """The bytes of its text so far."""
    return bytes(slot.texts[0].tokens).removesuffix(b"\0")


def text_of(document: Any) -> str:
    return str(document["choices"][0]["text"])


def with_states(model: Model, graph: Mapping[str, tuple[int, ...]], given: Mapping[str, tuple[int, ...]]) -> Model:
    """The same model with other states (name -> shape without the slots) in its graph: those it takes and gives."""
    inputs = [TensorSpec(name, "float32", ("batch", *shape)) for name, shape in graph.items()]
    outputs = [TensorSpec(name, "float32", ("batch", *shape)) for name, shape in given.items()]
    spec = GraphSpec((TensorSpec("token", "int64", ("batch",)), *inputs), tuple(outputs))
    return dataclasses.replace(model, graphs={"step": spec})


@pytest.mark.parametrize(
    "states", [{"h": (2, 8)}, {"h": (2, 8), "c": (2, 8)}, {"memory": (1, 4), "past": (3, 16, 2), "h": (1, 1)}]
)
def test_the_state_is_what_the_graph_says(tiny_text: Tiny, states: dict[str, tuple[int, ...]]) -> None:
    given = {"logits": (256,), **{f"next_{name}": shape for name, shape in states.items()}}
    session: Any = Scripted(b"abc\0")
    stub = StepText(with_states(tiny_text.bundle.model(), states, given), {"step": session})
    assert write(stub, GREEDY, {**GREEDY, "max_tokens": 2}) == [b"abc", b"ab"]
    first = {"token": np.zeros(2), **{name: np.zeros((2, *shape)) for name, shape in states.items()}}
    assert_equal(session.inputs[0], first)
    # At the second step the state is the one that the first step gave back.
    assert_equal(session.inputs[1], {"token": [ord("a")] * 2, **{name: first[name] + 1 for name in states}})
    assert len(stub.golden({**GREEDY, "max_tokens": 2})) == 64


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"logits": (256,)}, r"logits, float32 \['batch', 256\]"),
        ({"logits": (256,), "next_h": (3, 8)}, r"logits, .*, next_h, float32 \['batch', 3, 8\]"),
    ],
)
def test_a_state_that_does_not_come_back_is_refused(
    tiny_text: Tiny, given: dict[str, tuple[int, ...]], found: str
) -> None:
    session: Any = Scripted(b"")
    wanted = r"wanted next_h, float32 \['batch', 2, 8\]: build the bundle again"
    with pytest.raises(BundleError, match=f"the graph takes the state h and gives {found}; {wanted}"):
        StepText(with_states(tiny_text.bundle.model(), {"h": (2, 8)}, given), {"step": session})


def test_the_same_request_gives_the_same_text(generator: StepText) -> None:
    request = {"seed": 11, "max_tokens": 80, "temperature": 1.0}
    first, again, other = (write(generator, {**request, "seed": seed})[0] for seed in (11, 11, 12))
    assert first == again != other
    assert len(first) > 8


REQUESTS: list[dict[str, Any]] = [
    {
        "seed": seed,
        "max_tokens": 40 + 7 * (seed % 9),
        "temperature": (0.0, 0.5, 1.0, 2.0)[seed % 4],
        "top_k": (0, 3, 40)[seed % 3],
        "prompt": ("", "The ", "zwölf Boxkämpfer")[seed % 3],
    }
    for seed in range(32)
]


def test_a_text_does_not_depend_on_31_others(generator: StepText) -> None:
    together = write(generator, *REQUESTS)
    assert together == [write(generator, request)[0] for request in REQUESTS]
    assert together[::-1] == write(generator, *REQUESTS[::-1])  # nor on its place
    assert len(set(together)) > 16


def test_a_text_does_not_depend_on_who_joins_and_leaves(generator: StepText) -> None:
    watched = {"seed": 5, "max_tokens": 90, "temperature": 0.9, "prompt": "A"}
    (alone,) = write(generator, watched)
    others = iter(REQUESTS * 3)
    slots = start(generator, next(others), watched, next(others))
    mine = slots[1]
    step = 0
    while mine.finished is None:
        generator.step(slots)
        step += 1
        for slot in [slot for slot in slots if slot is not mine]:
            if slot.finished is None and (slot.params.seed + step) % 5 == 0:
                generator.cancel(slot)
        joined = start(generator, *(next(others) for _ in range(step % 3))) if len(slots) < 20 else []
        slots = [*joined, *(slot for slot in slots if slot.finished is None)]
    assert written(mine) == alone
    assert step > 8
    for slot in slots:
        generator.cancel(slot)


def test_a_tile_of_one_gives_the_same_texts(tiny_text: Tiny, engine: OpenedModel, generator: StepText) -> None:
    single = StepText(with_limits(tiny_text.bundle.model(), max_tile=1), engine.sessions)
    assert write(single, *REQUESTS[:8]) == write(generator, *REQUESTS[:8])


class Alone:
    """The graph of a step over one text, without a generator: the scores (256,) after each token it is given."""

    def __init__(self, engine: OpenedModel) -> None:
        self._session = engine.sessions["step"]
        sizes = {spec.name: tuple(map(int, spec.shape[1:])) for spec in self._session.spec.inputs}
        self._state = {name: np.zeros((1, *sizes[name]), np.float32) for name in ("h", "c")}

    def scores(self, token: int) -> NDArray[np.float32]:
        found = self._session.run({"token": np.array([token]), **self._state})
        self._state = {name: found[f"next_{name}"] for name in self._state}
        scores: NDArray[np.float32] = found["logits"][0]
        return scores


def likeliest(engine: OpenedModel, prompt: bytes, count: int) -> bytes:
    """The argmax path, written down by itself."""
    alone, written = Alone(engine), b""
    for token in [0, *prompt]:
        scores = alone.scores(token)
    while (token := int(scores.argmax())) and len(written) < count:
        written += bytes([token])
        scores = alone.scores(token)
    return written


def assert_equal(found: Mapping[str, NDArray[Any]], wanted: Mapping[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, wanted[name])


@pytest.mark.parametrize("prompt", ["", "The ", "zwölf"])
def test_temperature_0_is_the_likeliest_path(engine: OpenedModel, generator: StepText, prompt: str) -> None:
    wanted = likeliest(engine, prompt.encode(), 60)
    for seed in (1, 2):
        request = {"temperature": 0, "seed": seed, "max_tokens": 60, "prompt": prompt}
        assert write(generator, request) == [wanted]


def test_the_likeliest_byte_alone_is_temperature_0(generator: StepText) -> None:
    for prompt in ("", "The "):
        request = {"seed": 3, "max_tokens": 60, "prompt": prompt}
        assert write(generator, {**request, "top_k": 1, "temperature": 2.0}) == write(
            generator, {**request, "temperature": 0}
        )


def test_token_t_is_drawn_with_number_t_of_stream_1(engine: OpenedModel, generator: StepText) -> None:
    """docs/sampling.md, from the scores on."""
    seed, count = 21, 40
    (wanted,) = write(generator, {"seed": seed, "temperature": 0.9, "top_k": 12, "max_tokens": count})
    alone, found, token = Alone(engine), b"", 0
    for uniform in philox.uniforms([seed], count, 1)[0]:
        token = draw(alone.scores(token), Rule(0.9, 12), uniform)
        if token == 0:
            break
        found += bytes([token])
    assert found == wanted


def test_the_prompt_is_read_byte_for_byte_and_not_repeated(tiny_text: Tiny) -> None:
    stub, session = scripted(tiny_text, b"....ok\0")  # four steps read the boundary and the prompt but its last byte
    (slot,) = start(stub, {"prompt": "hé!", **GREEDY})
    finish(stub, [slot])
    assert session.batches == [[0], [ord("h")], [0xC3], [0xA9], [ord("!")], [ord("o")], [ord("k")]]
    assert written(slot) == b"ok"
    assert (slot.prompt_tokens, slot.items, slot.finished) == (4, 3, "stop")


def test_a_prompt_changes_the_text_and_nobody_elses(generator: StepText) -> None:
    plain, told = {**GREEDY, "max_tokens": 30}, {**GREEDY, "max_tokens": 30, "prompt": "Once"}
    together = write(generator, plain, told, plain)
    assert together[0] == together[2] == write(generator, plain)[0]
    assert together[1] == write(generator, told)[0]
    assert together[1] != together[0]


@pytest.mark.parametrize(
    ("limit", "made", "reason", "items"),
    [(1, b"a", "length", 1), (3, b"abc", "length", 3), (4, b"abc", "stop", 4), (100, b"abc", "stop", 4)],
)
def test_a_text_ends_at_its_boundary_or_its_limit(
    tiny_text: Tiny, limit: int, made: bytes, reason: str, items: int
) -> None:
    stub, _ = scripted(tiny_text, b"abc\0def")
    (slot,) = start(stub, {**GREEDY, "max_tokens": limit})
    (data,) = finish(stub, [slot])
    assert (written(slot), slot.finished, slot.items) == (made, reason, items)
    document = json.loads(data)
    assert document["choices"] == [{"index": 0, "text": made.decode(), "finish_reason": reason}]
    assert document["usage"] == {"prompt_tokens": 0, "completion_tokens": items, "total_tokens": items}


def test_an_answer_says_what_it_is(tiny_text: Tiny) -> None:
    stub, _ = scripted(tiny_text, b"...hi\0")
    (slot,) = start(stub, {**GREEDY, "prompt": "abc"})
    (data,) = finish(stub, [slot])
    assert json.loads(data) == {
        "object": "text_completion",
        "model": "text",
        "choices": [{"index": 0, "text": "hi", "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
        "seed": 1,
        "digital_source_type": SOURCE_TYPE,
    }


CHARACTERS = "aé€🌍 zwölf\n日本語 ñ"


def test_no_event_holds_a_part_of_a_character(tiny_text: Tiny) -> None:
    stub, _ = scripted(tiny_text, CHARACTERS.encode() + b"\0")
    (slot,) = start(stub, {**GREEDY, "stream": True})
    (data,) = finish(stub, [slot])
    *pieces, end = events(data)
    assert [text_of(piece) for piece in pieces] == list(CHARACTERS)  # one a step: a character is whole or not there
    assert all(piece["choices"][0]["finish_reason"] is None for piece in pieces)
    assert end["choices"] == [{"index": 0, "text": "", "finish_reason": "stop"}]
    size = len(CHARACTERS.encode())
    assert end["usage"] == {"prompt_tokens": 0, "completion_tokens": size + 1, "total_tokens": size + 1}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("script", "limit", "text"),
    [
        (b"ab\xffc\0", 100, "ab\ufffdc"),
        (b"a\xe2\x82b\0", 100, "a\ufffdb"),
        (b"\xc3\0", 100, "\ufffd"),
        ("a🌍".encode(), 3, "a\ufffd"),  # cut by max_tokens
        (b"\xed\xa0\x80\0", 100, "\ufffd\ufffd\ufffd"),  # a surrogate, which is no character
    ],
)
def test_bytes_that_are_no_character_show_as_replacements(
    tiny_text: Tiny, script: bytes, limit: int, text: str, stream: bool
) -> None:
    stub, _ = scripted(tiny_text, script)
    (slot,) = start(stub, {**GREEDY, "max_tokens": limit, "stream": stream})
    (data,) = finish(stub, [slot])
    documents = events(data) if stream else [json.loads(data)]
    assert "".join(map(text_of, documents)) == text


def test_a_drain_in_the_middle_of_a_character_sends_nothing(tiny_text: Tiny) -> None:
    stub, _ = scripted(tiny_text, "🌍".encode() + b"\0")
    (slot,) = start(stub, {**GREEDY, "stream": True})
    sent = []
    while slot.finished is None:
        stub.step([slot])
        sent.append(stub.drain(slot))
    assert sent[:3] == [b"", b"", b""]
    assert text_of(json.loads(sent[3].removeprefix(b"data: "))) == "🌍"


def test_a_stream_says_the_same_as_the_whole(generator: StepText) -> None:
    for request in REQUESTS[:12]:
        slots = start(generator, request, {**request, "stream": True})
        whole, stream = finish(generator, slots)
        document, pieces = json.loads(whole), events(stream)
        assert "".join(map(text_of, pieces)) == text_of(document)
        assert pieces[-1]["usage"] == document["usage"]
        assert pieces[-1]["choices"][0]["finish_reason"] == document["choices"][0]["finish_reason"]
        assert all("usage" not in piece for piece in pieces[:-1])


def test_how_often_a_stream_is_drained_does_not_matter(tiny_text: Tiny) -> None:
    texts = []
    for every in (1, 2, 3, 1000):
        stub, _ = scripted(tiny_text, CHARACTERS.encode() + b"\0")
        (slot,) = start(stub, {**GREEDY, "stream": True})
        data, step = b"", 0
        while slot.finished is None:
            stub.step([slot])
            step += 1
            data += stub.drain(slot) if step % every == 0 or slot.finished is not None else b""
        texts.append("".join(map(text_of, events(data))))
    assert texts == [CHARACTERS] * 4


def test_more_requests_than_slots_raise_and_change_nothing(generator: StepText) -> None:
    request = {"seed": 4, "max_tokens": 20}
    (wanted,) = write(generator, request)
    slots = start(generator, *[request] * 30)
    generator.step(slots)  # the states are no longer zero
    with pytest.raises(ValueError, match="3 requests for 2 free slots"):
        start(generator, *[request] * 3)
    assert generator.free == 2
    slots += start(generator, *[request] * 2)
    finish(generator, slots)
    assert [written(slot) for slot in slots] == [wanted] * 32


def test_a_step_that_raises_changes_nothing(tiny_text: Tiny) -> None:
    stub, session = scripted(tiny_text, b".abc\0")
    slots = start(stub, {**GREEDY, "prompt": "x"}, GREEDY)
    stub.step(slots)
    before = [(slot.texts[0].token, slot.unread, slot.items, written(slot)) for slot in slots]
    run = session.run

    def broken(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        raise RuntimeError("the engine broke")

    session.run = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="the engine broke"):
        stub.step(slots)
    assert [(slot.texts[0].token, slot.unread, slot.items, written(slot)) for slot in slots] == before
    session.run = run  # type: ignore[method-assign]
    finish(stub, slots)
    assert [written(slot) for slot in slots] == [b"abc", b".abc"]


def test_slots_are_given_back_once(generator: StepText) -> None:
    slots = start(generator, *[{"max_tokens": 1, "seed": seed} for seed in range(32)])
    for slot in slots[:16]:
        generator.cancel(slot)
        generator.cancel(slot)
    finish(generator, slots[16:])
    for slot in slots[16:]:
        generator.cancel(slot)  # finished already
    again = start(generator, *[{}] * 32)
    assert sorted(slot.texts[0].row for slot in again) == list(range(32))
    for slot in again:
        generator.cancel(slot)


def test_a_slot_begins_clean_whoever_had_it(generator: StepText) -> None:
    request = {"seed": 9, "max_tokens": 40}
    (wanted,) = write(generator, request)
    finish(generator, start(generator, *REQUESTS))
    assert write(generator, *[request] * 32) == [wanted] * 32


def test_golden_items_are_repeatable_and_certified(generator: StepText, tiny_text: Tiny) -> None:
    golden = tiny_text.bundle.certificate.golden
    (recorded,) = next(iter(golden.sha256.values())).values()
    live = start(generator, REQUESTS[1])
    for params, wanted in zip(golden.items, recorded, strict=True):
        assert generator.golden(params) == generator.golden(params) == wanted
    generator.cancel(live[0])
    assert len(set(recorded)) == len(recorded) == 3


def test_previews_are_texts_of_their_seeds(generator: StepText) -> None:
    texts = generator.preview([3, 4])
    wanted = write(generator, {"seed": 4, "max_tokens": 200, "temperature": 0.7})[0]
    assert texts[1] == wanted.decode(errors="replace")
    assert texts[0] != texts[1]
