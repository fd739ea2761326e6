"""The written world for dialogue: small talk of a user and a bot in which every reply can be checked.

Each turn of the user has one of a few intents, each with several phrasings. Some state something to remember (a name, a
pet, the weather somewhere), some ask for it turns later, some have to be worked out (sums, weekdays, opposites). So in
every conversation exactly one reply is right, and `reply` says which.

Conversation `i` of a seed is always the same conversation.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence

from training.data import Pair
from training.data.smalltalk_intents import INTENTS, VALUES, Intent
from training.data.templates import pattern, slots
from training.draws import Draws

NAME = "smalltalk"
VERSION = 2  # raise it when an intent changes: it is part of the recorded data name
_EXCHANGES = (1, 2, 2, 3, 3, 4, 4)
_TOLD_PERCENT = 75  # of the questions for something remembered: it was told in an earlier turn
# What needs memory is harder, so it comes more often.
_LAST = tuple(name for name, intent in INTENTS.items() for _ in range(3 if intent.needs else 1))
_EARLIER = tuple(name for name, intent in INTENTS.items() for _ in range(2 if intent.keeps else 1))
_LAST_ONLY = {"thanks", "goodbye"}
_SEVERAL = {  # intents that come again with another value: nobody has two favourite colours, but two pets
    name for name, intent in INTENTS.items() if slots((intent.keeps or ("",))[0] + (intent.needs or ""))
}
_TELLS = {intent.keeps[0]: name for name, intent in INTENTS.items() if intent.keeps}  # key -> the intent that keeps it
_FIRST = {"greeting": 0, "name told": 1}
Turn = tuple[str, dict[str, str]]  # an intent and the values of its slots


def conversation(seed: int, index: int) -> Pair:
    """Conversation `index` of `seed`: one to four turns of the user, the replies between them, and the last reply."""
    draws = Draws(seed, index)
    exchanges = draws.pick(_EXCHANGES)
    said: set[str] = set()
    last = _turn(draws, draws.pick(_LAST), said, {})
    earlier: list[Turn] = []
    key = INTENTS[last[0]].needs
    if key and exchanges > 1 and draws.below(100) < _TOLD_PERCENT:
        earlier.append(_turn(draws, _TELLS[key], said, {slot: last[1][slot] for slot in slots(key)}))
    while len(earlier) < exchanges - 1:
        unfit = _LAST_ONLY | ({name for name, _ in (*earlier, last)} - _SEVERAL)
        earlier.append(_turn(draws, draws.pick(_EARLIER, but=unfit), said, {}))
    earlier = sorted(draws.shuffled(earlier), key=lambda turn: _FIRST.get(turn[0], 2))
    memory: dict[str, str] = {}
    texts: list[str] = []
    for name, values in (*earlier, last):
        intent = INTENTS[name]
        texts += draws.pick(intent.turns).format_map(values), _answer(memory, intent, values)
    return Pair(tuple(texts[:-1]), texts[-1])


def intent(turn: str) -> str | None:
    """The intent of a turn of the user, or None if it has none."""
    understood = _understood(turn)
    return understood and understood[0]


def reply(history: Sequence[str]) -> str:
    """The right reply to the last turn of a conversation that the user began; earlier turns without intent are ignored.

    Raises `ValueError` if the last turn has no intent, or is not the user's.
    """
    if len(history) % 2 == 0:
        raise ValueError(
            f"the history has {len(history)} turns, wanted an odd number: the user says the first and the last"
        )
    memory: dict[str, str] = {}
    answer = None
    for turn in history[::2]:
        understood = _understood(turn)
        answer = understood and _answer(memory, INTENTS[understood[0]], understood[1])
    if not answer:
        raise ValueError(f"the last turn {history[-1]!r} has no intent, wanted one of {', '.join(INTENTS)}")
    return answer


def is_right(history: Sequence[str], answer: str) -> bool:
    """Whether `answer` is the right reply to `history`; raises `ValueError` where `reply` does."""
    return answer == reply(history)


def _answer(memory: dict[str, str], intent: Intent, values: Mapping[str, str]) -> str:
    """The reply to a turn; `memory` takes what the turn tells."""
    if intent.keeps:
        key, slot = intent.keeps
        memory[key.format_map(values)] = values[slot]
    if intent.works_out:
        return intent.reply.format(value=intent.works_out(values), **values)
    if intent.needs:
        value = memory.get(intent.needs.format_map(values))
        return intent.unknown.format_map(values) if value is None else intent.reply.format(value=value, **values)
    return intent.reply.format_map(values)


def _turn(draws: Draws, name: str, said: set[str], given: Mapping[str, str]) -> Turn:
    """A turn of the intent `name`; no value of it was said before, but those `given`."""
    values = dict(given)
    for slot in slots(INTENTS[name].turns[0]):
        if slot not in values:
            values[slot] = draws.pick(VALUES[slot], but=said)
            if not values[slot].isdecimal():  # seven and seven can be added
                said.add(values[slot])
    return name, values


@functools.lru_cache(maxsize=10_000)
def _understood(turn: str) -> Turn | None:
    for name, form in _forms():
        match = form.fullmatch(turn)
        if match:
            return name, match.groupdict()
    return None


@functools.cache
def _forms() -> tuple[tuple[str, re.Pattern[str]], ...]:
    return tuple((name, pattern(turn, VALUES)) for name, intent in INTENTS.items() for turn in intent.turns)
