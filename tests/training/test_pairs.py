"""Pairs of worlds and files: no source is on both sides, unusable lines are named, files beyond repair are refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from pathlib import Path

import pytest

from training.data import DataError, Fields, Pair, PairSet, held_out, pair_files, pairs
from training.data.pairs import open_pairs

FIELDS = Fields("document", "summary")


def opened(path: Path, content: str | bytes, fields: Fields = FIELDS, most_bad: float = 0.01) -> PairSet:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_pairs(str(path), 0, fields, most_bad)


def jsonl(*lines: object) -> str:
    return "".join(f"{json.dumps(line)}\n" for line in lines)


def numbered(count: int, first: int = 0) -> list[object]:
    return [{"document": f"text {number}", "summary": f"sum {number}"} for number in range(first, first + count)]


def all_of(data: PairSet) -> set[Pair]:
    return {*data.pairs, *data.held_out}


@pytest.mark.parametrize("world", ["reports", "smalltalk"])
def test_a_world_holds_sources_out_whatever_its_size(world: str) -> None:
    small, large = open_pairs(world, 50, FIELDS), open_pairs(world, 6000, FIELDS)
    assert (len(small.pairs), len(large.pairs)) == (50, 6000)
    assert small.held_out == large.held_out
    assert len(set(small.held_out)) == held_out.HELD_OUT
    assert not {pair.source for pair in large.pairs} & {pair.source for pair in large.held_out}
    assert large.pairs[:50] == small.pairs
    assert (large.name, large.licence) == (f"{world}-v2-6000", "Apache-2.0")
    assert large.source == f"written by training/data/{world}.py"
    assert small.sha256 != large.sha256 == open_pairs(world, 6000, FIELDS).sha256
    assert large.skipped == ()


def test_the_digest_is_that_of_all_pairs_in_their_order() -> None:
    data = open_pairs("smalltalk", 3, FIELDS)
    lines = ["\0".join((*pair.source, pair.target)) + "\n" for pair in (*data.pairs, *data.held_out)]
    assert data.sha256 == hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("name", ["my.jsonl", "my.NDJSON", "my.v2.jsonl.gz"])
def test_json_lines_hold_documents_or_turns(tmp_path: Path, name: str) -> None:
    content = "\ufeff" + jsonl(
        {"document": "  Zw\u00f6lf\n\tBoxer\u00a0k\u00e4mpfen ", "summary": "Boxer.", "more": 1},
        {"document": ["Hello!", " Hello  there! ", "Bye!"], "summary": "Goodbye!"},
    ).replace("\n", "\r\n\r\n")
    data = opened(tmp_path / name, gzip.compress(content.encode()) if name.endswith(".gz") else content)
    assert all_of(data) == {
        Pair(("Zw\u00f6lf Boxer k\u00e4mpfen",), "Boxer."),
        Pair(("Hello!", "Hello there!", "Bye!"), "Goodbye!"),
    }
    assert (len(data.pairs), len(data.held_out)) == (1, 1)
    assert (data.name, data.source, data.licence) == (f"{name}-2", name, "unknown (user data)")


@pytest.mark.parametrize(("suffix", "mark"), [(".csv", ","), (".tsv", "\t"), (".csv.gz", ",")])
def test_tables_have_a_header_and_quoted_line_breaks(tmp_path: Path, suffix: str, mark: str) -> None:
    rows = [
        ["id", " summary ", "document"],
        ["1", "Caf\u00e9.", '"A\n""caf\u00e9""\r\nopens, soon"'],
        ["2", "B.", "b"],
        [],
    ]
    content = ("\ufeff" + "".join(mark.join(row) + "\r\n" for row in rows)).encode()
    data = opened(tmp_path / f"my{suffix}", gzip.compress(content) if suffix.endswith(".gz") else content)
    assert all_of(data) == {Pair(('A "caf\u00e9" opens, soon',), "Caf\u00e9."), Pair(("b",), "B.")}


def test_several_files_are_one_set(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(jsonl(*numbered(3)))
    (tmp_path / "b.csv").write_text("summary,document\nsum 2,text 2\nsum 3,text 3\n")
    data = open_pairs(f"{tmp_path / 'a.jsonl'}, {tmp_path / 'b.csv'}", 0, FIELDS)
    assert all_of(data) == {Pair((f"text {number}",), f"sum {number}") for number in range(4)}  # one is in both
    assert (data.name, data.source) == ("a.jsonl+b.csv-4", "a.jsonl, b.csv")


def test_pairs_of_one_source_are_on_one_side_and_a_pair_comes_once(tmp_path: Path) -> None:
    lines = [{"document": f"text {number % 70}", "summary": f"sum {number % 140}"} for number in range(420)]
    data = opened(tmp_path / "my.jsonl", jsonl(*lines))
    learned, measured = {pair.source for pair in data.pairs}, {pair.source for pair in data.held_out}
    assert not learned & measured
    assert len(all_of(data)) == len(data.pairs) + len(data.held_out) == 140
    assert (len(measured), len(data.held_out)) == (7, 14)  # a tenth of 140, and each source has 2
    assert data == opened(tmp_path / "my.jsonl", jsonl(*lines))
    assert list(data.pairs) == sorted(data.pairs, key=lambda pair: int(pair.target.split()[1]))  # as in the file


def test_what_is_held_out_is_bounded(tmp_path: Path) -> None:
    data = opened(tmp_path / "my.jsonl", jsonl(*numbered(25_000)))
    assert len(data.held_out) == pairs.MAX_HELD_OUT == 1000
    some = opened(tmp_path / "my.jsonl", jsonl({"document": "same", "summary": "one"}, *numbered(1)))
    assert (len(some.pairs), len(some.held_out)) == (1, 1)
    lines = [{"document": "much", "summary": str(number)} for number in range(30)]
    much = opened(tmp_path / "my.jsonl", jsonl(*lines, {"document": "little", "summary": "text"}))
    assert much.held_out == (Pair(("little",), "text"),)


BAD_LINES = [
    (b"{", "it is not JSON (Expecting property name enclosed in double quotes in column 2)"),
    (b"\xff", "it is not UTF-8: byte 0xff"),
    (b'{"document": "a\0", "summary": "b"}', "it holds the byte 0"),
    (b'{"document": "a\\u0000", "summary": "b"}', "the field 'document' holds the byte 0"),
    (b'{"document": "a", "summary": "\\ud800"}', "the field 'summary' holds half a character (a lone surrogate)"),
    (b"[1]", "it is a list, wanted an object"),
    (b"null", "it is null, wanted an object"),
    (b'{"document": "a"}', "there is no field 'summary'"),
    (b'{"document": "a", "summary": 3}', "the field 'summary' holds a number, wanted a text"),
    (b'{"document": "a", "summary": ["b"]}', "the field 'summary' holds a list, wanted a text"),
    (b'{"document": {}, "summary": "b"}', "the field 'document' holds an object, wanted a text"),
    (b'{"document": [], "summary": "b"}', "the list 'document' is empty"),
    (b'{"document": ["a", null], "summary": "b"}', "the field 'document' holds null, wanted a text"),
    (b'{"document": ["a", " "], "summary": "b"}', "the field 'document' is empty"),
    (b'{"document": " \\n", "summary": "b"}', "the field 'document' is empty"),
    (b"[" * 100_000, "its lists or objects are nested too deeply"),
    (b"9" * 5000, "it cannot be read (Exceeds the limit"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES, ids=[reason for _, reason in BAD_LINES])
def test_an_unusable_line_is_skipped_and_named(tmp_path: Path, line: bytes, reason: str) -> None:
    content = jsonl(*numbered(60)).encode() + b"\n" + line + b"\n" + jsonl(*numbered(60, 60)).encode()
    data = opened(tmp_path / "my.jsonl", content)
    assert len(all_of(data)) == 120
    (skipped,) = data.skipped
    assert skipped.startswith(f"my.jsonl:62: {reason}")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"a", "it has 1 cells, wanted 2 as in the first row"),
        (b"a,b,c", "it has 3 cells, wanted 2 as in the first row"),
        (b"a,\xe9", "it is not UTF-8: byte 0xe9"),
        (b"a,\0", "it holds the byte 0"),
        (b",b", "the field 'document' is empty"),
        (b'"a"b,c', "it is no row of a table (',' expected after '\"')"),
    ],
)
def test_an_unusable_row_is_skipped_and_named_by_its_first_line(tmp_path: Path, row: bytes, reason: str) -> None:
    rows = "".join(f'"text\n{number}",sum\n' for number in range(100)).encode()
    data = opened(tmp_path / "my.csv", b"document,summary\n" + rows + row + b"\nlast,sum\n")
    assert len(all_of(data)) == 101
    assert data.skipped == (f"my.csv:202: {reason}",)


def test_a_quote_that_is_never_closed_is_found(tmp_path: Path) -> None:
    rows = "".join(f"text {number},sum\n" for number in range(100))
    data = opened(tmp_path / "my.csv", f'document,summary\n{rows}"last,sum\n')
    assert data.skipped == ("my.csv:102: it is no row of a table (unexpected end of data)",)


def test_too_many_unusable_lines_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "my.jsonl"
    content = jsonl(*numbered(95), *range(5))
    message = (
        "5 of 100 lines of my.jsonl cannot be used, wanted at most 1.0%: my.jsonl:96: it is a number, wanted an object"
        "; my.jsonl:97: it is a number, wanted an object; my.jsonl:98: it is a number, wanted an object and 2 more; "
        "wanted a text in the field 'document' and one in 'summary' of every line: mend the lines"
    )
    with pytest.raises(DataError) as error:
        opened(path, content)
    assert str(error.value) == message
    assert len(opened(path, content, most_bad=0.05).skipped) == 5
    with pytest.raises(DataError, match=r"wanted at most 4\.9%"):
        opened(path, content, most_bad=0.049)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv"])
def test_the_fields_of_the_file_are_named_if_one_is_missing(tmp_path: Path, suffix: str) -> None:
    content = jsonl(*numbered(2)) if suffix == ".jsonl" else "document,summary\na,b\nc,d\n"
    with pytest.raises(DataError, match="2 of 2 lines of my") as error:
        opened(tmp_path / f"my{suffix}", content, Fields("document", "title"))
    assert "there is no field 'title'" in str(error.value)
    assert str(error.value).endswith("or name other fields (where one is missing there are 'document', 'summary')")


def test_not_all_of_very_many_fields_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'k10', 'k11' and 28 more\)$"):
        opened(tmp_path / "my.jsonl", jsonl({f"k{number}": "" for number in range(40)}))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "my.jsonl",
            None,
            r"--data .*my\.jsonl does not exist; give files of pairs \(\.jsonl, .* or 'reports' or 'smalltalk'",
        ),
        ("my.txt", b"", r"the suffix of .*my\.txt is \.txt; give files of pairs"),
        ("my", b"", "the suffix of .*my is missing; give files of pairs"),
        ("my.gz", b"", r"the suffix of .*my\.gz is \.gz; give files of pairs"),
        ("my.zip.gz", b"", r"the suffix of .*my\.zip\.gz is \.zip\.gz; give files of pairs"),
        ("my.jsonl", b"", r"my\.jsonl holds no pairs; give files of pairs"),
        ("my.jsonl", b"\n \r\n", "holds no pairs"),
        ("my.csv", b"document,summary\n", "holds no pairs"),
        ("my.jsonl.gz", b"no gzip", r"my\.jsonl\.gz is not a whole gzip file \(.*\): pack it again"),
        ("my.jsonl.gz", gzip.compress(b"a" * 10_000, mtime=0)[:-12], "is not a whole gzip file"),
        ("my.jsonl.gz", gzip.compress(b"a" * 10_000, mtime=0)[:-8] + b"12345678", "is not a whole gzip file"),
        (
            "my.jsonl",
            jsonl(*numbered(1)).encode() * 3,
            r"my\.jsonl holds pairs of 1 source, wanted at least 2 \(one to learn",
        ),
    ],
)
def test_files_that_cannot_be_learned_from_are_refused(
    tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_pairs(str(tmp_path / name), 0, FIELDS)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "the empty name holds no pairs; give files of pairs"),
        ("report", "--data report does not exist; give files of pairs"),
        ("here.jsonl", "--data here.jsonl is not a file; give files of pairs"),
    ],
)
def test_wrong_names_are_refused(workspace: Path, data: str, message: str) -> None:
    (workspace / "here.jsonl").mkdir()
    with pytest.raises(DataError, match=re.escape(message)):
        open_pairs(data, 0, FIELDS)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(pair_files.MAX_FILE_BYTES + 1)
    with pytest.raises(DataError, match="has 250000001 bytes, over the limit of 250000000: give a part of it"):
        open_pairs(str(tmp_path / "huge.csv"), 0, FIELDS)


def test_a_small_file_that_unpacks_to_a_huge_one_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pair_files, "MAX_FILE_BYTES", 1000)
    with pytest.raises(DataError, match="is larger unpacked, over the limit of 1000: give a part of it"):
        opened(tmp_path / "my.jsonl.gz", gzip.compress(jsonl(*numbered(100)).encode()))
