"""Real sounds from directories or .zip files: any format, rate and number of channels in, labelled clips out.

Files that cannot be read are skipped and named; nothing of an archive is ever extracted to disk.
"""

from __future__ import annotations

import dataclasses
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.data import DataError, SoundSet, Unusable, listing, sound_labels
from training.data.held_out import EVERY
from training.data.listing import Found, counted, shown
from training.data.sound_clips import SHORTEST, SILENT, clips
from training.data.sound_files import BLOCK, EXTENSIONS, blocks
from training.data.sound_labels import Label
from training.data.sound_source import SoundSource
from training.data.sound_store import Decoded, Spool, SpoolError, Store
from training.memory import shown as bytes_shown
from training.progress import Progress, say

_SAVE = "save them as WAV or FLAC"
_REMEDIES = {
    **dict.fromkeys((".m4a", ".aac", ".mp4", ".wma", ".amr", ".ape", ".wv", ".webm", ".mov"), _SAVE),
    **dict.fromkeys((".raw", ".pcm", ".sph"), "save them as WAV, which says rate and channels"),
    **dict.fromkeys((".mid", ".midi"), "notes, no sound: the recipe music reads them"),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".gz", ".tgz"), "unpack them"),
}
_TABLE_BYTES = 250_000_000


@dataclasses.dataclass
class _Read:
    """What was read of a set, and which files could not be."""

    lengths: list[int] = dataclasses.field(default_factory=list)
    """of every clip"""
    files: list[int] = dataclasses.field(default_factory=list)
    """of every clip, the index of its file"""
    labels: dict[int, str] = dataclasses.field(default_factory=dict)
    """by the index of the file"""
    skipped: list[str] = dataclasses.field(default_factory=list)


def sound_set(
    paths: Sequence[Path], source: SoundSource, rate: int, longest: int, at_least: int, cache: Path | None = None
) -> SoundSet:
    """Clips of at most `longest` samples at `rate` Hz of all sounds below `paths`, in the order of their names.

    In the folder `cache` stay the decoded sounds (see `sound_store`). Raises `DataError` when a path is neither a
    directory nor a .zip file, holds no sounds, or fewer than `at_least` clips are left to learn from, and `OSError`
    when there is no room for them.
    """
    name = "+".join(path.name for path in paths)
    files: list[Found] = []
    tables: dict[str, bytes] = {}
    notes: list[str] = []
    for path in paths:
        found = _listing(path, source)
        notes += (f"{path.name}: {note}" for note in found.notes(_REMEDIES))
        beside = [file for file in found.files if sound_labels.is_table(source, file.name)]
        tables |= {f"{path.name}/{file.name}": file.read(_TABLE_BYTES) for file in beside}
        sounds = [file for file in found.files if not sound_labels.is_table(source, file.name)]
        if not sounds:
            held = f"; {'; '.join(notes)}" if notes else ""
            raise DataError(f"{path} holds no sounds (looked for {', '.join(EXTENSIONS)}, in subfolders too){held}")
        files += sounds
    label = sound_labels.labeller(source, files, tables)
    store = Store(cache, [rate, longest, source.trim, source.level, source.long, *_stamps(files, label)])
    total = sum(file.stamp[0] for file in files)
    say(f"reading {counted(len(files), 'sound')} of {name} ({bytes_shown(total)}) at {rate:,} Hz, a block at a time")
    decoded = store.read() or _decode(files, label, source, rate, longest, store)
    return _as_set(decoded, name, paths, rate, at_least, notes)


def _stamps(files: Sequence[Found], label: Label) -> list[tuple[str, tuple[int, int], str]]:
    """What another content, or another label of a file, would change."""
    found = []
    for file in files:
        try:
            told = label(file.name)
        except Unusable as error:
            told = f"- {error}"
        found.append((file.name, file.stamp, told))
    return found


def _decode(
    files: Sequence[Found], label: Label, source: SoundSource, rate: int, longest: int, store: Store
) -> Decoded:
    read = _Read()
    progress = Progress("reading sounds", len(files), "file")
    with Spool(store.path) as spool:
        try:
            for at, file in enumerate(files):
                before = spool.count
                lengths: list[int] = []
                try:
                    told = label(file.name)
                    _decode_one(file, source, rate, longest, spool, lengths)
                except (DataError, SpoolError):
                    raise
                except Exception as error:  # decoders and zip members fail in many ways; the name is what helps
                    spool.back(before)
                    read.skipped.append(f"{shown(file.name)}: {error or type(error).__name__}")
                else:
                    read.labels[at] = told
                    read.lengths += lengths
                    read.files += [at] * len(lengths)
                progress.advance()
                progress.tell()
        finally:
            progress.close()
        samples = spool.finish()
    return store.keep(samples, _told(read, files))


