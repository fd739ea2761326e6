"""The private store of a run: the folder of unpacked, checked models that TorchServe serves from, read once."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

from handlers.identity import HOME
from handlers.ownership import OwnershipError, check_place
from serving import store
from serving.store import Model, Store, StoreError

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
        self._worry: str | None = None  # about the run directory, not told yet
        self._files: dict[str, list[Path]] = {}  # of every model
        self._limit = 0
        self._given_up: list[str] = []  # models that were taken away and could not be put back

    def read(self, max_response_bytes: int) -> Store:
        """The models that are served, read from the store `archives` the first time. Raises `StoreError`."""
        if self._found is None:
            try:
                self._make()
            except OSError as error:
                raise StoreError(f"{self.folder.parent} cannot hold the models that are served: {error}") from None
            self._found = store.read(self._archives, max_response_bytes, self.folder, self._home)
            self._limit = max_response_bytes
            for model in self._found.models:
                self._files[model.manifest.name] = [path for path in self._of(model).rglob("*") if path.is_file()]
        return self._found

    def put_back(self) -> str | None:
        """Unpack again what was taken away from the folder, where the archives still hold it; returns a line about it.

        An engine that is started anew reads its model from here, days after the last one did.
        """
        models = self._found.models if self._found is not None else []
        gone = [model for model in models if not all(map(Path.exists, self._files[model.manifest.name]))]
        names = [model.manifest.name for model in gone]
        if names == self._given_up:
            return None
        self._given_up = names
        if not gone:
            return None
        told = f"files of {', '.join(names)} were removed from {self.folder}"
        try:
            back = self._unpack_again(gone)
        except (StoreError, OSError) as error:
            return f"{told}, and cannot be put back ({error}): their next engines will not open"
        if left := [name for name in names if name not in back]:
            return f"{told}; the store no longer holds {', '.join(left)} as served: no next engine of theirs will open"
        self._given_up = []
        return f"{told}: they are put back"

    def difference(self) -> str | None:
        """A sentence that says how the archives differ by now from what is served, or None."""
        return None if self._found is None else self._found.listing.difference()

    def news(self) -> str | None:
        """A line about archives or folder, if there is something to tell that was not told before."""
        if self._worry is not None:
            worry, self._worry = self._worry, None
            return worry
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

    def _of(self, model: Model) -> Path:
        return self.folder / model.manifest.name

    def _unpack_again(self, gone: list[Model]) -> set[str]:
        """Put back those models whose archives are what they were; returns their names."""
        if not self.folder.is_dir():
            self._make()
        versions = {model.manifest.name: model.version for model in gone}
        back = set()
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=".again-") as again:
            for model in store.read(self._archives, self._limit, Path(again), self._home).models:
                name = model.manifest.name
                if versions.get(name) == model.version:
                    shutil.rmtree(self._of(model), ignore_errors=True)
                    (Path(again) / name).rename(self._of(model))
                    back.add(name)
        return back

    def _make(self) -> None:
        self.close()
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            check_place(self.folder.parent)
        except OwnershipError as error:  # volumes of containers are like that; where there are others it is a risk
            self._worry = f"the models that are served lie where others may exchange them: {error}"
        if self.folder.is_symlink():
            self.folder.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)  # of a launcher that was killed
        self.folder.mkdir(mode=0o700)
        self._lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_SH)
