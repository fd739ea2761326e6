"""Music by windows: joins, seeds, company, streams, refusals."""

from __future__ import annotations

import base64
import functools
import json
from typing import Any

import numpy as np
import pytest
import torch

from export.graphs import GeneratorKind
from export.graphs.windowed_audio import plan
from handlers.audio.windows import Plan
from handlers.generator import Request, StepGenerator
from handlers.generators.windowed_audio import WindowedAudio
from handlers.refusals import Refusal
from tests.support.music import CONFIG, answer, described, finish, generator, model
from training.models.music import CONTEXT, HOP, turns_at
from training.models.music_gan import PHRASE, REACH, held, places


@functools.cache
def kind() -> GeneratorKind:
    return described()


def made(**limits: int) -> WindowedAudio:
    return generator(kind(), **limits)


def whole(seed: int, key: int, tempo: float, frames: int) -> np.ndarray[Any, Any]:
    """A piece as training computes it: one pass over all of it."""
    music, division = model(), plan(CONFIG)
    beats = places(torch.tensor([tempo]), torch.tensor([-CONTEXT - REACH]), frames + 2 * (CONTEXT + REACH), CONFIG.rate)
    numbers = torch.from_numpy(division.numbers(seed, tempo, frames * HOP))[None]
    with torch.inference_mode():
        noise = held(numbers, beats + PHRASE)
        latents = music.compose(noise, torch.tensor([key]), ((beats + PHRASE) % PHRASE).float())
        audio = music.decoder(latents, torch.tensor([key]), turns_at(torch.tensor([-CONTEXT * HOP]), CONFIG))[0]
    return np.asarray(audio)


def test_it_is_a_step_generator() -> None:
    assert isinstance(made(), StepGenerator)


def test_windows_joined_are_the_piece_computed_in_one_pass() -> None:
    division = plan(CONFIG)
    frames = 4 * division.frames
    wanted = whole(5, 1, 97.0, frames)
    numbers = division.numbers(5, 97.0, frames * HOP)
    found = np.concatenate(made()._windows([(numbers, 1, 97.0, window) for window in range(4)]))
    assert found.shape == wanted.shape == (frames * HOP,)
    assert np.abs(wanted).max() > 0.05
    np.testing.assert_allclose(found, wanted, atol=2e-5)


def test_a_longer_piece_begins_like_a_shorter_one() -> None:
    short = np.frombuffer(answer(made(), seed=3, samples=30_000), "<i2")
    long = np.frombuffer(answer(made(), seed=3, samples=60_000), "<i2")
    assert (len(short), len(long)) == (30_000, 60_000)
    faded = 80  # samples of the short one's end
    np.testing.assert_array_equal(short[:-faded], long[: 30_000 - faded])
    assert short.any()


def test_a_stream_has_the_samples_of_the_whole() -> None:
    assert answer(made(), seed=3, seconds=3.3, stream=True) == answer(made(), seed=3, seconds=3.3)


def test_a_stream_begins_after_one_window() -> None:
    maker = made()
    (slot,) = maker.start([maker.parse(Request({"seed": 1, "seconds": 5, "stream": True, "format": "pcm"}))])
    maker.step([slot])
    assert len(maker.drain(slot)) == 2 * plan(CONFIG).samples
    assert slot.finished is None


def test_neighbours_that_join_and_leave_change_nothing() -> None:
    maker = made(max_tile=3)
    alone = answer(made(), seed=8, key="D", tempo=144, seconds=4)
    (slot,) = maker.start([maker.parse(Request({"seed": 8, "key": "D", "tempo": 144, "seconds": 4, "format": "pcm"}))])
    maker.step([slot])
    others = maker.start([maker.parse(Request({"seed": 1, "n": 3})), maker.parse(Request({"seed": 2, "seconds": 1}))])
    maker.step([others[0], slot, others[1]])
    maker.cancel(others[0])
    assert finish(maker, slot) == alone
    assert maker.free == maker.capacity


