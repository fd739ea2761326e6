"""What becomes of an answer on its way into the history: texts are read out of it, files stored, all of it sealed.

Everything here is done in threads, never on the event loop.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.accounts.generations import Generation, KeptFile, dumped
from gateway.accounts.history import SEALED, file_field
from gateway.files import File, files_of
from gateway.sealed import Ring, seal

MAX_CHARACTERS = 4 << 20  # of a text or of what was asked: a row is to fit into one packet of its database
SHORTEST = 6  # characters of what is somebody's: a@b.cc
EVENTS = "text/event-stream"


@dataclasses.dataclass(frozen=True)
class Came:
    """What came of one answer, as it was sent. `sha256s` are those of its files before they were signed, if any were.

    `pieces` is None where a sound was too long to be kept of a stream.
    """

    pieces: Sequence[bytes] | None
    content_type: str
    receipt_text: str | None
    sha256s: Sequence[str] = ()

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return sum(len(piece) for piece in self.pieces or ())


class Writer:
    """Fills in rows. `put` stores a file and gives its name, or None where there is no room; `remove` takes what is
    somebody's out of a text."""

    def __init__(
        self, put: Callable[[bytes], str | None], ring: Ring | None, remove: Callable[[str], str] | None
    ) -> None:
        self._put, self._ring, self._remove = put, ring, remove

    def fill(self, row: Generation, came: Came | None) -> None:
        """All that is known of an answer into its row; None came of one that failed before it had a head."""
        key = b""
        if self._ring is not None:
            key, wrapped = self._ring.new(row.id)
            row.sealed_by, row.sealed_key = wrapped.by, base64.b64encode(wrapped.key).decode()
        cipher = AESGCM(key) if key else None
        try:
            if came is not None:
                self._take(row, came, cipher)
            self._plain(row)
        except Exception:  # nothing of it is kept in another form than was wanted
            row.asked_text, row.text, row.receipt = "{}", None, None
            raise
        finally:
            if cipher is not None:
                _seal(row, cipher)

    def _take(self, row: Generation, came: Came, cipher: AESGCM | None) -> None:
        row.receipt = self._receipt(came.receipt_text)
        body = None if came.pieces is None else b"".join(came.pieces)
        if row.medium == "text":
            row.text = text_of(body or b"", came.content_type)
        elif body is not None and row.status == "done":
            files = files_of(body, came.content_type)
            row.files = [self._file(row.id, cipher, i, file, came.sha256s) for i, file in enumerate(files)]

    def _file(self, row: str, cipher: AESGCM | None, index: int, file: File, sha256s: Sequence[str]) -> KeptFile:
        sent = hashlib.sha256(file.content).hexdigest()
        content = file.content if cipher is None else seal(cipher, file.content, row, file_field(index))
        sha256 = sha256s[index] if index < len(sha256s) else sent
        kind = file.content_type[:64]
        return KeptFile(index, sha256, sent, self._put(content), len(file.content), kind)

    def _receipt(self, text: str | None) -> str | None:
        """Its parameters repeat some of what was asked; the rest is of the server's own making."""
        if text is None:
            return None
        receipt = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if self._remove is not None and "params" in receipt:
            receipt["params"] = _each(receipt["params"], self._remove)
        return dumped(receipt)

    def _plain(self, row: Generation) -> None:
        """Texts without what is somebody's, each of a length that a database takes."""
        if self._remove is not None:
            row.asked_text = dumped(_each(json.loads(row.asked_text), self._remove))
            row.text = None if row.text is None else self._remove(row.text)
        if len(row.asked_text) > MAX_CHARACTERS:
            row.asked_text = dumped({"omitted": f"{len(row.asked_text)} characters, over {MAX_CHARACTERS}"})
        if row.text is not None and len(row.text) > MAX_CHARACTERS:
            more = len(row.text) - MAX_CHARACTERS
            row.text = f"{row.text[:MAX_CHARACTERS]} [and {more} more characters, which the history does not keep]"


def text_of(body: bytes, content_type: str) -> str:
    """What a model wrote, whole or as events; several texts have an empty line between them."""
    texts: dict[int, list[str]] = {}
    for document in _documents(body, content_type):
        for choice in document.get("choices", ()):
            turn = choice.get("message", choice.get("delta"))
            text = choice["text"] if turn is None else turn.get("content")
            texts.setdefault(choice["index"], []).append(text or "")
    text = "\n\n".join("".join(texts[index]) for index in sorted(texts))
    return text.encode(errors="replace").decode()  # half a surrogate pair is no text, and no database takes it


def _documents(body: bytes, content_type: str) -> Iterator[Any]:
    if content_type.partition(";")[0] != EVENTS:
        yield json.loads(body)
        return
    for event in body.split(b"\n\n")[:-1]:  # what follows the last one is half an event, or nothing
        data = event.removeprefix(b"data: ")
        if data.startswith(b"{"):
            yield json.loads(data)


def _each(value: Any, change: Callable[[str], str]) -> Any:
    """A JSON value with each of its strings changed; names of fields stay."""
    if isinstance(value, str):
        return change(value) if len(value) >= SHORTEST else value
    if isinstance(value, dict):
        return {name: _each(inner, change) for name, inner in value.items()}
    return [_each(inner, change) for inner in value] if isinstance(value, list) else value


def _seal(row: Generation, cipher: AESGCM) -> None:
    stored = {"asked": "asked_text", "receipt": "receipt", "text": "text"}
    for field in SEALED:
        if (text := getattr(row, stored[field])) is not None:
            setattr(row, stored[field], base64.b64encode(seal(cipher, text.encode(), row.id, field)).decode())
