"""Frames between proxy and engine: the same however the bytes are cut; nonsense is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.frames import MAX_PAYLOAD, Frame, Kind, Unpacker, pack

frames = st.lists(
    st.builds(Frame, st.sampled_from(Kind), st.integers(0, 2**64 - 1), st.binary(max_size=60)), max_size=8
)


@given(frames, st.data())
def test_frames_are_the_same_at_any_split(some: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(pack(*frame) for frame in some)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    unpacker, found = Unpacker(), []
    for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += unpacker.feed(stream[begin:end])
    assert found == some


def test_a_frame_comes_with_its_last_byte() -> None:
    stream, unpacker = pack(Kind.DATA, 7, b"abc"), Unpacker()
    for byte in stream[:-1]:
        assert unpacker.feed(bytes([byte])) == []
    assert unpacker.feed(stream[-1:]) == [Frame(Kind.DATA, 7, b"abc")]


def test_dicts_go_as_json() -> None:
    (frame,) = Unpacker().feed(pack(Kind.END, 3, {"finished": "stop"}))
    assert frame.json() == {"finished": "stop"}


def test_an_empty_feed_gives_nothing() -> None:
    assert Unpacker().feed(b"") == []


def test_a_length_over_the_limit_is_refused_before_its_bytes_come() -> None:
    head = struct.pack("!BQI", Kind.DATA, 1, MAX_PAYLOAD + 1)
    with pytest.raises(ValueError, match=f"a frame of {MAX_PAYLOAD + 1} bytes, at most {MAX_PAYLOAD} are sent"):
        Unpacker().feed(head)
    assert Unpacker().feed(struct.pack("!BQI", Kind.DATA, 1, MAX_PAYLOAD)) == []  # this one may still come


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="99 is not a valid Kind"):
        Unpacker().feed(struct.pack("!BQI", 99, 1, 0))
