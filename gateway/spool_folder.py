"""The folder that uploads lie in: this user's alone, names that nobody guesses, and what an ended gateway left removed.

Several gateways may share it. Each has a lock of the kernel's on a file of its own, which cannot be left behind: files
whose gateway holds no lock are nobody's.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import stat
import tempfile
from pathlib import Path

LOCK = ".lock"
_OURS = re.compile(r"(?P<run>[0-9a-f]{16})\.(?:[0-9a-f]{32}|lock)")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def default_folder() -> Path:
    """Where uploads lie unless said otherwise: in memory where that is there, and below a folder of this user's alone.

    The launcher's is the same (serving/spool.py).
    """
    if (runtime := os.environ.get("XDG_RUNTIME_DIR")) and os.access(runtime, os.W_OK):
        return Path(runtime) / "atelier-spool"
    memory = Path("/dev/shm")
    return (memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())) / f"atelier-spool-{os.geteuid()}"


class FolderError(OSError):
    """Error: a folder that uploads may not lie in; the message says why, and how to mend it."""


class Folder:
    """One gateway's view of the folder. Raises `FolderError` or `OSError`."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._run, self._folder, self._lock = secrets.token_hex(8), -1, -1
        try:
            self._open()
            self.sweep()
        except BaseException:
            self.close()
            raise

    def new(self) -> tuple[str, int]:
        """A new, empty file that this user alone may read: its name, and a descriptor to write to."""
        self._put_back()
        name = f"{self._run}.{secrets.token_hex(16)}"
        return name, os.open(name, _NEW, 0o600, dir_fd=self._folder)

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone already is nobody's error."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._folder)

    def sweep(self) -> int:
        """Remove the files of gateways that have ended; returns how many. Files that are none of ours stay."""
        runs: dict[str, list[str]] = {}
        for name in self._names():
            if (found := _OURS.fullmatch(name)) is not None and found["run"] != self._run:
                runs.setdefault(found["run"], []).append(name)
        removed = 0
        for run, names in runs.items():
            lock = self._locked(run, create=False)
            if lock is None:  # its gateway lives
                continue
            for name in sorted(names, key=lambda name: name.endswith(LOCK)):  # the lock at last
                self.remove(name)
                removed += not name.endswith(LOCK)
            if lock >= 0:
                os.close(lock)
        return removed

    def close(self) -> None:
        """Remove what this gateway has in it, and its lock. The folder stays: others may use it."""
        if self._folder < 0:
            return
        for name in self._names():
            if name.startswith(f"{self._run}."):
                self.remove(name)
        for descriptor in (self._lock, self._folder):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._folder = -1

    def _names(self) -> list[str]:
        return os.listdir(self._folder)  # noqa: PTH208 (of the folder that is open, whatever its path is now)

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        try:
            self._folder = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            raise FolderError(f"{self.path} is no folder that uploads can lie in ({error.strerror})") from None
        found = os.fstat(self._folder)
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise FolderError(
                f"{self.path} belongs to user {found.st_uid} with mode {stat.S_IMODE(found.st_mode):04o}, wanted this "
                f"user ({os.geteuid()}) with 0700, because uploads lie in it: `chmod 700` it, or name another folder"
            )
        lock = None
        while lock is None or lock < 0:  # another gateway's sweep may have taken it for one that was left
            lock = self._locked(self._run, create=True)
        self._lock = lock

    def _put_back(self) -> None:
        """Make the folder anew if somebody cleaned it away."""
        try:
            if os.path.samestat(self.path.lstat(), os.fstat(self._folder)):
                return
        except FileNotFoundError:
            pass
        os.close(self._lock)
        os.close(self._folder)
        self._lock = self._folder = -1
        self._open()

    def _locked(self, run: str, create: bool) -> int | None:
        """The descriptor of a run's lock, -1 if it has no lock file (any more), None if another process holds it."""
        flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | (os.O_CREAT if create else 0)
        try:
            descriptor = os.open(f"{run}{LOCK}", flags, 0o600, dir_fd=self._folder)
        except FileNotFoundError:
            return -1
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            there = os.stat(f"{run}{LOCK}", dir_fd=self._folder, follow_symlinks=False)
            if os.path.samestat(there, os.fstat(descriptor)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return -1
