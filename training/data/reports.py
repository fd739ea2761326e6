"""The written world for summaries: short reports, each with its one true summary, and an exact judge of summaries.

A report has four to seven sentences. Two or three of them state what its summary says; all of them also hold values of
the same lists that are not true of the event, so that nothing is gained by copying the first name or number. The
summary follows from the report: each topic has one template for it.

Report `i` of a seed is always the same report.
"""

from __future__ import annotations

import dataclasses
import functools
import re

from training.data import Pair
from training.data.report_events import MATCH, SHIP, WEATHER
from training.data.report_topics import VALUES, Part, Topic
from training.data.report_town import ACCIDENT, OPENING, VOTE
from training.data.templates import pattern, slots
from training.draws import Draws

NAME = "reports"
VERSION = 2  # raise it when a topic changes: it is part of the recorded data name
SHORTEST, LONGEST = 4, 7  # sentences
TOPICS = (ACCIDENT, MATCH, OPENING, SHIP, VOTE, WEATHER)


@dataclasses.dataclass(frozen=True)
class Judgement:
    """The judge's word on a summary."""

    facts: int
    """that it should state"""
    right: int
    """that it states, each in its place"""
    problem: str | None
    """the first thing that is wrong, or None: it is the true summary"""


def report(seed: int, index: int) -> Pair:
    """Report `index` of `seed` and its summary."""
    draws = Draws(seed, index)
    topic = draws.pick(TOPICS)
    parts = [part for part in topic.parts if part.needed]
    extras = [part for part in topic.parts if not part.needed]
    length = SHORTEST + draws.below(min(LONGEST, len(topic.parts)) - SHORTEST + 1)
    parts += draws.shuffled(extras)[: length - len(parts)]
    parts = sorted(draws.shuffled(parts), key=lambda part: part.place)
    template = " ".join([draws.pick(part.phrasings) for part in parts])
    values: dict[str, str] = {}
    for slot in slots(topic.summary + template):
        values[slot] = draws.pick(VALUES[topic.slots[slot]], but=values.values())
    return Pair((template.format_map(values),), topic.summary.format_map(values))


def facts(document: str) -> dict[str, str]:
    """The facts that the summary of a report has to state, by slot; raises `ValueError` if it is no report."""
    topic, values = _read(document)
    return {slot: values[slot] for slot in slots(topic.summary)}


def check(document: str, summary: str) -> Judgement:
    """Judge the summary of a report; raises `ValueError` if `document` is no report.

    In a summary that follows no template, the true values are counted that it holds as whole words.
    """
    topic, values = _read(document)
    true = {slot: values[slot] for slot in slots(topic.summary)}
    wanted = topic.summary.format_map(true)
    if summary == wanted:
        return Judgement(len(true), len(true), None)
    match = pattern(topic.summary, {}).fullmatch(summary)
    if match:
        wrong = [slot for slot, value in true.items() if match[slot] != value]
        problem = f"the {wrong[0]} is {match[wrong[0]]!r} in the summary and {true[wrong[0]]!r} in the report"
        return Judgement(len(true), len(true) - len(wrong), problem)
    right = sum(re.search(rf"(?<!\w){re.escape(value)}(?!\w)", summary) is not None for value in true.values())
    like = next((f"that of {other.name}" for other in TOPICS if pattern(other.summary, {}).fullmatch(summary)), "none")
    problem = f"the template of the summary is {like}, wanted that of {topic.name}: {wanted!r}"
    return Judgement(len(true), right, problem)


def _read(document: str) -> tuple[Topic, dict[str, str]]:
    """The topic of a report and the value of every slot that it fills."""
    topics: dict[str, Topic] = {}
    parts: list[Part] = []
    values: dict[str, str] = {}
    for sentence in re.split(r"(?<=[.?!]) ", document):
        matches = ((topic, part, form.fullmatch(sentence)) for topic, part, form in _forms())
        topic, part, match = next((found for found in matches if found[2]), (None, None, None))
        if topic is None or part is None or match is None:
            raise ValueError(f"no report: {sentence!r} is no sentence of one")
        topics[topic.name] = topic
        parts.append(part)
        for slot, value in match.groupdict().items():
            if values.setdefault(slot, value) != value:
                raise ValueError(f"no report: the {slot} is {values[slot]!r} and then {value!r}")
    if len(topics) > 1:
        raise ValueError(f"no report: its sentences are of several topics, {' and '.join(topics)}")
    (topic,) = topics.values()
    for part in topic.parts:
        if parts.count(part) not in ((1,) if part.needed else (0, 1)):
            raise ValueError(f"no report: like {part.phrasings[0]!r} it has {parts.count(part)} sentences, wanted 1")
    if not SHORTEST <= len(parts) <= LONGEST:
        raise ValueError(f"no report: it has {len(parts)} sentences, wanted {SHORTEST} to {LONGEST}")
    for slot, value in values.items():
        twin = next(other for other, same in values.items() if same == value)
        if twin != slot:
            raise ValueError(f"no report: the {twin} and the {slot} are both {value!r}")
    return topic, values


@functools.cache
def _forms() -> tuple[tuple[Topic, Part, re.Pattern[str]], ...]:
    """The pattern of every phrasing of every sentence."""
    return tuple(
        (topic, part, pattern(phrasing, {slot: VALUES[name] for slot, name in topic.slots.items()}))
        for topic in TOPICS
        for part in topic.parts
        for phrasing in part.phrasings
    )
