"""The files in which processes count: who makes them, who reads them, and what is left of those that have ended.

Counters live in memory-mapped files. On a full disk the first write to a page that has no block yet would kill the
process, so the blocks are taken at start; a process that gets none counts in its own memory instead, where nobody sees
it, and serves.

A name is `KIND_PID-TICKS.db`; the second figure is when the process began, so that no other process of that number
counts on in its file.
"""

from __future__ import annotations

import json
import logging
import os
import struct
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

from handlers.process_start import start_ticks

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
LASTING = ("counter", "histogram")  # these outlive the process
KINDS = (*LASTING, "gauge_livesum", "gauge_livemax")
SIZE = 1 << 16  # bytes a file: hundreds of time series
ENDED = "0-0"  # what all processes counted that have ended; no process has this number
log = logging.getLogger(__name__)


def identity(pid: int | None = None) -> str:
    """`PID-TICKS` of a running process (None: this one): its number, and when it began in ticks since the boot.

    Raises `OSError` if there is none.
    """
    pid = os.getpid() if pid is None else pid
    return f"{pid}-{start_ticks(pid)}"


def reserve() -> bool:
    """Take the blocks of this process's files; False, with the files removed, if the disk has none left (or no /proc).

    Call it before prometheus_client is imported anywhere: it reads the folder's name then.
    """
    folder = os.environ.get(VARIABLE)
    if folder is None:
        return False
    paths: list[Path] = []
    try:
        own = identity()
        paths += [Path(folder) / f"{kind}_{own}.db" for kind in KINDS]
        for path in paths:
            _reserved(path, SIZE).rename(path)  # it appears whole: a reader never meets an empty file
    except OSError:
        for path in paths:
            path.unlink(missing_ok=True)
        del os.environ[VARIABLE]
        return False
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: own)  # type: ignore[no-untyped-call]
    return True


class MetricFiles:
    """The files of a folder as their reader sees them. One thread at a time may use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._torn: set[str] = set()  # names that were counted as skipped and are still there
        self.skipped = 0  # files of which something could not be read

    def collect(self) -> list[Metric]:
        """Everything that was counted, also by processes that have ended; gauges of those alone that run."""
        from prometheus_client.multiprocess import MultiProcessCollector

        try:
            self.tidy()
        except OSError as error:
            log.warning("what ended processes counted cannot be put together now: %s", error)
        whole = [str(path) for path in sorted(self._folder.glob("*.db")) if self._read(path)[1]]
        return list(MultiProcessCollector.merge(whole))  # type: ignore[no-untyped-call]

    def tidy(self) -> None:
        """Put together what ended processes counted, into a file for each kind; their own files go.

        Raises `OSError` where the disk is full: then all stays as it was, and the next call tries again.
        """
        ended = [path for path in sorted(self._folder.glob("*")) if _has_ended(path)]
        for kind in LASTING:
            if files := [path for path in ended if path.name.startswith(f"{kind}_") and path.suffix == ".db"]:
                self._put_together(kind, files)
        for path in ended:
            path.unlink(missing_ok=True)
            self._torn.discard(path.name)

    def _put_together(self, kind: str, files: list[Path]) -> None:
        from prometheus_client.mmap_dict import MmapedDict

        target = self._folder / f"{kind}_{ENDED}.db"
        sums: dict[str, float] = defaultdict(float)
        for path in (target, *files):
            for key, value in self._read(path)[0]:
                sums[key] += value
        # So large that writing does not need another block.
        aside = _reserved(target, max(SIZE, 8 + sum(map(_entry_size, sums))))
        values = MmapedDict(str(aside))  # type: ignore[no-untyped-call]
        for key, value in sums.items():
            values.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
        values.close()  # type: ignore[no-untyped-call]
        aside.rename(target)
        for path in files:  # at once: what is in the sum must not be counted again
            path.unlink(missing_ok=True)

    def _read(self, path: Path) -> tuple[list[tuple[str, float]], bool]:
        """(key, value) of a file up to where it is torn, and whether it is whole; a file that is gone holds nothing."""
        from prometheus_client.mmap_dict import MmapedDict

        entries: list[tuple[str, float]] = []
        try:
            if path.name.partition("_")[0] not in ("counter", "histogram", "gauge"):
                raise ValueError("its name is not one of ours")
            for key, value, *_ in MmapedDict.read_all_values_from_file(path):  # type: ignore[no-untyped-call]
                json.loads(key)
                entries.append((key, value))
        except FileNotFoundError:
            return [], True
        except (OSError, RuntimeError, ValueError, struct.error) as error:
            if path.name not in self._torn:
                self._torn.add(path.name)
                self.skipped += 1
                log.warning("metrics: %s is not whole, it is left out: %s", path.name, error)
            return entries, False
        self._torn.discard(path.name)
        return entries, True


def _reserved(path: Path, size: int) -> Path:
    """A file of `size` bytes on disk beside `path`, for this user alone, to be renamed to it. Raises `OSError`."""
    aside = path.with_suffix(".new")
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return aside


def _has_ended(path: Path) -> bool:
    """Whether the process that a file's name tells is gone; False for a file that is no process's."""
    name = path.stem.rpartition("_")[2]
    pid, _, ticks = name.partition("-")
    if path.suffix not in (".db", ".new") or not pid.isdecimal() or name == ENDED:
        return False
    try:
        running = identity(int(pid))
    except OSError:
        return True
    return bool(ticks) and running != name


def _entry_size(key: str) -> int:
    """Bytes that a key and its figures take in a file (prometheus_client/mmap_dict.py)."""
    length = len(key.encode())
    return 4 + length + (8 - (length + 4) % 8) + 16
