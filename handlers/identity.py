"""The identity of an archive: digests of its handlers and its bundle, and the version that follows from both."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path

# The handlers/ that run. TorchServe imports them through a link in its temporary folder, which may be cleaned.
HOME = Path(__file__).resolve().parent


@dataclasses.dataclass(frozen=True)
class Identity:
    """The digests of a bundle and of the handlers that serve it, both sha256 in hex."""

    bundle: str
    handlers: str

    @property
    def version(self) -> str:
        """The archive's version: short, and different wherever bundle or handlers differ."""
        return hashlib.sha256(f"{self.bundle}\n{self.handlers}\n".encode()).hexdigest()[:12]


def read_handlers(home: Path = HOME) -> dict[str, bytes]:
    """The bytes of every file below the folder `home`, by path, but compiled ones and what editors leave."""
    files = {path.relative_to(home): path for path in home.rglob("*") if path.is_file()}
    return {name.as_posix(): files[name].read_bytes() for name in sorted(files) if not _is_litter(name)}


def _is_litter(name: Path) -> bool:
    hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
    return hidden or name.suffix == ".pyc" or name.name.endswith("~")


def digest_of(files: Mapping[str, bytes]) -> str:
    """sha256 over handlers: the path and the bytes of every file, in order of path."""
    total = hashlib.sha256()
    for name in sorted(files):
        total.update(f"{name}\0{len(files[name])}\0".encode() + files[name])
    return total.hexdigest()


def handlers_digest(home: Path = HOME) -> str:
    """The digest of the handlers in the folder `home`."""
    return digest_of(read_handlers(home))
