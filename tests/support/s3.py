"""A real S3 server (moto) as a process of its own, and the few requests by which a test sees what lies in it."""

from __future__ import annotations

import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.server import eventually

START_SECONDS = 120
VARIABLES = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}

# moto wants a signature to be there, and does not look at it.
SIGNED = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=00"


class S3:
    """One that listens; its objects are gone with it."""

    def __init__(self, process: subprocess.Popen[bytes], endpoint: str) -> None:
        self._process, self.endpoint = process, endpoint

    def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """A request about a bucket (`bucket`), or an object (`bucket/name`)."""
        headers = {"Authorization": SIGNED, "Content-Type": "application/octet-stream"}
        request = urllib.request.Request(f"{self.endpoint}/{path}", data=body, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
            return content

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait(60)


@contextmanager
def s3(folder: Path) -> Iterator[S3]:
    """A server on a free port of this machine alone."""
    log = folder / "moto.log"
    with log.open("wb") as said:
        command = [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]
        process = subprocess.Popen(command, stdout=said, stderr=said)

    def port() -> re.Match[str] | None:
        return re.search(r"Running on (http://127\.0\.0\.1:\d+)", log.read_text())

    try:
        eventually(lambda: port() is not None or process.poll() is not None, START_SECONDS, "moto does not listen")
        found = port()
        assert found is not None, log.read_text()
        yield S3(process, found[1])
    finally:
        process.kill()
        process.wait(60)
