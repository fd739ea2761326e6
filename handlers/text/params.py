"""Parameters that every request for text has, and the checks of their strings."""

from __future__ import annotations

import hmac
import re
import secrets
from typing import Protocol

from handlers.generator import StepParams
from handlers.refusals import Refusal
from handlers.sampling.next_token import Rule

SMALLER = "lower max_tokens"  # what makes an answer of text smaller
_KEY = secrets.token_bytes(32)  # of this process: a short text could be found by trying if its plain hash were known
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")  # Unicode's category Cc but for tab, line feed, return


class TextParams(StepParams, Protocol):
    """Parameters of an answer of text, whatever it is made from."""

    @property
    def n(self) -> int:
        """How many texts the answer has."""
        ...

    @property
    def seed(self) -> int:
        """Seeds of the texts, one each: text i is drawn with the numbers of seed + i."""
        ...

    @property
    def logprobs(self) -> bool:
        """Whether the log-probability of every token is told."""
        ...

    @property
    def rule(self) -> Rule:
        """How the next token is chosen from its scores."""
        ...


def content_type(stream: bool) -> str:
    """The content type of the answer: server-sent events, or one JSON object."""
    return "text/event-stream; charset=utf-8" if stream else "application/json"


def check_characters(field: str, text: str) -> None:
    """Raise `Refusal` for control characters. Half surrogate pairs are refused before (handlers/params.py)."""
    if found := _CONTROL.search(text):
        raise Refusal(400, f"{field} holds the control character U+{ord(found[0]):04X}; leave it out", field)


def hashed(text: str) -> dict[str, str]:
    """What a receipt holds in place of a caller's text: an HMAC-SHA256 under a key that no one else ever has.

    Equal texts have equal ones for as long as this process lives; nothing can be found out from one alone.
    """
    return {"hmac_sha256": hmac.digest(_KEY, text.encode(), "sha256").hex()}
