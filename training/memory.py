"""How much memory this process may still take: what the machine has left, and what its control groups leave it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_V2 = ("memory.max", "memory.current", "inactive_file")


def available(root: Path = Path("/")) -> int | None:
    """Bytes, or None where nobody says. `root` is where `/proc` and `/sys` are."""
    bounds = [*_of_machine(root), *_of_groups(root)]
    return max(0, min(bounds)) if bounds else None


def shown(count: int) -> str:
    """A number of bytes for a person."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _of_machine(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/meminfo"):
        if line.startswith("MemAvailable:"):
            yield int(line.split()[1]) * 1024


def _of_groups(root: Path) -> Iterator[int]:
    for line in _lines(root / "proc/self/cgroup"):
        number, kinds, path = line.split(":", 2)
        if number != "0" and "memory" not in kinds.split(","):
            continue
        top, names = (root / "sys/fs/cgroup", _V2) if number == "0" else (root / "sys/fs/cgroup/memory", _V1)
        below = Path(path.lstrip("/"))
        for group in (below, *below.parents):  # a limit of a group is one of all below it
            yield from _of_group(top / group, *names)


def _of_group(folder: Path, limit: str, usage: str, cache: str) -> Iterator[int]:
    bound, used = (next(iter(_lines(folder / name)), "") for name in (limit, usage))
    if bound.isdecimal() and used.isdecimal() and int(bound) < 1 << 60:  # v1 says a huge number where there is none
        stat = dict(line.split() for line in _lines(folder / "memory.stat") if len(line.split()) == 2)
        yield int(bound) - int(used) + int(stat.get(cache, 0))  # pages of files that are not in use are given back


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except (OSError, ValueError):
        return []
