"""Words and patterns in texts: all words at once (Aho and Corasick), and whole ones where a script parts them."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ahocorasick  # type: ignore[import-not-found]

from gateway.moderation.files import Pattern, Word, read_folder
from gateway.moderation.normal import END, NONE, SPACE, Normal, normal, unspaced
from gateway.moderation.patterns import MAX_WIDTH, first_match

MAX_EITHER = 3  # letters l of a word that are sought as an i, too, each by itself; of more, all or none
WINDOW = 2 * MAX_WIDTH  # characters before a piece of a stream that are looked at again with it, at most


@dataclasses.dataclass(frozen=True)
class Hit:
    """A rule that a text meets, and where: characters `start` to `end` (not included) of the text as it came."""

    category: str
    rule: str
    start: int
    end: int


class Lists:
    """The rules of a folder. Safe to be asked by several threads at once."""

    def __init__(self, words: Sequence[Word], patterns: Sequence[Pattern]) -> None:
        self.size = len(words) + len(patterns)
        self._patterns = tuple(patterns)
        longest = max((len(word.letters) for word in words), default=0)
        self.window = WINDOW if patterns else min(WINDOW, 4 * longest)  # characters, of words that are spelled out
        by_letters: dict[str, list[Word]] = {}
        for word in words:
            for letters in _spellings(word.letters):
                by_letters.setdefault(letters, []).append(word)
        self._words: Any = ahocorasick.Automaton()
        for letters, some in by_letters.items():
            self._words.add_word(letters, tuple(some))
        self._any = bool(by_letters)
        self._words.make_automaton()

    @classmethod
    def read(cls, folder: Path) -> Lists:
        """Those of a folder. Raises `ListError`. Takes a second for 100,000 words: in a thread."""
        return cls(*read_folder(folder))

    def hits(self, text: str, begun: bool = False, open_end: bool = False) -> list[Hit]:
        """The first hit of each rule. `begun`, `open_end`: the text goes on from another, and another from it."""
        return self.hits_in(normal(text, begun, open_end))

    def hits_in(self, form: Normal) -> list[Hit]:
        """The same of a text in its normal form."""
        found: dict[str, Hit] = {}
        if self._any and form.letters:
            for last, words in self._words.iter(form.letters):
                for word in words:
                    first = last + 1 - len(word.letters)
                    if word.rule not in found and _stands(form, word, first, last + 1):
                        found[word.rule] = _hit(word, form, first, last)
        if self._patterns and form.letters:
            spaced, at = form.spaced()
            for pattern in self._patterns:
                match = first_match(pattern.expression, spaced)
                if match and (form.gaps[-1] or match.end() < len(spaced)):  # more may end it otherwise
                    found[pattern.rule] = _hit(pattern, form, at[match.start()], at[match.end() - 1])
        return list(found.values())


def _hit(rule: Word | Pattern, form: Normal, first: int, last: int) -> Hit:
    return Hit(rule.category, rule.rule, form.origin[first], form.origin[last] + 1)


def _stands(form: Normal, word: Word, first: int, end: int) -> bool:
    """Whether letters that spell a word are one: not a part of another, nor pieces of several."""
    if not (form.begins(first) and form.ends(end)):
        return False
    if any(not form.gaps[first + at] and not unspaced(form.letters[first + at]) for at in word.breaks):
        return False
    for i in range(first + 1, end):
        gap = form.gaps[i]
        if gap < SPACE or i - first in word.breaks:
            continue
        spelled = _alone(form, i - 1) and _alone(form, i)  # b o m b
        together = gap < END and unspaced(form.letters[i]) and unspaced(form.letters[i - 1])
        if not spelled and not together:
            return False
    return True


def _alone(form: Normal, i: int) -> bool:
    """Whether a letter has nothing beside it."""
    return form.gaps[i] != NONE and form.gaps[i + 1] != NONE


def _spellings(letters: str) -> set[str]:
    """A word, and with every l that may be an i, since 1 and | are read as that."""
    places = [i for i, letter in enumerate(letters) if letter == "l"]
    if len(places) > MAX_EITHER:
        return {letters, letters.replace("l", "i")}
    found = set()
    for chosen in itertools.product("li", repeat=len(places)):
        spelled = list(letters)
        for place, letter in zip(places, chosen, strict=True):
            spelled[place] = letter
        found.add("".join(spelled))
    return found
