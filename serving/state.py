"""A run directory: the state file of the launcher that runs there, and the lock that keeps a second one out."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from handlers.files import write_file
from serving.torchserve import FOLDER_PREFIX

STATE = "state.json"
LOCK = "lock"


class AlreadyRunning(RuntimeError):
    """Another launcher holds this run directory."""


def write_state(run_dir: Path, values: Mapping[str, Any]) -> None:
    """Tell that this process runs in `run_dir`, and `values`: its addresses, its models, how long a stop may take."""
    state = {"pid": os.getpid(), "pid_created": psutil.Process().create_time(), **values}
    write_file(run_dir / STATE, json.dumps(state, indent=1).encode())


def read_state(run_dir: Path) -> dict[str, Any] | None:
    """State of the launcher that runs in `run_dir`, or None; a state whose process is gone counts as none."""
    try:
        state: dict[str, Any] = json.loads((run_dir / STATE).read_text())
        process = psutil.Process(int(state["pid"]))
        return state if abs(process.create_time() - float(state["pid_created"])) < 1 else None
    except (OSError, ValueError, KeyError, psutil.Error):
        return None


def remove_state(run_dir: Path) -> None:
    """Remove the state file of `run_dir`: its launcher has stopped."""
    (run_dir / STATE).unlink(missing_ok=True)


@contextmanager
def only_one(run_dir: Path) -> Iterator[None]:
    """Hold the run directory's lock, and clear away what a killed launcher left. Raises `AlreadyRunning`."""
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            running = read_state(run_dir)
            who = f"process {running['pid']}" if running else "another process that is starting"
            raise AlreadyRunning(f"already running as {who}; stop it with `python -m serving down`") from None
        with contextlib.suppress(OSError, ValueError, KeyError):
            left = Path(json.loads((run_dir / STATE).read_text())["folder"])
            if left.name.startswith(FOLDER_PREFIX):
                shutil.rmtree(left, ignore_errors=True)
            remove_state(run_dir)
        yield
