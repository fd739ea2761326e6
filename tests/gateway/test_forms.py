"""Forms as they arrive: what a caller may write in one, whole, cut anywhere, and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from gateway.errors import ApiError
from gateway.forms import MAX_FIELD_BYTES, MAX_PARTS, FileLimits, Form, read_form
from gateway.spool import Kept, Spool
from tests.support.pictures import encoded, gradient, png_head

PNG, JPEG = encoded(gradient(40, 30)), encoded(gradient(20, 10), "JPEG")
LIMITS = FileLimits(("image", "image[]", "mask"), max_bytes=100_000, max_pixels=10_000)
BOUNDARY = "xyz"


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    assert [path for path in made.folder.iterdir() if path.suffix != ".lock"] == [], "a file was left"
    assert (made.bytes, made.files) == (0, 0)
    made.close()


def part(head: str, body: bytes, *more: str) -> bytes:
    lines = "\r\n".join([f"Content-Disposition: form-data; {head}", *more])
    return f"--{BOUNDARY}\r\n{lines}\r\n\r\n".encode() + body + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def file(name: str, body: bytes, filename: str = "a.png", content_type: str = "image/png") -> bytes:
    return part(f'name="{name}"; filename="{filename}"', body, f"Content-Type: {content_type}")


def request(body: bytes, size: int = 1 << 16, cut: bool = False, **headers: str) -> Request:
    given = {"content_type": f"multipart/form-data; boundary={BOUNDARY}", **headers}
    raw = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in given.items()]
    left = [body[at : at + size] for at in range(0, len(body), size)]

    async def receive() -> dict[str, Any]:
        if not left:
            return {"type": "http.disconnect"} if cut else {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.request", "body": left.pop(0), "more_body": cut or bool(left)}

    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw, "query_string": b""}, receive)


def read(spool: Spool, body: bytes, limits: FileLimits = LIMITS, **given: Any) -> tuple[Form, dict[str, list[bytes]]]:
    async def run() -> tuple[Form, dict[str, list[bytes]]]:
        with Kept(spool) as kept:
            found = await read_form(request(body, **given), kept, limits)
            there = {
                name: [(spool.folder / one.name).read_bytes() for one in files] for name, files in found.files.items()
            }
            return found, there

    return asyncio.run(run())


def refused(spool: Spool, body: bytes, **given: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        read(spool, body, **given)
    return caught.value


WHOLE = form(
    part('name="prompt"', "ein Hündchen\r\n--xy".encode()),
    file("image[]", PNG, "../../etc/passwd", "text/html"),
    part('name="n"', b"2"),
    file("image[]", JPEG, "b.png", "image/gif; charset=x"),
    file("mask", PNG),
    part('name="empty"', b""),
)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100, 1 << 16])
def test_fields_and_files_are_the_same_however_the_form_is_cut(spool: Spool, size: int) -> None:
    found, there = read(spool, WHOLE, size=size)
    assert found.fields == {"prompt": "ein Hündchen\r\n--xy", "n": "2", "empty": ""}
    assert there == {"image[]": [PNG, JPEG], "mask": [PNG]}
    first, second = found.files["image[]"]
    assert (first.sha256, first.bytes) == (hashlib.sha256(PNG).hexdigest(), len(PNG))
    # What the caller said of names and types is nowhere.
    assert [(one.content_type, one.width) for one in (first, second)] == [("image/png", 40), ("image/jpeg", 20)]


def test_a_file_in_a_field_for_files_needs_no_name(spool: Spool) -> None:
    assert read(spool, form(part('name="image"', PNG)))[1] == {"image": [PNG]}


def test_a_browsers_empty_choice_is_no_file_and_a_named_empty_file_is_refused(spool: Spool) -> None:
    body = form(file("image", b"", "", "application/octet-stream"), part('name="n"', b"1"))
    assert read(spool, body)[0] == Form({"n": "1"}, {})
    error = refused(spool, form(file("image", b"")))
    assert (error.status, error.param, error.message) == (400, "image", "image is empty; send a file")


def test_bytes_that_look_like_a_boundary_are_data(spool: Spool) -> None:
    tricky = PNG + b"\r\n--xy" + b"\r\n--xyw" + b"\r\n-\r\n--" + b"\r\n" * 500
    for size in (1, 4, 1000):
        assert read(spool, form(file("image", tricky)), size=size)[1] == {"image": [tricky]}


def test_a_polyglot_is_the_picture_that_it_begins_as(spool: Spool) -> None:
    both = PNG + b"<html><script>alert(1)</script>" + b"PK\x05\x06" + bytes(18)
    found, there = read(spool, form(file("image", both, "x.html", "text/html")))
    assert (found.files["image"][0].content_type, there["image"]) == ("image/png", [both])
    assert refused(spool, form(file("image", b"PK\x03\x04" + PNG))).status == 400


@pytest.mark.parametrize(
    ("body", "status", "param", "words"),
    [
        (form(file("image", b"<svg/>" * 100)), 400, "image", "no PNG, JPEG or WebP"),
        (form(file("mask", PNG + bytes(100_000))), 413, "mask", "mask has more than 100000 bytes"),
        (form(file("image", png_head(101, 100) + bytes(99))), 413, "image", "101 x 100 = 10100 pixels"),
        (form(file("prompt", PNG)), 400, "prompt", "prompt is a file; fields that take files: image, image[], mask"),
        (form(*[file("image[]", PNG)] * 5), 400, "image[]", "more than 4 files"),
        (form(part('name="n"', b"1"), part('name="n"', b"2")), 400, "n", "n is in the form twice"),
        (form(*[part(f'name="f{i}"', b"") for i in range(MAX_PARTS + 1)]), 400, None, f"more than {MAX_PARTS} parts"),
        (form(part('name="a"', b"x" * (MAX_FIELD_BYTES + 1))), 413, "a", "a is too long"),
        (form(*[part(f'name="f{i}"', b"x" * 100_000) for i in range(3)]), 413, "f2", "all fields together"),
        (form(part('name="a"', b"\xff\xfe")), 400, None, "a is no UTF-8"),
        (form(part('filename="x"', b"")), 400, None, "a part of the form has no name"),
        (form(part('name=""', b"")), 400, None, "has no name"),
        (form(part('name="a\x01b"', b"")), 400, None, "not printable"),
        (form(part(f'name="{"a" * 129}"', b"")), 400, None, "more than 128 bytes"),
        (form(part('name="a"', b"", "Content-Transfer-Encoding: base64")), 400, "a", "encoded in the form"),
        (form(part('name="a"', b"", "X: 1", "x: 2")), 400, None, "same header twice"),
        (form(part('name="a"', b"", *[f"X{i}: 1" for i in range(9)])), 400, None, "header count"),
        (form(part('name="a"', b"", f"X: {'y' * 5000}")), 400, None, "header size"),
        (form(part('name="a"', b"", "X y: 1")), 400, None, "no form as multipart"),
        (b"--other\r\n\r\n", 400, None, "no form as multipart"),
        (WHOLE[:-8], 400, None, "ends before its last boundary"),
        (b"", 400, None, "ends before its last boundary"),
        (b"{}", 400, None, "no form as multipart"),
    ],
)
def test_what_is_refused_says_what_and_leaves_nothing(
    spool: Spool, body: bytes, status: int, param: str | None, words: str
) -> None:
    for size in (1 << 16, 3):
        error = refused(spool, body, size=size)
        assert (error.status, error.param) == (status, param)
        assert words in error.message


@pytest.mark.parametrize(
    ("headers", "status", "words"),
    [
        ({"content_type": "application/json"}, 415, "Content-Type is application/json, wanted multipart/form-data"),
        ({"content_type": "application/x-www-form-urlencoded"}, 415, "wanted multipart/form-data"),
        ({"content_type": ""}, 415, "Content-Type is missing"),
        ({"content_type": "multipart/mixed; boundary=xyz"}, 415, "wanted multipart/form-data"),
        ({"content_type": "multipart/form-data"}, 400, "names no boundary"),
        ({"content_type": f"multipart/form-data; boundary={'x' * 71}"}, 400, "names no boundary"),
        ({"content_encoding": "gzip"}, 415, "without Content-Encoding"),
        ({"content_length": "999999999999"}, 413, "the form has more than"),
    ],
)
def test_what_the_head_says_is_refused_before_the_body_is_read(
    spool: Spool, headers: dict[str, str], status: int, words: str
) -> None:
    async def never() -> dict[str, Any]:
        raise AssertionError("the body was read")

    given: Any = headers
    asked = request(b"", **given)
    asked._receive = never

    async def run() -> None:
        with Kept(spool) as kept:
            await read_form(asked, kept, LIMITS)

    with pytest.raises(ApiError) as caught:
        asyncio.run(run())
    assert caught.value.status == status
    assert words in caught.value.message


@pytest.mark.parametrize("length", ["10", "-5", "1e9", "x"])
def test_a_length_that_lies_changes_nothing(spool: Spool, length: str) -> None:
    assert read(spool, form(file("image", PNG)), content_length=length)[1] == {"image": [PNG]}


def test_a_form_without_end_is_cut_off_at_its_bound(spool: Spool) -> None:
    """An epilogue may be of any length; fields and files are counted as they come, and so is the whole."""
    endless = WHOLE + bytes(LIMITS.max_form_bytes)
    error = refused(spool, endless)
    assert (error.status, error.message) == (
        413,
        f"the form has more than {LIMITS.max_form_bytes} bytes; a file has 100000 at most",
    )


def test_a_caller_who_leaves_inside_a_file_leaves_nothing(spool: Spool) -> None:
    with pytest.raises(ClientDisconnect):
        read(spool, WHOLE[:-100], cut=True)


def test_random_damage_is_read_or_refused_never_anything_else(spool: Spool) -> None:
    draw, outcomes = random.Random(11), set()
    for _ in range(400):
        body = bytearray(WHOLE)
        for _ in range(draw.randrange(1, 4)):
            at = draw.randrange(len(body))
            match draw.randrange(3):
                case 0:
                    body[at] = draw.randrange(256)
                case 1:
                    del body[at : at + draw.randrange(1, 200)]
                case _:
                    body[at:at] = draw.choice([b"\r\n", b"--xyz", b"\r\n--xyz\r\n", b"\0", b'"', b";", b":"])
        try:
            read(spool, bytes(body), size=draw.choice([1, 17, 1 << 16]))
            outcomes.add(200)
        except ApiError as error:
            outcomes.add(error.status)
    assert {200, 400} <= outcomes <= {200, 400, 413, 415}
