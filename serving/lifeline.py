"""A launcher that goes with whoever started it, however that one ends: the kernel closes its end of a pipe."""

from __future__ import annotations

import contextlib
import os
import signal
import threading


def stop_at_end_of(descriptor: int) -> None:
    """Send this process SIGTERM when nobody holds the other end of the pipe `descriptor` any more.

    What is written to the pipe is read and dropped. A signal of the kernel's for a dead parent (PR_SET_PDEATHSIG) would
    come too early: it is sent when the thread that started this process ends. Raises `OSError` for what cannot be read.
    """
    os.fstat(descriptor)
    threading.Thread(target=_watch, args=(descriptor,), name="lifeline", daemon=True).start()


def _watch(descriptor: int) -> None:
    with contextlib.suppress(OSError):  # EIO: a terminal that is gone
        while os.read(descriptor, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
