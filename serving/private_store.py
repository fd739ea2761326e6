"""The private store of a run: the folder of unpacked, checked models that TorchServe serves from, read once."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from handlers.identity import HOME
from handlers.ownership import OwnershipError, check_place
from serving import store
from serving.store import Store, StoreError

MODELS = "models"


class PrivateStore:
    """The models of one run, in a folder of its run directory that nobody else can enter.

    They are read once: what is started again after a loss is what was served before, whatever the store holds by then.
    What cleans temporary folders by age finds none here; where the run directory is one, a lock keeps systemd's out.
    """

    def __init__(self, archives: Path, run_dir: Path, home: Path = HOME) -> None:
        self.folder = run_dir.resolve() / MODELS
        self._archives, self._home = archives, home
        self._lock: int | None = None
        self._found: Store | None = None
        self._told: str | None = None

    def read(self, max_response_bytes: int) -> Store:
        """The models that are served, read from the store `archives` the first time. Raises `StoreError`."""
        if self._found is None:
            try:
                self._make()
            except (OwnershipError, OSError) as error:
                raise StoreError(f"{self.folder.parent} cannot hold the models that are served: {error}") from None
            self._found = store.read(self._archives, max_response_bytes, self.folder, self._home)
        return self._found

    def difference(self) -> str | None:
        """A sentence that says how the archives differ by now from what is served, or None."""
        return None if self._found is None else self._found.listing.difference()

    def news(self) -> str | None:
        """A line about the archives, if there is something to tell that was not told before."""
        if (found := self.difference()) == self._told:
            return None
        self._told = found
        return found or f"the store {self._archives} holds what is served again"

    def close(self) -> None:
        """Remove the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
            shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self) -> None:
        self.close()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        check_place(self.folder.parent)
        if self.folder.is_symlink():
            self.folder.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)  # of a launcher that was killed
        self.folder.mkdir(mode=0o700)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
