"""The identity of an archive: digests of its handlers and its bundle, and the version that follows from both."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

HOME = Path(__file__).parent  # the handlers/ that run


@dataclasses.dataclass(frozen=True)
class Identity:
    """The digests of a bundle and of the handlers that serve it, both sha256 in hex."""

    bundle: str
    handlers: str

    @property
    def version(self) -> str:
        """The archive's version: short, and different wherever bundle or handlers differ."""
        return hashlib.sha256(f"{self.bundle}\n{self.handlers}\n".encode()).hexdigest()[:12]


def handlers_digest(home: Path = HOME) -> str:
    """sha256 over every file below the folder `home` but compiled ones: its path and its bytes, in order of path."""
    files = {path.relative_to(home).as_posix(): path for path in home.rglob("*") if path.is_file()}
    total = hashlib.sha256()
    for name in sorted(name for name in files if "__pycache__/" not in name):
        data = files[name].read_bytes()
        total.update(f"{name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()
