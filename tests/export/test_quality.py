"""Figures of quality of sounds: each against its formula, and nothing that is no number inside a budget."""

from __future__ import annotations

import math

import numpy as np
import pytest

from export.quality import audio_quality, margin
from tests.support.sounds import RATE, tone


def test_equal_sounds_are_no_distance_apart_and_have_no_noise() -> None:
    waves = np.stack([tone(seed, 4000) for seed in range(18)])
    assert audio_quality(waves, waves.copy(), RATE) == {
        "log_mel_db": 0.0,
        "log_mel_db_worst": 0.0,
        "snr_db": 99.0,
        "snr_db_worst": 99.0,
        "max_abs": 0.0,
    }


def test_figures_of_sounds_against_their_formulas() -> None:
    waves = np.stack([tone(1, 8000), tone(2, 8000)])
    half = np.stack([waves[0] / 2, waves[1]])
    found = audio_quality(waves, half, RATE)
    assert found["snr_db_worst"] == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert found["snr_db"] == pytest.approx((20 * math.log10(2) + 99) / 2, abs=1e-3)
    # Half as loud is 6.02 dB less in every band over the floor, and no band is further.
    assert -6.0206 < found["log_mel_db_worst"] < -1
    assert found["log_mel_db"] == pytest.approx(found["log_mel_db_worst"] / 2, abs=1e-3)
    assert found["max_abs"] == pytest.approx(0.25, abs=1e-3)


def test_sounds_that_are_no_numbers_or_come_out_of_silence_pass_no_budget() -> None:
    silent, wrong = np.zeros((1, 4000), np.float32), np.full((1, 4000), 0.1, np.float32)
    assert audio_quality(silent, wrong, RATE)["snr_db"] == -99.0
    wrong[0, 7] = np.nan
    found = audio_quality(silent + 0.5, wrong, RATE)
    assert math.isnan(found["log_mel_db"])
    assert math.isnan(margin(found, {"log_mel_db": -100.0}))
    assert math.isnan(margin(found, {"snr_db": -100.0}))
