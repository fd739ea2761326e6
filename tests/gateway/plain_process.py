"""`python -m gateway` with the route of plain.py: what a test of the whole process starts."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.routing import Route

from gateway import app
from gateway.__main__ import main
from tests.conftest import ROOT
from tests.gateway.plain import plain
from tests.support.accounts import url_of


class Process:
    """One that listens."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process, self.port, self._log = process, port, log

    @property
    def log(self) -> list[dict[str, Any]]:
        """Lines of its log so far, each a JSON object."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def get(self, path: str) -> str:
        """The body of an answer with the status 200."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
            text: str = answer.read().decode()
            return text


@contextmanager
def process(folder: Path, **settings: Any) -> Iterator[Process]:
    """The gateway of these settings as a process of its own, which is killed at the end if it still runs."""
    file, log = folder / "gateway.toml", folder / "gateway.log"
    settings.setdefault("database", url_of(folder / "gateway.db"))
    file.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    command = [sys.executable, "-m", "tests.gateway.plain_process", "--settings", str(file)]
    with log.open("w") as errors:
        started = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        assert started.stdout is not None
        line = started.stdout.readline()
        begins = ("gateway at http://127.0.0.1:", "gateway at https://127.0.0.1:")
        assert line.startswith(begins), f"it said {line!r} and {log.read_text()}"
        yield Process(started, int(line.split("/")[2].split(":")[1]), log)
    finally:
        started.kill()
        started.wait(30)
        if started.stdout is not None:
            started.stdout.close()


if __name__ == "__main__":
    before = app.routes
    app.routes = lambda: [Route("/plain/{model}", plain, methods=["POST"]), *before()]
    sys.exit(main())
