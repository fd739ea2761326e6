"""Bodies: packed, in other charsets, and JSON that would cost more than it is worth. None is guessed at."""

from __future__ import annotations

import gzip
import json
import zlib
from types import SimpleNamespace
from typing import Any

import pytest

from handlers.proxy.requests import read_request
from handlers.refusals import Refusal
from handlers.strict_json import MAX_MARKS, check_json

LIMIT = 65_536
TEXT = '{"text": "jürgen sagt: ja €"}'


def read(body: bytes, content_type: str = "application/json", **headers: str) -> bytes:
    """The body as the engine gets it."""
    manifest = SimpleNamespace(name="m", limits=SimpleNamespace(max_request_bytes=LIMIT), example={"seed": 7})
    bundle: Any = SimpleNamespace(manifest=manifest)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return read_request(bundle, {"body": body}, {"content-type": content_type, **named}).body


def refused(body: bytes, content_type: str = "application/json", **headers: str) -> Refusal:
    with pytest.raises(Refusal) as caught:
        read(body, content_type, **headers)
    return caught.value


@pytest.mark.parametrize(
    ("content_type", "codec"),
    [
        ("application/json", "utf-8"),
        ("Application/JSON; charset=utf-8", "utf-8"),
        ('application/json;charset="UTF-8"', "utf-8"),
        ("application/json; profile=x; charset=utf8", "utf-8"),
        ("application/json; charset=iso-8859-1", "latin-1"),
        ("application/json; charset=latin1", "latin-1"),
        ("application/json; charset=utf-16", "utf-16"),
        ("application/json; charset=UTF-16LE", "utf-16-le"),
        ("application/json; charset=utf-16be", "utf-16-be"),
    ],
)
def test_a_declared_charset_is_honoured(content_type: str, codec: str) -> None:
    text = TEXT if codec != "latin-1" else TEXT.replace("€", "¤")
    assert read(text.encode(codec), content_type) == text.encode()


@pytest.mark.parametrize("charset", ["utf-32", "windows-1252", "utf-7", "x", "", "utf-8, latin-1"])
def test_another_charset_is_refused_by_name(charset: str) -> None:
    refusal = refused(b"{}", f"application/json; charset={charset}")
    assert (refusal.status, refusal.field) == (415, "Content-Type")
    wanted = (
        f'the charset is "{charset}"; known are utf-8, iso-8859-1, utf-16, utf-16le, utf-16be: JSON is sent in utf-8'
    )
    assert refusal.message == wanted


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (TEXT.encode("utf-16"), "the body is not valid JSON (byte 0 is no UTF-8); a body in UTF-16 or UTF-32 is sent"),
        (TEXT.encode("utf-16-le"), "the body is not valid JSON"),
        (b'{"seed": 7}'.decode().encode("utf-32-le"), "a body in UTF-16 or UTF-32 is sent again in UTF-8"),
        (b'{"seed": 7}'.decode().encode("utf-16-be"), "a body in UTF-16 or UTF-32 is sent again in UTF-8"),
        (b'\xef\xbb\xbf{"seed": 7}', "the body begins with a byte order mark, which is no JSON; send it without"),
        (b'{"seed": "\xed\xa0\x80"}', "the body is not valid JSON (byte 10 is no UTF-8)"),
        (b'{"text": "\xe9"}', "the body is not valid JSON (byte 10 is no UTF-8)"),
        (b'{"seed": 7}\0', "the body is not valid JSON (Extra data)"),
    ],
)
def test_an_encoding_is_never_guessed(body: bytes, message: str) -> None:
    refusal = refused(body)
    assert refusal.status == 400
    assert message in refusal.message


def test_what_grows_over_the_limit_in_utf_8_is_refused() -> None:
    body = b'{"text": "' + b"\xe9" * (LIMIT - 100) + b'"}'
    assert refused(body, "application/json; charset=latin-1").status == 413


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", " GZIP "])
def test_a_gzip_body_is_unpacked(encoding: str) -> None:
    assert read(gzip.compress(TEXT.encode()), content_encoding=encoding) == TEXT.encode()


