"""What a launcher says, on a thread of its own: neither a full disk nor a stopped or closed terminal holds it up."""

from __future__ import annotations

import contextlib
import os
import queue
import threading
from types import TracebackType

MAX_WAITING = 100  # messages; more are dropped while nothing can be written
LAST_WORDS_SECONDS = 2.0


class Voice:
    """While entered, `say` hands a message to whoever reads `descriptor`; what cannot be written is dropped."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._messages: queue.Queue[bytes | None] = queue.Queue(MAX_WAITING)
        self._thread = threading.Thread(target=self._speak, name="voice", daemon=True)

    def __enter__(self) -> Voice:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(queue.Full):
            self._messages.put(None, timeout=LAST_WORDS_SECONDS)
            self._thread.join(LAST_WORDS_SECONDS)

    def say(self, message: str) -> None:
        """Say it soon; never raises, never waits."""
        with contextlib.suppress(queue.Full):
            self._messages.put_nowait(f"{message}\n".encode(errors="backslashreplace"))

    def _speak(self) -> None:
        while (message := self._messages.get()) is not None:
            # By the descriptor: a stream would keep what it cannot write, and fail once more when the process ends.
            with contextlib.suppress(OSError):
                while message:
                    message = message[os.write(self._descriptor, message) :]
