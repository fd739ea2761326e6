"""Results that are kept: files by random names, in a folder of this user's alone, behind four calls.

What stands behind them may be another store; a name says nothing of whose a result is, the history does.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

BYTES = 24  # of a name; 192 bits
MAX_FILES = 100_000
NAME = re.compile(r"[0-9a-f]{48}")
_PART = ".part"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class NoSuchResult(Exception):
    """Error: nothing is kept by this name (any more)."""


class NoRoom(Exception):
    """Error: the bound of the store is reached; nothing was kept, and nothing removed for it."""


class KeptResult(NamedTuple):
    """One that is kept: its name, its size in bytes and when it was put there, in seconds since 1970."""

    name: str
    size: int
    at: float


class ResultStore(Protocol):
    """What keeps results. Every call blocks: from the event loop, in a thread alone."""

    def put(self, content: bytes, name: str | None = None) -> str:
        """Keep it whole or not at all, and name it; `name`: that of a backup. Raises `NoRoom`, `OSError`."""

    def get(self, name: str) -> bytes:
        """What is kept by a name. Raises `NoSuchResult`, `OSError`."""

    def delete(self, name: str) -> None:
        """Keep it no longer; one that is gone already is nobody's error."""

    def list(self) -> Iterator[KeptResult]:
        """All that is kept, in no order."""


class ResultFolder:
    """Results as files of mode 0600 in a folder of mode 0700. One process writes to it; a command may work `beside`."""

    def __init__(self, path: Path, max_bytes: int, max_files: int = MAX_FILES, *, beside: bool = False) -> None:
        self.path, self._max_bytes, self._max_files = path.absolute(), max_bytes, max_files
        self._change = threading.Lock()
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self.path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o077:
            raise PermissionError(
                f"{self.path} has mode {mode:04o} and belongs to user {found.st_uid}, wanted a folder of this user's "
                f"({os.geteuid()}) with 0700, because results lie in it: `chmod 700` it, or name another folder"
            )
        for left in () if beside else self.path.glob(f"*{_PART}"):  # of a process that was killed
            if NAME.fullmatch(left.stem):
                left.unlink()
        kept = list(self.list())
        self._bytes, self._files = sum(result.size for result in kept), len(kept)

    def put(self, content: bytes, name: str | None = None) -> str:
        """Write it beside, then give it its name. A power cut may cost what was put just before it."""
        name = secrets.token_hex(BYTES) if name is None else checked(name)
        with self._change:
            if self._files >= self._max_files or self._bytes + len(content) > self._max_bytes:
                raise NoRoom(
                    f"results: {self._files} files with {self._bytes} bytes are kept, and {len(content)} more bytes "
                    f"do not fit: at most {self._max_files} files and {self._max_bytes} bytes are; delete some"
                )
            self._files, self._bytes = self._files + 1, self._bytes + len(content)
        part = f"{self.path}/{name}{_PART}"
        try:
            _write(part, content)
            os.replace(part, f"{self.path}/{name}")
        except BaseException:
            with contextlib.suppress(OSError):
                Path(part).unlink()
            self._gone(len(content))
            raise
        return name

    def get(self, name: str) -> bytes:
        """Read it; no link is followed."""
        try:
            with os.fdopen(os.open(self._file(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                return file.read()
        except FileNotFoundError:
            raise nothing(name) from None

    def delete(self, name: str) -> None:
        """Remove the file."""
        with contextlib.suppress(FileNotFoundError):
            size = self._file(name).lstat().st_size
            self._file(name).unlink()
            self._gone(size)

    def list(self) -> Iterator[KeptResult]:
        """Files of ours alone: what else lies in the folder is left as it is."""
        with os.scandir(self.path) as found:
            for entry in found:
                if not NAME.fullmatch(entry.name) or not entry.is_file(follow_symlinks=False):
                    continue
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    about = entry.stat(follow_symlinks=False)
                    yield KeptResult(entry.name, about.st_size, about.st_mtime)

    def _file(self, name: str) -> Path:
        return self.path / checked(name)

    def _gone(self, size: int) -> None:
        with self._change:
            self._files, self._bytes = self._files - 1, self._bytes - size


def _write(path: str, content: bytes) -> None:
    """Without pathlib and buffers: this happens for every image that is made."""
    descriptor = os.open(path, _NEW, 0o600)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)


def sweep(store: ResultStore, before: float) -> list[str]:
    """Delete what was put there before a time (seconds since 1970); the names of what went, for the history to know."""
    names = [result.name for result in store.list() if result.at < before]
    for name in names:
        store.delete(name)
    return names


def checked(name: str) -> str:
    """A name that a store gave; whatever else somebody asks for there is not. Raises `NoSuchResult`."""
    if not NAME.fullmatch(name):
        raise nothing(name)
    return name


def nothing(name: str) -> NoSuchResult:
    """The error for a name that nothing is kept by."""
    return NoSuchResult(f"no result is kept as {name[:60]!r}: its time is over, it was deleted, or it never was")
