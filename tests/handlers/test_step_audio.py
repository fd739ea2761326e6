"""Sound by the block: it follows from its request alone, a stream is the same samples, what cannot be is refused."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from handlers.audio.crossfade import Crossfade
from handlers.audio.places import conditions
from handlers.audio.wave_params import shares
from handlers.generator import Request, StepGenerator
from handlers.generators.step_audio import STREAM, StepAudio
from handlers.refusals import Refusal
from handlers.runtimes.runtime import SessionError
from handlers.sampling import philox
from tests.support import tiny_wavenet as tiny
from tests.support.helpers import finish, start
from training.wavenet_conditions import of_class

pytestmark = pytest.mark.slow  # compiling the step takes ten seconds

RATE = tiny.CONFIG.rate
PCM = {"format": "pcm"}


@pytest.fixture(scope="module")
def generator() -> StepAudio:
    return tiny.generator()


@pytest.fixture(autouse=True)
def _all_rows_are_free_at_the_end(generator: StepAudio) -> Any:
    yield
    assert sorted(generator._free) == list(range(generator.capacity))


def make(generator: StepAudio, *requests: dict[str, Any]) -> list[bytes]:
    return finish(generator, start(generator, *requests))


def wave(body: bytes) -> NDArray[np.float32]:
    return np.asarray(np.frombuffer(body, "<i2").astype(np.float32) / 32768)


def test_it_is_a_step_generator(generator: StepAudio) -> None:
    assert isinstance(generator, StepGenerator)
    assert (generator.capacity, generator.free) == (16, 16)


def test_conditions_are_those_that_were_trained_with() -> None:
    for label, length in ((0, 400), (9, 1111)):
        wanted = of_class(tiny.CONFIG, label, length).numpy()
        sizes = (len(tiny.DIGITS), tiny.CONFIG.parts, length, tiny.CONFIG.frame, RATE)
        assert np.array_equal(conditions(label, *sizes, range(len(wanted))), wanted)


def test_numbers_of_a_seed_from_any_even_place() -> None:
    whole = philox.uniforms([3, 5], 100, STREAM)
    assert np.array_equal(philox.uniforms([3, 5], 40, STREAM, 60), whole[:, 60:])


def test_a_sound_is_as_long_as_asked_and_not_silent(generator: StepAudio) -> None:
    (body,) = make(generator, {**PCM, "seed": 3, "samples": 777})
    assert len(wave(body)) == 777
    assert wave(body).std() > 0.01


def test_runtimes_make_the_same_sound(generator: StepAudio) -> None:
    params = {"seed": 3, "seconds": 0.06, "label": "7"}
    assert generator.golden(params) == tiny.generator("onnxruntime").golden(params)
    assert generator.golden(params) != generator.golden({**params, "label": "2"})


def test_who_joins_or_leaves_changes_nothing(generator: StepAudio) -> None:
    request = {**PCM, "seed": 11, "samples": 900, "text": "4 2"}
    (alone,) = make(generator, request)
    (slot,) = start(generator, request)
    generator.step([slot])
    others = start(generator, {"seed": 1, "samples": 2000}, {"seed": 2, "n": 3, "temperature": 0.0})
    generator.step([*others, slot])
    generator.cancel(others[0])
    generator.step([others[1], slot])
    (late,) = start(generator, {"seed": 4, "samples": 100})
    _, found, _ = finish(generator, [late, slot, others[1]])
    assert found == alone


@pytest.mark.parametrize("text", [None, "407"])
@pytest.mark.parametrize("rate", [8000, 22050])
def test_a_stream_is_the_whole_sample_for_sample(generator: StepAudio, text: str | None, rate: int) -> None:
    request = {**PCM, "seed": 5, "samples": 1500, "sample_rate": rate, **({"text": text} if text else {})}
    (whole,) = make(generator, request)
    (slot,) = start(generator, {**request, "stream": True})
    pieces = []
    while slot.finished is None:
        generator.step([slot])
        pieces.append(generator.drain(slot))
    assert len([piece for piece in pieces if piece]) > 1
    assert b"".join(pieces) == whole


def test_n_sounds_are_those_of_their_seeds(generator: StepAudio) -> None:
    request = {"format": "flac", "samples": 500, "label": "3"}
    (body,) = make(generator, {**request, "seed": 8, "n": 2})
    for at, entry in enumerate(json.loads(body)["data"]):
        (alone,) = make(generator, {**request, "seed": 8 + at})
        assert (base64.b64decode(entry["b64_json"]), entry["seed"]) == (alone, 8 + at)
        assert soundfile.info(io.BytesIO(alone)).frames == 500


def test_what_was_asked_is_told_and_an_absent_class_follows_from_the_seed(generator: StepAudio) -> None:
    told = generator.parse(Request({"seed": 13, "text": "1 2"})).public()
    assert {name: told[name] for name in ("seed", "text", "temperature", "samples")} == {
        "seed": 13,
        "text": "1 2",
        "temperature": 0.95,
        "samples": 2 * 400 - 160,
    }
    assert not {"labels", "lengths"} & told.keys()
    assert generator.parse(Request({"seed": 13})).label == "3"
    assert generator.parse(Request({"label": 4})).label == "4"


def test_clips_share_a_length_and_are_joined_with_equal_power() -> None:
    assert shares(1000, 1, 20) == (1000,)
    assert shares(1001, 3, 20) == (347, 347, 347)
    assert shares(1000, 3, 20) == (346, 346, 348)
    lengths, ones = shares(300, 3, 20), np.ones(1, np.float32)
    for step in (7, 64):
        join, parts = Crossfade(lengths, 20), []
        for clip, length in enumerate(lengths):
            for at in range(0, length, step):
                parts.append(join.add(clip, at, np.repeat(ones, step)))
        joined = np.concatenate(parts)
        assert len(joined) == 300
        assert joined.min() == 1.0
        assert np.isclose(joined.max(), 2**0.5, atol=5e-3)
    with pytest.raises(ValueError, match="a clip of 30 samples is shorter than two fades of 20"):
        Crossfade((100, 30), 20)


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({"label": "ten"}, "label", 'label is "ten", wanted one of 0, 1, 2'),
        ({"text": "4 x"}, "text", "text holds 'x', which this model does not say; it says 0, 1, 2"),
        ({"text": "  "}, "text", "text holds no digit"),
        ({"text": "1", "label": "1"}, "text", "label and text are both given"),
        ({"text": "12345", "seconds": 0.05}, "text", "5 digits need at least 0.12 seconds"),
        ({"seconds": 31}, "seconds", "seconds is 31"),
        ({"seconds": 1, "samples": 5}, "samples", "seconds and samples are both given"),
        ({"temperature": -1}, "temperature", "temperature is -1"),
        ({"n": 2, "stream": True}, "n", "a stream has one sound"),
    ],
)
def test_bad_requests_are_refused(generator: StepAudio, params: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(Refusal, match=message) as found:
        generator.parse(Request(params))
    assert (found.value.status, found.value.field) == (400, field)


def test_a_step_that_raises_changes_nothing(generator: StepAudio, monkeypatch: pytest.MonkeyPatch) -> None:
    request = {**PCM, "seed": 6, "samples": 600}
    (wanted,) = make(generator, request)
    (slot,) = start(generator, request)
    generator.step([slot])
    with monkeypatch.context() as patch:

        def broken(_: object) -> None:
            raise SessionError("broken")

        patch.setattr(generator._session, "block", broken)
        with pytest.raises(SessionError, match="broken"):
            generator.step([slot])
    assert finish(generator, [slot]) == [wanted]


def test_more_sounds_than_rows_are_not_begun(generator: StepAudio) -> None:
    params = generator.parse(Request({"n": 8}))
    with pytest.raises(ValueError, match="24 sounds for 16 free rows"):
        generator.start([params] * 3)
    assert generator.free == 16


def test_previews_are_clips_of_the_usual_length(generator: StepAudio) -> None:
    found = generator.preview([1, 2])
    assert (found.rate, [len(sound) for sound in found.waves]) == (RATE, [400, 400])
