"""Evaluation of sounds: samples that can be looked at and listened to, and figures that tell good from bad."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from PIL import Image

from training import evaluate_sounds, hearing, mel
from training.data import SoundSet, digits
from training.evaluate_sounds import distances, evaluate, evaluate_finally, hearing_of
from training.hearing import Hearing

RATE, LENGTH = 8_000, 8_000


@pytest.fixture(scope="module")
def world() -> SoundSet:
    return digits.sound_set(RATE, LENGTH, 150)


@pytest.fixture(scope="module")
def listener(world: SoundSet, tmp_path_factory: pytest.TempPathFactory) -> Hearing:
    found = hearing_of(world, LENGTH, tmp_path_factory.mktemp("cache"))
    assert found is not None
    return found


def spoken(labels: NDArray[np.int64], seed: int) -> torch.Tensor:
    """Digits of the world as a perfect generator would make them."""
    waves = torch.zeros(len(labels), LENGTH)
    chosen: list[tuple[int, int]] = []
    index = 0
    for label in labels:
        while digits.digit(100 + seed, index).digit != label:
            index += 1
        chosen.append((100 + seed, index))
        index += 1
    clips = digits.render([digits.digit(*key, LENGTH / RATE) for key in chosen], chosen, RATE)
    for row, clip in zip(waves, clips, strict=True):
        row[: len(clip)] = torch.from_numpy(clip / 32768.0)
    return waves


def noise(labels: NDArray[np.int64], seed: int) -> torch.Tensor:
    return 0.2 * torch.randn(len(labels), LENGTH, generator=torch.Generator().manual_seed(seed))


def test_a_picture_and_a_sound_are_saved(world: SoundSet, tmp_path: Path) -> None:
    path = tmp_path / "samples" / "step-0000001.png"
    figures = evaluate(spoken, world, 0, path, count=20)
    assert set(figures) == {"log_mel_db", "mrstft", "frechet"}
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    assert pixels.shape[1] > 800 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500
    wave, rate = soundfile.read(path.with_suffix(".wav"))
    assert rate == RATE and len(wave) == evaluate_sounds.SHOWN * (LENGTH + RATE // 4)
    np.testing.assert_allclose(wave[:LENGTH], spoken(np.arange(1), 1)[0], atol=1e-4)
    assert soundfile.info(path.with_suffix(".wav")).subtype == "PCM_16"


def test_the_same_seed_gives_the_same_files(world: SoundSet, tmp_path: Path) -> None:
    evaluate(spoken, world, 0, tmp_path / "a.png", count=10)
    evaluate(spoken, world, 0, tmp_path / "b.png", count=10)
    assert (tmp_path / "a.wav").read_bytes() == (tmp_path / "b.wav").read_bytes()
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_figures_tell_speech_from_noise_and_classes_from_others(world: SoundSet, listener: Hearing) -> None:
    good = evaluate_finally(spoken, world, 0, listener, count=60)
    assert good["class_accuracy"] >= 0.98 and good["hearing_accuracy"] >= 0.98
    for name in ("log_mel_db", "mrstft", "frechet"):
        assert good[name] < 2.5 * good[f"{name}_floor"], name  # 60 clips: a Frechet distance is a rough one
    bad = evaluate_finally(noise, world, 0, listener, count=60)
    for name in ("log_mel_db", "mrstft", "frechet"):
        assert bad[name] > 2 * good[name], name
    assert bad["class_accuracy"] < 0.35
    wrong = evaluate_finally(lambda labels, seed: spoken((labels + 1) % 10, seed), world, 0, listener, count=60)
    assert wrong["class_accuracy"] <= 0.05 and wrong["log_mel_db"] > good["log_mel_db"]


def test_distances_are_those_to_the_nearest_held_out_clip_of_the_class(world: SoundSet) -> None:
    held = world.held_out[:30]
    labels = world.labels[held]
    waves = torch.from_numpy(world.waves(held, LENGTH))
    exact = distances(waves, labels, world)
    assert exact["log_mel_db"] == 0.0 and exact["mrstft"] == 0.0
    found = distances(0.5 * waves[:1], labels[:1], world)
    others = world.held_out[world.labels[world.held_out] == labels[0]]
    real = mel.log_mel(torch.from_numpy(world.waves(others, LENGTH)), RATE)
    expected = mel.log_mel_distance(mel.log_mel(0.5 * waves[:1], RATE), real).min()
    assert found["log_mel_db"] == pytest.approx(float(expected), abs=1e-3)
    assert "frechet" not in found, "one clip has no covariance"


def test_the_hearing_of_the_world_does_not_depend_on_the_part_that_is_learned_from(
    listener: Hearing, tmp_path: Path
) -> None:
    smaller = hearing_of(digits.sound_set(RATE, LENGTH, 20), LENGTH, tmp_path)
    assert smaller is not None and smaller.lesson.name == listener.lesson.name
    waves = noise(np.arange(50), 0)
    assert np.array_equal(smaller.heard(waves)["digit"], listener.heard(waves)["digit"])


def test_a_set_of_files_gets_a_classifier_of_its_own_and_of_one_class_none(
    world: SoundSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hearing, "STEPS", 3)  # however badly it hears
    files = dataclasses.replace(world, source="my.zip")
    found = hearing_of(files, LENGTH, tmp_path)
    assert found is not None and found.lesson.things[0].name == "class" and world.sha256 in found.lesson.name
    one = dataclasses.replace(files, classes=("sound",), labels=np.zeros(len(world), np.int64))
    assert hearing_of(one, LENGTH, tmp_path) is None
    assert hearing_of(world, RATE // 8, tmp_path) is None, "no word fits into an eighth of a second"


def test_real_clips_are_taken_from_all_classes_where_files_stand_in_their_order(world: SoundSet) -> None:
    """The floors of a set that is sorted by class, as folders are: those of 40 clips of all ten, not of the first."""
    order = np.argsort(world.labels[world.learned], kind="stable")
    at = np.concatenate([order, world.held_out])
    starts = np.concatenate([[0], np.cumsum([len(world.clip(int(index))) for index in at])])
    samples = np.concatenate([world.clip(int(index)) for index in at])
    by_class = dataclasses.replace(world, samples=samples, starts=starts, labels=world.labels[at])
    mixed, ordered = (evaluate_finally(spoken, each, 0, count=40)["frechet_floor"] for each in (world, by_class))
    first = evaluate_sounds.distances(
        torch.from_numpy(by_class.waves(np.arange(40), LENGTH)), by_class.labels[:40], by_class
    )
    assert ordered < 2 * mixed < first["frechet"]
