"""The proxy as TorchServe's worker: its socket, its loop, and what TorchServe calls to load it."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from handlers import logs
from handlers.bundle import BundleHead
from handlers.identity import Identity, handlers_digest
from handlers.manifest import MANIFEST, BundleError, read_manifest
from handlers.proxy.doors import Doors
from handlers.proxy.service import Service
from handlers.proxy.wire import Call, Reader, WireError

# An answer to LOAD that comes sooner can be lost: the front end begins to wait only after sending it.
LOAD_SECONDS = 1.05
PARENT_SECONDS = 1.0
log = logging.getLogger(__name__)


# Bytes for the front end that it has not read: over them neither it nor the engine is read from, so that no more come
# than answers to what was read before, one of them at most as large as the model's max_response_bytes.
MAX_UNREAD_BYTES = 8 * 1024 * 1024


class FrontEndLink(asyncio.Protocol):
    """The connection to the front end; `gone` is set at its end."""

    def __init__(self, service: Service, gone: asyncio.Event) -> None:
        self._service, self._gone = service, gone
        self._reader, self._calls = Reader(), deque[Call]()
        self._transport: asyncio.Transport | None = None
        self._unread = False  # it does not read what it is sent

    def connection_made(self, transport: Any) -> None:
        """Bound what waits for the front end."""
        self._transport = transport
        transport.set_write_buffer_limits(high=MAX_UNREAD_BYTES)
        self._service.write = transport.write

    def data_received(self, data: bytes) -> None:
        """Take the calls that are whole."""
        try:
            self._calls += self._reader.feed(data)
        except WireError:
            log.exception("the front end's bytes make no sense")
            self._gone.set()
        self._take()

    def _take(self) -> None:
        while self._calls and not self._unread:  # an answer may be what fills the buffer
            self._service.take(self._calls.popleft())

    def pause_writing(self) -> None:
        """The bound is reached: nothing more is read."""
        self._listen(False)

    def resume_writing(self) -> None:
        """The front end reads again, and so do we."""
        self._listen(True)
        self._take()

    def _listen(self, wanted: bool) -> None:
        self._unread = not wanted
        self._service.engine.listen(wanted)
        if self._transport is not None and not self._transport.is_closing():
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def connection_lost(self, error: Exception | None) -> None:
        """The front end is gone."""
        self._gone.set()


class AsyncWorker:
    """In place of TorchServe's AsyncService, whose three threads, shared socket and copied context lose requests."""

    service: Service

    def __init__(self, loaded: Any) -> None:
        self._socket = loaded.cl_socket

    def run(self) -> str | None:
        """Serve until the front end is gone."""
        asyncio.run(self._main())
        return None

    async def _main(self) -> None:
        loop, gone, service = asyncio.get_running_loop(), asyncio.Event(), self.service
        self._socket.setblocking(False)
        if self._socket.family is socket.AF_UNIX:
            await loop.create_unix_connection(lambda: FrontEndLink(service, gone), sock=self._socket)
        else:
            await loop.create_connection(lambda: FrontEndLink(service, gone), sock=self._socket)
        engine = asyncio.create_task(service.engine.run())
        parent = asyncio.create_task(_parent_gone(_front_end_pid(self._socket)))
        try:
            waiting = {asyncio.create_task(gone.wait()), engine, parent}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            service.engine.stop()
        if engine.done() and not engine.cancelled() and engine.exception() is not None:
            log.error("the engine's supervisor failed", exc_info=engine.exception())
        sys.stdout.flush()
        os._exit(0)  # whatever still runs has nobody to answer


def _front_end_pid(connection: socket.socket) -> int:
    """Who is at the other end, by the kernel's word: our parent may have died before we could ask who it was."""
    if connection.family is socket.AF_UNIX:
        pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if pid > 0:  # 0: of another namespace
            return int(pid)
    return os.getppid()


async def _parent_gone(front_end: int) -> None:
    """Return when the front end's process is not our parent any more: it was killed, and the socket may not tell."""
    while os.getppid() == front_end:
        await asyncio.sleep(PARENT_SECONDS)


def archived_bundle(context: Any) -> BundleHead:
    """The bundle beside the handlers, its manifest alone: the engine reads and checks the files.

    Raises `BundleError` if bundle and handlers are not what the archive's version says.
    """
    # Not through TorchServe's link: engines open the bundle here for as long as the server runs.
    folder = Path(context.system_properties["model_dir"]).resolve()
    manifest_path = folder / "bundle" / MANIFEST
    try:
        data = manifest_path.read_bytes()
    except OSError as error:
        raise BundleError(f"{manifest_path} cannot be read ({error.strerror}): archive it again") from None
    bundle = BundleHead(manifest_path.parent, *read_manifest(data, str(manifest_path)))
    found = Identity(bundle.digest, handlers_digest(folder / "handlers")).version
    if (archived := context.manifest["model"]["modelVersion"]) != found:
        raise BundleError(f"the archive is version {archived}, its bundle and handlers are {found}: archive it again")
    return bundle


def load(context: Any) -> None:
    """Check the bundle beside the handlers, start its engine, and take the place of the worker's own loop."""
    began = time.monotonic()
    logs.configure("proxy", sys.stdout)
    bundle = archived_bundle(context)
    service = Service(bundle, doors=Doors.of_environment())
    service.engine.start()
    AsyncWorker.service = service
    sys.modules["__main__"].AsyncService = AsyncWorker  # type: ignore[attr-defined]
    time.sleep(max(0.0, LOAD_SECONDS - (time.monotonic() - began)))
