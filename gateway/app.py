"""The application: its parts, its routes, and the one layer that every request goes through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from gateway import health, media, text
from gateway.accounts.auth import Accounts
from gateway.accounts.cookie import Cookie
from gateway.accounts.database import DEFAULT_DATABASE
from gateway.edge import Edge, InHand
from gateway.history import routes as history
from gateway.history.opened import opened
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.origins import Origins
from gateway.settings import Settings, SettingsError
from gateway.spool import Spool
from gateway.spool_folder import default_folder
from gateway.traces import traces
from gateway.unfit import Unfit
from gateway.upstream import Upstream
from gateway.v2.room import Room
from gateway.web.bridge import Web

LOOK_SECONDS = 1.0  # that a start waits for the models to say what they are
log = structlog.get_logger("gateway.app")


def routes() -> list[BaseRoute]:
    """Every route for programs; those that are asked most come first."""
    return [*text.routes, *media.routes, *history.routes, *health.routes]


def build(settings: Settings) -> Edge:
    """The application of these settings, to be run within one event loop."""
    try:
        spool = Spool(settings.spool or default_folder())
    except OSError as error:
        raise SettingsError(f"spool cannot be used: {error}") from None
    tracing = traces(settings.otel)
    upstream = Upstream(settings, spool, tracing)
    models = Models(upstream, settings.aliases)
    web = Web(settings)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        url = settings.database or DEFAULT_DATABASE
        cookie = Cookie(settings.secure, settings.session_days, settings.session_idle_days)
        accounts = await Accounts.open(url, settings.limits, keyless=settings.keyless, cookie=cookie)
        web.accounts = accounts
        app.state.accounts, app.state.limits = accounts, accounts.limits
        watch = asyncio.create_task(models.watch())
        with contextlib.suppress(TimeoutError):  # one that hangs is not waited for
            await asyncio.wait_for(models.looked.wait(), LOOK_SECONDS)
        try:
            async with opened(app.state), media.parts(app.state):
                yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await upstream.close()
            await web.close()
            spool.close()
            await asyncio.to_thread(tracing.close)
            if lost := await accounts.close():
                log.error("the log of requests could not be written to its end", rows=lost, reason=accounts.trouble)

    app = Starlette(routes=[*routes(), *web.routes], lifespan=lifespan)
    app.state.settings = settings
    app.state.spool = spool
    app.state.traces = tracing
    app.state.models = models
    app.state.unfit = Unfit(settings, models)
    models.on_look = app.state.unfit.tell
    app.state.upstream = upstream
    app.state.metrics = Metrics()
    app.state.in_hand = InHand()
    app.state.tensors = Room()
    return Edge(app, Origins(settings))
