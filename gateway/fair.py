"""Who may ask a model next: so many at once, a bounded number that wait, and callers in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque

from gateway.errors import overloaded


class Turns:
    """The places of one model. `size` requests hold one; up to `waiting` wait, a queue a caller, served in turn.

    When the queue is full, a caller that has fewer waiting than the one with most takes the place of the last that the
    latter sent: nobody is kept out by somebody else's flood.
    """

    def __init__(self, model: str, size: int, waiting: int) -> None:
        self.model, self.size, self.most = model, size, waiting
        self.held = 0
        self.waiting = 0
        self._queues: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def free(self) -> bool:
        """Whether a place can be had at once."""
        return self.held < self.size and not self.waiting

    async def take(self, caller: str) -> None:
        """Wait for a place, which `give` gives back."""
        if self.free:
            self.held += 1
            return
        if self.waiting >= self.most:
            self._make_room(caller)
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(caller, deque()).append(place)
        self.waiting += 1
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled() and place.exception() is None:
                self.give()  # it was this one's turn as its caller left
            else:
                self._remove(caller, place)
            raise

    def give(self) -> None:
        """Hand a place to the next caller in turn."""
        self.held -= 1
        self._hand_on()

    def resize(self, size: int) -> None:
        """Have `size` places from now on."""
        self.size = size
        self._hand_on()

    def _hand_on(self) -> None:
        while self._queues and self.held < self.size:
            caller, queue = self._queues.popitem(last=False)
            place = queue.popleft()
            self.waiting -= 1
            if queue:
                self._queues[caller] = queue  # to the end of the row
            if not place.done():
                self.held += 1
                place.set_result(None)

    def _make_room(self, caller: str) -> None:
        longest = max(self._queues, key=lambda name: len(self._queues[name]), default=None)
        own = len(self._queues.get(caller, ()))
        if longest is None or len(self._queues[longest]) <= own + 1:
            raise self._full()
        place = self._queues[longest][-1]
        self._remove(longest, place)
        if not place.done():
            place.set_exception(self._full())

    def _remove(self, caller: str, place: asyncio.Future[None]) -> None:
        queue = self._queues.get(caller)
        if queue is not None and place in queue:
            queue.remove(place)
            self.waiting -= 1
            if not queue:
                del self._queues[caller]

    def _full(self) -> Exception:
        return overloaded(
            f"model {self.model} has {self.held} requests in hand and {self.waiting} that wait, which is all it takes; "
            "send the request again later"
        )
