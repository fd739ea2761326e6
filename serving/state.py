"""A run directory: the state file of the launcher that runs there, and the locks that keep a second one out."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import struct
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil

from handlers.files import write_file
from serving.folder import clear_left
from serving.processes import identity

STATE = "state.json"
LOCK = "lock"


class AlreadyRunning(RuntimeError):
    """Another launcher holds this run directory."""


def write_state(run_dir: Path, values: Mapping[str, Any]) -> None:
    """Tell that this process runs in `run_dir`, and `values`: its addresses, its models, how long a stop may take."""
    state = {"pid": os.getpid(), **values}
    state["process"] = identity(int(state["pid"]))
    write_file(run_dir / STATE, json.dumps(state, indent=1).encode())


def read_state(run_dir: Path) -> dict[str, Any] | None:
    """State of the launcher that runs in `run_dir`, or None; a state whose process is gone counts as none."""
    try:
        state: dict[str, Any] = json.loads((run_dir / STATE).read_text())
        pid = int(state["pid"])
        if "process" in state:
            return state if identity(pid) == state["process"] else None
        # Of an older version: its creation time moves when the clock is set, its lock does not.
        same = abs(psutil.Process(pid).create_time() - float(state["pid_created"])) < 1
        return state if same or _is_locked(run_dir) else None
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return None


def remove_state(run_dir: Path) -> None:
    """Remove the state file of `run_dir`: its launcher has stopped."""
    (run_dir / STATE).unlink(missing_ok=True)


class Held:
    """A run directory that is this launcher's. `put_back` after somebody removed it."""

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._name = _claim(run_dir)
        try:
            self._lock = self._take()
        except BaseException:
            if self._name is not None:
                self._name.close()
            raise

    def put_back(self, state: Mapping[str, Any]) -> bool:
        """Make lock and state anew where they are gone; returns whether they were. Raises `OSError`."""
        try:
            there = os.path.samestat(os.fstat(self._lock.fileno()), (self._run_dir / LOCK).stat())
        except FileNotFoundError:
            there = False
        if there and (self._run_dir / STATE).exists():
            return False
        if not there:
            before, self._lock = self._lock, self._take()
            before.close()
        write_state(self._run_dir, state)
        return True

    def release(self) -> None:
        """Let another launcher have it."""
        self._lock.close()
        if self._name is not None:
            self._name.close()

    def _take(self) -> IO[str]:
        self._run_dir.mkdir(parents=True, exist_ok=True)
        lock = (self._run_dir / LOCK).open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            running = read_state(self._run_dir)
            raise _taken(int(running["pid"]) if running else None) from None
        return lock


@contextmanager
def only_one(run_dir: Path) -> Iterator[Held]:
    """Hold the run directory, and clear away what killed launchers left. Raises `AlreadyRunning`."""
    held = Held(run_dir)
    try:
        places = {Path(tempfile.gettempdir())}
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            places.add(Path(json.loads((run_dir / STATE).read_text())["folder"]).parent)  # its TMPDIR was another
        remove_state(run_dir)
        clear_left(places)
        yield held
    finally:
        held.release()


def _claim(run_dir: Path) -> socket.socket | None:
    """A name in the kernel for this directory, which nobody can remove; None where there are no such names.

    Raises `AlreadyRunning` if a process of this user has it.
    """
    place = run_dir.resolve()
    place.parent.mkdir(parents=True, exist_ok=True)
    there = place.parent.stat()  # not its path: containers that share a network may each have that
    digest = hashlib.sha256(f"{there.st_dev} {there.st_ino} {place.name}".encode(errors="surrogateescape")).hexdigest()
    name = f"\0atelier-{os.geteuid()}-{digest[:32]}"
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        claim.bind(name)
        claim.listen(64)
    except OSError:
        claim.close()
    else:
        return claim
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        asking.connect(name)
        pid, user, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if user == os.geteuid():  # somebody else's process must not keep us from starting
            raise _taken(pid)
    return None


def _taken(pid: int | None) -> AlreadyRunning:
    who = f"process {pid}" if pid else "another process that is starting"
    return AlreadyRunning(f"already running as {who}; stop it with `python -m serving down`")


def _is_locked(run_dir: Path) -> bool:
    try:
        with (run_dir / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False
