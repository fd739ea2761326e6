"""The written world for summaries: short reports, each with its one true summary, and an exact judge of summaries.

A report has four to seven sentences. Two or three of them state what its summary says; all of them also hold values of the
same sorts that are not true of the event, so that nothing is gained by copying the first name or number. The summary follows
from the report: each kind has one template for it.

Report `i` of a seed is always the same report.
"""

from __future__ import annotations

import dataclasses
import functools
import re

from training.data.pairs import Pair
from training.data.report_events import MATCH, SHIP, WEATHER
from training.data.report_kinds import VALUES, Kind, Part
from training.data.report_town import ACCIDENT, OPENING, VOTE
from training.data.templates import Draws, pattern, slots

NAME = "reports"
VERSION = 1  # raise it when a kind changes: it is part of the recorded data name
SHORTEST, LONGEST = 4, 7  # sentences
KINDS = (ACCIDENT, MATCH, OPENING, SHIP, VOTE, WEATHER)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a summary is worth."""

    facts: int  # that it should state
    right: int  # that it states, each in its place
    problem: str | None  # the first thing that is wrong, or None: it is the true summary


def report(seed: int, index: int) -> Pair:
    """Report `index` of `seed` and its summary."""
    draws = Draws(seed, index)
    kind = draws.pick(KINDS)
    parts = [part for part in kind.parts if part.needed]
    extras = [part for part in kind.parts if not part.needed]
    length = SHORTEST + draws.below(min(LONGEST, len(kind.parts)) - SHORTEST + 1)
    while len(parts) < length:
        parts.append(extras.pop(draws.below(len(extras))))
    parts.sort(key=lambda part: (part.place, draws.below(1 << 16)))
    template = " ".join([draws.pick(part.phrasings) for part in parts])
    values: dict[str, str] = {}
    for slot in slots(kind.summary + template):
        values[slot] = draws.pick(VALUES[kind.slots[slot]], but=values.values())
    return Pair((template.format_map(values),), kind.summary.format_map(values))


def facts(document: str) -> dict[str, str]:
    """What the summary of a report has to state, by slot; raises `ValueError` for what is no report."""
    kind, values = _read(document)
    return {slot: values[slot] for slot in slots(kind.summary)}


def check(document: str, summary: str) -> Verdict:
    """How much of a report's summary is true; raises `ValueError` if `document` is no report.

    In a summary that follows no template, the true values are counted that it holds as whole words.
    """
    kind, values = _read(document)
    true = {slot: values[slot] for slot in slots(kind.summary)}
    wanted = kind.summary.format_map(true)
    if summary == wanted:
        return Verdict(len(true), len(true), None)
    match = pattern(kind.summary, {}).fullmatch(summary)
    if match:
        wrong = [slot for slot, value in true.items() if match[slot] != value]
        problem = f"the {wrong[0]} is {match[wrong[0]]!r} in the summary and {true[wrong[0]]!r} in the report"
        return Verdict(len(true), len(true) - len(wrong), problem)
    right = sum(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", summary) is not None for value in true.values())
    like = next((f"that of {other.name}" for other in KINDS if pattern(other.summary, {}).fullmatch(summary)), "none")
    problem = f"the template of the summary is {like}, wanted that of {kind.name}: {wanted!r}"
    return Verdict(len(true), right, problem)


def _read(document: str) -> tuple[Kind, dict[str, str]]:
    """The kind of a report and the value of every slot that it fills."""
    kinds: dict[str, Kind] = {}
    parts: list[Part] = []
    values: dict[str, str] = {}
    for sentence in re.split(r"(?<=[.?!]) ", document):
        matches = ((kind, part, form.fullmatch(sentence)) for kind, part, form in _forms())
        kind, part, match = next((found for found in matches if found[2]), (None, None, None))
        if kind is None or part is None or match is None:
            raise ValueError(f"no report: {sentence!r} is no sentence of one")
        kinds[kind.name] = kind
        parts.append(part)
        for slot, value in match.groupdict().items():
            if values.setdefault(slot, value) != value:
                raise ValueError(f"no report: the {slot} is {values[slot]!r} and then {value!r}")
    if len(kinds) > 1:
        raise ValueError(f"no report: its sentences are of several kinds, {' and '.join(kinds)}")
    (kind,) = kinds.values()
    for part in kind.parts:
        if parts.count(part) not in ((1,) if part.needed else (0, 1)):
            raise ValueError(f"no report: like {part.phrasings[0]!r} it has {parts.count(part)} sentences, wanted 1")
    if not SHORTEST <= len(parts) <= LONGEST:
        raise ValueError(f"no report: it has {len(parts)} sentences, wanted {SHORTEST} to {LONGEST}")
    for slot, value in values.items():
        twin = next(other for other, same in values.items() if same == value)
        if twin != slot:
            raise ValueError(f"no report: the {twin} and the {slot} are both {value!r}")
    return kind, values


@functools.cache
def _forms() -> tuple[tuple[Kind, Part, re.Pattern[str]], ...]:
    """The pattern of every phrasing of every sentence."""
    return tuple(
        (kind, part, pattern(phrasing, {slot: VALUES[name] for slot, name in kind.slots.items()}))
        for kind in KINDS
        for part in kind.parts
        for phrasing in part.phrasings
    )
