"""The process: uvicorn on one event loop, bounds on connections, and an end that loses nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import structlog
import uvicorn

from gateway.accounts.database import DEFAULT_DATABASE, DatabaseError
from gateway.accounts.migrate import migrate
from gateway.app import build
from gateway.backlog import turn_away, waiting
from gateway.bounds import Bounds, bounded
from gateway.edge import InHand
from gateway.settings import Settings, SettingsError
from gateway.spool import MAX_FILES
from gateway.tls import Certificate
from gateway.upstream import MAX_CONNECTIONS

REACHED_AT = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # who listens everywhere is reached there
BACKLOG = 2048  # connections that wait to be accepted
SPARE_FILES = 128  # descriptors for everything but connections
SETTLE_SECONDS = 0.5  # for which a stop at least waits, so that callers who go on asking learn of it in their answers
LAST_SECONDS = 2.0  # at most, for those who are connected when nothing listens any more, to ask and hear that it stops
TICK_SECONDS = 0.02
log = structlog.get_logger("gateway.server")


class Server(uvicorn.Server):
    """One that drains: no new work, `Connection: close` with every answer, and what is under way ends by itself."""

    def __init__(self, config: uvicorn.Config, settings: Settings, in_hand: InHand, bounds: Bounds) -> None:
        super().__init__(config)
        self._settings, self._in_hand, self._bounds = settings, in_hand, bounds
        self.on_start: Callable[[], None] | None = None  # called once it listens and a signal ends it as it should

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen at sockets that are there, and to look after connections."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(1)
        loop, config = asyncio.get_running_loop(), self.config

        def protocol() -> asyncio.Protocol:
            made: asyncio.Protocol = config.http_protocol_class(  # type: ignore[call-arg]
                config=config, server_state=self.server_state, app_state=self.lifespan.state, _loop=loop
            )
            return made

        if config.ssl is not None:
            certificate, key = self._settings.tls_certificate, self._settings.tls_key
            assert certificate is not None and key is not None
            Certificate(config.ssl, certificate, key).renew(loop)
        # As uvicorn does it, but that a handshake has as long as a head has.
        handshake = self._settings.header_seconds if config.ssl is not None else None
        self.servers = [
            await loop.create_server(
                protocol, sock=found, ssl=config.ssl, backlog=BACKLOG, ssl_handshake_timeout=handshake
            )
            for found in sockets or []
        ]
        self._sweep = asyncio.create_task(self._bounds.sweep())
        self.started = True
        if self.on_start is not None:
            self.on_start()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let what is under way end, for `drain_seconds` at most; then stop."""
        self._in_hand.draining = True
        log.warning("draining", in_hand=self._in_hand.requests)
        began = time.monotonic()
        until = began + self._settings.drain_seconds
        settled = began + SETTLE_SECONDS
        await self._wait(lambda: not self._bounds.connections or time.monotonic() >= settled, until)
        await self._close(sockets or [])
        # Who was let in last has not asked yet: he is told, too.
        settled = time.monotonic() + LAST_SECONDS
        await self._wait(lambda: not self._bounds.expects() or time.monotonic() >= settled, until)
        if self._in_hand.requests:
            log.error("stopped with requests in hand", in_hand=self._in_hand.requests)
        self.config.timeout_graceful_shutdown = max(1, int(until - time.monotonic()))
        await super().shutdown(sockets)
        self._sweep.cancel()
        log.warning("stopped", seconds=round(time.monotonic() - began, 2))

    async def _wait(self, condition: Callable[[], bool], until: float) -> None:
        """Wait until nothing is in hand and a condition holds, or the time is over."""
        while not self.force_exit and time.monotonic() < until:
            if self._in_hand.requests == 0 and condition():
                return
            await asyncio.sleep(TICK_SECONDS)

    async def _close(self, sockets: list[socket.socket]) -> None:
        """Listen no more. Those who wait to be let in would be thrown out with it: so first nobody may wait."""
        for found in sockets:
            turn_away(found)
        until = time.monotonic() + LAST_SECONDS
        await asyncio.sleep(TICK_SECONDS)
        while any(map(waiting, sockets)) and time.monotonic() < until:
            await asyncio.sleep(TICK_SECONDS)
        for listening in self.servers:
            listening.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal to stop; a second SIGINT stops at once. The process ends with 0 either way."""
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True
        self.should_exit = True


def server(settings: Settings) -> Server:
    """A server of these settings, to be run by `run(sockets=[listen(settings)])`."""
    app = build(settings)
    bounds = Bounds(settings, app.state.metrics)
    config = uvicorn.Config(
        app,
        http=bounded(bounds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=int(settings.idle_seconds),
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=str(settings.tls_key) if settings.tls_key else None,
    )
    return Server(config, settings, app.state.in_hand, bounds)


def listen(settings: Settings) -> socket.socket:
    """A socket at the host and port of the settings. Raises `SettingsError` where there can be none."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        number = error.errno or 0  # below 0: of the name's look-up
        reason = os.strerror(number) if number > 0 else error.strerror
        raise SettingsError(
            f"nothing can listen at {settings.host}, port {settings.port}: {reason}; set host and port to "
            "others (port = 0: a free one)"
        ) from None


def allow_files(settings: Settings) -> None:
    """Have as many descriptors as connections may need. Raises `SettingsError` where the system allows fewer."""
    uploads = min(settings.connections, MAX_FILES)  # each may have a file open that it is written to
    wanted = settings.connections + uploads + MAX_CONNECTIONS + SPARE_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            rest = hard - MAX_CONNECTIONS - SPARE_FILES
            most = max(rest // 2, rest - MAX_FILES)
            raise SettingsError(
                f"setting connections is {settings.connections}, which needs {wanted} descriptors, and the system "
                f"allows {hard}: wanted at most {most}, or a higher limit (ulimit -n)"
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def tell_address(file: Path, address: str) -> None:
    """Write where the gateway is reached from this machine. Raises `SettingsError`."""
    part = file.with_name(f"{file.name}.part")
    try:
        part.write_text(address)
        part.replace(file)
    except OSError as error:
        raise SettingsError(f"address_file {file} cannot be written: {error.strerror}") from None


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM."""
    allow_files(settings)
    made = server(settings)
    try:
        made.config.load()
    except (OSError, ValueError) as error:
        files = f"tls_certificate {settings.tls_certificate} with tls_key {settings.tls_key}"
        raise SettingsError(f"{files} cannot be used: {error}") from None
    try:
        migrate(settings.database or DEFAULT_DATABASE)
    except DatabaseError as error:
        raise SettingsError(f"setting {error}") from None
    with listen(settings) as found:
        made.on_start = lambda: begin(settings, found.getsockname()[1])
        made.run(sockets=[found])
    sys.stdout.flush()


def begin(settings: Settings, port: int) -> None:
    """Say where the gateway is, and whom it lets in. Raises `SettingsError`.

    What is there by now stays for ever: the collector of garbage need not look at it again, which holds everybody up.
    """
    gc.collect()
    gc.freeze()
    scheme = "https" if settings.tls_certificate else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    keys = "no keys: everybody on this machine is let in" if settings.keyless else "keys are required"
    print(f"gateway at {scheme}://{host}:{port}/ ({keys})", flush=True)
    if settings.address_file is not None:
        tell_address(settings.address_file, f"{scheme}://{REACHED_AT.get(settings.host, host)}:{port}")
