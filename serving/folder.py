"""The private folder of one run: mode 700 below TMPDIR, locked while its process lives, so that the next start knows.

A lock of the kernel's cannot be left behind: a folder of ours that nobody has locked belongs to a launcher that was
killed, at whatever moment. The lock is on the folder itself, which keeps systemd-tmpfiles from cleaning below it, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path

from serving.processes import kill_those_with

PREFIX = "atelier-run-"
MARK = "launcher"  # a file in each; a folder without it was never ours, whatever its name is
TEMPORARY = "tmp"  # below it: TMPDIR of every process of the run, by which they are known


class PrivateFolder:
    """One new folder. `put_back` after somebody cleaned TMPDIR, `remove` at the end. Raises `OSError`."""

    def __init__(self) -> None:
        self._lock = -1
        while self._lock < 0:  # another start may take a folder without a lock for one that was left
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = _locked(self.path)
        self._mark()

    def put_back(self) -> None:
        """Make it anew if it is gone. Raises `OSError` if it is somebody else's now."""
        with contextlib.suppress(FileExistsError):
            self.path.mkdir(mode=0o700, parents=True)
            with contextlib.suppress(OSError):
                os.close(self._lock)
            self._lock = -1
        if not _private(self.path):
            raise PermissionError(
                f"{self.path} was removed and made again by somebody else: remove it, or stop this server and start it "
                "with TMPDIR set to a folder that others cannot write to"
            )
        if self._lock < 0:
            self._lock = _locked(self.path)
        self._mark()

    def remove(self) -> None:
        """Remove it with everything in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _mark(self) -> None:
        (self.path / MARK).touch(mode=0o600)


def clear_left(parents: Iterable[Path]) -> list[Path]:
    """End and remove what killed launchers of this user left below `parents`; returns the folders."""
    cleared = []
    for folder in {path for parent in parents for path in parent.glob(f"{PREFIX}*")}:
        try:
            if not _private(folder) or (lock := _locked(folder)) < 0:
                continue
        except OSError:
            continue
        try:
            if (folder / MARK).exists():
                # A JVM that hangs in its own shutdown would outlive its launcher for ever.
                kill_those_with("TMPDIR", str(folder / TEMPORARY))
                shutil.rmtree(folder, ignore_errors=True)
                cleared.append(folder)
            else:  # killed before it wrote the mark; anything else in it is not ours
                with contextlib.suppress(OSError):
                    folder.rmdir()
                    cleared.append(folder)
        finally:
            os.close(lock)
    return cleared


def _private(folder: Path) -> bool:
    """Whether it is a folder, no link, that this user alone can enter. Raises `OSError` if it is not there."""
    status = folder.lstat()
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o077 == 0


def _locked(folder: Path) -> int:
    """The descriptor that holds the folder's lock, or -1 if another process has it or the folder is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return -1
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), folder.lstat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return -1
