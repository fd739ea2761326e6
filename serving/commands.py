"""`python -m serving wait` and `down`: commands to a launcher that runs in another process."""

from __future__ import annotations

import os
import signal
import ssl
import time
from pathlib import Path
from typing import Any

from serving.client import request
from serving.jvm import StartError
from serving.processes import alive, identity
from serving.state import read_state


def down(run_dir: Path) -> bool:
    """Stop the launcher that runs in `run_dir`; False if there is none.

    Raises `StartError` if it takes longer to stop than its state file says (`--drain-seconds` is in that).
    """
    state = read_state(run_dir)
    if state is None:
        return False
    pid, seconds = int(state["pid"]), float(state["stop_seconds"])
    for number in (signal.SIGTERM, signal.SIGCONT):  # one that is stopped hears nothing until it goes on
        os.kill(pid, number)
    deadline = time.monotonic() + seconds
    this = identity(pid)
    while alive(pid) and identity(pid) == this:
        if time.monotonic() > deadline:
            raise StartError(f"process {pid} did not stop within {seconds:g} s; its log is in {run_dir}")
        time.sleep(0.05)
    return True


def wait_ready(run_dir: Path, seconds: float, pid: int | None = None) -> dict[str, Any]:
    """Return the state once `/ready` answers 200, and `/readyz` of the gateway where one runs.

    Raises `StartError` after `seconds`, or when process `pid` is gone.
    """
    deadline = time.monotonic() + seconds
    seen = "no server has started here"
    while time.monotonic() < deadline:
        state = read_state(run_dir)
        if state is not None and (pid is None or state["pid"] == pid):  # not another launcher's readiness
            try:
                answer = request(state["status"], "GET", "/ready", timeout=5)
                if answer.status == 200 and (gateway := state.get("gateway")) is not None:
                    answer = request(gateway, "GET", "/readyz", timeout=5)  # it has to find the models first
                seen = answer.body.decode(errors="replace")
                if answer.status == 200 and state.get("gateway", "") is None:  # ready only after the state was read
                    seen = "the gateway's address is not in the state file yet"
                elif answer.status == 200:
                    return state
            except ssl.SSLCertVerificationError:  # the gateway's, for its public name: it lives, and tells us no more
                return state
            except OSError as error:
                seen = str(error)
        if pid is not None and not alive(pid):
            raise StartError(f"process {pid} is gone before it was ready ({seen})")
        time.sleep(0.1)
    raise StartError(f"not ready after {seconds:.0f} s: {seen}")
