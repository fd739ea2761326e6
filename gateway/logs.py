"""Logs: one JSON object a line on standard error, with the id of the request it is about.

Whoever logs never waits: lines go to a bounded queue, and a thread writes them. What does not fit is counted, and the
count is logged.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import sys
import threading
import time
from collections import deque
from contextvars import ContextVar
from typing import IO, Any

import structlog

request_id: ContextVar[str] = ContextVar("request_id", default="none")
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
MAX_LINES = 10_000  # that wait to be written
BATCH_SECONDS = 0.05  # in which lines come together before they are written
END_SECONDS = 1.0  # for the last lines, when the process ends


class Lines:
    """A file to write to that never makes its writer wait."""

    def __init__(self, target: IO[str]) -> None:
        self._target = target
        self._lines: deque[str] = deque()
        self._some = threading.Event()
        self._written = threading.Event()
        self.dropped = 0
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, text: str) -> int:
        """Keep it to be written; drop it where too much waits."""
        if len(self._lines) >= MAX_LINES:
            self.dropped += 1
        else:
            self._lines.append(text)
            if not self._some.is_set():
                self._some.set()
        return len(text)

    def flush(self) -> None:
        """Nothing: nobody waits for a log."""

    def end(self) -> None:
        """Wait until what is there was written, with a bound."""
        self._written.clear()
        self._some.set()
        self._written.wait(END_SECONDS)

    def _run(self) -> None:
        while True:
            self._some.wait()
            time.sleep(BATCH_SECONDS)
            self._some.clear()
            batch = [self._lines.popleft() for _ in range(len(self._lines))]
            dropped, self.dropped = self.dropped, 0
            if dropped:
                batch.append(json.dumps({"event": "log lines dropped", "level": "error", "lines": dropped}) + "\n")
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                self._target.write("".join(batch))
                self._target.flush()
            self._written.set()


def configure(level: str) -> Lines:
    """Set up logs of the gateway and of the libraries that write by `logging`. `level`: one of `LEVELS`."""
    lines = Lines(sys.stderr)
    atexit.register(lines.end)
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_request,
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.processors.JSONRenderer()
    file: Any = lines
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(file),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(file)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(LEVELS[level], logging.WARNING), force=True)
    for name in ("uvicorn.error", "python_multipart"):  # a line for whatever is no HTTP and no form helps nobody
        logging.getLogger(name).setLevel(logging.ERROR)
    return lines


def _with_request(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    found = request_id.get()
    if found != "none":
        event.setdefault("request", found)
    return event
