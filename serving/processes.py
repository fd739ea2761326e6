"""Facts about processes: who they are, whether they run, and one that ends with its parent."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from handlers.process_start import start_ticks

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be
_BOOT = Path("/proc/sys/kernel/random/boot_id")


def dying_with(parent: int, by: signal.Signals = signal.SIGKILL) -> Callable[[], None]:
    """A `preexec_fn` of `Popen`: the kernel sends `by` to the process when `parent`, who starts it, ends.

    Its core would hold what callers sent, so it and its children leave none. The parent is the thread that forked
    (prctl(2)), so start such a process in one that lasts.
    """

    def between_fork_and_exec() -> None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, by)
        if os.getppid() != parent:  # it ended before the kernel knew
            os._exit(1)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    return between_fork_and_exec


def identity(pid: int) -> str | None:
    """What no other process ever has: the boot's id and the start in clock ticks; None for one that has ended."""
    try:
        boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
        return f"{boot} {start_ticks(pid)}"
    except OSError:
        return None


def alive(pid: int) -> bool:
    """Whether that process runs; one that has ended and that nobody has waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def kill_those_with(variable: str, value: str) -> int:
    """SIGKILL to every process of this user whose environment has `variable` at `value`; returns to how many."""
    killed = 0
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(variable) == value:
                process.kill()
                killed += 1
        except (psutil.Error, OSError):  # gone, or somebody else's
            continue
    return killed