def test_a_bomb_is_unpacked_up_to_the_limit_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    original = zlib.decompressobj

    class Watched:
        def __init__(self, bits: int) -> None:
            self._unpacker = original(bits)

        def decompress(self, data: bytes, most: int) -> bytes:
            found = self._unpacker.decompress(data, most)
            made.append(len(found))
            return found

    monkeypatch.setattr(zlib, "decompressobj", Watched)
    bomb = gzip.compress(b" " * 50_000_000)
    assert len(bomb) < LIMIT
    refusal = refused(bomb, content_encoding="gzip")
    assert (refusal.status, refusal.message) == (413, f"the body unpacks to more than the {LIMIT} bytes that m takes")
    assert made == [LIMIT + 1]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"seed": 7}', "Content-Encoding is gzip, the body is not"),
        (gzip.compress(b"{}", mtime=0)[:-3], "the body ends inside its gzip stream; send one whole stream"),
        (gzip.compress(b"{}", mtime=0) + b"x", "bytes follow the body's gzip stream; send one whole stream"),
        (gzip.compress(b"{}", mtime=0) * 2, "bytes follow the body's gzip stream"),
        (b"", "the body ends inside its gzip stream"),
        (gzip.compress(b"", mtime=0), "the body is empty; send at least {}"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), "the body is not valid JSON"),
    ],
)
def test_a_gzip_body_is_one_whole_stream_of_json(body: bytes, message: str) -> None:
    refusal = refused(body, content_encoding="gzip")
    assert refusal.status == 400
    assert message in refusal.message


@pytest.mark.parametrize("encoding", ["deflate", "zstd", "br", "gzip, gzip", "gzip, identity", "x"])
def test_another_encoding_is_refused_by_name(encoding: str) -> None:
    refusal = refused(b"{}", content_encoding=encoding)
    assert (refusal.status, refusal.field) == (415, "Content-Encoding")
    assert refusal.message == f'Content-Encoding is "{encoding}"; send the body as it is, or packed once with gzip'


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/json",
        "application/x-ndjson",
        "application/vnd.api+json",
        "application/json, text/plain",
        "multipart/x",
    ],
)
def test_another_type_is_refused_before_its_body_is_looked_at(content_type: str) -> None:
    refusal = refused(b"\xff" * (LIMIT + 1), content_type, content_encoding="zstd")
    assert (refusal.status, refusal.field) == (415, "Content-Type")
    assert "parameters are a JSON object sent as application/json" in refusal.message


@pytest.mark.parametrize("value", [b"{}", b"[]", b'{"":0}', b"1", b'""', b"[[[[]]]]"])
def test_more_values_than_are_read_are_refused_unread(value: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b"[" + (value + b",") * MAX_MARKS + b"1]"
    monkeypatch.setattr("handlers.strict_json._DECODER", None)  # nothing is made of it
    with pytest.raises(Refusal) as caught:
        check_json(body)
    assert caught.value.status == 400
    wanted = f"the body has more than {MAX_MARKS} values (counted by {{ [ : and , outside of strings)"
    assert caught.value.message == f"{wanted}, which is all that is read: send fewer, one request at a time"


def test_as_many_values_as_are_read_are_read() -> None:
    check_json(b"[" + b"0," * (MAX_MARKS - 1) + b"1]")


@pytest.mark.parametrize("text", ["{[:,", 'a "word", \\ {', "\\", "ä, ü: {}", '\\",'])
def test_marks_in_a_text_do_not_count(text: str) -> None:
    """A document may be a program or a table: a text costs by the byte, not by the comma."""
    check_json(json.dumps({"text": text * 40_000}).encode())
    check_json(json.dumps({text * 10_000: 1}, ensure_ascii=False).encode())


@pytest.mark.parametrize("body", [b'"a" ' * 4000, b'"' + b"," * 60_000, b'{"a": "' + b'\\",' * 20_000])
def test_what_is_no_json_is_found_out_at_once(body: bytes) -> None:
    with pytest.raises(Refusal, match="the body is not valid JSON"):
        check_json(body)


def test_a_field_named_twice_is_found_at_any_depth() -> None:
    with pytest.raises(Refusal, match="names a field twice"):
        check_json(b'{"messages": [{"role": "user", "content": {"a": 1, "a": 1}}]}')
