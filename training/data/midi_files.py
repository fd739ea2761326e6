"""Pieces of music from the MIDI files of directories or .zip files, played by the synthesiser.

Each piece is cut into clips of one length that begin on a bar. A clip is played in a key and at a tempo of its own,
both drawn from its number, so that a few pieces in few keys are examples of all of them.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data import DataError, listing, midi
from training.data.listing import counted
from training.data.melodies import FASTEST, SLOWEST
from training.data.music_set import MusicSet, key_names
from training.data.synthesizer import render
from training.draws import Draws
from training.progress import Progress

BAR = 4  # beats
EVERY = 10  # one piece in so many is held out, whole
_SHORTEST = 0.75  # of a clip: a shorter rest of a piece is left out
_REMEDIES = dict.fromkeys((".mscz", ".musicxml", ".mxl", ".abc"), "export them as MIDI")


def holds_midi(paths: Sequence[Path]) -> bool:
    """Whether there is a MIDI file in any of the directories or .zip files. Raises `DataError`."""
    return any(_listing(path).files for path in paths)


def music_set(
    paths: Sequence[Path], rate: int, seconds: float, at_least: int, transpose: bool, retime: bool
) -> MusicSet:
    """Clips of all pieces, in the order of the files' names. Files that cannot be read are skipped and named.

    Keys are found by their profile; with `transpose` each clip is moved by up to six semitones, with `retime` it has a
    tempo that the built-in world could have. Raises `DataError` for fewer than `at_least` clips to learn from.
    """
    name = "+".join(path.name for path in paths)
    listings = [(path, _listing(path)) for path in paths]
    notes = [f"{path.name}: {note}" for path, found in listings for note in found.notes(_REMEDIES)]
    files = [file for _, found in listings for file in found.files]
    skipped: list[str] = []
    waves: list[NDArray[np.int16]] = []
    labels, tempos, held_out = [], [], []
    length, pieces = round(seconds * rate), 0
    progress = Progress("playing pieces", len(files), "piece")
    for file in files:
        try:
            score = midi.read(file.read(midi.MAX_FILE_BYTES))
        except Exception as error:  # members of archives fail in many ways; the name is what helps
            skipped.append(f"{listing.shown(file.name)}: {error or type(error).__name__}")
            continue
        finally:
            progress.advance()
        key, begin, pieces = midi.key_of(score.pitches, score.lengths), 0.0, pieces + 1
        while True:
            draws = Draws(0, len(waves))
            tempo = float(SLOWEST + draws.below(FASTEST - SLOWEST + 1)) if retime else score.tempo
            semitones = draws.below(12) - 6 if transpose else 0
            beats = seconds * tempo / 60.0
            if begin and score.beats - begin < _SHORTEST * beats:
                break
            if pieces % EVERY == 0:
                held_out.append(len(waves))
            waves.append(render(score.played(begin, tempo, semitones), length, rate))
            labels.append(midi.transposed(key, semitones))
            tempos.append(tempo)
            begin += -(-beats // BAR) * BAR
    progress.close()
    if len(waves) - len(held_out) < at_least:
        detail = f"; {len(skipped)} could not be read, such as {skipped[0]}" if skipped else ""
        raise DataError(
            f"{name} gives {len(waves) - len(held_out)} clips of {seconds:g} s to learn from, wanted at least "
            f"{at_least} (one batch){detail}: add MIDI files or lower --batch-size"
        )
    if not held_out:  # of few pieces the last clip is
        held_out.append(len(waves) - 1)
    samples = np.concatenate(waves)
    return MusicSet(
        name=f"{name}-{rate}hz-{seconds:g}s-{len(waves)}",
        rate=rate,
        samples=samples,
        starts=np.arange(len(waves) + 1) * length,
        labels=np.array(labels),
        classes=key_names(minor=True),
        tempos=np.array(tempos),
        held_out=np.array(held_out),
        sha256=hashlib.sha256(samples.data).hexdigest(),
        licence="unknown (user data)",
        source=f"{', '.join(path.name for path in paths)}, played by training/data/midi_files.py",
        skipped=tuple(skipped),
        lost=len(skipped),
        notes=(*notes, f"{counted(pieces, 'piece')} as {counted(len(waves), 'clip')}"),
    )


def _listing(path: Path) -> listing.Listing:
    if path.is_dir():
        return listing.of_folder(path, _is_midi)
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        return listing.of_zip(path, _is_midi)
    found = "does not exist" if not path.exists() else "is neither a directory nor a .zip file"
    raise DataError(f"--data {path} {found}; give a directory or .zip of MIDI files or sounds, or 'melodies'")


def _is_midi(name: str) -> bool:
    return listing.suffix_of(name) in midi.SUFFIXES
