"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
from pathlib import Path

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)


def write_file(path: Path, data: bytes) -> None:
    """Write by temporary name and rename; a full disk leaves neither a half file nor the temporary one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # a full disk is told by write(2), which knows no names
        raise


def switch(stage: Path, path: Path) -> None:
    """Put the directory `stage` in the place of `path`, in one step where the kernel can exchange two names."""
    if not path.exists():
        os.rename(stage, path)
        return
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None or renameat2(_AT_FDCWD, bytes(stage), _AT_FDCWD, bytes(path), _RENAME_EXCHANGE) != 0:
        old = stage.with_name(stage.name + ".old")
        os.rename(path, old)
        os.rename(stage, path)
        shutil.rmtree(old)
