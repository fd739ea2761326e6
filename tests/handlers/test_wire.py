"""The front end's bytes: TorchServe's own codec is the oracle, every cut is survived, nonsense is refused."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.proxy.wire import STREAM, Call, WireError, encode, parse
from tests.support.frontend import decode
from tests.support.helpers import END, message, sized

CALLS = [
    Call("4b7f", {"content-type": "application/json", "host": "localhost", "x-atelier-id": "ä"}, {"body": b'{"a": 1}'}),
    Call("", {}, {}),
    Call("id", {"host": ""}, {"body": b"", "data": bytes(range(256))}),
]


# Importing TorchServe leaves the file of its version open.
torchserve = pytest.mark.filterwarnings("ignore:unclosed file <_io.*ts/version.txt:ResourceWarning")


@torchserve
def test_requests_are_read_as_torchserve_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from ts.protocol.otf_message_handler import retrieve_msg

    monkeypatch.setenv("TS_DECODE_INPUT_REQUEST", "false")
    sent = message([*CALLS, Call("x", {"content-type": "text/plain"}, {"body": b"\xff\x00"})])
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(sent)
        command, requests = retrieve_msg(theirs)
    assert command == b"I"
    expected = [
        Call(
            bytes(request["requestId"]).decode(),
            {bytes(h["name"]).decode(): bytes(h["value"]).decode() for h in request["headers"]},
            {parameter["name"]: bytes(parameter["value"]) for parameter in request["parameters"]},
        )
        for request in requests
    ]
    assert parse(bytearray(sent)) == (expected, len(sent))
    assert len(expected) == 4


class Answered:
    """As much of TorchServe's context as its encoder uses."""

    stopping_criteria = None

    def __init__(self, status: int, phrase: str, content_type: str, headers: dict[str, str]) -> None:
        self._status, self._type, self._headers = (status, phrase), content_type, headers

    def get_response_headers(self, index: int) -> dict[str, str]:
        return self._headers

    def get_response_content_type(self, index: int) -> str:
        return self._type

    def get_response_status(self, index: int) -> tuple[int, str]:
        return self._status

    def set_response_header(self, index: int, name: str, value: str) -> None:
        self._headers[name] = value


@torchserve
@pytest.mark.parametrize(
    ("body", "status", "phrase", "content_type", "headers"),
    [
        (b"", 200, "", "", {}),
        (b"\x89PNG\x00\xff", 200, "", "image/png", {"X-Atelier-Receipt": "eyJ9"}),
        (b'{"code": 503}', 503, "Service Unavailable", "application/json", {"Retry-After": "2", "X": "ä"}),
    ],
)
def test_answers_are_written_as_torchserve_writes_them(
    body: bytes, status: int, phrase: str, content_type: str, headers: dict[str, str]
) -> None:
    from ts.protocol.otf_message_handler import create_predict_response

    def theirs(stream: bool) -> bytes:
        context: Any = Answered(status, phrase, content_type, dict(headers))
        return bytes(create_predict_response([body], {0: "call"}, "", 200, context, stream))

    assert encode("call", body, status, phrase, content_type, headers) == theirs(False)
    assert encode("call", body, status, phrase, content_type, headers, "true") == theirs(True)


def test_an_ending_frame_says_so() -> None:
    frame = encode("call", b"", stream="false")
    assert list(decode(frame)) == [("call", 200, "", {STREAM: "false"}, b"")]


def test_encoding_leaves_the_headers_it_was_given_alone() -> None:
    headers = {"X": "1"}
    assert encode("call", b"", headers=headers, stream="true") != encode("call", b"", headers=headers)
    assert headers == {"X": "1"}


def test_a_message_is_read_only_when_all_of_it_is_there() -> None:
    whole = message(CALLS)
    for cut in range(1, len(whole)):
        assert parse(bytearray(whole[:cut])) is None, cut
    assert parse(bytearray(whole)) == (CALLS, len(whole))
    assert parse(bytearray()) is None


def test_several_messages_in_one_buffer_are_read_one_after_another() -> None:
    data = bytearray(b"".join(message([call]) for call in CALLS) + message(CALLS[:1])[:-3])
    at, found = 0, []
    while (read := parse(data, at)) is not None:
        calls, at = read
        found += calls
    assert found == CALLS
    assert bytes(data[at:]) == message(CALLS[:1])[:-3]


def test_header_names_are_lower_case_and_values_are_kept() -> None:
    read = parse(bytearray(message([Call("a", {"X-Atelier-ID": "Mixed"}, {})])))
    assert read is not None
    assert read[0][0].headers == {"x-atelier-id": "Mixed"}


def test_http_requests_have_a_host() -> None:
    assert Call("a", {"host": "localhost"}, {}).is_http
    assert not Call("a", {"content-type": "application/json"}, {}).is_http


@pytest.mark.parametrize("command", [b"L", b"\x00", b"i"])
def test_another_command_is_refused(command: bytes) -> None:
    with pytest.raises(WireError) as caught:
        parse(bytearray(command + message(CALLS)[1:]))
    assert str(caught.value) == f"the front end sent command {command!r}, wanted b'I'"


@pytest.mark.parametrize(
    "data",
    [
        struct.pack("!i", -2),
        sized("id") + sized("name") + struct.pack("!i", -2),
        sized("id") + struct.pack("!i", -2),
        sized("id") + END + sized("body") + sized("type") + struct.pack("!i", -2),
        sized("id") + END + sized("body") + struct.pack("!i", -2),
    ],
    ids=["id", "header value", "header name", "value", "content type"],
)
def test_a_negative_length_is_refused(data: bytes) -> None:
    with pytest.raises(WireError) as caught:
        parse(bytearray(b"I" + data))
    assert str(caught.value) == "a length of -2 inside a message of the front end"


def test_the_end_of_a_list_inside_a_group_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        parse(bytearray(b"I" + sized("id") + sized("name") + END))
    assert str(caught.value) == "a length of -1 inside a message of the front end"


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = words.map(str.lower).filter(lambda word: word == word.lower())
some_calls = st.lists(
    st.builds(
        Call,
        words,
        st.dictionaries(names, words, max_size=4),
        st.dictionaries(words, st.binary(max_size=40), max_size=3),
    ),
    max_size=4,
)


@given(some_calls, st.data())
def test_any_message_is_read_as_it_was_written(calls: list[Call], data: st.DataObject) -> None:
    whole = message(calls)
    assert parse(bytearray(whole)) == (calls, len(whole))
    cut = data.draw(st.integers(0, len(whole) - 1))
    assert parse(bytearray(whole[:cut])) is None
    assert parse(bytearray(b"?" * cut + whole), cut) == (calls, cut + len(whole))


printable = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), max_size=12)


@given(
    words, st.binary(max_size=60), st.integers(100, 599), printable, st.dictionaries(printable, printable, max_size=3)
)
def test_any_answer_is_read_as_it_was_written(
    call: str, body: bytes, status: int, content_type: str, headers: dict[str, str]
) -> None:
    frame = encode(call, body, status, "Phrase", content_type, headers)
    assert list(decode(frame)) == [(call, status, content_type, headers, body)]
