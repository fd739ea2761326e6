"""Pairs from files: JSON, tables with a header row, Parquet, or questions and answers; packed with gzip, in .zip files
and folders too.

JSON lines (.jsonl, .ndjson) and documents (.json): an object per pair; its source is a text or a list of texts, the
turns of a conversation. An object may also be a whole conversation (see `chats`), which gives a pair per answer.
Tables (.csv, .tsv, .tab): a text may hold line breaks if it stands in quotes (see `tables`). Text files (.txt): see
`questions`. Runs of white space become one space. A record that cannot be used is skipped and named.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

from training.data import DataError, Fields, Pair, Unusable, chats, decoding, questions, tables
from training.data.documents import Document, Wanted, documents
from training.data.records import READERS
from training.data.tables import DELIMITERS

MAX_FILE_BYTES = 250_000_000  # as it is and unpacked
SHOWN = 3  # unusable lines that a message quotes
SHOWN_FIELDS = 12  # and fields that it names
_WISH = (
    "give files of pairs (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, .txt with 'Q:' and 'A:', each also with .gz), "
    "folders or .zip files of them, divided by commas, or 'reports' or 'smalltalk' for the written ones"
)
_TYPES = {dict: "an object", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


@dataclasses.dataclass(frozen=True)
class Lines:
    """The contents of the lines of some files."""

    pairs: tuple[Pair, ...]
    skipped: tuple[str, ...]
    """of lines without a usable pair: `file:line: reason`"""
    lost: int
    """rows that were lost with them"""
    notes: tuple[str, ...]
    """lines about files that are not read"""
    by_conversation: bool = False
    """whether several pairs may be of one conversation, which begins with the first turn of their sources"""


def read(data: str, fields: Fields, most_bad: float, encoding: str | None = None) -> Lines:
    """The pairs of all files of `data` in their order.

    Raises `DataError` for a file that is missing, too large, damaged or of no known suffix, and if there is no pair or
    more than the share `most_bad` of all rows is lost.
    """
    opened = documents(data, Wanted((*READERS, *DELIMITERS, ".txt"), MAX_FILE_BYTES, _WISH, encoding=encoding))
    pairs: list[Pair] = []
    skipped: list[str] = []
    lost = 0
    names: dict[str, None] = {}  # of the fields where one was missing
    hints: dict[str, None] = {}  # of what the encoding is where a line is not UTF-8
    notes = list(opened.notes)
    by_conversation = False
    for file in opened.files:
        raw = file.content()
        if file.suffix == ".txt" and not file.given and not questions.kind(raw):
            notes.append(f"{file.name} is not read: it holds no questions and answers")
            continue
        for at, record in _records(file, raw, fields):
            try:
                found = _pairs(record, fields, names)
                by_conversation = by_conversation or chats.turns_of(record) is not None
                pairs += found
            except Unusable as error:
                more = f": {error.rows:,} rows are lost" if error.rows > 1 else ""
                skipped.append(f"{file.name}:{at}: {error}{more}")
                lost += error.rows
                if str(error).startswith("it is not UTF-8") and not hints:
                    hints[f"{file.name} is not UTF-8: {decoding.hint(raw)}"] = None
    total = len(pairs) + lost
    if pairs and lost <= most_bad * total:
        return Lines(tuple(pairs), tuple(skipped), lost, tuple(notes), by_conversation)
    if not total:
        raise DataError(f"{opened.where} holds no pairs; {_WISH}")
    more = f" and {len(skipped) - SHOWN} more" if len(skipped) > SHOWN else ""
    remedy = f"wanted a text in the field {fields.source!r} and one in {fields.target!r} of every line: mend the lines"
    if names:
        remedy += f" or name other fields (where one is missing there are {_listed(names)})"
    remedy = "; ".join([*hints, remedy])
    raise DataError(
        f"{lost} of {total} lines of {opened.where} cannot be used, wanted at most {most_bad:.1%}: "
        f"{'; '.join(skipped[:SHOWN])}{more}; {remedy}"
    )


def _records(file: Document, raw: bytes, fields: Fields) -> Iterator[tuple[int, object]]:
    """The place of every record, and what it holds, or why it cannot be read."""
    wanted = (fields.source, fields.target)
    if file.suffix in READERS:
        return READERS[file.suffix](raw, file.name)
    if file.suffix in DELIMITERS:
        _refuse_pair_as_header(tables.first_row(raw, file.suffix, wanted), wanted, file.name)
        return tables.rows(raw, file.suffix, wanted, file.name)
    kind = questions.kind(raw)
    if kind is not None:
        return kind(raw, wanted)
    raise DataError(
        f"the suffix of {file.name} is .txt; {_WISH}; a .txt holds questions and answers (lines that begin with "
        "'Q:' and 'A:') or a pair a line with a tab between its texts"
    )


def _refuse_pair_as_header(header: Sequence[str], wanted: tuple[str, str], name: str) -> None:
    """A table without a header would lose its first pair, and have its texts for names."""
    if len(header) == 2 and not set(wanted) & set(header) and all(len(cell.split()) > 2 for cell in header):
        raise DataError(
            f"the first row of {name} reads like a pair and not like names of columns ({header[0]!r}, {header[1]!r}): "
            f"put a row with {wanted[0]!r} and {wanted[1]!r} before it"
        )


def _pairs(record: object, fields: Fields, names: dict[str, None]) -> list[Pair]:
    if isinstance(record, Unusable):
        raise record
    mapping = record if isinstance(record, Mapping) else {}
    missing = [field for field in (fields.source, fields.target) if field not in mapping]
    turns = chats.turns_of(record) if missing else None
    if turns is not None:
        found = [
            Pair(tuple(_text(fields.source, turn) for turn in source), _text(fields.target, target))
            for source, target in chats.pairs(turns)
        ]
        if not found:
            raise Unusable("the conversation holds no turn of an assistant behind another one")
        return found
    if not isinstance(record, Mapping):
        raise Unusable(f"it is {_type(record)}, wanted an object")
    if missing:
        names.update(dict.fromkeys(str(name) for name in record))
        raise Unusable(f"there is no field {missing[0]!r}")
    source, target = record[fields.source], record[fields.target]
    turns = source if isinstance(source, list) else [source]
    if not turns:
        raise Unusable(f"the list {fields.source!r} is empty")
    return [Pair(tuple(_text(fields.source, turn) for turn in turns), _text(fields.target, target))]


def _text(field: str, value: object) -> str:
    if not isinstance(value, str):
        raise Unusable(f"the field {field!r} holds {_type(value)}, wanted a text")
    text = " ".join(value.split())
    if not text:
        raise Unusable(f"the field {field!r} is empty")
    if "\0" in text:
        raise Unusable(f"the field {field!r} holds the byte 0")
    if re.search(r"[\ud800-\udfff]", text):  # an escape in JSON can say it, UTF-8 cannot
        raise Unusable(f"the field {field!r} holds half a character (a lone surrogate)")
    return text


def _type(value: object) -> str:
    return _TYPES.get(type(value), "null")


def _listed(names: Mapping[str, None]) -> str:
    shown = ", ".join(repr(name) for name in list(names)[:SHOWN_FIELDS])
    return f"{shown} and {len(names) - SHOWN_FIELDS} more" if len(names) > SHOWN_FIELDS else shown
