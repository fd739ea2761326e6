"""The written world for texts: short English texts, and an exact judge of them.

A text is one to three sentences of a scene. Slots such as {place} are filled from short lists; a slot that comes again
stands for the same value, two sentences later too. So a model must remember what it wrote, and whether it did can be
checked: every way through a scene is also a regular expression in which a slot that comes again is a back reference.

Text `i` of a seed is always the same text. Some values and sentences hold characters beyond ASCII, two or three bytes
each in UTF-8, which a model over bytes has to finish.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re

from training.data.templates import SLOT, slots
from training.draws import Draws

NAME = "sentences"
VERSION = 2  # raise it when a scene changes: it is part of the recorded data name

# No value of a list begins with another one of it, and none begins with a vowel where the scenes put "a" before it.
SLOTS: dict[str, tuple[str, ...]] = {
    "name": ("Ada", "Björn", "Chloé", "Mary", "Omar", "Zoë"),
    "friend": ("Anaïs", "Ben", "Jürgen", "Lucía", "Nina", "Priya"),
    "place": ("Bergen", "Cádiz", "Dover", "Lisbon", "Malmö", "Tromsø"),
    "ship": ("Dolphin", "Étoile", "Heron", "Otter", "Swan", "Zephyr"),
    "goods": ("apples", "cloth", "flour", "oil", "rice", "tea"),
    "colour": ("black", "green", "red", "white", "yellow"),
    "thing": ("bicycle", "clock", "kite", "lamp", "piano", "scarf"),
    "price": ("eleven", "five", "nine", "seven", "ten", "three"),
    "weather": ("cloudy", "foggy", "rainy", "sunny", "windy"),
    "day": ("Monday", "Tuesday", "Wednesday", "Friday", "Sunday"),
}


@dataclasses.dataclass(frozen=True)
class Scene:
    """The choices for the first, second and third sentence of a text, which has at least `least` of them."""

    sentences: tuple[tuple[str, ...], ...]
    least: int = 2


SCENES: dict[str, Scene] = {
    "harbour": Scene(
        (
            (
                "The {ship} came to {place} with {goods}.",
                "In {place} the {ship} landed {goods}.",
            ),
            (
                "The {goods} went to the café in {place}.",
                "The {ship} sold the {goods} before noon.",
            ),
            (
                "Then the {ship} left {place}.",
                "Nobody in {place} had seen the {ship} before.",
            ),
        )
    ),
    "weather": Scene(
        (
            (
                "It was {weather} in {place} on {day}.",
                "On {day} it was {weather} in {place}.",
            ),
            (
                "A {weather} {day} in {place} is rare.",
                "{place} likes a {weather} {day}.",
            ),
            (
                "The next {day} will not be {weather}.",
                "Nobody in {place} had seen a {day} so {weather}.",
            ),
        )
    ),
    "market": Scene(
        (
            (
                "{name} bought a {colour} {thing} for {price} euros.",
                "For {price} euros {name} found a {colour} {thing}.",
            ),
            (
                "The {thing} is {colour} \N{EN DASH} {name} likes {colour}.",
                "Is a {colour} {thing} worth {price} euros?",
            ),
            (
                "The {price} euros are gone, but {name} has the {thing}.",
                "No other {thing} is as {colour}, says {name}.",
            ),
        )
    ),
    "letter": Scene(
        (
            (
                "{name} wrote to {friend}, and {friend} wrote back to {name}.",
                "{friend} waits for {name} at the café, but {name} is not there yet.",
            ),
            (
                "{friend} has known {name} since the winter.",
                "{name} will come to {friend} on {day}.",
            ),
        ),
        least=1,
    ),
}


def text(seed: int, index: int) -> str:
    """Text `index` of `seed`: 40 to 250 bytes of UTF-8."""
    draws = Draws(seed, index)
    scene = draws.pick(tuple(SCENES.values()))
    length = scene.least + draws.below(len(scene.sentences) - scene.least + 1)
    template = " ".join([draws.pick(choice) for choice in scene.sentences[:length]])
    return template.format_map({slot: draws.pick(SLOTS[slot]) for slot in slots(template)})


def problem(written: str) -> str | None:
    """The reason why `written` is no text of this world, or None: it is one, and all its facts agree."""
    if any(strict.fullmatch(written) for strict, _ in _patterns()):
        return None
    for _, loose in _patterns():
        match = loose.fullmatch(written)
        if match:
            first: dict[str, str] = {}
            for group, value in match.groupdict().items():
                slot = group.rstrip("0123456789")
                if first.setdefault(slot, value) != value:
                    return f"the {slot} is {first[slot]!r} and then {value!r}"
    return "no scene reads like this"


def is_valid(written: str) -> bool:
    """Whether `written` is a whole text of this world with no fact that contradicts another."""
    return problem(written) is None


@functools.cache
def _patterns() -> tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]:
    """For every way through a scene: a strict pattern, and a loose one whose facts may contradict each other."""
    templates = [
        " ".join(way)
        for scene in SCENES.values()
        for length in range(scene.least, len(scene.sentences) + 1)
        for way in itertools.product(*scene.sentences[:length])
    ]
    return tuple((_pattern(template, strict=True), _pattern(template, strict=False)) for template in templates)


def _pattern(template: str, strict: bool) -> re.Pattern[str]:
    parts, seen = [], 0
    for at, piece in enumerate(SLOT.split(template)):  # text and slot in turn
        if at % 2 == 0:
            parts.append(re.escape(piece))
        elif strict and f"(?P<{piece}>" in "".join(parts):
            parts.append(f"(?P={piece})")
        else:
            values = "|".join(map(re.escape, SLOTS[piece]))
            parts.append(f"(?P<{piece}{'' if strict else seen}>{values})")
            seen += 1
    return re.compile("".join(parts))
