"""Texts of people: folders, archives, other encodings, books, tables of one column, and files without a line break."""

from __future__ import annotations

import gzip
import json
import zipfile
from pathlib import Path

import pytest

from training.data import DataError, TextSet
from training.data.texts import LONG, PIECE, open_texts


def opened(path: Path, content: bytes, encoding: str | None = None) -> TextSet:
    path.write_bytes(content)
    return open_texts(str(path), 0, encoding)


def all_of(data: TextSet) -> list[str]:
    return sorted([*data.texts, *data.held_out])


def test_a_folder_and_an_archive_of_texts_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "poems"
    (folder / "deep").mkdir(parents=True)
    contents = {
        "a.txt": b"one\ntwo\n",
        "deep/b.md": b"a poem\nof two lines\n\nanother\n",
        "deep/c.txt.gz": gzip.compress(b"three\n"),
        ".hidden.txt": b"hidden\n",
        "cover.jpg": b"\xff\xd8",
        "book.epub": b"PK",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    wanted = ["a poem\nof two lines", "another", "one", "three", "two"]
    data = open_texts(str(folder), 0)
    assert all_of(data) == wanted
    assert (data.name, data.source) == ("poems-5", "poems")
    assert data.notes == (
        "poems: left out 1 hidden file such as .hidden.txt",
        "poems: not read: 1 file of .epub (save them as text), 1 file of .jpg",
    )
    with zipfile.ZipFile(tmp_path / "poems.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    assert open_texts(str(tmp_path / "poems.zip"), 0).sha256 == data.sha256
    several = open_texts(f"{folder / 'a.txt'},{folder / 'deep'}", 0)
    assert (all_of(several), several.name) == (wanted, "a.txt+deep-5")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_a_mark_says_the_encoding(tmp_path: Path, encoding: str) -> None:
    assert all_of(opened(tmp_path / "my.txt", "caf\u00e9\r\nzw\u00f6lf\r\n".encode(encoding))) == [
        "caf\u00e9",
        "zw\u00f6lf",
    ]


def test_an_encoding_is_named_and_taken(tmp_path: Path) -> None:
    content = "un caf\u00e9 noir\nil \u00e9tait une fois\n".encode("cp1252")
    message = r"my\.txt is not UTF-8: byte 0xe9 in line 1; it looks like Windows-1252; pass --encoding cp1252"
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "my.txt", content)
    assert all_of(opened(tmp_path / "my.txt", content, "cp1252")) == ["il \u00e9tait une fois", "un caf\u00e9 noir"]


def test_pages_of_a_book_are_lines(tmp_path: Path) -> None:
    book = b"CHAPTER I\r\n\r\nIt was late.\r\nVery late.\r\n\x0c\r\nCHAPTER II\r\n\r\n\x0cIt was early.\r\n"
    assert all_of(opened(tmp_path / "book.txt", book)) == [
        "CHAPTER I",
        "CHAPTER II",
        "It was early.",
        "It was late.\nVery late.",
    ]


def test_a_file_without_line_breaks_is_cut_and_that_is_said(tmp_path: Path) -> None:
    words = " ".join(f"word{number}" for number in range(500_000))  # 5 MB
    data = opened(tmp_path / "my.txt", words.encode())
    pieces = [*data.texts, *data.held_out]
    assert max(map(len, pieces)) <= PIECE
    assert sorted(" ".join(pieces).split()) == sorted(words.split())
    (note,) = data.notes
    assert note.startswith(f"my.txt is one text of {len(words):,} bytes without a line break: cut at white space into")
    unbroken = opened(tmp_path / "my.txt", "\u4f60".encode() * LONG)
    assert "".join([*unbroken.texts, *unbroken.held_out]) == "\u4f60" * LONG


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("my.csv", 'text\n"one, 1"\ntwo\n', ["one, 1", "two"]),
        ("my.csv", '"one, 1"\n"two, 2"\n', ["one, 1", "two, 2"]),
        ("my.csv", "id;text\n1;one\n2;two\n", ["one", "two"]),
        ("my.jsonl", '{"text": "one\\r\\nline"}\n{"text": "two"}\n', ["one\nline", "two"]),
        ("my.json", '["one", "two"]', ["one", "two"]),
        ("corpus", "one\ntwo", ["one", "two"]),
        (
            "code.py",
            "def a():\n    return 1\n\ndef b():\n    return 2\n",
            ["def a():\n    return 1", "def b():\n    return 2"],
        ),
    ],
)
def test_texts_of_tables_and_json_are_read(tmp_path: Path, name: str, content: str, wanted: list[str]) -> None:
    assert all_of(opened(tmp_path / name, content.encode())) == wanted


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "my.csv",
            "id,title\n1,one\n2,two\n",
            r"has the columns 'id', 'title'; wanted one column, or one called 'text'",
        ),
        ("my.jsonl", '{"title": "one"}\n', r"my\.jsonl:1 holds no text \(wanted one in the field 'text'\)"),
        ("my.jsonl", '{"text": "one"}\n{"text": \n', r"my\.jsonl:2 holds no text \(it is not JSON"),
    ],
)
def test_records_without_a_text_are_refused(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(tmp_path / name, content.encode())


def test_a_damaged_archive_of_texts_is_refused_with_the_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "my.zip", "w") as archive:
        archive.writestr("a.txt", "one\ntwo\n" * 50)
    raw = bytearray((tmp_path / "my.zip").read_bytes())
    raw[60] ^= 1
    with pytest.raises(DataError, match=r"my\.zip/a\.txt cannot be read: Bad CRC-32"):
        opened(tmp_path / "my.zip", bytes(raw))


def test_texts_as_json_are_the_same_as_lines(tmp_path: Path) -> None:
    texts = [f"text {number}" for number in range(40)]
    lines = opened(tmp_path / "my.txt", "\n".join(texts).encode())
    assert (
        opened(tmp_path / "my.jsonl", "\n".join(json.dumps({"text": t}) for t in texts).encode()).sha256 == lines.sha256
    )
