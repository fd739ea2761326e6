"""The spool: uploads and large bodies as files, so that no large body goes through TorchServe.

The model's process is told a name, a digest and a length, and opens the file itself (docs/api.md). A file is deleted
when the answer it was for is out, also after errors and when its caller has left: `Kept` and `Cleared` see to that.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path
from types import TracebackType

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.arrival import Arrival, Kind, Spooled
from gateway.errors import ApiError, overloaded
from gateway.spool_folder import Folder

MAX_TOTAL = 1 << 30  # bytes of all files together
MAX_FILES = 1024  # at once
SHARE = 2  # one caller's files and bytes are at most all of them divided by this
BUSY_SECONDS = 2.0  # after which to come again

__all__ = ["Arrival", "Cleared", "Kept", "Kind", "Spool", "Spooled"]


class Spool:
    """All uploads of this gateway: at most `max_total` bytes in `max_files` files. Raises `OSError` where none can be.

    Files of gateways that ended are removed at the start; `close` removes this one's. All but the writing itself
    happens in one thread, that of the event loop.
    """

    def __init__(self, folder: Path, max_total: int = MAX_TOTAL, max_files: int = MAX_FILES) -> None:
        self._folder = Folder(folder)
        self._max_total, self._max_files = max_total, max_files
        self._there: dict[Arrival, str | None] = {}  # whose it is; None: nobody's in particular
        self._files_of: Counter[str] = Counter()
        self._bytes_of: Counter[str] = Counter()
        self.bytes = 0  # of all that is there

    @property
    def folder(self) -> Path:
        """Where the files lie: the serving side has to be told the same (`serving up --spool`)."""
        return self._folder.path

    @property
    def files(self) -> int:
        """How many are there, with those that are still arriving."""
        return len(self._there)

    def arrival(
        self,
        kind: Kind,
        max_bytes: int,
        max_pixels: int | None = None,
        what: str = "image",
        owner: str | None = None,
    ) -> Arrival:
        """An upload that is given piece by piece, and has to be discarded. Raises `ApiError` when there are many.

        An `owner` gets a share alone, so that nobody keeps all others out.
        """
        if len(self._there) >= self._max_files:
            raise _full(f"{self._max_files} uploads are being worked on, which is all that is taken")
        if owner is not None and self._files_of[owner] >= self._max_files // SHARE:
            raise _full(f"{owner} has {self._max_files // SHARE} uploads that are being worked on, one caller's share")
        take = functools.partial(self._take, owner)
        arrival = Arrival(self._folder, take, self._forget, kind, max_bytes, max_pixels, what)
        self._there[arrival] = owner
        if owner is not None:
            self._files_of[owner] += 1
        return arrival

    def close(self) -> None:
        """Remove everything of this gateway."""
        for arrival in list(self._there):
            arrival.discard()
        self._folder.close()

    def _take(self, owner: str | None, count: int) -> None:
        if self.bytes + count > self._max_total:
            raise _full(f"all uploads together have {self.bytes} bytes, at most {self._max_total} are kept")
        if owner is not None:
            share, own = self._max_total // SHARE, self._bytes_of[owner]
            if own + count > share:
                raise _full(f"the uploads of {owner} have {own} bytes, and one caller's share is {share}")
            self._bytes_of[owner] += count
        self.bytes += count

    def _forget(self, arrival: Arrival) -> None:
        owner = self._there.pop(arrival)
        self.bytes -= arrival.bytes
        if owner is not None:
            self._bytes_of[owner] -= arrival.bytes
            self._files_of[owner] -= 1
            if not self._files_of[owner]:  # nothing is remembered of who has nothing here
                del self._files_of[owner], self._bytes_of[owner]


class Kept:
    """The files of one request or job, which go together: `close`, or leaving it as a context, removes them all.

    `owner`: the caller who has a share of the spool for them; None where nobody has a key.
    """

    def __init__(self, spool: Spool, owner: str | None = None) -> None:
        self._spool, self.owner = spool, owner
        self._arrivals: list[Arrival] = []

    def __enter__(self) -> Kept:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def arrival(self, kind: Kind, max_bytes: int, max_pixels: int | None = None, what: str = "image") -> Arrival:
        """As that of `Spool`, removed with the others."""
        arrival = self._spool.arrival(kind, max_bytes, max_pixels, what, self.owner)
        self._arrivals.append(arrival)
        return arrival

    async def body(self, data: bytes) -> Spooled:
        """A request to a model as a file: JSON of any length, which the model's own limit bounds."""
        arrival = self.arrival("json", len(data), what="the request")
        await arrival.write(data)
        return await arrival.done()

    def handed_over(self) -> Kept:
        """Another that has these files now, for work that goes on after the request: this one removes none of them."""
        other = Kept(self._spool, self.owner)
        other._arrivals, self._arrivals = self._arrivals, []
        return other

    def close(self) -> None:
        """Remove all; what arrives afterwards is removed by another `close`."""
        arrivals, self._arrivals = self._arrivals, []
        for arrival in arrivals:
            arrival.discard()


class Cleared:
    """Middleware: every request has a `Kept` in `request.state.kept`, whose files go when the answer is out.

    The application's `state.spool` is the spool. However the answer ends, the files are removed.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        with Kept(scope["app"].state.spool, state.get("owner")) as kept:
            state["kept"] = kept
            await self._app(scope, receive, send)


def _full(why: str) -> ApiError:
    return overloaded(f"{why}; send it again later", BUSY_SECONDS)
