"""What lies in a model store: compared with what was read of it, so that a running server tells of a change."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

MOST_NAMED = 5  # of changed archives, in one sentence


@dataclasses.dataclass(frozen=True)
class Listing:
    """The archives of a store and, of each, what changes when it is written again: inode, bytes, time (ns)."""

    folder: Path
    archives: Mapping[str, tuple[int, int, int] | None]  # by file name; None: it leads nowhere

    @staticmethod
    def of(folder: Path) -> Listing:
        """The store as it is now; a folder that cannot be read holds nothing."""
        found: dict[str, tuple[int, int, int] | None] = {}
        try:
            with os.scandir(folder) as entries:
                names = [entry.name for entry in entries if entry.name.endswith(".mar")]
        except OSError:
            return Listing(folder, {})
        for name in names:
            try:
                status = (folder / name).stat()
            except OSError:
                found[name] = None
            else:
                found[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
        return Listing(folder, found)

    def difference(self) -> str | None:
        """A sentence that says how the store has changed since, or None. What is served stays as it is."""
        before, now = self.archives, Listing.of(self.folder).archives
        if before == now:
            return None
        words = [f"{name!a} is new" for name in sorted(now.keys() - before.keys())]
        words += [f"{name!a} is gone" for name in sorted(before.keys() - now.keys())]
        words += [f"{name!a} was written again" for name in sorted(before.keys() & now) if before[name] != now[name]]
        more = [f"and {len(words) - MOST_NAMED} more"] if len(words) > MOST_NAMED else []
        told = ", ".join(words[:MOST_NAMED] + more)
        return (
            f"the store {self.folder} no longer holds what is served ({told}): a stop and a start serve what it holds"
        )
