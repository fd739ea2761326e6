"""Frames between proxy and engine: the same however the bytes are cut; nonsense is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.frames import (
    MAX_PAYLOAD,
    Beat,
    Cancel,
    Data,
    End,
    Failed,
    Frame,
    Message,
    Ready,
    Refused,
    Started,
    Submit,
    Unpacker,
    pack,
)

DATA = 13  # the type of a frame of bytes

messages: list[st.SearchStrategy[Message]] = [
    st.builds(Submit, st.binary(max_size=60), st.floats(0, 2e9), st.text(max_size=9)),
    st.builds(Started, st.text(max_size=9), st.text(max_size=9)),
    st.builds(Data, st.binary(max_size=60)),
    st.builds(Refused, st.integers(400, 599), st.text(max_size=9), st.none() | st.text(max_size=9)),
    st.builds(Failed, st.text(max_size=9)),
    st.builds(Ready, st.dictionaries(st.text(max_size=5), st.text(max_size=5))),
    st.sampled_from([Cancel(), End(), Beat()]),
]
frames = st.lists(st.builds(Frame, st.integers(0, 2**64 - 1), st.one_of(messages)), max_size=8)


@given(frames, st.data())
def test_frames_are_the_same_at_any_split(some: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(pack(*frame) for frame in some)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    unpacker, found = Unpacker(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += unpacker.feed(stream[begin:end])
    assert found == some


def test_a_frame_comes_with_its_last_byte() -> None:
    stream, unpacker = pack(7, Data(b"abc")), Unpacker()
    for byte in stream[:-1]:
        assert unpacker.feed(bytes([byte])) == []
    assert unpacker.feed(stream[-1:]) == [Frame(7, Data(b"abc"))]


def test_a_submission_without_a_deadline_is_refused() -> None:
    with pytest.raises(ValueError, match="a submission of 3 bytes, at least 10 are sent: this is no frame"):
        Unpacker().feed(struct.pack("!BQI", 1, 7, 3) + b"{}\n")


def test_a_submission_that_ends_within_its_name_is_refused() -> None:
    payload = struct.pack("!dH", 1.0, 5) + b"abc"
    with pytest.raises(ValueError, match="a submission ends within its name of 5 bytes: this is no frame"):
        Unpacker().feed(struct.pack("!BQI", 1, 7, len(payload)) + payload)


def test_fields_of_another_version_are_refused() -> None:
    payload = b'{"finished": "stop"}'
    with pytest.raises(ValueError, match=r"a frame of type 15 has other fields than it should: .*finished"):
        Unpacker().feed(struct.pack("!BQI", 15, 1, len(payload)) + payload)


def test_an_empty_feed_gives_nothing() -> None:
    assert Unpacker().feed(b"") == []


def test_a_length_over_the_limit_is_refused_before_its_bytes_come() -> None:
    head = struct.pack("!BQI", DATA, 1, MAX_PAYLOAD + 1)
    with pytest.raises(ValueError, match=f"a frame of {MAX_PAYLOAD + 1} bytes, at most {MAX_PAYLOAD} are sent"):
        Unpacker().feed(head)
    assert Unpacker().feed(struct.pack("!BQI", DATA, 1, MAX_PAYLOAD)) == []  # this one may still come


def test_an_unknown_type_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of type 99, known are 1, 2, 10"):
        Unpacker().feed(struct.pack("!BQI", 99, 1, 0))
