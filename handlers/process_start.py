"""When a process began: with its number it tells it from every other one since the boot."""

from __future__ import annotations

from pathlib import Path

_START_TICKS = 22 - 3  # field 22 of proc_pid_stat(5); the fields behind the name in parentheses begin with the third


def start_ticks(pid: int) -> int:
    """The clock ticks from the boot to the start of a process that has not ended. Raises `OSError` if there is none.

    A creation time follows the wall clock, and moves when that is set.
    """
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # a name may hold anything
    if fields[0] in b"ZX":
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[_START_TICKS])
