"""The audio benchmark's own judgements: equal samples, equal bytes, and figures that were not measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import audio, audio_served, page
from benchmarks.audio_served import COMPANY, agreement, in_company, whole
from tests.support.sounds import Tones, tone

BUNDLE: Any = SimpleNamespace(digest="scripted", manifest=SimpleNamespace(name="tones"))


class OutOfTune(Tones):
    """Its sounds are louder in company."""

    def step(self, slots: Sequence[Any]) -> None:
        super().step(slots)
        if len(slots) > 1:
            slots[0].write(0, np.full(8, 0.5, np.float32))


class Blurred(Tones):
    """Its streams begin with a sample more."""

    def start(self, batch: Sequence[Any]) -> list[Any]:
        slots = super().start(batch)
        for slot in slots:
            if slot.params.stream:
                slot._files[0].write(np.zeros(1, np.float32))
        return slots


def serve(monkeypatch: pytest.MonkeyPatch, generator: Tones) -> None:
    """Put a generator in place of the served engine of a bundle."""
    monkeypatch.setattr(audio_served, "_opened", lambda _: generator)


@pytest.mark.parametrize(
    ("generator", "stream", "company"),
    [(Tones(COMPANY), True, True), (Blurred(COMPANY), False, True), (OutOfTune(COMPANY), False, False)],
)
def test_what_differs_is_found(monkeypatch: pytest.MonkeyPatch, generator: Tones, stream: bool, company: bool) -> None:
    serve(monkeypatch, generator)
    assert agreement(BUNDLE, {}) == {"stream_equals_whole": stream, "batch_invariant": company}


def test_answers_come_in_the_order_of_their_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Tones(COMPANY))
    asked = [{"seed": seed, "seconds": 0.1 * (3 - seed)} for seed in range(3)]
    assert in_company(BUNDLE, asked) == [whole(BUNDLE, one) for one in asked]


def test_sounds_are_samples_at_full_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    serve(monkeypatch, Tones(audio.AT_ONCE))
    asked = [{"seed": seed, "format": "pcm"} for seed in range(audio.AT_ONCE + 1)]
    waves = audio.sounds(BUNDLE, asked)
    assert len(waves) == len(asked)
    for seed, wave in enumerate(waves):
        assert np.abs(wave - tone(seed, len(wave))).max() < 1e-4


def test_figures_of_parts_that_did_not_run_are_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    monkeypatch.setattr(audio, "_classes", lambda quick: {"class_accuracy": 0.95})
    figures = audio.run(quick=True, only="classes")
    assert figures["class_accuracy"] == 0.95
    for name in ("wavenet_rtf", "wavegan_ratio_vs_stock", "stream_equals_whole", "batch_invariant"):
        assert figures[name] is None
    assert "audio.html" in capsys.readouterr().out
    assert (tmp_path / "audio.html").exists()
