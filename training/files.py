"""The one way training writes files: under a temporary name, then renamed, so a reader finds a whole one or none."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, the share of a user, the largest file


def write(path: Path, data: bytes | memoryview) -> None:
    """Replace the file `path` by `data`, which is on the disk when this returns; folders are made.

    A kill leaves the old file, and at most a `.tmp-` file beside it. Raises `OSError` that names the file.
    """
    write_all(path, (data,))


def write_all(path: Path, pieces: Iterable[bytes | memoryview]) -> None:
    """The same with data that comes piece by piece."""
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise failed(path, error) from error
        raise


def failed(path: Path, error: OSError) -> OSError:
    """The error of a file that could not be written: one line with its name, the reason and the remedy."""
    remedy = "free some space" if error.errno in _FULL else "make that place writable"
    reason = error.strerror or str(error)
    return OSError(error.errno, f"could not write {path} ({reason}): {remedy} and run the same command again")
