"""The classifier of sounds: it hears its world, the same way always, and its copy on the disk is it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from training import hearing
from training.data import digits
from training.hearing import HearingError, Lesson, Sounds, Thing

pytestmark = pytest.mark.slow
RATE, LENGTH = 8_000, 8_000


def digits_lesson() -> Lesson:
    def material() -> tuple[Sounds, Sounds]:
        world = digits.sound_set(RATE, LENGTH, 600)
        learned, kept = (
            Sounds(world.waves(at, LENGTH), {"digit": world.labels[at]}) for at in (world.learned, world.held_out)
        )
        return learned, kept

    return Lesson(f"digits of a test v{digits.VERSION}", RATE, (Thing("digit", 10),), material)


@pytest.fixture(scope="module")
def of_digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[hearing.Hearing, Path]:
    cache = tmp_path_factory.mktemp("cache")
    return hearing.trained(digits_lesson(), cache), cache


@pytest.mark.slow
def test_it_hears_held_out_digits_of_another_seed(of_digits: tuple[hearing.Hearing, Path]) -> None:
    listener, _ = of_digits
    assert listener.accuracy["digit"] >= hearing.WANTED
    said, clips = digits.spoken(7, range(200), RATE, LENGTH)
    waves = torch.zeros(200, LENGTH)
    for row, clip in zip(waves, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip / 32768.0)
    truth = {"digit": np.array([each.digit for each in said])}
    assert hearing.share_right(listener, waves, truth)["digit"] >= hearing.WANTED
    disturbed = 0.3 * waves.roll(800, dims=1) + 0.003 * torch.randn(waves.shape, generator=torch.Generator())
    assert hearing.share_right(listener, disturbed, truth)["digit"] >= 0.95, "softer, later and in noise"
    cut = listener.heard(waves[:, : LENGTH - 1_000])["digit"]
    assert cut.dtype == np.int64 and (cut == truth["digit"]).mean() >= 0.95, "of any length"


def test_it_hears_no_digit_in_noise_more_often_than_chance(of_digits: tuple[hearing.Hearing, Path]) -> None:
    noise = 0.1 * torch.randn(300, LENGTH, generator=torch.Generator().manual_seed(0))
    truth = {"digit": np.arange(300) % 10}
    assert hearing.share_right(of_digits[0], noise, truth)["digit"] < 0.25


@pytest.mark.slow
def test_the_kept_one_is_the_same_and_a_damaged_one_is_made_anew(
    of_digits: tuple[hearing.Hearing, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, cache = of_digits
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    waves = 0.1 * torch.randn(40, LENGTH, generator=torch.Generator().manual_seed(1))
    lesson = digits_lesson()

    def never() -> tuple[Sounds, Sounds]:
        raise AssertionError("a kept classifier needs no world")

    kept = hearing.trained(Lesson(lesson.name, RATE, lesson.things, never), cache)
    assert kept.accuracy == listener.accuracy
    assert np.array_equal(kept.heard(waves)["digit"], listener.heard(waves)["digit"])
    monkeypatch.setattr(hearing, "STEPS", 2)  # it is trained again, whatever becomes of it
    for damaged in (whole[:-100], b"", b"no safetensors"):
        path.write_bytes(damaged)
        with pytest.raises(HearingError, match=r"hears digit in 0\.\d+ of its own items, wanted 0\.98"):
            hearing.trained(lesson, cache)
    with pytest.raises(AssertionError, match="needs no world"):
        hearing.trained(Lesson("another", RATE, lesson.things, never), cache)
    path.write_bytes(whole)


def tones(count: int, seed: int) -> Sounds:
    """Tones of one of three pitches, which beat at a rate from 2 to 8 Hz."""
    random = np.random.Generator(np.random.PCG64(seed))
    pitch, beat = random.integers(0, 3, count), random.uniform(2, 8, count)
    time = np.arange(4_000) / 4_000
    waves = np.sin(2 * np.pi * np.array([300, 500, 800])[pitch][:, None] * time)
    waves *= 0.25 * (1 + np.sin(2 * np.pi * (beat[:, None] * time + random.random((count, 1)))))
    return Sounds(waves.astype(np.float32), {"pitch": pitch, "beat": beat.astype(np.float32)})


@pytest.mark.slow
def test_it_hears_a_class_and_a_number_at_once_the_same_way_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "STEPS", 120)
    things = (Thing("pitch", 3), Thing("beat", within=1.0))
    lesson = Lesson("tones", 4_000, things, lambda: (tones(400, 0), tones(100, 1)))
    first = hearing.trained(lesson, tmp_path / "a", wanted=0.9)
    again = hearing.trained(lesson, tmp_path / "b", wanted=0.9)
    assert [path.read_bytes() for path in (tmp_path / "a").iterdir()] == [
        path.read_bytes() for path in (tmp_path / "b").iterdir()
    ]
    assert first.accuracy == again.accuracy and first.accuracy["pitch"] >= 0.98
    other = tones(100, 2)
    heard = first.heard(torch.from_numpy(other.waves))
    assert heard["beat"].dtype == np.float32
    right = np.abs(heard["beat"].astype(float) - other.truth["beat"].astype(float)) <= 1.0
    assert hearing.share_right(first, torch.from_numpy(other.waves), other.truth)["beat"] == right.mean() >= 0.85


def test_a_view_of_ones_own_is_what_the_network_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hearing, "STEPS", 3)
    seen = []

    def view(waves: torch.Tensor, rate: int) -> torch.Tensor:
        seen.append((waves.shape[1], rate))
        return torch.log(waves.abs().unfold(1, 100, 100).mean(dim=2) + 1e-3)[:, None]

    things = (Thing("pitch", 3),)
    lesson = Lesson("tones seen", 4_000, things, lambda: (tones(64, 0), tones(30, 1)), view)
    listener = hearing.trained(lesson, tmp_path, wanted=0.0)
    assert set(seen) == {(4_000, 4_000)} and len(listener.network.normal.weight) == 1


def test_what_it_does_leaves_the_random_state_and_threads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "STEPS", 3)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    lesson = Lesson("tones alone", 4_000, (Thing("pitch", 3),), lambda: (tones(64, 0), tones(30, 1)))
    hearing.trained(lesson, tmp_path, wanted=0.0)
    assert torch.equal(state, torch.get_rng_state()) and torch.get_num_threads() == threads
