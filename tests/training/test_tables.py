"""Rows of tables: a wrong quote or a long cell never turns good rows into wrong ones, and what is lost is counted."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import DataError, Fields, Pair, PairSet, tables
from training.data.pairs import open_pairs

# Cells with everything that a table gives a meaning to, and a letter that is no white space.
CELLS = st.text('ab"",;\n\r |', min_size=1, max_size=12).map(lambda text: f"x{text}" if text[0] != '"' else f"{text}x")
Rows = list[tuple[str, str]]
FIELDS = Fields("document", "summary")
ARTICLE = "A long line of an article, with commas.\n" * 3700  # 148 kB: csv itself stops at 131,072 characters


def opened(path: Path, content: str | bytes, most_bad: float = 0.01) -> PairSet:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_pairs(str(path), 0, FIELDS, most_bad)


def all_of(data: PairSet) -> set[Pair]:
    return {*data.pairs, *data.held_out}


def written(rows: list[tuple[str, str]], quoting: int = csv.QUOTE_MINIMAL) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, quoting=quoting).writerows([("document", "summary"), *rows])  # type: ignore[arg-type]
    return text.getvalue()


def numbered(count: int, first: int = 0) -> list[tuple[str, str]]:
    return [(f"text {number}", f"sum {number}") for number in range(first, first + count)]


def wanted(rows: list[tuple[str, str]]) -> set[Pair]:
    return {Pair((" ".join(document.split()),), summary) for document, summary in rows}


@pytest.mark.parametrize("quoting", [csv.QUOTE_ALL, csv.QUOTE_MINIMAL])
def test_a_long_document_costs_no_row(tmp_path: Path, quoting: int) -> None:
    rows = [*numbered(100), (ARTICLE, "long"), *numbered(1899, 100)]
    data = opened(tmp_path / "my.csv", written(rows, quoting))
    assert all_of(data) == wanted(rows)
    assert len(all_of(data)) == 2000
    assert (data.skipped, data.lost) == ((), 0)


def test_rows_behind_an_open_quote_are_counted_as_lost(tmp_path: Path) -> None:
    content = written([*numbered(100), ("X", "open"), *numbered(1899, 100)]).replace("X,", '"X,')
    with pytest.raises(DataError) as error:
        opened(tmp_path / "my.csv", content)
    assert str(error.value).startswith(
        "1900 of 2000 lines of my.csv cannot be used, wanted at most 1.0%: my.csv:102: it is no row of a table "
        "(unexpected end of data): 1,900 rows are lost; wanted a text in the field"
    )
    data = opened(tmp_path / "my.csv", content, most_bad=0.95)
    assert all_of(data) == wanted(numbered(100))
    assert data.lost == 1900


def test_rows_behind_an_open_quote_among_quoted_cells_are_lost(tmp_path: Path) -> None:
    """Every cell is quoted and holds a comma, as articles do: no line looks like a row."""
    rows = [(f"text, {number}", f"sum, {number}") for number in range(2000)]
    content = written(rows, csv.QUOTE_ALL).replace('"text, 100",', '"text, 100,')
    with pytest.raises(DataError, match=r"1900 of 2000 lines of my\.csv cannot be used"):
        opened(tmp_path / "my.csv", content)
    data = opened(tmp_path / "my.csv", content, most_bad=0.96)
    assert all_of(data) <= wanted(rows)


@pytest.mark.parametrize(
    "broken",
    [
        '"He said "hello" and\nthen, right\nleft",sum\n',
        '"He said "hello and\nthen, right\nleft",sum\n',
        '"a "b" c\nthis, that\nthese, those\nnow"x\n',
    ],
)
def test_the_inside_of_a_broken_cell_is_no_row(tmp_path: Path, broken: str) -> None:
    """Every line of it has one comma, as a row has: only its quotes say that it is none."""
    rows = [(f"text\n{number}", "sum") for number in range(300)]
    first, last = written(rows[:150]), written(rows[150:]).partition("\n")[2]
    data = opened(tmp_path / "my.csv", first + broken + last, most_bad=0.6)
    assert all_of(data) <= wanted(rows), "a piece of the broken cell became a pair"
    assert data.lost >= 3
    assert len(all_of(data)) + data.lost >= 300


def test_a_wrong_quote_in_one_row_costs_that_row(tmp_path: Path) -> None:
    rows = numbered(300)
    content = written(rows[:100]) + '"a"b,c\n' + written(rows[100:200]).partition("\n")[2] + '"d"e,f\n'
    content += written(rows[200:]).partition("\n")[2]
    data = opened(tmp_path / "my.csv", content)
    assert all_of(data) == wanted(rows)
    assert data.lost == len(data.skipped) == 2


def test_a_quote_that_swallows_rows_of_a_tsv_is_found(tmp_path: Path) -> None:
    """A text that begins with a quote, in a table that quotes nothing: the cell ends at a quote many rows later."""
    lines = [f"text {number}\tsum {number}" for number in range(200)]
    lines[50] = '"Hi, he said\tyes'
    lines[90] = 'the end"\tyes'
    content = "\n".join(["document\tsummary", *lines, ""])
    data = opened(tmp_path / "my.tsv", content)
    assert all_of(data) == wanted([tuple(line.split("\t")) for line in lines])  # type: ignore[misc]
    assert data.lost == 0
    data = opened(tmp_path / "my.tsv", f"{content}one cell\n", most_bad=0.5)  # not every line is a row: it may quote
    assert "a quote takes the rows behind it into one cell: 41 rows are lost" in " ".join(data.skipped)
    assert all_of(data) <= wanted([tuple(line.split("\t")) for line in lines])  # type: ignore[misc]


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=2, max_size=20, unique_by=lambda row: " ".join(row[0].split())),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
@settings(max_examples=150, deadline=None)
def test_what_csv_writes_is_read_whole(tmp_path_factory: pytest.TempPathFactory, rows: Rows, quoting: int) -> None:
    data = opened(tmp_path_factory.mktemp("csv") / "my.csv", written(rows, quoting))
    assert all_of(data) == {Pair((" ".join(row[0].split()),), " ".join(row[1].split())) for row in rows}
    assert (data.skipped, data.lost) == ((), 0)


@given(
    rows=st.lists(st.tuples(CELLS, CELLS), min_size=5, max_size=20),
    at=st.integers(0, 10_000),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
@settings(max_examples=300, deadline=None)
def test_a_quote_too_many_never_hides_a_loss(
    tmp_path_factory: pytest.TempPathFactory, rows: Rows, at: int, quoting: int
) -> None:
    """Wherever it stands: what is read and what is told to be lost are together no fewer rows than there were."""
    content = written(rows, quoting)
    begin = content.index("\n") + 1
    at = begin + at % (len(content) - begin)
    try:
        data = opened(tmp_path_factory.mktemp("csv") / "my.csv", content[:at] + '"' + content[at:], most_bad=1.0)
    except DataError:
        return  # nothing was left
    distinct = len({tuple(" ".join(cell.split()) for cell in row) for row in rows})
    assert len(all_of(data)) + data.lost >= distinct


def test_lines_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    blank = tables.MOST_BLANK + 500
    content = f'document,summary\n"a\n\n1",b\n{"," * 5}x\n' + "\r\n" * blank + '"c\nd",e\nonly one\n'
    data = opened(tmp_path / "my.csv", content, most_bad=0.6)
    assert [entry.split(": ")[0] for entry in data.skipped] == ["my.csv:5", f"my.csv:{8 + blank}"]
    assert all_of(data) == {Pair(("a 1",), "b"), Pair(("c d",), "e")}


def test_a_header_that_is_no_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"my\.csv has no header: its first row is no row of a table"):
        opened(tmp_path / "my.csv", '"document"x,summary\na,b\nc,d\n')
