"""The application: its parts, its routes, and the one layer that every request goes through."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import BaseRoute

from gateway import health
from gateway.accounts.caller import ANYBODY, Caller
from gateway.edge import Draining, Edge
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.origins import Origins
from gateway.settings import Settings, SettingsError
from gateway.spool import Spool
from gateway.spool_folder import default_folder
from gateway.upstream import Upstream


class Everybody:
    """Accounts where no keys are wanted."""

    async def caller(self, headers: object) -> Caller:
        """Anybody."""
        return ANYBODY


class Unlimited:
    """Limits where there are none."""

    @asynccontextmanager
    async def admit(self, caller: Caller) -> AsyncIterator[None]:
        """Always."""
        yield

    def spend(self, caller: Caller, unit: str, amount: float) -> None:
        """Nothing is counted."""


def routes() -> list[BaseRoute]:
    """Every route; those that are asked most come first."""
    return [*health.routes]


def build(settings: Settings) -> Edge:
    """The application of these settings, to be run within one event loop."""
    try:
        spool = Spool(settings.spool or default_folder())
    except OSError as error:
        raise SettingsError(f"spool cannot be used: {error}") from None
    upstream = Upstream(settings, spool)
    models = Models(upstream, settings.aliases)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        await models.refresh()
        watch = asyncio.create_task(models.watch())
        try:
            yield
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch
            await upstream.close()
            spool.close()

    app = Starlette(routes=routes(), lifespan=lifespan)
    app.state.settings = settings
    app.state.spool = spool
    app.state.models = models
    app.state.upstream = upstream
    app.state.accounts = Everybody()
    app.state.limits = Unlimited()
    app.state.metrics = Metrics()
    app.state.draining = Draining()
    return Edge(app, Origins(settings))
