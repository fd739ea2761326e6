"""Disk blocks for the metrics of a process, taken before it counts anything.

Counters live in memory-mapped files. On a full disk the first write to a page that has no block yet would kill the
process, so the blocks are taken at start; a process that gets none counts in its own memory instead, where nobody sees
it, and serves.
"""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
KINDS = ("counter", "histogram", "gauge_livesum", "gauge_livemax")
SIZE = 1 << 16  # bytes a file: hundreds of time series


def reserve() -> bool:
    """Take the blocks of this process's files; False, with the files removed, if the disk has none left."""
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return False
    paths = [Path(folder) / f"{kind}_{os.getpid()}.db" for kind in KINDS]
    try:
        for path in paths:
            with path.open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, SIZE)
    except OSError:
        for path in paths:
            path.unlink(missing_ok=True)
        del os.environ[VARIABLE]
        return False
    return True
