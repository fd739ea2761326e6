"""What was generated: the row of the history, which has what makes the same again, and the rows of its files."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

Status = Literal["done", "failed", "cancelled"]


def dumped(asked: Mapping[str, Any]) -> str:
    """JSON that UTF-8 can hold: a lone half of a surrogate pair has it all written in escapes."""
    text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(asked, separators=(",", ":"), sort_keys=True)
    return text


@dataclasses.dataclass(frozen=True)
class KeptFile:
    """One file of an answer. Digests are SHA-256 in hex: of what the seed makes, and of what was sent."""

    index: int
    sha256: str
    sent_sha256: str
    result: str | None  # its name among the results; None: it is not kept there
    bytes: int
    content_type: str
    phash: str | None = None


@dataclasses.dataclass
class Generation:
    """One answer of a model to an owner. `asked` is the prompt and every parameter by name.

    `asked_text`, `receipt` and `text` are as they are stored: in base64 where they are sealed, by `sealed_by`.
    """

    owner: str
    model: str
    version: str
    medium: str
    route: str  # as it is written in the table of routes
    asked: dataclasses.InitVar[Mapping[str, Any]]
    receipt: str | None = None  # JSON
    text: str | None = None  # that was written, of a model of texts
    job: str | None = None  # the id of the job that made it
    sealed_by: str | None = None  # the id of the key that wrapped the data key
    sealed_key: str | None = None  # the wrapped data key, in base64
    status: Status = "done"
    created: float = dataclasses.field(default_factory=time.time)  # seconds since 1970
    files: list[KeptFile] = dataclasses.field(default_factory=list)
    # Of our own making, so that a batch whose end nobody heard of is not kept twice.
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    asked_text: str = dataclasses.field(init=False)
    size: int = dataclasses.field(init=False)  # bytes that are counted for it in the queue

    def __post_init__(self, asked: Mapping[str, Any]) -> None:
        self.asked_text = dumped(asked)
        self.size = len(self.asked_text.encode())

    @property
    def held(self) -> int:
        """Characters that it holds as it is now."""
        return sum(len(text) for text in (self.asked_text, self.receipt, self.text) if text is not None)

    def row(self) -> dict[str, Any]:
        """As a row of the table; a column is as wide as anything that we name ourselves."""
        names = ("id", "owner", "medium", "job", "receipt", "text", "sealed_by", "sealed_key", "created", "status")
        plain = {name: getattr(self, name) for name in names}
        named = {"model": self.model[:128], "version": self.version[:64], "route": self.route[:128]}
        return {**plain, **named, "asked": self.asked_text}

    def file_rows(self) -> list[dict[str, Any]]:
        """The rows of its files."""
        return [{**dataclasses.asdict(file), "generation": self.id} for file in self.files]
