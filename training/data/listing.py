"""The files below a folder or in a .zip file: which are read, which are left out, and what is to be said of them.

Nothing is ever extracted to disk, and no link to a folder is followed.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import IO

from training.data import DataError

SHOWN = 3  # names that a line quotes
SHOWN_SUFFIXES = 12
_JUNK = {"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "@eadir", "$recycle.bin"}  # of file managers
_DEFLATE64 = 9
_ENCRYPTED = 0x1  # of the flags of a member


@dataclasses.dataclass(frozen=True)
class Found:
    """A file that is to be read."""

    name: str
    """below the folder or in the archive"""
    stamp: tuple[int, int]
    """size in bytes and time of change, or size and checksum: another content has another one"""
    read: Callable[[int], bytes]
    """its content, if that is not over so many bytes; raises `ValueError` or what its medium raises"""
    open: Callable[[], IO[bytes]]
    """its content to be read piece by piece and in any order; raises like `read`"""


@dataclasses.dataclass
class Listing:
    """What is below a folder or in an archive."""

    files: list[Found]
    """in the order of their names"""
    hidden: list[str]
    """hidden files and leftovers of file managers"""
    others: Counter[str]
    """by suffix, how many files of it are not read"""
    problems: list[str]
    """folders, links and files that cannot be looked at, each with the reason"""

    def notes(self, remedies: Mapping[str, str]) -> tuple[str, ...]:
        """Lines for a person about everything that is not read; `remedies` says by suffix what helps."""
        lines = []
        if self.hidden:
            lines.append(f"left out {counted(len(self.hidden), 'hidden file')} such as {shown(self.hidden[0])}")
        if self.others:
            most = self.others.most_common()
            told = [_of(suffix, count, remedies) for suffix, count in most[:SHOWN_SUFFIXES]]
            more = f" and {sum(count for _, count in most[SHOWN_SUFFIXES:])} others" if most[SHOWN_SUFFIXES:] else ""
            lines.append(f"not read: {', '.join(told)}{more}")
        if self.problems:
            lines.append(f"cannot be looked at: {listed(self.problems)}")
        return tuple(lines)


def of_folder(folder: Path, takes: Callable[[str], bool]) -> Listing:
    """All files below `folder` whose name `takes` says are read. Raises `DataError` if it cannot be opened."""
    problems: list[str] = []

    def unreadable(error: OSError) -> None:
        if Path(error.filename) == folder:
            raise DataError(f"{folder} cannot be opened ({error.strerror}): give a folder that you may read")
        problems.append(f"{shown(os.path.relpath(error.filename, folder))}: {error.strerror}")

    paths: list[Path] = []
    for place, folders, names in os.walk(folder, onerror=unreadable):
        links = [path for path in (Path(place, name) for name in folders) if path.is_symlink()]
        problems += [f"{shown(str(path.relative_to(folder)))}: a link to a folder is not followed" for path in links]
        paths += [Path(place, name) for name in names]
    listing = Listing([], [], Counter(), problems)
    for path in sorted(paths):
        name = str(path.relative_to(folder))
        if _sorted_out(listing, name, takes):
            continue
        try:
            stat = path.stat()
        except OSError as error:
            problems.append(f"{shown(name)}: {'a broken link' if path.is_symlink() else error.strerror}")
            continue
        if path.is_file():
            stamp = stat.st_size, stat.st_mtime_ns
            read, opened = functools.partial(read_file, path), functools.partial(_open_file, path)
            listing.files.append(Found(name, stamp, read, opened))
    return listing


def of_zip(path: Path, takes: Callable[[str], bool]) -> Listing:
    """All members of an archive whose name `takes` says are read. Raises `DataError` if it is damaged."""
    try:
        archive = zipfile.ZipFile(path)  # stays open: reopening it for every member would be quadratic
    except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise DataError(f"{path} cannot be opened as a .zip file ({error}): pack it again") from None
    listing = Listing([], [], Counter(), [])
    for member in sorted(archive.infolist(), key=lambda member: member.filename):
        if not member.is_dir() and not _sorted_out(listing, member.filename, takes):
            read = functools.partial(_read_member, archive, member)
            opened = functools.partial(_open_member, archive, member)
            listing.files.append(Found(member.filename, (member.file_size, member.CRC), read, opened))
    return listing


def read_file(path: Path, most: int) -> bytes:
    """The content of a file. Raises `ValueError` if it has over `most` bytes."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path.stat().st_size} bytes is over the limit of {most}")
    return data


def suffix_of(name: str) -> str:
    """The last suffix of a name in lower case, without white space."""
    return Path(name.replace("\\", "/")).suffix.lower().strip()


def shown(name: str) -> str:
    """A name that any terminal can print."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in name)


def listed(entries: Collection[str], most: int = SHOWN) -> str:
    """The first entries, and how many more there are."""
    first = "; ".join(list(entries)[:most])
    return f"{first}; and {len(entries) - most:,} more" if len(entries) > most else first


def counted(count: int, what: str) -> str:
    """A number with its noun: "1 image", "430 images"."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def is_hidden(name: str) -> bool:
    """Whether a name, or a folder on the way to it, is hidden or a leftover of a file manager."""
    parts = [part for part in re.split(r"[/\\]", name) if part not in ("", ".", "..")]
    return any(part.startswith(".") or part.lower() in _JUNK for part in parts)


def _sorted_out(listing: Listing, name: str, takes: Callable[[str], bool]) -> bool:
    if is_hidden(name):
        listing.hidden.append(name)
    elif not takes(name):
        listing.others[suffix_of(name)] += 1
    else:
        return False
    return True


def _open_file(path: Path) -> IO[bytes]:
    return path.open("rb")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, most: int) -> bytes:
    if member.file_size > most:
        raise ValueError(f"{member.file_size} bytes is over the limit of {most}")
    with _open_member(archive, member) as file:
        return file.read()  # never gives more than the size that the archive states


def _open_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> IO[bytes]:
    if member.flag_bits & _ENCRYPTED:
        raise ValueError("it is encrypted: unpack the archive with its password, and give the folder")
    try:
        return archive.open(member)
    except NotImplementedError:
        method = "deflate64" if member.compress_type == _DEFLATE64 else f"method {member.compress_type}"
        raise ValueError(f"it is packed with {method}, which Python cannot read: unpack the archive") from None


def _of(suffix: str, count: int, remedies: Mapping[str, str]) -> str:
    what = f"{counted(count, 'file')} of {shown(suffix)}" if suffix else f"{counted(count, 'file')} without a suffix"
    return f"{what} ({remedies[suffix]})" if suffix in remedies else what
