"""Requests to what serves: one a connection, a bounded number a model, cancelled when their callers leave."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
from yarl import URL

from gateway import described
from gateway.accounts.caller import share_of
from gateway.answer import LOST, Answer, late
from gateway.described import Described
from gateway.errors import from_upstream, overloaded
from gateway.fair import Turns
from gateway.logs import request_id
from gateway.place import Place, find
from gateway.settings import Settings
from gateway.spool import Kept, Spool, Spooled
from gateway.traces import Off, Traces

MAX_CONNECTIONS = 320  # to the front end, of all models together: with 400 it becomes slow
RESERVED = 8  # of them that one model, however busy, leaves to each of the others
MAX_BODY = 64 << 10  # bytes of a body that goes through the front end; larger ones go by the spool
DESCRIBE_SECONDS = 10.0
CANCEL_SECONDS = 5.0
HEALTH_SECONDS = 5.0
READ_SECONDS = 30.0  # beyond the deadline, to fetch what was made before it
MAX_ERROR = 64 << 10  # bytes of an error that are read
JSON = "application/json"


class Upstream:
    """The one client of what serves. `start` it within the event loop, `close` it at the end."""

    def __init__(self, settings: Settings, spool: Spool, traces: Traces | Off | None = None) -> None:
        self._settings, self._spool, self._traces = settings, spool, traces or Off()
        self._session: aiohttp.ClientSession | None = None
        self._words: aiohttp.ClientSession | None = None  # control words never wait behind requests
        self._described: dict[str, Described] = {}
        self._urls: dict[str, URL] = {}
        self._turns: dict[str, Turns] = {}
        self._cancels: set[asyncio.Task[None]] = set()
        self._count = itertools.count()
        self.place: Place | None = None
        self.missing = True  # whether nobody says at present where upstream is

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the models that are served."""
        return self.place.models if self.place is not None else ()

    async def locate(self) -> bool:
        """Look where upstream is; returns whether that has changed.

        Where nothing is said any more the last place stays: whoever asks gets a 503, and no model is unknown.
        """
        place = await asyncio.to_thread(find, self._settings)
        self.missing = place is None
        if place is None or place == self.place:
            return False
        before, self.place = self.place, place
        self._urls = {name: URL(f"http://upstream/predictions/{quote(name)}", encoded=True) for name in self.names}
        if before is None or before.inference != place.inference:
            old = self._session, self._words  # their launcher is gone, and the requests with it
            self._session, self._words = _session(place, MAX_CONNECTIONS), _session(place, 8)
            await self._end(*old)  # at last: whoever asks meanwhile asks the new one
        return True

    async def close(self) -> None:
        """Close everything, once the cancels that are under way have been sent."""
        await self._end(self._session, self._words)

    async def _end(self, *sessions: aiohttp.ClientSession | None) -> None:
        if self._cancels:
            await asyncio.wait(self._cancels, timeout=CANCEL_SECONDS)
        for session in sessions:
            if session is not None:
                await session.close()

    async def describe(self, name: str) -> Described:
        """The describe document of a model. Raises `DescribeError`, or `ApiError` where nothing answers."""
        if self._words is None or name not in self._urls:
            raise overloaded(f"model {name} is not being served just now", 2.0)
        try:
            timeout = aiohttp.ClientTimeout(DESCRIBE_SECONDS)
            headers = {"X-Atelier": "describe", "Content-Type": JSON}
            async with self._words.post(self._urls[name], data=b"{}", headers=headers, timeout=timeout) as response:
                body = await response.read()
                if response.status != 200:
                    raise from_upstream(response.status, response.headers, body)
        except (TimeoutError, *LOST):
            raise overloaded(f"model {name} does not answer just now; send the request again", 2.0) from None
        found = self._described[name] = described.read(name, body)
        self.turns(name).resize(self._size(found))
        return found

    async def healthy(self, name: str) -> bool:
        """Whether a model says that it takes requests: its engine runs, and it is not being stopped."""
        if self.missing or self._words is None or name not in self._urls:
            return False
        try:
            timeout = aiohttp.ClientTimeout(HEALTH_SECONDS)
            headers = {"X-Atelier": "health", "Content-Type": JSON}
            async with self._words.post(self._urls[name], data=b"{}", headers=headers, timeout=timeout) as response:
                await response.read()
                return response.status == 200
        except (TimeoutError, *LOST):
            return False

    def turns(self, name: str) -> Turns:
        """The places of a model."""
        if name not in self._turns:
            self._turns[name] = Turns(name, RESERVED, self._settings.waiting)
        return self._turns[name]

    @asynccontextmanager
    async def generate(
        self,
        name: str,
        params: Mapping[str, Any],
        *,
        caller: str,
        timeout: float | None = None,
        spooled: Spooled | None = None,
    ) -> AsyncIterator[Answer]:
        """Ask a model; the block gets its answer, and leaving it early cancels the work.

        `timeout`: seconds from now, at most what the model allows. `spooled`: the body as a file of the spool, in
        place of `params`; `params` that are long become one. Raises `ApiError` for everything that is no answer.
        """
        body = _json(params if spooled is None else spooled.reference())
        with Kept(self._spool, share_of(caller)) as kept:
            if len(body) > MAX_BODY:
                body = _json((await kept.body(body)).reference())
            carried: dict[str, str] = {}
            with self._traces.upstream(name, carried):
                async with self._ask(name, body, caller, timeout, carried) as answer:
                    yield answer

    @asynccontextmanager
    async def _ask(
        self, name: str, body: bytes, caller: str, timeout: float | None, carried: Mapping[str, str]
    ) -> AsyncIterator[Answer]:
        model = self._described.get(name)
        if model is None:
            model = await self.describe(name)
        seconds = float(model.limits["max_seconds"])
        if timeout is not None:
            seconds = min(seconds, timeout)
        until = time.monotonic() + seconds
        turns = self.turns(name)
        await _take(turns, caller, seconds)
        session, url = self._session, self._urls.get(name)
        left = until - time.monotonic()
        if session is None or url is None or left <= 0:
            turns.give()
            raise late() if left <= 0 else overloaded(f"model {name} is not being served just now", 2.0)
        identity = f"{request_id.get()}.{next(self._count)}"
        headers = {
            **carried,
            "Content-Type": JSON,
            "X-Atelier-Id": identity,
            "X-Atelier-Caller": caller,
            "X-Atelier-Timeout": f"{left:.3f}",
        }
        answer: Answer | None = None
        response: aiohttp.ClientResponse | None = None
        refused = False
        try:
            response = await session.post(
                url, data=body, headers=headers, timeout=aiohttp.ClientTimeout(left + READ_SECONDS)
            )
            if response.status != 200:
                text = await _error_of(response)
                refused = True
                raise from_upstream(response.status, response.headers, text)
            answer = Answer(name, response, model.limits["max_response_bytes"])
            yield answer
        except aiohttp.ClientConnectorError:
            refused = True
            raise overloaded(f"model {name} is not being served just now; it may be starting again", 2.0) from None
        except TimeoutError:
            raise late() from None
        except LOST:
            raise overloaded(f"model {name} went away under the request; send it again") from None
        finally:
            if refused or (answer is not None and answer.ended):
                # The front end closes a connection after an error, and says so too late to be sure.
                if response is not None and refused:
                    response.close()
                turns.give()
            else:
                if response is not None:
                    response.close()
                self._cancel(name, identity, caller, turns)

    def _size(self, model: Described) -> int:
        own = model.limits["max_slots"] + model.limits["max_queue"]
        most = max(RESERVED, MAX_CONNECTIONS - RESERVED * (len(self.names) - 1))
        return min(own, most, self._settings.in_flight or own)

    def _cancel(self, name: str, identity: str, caller: str, turns: Turns) -> None:
        """Have a request ended that nobody waits for; its place is free once upstream knows."""
        task = asyncio.create_task(self._send_cancel(name, identity, caller))
        self._cancels.add(task)  # as many at most as there are places

        def done(task: asyncio.Task[None]) -> None:
            self._cancels.discard(task)
            turns.give()

        task.add_done_callback(done)

    async def _send_cancel(self, name: str, identity: str, caller: str) -> None:
        session, url = self._words, self._urls.get(name)
        if session is None or url is None:
            return
        headers = {"X-Atelier": "cancel", "X-Atelier-Id": identity, "X-Atelier-Caller": caller, "Content-Type": JSON}
        try:
            timeout = aiohttp.ClientTimeout(CANCEL_SECONDS)
            async with session.post(url, data=b"{}", headers=headers, timeout=timeout) as response:
                await response.read()
        except (TimeoutError, *LOST):
            pass  # it is gone, and the request with it


async def _error_of(response: aiohttp.ClientResponse) -> bytes:
    """The body of an error, in however many pieces it comes; of a long one the beginning."""
    text = bytearray()
    while len(text) < MAX_ERROR and (piece := await response.content.read(MAX_ERROR - len(text))):
        text += piece
    return bytes(text)


async def _take(turns: Turns, caller: str, seconds: float) -> None:
    if turns.free:
        turns.held += 1
        return
    try:
        async with asyncio.timeout(seconds):
            await turns.take(caller)
    except TimeoutError:
        raise late() from None


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _session(place: Place, connections: int) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.UnixConnector(place.inference.removeprefix("unix:"), limit=connections),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )
