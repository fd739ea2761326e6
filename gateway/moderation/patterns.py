"""Patterns of word lists: regular expressions that take a time proportional to the text, whatever the text is.

Python's engine goes back and tries every way to match. How many ways a pattern has at one place is counted before it
is taken, and so is how long a match may be; both are bounded.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

MAX_WAYS = 1_000  # to match at one place of a text
MAX_WIDTH = 200  # characters of a match; so many are looked at over the borders of a stream's pieces
PIECE = 2_000  # characters that are searched at once
MAX_PATTERN = 1_000  # characters of a pattern
_PARSER: Any = importlib.import_module("re._parser")
_PLAIN = ("LITERAL", "NOT_LITERAL", "ANY", "IN", "AT", "CATEGORY", "RANGE")


class PatternError(ValueError):
    """Error: a pattern is none, or could take long."""


def compiled(pattern: str) -> re.Pattern[str]:
    """A pattern, which sees small letters and single spaces. Raises `PatternError` that says what is wrong with it."""
    if len(pattern) > MAX_PATTERN:
        raise PatternError(f"it has {len(pattern)} characters, wanted at most {MAX_PATTERN}")
    try:
        tree = _PARSER.parse(pattern)
        found = re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise PatternError(f"it is no regular expression: {error}") from None
    if found.match(""):
        raise PatternError("it matches the empty text, and so everything")
    ways = _ways(tree)
    if ways > MAX_WAYS:
        raise PatternError(
            f"it can match in {ways} ways at one place, wanted at most {MAX_WAYS}: bound its repeats more closely "
            "(`.{0,30}` in place of `.*`), and put none within another"
        )
    if (width := int(tree.getwidth()[1])) > MAX_WIDTH:
        raise PatternError(f"it can match {width} characters, wanted at most {MAX_WIDTH}: bound its repeats")
    return found


def first_match(expression: re.Pattern[str], text: str) -> re.Match[str] | None:
    """The first match in a text. Between two pieces of it other threads may go on, which one search would stop."""
    for at in range(0, len(text), PIECE):
        found = expression.search(text, at, at + PIECE + MAX_WIDTH + 1)
        if found is not None and found.start() < at + PIECE:
            return found
    return None


def _ways(tree: Any) -> int:
    """In how many ways a sequence can match; a sum over alternatives, a product over what follows each other."""
    ways = 1
    for operation, argument in tree:
        ways = min(ways * _ways_of(str(operation), argument), 10**9)
    return ways


def _ways_of(operation: str, argument: Any) -> int:
    if operation in _PLAIN:
        return 1
    if operation == "BRANCH":
        return sum(_ways(branch) for branch in argument[1])
    if operation == "SUBPATTERN":
        return _ways(argument[3])
    if operation in ("MAX_REPEAT", "MIN_REPEAT"):
        least, most, inner = argument
        if most == _PARSER.MAXREPEAT or most > MAX_WIDTH:
            raise PatternError(f"it repeats without end (*, +, {{n,}}); wanted bounded repeats, such as {{0,{30}}}")
        once = _ways(inner)
        return min(sum(int(once ** min(n, 40)) for n in range(least, most + 1)), 10**9)
    words = operation.lower().replace("_", " ")
    raise PatternError(f"it has {words}, which is not taken: wanted letters, classes, (a|b) and bounded repeats")
