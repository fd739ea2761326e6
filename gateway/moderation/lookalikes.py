"""Characters that are read as a Latin letter and have no decomposition that says so.

Sources: Unicode's confusables (UTS 39), its blocks of small capitals and of enclosed letters; digits and signs by use.
"""

# ruff: noqa: RUF001, RUF003  # what looks alike is what this file is about
from __future__ import annotations

# Small letters alone: case is folded before, so that lists in these scripts find words in either case.
_PAIRS = (
    ("аеорсухіѕјһԁԛԝвкмнтьӏүѵґ", "aeopcyxisjhdqwbkmhtbluvr"),  # Cyrillic; a capital Ве looks like a B
    ("αβεζηικμνορτυχγωϲ", "abeznikmvoptuxywc"),  # Greek
    ("օսոցհ", "oungh"),  # Armenian
    ("ıȷøđłħŧƀɓƃɗɖəɛɡɠɪɩʟɴʀʏƴƙɱɲɔ", "ijodlhtbbbddeeggiilnryykmno"),  # Latin: a stroke, a hook, no dot
    ("ᴀʙᴄᴅᴇꜰɢʜᴊᴋᴍᴏᴘꞯꜱᴛᴜᴠᴡᴢ", "abcdefghjkmopqstuvwz"),  # small capitals
)
# What is read as a letter only beside letters: `b0mb`, `a$$`. 1 and | are read as i; words with an l are sought as
# both (`Lists`).
DIGITS = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "6": "b", "7": "t", "8": "b", "9": "g"}
SIGNS = {"@": "a", "$": "s", "€": "e", "£": "l", "¥": "y", "|": "i", "¢": "c"}


def _enclosed() -> dict[str, str]:
    """Letters in squares and circles without a decomposition, and those of which flags are made."""
    starts = (0x1F150, 0x1F170, 0x1F1E6)
    return {chr(start + i): chr(ord("a") + i) for start in starts for i in range(26)}


LETTERS = {mark: letter for marks, letters in _PAIRS for mark, letter in zip(marks, letters, strict=True)}
LETTERS |= _enclosed()
