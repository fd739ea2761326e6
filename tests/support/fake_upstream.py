"""An upstream for tests of the gateway: an HTTP server on a unix socket that answers as it is told.

with fake_upstream(folder) as fake:
    fake.models["drawn"].reply = lambda asked: refused(503, "busy", retry_after="7")
    fake.hold()                      # requests wait from now on, streams after their first piece, until release()
    fake.asked, fake.cancelled       # what came: requests, and the ids that were cancelled
    fake.stop(); fake.start()        # it vanishes and comes back at the same address
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web

from handlers.params import ParamSpec, check_all
from handlers.refusals import Refusal
from tests.support.fake_documents import documents
from tests.support.fake_replies import Reply, refused, usual


@dataclasses.dataclass
class Asked:
    """One request that came; names of headers are in lower case."""

    model: str
    params: Any
    headers: Mapping[str, str]
    body: bytes
    left: asyncio.Event  # set once it was cancelled


@dataclasses.dataclass
class Scripted:
    """One model: its document, and what it answers (the usual answer of its sort, unless told otherwise)."""

    document: dict[str, Any]
    reply: Callable[[Asked], Reply] | None = None
    healthy: bool = True


class FakeUpstream:
    """The server, in a thread with a loop of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "upstream.sock"
        self.address = f"unix:{self.path}"
        self.models = {name: Scripted(document) for name, document in documents().items()}
        self.asked: list[Asked] = []
        self.cancelled: list[tuple[str, str]] = []  # (caller, id)
        self.raw: list[Mapping[str, str]] = []  # headers of everything that came, control words too
        self.deaf = False  # whether questions after a model wait, too, while requests are held
        self._running: dict[tuple[str, str], Asked] = {}
        self._loop = asyncio.new_event_loop()
        self._open: asyncio.Event
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._prepare())

    def start(self) -> None:
        """Listen."""
        self._do(self._start())

    def stop(self) -> None:
        """Be gone at once, with every connection and the socket."""
        self._do(self._stop())

    def die(self) -> None:
        """Be gone in the middle of everything: connections end without answers."""
        self._do(self._die())

    def hold(self) -> None:
        """Let requests wait, streams after their first piece."""
        self._loop.call_soon_threadsafe(self._open.clear)

    def release(self) -> None:
        """Let everything that waits go on."""
        self._loop.call_soon_threadsafe(self._open.set)

    @property
    def running(self) -> int:
        """Requests that are being answered."""
        return len(self._running)

    def close(self) -> None:
        """Stop, and end the thread."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _prepare(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/predictions/{model}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.0, access_log=None)
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self.path)).start()

    async def _stop(self) -> None:
        if self._runner is not None:
            self._open.set()
            await self._runner.cleanup()
            self._runner = None
        self.path.unlink(missing_ok=True)

    async def _die(self) -> None:
        if self._runner is not None and self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()
        await self._stop()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.raw.append(headers)
        model = self.models.get(request.match_info["model"])
        body = await request.read()
        if model is None:
            return await self._send(request, refused(404, "Model not found"), None)
        word = headers.get("x-atelier")
        if self.deaf and word in ("describe", "health"):
            await self._open.wait()
        if word == "describe":
            return web.json_response(model.document)
        if word == "health":
            return web.json_response({"status": "ok"}, status=200 if model.healthy else 503)
        key = (headers.get("x-atelier-caller", ""), headers.get("x-atelier-id", ""))
        if word == "cancel":
            return self._cancel(key)
        asked = Asked(model.document["name"], json.loads(body), headers, body, asyncio.Event())
        self.asked.append(asked)
        self._running[key] = asked
        try:
            return await self._send(request, self._reply(model, asked), asked)
        finally:
            self._running.pop(key, None)

    def _cancel(self, key: tuple[str, str]) -> web.Response:
        self.cancelled.append(key)
        if key not in self._running:
            return web.json_response({"code": 404, "message": "no such request"}, status=404)
        self._running[key].left.set()
        return web.json_response({"status": "ok"})

    def _reply(self, model: Scripted, asked: Asked) -> Reply:
        if model.reply is not None:
            return model.reply(asked)
        specs = [spec for spec in model.document["params"] if spec["type"] != "image"]
        known = [
            ParamSpec(**{**spec, "choices": tuple(spec["choices"]) if spec["choices"] else None}) for spec in specs
        ]
        images = {spec["name"] for spec in model.document["params"] if spec["type"] == "image"}
        params = asked.params
        if set(params) == {"spooled"}:
            return usual(model.document, {})
        text = model.document["scope"].startswith("text")
        needed = [spec.name for spec in known if text and spec.name in ("messages", "text")]
        if any(params.get(name) is None for name in needed):
            return refused(400, f"{needed[0]} is missing", needed[0])
        try:
            checked = check_all({name: value for name, value in params.items() if name not in images}, known)
        except Refusal as refusal:
            return refused(refusal.status, refusal.message, refusal.field)
        return usual(model.document, {name: checked.get(name, value) for name, value in params.items()})

    async def _send(self, request: web.Request, reply: Reply, asked: Asked | None) -> web.StreamResponse:
        if asked is not None and len(reply.pieces) == 1 and await self._wait(asked):
            reply = refused(499, "cancelled")
        headers = {"Content-Type": reply.content_type, **reply.headers}
        if len(reply.pieces) == 1 and not reply.breaks:
            return web.Response(body=reply.pieces[0], status=reply.status, headers=headers)
        response = web.StreamResponse(status=reply.status, headers=headers)
        await response.prepare(request)
        for number, piece in enumerate(reply.pieces):
            if number and asked is not None and await self._wait(asked):
                break
            await response.write(piece)
        if reply.breaks and request.transport is not None:
            request.transport.close()
        return response

    async def _wait(self, asked: Asked) -> bool:
        """Wait while requests are held; returns whether this one was cancelled meanwhile."""
        waits = [asyncio.ensure_future(self._open.wait()), asyncio.ensure_future(asked.left.wait())]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return asked.left.is_set()


@contextmanager
def fake_upstream(folder: Path) -> Iterator[FakeUpstream]:
    """One that listens below `folder`, which needs a short path."""
    fake = FakeUpstream(folder)
    fake.start()
    try:
        yield fake
    finally:
        fake.close()


__all__ = ["Asked", "FakeUpstream", "Reply", "Scripted", "fake_upstream", "refused", "usual"]
