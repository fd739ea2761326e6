"""What proxy and engine write to their logs: a line of text, or a JSON object (`serving up --log-format json`).

A line about a request carries the name that its caller gave it (X-Atelier-Id), which the gateway makes of its own
request id: `extra=about(name)`.
"""

from __future__ import annotations

import json
import logging
import os
import time
from typing import TextIO

VARIABLE = "ATELIER_LOG_FORMAT"  # of the environment, set by the launcher: "json", or anything else for text
MAX_TRACE = 16_000  # characters of a traceback's end that are written
MAX_NAMES = 8  # of requests that failed together


def about(*names: str) -> dict[str, str]:
    """`extra` of a log call about the requests of these names; "" is none."""
    given = [name for name in names if name]
    more = f" and {len(given) - MAX_NAMES} more" if len(given) > MAX_NAMES else ""
    return {"request": " ".join(given[:MAX_NAMES]) + more}


class JsonLines(logging.Formatter):
    """A record as one line of JSON; its traceback is a text in it, so that nothing of it stands alone."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "timestamp": f"{at}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "process": self._process,
            "event": record.getMessage(),
        }
        if request := getattr(record, "request", ""):
            line["request"] = request
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-MAX_TRACE:]
        return json.dumps(line)


class TextLines(logging.Formatter):
    """The same for people: which process, what, and of which request."""

    def __init__(self, process: str) -> None:
        super().__init__(f"{process}: %(message)s%(told)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the lines of its traceback."""
        request = getattr(record, "request", "")
        record.told = f" [{request}]" if request else ""
        return super().format(record)


def configure(process: str, output: TextIO) -> None:
    """Write warnings and worse of this process to `output`, in place of where they were written before."""
    handler = logging.StreamHandler(output)
    handler.setFormatter((JsonLines if os.environ.get(VARIABLE) == "json" else TextLines)(process))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
