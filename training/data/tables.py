"""Rows of tables (CSV, TSV): a header, then cells, which may hold line breaks if they stand in quotes.

A wrong quote may hide where rows begin. What cannot be told apart is lost, never guessed: a row is given only where it
is sure that it is one, and a loss is counted in rows.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Collection, Iterator

from training.data import DataError, Unusable
from training.data.records import decoded, refuse_twice

DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_OTHERS = (",", ";", "\t", "|")
_HEAD = 65_536  # bytes in which the header is looked for
_NAMES = "text|sentence|content|body|line|name|title|poem|quote|word|message|comment|review|tweet|caption|lyric"
_USUAL_HEADER = re.compile(rf"(\w*[_ -])?({_NAMES})s?", re.IGNORECASE)
_BREAKS = ("\n", "\r\n", "\r")
MOST_BLANK = 1000  # empty lines in a row that are looked at: a file may hold nothing else
_QUOTED = re.compile(rb'"[^"]*(?:""[^"]*)*"')
_SEP = re.compile(r"sep=(.)\s*")  # the first line of a table for Excel

Row = tuple[int, object]


@dataclasses.dataclass(frozen=True)
class _Layout:
    """How a table is divided."""

    delimiter: str
    first: int
    """lines before the header"""


class _Source:
    """The lines of a table, and those that were taken since the last row."""

    def __init__(self, raw: bytes) -> None:
        # Bytes that are not UTF-8 become surrogates at first, so that they cost one row and not the file.
        self._text = io.TextIOWrapper(io.BytesIO(raw), "utf-8", errors="surrogateescape", newline="")
        self.taken: list[str] = []
        self.begin = 1  # the number of the first line that was taken
        self._count = self._blank = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self._count += 1
        while line in _BREAKS and self._blank >= MOST_BLANK:
            line = next(self._text)
            self._count += 1
        self._blank = self._blank + 1 if line in _BREAKS else 0
        if not self.taken:
            self.begin = self._count
        self.taken.append(line)
        return line

    @property
    def quotes(self) -> int:
        """Quotes in the lines that were taken."""
        return sum(line.count('"') for line in self.taken)

    def balance(self) -> None:
        """Take lines until every quote that was opened is closed."""
        odd = self.quotes % 2
        while odd and (line := next(self, None)) is not None:
            odd ^= line.count('"') % 2


def rows(raw: bytes, suffix: str, wanted: Collection[str], name: str) -> Iterator[Row]:
    """The number of the first line of every row below the header, and its cells by column, or why it has none.

    The delimiter is the one that gives the columns `wanted`, else that of the suffix, else what divides most.
    Raises `DataError` for a header with two columns of one name.
    """
    if not raw.strip():
        return
    csv.field_size_limit(max(csv.field_size_limit(), len(raw)))  # a cell may be as long as the file
    layout = _layout(raw[:_HEAD], DELIMITERS.get(suffix, ","), wanted)
    source = _Source(raw)
    reader = _reader(source, layout, raw)
    header: list[str] | None = None
    # After an error nobody knows whether the next line begins a row, or is the inside of a cell. What comes then is
    # held back until a quoted cell shows that rows begin where lines do; a quote in the middle of a cell shows that
    # they do not, and everything since the error is lost.
    form = _row_form(layout.delimiter)
    doubtful: list[Row] | None = None
    while True:
        source.taken.clear()
        try:
            row = next(reader)
        except StopIteration:
            break
        except csv.Error as error:
            if header is None:
                raise DataError(f"{name} has no header: its first row is no row of a table ({error})") from None
            source.balance()
            lost = max(1, sum(not line.isspace() for line in source.taken))
            yield source.begin, Unusable(f"it is no row of a table ({error})", lost)
            doubtful = doubtful or []
            continue
        if not any(cell.strip() for cell in row):
            continue
        if header is None:
            header = [cell.strip() for cell in row]
            refuse_twice(header, name)
            continue
        found = source.begin, _record(header, row, source.taken, layout.delimiter)
        if doubtful is None:
            yield found
        elif not form.fullmatch("".join(source.taken).rstrip("\r\n")):
            yield source.begin, Unusable("it is the end of a row that does not begin as one", len(doubtful) + 1)
            doubtful = []
        else:
            doubtful.append(found)
            if '"' in "".join(source.taken) and not isinstance(found[1], Unusable):
                yield from doubtful
                doubtful = None
    yield from doubtful or ()


def first_row(raw: bytes, suffix: str, wanted: Collection[str]) -> list[str]:
    """The cells of the header."""
    layout = _layout(raw[:_HEAD], DELIMITERS.get(suffix, ","), wanted)
    return next(iter(_header(raw[:_HEAD].decode(errors="replace"), layout.delimiter, layout.first)), [])


def _reader(source: _Source, layout: _Layout, raw: bytes) -> Iterator[list[str]]:
    for _ in range(layout.first):
        next(source)
    if layout.delimiter == "\t" and _quotes_nothing(raw):
        return csv.reader(source, delimiter="\t", strict=True, quoting=csv.QUOTE_NONE)
    return csv.reader(source, delimiter=layout.delimiter, strict=True)


def _row_form(delimiter: str) -> re.Pattern[str]:
    """A row whose cells are quoted as a whole or hold no quote."""
    cell = rf'(?:"[^"]*(?:""[^"]*)*"|[^"{re.escape(delimiter)}]*)'
    return re.compile(rf"{cell}(?:{re.escape(delimiter)}{cell})*")


def _layout(head: bytes, usual: str, wanted: Collection[str]) -> _Layout:
    text = head.decode(errors="replace")
    told = _SEP.fullmatch(text.partition("\n")[0])
    if told:
        return _Layout(told[1], 1)
    headers = {mark: _header(text, mark, 0) for mark in dict.fromkeys((usual, *_OTHERS))}
    cells = {mark: header[0] if header else [] for mark, header in headers.items()}
    fit = [mark for mark, header in cells.items() if set(wanted) <= set(header)]
    if fit or len(cells[usual]) > 1:
        return _Layout(fit[0] if fit else usual, 0)
    return _Layout(max(cells, key=lambda mark: len(cells[mark])), 0)


def _quotes_nothing(raw: bytes) -> bool:
    """Whether in a table with tabs every line is a row, and some cell begins with a quote but does not end so."""
    tabs: int | None = None
    found = False
    for line in io.BytesIO(raw):
        if line.isspace():
            continue
        count = line.count(b"\t")
        if count != (tabs := count if tabs is None else tabs):
            return False
        if not found and b'"' in line:
            cells = line.rstrip(b"\r\n").split(b"\t")
            found = any(cell.startswith(b'"') and not _QUOTED.fullmatch(cell) for cell in cells)
    return found


def _header(text: str, mark: str, first: int) -> list[list[str]]:
    lines = io.StringIO(text, newline="")
    for _ in range(first):
        next(lines, None)
    try:
        row = next(([*row] for row in csv.reader(lines, delimiter=mark) if any(cell.strip() for cell in row)), None)
    except csv.Error:
        row = None
    return [] if row is None else [[cell.strip() for cell in row]]


def _record(header: list[str], row: list[str], lines: list[str], delimiter: str) -> object:
    try:
        for cell in row:
            decoded(cell.encode(errors="surrogateescape"))
    except Unusable as error:
        return error
    several = len(lines) > 1
    if len(row) != len(header) or (several and delimiter == "\t" and any("\t" in cell for cell in row)):
        # A quote that opens a cell by mistake takes the rows behind it into that cell.
        lost = sum(line.count(delimiter) >= len(header) - 1 for line in lines) if several else 1
        if len(row) != len(header):
            return Unusable(f"it has {len(row)} cells, wanted {len(header)} as in the first row", max(1, lost))
        return Unusable("a quote takes the rows behind it into one cell", max(1, lost))
    return dict(zip(header, row, strict=True))


def one_column(raw: bytes, suffix: str, name: str, columns: Collection[str]) -> Iterator[Row]:
    """The cells of the one column of a table, or of the one that is called like one of `columns`.

    The first row is a header only if it reads like one. Raises `DataError` for several columns of other names.
    """
    named = [column for column in columns if column in first_row(raw, suffix, (column,))][:1]
    header = first_row(raw, suffix, named)
    chosen = named or header
    if len(chosen) != 1:
        raise DataError(
            f"{name} has the columns {', '.join(map(repr, header))}; wanted one column, or one called "
            f"{' or '.join(map(repr, columns))}: keep that one alone"
        )
    if len(header) == 1 and not _USUAL_HEADER.fullmatch(header[0]):
        yield 1, header[0]
    for at, row in rows(raw, suffix, named, name):
        yield at, row[chosen[0]] if isinstance(row, dict) else row
