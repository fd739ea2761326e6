"""A classifier over HTTP: it is sent texts and answers as `/v1/moderations` does, within a time, or not at all."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp
import structlog

from gateway.moderation.categories import CATEGORIES
from gateway.moderation.settings import ClassifierSettings

MAX_ANSWER = 1 << 20  # bytes
log = structlog.get_logger("gateway.moderation")


class ClassifierError(Exception):
    """Error: no answer, a late one, or one of another shape; the message is for the operator's log."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """What it says of one text: a score of 0 to 1 of each category, and those it flags."""

    scores: Mapping[str, float]
    flagged: frozenset[str]


class Classifier:
    """Asks over at most `at_once` connections, which are kept."""

    def __init__(self, settings: ClassifierSettings, key: str | None) -> None:
        self.settings = settings
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._session: aiohttp.ClientSession | None = None
        self._places = asyncio.Semaphore(settings.at_once)

    async def ask(self, texts: Sequence[str]) -> list[Judged]:
        """What it says of each text. Raises `ClassifierError`."""
        try:
            async with asyncio.timeout(self.settings.seconds), self._places:
                body = await self._answer(json.dumps({"input": list(texts)}).encode())
        except TimeoutError:
            raise ClassifierError(f"it did not answer within {self.settings.seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ClassifierError(f"it cannot be asked: {type(error).__name__}") from None
        try:
            results = json.loads(body)["results"]
            if not isinstance(results, list) or len(results) != len(texts):
                raise ValueError("wanted one result for each text")
            return [_judged(result) for result in results]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            raise ClassifierError(f"it answered in another shape than /v1/moderations has: {error!r}"[:200]) from None

    async def close(self) -> None:
        """End its connections."""
        if self._session is not None:
            await self._session.close()

    async def _answer(self, body: bytes) -> bytes:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=self.settings.at_once)
            self._session = aiohttp.ClientSession(connector=connector, headers=self._headers)
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self.settings.url, data=body, headers=headers, allow_redirects=False) as response:
            if response.status != 200:
                raise ClassifierError(f"it answered with status {response.status}")
            found = bytearray()
            async for piece in response.content.iter_any():
                found += piece
                if len(found) > MAX_ANSWER:
                    raise ClassifierError(f"its answer is over {MAX_ANSWER} bytes")
            return bytes(found)


def _judged(result: Any) -> Judged:
    """One result; categories that are not known here are left out."""
    flags, scores = result["categories"], result.get("category_scores") or {}
    flagged = frozenset(name for name in CATEGORIES if flags.get(name) is True)
    known = {name: min(1.0, max(0.0, float(scores.get(name) or 0.0))) for name in CATEGORIES}
    return Judged(known, flagged)
