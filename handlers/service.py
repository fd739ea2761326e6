"""TorchServe's worker as a thin proxy in front of one engine process.

Nothing risky happens here: no numpy, no runtime, no generator. Requests are checked, counted, bounded and handed to the engine;
its pieces go back as frames of a stream. An engine that dies takes only what it had begun; what waits is kept for the next one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import sys
import time
from pathlib import Path
from typing import Any

from handlers import metrics
from handlers.answers import PHRASES, Answer, read_request, refusal, unknown_control
from handlers.bundle import MANIFEST, Bundle, BundleError, read_manifest
from handlers.engine_process import EngineProcess
from handlers.frames import Frame, Kind, pack
from handlers.generator import BadRequest
from handlers.pending import Pending, Queue
from handlers.wire import Call, WireError, encode, parse

LOAD_SECONDS = (
    1.05  # an answer to LOAD that comes sooner can be lost: the front end begins to wait only after sending it
)
PARENT_SECONDS = 1.0
HOLD_SECONDS = 15.0
log = logging.getLogger(__name__)


class Service:
    """Serves one bundle to many requests at once; `take` gets calls, `write` is where frames go."""

    def __init__(self, bundle: Bundle, write: Any = None) -> None:
        self._bundle, self.write = bundle, write
        self._name = bundle.manifest.name
        limits = bundle.manifest.limits
        self._max_seconds = float(limits["max_seconds"])
        self._queue = Queue(self._name, limits["max_slots"], limits["max_queue"])
        self._describe = b""
        self._held: list[Call] = []
        self._draining = False
        self.engine = EngineProcess(
            bundle.directory,
            float(limits["max_compute_seconds"]),
            self._on_frames,
            self._on_lost,
            lambda: self._queue.in_engine > 0,
        )

    def take(self, call: Call) -> None:
        """Answer a call, now or later; never raises."""
        try:
            control = call.headers.get("x-atelier")
            if control == "hold":
                self._hold(call)
                return
            if control is not None or call.headers.get("describe") == "True":
                self._reply(call, self._control(call, control or "describe"))
                return
            if self._draining:
                raise BadRequest(None, "the server is stopping and takes no more requests; send it to another one", 503)
            if self.engine.state == "failed":
                raise BadRequest(None, f"the engine does not open: {self.engine.reason}", 503)
            request = read_request(self._bundle, call.values, call.headers)
            now = time.time()
            deadline = min(request.deadline if request.deadline is not None else math.inf, now + self._max_seconds)
            if deadline <= now:
                raise BadRequest(None, "the deadline had passed when the request came; nothing was computed", 504)
            pending = self._queue.add(call, request.params, deadline)
            if pending is None:
                self._reject_busy(call)
                return
            pending.timer = asyncio.get_running_loop().call_later(deadline - now, self._expire, pending)
            self._feed()
        except BadRequest as error:
            self._reply_error(call, error)
        except Exception:  # an exception that left here would fail every request in flight
            log.exception("a request could not be taken")
            self._reply_error(
                call, BadRequest(None, "the request could not be read; the server's log has the reason", 500)
            )

    def _control(self, call: Call, command: str) -> Answer:
        words = {
            "ping": self._ping,
            "describe": self._tell,
            "health": self._health,
            "cancel": self._cancel,
            "drain": self._drain,
            "release": self._release,
            "refuse": self._refuse,
        }
        if command not in words:
            raise unknown_control("ping, describe, health, cancel")
        return words[command](call)

    def _ping(self, _: Call) -> Answer:
        return Answer(b'{"status":"ok"}')

    def _tell(self, _: Call) -> Answer:
        if not self._describe:
            return refusal(BadRequest(None, f"the engine is not open yet: {self.engine.reason}", 503), 1)
        return Answer(self._describe)

    def _health(self, _: Call) -> Answer:
        engine = self.engine
        figures = {"engine": engine.state, "reason": engine.reason, "restarts": engine.restarts}
        body = json.dumps({**figures, **self._queue.figures()}).encode()
        return Answer(body, status=200 if engine.state == "ready" else 503)

    def _cancel(self, call: Call) -> Answer:
        """End a request for a caller who knows that nobody reads its answer any more: TorchServe never tells."""
        identifier = call.headers.get("x-atelier-id", "")
        pending = self._queue.named(identifier) if identifier else None
        if pending is None:
            raise BadRequest("X-Atelier-Id", "no request of that X-Atelier-Id is waiting or being computed", 404)
        self._drop(pending, BadRequest(None, "cancelled by the caller", 499))
        return Answer(b'{"status":"cancelled"}')

    def _drain(self, _: Call) -> Answer:
        """Take no more requests; tells how many are left."""
        self._draining = True
        return Answer(json.dumps(self._queue.figures()).encode())

    def _release(self, _: Call) -> Answer:
        return Answer(json.dumps({"released": self._release_held()}).encode())

    def _hold(self, call: Call) -> None:
        """Keep a call until all are released: the launcher makes the front end's table of requests wide with this.

        The front end enters requests into a hash table from one thread and removes them from another, without a lock; now and
        then an entry is lost, which ends the worker for good. Entries in different bins do not meet, and a table never shrinks.
        """
        if not self._held:
            asyncio.get_running_loop().call_later(HOLD_SECONDS, self._release_held)
        self._held.append(call)

    def _release_held(self) -> int:
        held, self._held = self._held, []
        for call in held:
            self._reply(call, Answer(b"{}"))
        return len(held)

    def _feed(self) -> None:
        """Hand waiting requests to the engine, as many as it should have."""
        if self.engine.state != "ready":
            return
        for pending in self._queue.next():
            order = {"params": pending.params, "deadline": pending.deadline}
            self.engine.send(pack(Kind.SUBMIT, pending.number, order))

    def _on_frames(self, frames: list[Frame]) -> None:
        out: list[bytes] = []
        for frame in frames:
            if frame.kind is Kind.READY:
                self._describe = json.dumps(frame.json()["describe"]).encode()
            elif frame.kind is Kind.FAILED:  # nobody waits for an engine that does not open
                for waiting in self._queue.all():
                    self._drop(waiting, BadRequest(None, f"the engine does not open: {self.engine.reason}", 503))
            pending = self._queue.get(frame.number)
            if pending is None:  # cancelled or answered already
                continue
            if frame.kind is Kind.STARTED:
                pending.start(frame.json())
            elif frame.kind is Kind.HEAD:
                pending.head.update(frame.json())
            elif frame.kind is Kind.DATA:
                out.append(pending.piece(frame.payload))
            elif frame.kind is Kind.END:
                out.append(pending.last())
                self._queue.remove(pending, 200)
            elif frame.kind is Kind.REFUSED:
                error = frame.json()
                out.append(pending.broken(BadRequest(error["field"], error["message"], error["status"])))
                self._queue.remove(pending, error["status"])
        if out:
            self.write(b"".join(out))
        self._feed()

    def _on_lost(self, why: str) -> None:
        """The engine died: what it had begun fails, what it had not begun goes back to the head of the queue."""
        metrics.RESTARTS.labels(self._name).inc()
        for pending in self._queue.take_back():
            message = f"the engine was restarted while it computed this ({why}); nothing is kept, send it again"
            self._drop(pending, BadRequest(None, message, 503))

    def _expire(self, pending: Pending) -> None:
        self._drop(pending, BadRequest(None, "the deadline passed before the answer was whole", 504))

    def _drop(self, pending: Pending, error: BadRequest) -> None:
        """End a request from this side."""
        if self._queue.get(pending.number) is not pending:
            return
        if pending.in_engine:
            self.engine.send(pack(Kind.CANCEL, pending.number))
        self.write(pending.broken(error))
        self._queue.remove(pending, error.status)
        self._feed()

    def _refuse(self, _: Call) -> Answer:
        """As a full queue does, for the launcher's warm-up."""
        self._queue.count(503, "warm_up")
        return refusal(BadRequest(None, "refused, as the warm-up asks", 503), 1)

    def _reject_busy(self, call: Call) -> None:
        seconds = max(1, math.ceil(self._queue.wait_seconds()))
        message = f"{self._queue.size} requests are waiting or being computed, which is all {self._name} takes"
        self._reply_error(call, BadRequest(None, f"{message}; try again in {seconds} s", 503), seconds)

    def _reply_error(self, call: Call, error: BadRequest, retry_after_s: int | None = None) -> None:
        self._queue.count(error.status)
        self._reply(call, refusal(error, retry_after_s))

    def _reply(self, call: Call, answer: Answer) -> None:
        self.write(whole_answer(call, answer))


