"""JSON as requests hold it, looked over before values are made of it: strict, and in a bounded time."""

from __future__ import annotations

import json
import re
from typing import Any

from handlers.refusals import Refusal

MAX_MARKS = 8192  # of { [ : and , outside of strings: JSON costs by the value, not by the byte
_MARKS = b"{[:,"
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)


def check_json(body: bytes) -> None:
    """Raise `Refusal` for what is not JSON in UTF-8, NaN, fields named twice, and more values than are read."""
    if _count(body, _MARKS) > MAX_MARKS and _marks_are_many(body):
        message = f"the body has more than {MAX_MARKS} values (counted by {{ [ : and , outside of strings)"
        raise Refusal(400, f"{message}, which is all that is read: send fewer, one request at a time")
    try:
        _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        detail = getattr(error, "msg", type(error).__name__)
        wanted = 'wanted an object such as {"seed": 7}'
        raise Refusal(400, f"the body is not valid JSON ({detail}); {wanted}{hint(body)}") from None


def _marks_are_many(body: bytes) -> bool:
    """Whether there are more marks than are read when those in strings, where a text may have any, do not count.

    Between two strings of JSON stands a mark, so as many strings are as many marks; one quote in front of which a
    backslash stands may still end a string, so this counts too few strings, never too many.
    """
    if _count(body, b'"') - body.count(b'\\"') > 2 * (MAX_MARKS + 1):
        return True
    rest, strings = _STRING.subn(b"", body, MAX_MARKS + 2)
    return strings > MAX_MARKS + 1 or _count(rest, _MARKS) > MAX_MARKS


def _count(body: bytes, which: bytes) -> int:
    """How many of some bytes there are, in one pass: `bytes.count` is slow where there are many."""
    return len(body) - len(body.translate(None, which))


def _refuse_constant(name: str) -> None:
    raise Refusal(400, f"the body holds {name}, which is not JSON; use a finite number")


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) > 1 and len({name for name, _ in pairs}) != len(pairs):
        raise Refusal(400, "the body names a field twice; name each once")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_refuse_duplicates)


def hint(body: bytes) -> str:
    """A word for those who send another charset without saying so."""
    return "; a body in UTF-16 or UTF-32 is sent again in UTF-8" if b"\0" in body else ""
