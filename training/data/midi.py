"""Standard MIDI files as notes: what is read of them, and which key their notes are in.

All tracks and channels are played together, but for channel 10, which has drums. The first tempo is that of the piece.
"""

from __future__ import annotations

import dataclasses
import io
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from training.data.synthesizer import SOFT, Note

SUFFIXES = (".mid", ".midi", ".smf", ".kar")
MAX_FILE_BYTES = 4_000_000
MAX_NOTES = 50_000
USUAL_TEMPO = 120.0  # beats a minute, of a file that states none (Standard MIDI Files 1.0)
_DRUMS = 9  # channel 10, counted from 0
# Krumhansl and Kessler 1982, "Tracing the dynamic changes in perceived tonal organization", profiles of C major, minor.
_MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
_MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


@dataclasses.dataclass(frozen=True)
class Score:
    """A piece as beats, not yet played at a tempo."""

    tempo: float
    """beats a minute"""
    starts: NDArray[np.float64]
    """(N,) in beats, rising"""
    lengths: NDArray[np.float64]
    """(N,) in beats"""
    pitches: NDArray[np.int64]
    strengths: NDArray[np.float64]
    """(N,) from 0 to 1"""

    @property
    def beats(self) -> float:
        """Its length."""
        return float((self.starts + self.lengths).max())

    def played(self, begin: float, tempo: float, transpose: int) -> list[Note]:
        """Its notes from the beat `begin` on, at another tempo, so many semitones higher; what is cut begins anew."""
        beat = 60.0 / tempo
        ends = self.starts + self.lengths
        rows = np.flatnonzero(ends > begin + 1e-6)
        return [
            Note(
                start=max(0.0, float(self.starts[row]) - begin) * beat,
                seconds=float(ends[row] - max(begin, self.starts[row])) * beat,
                pitch=int(self.pitches[row]) + transpose,
                strength=float(self.strengths[row]),
                timbre=SOFT,
            )
            for row in rows
        ]


def read(data: bytes) -> Score:
    """The notes of a file. Raises `ValueError` with the reason and a remedy where it has none or is damaged."""
    import mido

    if not data.startswith((b"MThd", b"RIFF")):
        found = "it is empty" if not data else "it does not begin with MThd"
        raise ValueError(f"it is no MIDI file ({found}): export it again as a Standard MIDI File")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            file = mido.MidiFile(file=io.BytesIO(data), clip=True)
    except Exception as error:  # a damaged file fails in many ways inside of the reader
        detail = str(error) or type(error).__name__
        raise ValueError(f"it is damaged ({detail}): export it again as a Standard MIDI File") from None
    if file.type == 2:
        raise ValueError("its tracks are separate pieces (format 2): save each as a file of its own")
    if not 0 < file.ticks_per_beat < 0x8000:
        raise ValueError("its time counts frames of film, not beats: save it with ticks per beat")
    tempo, found_notes = _events(mido.merge_tracks(file.tracks))
    if not found_notes:
        raise ValueError("it holds no notes (drums on channel 10 are left out)")
    if len(found_notes) > MAX_NOTES:
        raise ValueError(f"{len(found_notes):,} notes are over the limit of {MAX_NOTES:,}: divide the piece")
    rows = np.array(sorted(found_notes), np.float64)
    return Score(
        tempo=tempo or USUAL_TEMPO,
        starts=rows[:, 0] / file.ticks_per_beat,
        lengths=rows[:, 1] / file.ticks_per_beat,
        pitches=rows[:, 2].astype(np.int64),
        strengths=rows[:, 3] / 127.0,
    )


def key_of(pitches: Sequence[int] | NDArray[np.int64], lengths: Sequence[float] | NDArray[np.float64]) -> int:
    """The key by correlation with the profiles of all 24: 0 is C major, 12 C minor (Krumhansl 1990, chapter 4)."""
    heard = np.bincount(np.asarray(pitches) % 12, np.asarray(lengths, np.float64), minlength=12)
    if heard.std() == 0.0:
        return 0
    profiles = [np.roll(profile, tonic) for profile in (_MAJOR, _MINOR) for tonic in range(12)]
    return int(np.argmax([np.corrcoef(heard, profile)[0, 1] for profile in profiles]))


def transposed(key: int, semitones: int) -> int:
    """The same key so many semitones higher."""
    return key // 12 * 12 + (key + semitones) % 12


def _events(messages: object) -> tuple[float | None, list[tuple[int, int, int, int]]]:
    """Tempo, if there is one, and (start, length, pitch, velocity) of every note, in ticks."""
    import mido

    tempo: float | None = None
    sounding: dict[tuple[int, int], tuple[int, int]] = {}
    found: list[tuple[int, int, int, int]] = []
    now = 0

    def end(key: tuple[int, int]) -> None:
        if key in sounding:
            start, velocity = sounding.pop(key)
            if now > start:
                found.append((start, now - start, key[1], velocity))

    for message in messages:  # type: ignore[attr-defined]
        now += message.time
        if message.type == "set_tempo" and tempo is None and message.tempo:
            tempo = float(mido.tempo2bpm(message.tempo))
        elif message.type in ("note_on", "note_off") and message.channel != _DRUMS:
            key = (message.channel, message.note)
            end(key)  # a note that is struck again, too
            if message.type == "note_on" and message.velocity:
                sounding[key] = (now, message.velocity)
    for key in list(sounding):
        end(key)
    return tempo, found
