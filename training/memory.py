"""How much memory this process may still take: what the machine has left, and what its control groups leave it."""

from __future__ import annotations

from pathlib import Path

from handlers import cgroups


def available(root: Path = Path("/")) -> int | None:
    """Bytes, or None where nobody says. `root` is where `/proc` and `/sys` are."""
    limit = cgroups.memory_limit(root)
    bounds = [bound for bound in (_of_machine(root), None if limit is None else limit.left) if bound is not None]
    return min(bounds, default=None)


def shown(count: int) -> str:
    """A number of bytes for a person."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _of_machine(root: Path) -> int | None:
    try:
        lines = (root / "proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