def whole_answer(call: Call, answer: Answer) -> bytes:
    """All frames of an answer that is known at once.

    The front end frees a request of its async mode only at a frame marked "false". Over HTTP an answer is a stream of one piece and
    an empty end; an error is a plain frame and that end, because the body of a stream that begins with a status over 399 is lost.
    Both go out in one write, so that the front end has forgotten the request before its client can send another.
    """
    phrase = PHRASES.get(answer.status, "")
    parts = (call.id, answer.body, answer.status, phrase, answer.content_type, answer.headers)
    if not call.is_http or call.headers.get("describe") == "True":  # one frame: a second would be a second answer
        return encode(*parts, stream="false")
    stream = None if answer.status >= 400 else "true"
    return encode(*parts, stream=stream) + encode(call.id, b"", stream="false")  # type: ignore[arg-type]


class _FrontEnd(asyncio.Protocol):
    """The connection to the front end."""

    def __init__(self, service: Service, gone: asyncio.Event) -> None:
        self._service, self._gone, self._data = service, gone, bytearray()

    def connection_made(self, transport: Any) -> None:
        self._service.write = transport.write

    def data_received(self, data: bytes) -> None:
        self._data += data
        at = 0
        try:
            while at < len(self._data) and (message := parse(self._data, at)) is not None:
                calls, at = message
                for call in calls:
                    self._service.take(call)
        except (WireError, UnicodeDecodeError):
            log.exception("the front end's bytes make no sense")
            self._gone.set()
        del self._data[:at]

    def connection_lost(self, error: Exception | None) -> None:
        self._gone.set()


