"""The front end's bytes: TorchServe's own codec is the oracle, every cut is survived, nonsense is refused."""

from __future__ import annotations

import socket
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.proxy.wire import MAX_STRING_BYTES, MAX_VALUES, STREAM, Call, Reader, WireError, encode
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
    assert Reader().feed(sent) == expected
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


def test_a_call_is_read_only_when_all_of_it_is_there() -> None:
    whole = message(CALLS[2:])
    for cut in range(1, len(whole)):
        reader = Reader()
        assert reader.feed(whole[:cut]) == ([] if cut < len(whole) - len(END) else CALLS[2:]), cut
    assert Reader().feed(whole) == CALLS[2:]
    assert Reader().feed(b"") == []


def test_several_messages_in_one_buffer_are_read_one_after_another() -> None:
    last = message(CALLS[:1])
    reader = Reader()
    assert reader.feed(b"".join(message([call]) for call in CALLS) + last[:-9]) == CALLS
    assert reader.held == len(last) - 9 - 1  # the beginning of the message is behind it
    assert reader.feed(last[-9:]) == CALLS[:1]
    assert reader.held == 0


def test_header_names_are_lower_case_and_values_are_kept() -> None:
    (call,) = Reader().feed(message([Call("a", {"X-Atelier-ID": "Mixed"}, {})]))
    assert call.headers == {"x-atelier-id": "Mixed"}


def test_a_header_that_comes_twice_has_both_values() -> None:
    """The front end keeps names that differ in case: of two values none may win unseen."""
    (call,) = Reader().feed(message([Call("a", {"X-Atelier": "ping", "x-atelier": "drain"}, {})]))
    assert call.headers == {"x-atelier": "ping, drain"}


def test_bytes_that_are_no_text_end_nothing() -> None:
    data = b"I" + sized("id") + sized(b"x-\xff") + sized(b"\xed\xa0\x80") + END
    (call,) = Reader().feed(data + sized(b"\xff") + sized("") + sized("1") + END + END)
    assert call.headers == {"x-\ufffd": "\ufffd" * 3}
    assert call.values == {"\ufffd": b"1"}


def test_whatever_has_a_header_but_the_front_ends_own_is_http() -> None:
    assert Call("a", {"host": "localhost"}, {}).is_http
    assert Call("a", {"content-type": "application/json"}, {}).is_http, "HTTP/1.0 has no Host"
    assert Call("a", {"explain": "False", "url_path": ""}, {}).is_http
    assert not Call("a", {}, {}).is_http
    assert not Call("a", {"describe": "True"}, {}).is_http
    assert not Call("a", {"ts_request_sequence_id": "1", "ts_request_sequence_start": "true"}, {}).is_http


def test_a_callers_header_is_not_taken_for_the_front_ends_own_question() -> None:
    assert Call("a", {"describe": "True"}, {}).asks_to_describe
    assert not Call("a", {"describe": "True", "explain": "False"}, {}).asks_to_describe


def form(fields: int, name: bytes = b"a", value: bytes = b"", more: bytes = b"") -> bytes:
    """A message of a form, as the front end writes it."""
    headers = sized("Content-Type") + sized("application/x-www-form-urlencoded") + END
    return b"I" + sized("id") + headers + (sized(name) + sized("") + sized(value)) * fields + more


@pytest.mark.parametrize(("name", "value"), [(b"a", b""), (b"n" * 40, b"v"), (b"n", b"v" * 100), (b"", b"")])
def test_of_a_form_only_the_first_values_are_kept(name: bytes, value: bytes) -> None:
    for fields in (MAX_VALUES - 1, MAX_VALUES, MAX_VALUES + 1, 5000):
        (call,) = Reader().feed(form(fields, name, value, END + END))
        assert call.values == {name.decode(): value}


def test_a_form_is_passed_over_as_it_comes_and_not_kept() -> None:
    """It is read once, however many pieces it comes in, and what was passed over is dropped."""
    reader, unit = Reader(), sized(b"name") + sized(b"") + sized(b"value" * 20)
    assert reader.feed(form(MAX_VALUES + 1, more=b"")) == []
    for _ in range(300):
        assert reader.feed(unit * 1000 + unit[:50]) == []
        assert reader.held == 50
        assert reader.feed(unit[50:]) == []
        assert reader.held == 0
    (call,) = reader.feed(END + END + message(CALLS[:1]))[:1]
    assert call.values == {"a": b""}
    assert reader.feed(message(CALLS)) == CALLS


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=40)), max_size=60), st.data())
def test_a_form_ends_where_it_ends_at_any_split(fields: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    values = b"".join(sized(name) + sized("text/plain") + sized(value) for name, value in fields)
    whole = form(0, more=values + END + END) + message(CALLS)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    reader, found = Reader(), list[Call]()
    for begin, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        found += reader.feed(whole[begin:end])
    assert found[1:] == CALLS
    assert len(found[0].values) <= MAX_VALUES
    assert set(found[0].values.values()) <= {value for _, value in fields}


@pytest.mark.parametrize("at", range(3))
def test_nonsense_behind_the_first_values_is_refused(at: int) -> None:
    parts = [sized("a" * 50)] * at + [struct.pack("!i", -5)]
    with pytest.raises(WireError, match="a length of -5 inside a message of the front end"):
        Reader().feed(form(MAX_VALUES + 3, more=b"".join(parts)))


def test_a_length_that_no_request_has_is_refused() -> None:
    with pytest.raises(WireError, match=f"a length of {MAX_STRING_BYTES + 1} inside a message"):
        Reader().feed(b"I" + struct.pack("!i", MAX_STRING_BYTES + 1))


@pytest.mark.parametrize("command", [b"L", b"\x00", b"i"])
def test_another_command_is_refused(command: bytes) -> None:
    with pytest.raises(WireError) as caught:
        Reader().feed(command + message(CALLS)[1:])
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
        Reader().feed(b"I" + data)
    assert str(caught.value) == "a length of -2 inside a message of the front end"


def test_the_end_of_a_list_inside_a_group_is_refused() -> None:
    with pytest.raises(WireError) as caught:
        Reader().feed(b"I" + sized("id") + sized("name") + END)
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
    assert Reader().feed(whole) == calls
    cut = data.draw(st.integers(0, len(whole)))
    reader = Reader()
    assert reader.feed(whole[:cut]) + reader.feed(whole[cut:]) == calls


printable = st.text(st.characters(min_codepoint=32, max_codepoint=0x2FFF), max_size=12)


@given(
    words, st.binary(max_size=60), st.integers(100, 599), printable, st.dictionaries(printable, printable, max_size=3)
)
def test_any_answer_is_read_as_it_was_written(
    call: str, body: bytes, status: int, content_type: str, headers: dict[str, str]
) -> None:
    frame = encode(call, body, status, "Phrase", content_type, headers)
    assert list(decode(frame)) == [(call, status, content_type, headers, body)]
