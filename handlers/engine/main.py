"""The engine process: opens the bundle, then serves the proxy over a socket pair until that is closed.

Started by handlers/proxy/engine_process.py. It dies with the proxy, and the proxy outlives it.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path

from handlers import metrics
from handlers.bundle import Bundle, read
from handlers.engine.batch_scheduler import BatchScheduler
from handlers.engine.choice import OpenedModel, open_model
from handlers.engine.priority import set_priority
from handlers.engine.receipts import Receipts, describe
from handlers.engine.replies import Replies
from handlers.engine.step_scheduler import StepScheduler
from handlers.frames import Beat, Cancel, Failed, Frame, Ready, Submit, Unpacker, pack
from handlers.identity import Identity, handlers_digest
from handlers.runtimes.runtime import first_line

BEAT_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1
log = logging.getLogger(__name__)


def main(file_descriptor: int, folder: str, proxy: int) -> int:
    """Serve the bundle in `folder` over the inherited socket, until the process `proxy`, which started this one, ends.

    Returns 0 when it has gone, 1 if nothing opens.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the proxy's to handle; it closes the socket
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="engine: %(message)s")
    connection = socket.socket(fileno=file_descriptor)
    if os.getppid() != proxy:  # it died before the kernel knew that we want to go with it
        return 0
    try:
        set_priority()
        bundle = read(Path(folder))
        model = open_model(bundle)
    except Exception as error:
        log.exception("the engine does not open")
        connection.sendall(pack(0, Failed(f"{type(error).__name__}: {first_line(error)}")))
        return 1
    identity = Identity(bundle.digest, handlers_digest())
    log.warning("serving %s %s: %s", bundle.manifest.name, identity.version, model.reason)
    metrics.tell_variant(bundle.manifest.name, identity.version, model.candidate)
    document = describe(bundle, identity, model.candidate, model.fingerprint, model.reason)
    connection.sendall(pack(0, Ready(document)))
    # The proxy may be gone when something is sent.
    with contextlib.closing(model), contextlib.suppress(BrokenPipeError, ConnectionResetError):
        outbox = Outbox(connection)
        _serve(connection, outbox, scheduler_of(bundle, identity, model, outbox.put, outbox.flush))
    return 0


class Outbox:
    """Frames on their way to the proxy, many in one write."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames: list[bytes] = []

    def put(self, frame: bytes) -> None:
        """Keep a frame for the next flush."""
        self._frames.append(frame)

    def flush(self) -> None:
        """Send the kept frames. Raises `OSError` when the proxy is gone."""
        if self._frames:
            self._connection.sendall(b"".join(self._frames))
            self._frames.clear()


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
    )
    if manifest.resources.lane == "step":
        return StepScheduler(model.generator, replies)
    return BatchScheduler(model.generator, replies, manifest.resources.batch_size)


def _serve(connection: socket.socket, outbox: Outbox, scheduler: BatchScheduler | StepScheduler) -> None:
    unpacker, beat = Unpacker(), 0.0
    while True:
        wait = 0.0 if scheduler.busy else BEAT_SECONDS
        if select.select([connection], [], [], wait)[0]:
            data = connection.recv(1 << 20)
            if not data:
                return
            for frame in unpacker.feed(data):
                _obey(frame, scheduler)
        if scheduler.busy:
            scheduler.tick()
        if (now := time.monotonic()) - beat >= BEAT_SECONDS and not scheduler.overdue(BEAT_SECONDS):
            beat = now
            outbox.put(pack(0, Beat()))
        outbox.flush()


def _obey(frame: Frame, scheduler: BatchScheduler | StepScheduler) -> None:
    if isinstance(frame.message, Submit):
        scheduler.submit(frame.number, frame.message.params, frame.message.deadline)
    elif isinstance(frame.message, Cancel):
        scheduler.cancel(frame.number)
