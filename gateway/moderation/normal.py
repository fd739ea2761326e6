"""A text as word lists see it: letters alone, alike ones made one, with the way back and the borders between words.

Unicode's compatibility forms are taken apart (NFKD), case is folded, accents and characters of no width go, what looks
like a Latin letter becomes it. What stands between letters is no part of the result; how much it parts them is kept.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from array import array
from functools import lru_cache

from gateway.moderation.lookalikes import DIGITS, LETTERS, SIGNS

NONE, SOFT, SPACE, END = 0, 1, 2, 3  # what parts two letters: nothing, a sign within a word, space, a sentence's end
_ENDS = frozenset(".!?;\u3002\uff01\uff1f\uff1b\u2026\n\r\u2028\u2029")  # of sentences, also of Chinese ones
_INVISIBLE = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
_NO_BORDERS = (  # scripts that are written without spaces between words, or whose words grow at their end
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul, taken apart
    (0x1780, 0x17FF),  # Khmer
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3040, 0x31FF),  # Kana, Bopomofo
    (0x3400, 0x4DBF),  # Han
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)
_SYLLABLES = ("\u1100", "\u11ff")  # Hangul, taken apart, and
_FINALS = ("\u11a8", "\u11ff")  # its consonants that belong to the syllable before them


@dataclasses.dataclass(frozen=True)
class Normal:
    """`letters[i]` came from character `origin[i]` of a text; `gaps[i]` parts it from the one before, and
    `gaps[len(letters)]` is what follows the last. `read[i]`: it was a digit or sign that is read as a letter."""

    letters: str
    origin: array[int]
    gaps: bytearray
    read: bytearray

    def begins(self, at: int) -> bool:
        """Whether a word may begin at letter `at`."""
        if self.gaps[at] or unspaced(self.letters[at]):
            return True
        return at > 0 and (bool(self.read[at - 1]) or self._digits_part(at))

    def ends(self, at: int) -> bool:
        """Whether a word may end before letter `at` (its last letter is `at` - 1)."""
        if self.gaps[at]:
            return True
        last = self.letters[at - 1]
        if at == len(self.letters):  # more of it will come
            return unspaced(last) and not _SYLLABLES[0] <= last <= _SYLLABLES[1]
        if unspaced(last):
            return not _FINALS[0] <= self.letters[at] <= _FINALS[1]
        return bool(self.read[at]) or self._digits_part(at)

    def _digits_part(self, at: int) -> bool:
        """Whether there is a digit on one side alone of the place before a letter: bomb2 is a bomb."""
        return self.letters[at].isdecimal() != self.letters[at - 1].isdecimal()

    def spaced(self) -> tuple[str, array[int]]:
        """Words with one space between them, as patterns see them, and the letter that each character is (or precedes).

        There is none between characters of scripts that are written without.
        """
        out, at = [], array("l")
        for i, letter in enumerate(self.letters):
            if i and self.gaps[i] >= SPACE and not (unspaced(letter) and unspaced(self.letters[i - 1])):
                out.append(" ")
                at.append(i)
            out.append(letter)
            at.append(i)
        return "".join(out), at


@lru_cache(1 << 12)
def unspaced(letter: str) -> bool:
    """Whether a letter's script has no spaces between words."""
    code = ord(letter)
    return code >= 0x0E00 and any(first <= code <= last for first, last in _NO_BORDERS)


