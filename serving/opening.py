"""Between loaded models and callers: a wide table, warm code, and the launcher's words refused to everybody else."""

from __future__ import annotations

import time

from serving.jvm import FrontEndLost, StartError
from serving.torchserve import TorchServe
from serving.warm import ENTRIES, warm_both, widen
from serving.watch import control


def open_front_end(torchserve: TorchServe, names: list[str]) -> str:
    """Make the front end's table wide and its code warm; returns with how much. Raises `FrontEndLost`."""
    began = time.monotonic()
    try:
        for name in names:
            if (held := widen(torchserve.front, name, torchserve.nonce)) != ENTRIES:
                found = f"the front end held {held} requests to {name} at once, wanted {ENTRIES}"
                raise FrontEndLost(f"{found}\n{torchserve.log_tail()}")
        pings, refusals = warm_both(torchserve.front, names, torchserve.nonce, spent=time.monotonic() - began)
        for name in names:
            if (told := control(torchserve, name, "open")).get("status") != "open":  # its words are refused from now on
                raise StartError(f"{name} does not know the word open ({told}): archive it again with these handlers")
    except (OSError, EOFError, ValueError) as error:  # a connection that ends, or bytes that are no HTTP
        tail = torchserve.log_tail()
        raise FrontEndLost(f"the front end died while it was warmed: {error!r}\n{tail}") from error
    if not pings or not refusals:
        found = f"{pings} pings were answered and {refusals} requests refused during the warm-up, wanted some of either"
        raise FrontEndLost(f"{found}\n{torchserve.log_tail()}")
    return f"{pings} pings and {refusals} refusals"
