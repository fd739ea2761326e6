"""What was kept, read and deleted by its owner. SQL and files are for threads, so all of it can be awaited."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from gateway.accounts.history import History, NoSuchGeneration, Page
from gateway.errors import ApiError, overloaded
from gateway.history.keeper import Keeper
from gateway.kept import NoSuchResult, ResultStore
from gateway.sealed import SealError

T = TypeVar("T")
THREADS = 2
MAX_READS = 64  # that are under way or wait
FLUSH_SECONDS = 1.0  # for which a look waits for what was made just before it


class Opened(NamedTuple):
    """A file that is kept, as it was sent."""

    content: bytes
    content_type: str


class Shelf:
    """The history and its files, for routes."""

    def __init__(self, history: History, store: ResultStore, keeper: Keeper) -> None:
        self._history, self._store, self._keeper = history, store, keeper
        self._threads = ThreadPoolExecutor(THREADS, "shelf")
        self._reads = 0

    async def page(self, owner: str, limit: int, after: str | None) -> Page:
        """Generations of an owner, what was made just now included. Raises `ApiError`."""

        def read() -> Page:
            self._keeper.flush(FLUSH_SECONDS)
            return self._history.page(owner, limit, after)

        return await self._in_thread(read)

    async def one(self, owner: str, generation: str) -> dict[str, Any]:
        """One generation. Raises `ApiError` (404)."""

        def read() -> dict[str, Any]:
            self._keeper.flush(FLUSH_SECONDS)
            return self._history.one(owner, generation)

        return await self._in_thread(read)

    async def file(self, owner: str, generation: str, index: int) -> Opened:
        """A file as it was sent. Raises `ApiError`: 404 where there is none, 410 where it is not kept any more."""
        return await self._in_thread(lambda: self._file(owner, generation, index))

    async def delete(self, owner: str, generation: str) -> None:
        """Delete one with its files. Raises `ApiError` (404)."""

        def delete() -> None:
            self._keeper.flush(FLUSH_SECONDS)
            self._remove(self._history.delete(owner, generation).results)

        await self._in_thread(delete)

    async def clear(self, owner: str) -> int:
        """Delete all that an owner has; how many that were."""

        def clear() -> int:
            gone = self._history.clear(owner)
            self._remove(gone.results)
            return gone.rows

        total = 0
        await self._in_thread(lambda: self._keeper.flush(FLUSH_SECONDS))
        while some := await self._in_thread(clear):
            total += some
        return total

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _file(self, owner: str, generation: str, index: int) -> Opened:
        row = self._history.one(owner, generation)
        found = next((file for file in row["files"] if file["index"] == index), None)
        if found is None:
            raise ApiError(404, f"this generation has {len(row['files'])} files, counted from 0", param="index")
        if found["result"] is None:
            raise _gone("was not kept: there was no room for it when it was made")
        content = self._history.opened(row, index, self._store.get(found["result"]))
        if hashlib.sha256(content).hexdigest() != found["sent_sha256"]:  # power went before the disk had all of it
            raise _gone("is damaged where it is kept")
        return Opened(content, found["content_type"])

    def _remove(self, results: list[str]) -> None:
        for name in results:
            self._store.delete(name)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._reads >= MAX_READS:
            raise overloaded("too many requests read their history; send the request again")
        self._reads += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        except NoSuchGeneration as error:
            raise ApiError(404, str(error), param="id") from None
        except NoSuchResult:
            raise _gone("is not kept any more") from None
        except SealError as error:
            raise ApiError(500, f"{error}", code="sealed", should_retry=False) from None
        except SQLAlchemyError:
            message = "the database of the history does not answer: send the request again"
            raise ApiError(503, message, code="database_unavailable", retry_after=2.0) from None
        except OSError as error:
            message = f"the results cannot be read ({error.strerror}): send the request again"
            raise ApiError(503, message, code="results_unavailable", retry_after=2.0) from None
        finally:
            self._reads -= 1


def _gone(what: str) -> ApiError:
    return ApiError(410, f"the file {what}; what was asked makes it again", code="result_gone")
