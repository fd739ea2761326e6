"""Two facts about processes: one that ends with its parent, and whether one still runs."""

from __future__ import annotations

import ctypes
import signal

import psutil

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_LIBC = ctypes.CDLL(None)  # loaded here: between fork and exec nothing may be


def die_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its parent ends: one system call, a `preexec_fn` of `Popen`.

    The parent is the thread that forked (prctl(2)), so start such a process in one that lasts.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def alive(pid: int) -> bool:
    """Whether that process runs; one that has ended and that nobody has waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
