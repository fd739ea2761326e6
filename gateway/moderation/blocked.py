"""The list of blocked images: a file of hashes and reasons, no pictures. It is reread when it changes."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from gateway.moderation.categories import CATEGORIES

FORMAT = "atelier-blocked/1"
MAX_IMAGES, MAX_BYTES, MAX_REASON = 100_000, 64 << 20, 500
WANTED = f"wanted JSON with format {FORMAT!r} and images, as `python -m gateway moderation block` writes it"
log = structlog.get_logger("gateway.moderation")


class BlockedError(Exception):
    """Error: the list cannot be read or written, or has no such entry."""


@dataclasses.dataclass(frozen=True)
class Blocked:
    """One image: its hash as 32 hex digits, why it is blocked, when that was (seconds since 1970)."""

    hash: str
    reason: str
    category: str
    added: float

    @property
    def id(self) -> str:
        """What `unblock` calls it."""
        return self.hash[:16]


class Near(NamedTuple):
    """A blocked image, and by how many bits another one differs."""

    image: Blocked
    distance: int


class BlockList:
    """The list in a file; no file is an empty list. Every call blocks for a moment: in a thread."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._seen: tuple[int, ...] | None = None
        self._images: list[tuple[int, Blocked]] = []

    def images(self) -> list[Blocked]:
        """All of it, the oldest first. Raises `BlockedError`."""
        return read(self.path)

    def load(self) -> None:
        """Read it. Raises `BlockedError`."""
        seen = _identity(self.path)
        images = [(int(image.hash, 16), image) for image in read(self.path)]
        self._seen, self._images = seen, images

    def nearest(self, found: int, distance: int) -> Near | None:
        """The blocked image that is most like one of this hash, if one is within so many bits.

        A file that cannot be read any more is told to the log, and the list that was read before goes on.
        """
        with self._lock:
            if _identity(self.path) != self._seen:
                try:
                    self.load()
                except BlockedError as error:
                    self._seen = _identity(self.path)  # told once
                    log.error("the list of blocked images is not what it was; the one before goes on", why=str(error))
            images = self._images
        near = min(((found ^ other).bit_count(), at) for at, (other, _) in enumerate(images)) if images else None
        return None if near is None or near[0] > distance else Near(images[near[1]][1], near[0])

    def add(self, image: Blocked) -> bool:
        """Put an image on the list; False where it is there already. Raises `BlockedError`."""
        with self._changing() as images:
            if any(other.hash == image.hash for other in images):
                return False
            if len(images) >= MAX_IMAGES:
                raise BlockedError(f"{self.path} has {len(images)} images, which is all it may have")
            images.append(image)
            return True

    def remove(self, identity: str) -> Blocked:
        """Take an image off the list. Raises `BlockedError`."""
        with self._changing() as images:
            for image in images:
                if image.id == identity:
                    images.remove(image)
                    return image
        raise BlockedError(f"{self.path} has no image {identity[:40]!r}; `moderation list` shows them")

    @contextmanager
    def _changing(self) -> Iterator[list[Blocked]]:
        """The list, which is written when the block ends; one process at a time."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self.path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = read(self.path)
                images = list(before)
                yield images
                if images != before:
                    _write(self.path, images)
        except OSError as error:
            raise BlockedError(f"{self.path} cannot be written: {error.strerror}") from None


def blocked(found: int, reason: str, category: str) -> Blocked:
    """An entry made now."""
    return Blocked(f"{found:032x}", reason, category, time.time())


def read(path: Path) -> list[Blocked]:
    """The images of a file. Raises `BlockedError`."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BlockedError(f"{path} cannot be read: {error.strerror}") from None
    try:
        document = json.loads(text) if len(text) <= MAX_BYTES else None
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise ValueError("it is of another format")
        if len(document["images"]) > MAX_IMAGES:
            raise ValueError(f"it has more than {MAX_IMAGES} images")
        return [_entry(entry) for entry in document["images"]]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise BlockedError(f"{path} is no list of blocked images ({error}); {WANTED}") from None


def _entry(entry: Any) -> Blocked:
    image = Blocked(str(entry["hash"]), str(entry["reason"]), str(entry["category"]), float(entry["added"]))
    if not re.fullmatch(r"[0-9a-f]{32}", image.hash) or image.category not in CATEGORIES:
        raise ValueError(f"the entry {str(entry)[:100]}")
    return image


def _write(path: Path, images: Sequence[Blocked]) -> None:
    document = {"format": FORMAT, "images": [dataclasses.asdict(image) for image in images]}
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        with part.open("x", encoding="utf-8") as file:
            os.fchmod(file.fileno(), 0o600)
            json.dump(document, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
