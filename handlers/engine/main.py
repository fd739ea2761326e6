"""The engine process: opens the bundle, then serves the proxy over a socket pair until that is closed.

Started by handlers/proxy/engine_process.py. It dies with the proxy, and the proxy outlives it.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from handlers import logs, metrics
from handlers.bundle import Bundle, read
from handlers.engine import receipts
from handlers.engine.batch_scheduler import BatchScheduler
from handlers.engine.choice import OpenedModel, open_model
from handlers.engine.loop import Outbox, serve
from handlers.engine.priority import go_first, set_priority
from handlers.engine.receipts import Receipts, describe
from handlers.engine.replies import Replies
from handlers.engine.step_scheduler import StepScheduler
from handlers.engine.whole import whole
from handlers.frames import Failed, Ready, pack
from handlers.identity import Identity, handlers_digest
from handlers.runtimes.runtime import first_line

_PR_SET_PDEATHSIG = 1
log = logging.getLogger(__name__)


def main(file_descriptor: int, folder: str, proxy: int) -> int:
    """Serve the bundle in `folder` over the inherited socket, until the process `proxy`, which started this one, ends.

    Returns 0 when it has gone, 1 if nothing opens.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the proxy's to handle; it closes the socket
    logs.configure("engine", sys.stderr)
    connection = socket.socket(fileno=file_descriptor)
    if os.getppid() != proxy:  # it died before the kernel knew that we want to go with it
        return 0
    try:
        set_priority()
        go_first()
        bundle = read(Path(folder))
        model = open_model(bundle)
    except Exception as error:
        log.exception("the engine does not open")
        connection.sendall(pack(0, Failed(receipts.without_folders(f"{type(error).__name__}: {first_line(error)}"))))
        return 1
    identity = Identity(bundle.digest, handlers_digest())
    log.warning("serving %s %s: %s", bundle.manifest.name, identity.version, model.reason)
    metrics.tell_variant(bundle.manifest.name, identity.version, model.candidate, bool(model.passed_over))
    document = describe(bundle, identity, model.candidate, model.fingerprint, model.reason)
    connection.sendall(pack(0, Ready(document, receipts.without_folders(model.state))))
    outbox = Outbox(connection)
    with contextlib.closing(connection), contextlib.closing(model):  # closed, the proxy need not wait for our end
        try:
            serve(connection, outbox, scheduler_of(bundle, identity, model, outbox.put, outbox.flush))
        except Exception as error:
            log.critical("the engine ends: %s", first_line(error), exc_info=error)
            return 1
    return 0


def scheduler_of(
    bundle: Bundle, identity: Identity, model: OpenedModel, emit: Callable[[bytes], None], flush: Callable[[], None]
) -> BatchScheduler | StepScheduler:
    """The scheduler of the bundle's lane, over an opened generator; `emit` and `flush` send frames to the proxy."""
    manifest = bundle.manifest
    replies = Replies(
        manifest.name,
        emit,
        flush,
        Receipts(manifest.name, identity, model.candidate, model.fingerprint, model.reason),
        manifest.limits.max_response_bytes,
        lambda: model.seconds,
        lambda params: whole(params, manifest.limits.max_request_bytes),
    )
    if manifest.resources.lane == "step":
        return StepScheduler(model.generator, replies)
    return BatchScheduler(model.generator, replies, manifest.resources.batch_size, manifest.limits.max_tile)
