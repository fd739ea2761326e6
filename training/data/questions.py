"""Records from text files of questions and answers: `Q: ...` and `A: ...`, or a line each with a tab between them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from training.data import Unusable
from training.data.records import decoded

_MARK = re.compile(r"\s*(?:(q|question)|(a|answer))\s*[:.)]\s*(.*)", re.IGNORECASE)
_LOOKED_AT = 20  # lines that say what a file is

Fields = tuple[str, str]


def questions(raw: bytes, fields: Fields) -> Iterator[tuple[int, object]]:
    """A record of `fields` for each question and the answer below it; a text may go on over several lines."""
    asked: list[str] = []
    answered: list[str] = []
    begin, where = 1, asked
    for at, line in _lines(raw):
        if isinstance(line, Unusable):
            yield at, line
            continue
        mark = _MARK.fullmatch(line)
        if mark and mark[1]:
            yield from _record(begin, asked, answered, fields)
            asked, answered, begin = [mark[3]], [], at
            where = asked
        elif mark and asked:
            where = answered
            where.append(mark[3])
        elif line.strip():
            where.append(line)
    yield from _record(begin, asked, answered, fields)


def two_columns(raw: bytes, fields: Fields) -> Iterator[tuple[int, object]]:
    """A record of `fields` for each line: the text before its tab, and the one behind it; their header is none."""
    for at, line in _lines(raw):
        if isinstance(line, Unusable):
            yield at, line
        elif line.strip() and (parts := line.split("\t")) != list(fields):  # a header, if there is one
            wrong = Unusable(f"it has {len(parts)} texts with a tab between them, wanted 2")
            yield at, dict(zip(fields, parts, strict=True)) if len(parts) == 2 else wrong


Reader = Callable[[bytes, Fields], Iterator[tuple[int, object]]]


def kind(raw: bytes) -> Reader | None:
    """How a text is to be read: it begins with a marked question, or every line has a tab in its middle; else None."""
    lines = _first_lines(raw)
    if not lines:
        return None
    found = _MARK.fullmatch(lines[0])
    if found and found[1]:
        return questions
    return two_columns if all(len([p for p in line.split("\t") if p.strip()]) == 2 for line in lines) else None


def _record(at: int, asked: list[str], answered: list[str], fields: Fields) -> Iterator[tuple[int, object]]:
    if asked and answered:
        yield at, {fields[0]: "\n".join(asked), fields[1]: "\n".join(answered)}
    elif asked:
        yield at, Unusable("the question has no answer below it (a line that begins with 'A:')")


def _lines(raw: bytes) -> Iterator[tuple[int, str | Unusable]]:
    """The lines that are not empty, with their numbers."""
    # Bytes are divided, not the text: a line separator of Unicode ends no line.
    mark = b"\n" if b"\n" in raw else b"\r"
    at, before = 1, 0
    for match in re.finditer(rb"[^\r\n]+", raw):
        at, before = at + raw.count(mark, before, match.start()), match.start()
        try:
            yield at, decoded(match[0])
        except Unusable as error:
            yield at, error


def _first_lines(raw: bytes) -> list[str]:
    lines = raw[:65_536].decode(errors="replace").splitlines()
    return [line for line in lines if line.strip()][:_LOOKED_AT]