def normal(text: str, begun: bool = False, open_end: bool = False) -> Normal:
    """The normal form of a text; `begun`: it goes on from an earlier piece; `open_end`: more of it will come."""
    letters: list[str] = []
    origin, gaps, read = array("l"), bytearray(), bytearray()
    gap = NONE if begun else END
    lettered = False  # whether there was a letter since the last space
    signs: list[int] = []  # digits and signs since then
    alone: list[int] = []  # those of runs without a letter
    for place, character in enumerate(text):
        kind, folded = _folded(character)
        if kind in (_LETTER, _AS_LETTER):
            if kind == _AS_LETTER:
                signs.append(len(letters))
            elif not folded.isdecimal():
                lettered = True
            for letter in folded:
                letters.append(letter)
                origin.append(place)
                gaps.append(gap)
                read.append(0)
                gap = NONE
        elif kind != _NOTHING:
            gap = max(gap, _between(kind, character, text, place))
            if gap >= SPACE:
                _read(letters, read, signs) if lettered else alone.extend(signs)
                signs, lettered = [], False
    _read(letters, read, signs) if lettered else alone.extend(signs)
    gaps.append(gap if open_end else END)
    _read(letters, read, [at for at in alone if _among_single(at, letters, gaps)])  # b 0 m b
    return _without_signs(Normal("".join(letters), origin, gaps, read))


def _read(letters: list[str], read: bytearray, signs: list[int]) -> None:
    """Read digits and signs as letters."""
    for at in signs:
        letters[at], read[at] = DIGITS.get(letters[at]) or SIGNS[letters[at]], 1


def _among_single(at: int, letters: list[str], gaps: bytearray) -> bool:
    """Whether what stands at a place stands by itself, beside a letter that does so, too."""

    def single(i: int) -> bool:
        return 0 <= i < len(letters) and bool(gaps[i]) and bool(gaps[i + 1])

    return single(at) and any(single(i) and letters[i].isalpha() for i in (at - 1, at + 1))


def _without_signs(found: Normal) -> Normal:
    """The same without signs that are not read as letters: they part what is beside them."""
    if not any(sign in found.letters for sign in SIGNS):
        return found
    letters, origin, gaps, read, gap = [], array("l"), bytearray(), bytearray(), NONE
    for i, letter in enumerate(found.letters):
        gap = max(gap, found.gaps[i])
        if letter in SIGNS:
            gap = max(gap, SOFT)
            continue
        letters.append(letter)
        origin.append(found.origin[i])
        gaps.append(gap)
        read.append(found.read[i])
        gap = NONE
    gaps.append(max(gap, found.gaps[-1]))
    return Normal("".join(letters), origin, gaps, read)


_NOTHING, _LETTER, _AS_LETTER, _SIGN, _SPACE, _END = range(6)


def _between(kind: int, character: str, text: str, place: int) -> int:
    """How much a character that is no letter parts what is beside it."""
    if kind == _END:
        if character == "." and not (place + 1 == len(text) or text[place + 1].isspace()):
            return SOFT
        return END
    return SPACE if kind == _SPACE else SOFT


@lru_cache(1 << 15)
def _folded(character: str) -> tuple[int, str]:
    """What sort of character it is, and the letters that it is read as."""
    apart = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", character).casefold())
    kept = "".join(LETTERS.get(one, one) for one in apart if one.isspace() or not _removed(one))
    if kept in DIGITS or kept in SIGNS:  # also in circles, of full width, in bold
        return _AS_LETTER, kept
    if word := "".join(one for one in kept if unicodedata.category(one)[0] in "LNM"):
        return _LETTER, word
    if character in _ENDS or any(one in _ENDS for one in kept):
        return _END, ""
    if any(one.isspace() for one in kept):
        return _SPACE, ""
    return (_SIGN if kept else _NOTHING), ""


def _removed(character: str) -> bool:
    """Whether nothing is read there: accents, characters of no width, controls, halves of surrogate pairs.

    Marks that are part of how a script writes its vowels (Indic, Thai) stay.
    """
    category = unicodedata.category(character)
    if category in ("Cf", "Cc", "Cs", "Co", "Cn", "Me") or character in _INVISIBLE:
        return True
    code = ord(character)
    if 0xFE00 <= code <= 0xFE0F or 0xE0100 <= code <= 0xE01EF:  # variants of the character before
        return True
    weight = unicodedata.combining(character)
    return weight == 1 or 10 <= weight <= 36 or weight >= 200