def test_sound_i_of_n_is_that_of_seed_plus_i() -> None:
    document = json.loads(answer(made(), seed=40, n=3, samples=20_000))
    bodies = [base64.b64decode(item["b64_json"]) for item in document["data"]]
    assert bodies == [answer(made(), seed=40 + at, samples=20_000) for at in range(3)]
    assert len(set(bodies)) == 3
    assert [item["seed"] for item in document["data"]] == [40, 41, 42]


@pytest.mark.parametrize("change", [{"seed": 6}, {"key": "Am"}, {"tempo": 81}])
def test_seed_key_and_tempo_each_change_the_piece(change: dict[str, Any]) -> None:
    same: dict[str, Any] = {"seed": 5, "key": "C", "tempo": 120, "samples": 20_000}
    assert answer(made(), **same) == answer(made(), **same)
    assert answer(made(), **same) != answer(made(), **{**same, **change})


def test_what_was_honoured_is_told() -> None:
    told = made().parse(Request({"key": "Am", "seconds": 2})).public()
    assert (told["key"], told["tempo"], told["samples"]) == ("Am", 115, 32_000)
    assert isinstance(told["seed"], int)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"key": "H"}, 'key is "H", wanted one of C, C#, D, Am'),
        ({"tempo": 79}, "tempo is 79, wanted a number from 80 to 150"),
        ({"tempo": "fast"}, 'tempo is "fast", wanted a number from 80 to 150'),
        ({"seconds": 121}, "seconds is 121, wanted a number from 0.01 to 120"),
        ({"seconds": 1, "samples": 5}, "seconds and samples are both given; leave one of them out"),
        ({"samples": 0}, "samples is 0, wanted an integer from 1 to 1920000"),
        ({"scale": "major"}, "unknown field"),
    ],
)
def test_bad_parameters_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(Refusal) as refused:
        made().parse(Request(params))
    assert refused.value.status == 400
    assert message in str(refused.value)


def test_more_pieces_than_there_is_room_for_are_not_begun() -> None:
    maker = made(max_slots=3)
    maker.start([maker.parse(Request({"n": 2}))])
    with pytest.raises(ValueError, match="2 pieces for 1 free places"):
        maker.start([maker.parse(Request({"n": 2}))])
    assert maker.free == 1


def test_a_step_that_raises_changes_nothing() -> None:
    maker, wanted = made(), answer(made(), seed=9, seconds=3)
    (slot,) = maker.start([maker.parse(Request({"seed": 9, "seconds": 3, "format": "pcm"}))])
    maker.step([slot])
    right = maker._decoder
    maker._decoder = None  # type: ignore[assignment]
    with pytest.raises(AttributeError):
        maker.step([slot])
    maker._decoder = right
    assert finish(maker, slot) == wanted


def test_golden_items_and_previews_follow_from_the_seed() -> None:
    maker = made()
    item = kind().golden_items[0]
    assert maker.golden(item) == made().golden(item)
    assert maker.golden(item) != maker.golden({**item, "seed": 1})
    shown = maker.preview([1, 2])
    assert [len(wave) for wave in shown.waves] == [6 * CONFIG.rate] * 2
    assert shown.rate == CONFIG.rate


def test_the_first_and_the_last_sample_are_all_but_silent() -> None:
    wave = np.frombuffer(answer(made(), seed=3, samples=20_000), "<i2")
    assert max(abs(int(wave[0])), abs(int(wave[-1]))) < 0.02 * np.abs(wave.astype(int)).max()


def test_a_foreign_asset_is_refused_with_its_field() -> None:
    division = plan(CONFIG)
    assert Plan.read(division.write()) == division
    with pytest.raises(ValueError, match=r"the asset 'music' is not what this version reads.*swing.*build it again"):
        Plan.read(division.write()[:-1] + b', "swing": 1}')
