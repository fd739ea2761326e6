"""The files that `--data` names: single ones, folders and .zip files of them, packed with gzip or not."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import io
import zlib
from collections.abc import Callable, Collection
from pathlib import Path

from training.data import DataError, decoding, listing
from training.data.listing import shown

MAX_ALL_BYTES = 2_000_000_000  # of all files together, unpacked
_REMEDIES = {
    **dict.fromkeys((".docx", ".doc", ".odt", ".rtf", ".pdf", ".epub", ".html"), "save them as text"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "save them as CSV"),
    **dict.fromkeys((".zip", ".7z", ".rar", ".tar", ".tgz"), "unpack them"),
}


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is looked for."""

    suffixes: Collection[str]
    """of files that are read; "" is none"""
    most: int
    """bytes of a file, as it is and unpacked"""
    wish: str
    """what to give instead, for messages"""
    any_suffix: bool = False
    """whether a file that is named itself is read whatever its suffix is"""
    encoding: str | None = None
    """of the files; None: UTF-8, or what their mark says"""


@dataclasses.dataclass(frozen=True)
class Document:
    """A file with its content in UTF-8, as far as it is known how it is encoded."""

    name: str
    suffix: str
    """without that of its packing"""
    content: Callable[[], bytes]
    """raises `DataError`"""
    given: bool = True
    """whether it was named itself, and not its folder or archive"""


@dataclasses.dataclass(frozen=True)
class Documents:
    """All files of `--data` in their order."""

    files: tuple[Document, ...]
    notes: tuple[str, ...]
    """lines about what is not read"""
    where: str
    """the names as they were given, for messages"""


def paths(data: str) -> list[Path]:
    """The files that `data` names, divided by commas; a comma that is part of a name divides nothing."""
    if data.strip() and Path(data.strip()).expanduser().exists():
        return [Path(data.strip()).expanduser()]
    found: list[Path] = []
    parts = [part for part in data.split(",") if part.strip()]
    while parts:
        named = [Path(",".join(parts[:length]).strip()).expanduser() for length in range(1, len(parts) + 1)]
        length = next((at for at, path in enumerate(named, 1) if path.exists()), 1)
        found.append(named[length - 1])
        parts = parts[length:]
    return found


def hidden_by(world: str) -> tuple[str, ...]:
    """A line about a file or folder that has the name of a world, which is what is taken."""
    if not Path(world).exists():
        return ()
    return (f"--data {world} is the world of this name; for the file or folder give --data ./{world}",)


def documents(data: str, wanted: Wanted) -> Documents:
    """The files of `data`, not yet read. Raises `DataError` for a name that leads to none."""
    files: list[Document] = []
    notes: list[str] = []
    given = paths(data)
    for path in given:
        found, told = _below(path, wanted) if path.is_dir() or path.suffix.lower() == ".zip" else (None, ())
        files += [_single(path, wanted)] if found is None else found
        notes += told
    room = [MAX_ALL_BYTES]
    bounded = [dataclasses.replace(file, content=functools.partial(_bounded, file, room, wanted)) for file in files]
    return Documents(tuple(bounded), tuple(notes), ", ".join(path.name for path in given) or "the empty name")


def _bounded(file: Document, room: list[int], wanted: Wanted) -> bytes:
    raw = file.content()
    room[0] -= len(raw)
    if room[0] < 0:
        raise DataError(f"the files have over {MAX_ALL_BYTES} bytes (at {file.name}): give a part of them")
    return decoding.as_utf8(raw, wanted.encoding, file.name) if file.suffix != ".parquet" else raw


def _single(path: Path, wanted: Wanted) -> Document:
    if not path.is_file():
        raise DataError(f"--data {path} {'is not a file' if path.exists() else 'does not exist'}; {wanted.wish}")
    suffix = _inner(path.name)
    if suffix not in wanted.suffixes and not wanted.any_suffix:
        raise wrong_suffix(path, wanted)
    return Document(path.name, suffix, functools.partial(_content, path, wanted.most))


def wrong_suffix(path: Path, wanted: Wanted) -> DataError:
    """The refusal of a file by its name."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    return DataError(f"the suffix of {path} is {''.join(suffixes[-2:]) or 'missing'}; {wanted.wish}")


def _below(path: Path, wanted: Wanted) -> tuple[list[Document], tuple[str, ...]]:
    if path.is_file():
        found = listing.of_zip(path, lambda name: _inner(name) in wanted.suffixes)
    elif path.is_dir():
        found = listing.of_folder(path, lambda name: _inner(name) in wanted.suffixes)
    else:
        raise DataError(f"--data {path} does not exist; {wanted.wish}")
    notes = found.notes(_REMEDIES)
    if not found.files:
        held = f" ({'; '.join(notes)})" if notes else " (it is empty)"
        what = f"--data {path} is not a file" if path.is_dir() else f"{path} holds no such file"
        raise DataError(f"{what}; {wanted.wish}; it holds none{held}")
    files = [
        Document(
            f"{path.name}/{shown(each.name)}", _inner(each.name), functools.partial(_of, path, each, wanted), False
        )
        for each in found.files
    ]
    return files, tuple(f"{path.name}: {note}" for note in notes)


def _inner(name: str) -> str:
    """The suffix of what is packed, or of the file itself."""
    suffix = listing.suffix_of(name)
    return listing.suffix_of(name.strip()[: -len(suffix)]) if suffix == ".gz" else suffix


def _of(path: Path, file: listing.Found, wanted: Wanted) -> bytes:
    where = f"{path}/{shown(file.name)}"
    try:
        raw = file.read(wanted.most)
    except Exception as error:  # members of archives fail in many ways; the name is what helps
        raise DataError(f"{where} cannot be read: {error or type(error).__name__}") from None
    return _unpacked(where, raw, wanted.most) if listing.suffix_of(file.name) == ".gz" else raw


def _content(path: Path, most: int) -> bytes:
    size = path.stat().st_size
    if size > most:
        raise DataError(f"{path} has {size} bytes, over the limit of {most}: give a part of it")
    raw = path.read_bytes()
    return _unpacked(str(path), raw, most) if listing.suffix_of(path.name) == ".gz" else raw


def _unpacked(where: str, packed: bytes, most: int) -> bytes:
    try:
        with gzip.open(io.BytesIO(packed)) as file:
            raw = file.read(most + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{where} is not a whole gzip file ({error}): pack it again") from None
    if len(raw) > most:
        raise DataError(f"{where} is larger unpacked, over the limit of {most}: give a part of it")
    return raw
