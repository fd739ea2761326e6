"""The one way training writes files: under a temporary name, then renamed, so a reader finds a whole one or none."""

from __future__ import annotations

import os
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Replace the file `path` by `data`, which is on the disk when this returns; folders are made. Raises `OSError`.

    A kill leaves the old file, and at most a `.tmp-` file beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
