"""The private store of a run: the folder of unpacked, checked models that TorchServe serves from."""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path

from handlers.ownership import check_place

MODELS = "models"


class PrivateStore:
    """A folder that nobody else can enter, in the run directory: what cleans temporary folders by age finds none.

    Made by the launcher that holds the run directory, which removes what a killed one left. A shared lock keeps
    systemd's cleaner out where the run directory is a temporary one. Raises `OwnershipError` or `OSError`.
    """

    def __init__(self, run_dir: Path) -> None:
        check_place(run_dir)
        self.folder = run_dir.resolve() / MODELS
        if self.folder.is_symlink():
            self.folder.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(mode=0o700)
        self._lock = hold(self.folder)

    def close(self) -> None:
        """Remove it."""
        os.close(self._lock)
        shutil.rmtree(self.folder, ignore_errors=True)


def hold(folder: Path) -> int:
    """Keep systemd-tmpfiles out of a folder and all below it, until the file descriptor that is returned is closed."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor
