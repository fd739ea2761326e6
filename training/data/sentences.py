"""Texts to train on: a written world of short English texts with an exact judge of them, or the texts of a file.

A text is one to three sentences of a scene. Slots such as {place} are filled from short lists; a slot that comes again
stands for the same value, two sentences later too. So a model must remember what it wrote, and whether it did can be
checked: every way through a scene is also a regular expression in which a slot that comes again is a back reference.

Text `i` of a seed is always the same text. Some values and sentences hold characters beyond ASCII, two or three bytes
each in UTF-8, which a model over bytes has to finish.

A file is UTF-8. If blank lines divide it, what stands between them are the texts; else every line is one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data import DataError

NAME = "sentences"
VERSION = 1  # raise it when a scene changes: it is part of the recorded data name
BOUNDARY = b"\0"  # stands around every text, and is what no text may hold
HELD_OUT = 256  # written texts that are kept for measuring
HELD_OUT_EVERY = 20  # one in so many texts is kept for measuring
MAX_FILE_BYTES = 250_000_000
_SLOT = re.compile(r"\{(\w+)\}")

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
class TextSet:
    """Texts to learn from and texts to measure on, and their provenance: what a checkpoint records about its data."""

    name: str
    texts: tuple[str, ...]
    held_out: tuple[str, ...]
    sha256: str  # of the stream of all of them
    licence: str
    source: str


@dataclasses.dataclass(frozen=True)
class Scene:
    """What the first, second and third sentence may be; a text has `least` sentences at the least."""

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
    random = np.random.Generator(np.random.Philox(key=[seed, index]))
    scene = list(SCENES.values())[int(random.integers(len(SCENES)))]
    length = int(random.integers(scene.least, len(scene.sentences) + 1))
    template = " ".join(choice[int(random.integers(len(choice)))] for choice in scene.sentences[:length])
    slots = dict.fromkeys(_SLOT.findall(template))  # each once, in the order of their coming
    return template.format(**{slot: SLOTS[slot][int(random.integers(len(SLOTS[slot])))] for slot in slots})


def problem(written: str) -> str | None:
    """Why `written` is no text of this world, or None: it is one, and all its facts agree."""
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


def open_texts(data: str, count: int) -> TextSet:
    """The first `count` texts of the written world for `data == "sentences"`, else the texts of a file.

    Raises `DataError` for a file that is missing, empty, too large, not UTF-8, or holds the byte 0.
    """
    if data != NAME:
        return _file_set(Path(data))
    learned: list[str] = []
    held_out: list[str] = []
    for index in itertools.count():
        if len(learned) == count and len(held_out) == HELD_OUT:
            break
        drawn = text(0, index)
        # By its digest, so that no held-out text is learned from in a world of any size, and figures can be compared.
        kept, most = (held_out, HELD_OUT) if zlib.crc32(drawn.encode()) % HELD_OUT_EVERY == 0 else (learned, count)
        if len(kept) < most:
            kept.append(drawn)
    source = "written by training/data/sentences.py"
    return _text_set(f"{NAME}-v{VERSION}-{count}", learned, held_out, "Apache-2.0", source)


def stream(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Texts as one row of bytes (N,), a boundary before, between and after them."""
    return np.frombuffer(BOUNDARY + b"".join(text.encode() + BOUNDARY for text in texts), np.uint8)


def _text_set(name: str, texts: Sequence[str], held_out: Sequence[str], licence: str, source: str) -> TextSet:
    sha256 = hashlib.sha256(stream([*texts, *held_out]).tobytes()).hexdigest()
    return TextSet(name, tuple(texts), tuple(held_out), sha256, licence, source)


def _file_set(path: Path) -> TextSet:
    wish = f"give a UTF-8 file with one text per line or texts divided by blank lines, or '{NAME}' for the written ones"
    if not path.is_file():
        raise DataError(f"--data {path} {'is not a file' if path.exists() else 'does not exist'}; {wish}")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise DataError(
            f"{path} has {path.stat().st_size} bytes, over the limit of {MAX_FILE_BYTES}: give a part of it"
        )
    raw = path.read_bytes()
    if BOUNDARY in raw:
        line = raw[: raw.index(BOUNDARY)].count(b"\n") + 1
        raise DataError(f"{path} holds the byte 0 in line {line}, which no text may (it divides texts); {wish}")
    try:
        content = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise DataError(f"{path} is not UTF-8: byte 0x{error.object[error.start]:02x} in line {line}; {wish}") from None
    texts = _split(content)
    if len(texts) < 2:
        raise DataError(f"{path} holds {len(texts)} texts, wanted at least 2 (one to learn, one to measure); {wish}")
    every = min(HELD_OUT_EVERY, len(texts))
    kept = [text for at, text in enumerate(texts, 1) if at % every]
    return _text_set(f"{path.name}-{len(texts)}", kept, texts[every - 1 :: every], "unknown (user data)", path.name)


def _split(content: str) -> list[str]:
    lines = [line.rstrip() for line in re.split(r"\r\n|\r|\n", content)]
    blocks = re.split(r"\n{2,}", "\n".join(lines).strip("\n"))
    return [text for text in (blocks if len(blocks) > 1 else blocks[0].split("\n")) if text]


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
    for at, piece in enumerate(_SLOT.split(template)):  # text and slot in turn
        if at % 2 == 0:
            parts.append(re.escape(piece))
        elif strict and f"(?P<{piece}>" in "".join(parts):
            parts.append(f"(?P={piece})")
        else:
            values = "|".join(map(re.escape, SLOTS[piece]))
            parts.append(f"(?P<{piece}{'' if strict else seen}>{values})")
            seen += 1
    return re.compile("".join(parts))
