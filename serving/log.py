"""torchserve.log: what the JVM and its workers print. People read it; nothing is ever decided by what it says.

It holds words of callers (a form that cannot be decoded is logged with its text), so it is this user's alone, bounded,
read from where the present start began, and shown without control characters.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

MAX_BYTES = 8 << 20  # of each of the two files, checked twice a second
TAIL_BYTES = 64 << 10
MAX_LINE = 500  # characters that are shown of one


class ServerLog:
    """The log of one run; that of the run before is kept beside it, as `torchserve.log.1`, until this one is full."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._old = path.with_name(f"{path.name}.1")
        self._file: int | None = None  # by its descriptor, because somebody may remove the name
        self._began = 0  # bytes that earlier starts of this run wrote

    def open(self) -> int:
        """A descriptor to append to, for one start of the server. Raises `OSError`."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self._file is None:
            with contextlib.suppress(FileNotFoundError):
                os.replace(self.path, self._old)
                self._old.chmod(0o600)
        self.bound()
        descriptor = _private(self.path, os.O_APPEND)
        if self._file is not None:
            os.close(self._file)
        self._file, self._began = os.dup(descriptor), os.fstat(descriptor).st_size
        return descriptor

    def bound(self) -> None:
        """Put the end of a log that is full aside and begin it anew. Raises `OSError`.

        The JVM goes on writing to the same file, which it opened to append: so it is cut, not renamed.
        """
        if self._file is None or os.fstat(self._file).st_size <= MAX_BYTES:
            return
        try:
            end = _end_of(self._file, MAX_BYTES)
            # On a full disk it is cut all the same.
            with contextlib.suppress(OSError), open(_private(self._old, os.O_TRUNC), "wb") as old:
                old.write(end)
        finally:
            os.ftruncate(self._file, 0)
            self._began = 0

    def tail(self, lines: int = 15) -> str:
        """The last lines that this start wrote, indented, for an error message."""
        text = b""
        if self._file is not None:
            new = os.fstat(self._file).st_size - self._began
            text = _end_of(self._file, min(TAIL_BYTES, max(0, new)))
        shown = text.decode(errors="replace").rstrip("\n").split("\n")[-lines:] if text else []
        return "\n".join([*(f"  {_printable(line)}" for line in shown), f"(whole log: {self.path})"])

    def close(self) -> None:
        """Write no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _private(path: Path, how: int) -> int:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | how, 0o600)
    os.fchmod(descriptor, 0o600)  # an older version made it for everybody to read
    return descriptor


def _end_of(descriptor: int, size: int) -> bytes:
    return os.pread(descriptor, size, max(0, os.fstat(descriptor).st_size - size))


def _printable(line: str) -> str:
    """The line without what would move a terminal's cursor or change its colours."""
    return "".join(c if c.isprintable() else " " for c in line[:MAX_LINE]).rstrip()
