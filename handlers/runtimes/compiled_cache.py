"""Graphs that a runtime has compiled, kept for the next start: the user's own folder, bounded, each file checked."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
from pathlib import Path

from handlers.files import write_file
from handlers.ownership import OwnershipError, check_owner, check_place

MAX_BYTES = 2 << 30  # of all that is kept; what was not used for longest goes first
_MARK = b"atelier-compiled/1 "
_HEAD = len(_MARK) + 64 + 1
log = logging.getLogger(__name__)


class CompiledCache:
    """Compiled graphs by key, in one folder. What is damaged is removed: it is compiled again."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self.folder, self._max_bytes = folder, max_bytes

    def get(self, key: str) -> bytes | None:
        """What `put` was given for that key, or None."""
        path = self._path(key)
        try:
            with open(path, "rb", opener=_no_link) as file:
                check_owner(path, os.fstat(file.fileno()))
                data = file.read()
            os.utime(path)
        except FileNotFoundError:
            return None
        except (OSError, OwnershipError) as error:
            log.warning("a compiled graph is not used: %s; it is compiled again", error)
            return None
        blob = data[_HEAD:]
        if data[:_HEAD] != _head(blob):
            log.warning("the compiled graph %s is damaged: it is compiled again", path)
            self.remove(key)
            return None
        return blob

    def put(self, key: str, blob: bytes) -> None:
        """Keep a compiled graph; a folder that takes none (a full disk) costs the next start its time, and no more."""
        if len(blob) > self._max_bytes // 2:
            return
        with contextlib.suppress(OSError):
            self._make_room(_HEAD + len(blob))
            write_file(self._path(key), _head(blob) + blob)
            self._path(key).chmod(0o600)  # whatever the umask: others may not change it

    def remove(self, key: str) -> None:
        """Forget one."""
        with contextlib.suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.blob"

    def _make_room(self, wanted: int) -> None:
        """Remove the oldest files, of whatever version of ours, until there is room for so many bytes."""
        found = [(status.st_mtime_ns, status.st_size, path) for path, status in _files(self.folder)]
        total = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if total + wanted <= self._max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


def open_cache(name: str) -> CompiledCache | None:
    """This user's cache of one runtime, or None where there is no place for one that nobody else can write to."""
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        folder = home / "atelier" / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_place(folder)
    except (OSError, RuntimeError):  # read-only, or no home at all: compile at every start
        return None
    except OwnershipError as error:
        log.warning("compiled graphs are not kept: %s", error)
        return None
    return CompiledCache(folder) if os.access(folder, os.W_OK) else None


def _files(folder: Path) -> list[tuple[Path, os.stat_result]]:
    found = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # another process has removed it
            if path.is_file() and not path.is_symlink():
                found.append((path, path.stat()))
    return found


def _head(blob: bytes) -> bytes:
    return _MARK + hashlib.sha256(blob).hexdigest().encode() + b"\n"


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
