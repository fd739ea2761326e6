"""Results in S3, or in another store that speaks its protocol: `s3://BUCKET/PREFIX`.

Where it is and who asks say the variables that every such program reads: AWS_ENDPOINT_URL, AWS_REGION,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and their kin.
"""

from __future__ import annotations

import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from gateway.kept import (
    BYTES,
    MAX_FILES,
    NAME,
    KeptResult,
    NoRoom,
    NoSuchResult,
    ResultFolder,
    ResultStore,
    checked,
    nothing,
)

SCHEME = "s3://"
REGION = "us-east-1"  # where nothing says another; stores that are not Amazon's do not look
CONNECT, ANSWER, RETRY = timedelta(seconds=5), timedelta(seconds=30), timedelta(seconds=20)
_URL = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(?P<prefix>[A-Za-z0-9_.=/-]*))?")
WANTED = "wanted s3://BUCKET or s3://BUCKET/PREFIX, the prefix of letters, digits and _.=-/ without .."


class ObjectsError(OSError):
    """Error: the bucket cannot be used at present; the message is for the operator."""


def open_results(place: Path | str, max_bytes: int, max_files: int = MAX_FILES, *, beside: bool = False) -> ResultStore:
    """The store of results at a folder, or at `s3://BUCKET/PREFIX`; `beside` a gateway that may write to it meanwhile.

    Raises `OSError`, `ValueError`.
    """
    if str(place).startswith("s3:"):
        return ResultObjects(str(place), max_bytes, max_files)
    return ResultFolder(Path(place), max_bytes, max_files, beside=beside)


class ResultObjects:
    """Results as objects of a bucket, below a prefix that nobody else writes to. One process writes to it.

    Its bound counts what was there when it was opened and what this process put and deleted since.
    """

    def __init__(self, url: str, max_bytes: int, max_files: int = MAX_FILES) -> None:
        found = _URL.fullmatch(url)
        if found is None or ".." in url:
            raise ValueError(f"results: {url[:100]!r} is no place in S3; {WANTED}")
        self.url, self._max_bytes, self._max_files = url, max_bytes, max_files
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        self._at = endpoint or "Amazon"
        self._store = S3Store(
            found["bucket"],
            prefix=(found["prefix"] or "").strip("/") or None,
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or REGION,
            client_options={
                "connect_timeout": CONNECT,
                "timeout": ANSWER,
                "allow_http": endpoint.startswith("http://"),
            },
            retry_config={"max_retries": 2, "retry_timeout": RETRY},
        )
        self._change = threading.Lock()
        self._bytes = self._files = 0
        for result in self.list():
            self._bytes, self._files = self._bytes + result.size, self._files + 1

    def put(self, content: bytes, name: str | None = None) -> str:
        """One request, so it is there whole or not at all."""
        name = secrets.token_hex(BYTES) if name is None else checked(name)
        with self._change:
            if self._files >= self._max_files or self._bytes + len(content) > self._max_bytes:
                raise NoRoom(
                    f"results: {self._files} objects with {self._bytes} bytes are kept, and {len(content)} more bytes "
                    f"do not fit: at most {self._max_files} objects and {self._max_bytes} bytes are; delete some"
                )
            self._files, self._bytes = self._files + 1, self._bytes + len(content)
        try:
            with self._asking("cannot be written"):
                obstore.put(self._store, name, content)
        except BaseException:
            self._gone(len(content))
            raise
        return name

    def get(self, name: str) -> bytes:
        """Read it, unless it is longer than all that may be kept."""
        checked(name)
        with self._asking("cannot be read", name):
            found = obstore.get(self._store, name)
            if (size := found.meta["size"]) > self._max_bytes:
                raise ObjectsError(f"results: {self.url}/{name} has {size} bytes, at most {self._max_bytes} are kept")
            return bytes(found.bytes())

    def delete(self, name: str) -> None:
        """Remove the object."""
        checked(name)
        try:
            with self._asking("cannot be deleted from", name):
                size = obstore.head(self._store, name)["size"]
                obstore.delete(self._store, name)
        except NoSuchResult:
            return
        self._gone(size)

    def list(self) -> Iterator[KeptResult]:
        """Objects of ours alone: what else lies below the prefix is left as it is."""
        with self._asking("cannot be listed"):
            for chunk in obstore.list(self._store):
                for found in chunk:
                    if NAME.fullmatch(found["path"]):
                        yield KeptResult(found["path"], found["size"], found["last_modified"].timestamp())

    @contextmanager
    def _asking(self, trouble: str, name: str | None = None) -> Iterator[None]:
        """What the store says becomes an error that says what to do."""
        try:
            yield
        except (BaseError, FileNotFoundError) as error:
            said = " ".join(str(error).partition("Debug source")[0].split())[:300]
            if "NoSuchBucket" in str(error):
                raise ObjectsError(
                    f"results: {self.url} {trouble}: there is no such bucket at {self._at}; make it, or name another "
                    "one (setting results), or another server (AWS_ENDPOINT_URL)"
                ) from None
            if name is not None and isinstance(error, (NotFoundError, FileNotFoundError)):
                raise nothing(name) from None
            raise ObjectsError(
                f"results: {self.url} {trouble} at {self._at}: {type(error).__name__}: {said}; look at the server, and "
                "at AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from None

    def _gone(self, size: int) -> None:
        with self._change:
            self._files, self._bytes = self._files - 1, self._bytes - size
