"""Files of word lists: plain ones named by their category, and TOML, which has patterns too. Read whole, or refused."""

from __future__ import annotations

import dataclasses
import hashlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.moderation.categories import CATEGORIES
from gateway.moderation.normal import SPACE, normal
from gateway.moderation.patterns import PatternError, compiled

TRIAL = Path(__file__).parent / "trial"  # a few words of each category, to try it with
MAX_FILES, MAX_BYTES, MAX_RULES = 256, 8 << 20, 200_000
MAX_WORD = 100  # letters
WANTED = "wanted CATEGORY.txt with a word a line, or FILE.toml with tables of words and patterns by category"


class ListError(Exception):
    """Error: word lists that cannot be read; the message names file and line."""


@dataclasses.dataclass(frozen=True)
class Word:
    """A word or phrase of a list: its letters in the normal form, and before which of them a new word begins."""

    rule: str
    category: str
    letters: str
    breaks: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Pattern:
    """A pattern of a list."""

    rule: str
    category: str
    expression: re.Pattern[str]


def read_folder(folder: Path) -> tuple[list[Word], list[Pattern]]:
    """All rules of a folder. Raises `ListError`."""
    try:
        if not folder.is_dir():
            raise ListError(f"word lists: {folder} is no folder; {WANTED}")
        files = sorted(path for path in folder.rglob("*") if path.suffix in (".txt", ".toml") and path.is_file())
        if len(files) > MAX_FILES or sum(path.stat().st_size for path in files) > MAX_BYTES:
            raise ListError(f"word lists: {folder} has over {MAX_FILES} files or {MAX_BYTES} bytes; make them fewer")
        words: dict[str, Word] = {}
        patterns: dict[str, Pattern] = {}
        for path in files:
            for category, place, kind, text in _entries(path, folder):
                rule = f"{category}#{hashlib.sha256(f'{kind} {text}'.encode()).hexdigest()[:8]}"
                if kind == "pattern":
                    patterns[rule] = _pattern(rule, category, place, text)
                else:
                    words[rule] = _word(rule, category, place, text)
    except OSError as error:
        raise ListError(f"word lists: {error.filename or folder} cannot be read: {error.strerror}") from None
    if not words and not patterns:
        raise ListError(f"word lists: {folder} holds no word and no pattern; {WANTED}")
    if len(words) + len(patterns) > MAX_RULES:
        raise ListError(f"word lists: {folder} has {len(words) + len(patterns)} rules, wanted at most {MAX_RULES}")
    return list(words.values()), list(patterns.values())


def _entries(path: Path, folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Category, place for messages, "word" or "pattern", and the text of each entry."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ListError(f"word lists: {path} is no UTF-8; save it as that") from None
    if path.suffix == ".toml":
        yield from _toml(path, text)
        return
    category = path.relative_to(folder).with_suffix("").as_posix()
    _known(category, str(path))
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield category, f"{path}, line {number}", "word", line.strip()


def _toml(path: Path, text: str) -> Iterator[tuple[str, str, str, str]]:
    try:
        tables: dict[str, Any] = tomllib.loads(text)
    except ValueError as error:
        raise ListError(f"word lists: {path} is no TOML: {error}") from None
    for category, table in tables.items():
        place = f"{path}, table {category!r}"
        _known(category, place)
        if not isinstance(table, dict) or not set(table) <= {"words", "patterns"}:
            raise ListError(f"word lists: {place}: wanted words and patterns, lists of texts, and nothing else")
        for name, values in table.items():
            if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
                raise ListError(f"word lists: {place}: {name} is no list of texts")
            for number, value in enumerate(values, 1):
                yield category, f"{place}, {name} {number}", name.removesuffix("s"), value


def _known(category: str, place: str) -> None:
    if category not in CATEGORIES:
        raise ListError(
            f"word lists: {place} names the category {category!r}, wanted one of {', '.join(CATEGORIES)} "
            "(of a plain list the path below the folder: harassment/threatening.txt)"
        )


def _word(rule: str, category: str, place: str, text: str) -> Word:
    found = normal(text)
    if not 1 <= len(found.letters) <= MAX_WORD:
        raise ListError(f"word lists: {place}: {text[:60]!r} has {len(found.letters)} letters, wanted 1 to {MAX_WORD}")
    breaks = tuple(i for i in range(1, len(found.letters)) if found.gaps[i] >= SPACE)
    return Word(rule, category, found.letters, breaks)


def _pattern(rule: str, category: str, place: str, text: str) -> Pattern:
    try:
        return Pattern(rule, category, compiled(text))
    except PatternError as error:
        raise ListError(f"word lists: {place}: {text[:60]!r}: {error}") from None
