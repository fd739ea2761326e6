"""Clips by class: parameters and refusals, seeds, texts of digits, and streams that are the same samples as wholes."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from export.graphs import audio_schema
from export.graphs import latent_audio as graphs
from handlers.audio.crossfade import FADE_SECONDS
from handlers.generator import Model, Request, SoundSlot, StepGenerator
from handlers.generators import create
from handlers.generators.latent_audio import STREAM, LatentAudio
from handlers.graph_spec import GraphSpec, TensorSpec
from handlers.refusals import Refusal
from handlers.sampling import philox
from tests.support.helpers import finish, start, with_limits

LATENT, SAMPLES, RATE = 6, 2000, 8000
OVERLAP = round(FADE_SECONDS * RATE)
DIGITS = tuple("0123456789")
NAMES = ("cat", "dog", "10")


class Hums:
    """A session of clips that are hums: the class is the pitch, the noise gives level and phase."""

    def __init__(self) -> None:
        self.sizes: list[int] = []  # of every run

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.sizes.append(len(inputs["z"]))
        assert [str(inputs[name].dtype) for name in ("z", "label")] == ["float32", "int64"]
        return {"audio": np.stack([hum(z, label) for z, label in zip(inputs["z"], inputs["label"], strict=True)])}


def hum(z: NDArray[np.float32], label: int) -> NDArray[np.float32]:
    at = np.arange(SAMPLES) / RATE
    wave = np.tanh(z[0] / 3) * np.sin(2 * np.pi * (100 + 50 * label) * at + z[1:].sum())
    return np.asarray(wave, np.float32)


def noise(seed: int, clips: int = 1) -> NDArray[np.float32]:
    return philox.normals([seed], clips * LATENT, STREAM).reshape(clips, LATENT)


def model(classes: tuple[str, ...] = DIGITS, **limits: int) -> Model:
    spec = GraphSpec(
        (TensorSpec("z", "float32", ("batch", LATENT)), TensorSpec("label", "int64", ("batch",))),
        (TensorSpec("audio", "float32", ("batch", SAMPLES)),),
    )
    stated = audio_schema.limits(RATE, 8, 10, tile=4)
    params = graphs.params_of(RATE, classes)
    made = Model("hums", "1", "latent_audio", params, stated, {"generator": spec}, {"seed": 7}, {})
    return with_limits(made, **limits)


def opened(classes: tuple[str, ...] = DIGITS, **limits: int) -> tuple[LatentAudio, Hums]:
    session: Any = Hums()
    generator = create(model(classes, **limits), {"generator": session})
    assert isinstance(generator, LatentAudio)
    return generator, session


@pytest.fixture
def generator() -> Any:
    made, _ = opened()
    yield made
    assert made.free == made.capacity


def answers(generator: LatentAudio, *requests: Mapping[str, Any]) -> list[bytes]:
    """The answers of requests that are computed together."""
    return finish(generator, start(generator, *requests))


def samples(body: bytes) -> NDArray[np.int16]:
    wave, rate = soundfile.read(io.BytesIO(body), dtype="int16")
    assert rate == RATE
    found: NDArray[np.int16] = wave
    return found


def levels(wave: NDArray[np.float32]) -> NDArray[np.int16]:
    return np.rint(wave.astype(np.float64) * 32767).astype(np.int16)


def test_it_is_a_step_generator_of_sounds(generator: LatentAudio) -> None:
    assert isinstance(generator, StepGenerator)
    (slot,) = start(generator, {"seed": 1})
    assert isinstance(slot, SoundSlot)
    finish(generator, [slot])
    assert (slot.finished, slot.items, slot.seconds) == ("stop", SAMPLES, SAMPLES / RATE)


def test_a_clip_follows_from_seed_class_and_truncation(generator: LatentAudio) -> None:
    found = answers(generator, {"seed": 5, "label": "3"}, {"seed": 5, "label": "3", "truncation": 0.25})
    assert np.array_equal(samples(found[0]), levels(hum(noise(5)[0], 3)))
    assert np.array_equal(samples(found[1]), levels(hum(noise(5)[0] * np.float32(0.25), 3)))


def test_without_a_label_classes_follow_from_seeds(generator: LatentAudio) -> None:
    params = generator.parse(Request({"seed": 23}))
    assert (params.labels, params.public()["label"]) == (((3,),), "3")
    assert "labels" not in params.public()
    (body,) = answers(generator, {"seed": 8, "n": 3, "format": "wav"})
    parts = json.loads(body)["data"]
    assert [part["seed"] for part in parts] == [8, 9, 10]
    for part, label in zip(parts, (8, 9, 0), strict=True):
        wave = samples(base64.b64decode(part["b64_json"]))
        assert np.array_equal(wave, levels(hum(noise(part["seed"])[0], label)))


@pytest.mark.parametrize("given", [{"label": "dog"}, {"label": "DOG"}, {"label": 1}])
def test_a_class_has_a_name_and_a_number(given: dict[str, Any]) -> None:
    generator, _ = opened(NAMES)
    params = generator.parse(Request({"seed": 0, **given}))
    assert (params.label, params.labels) == ("dog", ((1,),))


def test_a_name_that_is_a_number_comes_first() -> None:
    generator, _ = opened(NAMES)
    assert generator.parse(Request({"label": 10})).labels == ((2,),)
    assert generator.parse(Request({"label": 2})).labels == ((2,),)
    digits, _ = opened(("1", "0"))
    assert digits.parse(Request({"label": 1})).labels == ((0,),)


@pytest.mark.parametrize(
    ("classes", "given", "message", "field"),
    [
        (NAMES, {"label": "cow"}, 'label is "cow", wanted one of cat, dog, 10', "label"),
        (NAMES, {"label": 3}, "label is 3, wanted one of cat, dog, 10", "label"),
        (NAMES, {"label": -1}, "label is -1, wanted one of cat, dog, 10", "label"),
        (NAMES, {"label": True}, "label is a boolean (true), wanted one of cat, dog, 10", "label"),
        (NAMES, {"text": "1"}, "unknown field", "text"),
        (
            DIGITS,
            {"text": "4 2x"},
            "text holds 'x', which this model does not say; it says 0, 1, 2, 3",
            "text",
        ),
        (DIGITS, {"text": "4, 2"}, "text holds ',', which this model does not say", "text"),
        (DIGITS, {"text": "٣"}, "text holds '٣', which this model does not say", "text"),
        (("0", "1"), {"text": "012"}, "text holds '2', which this model does not say; it says 0, 1, and", "text"),
        (DIGITS, {"text": " "}, 'text holds no digit; write digits, such as "4 2 0 7"', "text"),
        (
            DIGITS,
            {"text": "1" * 44},
            "text has 44 digits, which are 10.1 seconds of sound; the most are 10",
            "text",
        ),
        (DIGITS, {"text": "1", "label": "1"}, "label and text are both given; leave one of them out", "text"),
        (DIGITS, {"text": 12}, "text is 12, wanted a string", "text"),
        (DIGITS, {"truncation": 1.5}, "truncation is 1.5, wanted a number from 0 to 1", "truncation"),
        (DIGITS, {"n": 2, "stream": True}, "a stream has one sound, n is 2", "n"),
        (DIGITS, {"format": "aiff"}, 'format is "aiff", wanted one of wav, flac, ogg, opus, mp3, pcm', "format"),
        (DIGITS, {"seconds": 1}, "unknown field", "seconds"),
    ],
)
def test_refusals(classes: tuple[str, ...], given: dict[str, Any], message: str, field: str) -> None:
    generator, session = opened(classes)
    with pytest.raises(Refusal) as caught:
        generator.parse(Request(given))
    assert caught.value.message.startswith(message)
    assert (caught.value.status, caught.value.field) == (400, field)
    assert session.sizes == []


def test_a_text_is_its_digits_one_faded_into_the_next(generator: LatentAudio) -> None:
    (body,) = answers(generator, {"seed": 9, "text": "4 20"})
    z = noise(9, 3)
    clips = [hum(z[at], label).astype(np.float64) for at, label in enumerate((4, 2, 0))]
    step = SAMPLES - OVERLAP
    wanted = np.zeros(3 * step + OVERLAP)
    rising = np.sin((np.arange(OVERLAP) + 0.5) / OVERLAP * np.pi / 2)
    for at, clip in enumerate(clips):
        faded = clip.copy()
        if at > 0:
            faded[:OVERLAP] *= rising
        if at < 2:
            faded[-OVERLAP:] *= rising[::-1]
        wanted[at * step : at * step + SAMPLES] += faded
    found = samples(body)
    assert len(found) == len(wanted)  # no gap, nothing left out
    assert np.abs(found - np.clip(wanted, -1, 1) * 32767).max() <= 1


def test_the_first_clips_of_a_longer_text_are_those_of_a_shorter_one(generator: LatentAudio) -> None:
    short, long = (samples(body) for body in answers(generator, {"seed": 1, "text": "12"}, {"seed": 1, "text": "1234"}))
    same = len(short) - OVERLAP
    assert np.array_equal(short[:same], long[:same])


@pytest.mark.parametrize("extra", [{}, {"format": "pcm"}, {"format": "flac", "encoding": "pcm_24"}])
def test_a_stream_is_the_whole_answer_and_comes_clip_by_clip(generator: LatentAudio, extra: dict[str, Any]) -> None:
    request = {"seed": 3, "text": "90210", **extra}
    (whole,) = answers(generator, request)
    (slot,) = start(generator, {**request, "stream": True})
    pieces = []
    while slot.finished is None:
        generator.step([slot])
        pieces.append(generator.drain(slot))
    assert len(pieces) == 5
    assert all(pieces[:-1]) or extra.get("format") == "flac"  # its frames are longer than these clips
    streamed = b"".join(pieces)
    if extra.get("format") == "pcm":
        assert streamed == whole
    else:
        assert np.array_equal(read(streamed), read(whole))


def read(body: bytes) -> NDArray[np.int32]:
    found: NDArray[np.int32] = soundfile.read(io.BytesIO(body), dtype="int32")[0]
    return found


REQUESTS: list[dict[str, Any]] = [
    {
        "seed": 11 * at,
        **({"text": "1234567"[: at + 1]} if at % 2 else {"label": at}),
        "truncation": (1.0, 0.5)[at % 2],
        "format": ("wav", "pcm", "flac")[at % 3],
        "stream": at % 4 == 1,
    }
    for at in range(8)
]


def test_a_sound_does_not_depend_on_seven_others_or_when_they_join_and_leave(generator: LatentAudio) -> None:
    alone = [answers(generator, request)[0] for request in REQUESTS]
    assert answers(generator, *REQUESTS) == alone
    slots: list[Any] = []
    drained = [b""] * len(REQUESTS)
    for request in REQUESTS:  # one joins before every step
        slots += start(generator, request)
        going = [slot for slot in slots if slot.finished is None]
        generator.step(going[::-1])
        for at, slot in enumerate(slots):
            if slot in going:
                drained[at] += generator.drain(slot)
    rest = finish(generator, slots)
    assert [a + b for a, b in zip(drained, rest, strict=True)] == alone


def test_a_step_computes_all_waiting_clips_in_tiles() -> None:
    generator, session = opened()
    answers(generator, *({"seed": at, "n": n} for at, n in enumerate((3, 1, 3))))
    assert session.sizes == [4, 3]


def test_more_sounds_than_there_is_room_for_are_refused(generator: LatentAudio) -> None:
    slots = start(generator, {"seed": 0, "n": 8})
    assert generator.free == 0
    with pytest.raises(ValueError, match="1 sounds for 0 free rows"):
        start(generator, {"seed": 0})
    generator.cancel(slots[0])
    assert (slots[0].finished, generator.free) == ("cancelled", 8)
    generator.cancel(slots[0])
    assert generator.free == 8


def test_a_step_that_raises_changes_nothing() -> None:
    generator, session = opened()
    (slot,) = start(generator, {"seed": 4, "text": "12"})
    session_run, failures = session.run, [True]

    def run(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        if failures.pop():
            raise RuntimeError("no memory")
        return session_run(inputs)

    session.run = run  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="no memory"):
        generator.step([slot])
    session.run = session_run  # type: ignore[method-assign]
    assert (slot.place, slot.items, slot.finished) == (0, 0, None)
    (body,) = finish(generator, [slot])
    assert body == answers(generator, {"seed": 4, "text": "12"})[0]


def test_golden_items_are_of_the_samples_before_any_encoder(generator: LatentAudio) -> None:
    first, again, other = (generator.golden({"seed": seed, "label": "1"}) for seed in (0, 0, 1))
    assert first == again != other
    assert first == generator.golden({"seed": 0, "label": "1", "format": "flac"})


def test_previews_are_of_one_class_after_the_other(generator: LatentAudio) -> None:
    made = generator.preview([5, 6])
    assert made.rate == RATE
    for label, (seed, wave) in enumerate(zip((5, 6), made.waves, strict=True)):
        assert np.array_equal(wave, hum(noise(seed)[0], label))
