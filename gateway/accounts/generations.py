"""What was generated: the row of the history, which has what makes the same again."""

from __future__ import annotations

import dataclasses
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, Literal

Status = Literal["done", "failed", "cancelled"]


@dataclasses.dataclass
class Generation:
    """One answer of a model to a key's owner. `asked` is the prompt and every parameter by name."""

    key_id: str
    model: str
    version: str
    medium: str
    route: str  # as it is written in the table of routes
    asked: dataclasses.InitVar[Mapping[str, Any]]
    receipt: str | None = None  # as the model's engine wrote it
    sha256: str | None = None  # of the file, in hex
    result: str | None = None  # the name of the file among the results, where it is kept
    bytes: int = 0  # of the file
    status: Status = "done"
    created: float = dataclasses.field(default_factory=time.time)  # seconds since 1970
    # Of our own making, so that a batch whose end nobody heard of is not kept twice.
    id: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)
    asked_text: str = dataclasses.field(init=False)
    size: int = dataclasses.field(init=False)  # bytes that it holds in the queue; the receipt is bounded as a header

    def __post_init__(self, asked: Mapping[str, Any]) -> None:
        self.asked_text = json.dumps(asked, ensure_ascii=False, separators=(",", ":"), sort_keys=True)
        # A lone half of a surrogate pair is JSON, and no UTF-8: such a text is written in escapes.
        try:
            self.size = len(self.asked_text.encode())
        except UnicodeEncodeError:
            self.asked_text = json.dumps(asked, separators=(",", ":"), sort_keys=True)
            self.size = len(self.asked_text)

    def row(self) -> dict[str, Any]:
        """As a row of the table; a column is as wide as anything that we name ourselves."""
        names = ("id", "key_id", "medium", "receipt", "sha256", "result", "bytes", "created", "status")
        plain = {name: getattr(self, name) for name in names}
        named = {"model": self.model[:128], "version": self.version[:64], "route": self.route[:128]}
        return {**plain, **named, "asked": self.asked_text}
