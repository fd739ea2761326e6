"""Random requests that know a model's fields: right ones, extreme ones, wrong ones, and bodies of other shapes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from handlers.params import ParamSpec

TEXTS = [
    "",
    " ",
    "a",
    "The cat sat.",
    "é\u4f60\U0001f600",
    "\ud800",
    "a\udfff",
    "\0",
    "a\x85",
    "<end>",
    "[SEP]",
    "\r\n\t",
]
NUMBERS = [0, -0.0, 5e-324, 1e-308, 1e-300, 1e-45, 0.5, 1, 1.0, 2, 3.5, 7.0, 1e3, 2**53 - 1, 2**53, -1, 1e308, 10**400]
ODD: list[Any] = [
    None,
    True,
    False,
    "7",
    "nan",
    float("inf"),
    float("nan"),
    [],
    {},
    [[]],
    {"a": 1},
    "PNG",
    "jpg",
    "x" * 5000,
]


def request(random_: random.Random, specs: Sequence[ParamSpec], example: Mapping[str, Any]) -> Any:
    """The parameters of one request; about half of them are right."""
    kind = random_.random()
    if kind < 0.03:
        return random_.choice([None, 7, "x", [], [{}], True, [example], deep(random_.choice([3, 300]))])
    found = dict(example)
    for spec in specs:
        if random_.random() < 2 / len(specs):
            found[spec.name] = _right(random_, spec)
    if kind > 0.6:
        spec = random_.choice(list(specs))
        found[spec.name] = random_.choice([*NUMBERS, *ODD, *TEXTS, _messages(random_), deep(200)])
    if kind > 0.93:
        name = random_.choice(["instances", "inputs", "prompt", "messages", "model", "sed", "\ud800", "x" * 999, ""])
        found[name] = random_.choice([*ODD, *TEXTS, [{"datatype": "FP32"}]])
    return found


def deep(depth: int) -> Any:
    """A list in a list in a list."""
    found: Any = []
    for _ in range(depth):
        found = [found]
    return found


def _right(random_: random.Random, spec: ParamSpec) -> Any:
    if spec.choices is not None:
        return random_.choice(spec.choices)
    if spec.type == "boolean":
        return random_.random() < 0.5
    if spec.type in ("integer", "number"):
        least, most = spec.minimum or 0, spec.maximum or 0
        value = random_.choice(
            [least, most, random_.uniform(least, most), random_.uniform(least, min(most, least + 4))]
        )
        if spec.type == "number":
            return value
        return int(value) if random_.random() < 0.5 else float(int(value))
    if spec.type == "messages":
        return _messages(random_)
    text = random_.choice(["", "", *TEXTS]) + "word " * random_.randrange(1, 40)
    lists: list[Any] = [text[:60], [text[:60]], [text[:9]] * random_.randrange(6)]
    return text if spec.type == "string" else random_.choice(lists)


def _messages(random_: random.Random) -> Any:
    def content() -> Any:
        text = random_.choice(TEXTS)
        parts: list[Any] = [{"type": "text", "text": text}] * random_.randrange(3)
        kinds: list[Any] = [text, "Hello there", parts, [*parts, {"type": "image_url"}], None]
        return random_.choice(kinds)

    orders: list[list[Any]] = [["user", "assistant"], ["user"], ["system", "user"], ["tool", 7]]
    roles = random_.choice(orders)
    return [{"role": roles[at % len(roles)], "content": content()} for at in range(random_.randrange(5))]
