"""What this process may use of the machine: control groups of both versions, and the cores it is bound to.

A container's limits are in neither the number of cores nor the free memory of its host. Groups are nested and the
tightest holds, so every group up to the root is read. `root` is where the system's files lie: `/`, but for tests.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

MIB = 2**20
_UNLIMITED_V1 = 2**62  # version 1 has no word for it: the largest multiple of a page
_RECLAIMABLE = ("inactive_file", "active_file")  # page cache, which the kernel gives up before it kills


@dataclasses.dataclass(frozen=True)
class MemoryLimit:
    """A group's limit of memory, and what is left under it, page cache counted as free; both in bytes."""

    limit: int
    left: int
    group: str  # the file that says it

    def __str__(self) -> str:
        return f"{self.limit // MIB} MB ({self.group})"


@dataclasses.dataclass(frozen=True)
class CpuQuota:
    """How many processors' worth of time a group may take."""

    cpus: float
    group: str  # the file that says it

    def __str__(self) -> str:
        return f"{self.cpus:g} processors ({self.group})"


def cpu_quota(root: Path = Path("/")) -> CpuQuota | None:
    """The tightest quota of processor time, or None."""
    found = []
    for folder in _groups("cpu", root):
        if (words := _words(folder / "cpu.max")) is not None:  # version 2: quota and period, or "max" and period
            quota, period, name = words[0], words[-1], "cpu.max"
        else:
            quotas, periods = (_words(folder / f"cpu.cfs_{of}_us") for of in ("quota", "period"))
            if quotas is None or periods is None:
                continue
            quota, period, name = quotas[0], periods[0], "cpu.cfs_quota_us"
        if quota.isdecimal() and period.isdecimal() and int(period) > 0:  # version 1 writes -1 for none
            found.append(CpuQuota(int(quota) / int(period), _shown(folder / name, root)))
    return min(found, key=lambda quota: quota.cpus, default=None)


def memory_limit(root: Path = Path("/")) -> MemoryLimit | None:
    """The limit of memory under which the least is left, or None."""
    found = []
    for folder in _groups("memory", root):
        for limit_name, usage_name, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            limit, usage = _words(folder / limit_name), _words(folder / usage_name)
            if limit is None or usage is None or not limit[0].isdecimal() or int(limit[0]) >= _UNLIMITED_V1:
                continue
            words = _words(folder / "memory.stat") or []
            stat = dict(zip(words[::2], words[1::2], strict=False))
            used = int(usage[0]) - sum(int(stat.get(f"{prefix}{name}", 0)) for name in _RECLAIMABLE)
            left = max(0, int(limit[0]) - max(0, used))
            found.append(MemoryLimit(int(limit[0]), left, _shown(folder / limit_name, root)))
    return min(found, key=lambda limit: limit.left, default=None)


def threads(root: Path = Path("/")) -> int:
    """How many threads can compute at once: the cores of this process, at most the whole ones of its quota; 1 at least.

    A thread more than the quota pays for has all of them stand still for the rest of each period.
    """
    cores, quota = len(os.sched_getaffinity(0)), cpu_quota(root)
    return cores if quota is None else max(1, min(cores, int(quota.cpus)))


def limits(root: Path = Path("/")) -> str | None:
    """The limits under which this process runs, in words; None where it has the whole machine."""
    quota, memory = cpu_quota(root), memory_limit(root)
    parts = []
    if (cores := len(os.sched_getaffinity(0))) < (os.cpu_count() or 1):
        parts.append(f"{cores} of {os.cpu_count()} cores")
    if quota is not None:
        parts.append(f"a quota of {quota}")
    if memory is not None:
        parts.append(f"a limit of memory of {memory}")
    return f"limited to {', '.join(parts)}" if parts else None


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """The folders of this process's groups that can hold a limit of `controller`, each with those above it."""
    paths = {}  # of the controllers of version 1 by name, of version 2 by ""
    for line in _lines(root / "proc/self/cgroup"):
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        paths.update(dict.fromkeys(names.split(","), path))
    for line in _lines(root / "proc/self/mountinfo"):
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(" "), [*after.split(" ", 2), "", "", ""][:3]
        name = "" if kind == "cgroup2" else controller
        if kind not in ("cgroup", "cgroup2") or name not in paths or (name and name not in options.split(",")):
            continue
        shown, mounted = (_unescaped(field) for field in fields[3:5])
        top = root / mounted.lstrip("/")
        folder = top / _below(paths[name], shown)
        if not folder.is_dir():  # a container that sees its own group alone, under the path of the host
            folder = top
        yield from (folder, *(above for above in folder.parents if above == top or top in above.parents))


def _below(path: str, shown: str) -> str:
    """A group's path from the mount on, which shows the groups from `shown` on."""
    if shown not in ("/", path) and not path.startswith(f"{shown}/"):
        return ""
    inside = path.removeprefix(shown) if shown != "/" else path
    return "" if ".." in inside.split("/") else inside.strip("/")


def _unescaped(field: str) -> str:
    """A path of /proc/self/mountinfo, where blanks and backslashes are octal."""
    return field.encode().decode("unicode_escape").encode("latin-1").decode()


def _shown(path: Path, root: Path) -> str:
    return f"/{path.relative_to(root)}"


def _words(path: Path) -> list[str] | None:
    """The words of a file; None for one that cannot be read, or is empty."""
    return " ".join(_lines(path)).split() or None


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []
