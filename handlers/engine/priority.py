"""The engine's priority among the processes of its host, and its place among those that a lack of memory ends."""

from __future__ import annotations

import logging
import os
from pathlib import Path

VARIABLE = "ATELIER_ENGINE_NICE"
OOM_MORE = 500  # of the 1,000 by which the kernel compares processes
log = logging.getLogger(__name__)


def set_priority() -> None:
    """Give this process the niceness that `ATELIER_ENGINE_NICE` asks for, from -20 (first) to 19; 0 changes nothing.

    Call it before any thread starts: Linux gives a niceness to threads, and new ones inherit it. A priority that is not
    allowed is logged, and the engine serves without. Raises `ValueError`, naming the variable, for what is no niceness.
    """
    text = os.environ.get(VARIABLE, "0")
    try:
        nice = int(text)
    except ValueError:
        nice = 20
    if not -20 <= nice <= 19:
        raise ValueError(f"{VARIABLE} is {text!r}, wanted an integer from -20 to 19: see `python -m serving up --help`")
    if nice == 0:
        return
    try:
        os.setpriority(os.PRIO_PROCESS, 0, nice)
    except PermissionError:
        log.warning(
            "niceness %d is not allowed (root or CAP_SYS_NICE may); the engine serves with %d", nice, os.nice(0)
        )


def go_first(own: Path = Path("/proc/self/oom_score_adj")) -> None:
    """When memory runs out let the kernel end this process before TorchServe or the launcher: it alone is replaced.

    Everybody may raise the figure; where it cannot be read or written (no /proc), the engine serves as it is.
    """
    try:
        own.write_text(str(min(1000, int(own.read_text()) + OOM_MORE)))
    except (OSError, ValueError) as error:
        log.warning("the engine does not go first when memory runs out: %s", error)
