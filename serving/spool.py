"""The folder through which uploads and large bodies reach the engines: the gateway writes them there, an engine reads.

Bodies never go through TorchServe when they are large (docs/architecture.md), so both sides have to know one folder.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from pathlib import Path


def default_folder() -> Path:
    """Where uploads lie unless said otherwise: in memory where that is there, and below a folder of this user's alone.

    The gateway's is the same (gateway/spool_folder.py), which may run without this launcher.
    """
    if (runtime := os.environ.get("XDG_RUNTIME_DIR")) and os.access(runtime, os.W_OK):
        return Path(runtime) / "atelier-spool"
    memory = Path("/dev/shm")
    return (memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())) / f"atelier-spool-{os.geteuid()}"


def prepare(folder: Path) -> Path:
    """The folder by its whole path, made with mode 700 if it is not there. Raises `OSError` for one others can enter.

    It stays when the server stops: others may use it, and what an ended gateway left there the next one removes.
    """
    whole = folder.absolute()
    whole.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        whole.mkdir(mode=0o700)
    found = whole.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o077:
        raise OSError(
            f"uploads cannot lie in {whole} (user {found.st_uid}, mode {found.st_mode:o}), wanted a folder of this "
            f"user ({os.geteuid()}) that nobody else can enter: `chmod 700` it, or name another with --spool"
        )
    return whole
