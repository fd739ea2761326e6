"""The history of a gateway: opened with it, swept while it runs, written to its end before it closes."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import State

from gateway.accounts.database import DEFAULT_DATABASE
from gateway.accounts.history import History
from gateway.history.keeper import Keeper
from gateway.history.retention import EVERY_SECONDS, sweep
from gateway.history.shelf import Shelf
from gateway.kept import ResultStore
from gateway.objects import open_results
from gateway.sealed import Ring, SealError, read_ring
from gateway.settings import Settings, SettingsError

END_SECONDS = 3.0  # for which a stop waits for what is to be written
log = structlog.get_logger("gateway.history")


def results_of(settings: Settings, *, beside: bool = False) -> ResultStore:
    """The store that the settings name; `beside` a gateway that may write to it. Raises `SettingsError`."""
    place = settings.results or results_folder(settings.database or DEFAULT_DATABASE)
    try:
        return open_results(place, settings.history_bytes, beside=beside)
    except (OSError, ValueError) as error:
        raise SettingsError(f"setting results: {place} cannot be used: {error}") from None


def results_folder(database: str) -> Path:
    """Where results lie if nothing else is said: beside a database that is a file."""
    url = make_url(database)
    file = url.database if url.get_backend_name() == "sqlite" else None
    return Path(file or make_url(DEFAULT_DATABASE).database or "").parent / "results"


def ring_of(settings: Settings) -> Ring | None:
    """The keys that the settings name. Raises `SettingsError`."""
    try:
        return None if settings.encryption_keys is None else read_ring(settings.encryption_keys)
    except SealError as error:
        raise SettingsError(f"setting encryption_keys: {error}") from None


def check(settings: Settings) -> None:
    """Raise `SettingsError` where the history of these settings cannot be opened."""
    results_of(settings)
    ring_of(settings)


@asynccontextmanager
async def opened(state: State) -> AsyncIterator[None]:
    """`history` and `shelf` of a state that has `settings` and `accounts`. Raises `SettingsError`."""
    settings, accounts = state.settings, state.accounts
    store, ring = await asyncio.to_thread(results_of, settings), await asyncio.to_thread(ring_of, settings)
    kept = store if settings.history == "on" else None
    history = History(accounts.store.engine, ring)
    state.history = Keeper(accounts.audit, kept, ring, remove=settings.remove_personal_data)
    state.shelf = Shelf(history, store, state.history)
    stop = threading.Event()
    sweeping = asyncio.create_task(_sweep(state, history, store, stop))
    try:
        yield
    finally:
        stop.set()
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
        if lost := await asyncio.to_thread(state.history.close, END_SECONDS):
            log.error("the history could not be written to its end", answers=lost, reason=state.history.trouble)
        state.shelf.close()


async def _sweep(state: State, history: History, store: ResultStore, stop: threading.Event) -> None:
    """At once, then every hour."""
    while True:
        # While rows wait for the database a file may seem to have none.
        if state.accounts.trouble is None:
            try:
                rows, files = await asyncio.to_thread(sweep, history, store, state.settings.retention_days, stop)
            except (SQLAlchemyError, OSError) as error:
                log.warning("the history could not be swept; the next hour tries again", reason=type(error).__name__)
            else:
                if rows or files:
                    log.info("what was too old went out of the history", rows=rows, files=files)
        await asyncio.sleep(EVERY_SECONDS)
