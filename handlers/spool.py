"""Uploads and large bodies that came by reference: files of the folder that the gateway and the engine share.

A reference stands in JSON in place of the bytes: {"spooled": {"name": ..., "sha256": ..., "bytes": ...}}. Nothing of it
is believed: the file is opened inside the folder and nowhere else, read once, and has to be what was said. A small
image may stand in the request itself, {"b64_json": "..."}, so that a model's example works without a file.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from handlers.refusals import Refusal

VARIABLE = "ATELIER_SPOOL"  # of the environment, set by the launcher
WORD, INLINE = "spooled", "b64_json"
MAX_INLINE = 48 * 1024  # bytes of an image in a request, of which 64 KiB go through the front end
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a pipe of that name holds nobody up
Data = bytes  # `Upload.bytes` is a number
WANTED = '{"spooled": {"name", "sha256", "bytes"}}, as the gateway writes it'
SMALL = f', or {{"b64_json": "..."}} of at most {MAX_INLINE} bytes'


@dataclasses.dataclass(frozen=True)
class Upload:
    """A file of the spool, as a request names it, or the bytes that stand in the request."""

    name: str
    sha256: str
    bytes: int
    data: Data | None = dataclasses.field(default=None, repr=False)

    def public(self) -> dict[str, str]:
        """What a receipt says of it: its digest, by which whoever has the file knows it."""
        return {"sha256": self.sha256}


def is_reference(value: Any) -> bool:
    """Whether a value of a request has the shape of a reference, whatever is in it."""
    return isinstance(value, Mapping) and set(value) == {WORD}


def upload_of(value: Any) -> Upload | None:
    """The upload that a reference names; None for what is no reference to a file that there could be."""
    found = value[WORD] if is_reference(value) else None
    if not isinstance(found, Mapping) or set(found) != {"name", "sha256", "bytes"}:
        return None
    name, sha256, size = found["name"], found["sha256"], found["bytes"]
    texts = isinstance(name, str) and isinstance(sha256, str) and type(size) is int
    if not texts or not _NAME.fullmatch(name) or not _SHA256.fullmatch(sha256) or size < 1:
        return None
    return Upload(name, sha256, size)


def image_of(value: Any) -> Upload | None:
    """The image that a parameter's value names or holds; None for what does neither."""
    if not isinstance(value, Mapping) or set(value) != {INLINE}:
        return upload_of(value)
    text = value[INLINE]
    if not isinstance(text, str) or not 0 < len(text) <= MAX_INLINE * 4 // 3:
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return Upload("", hashlib.sha256(data).hexdigest(), len(data), data)


def read(upload: Upload, limit: int, field: str | None = None) -> bytes:
    """The bytes of an upload of at most `limit` bytes, read once. Raises `Refusal`, which names `field`."""
    what = field or "the body"
    if upload.bytes > limit:
        raise Refusal(413, f"{what} has {upload.bytes} bytes, at most {limit} are taken", field)
    if upload.data is not None:
        return upload.data
    if not (folder := os.environ.get(VARIABLE)):
        raise Refusal(400, f"{what} came by reference, and this server was started without a spool", field)
    try:
        data = _read(Path(folder), upload)
    except OSError as error:
        raise Refusal(400, f"{what} cannot be opened in the spool ({error.strerror}); send it again", field) from None
    except ValueError as error:
        raise Refusal(400, f"{what} is not what was said: {error}; send it again", field) from None
    if hashlib.sha256(data).hexdigest() != upload.sha256:
        raise Refusal(400, f"{what} is not what was said: its sha256 is another; send it again", field)
    return data


def _read(folder: Path, upload: Upload) -> bytes:
    """Raises `OSError`, or `ValueError` for a file that is none of the gateway's."""
    place = os.open(folder, _FOLDER)
    try:
        _check_private(os.fstat(place))
        descriptor = os.open(upload.name, _FILE, dir_fd=place)
    finally:
        os.close(place)
    try:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise ValueError("it is no file")
        if found.st_uid != os.geteuid():
            raise ValueError("it belongs to another user")
        if found.st_nlink != 1:
            raise ValueError("it has another name, too, or none any more")
        if found.st_size != upload.bytes:
            raise ValueError(f"it has {found.st_size} bytes")
        data = bytearray()
        while len(data) <= upload.bytes and (more := os.read(descriptor, upload.bytes + 1 - len(data))):
            data += more
    finally:
        os.close(descriptor)
    if len(data) != upload.bytes:
        raise ValueError("it changed while it was read")
    return bytes(data)


def _check_private(found: os.stat_result) -> None:
    if found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ValueError("others can enter the spool")