def _decode_one(file: Found, source: SoundSource, rate: int, longest: int, spool: Spool, lengths: list[int]) -> None:
    """Write the clips of one file and note their lengths. Raises `Unusable` if it has none."""
    loudest, seconds = 0.0, 0.0
    for wave in blocks(file, rate):
        loudest = max(loudest, float(np.abs(wave - wave.mean()).max()))
        seconds += len(wave) / rate
        for clip in clips(wave, rate, longest, source):
            spool.write(clip)
            lengths.append(len(clip))
        if lengths and source.long == "first":
            return
    if lengths:
        return
    if loudest < SILENT:
        raise Unusable(f"it is silent: in {seconds:.2f} s it is never louder than {20 * np.log10(SILENT):.0f} dB")
    raise Unusable(f"it is too short: {seconds:.3f} s, wanted {SHORTEST} s of sound at least")


def _told(read: _Read, files: Sequence[Found]) -> dict[str, object]:
    """Everything of a set but its samples."""
    classes = sorted(set(read.labels.values()), key=sound_labels.natural)
    labels = [classes.index(read.labels[at]) for at in read.files]
    return {
        "lengths": read.lengths,
        "classes": classes,
        "labels": labels,
        "held_out": _held_out(read.files, labels, [file.name for file in files]),
        "skipped": read.skipped,
        "files": len(read.labels),
    }


def _held_out(files: Sequence[int], labels: Sequence[int], names: Sequence[str]) -> list[int]:
    """The clips that are measured on: all those of one file in `EVERY`, class by class, in the order of the CRC-32 of
    their names. Where no class has two files, it is one clip in `EVERY`, from the end of each class."""
    by_class: dict[int, list[int]] = {}
    for at, label in enumerate(labels):
        by_class.setdefault(label, []).append(at)
    kept: set[int] = set()
    for mine in by_class.values():
        sounds = sorted({files[at] for at in mine}, key=lambda file: (zlib.crc32(names[file].encode()), names[file]))
        if len(sounds) > 1:
            kept.update(sounds[: -(-len(sounds) // EVERY)])
    if kept:
        return [at for at, file in enumerate(files) if file in kept]
    return sorted(at for mine in by_class.values() for at in mine[max(1, len(mine) - -(-len(mine) // EVERY)) :])


def _as_set(
    decoded: Decoded, name: str, paths: Sequence[Path], rate: int, at_least: int, notes: Sequence[str]
) -> SoundSet:
    told = decoded.told
    count, kept, skipped = len(told["lengths"]), len(told["held_out"]), told["skipped"]
    if not kept or count - kept < at_least:
        detail = f"; {len(skipped)} files could not be read, such as {skipped[0]}" if skipped else ""
        detail += "".join(f"; {note}" for note in notes)
        raise DataError(
            f"{name} holds {count} readable clips, {kept} of them to measure on; wanted at least {at_least} (one "
            f"batch) to learn from, and 1 to measure on of a class that has two{detail}: add sounds or lower "
            "--batch-size"
        )
    classes = f"{len(told['classes']):,} classes" if len(told["classes"]) > 1 else "one class"
    more = [f"{counted(told['files'], 'sound')} of {classes}: {counted(count, 'clip')}"]
    if count > told["files"]:
        more.append(f"sounds longer than a clip are cut, and levelled in blocks of {BLOCK} s")
    return SoundSet(
        name=f"{name}-{rate}hz-{count}",
        rate=rate,
        samples=decoded.samples,
        starts=np.concatenate([[0], np.cumsum(told["lengths"])]).astype(np.int64),
        labels=np.array(told["labels"], np.int64),
        classes=tuple(told["classes"]),
        held_out=np.array(told["held_out"], np.int64),
        sha256=decoded.sha256,
        licence="unknown (user data)",
        source=", ".join(path.name for path in paths),
        skipped=tuple(skipped),
        lost=len(skipped),
        notes=(*notes, *more),
    )


def _listing(path: Path, source: SoundSource) -> listing.Listing:
    def takes(name: str) -> bool:
        return listing.suffix_of(name) in EXTENSIONS or sound_labels.is_table(source, name)

    if path.is_dir():
        return listing.of_folder(path, takes)
    if path.is_file() and (path.suffix.lower() == ".zip" or zipfile.is_zipfile(path)):
        return listing.of_zip(path, takes)
    found = "does not exist" if not path.exists() else "is neither a directory nor a .zip file"
    raise DataError(f"--data {path} {found}; give a directory or .zip of sounds, or 'digits' for the spoken digits")
