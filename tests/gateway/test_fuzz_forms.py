"""Forms that are made up: whole and broken ones, parts of every sort; each is taken or refused, and nothing stays."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.gateway.conftest import Gateway, Reply, eventually
from tests.gateway.media import Media, media

pytestmark = pytest.mark.fuzz

ROUTES = ("/v1/images/edits", "/v1/images/variations", "/api/generate/altered", "/api/jobs/altered")
REFUSED = {400, 404, 413, 415}


def file(kind: str, side: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (side, side), (9, 99, 199)).save(out, kind)
    return out.getvalue()


IMAGES = [file(kind, side) for kind in ("png", "jpeg", "webp") for side in (1, 16)]
WORDS = st.sampled_from(
    [
        "model",
        "image",
        "image[]",
        "mask",
        "prompt",
        "n",
        "size",
        "seed",
        "format",
        "quality",
        "stream",
        "",
        "x",
        "ä",
        'a"b',
    ]
)
VALUES = st.sampled_from(
    [b"altered", b"drawn", b"1", b"auto", b"null", b"true", b"{}", b"-1", b"1e999", b"\xff", b"", b"png"]
)
DATA = st.one_of(
    VALUES, st.binary(max_size=64), st.sampled_from(IMAGES), st.sampled_from(IMAGES).map(lambda one: one[:40])
)
LINES = st.sampled_from(
    [
        "",
        "Content-Type: image/png\r\n",
        "Content-Type: text/html; charset=utf-16\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Disposition: form-data\r\n",
        "X: " + "y" * 5000 + "\r\n",
        "no colon\r\n",
        ": no name\r\n",
    ]
)
PART = st.tuples(WORDS, st.sampled_from([None, "a.png", "../../a", "a\x00b", ""]), LINES, DATA)


def body(parts: list[Any], boundary: bytes) -> bytes:
    found = b""
    for name, filename, lines, data in parts:
        said = f'Content-Disposition: form-data; name="{name}"'
        if filename is not None:
            said += f'; filename="{filename}"'
        found += b"--" + boundary + b"\r\n" + said.encode() + b"\r\n" + lines.encode() + b"\r\n" + data + b"\r\n"
    return found + b"--" + boundary + b"--\r\n"


def damaged(whole: bytes, change: tuple[str, float, bytes]) -> bytes:
    """Cut, or with bytes put in, taken out or doubled at some place."""
    how, where, more = change
    at = int(where * len(whole))
    if how == "cut":
        return whole[:at]
    if how == "insert":
        return whole[:at] + more + whole[at:]
    if how == "remove":
        return whole[:at] + whole[at + 1 + len(more) :]
    return whole[:at] + whole if how == "double" else whole


CHANGE = st.tuples(
    st.sampled_from(["none", "none", "cut", "insert", "remove", "double"]),
    st.floats(0, 1),
    st.sampled_from([b"\r\n", b"--b--", b"\r\n--b\r\n", b"\0", b"\xff\xfe", b'"']),
)
TYPE = st.sampled_from(
    [
        "multipart/form-data; boundary=b",
        'multipart/form-data; boundary="b"; charset=utf-8',
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "b" * 300,
        "multipart/mixed; boundary=b",
        "Multipart/Form-Data; Boundary=b",
    ]
)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Media]:
    with media(tmp_path_factory.mktemp("forms")) as made:
        yield made


def sent(gateway: Gateway, route: str, form: bytes, kind: str) -> Reply:
    reply = gateway.post(route, body=form, headers={"Content-Type": kind})
    assert reply.status in {200, 202, *REFUSED}, reply.body[:500]
    if reply.status in REFUSED:
        error = json.loads(reply.body)["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
    return reply


def made_up(served: Media, examples: int) -> None:
    seen: set[int] = set()

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.sampled_from(ROUTES), st.lists(PART, max_size=8), CHANGE, TYPE)
    def ask(route: str, parts: list[Any], change: Any, kind: str) -> None:
        seen.add(sent(served.gateway, route, damaged(body(parts, b"b"), change), kind).status)

    @settings(max_examples=examples // 4, derandomize=True, database=None, deadline=None)
    @given(st.sampled_from(ROUTES[:3]), st.sampled_from(IMAGES), st.permutations(["model", "image", "seed"]))
    def right(route: str, image: bytes, order: list[str]) -> None:
        values = {"model": (None, b"altered"), "image": ("a.bin", image), "seed": (None, b"7")}
        if route.startswith("/api"):
            order = [name for name in order if name != "model"]
        form = body([(name, values[name][0], "", values[name][1]) for name in order], b"b")
        reply = sent(served.gateway, route, form, "multipart/form-data; boundary=b")
        assert reply.status == 200, reply.body

    ask()
    right()
    assert {400, 415} <= seen, "they are of too few sorts"
    state = served.gateway.state
    eventually(lambda: state.spool.files == 0 and state.spool.bytes == 0, 30, "uploads stay in the spool")

    def left() -> list[str]:
        return [path.name for path in state.spool.folder.iterdir() if path.is_file() and path.suffix != ".lock"]

    eventually(lambda: not left(), 30, "files stay in the spool's folder")


def test_forms_that_are_made_up(served: Media) -> None:
    made_up(served, 400)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_many_forms_that_are_made_up(served: Media) -> None:
    made_up(served, 5000)