class AsyncWorker:
    """Takes the place of TorchServe's AsyncService, whose three threads, shared socket and copied context lose requests."""

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
        if os.fspath(self._socket.family.name) == "AF_UNIX":
            await loop.create_unix_connection(lambda: _FrontEnd(service, gone), sock=self._socket)
        else:
            await loop.create_connection(lambda: _FrontEnd(service, gone), sock=self._socket)
        engine = asyncio.create_task(service.engine.run())
        parent = asyncio.create_task(_parent_gone())
        try:
            waiting = {asyncio.create_task(gone.wait()), engine, parent}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            service.engine.stop()
        if engine.done() and not engine.cancelled() and engine.exception() is not None:
            log.error("the engine's supervisor failed", exc_info=engine.exception())
        sys.stdout.flush()
        os._exit(0)  # whatever still runs has nobody to answer


async def _parent_gone() -> None:
    """Return when the front end's process is no longer our parent: it was killed, and the socket may not tell."""
    parent = os.getppid()
    while os.getppid() == parent:
        await asyncio.sleep(PARENT_SECONDS)


def archived_bundle(context: Any) -> Bundle:
    """The bundle beside the handler, its manifest alone: the engine reads and checks the files. Raises `BundleError`."""
    folder = Path(context.system_properties["model_dir"]) / "bundle"
    try:
        data = (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read ({error.strerror}): archive it again") from None
    manifest, digest = read_manifest(data, str(folder / MANIFEST))
    bundle = Bundle(folder, manifest, digest, {})
    archived = context.manifest["model"]["modelVersion"]
    if archived != bundle.version:
        raise BundleError(f"the archive is version {archived}, its bundle is {bundle.version}: archive it again")
    return bundle


def load(context: Any) -> None:
    """What a leaf handler does when TorchServe loads it: check the bundle, start the engine, replace the worker's loop."""
    began = time.monotonic()
    logging.getLogger().setLevel(logging.WARNING)
    bundle = archived_bundle(context)
    service = Service(bundle)
    service.engine.start()
    AsyncWorker.service = service
    sys.modules["__main__"].AsyncService = AsyncWorker  # type: ignore[attr-defined]
    time.sleep(max(0.0, LOAD_SECONDS - (time.monotonic() - began)))
