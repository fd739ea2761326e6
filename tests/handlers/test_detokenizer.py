"""Tokens become text: no character is ever cut, and nothing of a stop string is ever sent."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis.strategies as st
import pytest
from hypothesis import given

from handlers.text.detokenizer import Detokenizer


def write(pieces: Sequence[bytes], stop: Sequence[str] = (), lead: str = " ") -> tuple[list[str], str, bool]:
    """(texts sent after each piece, the whole text, whether a stop string ended it)."""
    writing, sent = Detokenizer(lead, stop), []
    for at, piece in enumerate(pieces, 1):
        stopped = writing.add(piece, at == len(pieces))
        sent.append(writing.take(stopped or at == len(pieces)))
        if stopped:
            return sent, writing.text, True
    return sent, writing.text, False


def test_the_space_before_the_first_word_is_dropped_once() -> None:
    assert write([b" The", b" end"])[0] == ["The", " end"]
    assert write([b"  indented"])[0] == [" indented"]
    assert write([b" ", b" indented"])[0] == ["", " indented"]
    assert write([b"\xe2", b"\x80\x93 x"])[1] == "\u2013 x"


def test_bytes_have_no_space_before_the_first_word() -> None:
    assert write([b" The", b" end"], lead="") == ([" The", " end"], " The end", False)


@given(st.text(min_size=1), st.integers(1, 4))
def test_whole_characters_however_they_are_cut(text: str, size: int) -> None:
    data = b" " + text.encode("utf-8", "replace")
    sent, whole, _ = write([data[at : at + size] for at in range(0, len(data), size)])
    assert "".join(sent) == whole == data[1:].decode()
    assert all("\ufffd" not in piece for piece in sent) or "\ufffd" in text


def test_bytes_that_are_no_text_show_as_replacement_characters() -> None:
    assert write([b" a", b"\xff", b"b", b"\xe4\xbd"])[1] == "a\ufffdb\ufffd"


@pytest.mark.parametrize("pieces", [[b" one. two"], [b" one", b". tw", b"o"], [b" o", b"ne", b".", b" ", b"t", b"wo"]])
def test_a_stop_string_ends_the_text_wherever_tokens_are_cut(pieces: list[bytes]) -> None:
    sent, whole, stopped = write(pieces, [". t", "never"])
    assert (whole, stopped) == ("one", True)
    assert "".join(sent) == "one"


def test_the_first_of_several_stop_strings_counts() -> None:
    assert write([b" a b c d"], ["d", "c", "b c"])[1] == "a "


def test_what_could_become_a_stop_string_is_held_back_and_then_sent() -> None:
    sent, whole, stopped = write([b" wait", b" en", b"dless", b"."], [" end."])
    assert (whole, stopped) == ("wait endless.", False)
    assert sent == ["wait", "", " endless", "."]


@given(st.lists(st.sampled_from([b"a", b"b", b"ab", b"ba", b"aab"]), min_size=1), st.sampled_from(["ab", "aab", "bb"]))
def test_nothing_of_a_stop_string_is_ever_sent(pieces: list[bytes], stop: str) -> None:
    sent, whole, stopped = write(pieces, [stop])
    everything = b"".join(pieces).decode()
    assert whole == everything.partition(stop)[0]
    assert stopped == (stop in everything)
    assert "".join(sent) == whole
