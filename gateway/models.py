"""The models that are served, by name or alias, each as its describe document says."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import structlog

from gateway.described import Described, DescribeError, Spec
from gateway.errors import ApiError

REFRESH_SECONDS = 2.0  # between two looks at where upstream is and what it serves
FRESH_SECONDS = 60.0  # for which a document is believed
log = structlog.get_logger("gateway.models")


class Source(Protocol):
    """What tells which models there are and what they are."""

    @property
    def names(self) -> tuple[str, ...]: ...
    async def locate(self) -> bool: ...
    async def describe(self, name: str) -> Described: ...
    async def healthy(self, name: str) -> bool: ...


class Models:
    """Describe documents, kept fresh by `watch`; one that cannot be read refuses its model alone."""

    def __init__(self, source: Source, aliases: Mapping[str, str]) -> None:
        self._source = source
        self._aliases = dict(aliases)
        self._known: dict[str, Described] = {}
        self._asked: dict[str, float] = {}
        self._asking: dict[str, asyncio.Task[Described]] = {}
        self.problems: dict[str, str] = {}  # by model: why it is not offered
        self.looked = asyncio.Event()  # set once it was looked at all models
        self.on_look: Callable[[], None] = lambda: None  # called after each look
        self.health: dict[str, bool] = {}  # by model: whether it took requests when it was looked at

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all models that upstream serves, whether or not they can be offered."""
        return self._source.names

    @property
    def aliases(self) -> Mapping[str, str]:
        """Aliases and the names they stand for, but for those that a model has as its own name."""
        return {alias: of for alias, of in self._aliases.items() if alias not in self.names}

    def known(self) -> tuple[Described, ...]:
        """The models that are described, in the order of their names."""
        return tuple(self._known[name] for name in sorted(self._known))

    async def get(self, name: str) -> Described:
        """The model of a name or, where none has it, of an alias. Raises `ApiError`: 404 that lists what there is,
        502, 503."""
        served = self.aliases.get(name, name)
        if found := self._known.get(served):
            return found
        if served not in self.names:
            aliases = (alias for alias, of in self.aliases.items() if of in self.names)
            offered = ", ".join(sorted({*self.names, *aliases})) or "nothing just now"
            why = f", which {name[:100]!r} is an alias of" if name in self.aliases else ""
            told = f"there is no model {served[:100]!r}{why}; there is {offered}"
            raise ApiError(404, told, code="model_not_found", param="model")
        return await self._ask(served)

    async def all(self) -> tuple[Described, ...]:
        """Every model that can be offered just now."""
        for name in self.names:
            if name not in self._known and name not in self.problems:
                with contextlib.suppress(ApiError):
                    await self._ask(name)
        return self.known()

    async def refresh(self) -> None:
        """Look where upstream is, ask for documents that are missing or old, and how every model is."""
        moved = await self._source.locate()
        now = time.monotonic()
        for name in [name for name in self._known if name not in self.names]:
            del self._known[name]
        for name in [name for name in self.problems if name not in self.names]:
            del self.problems[name]
        missing = {*self.names} - {*self._known} - {*self.problems}
        old = {name for name in self.names if now - self._asked.get(name, -FRESH_SECONDS) >= FRESH_SECONDS}
        wanted = self.names if moved else sorted(missing | old)
        for result in await asyncio.gather(*map(self._ask, wanted), return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, ApiError):
                raise result  # a model that does not answer is asked again; this is a mistake of ours
        names = self.names
        self.health = dict(zip(names, await asyncio.gather(*map(self._source.healthy, names)), strict=True))

    async def watch(self) -> None:
        """Refresh for ever."""
        while True:
            try:
                await self.refresh()
                self.on_look()
            except Exception:  # a watcher that ended would serve what is gone, and never what is new
                log.exception("models could not be refreshed")
            self.looked.set()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _ask(self, name: str) -> Described:
        """One question a model at a time, however many wait for its answer."""
        task = self._asking.get(name)
        if task is None:
            task = self._asking[name] = asyncio.create_task(self._describe(name))
            task.add_done_callback(lambda done: (self._asking.pop(name, None), done.cancelled() or done.exception()))
        return await asyncio.shield(task)

    async def _describe(self, name: str) -> Described:
        try:
            described = await self._source.describe(name)
        except DescribeError as error:
            if self.problems.get(name) != str(error):
                log.error("model refused", model=name, reason=str(error))
            self.problems[name] = str(error)
            self._known.pop(name, None)
            self._asked[name] = time.monotonic()
            raise ApiError(502, str(error), code="model_not_readable", should_retry=False) from None
        self.problems.pop(name, None)
        self._known[name], self._asked[name] = described, time.monotonic()
        return described


__all__ = ["Described", "Models", "Spec"]
