"""The written world is always the same, and its judge finds every contradiction; files are read with care."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from training.data import DataError, held_out, sentences, texts
from training.data.sentences import SCENES, SLOTS, is_valid, problem, text
from training.data.texts import open_texts, stream

TEXTS = [text(7, index) for index in range(600)]


def test_a_text_does_not_depend_on_its_neighbours() -> None:
    assert text(0, 2) == "Mary wrote to Nina, and Nina wrote back to Mary."
    assert TEXTS[5] == text(7, 5) != text(8, 5)
    assert hashlib.sha256("\n".join(TEXTS).encode()).hexdigest()[:16] == "8397076b315c6c01"


def test_every_text_is_valid_short_and_some_need_more_than_ascii() -> None:
    for written in TEXTS:
        assert problem(written) is None, written
        assert 40 <= len(written.encode()) <= 250
        assert 1 <= sum(written.count(mark) for mark in ".?") <= 3
    beyond = [written for written in TEXTS if not written.isascii()]
    assert 0.3 < len(beyond) / len(TEXTS) < 0.95
    assert any(len(character.encode()) == 3 for written in beyond for character in written)


def test_values_cannot_be_taken_for_one_another() -> None:
    for slot, values in SLOTS.items():
        for value in values:
            assert not any(other != value and other.startswith(value) for other in values), (slot, value)
    assert not set(SLOTS["name"]) & set(SLOTS["friend"])


def test_every_way_through_every_scene_repeats_a_fact() -> None:
    for _, loose in sentences._patterns():
        slots = [group.rstrip("0123456789") for group in loose.groupindex]
        assert len(set(slots)) < len(slots), loose.pattern
    assert len(sentences._patterns()) > 4 * len(SCENES)


def test_a_changed_fact_is_found() -> None:
    """Every value of every text in turn becomes another value of its list."""
    changed = 0
    for written in TEXTS[:150]:
        loose = next(loose for strict, loose in sentences._patterns() if strict.fullmatch(written))
        match = loose.fullmatch(written)
        assert match is not None
        slots = [group.rstrip("0123456789") for group in match.groupdict()]
        for group, value in match.groupdict().items():
            slot = group.rstrip("0123456789")
            if slots.count(slot) == 1:  # said once: nothing it could contradict
                continue
            begin, end = match.span(group)
            for other in SLOTS[slot]:
                if other != value:
                    found = problem(written[:begin] + other + written[end:])
                    assert found is not None
                    assert found.startswith(f"the {slot} is ")
                    changed += 1
    assert changed > 2000


def test_a_cut_off_text_is_found() -> None:
    """The rest is valid only where a whole shorter text ends."""
    for written in TEXTS[:150]:
        for at in range(len(written)):
            if is_valid(written[:at]):
                assert written[at - 1] in ".?"
                assert written[at] == " "
        cut = written.encode()[:-1].decode(errors="replace")
        assert problem(cut) == "no scene reads like this"


@pytest.mark.parametrize(
    "written",
    ["", "The", "Ada wrote to Ben.", " " + TEXTS[0], TEXTS[0] + " ", TEXTS[0] + "\n", f"{TEXTS[0]} {TEXTS[1]}"],
)
def test_what_no_scene_says_is_found(written: str) -> None:
    assert problem(written) == "no scene reads like this"


def test_the_world_holds_texts_out_whatever_its_size() -> None:
    small, large = open_texts("sentences", 50), open_texts("sentences", 2000)
    assert (len(small.texts), len(large.texts)) == (50, 2000)
    assert small.held_out == large.held_out
    assert len(small.held_out) == held_out.HELD_OUT
    assert not set(large.texts) & set(large.held_out)
    assert large.texts[:50] == small.texts
    assert large.name == "sentences-v2-2000"
    assert small.sha256 != large.sha256


def test_a_stream_has_a_boundary_around_every_text() -> None:
    row = stream(["café", "b"])
    assert row.dtype == np.uint8
    assert row.tobytes() == b"\0caf\xc3\xa9\0b\0"
    data = open_texts("sentences", 3)
    assert data.sha256 == hashlib.sha256(stream([*data.texts, *data.held_out]).tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("\ufeffeins \r\nzw\u00f6lf", ["eins", "zw\u00f6lf"]),
        ("a poem\nof two lines\n\nand another\n", ["a poem\nof two lines", "and another"]),
        ("\n\na\n\n \n\nb\n\n\n", ["a", "b"]),
        ("line\u2028separator\nstays\x0bwhole", ["line\u2028separator", "stays\x0bwhole"]),
    ],
)
def test_a_file_is_one_text_per_line_or_per_block(tmp_path: Path, content: str, wanted: list[str]) -> None:
    (tmp_path / "my.txt").write_bytes(content.encode())
    data = open_texts(str(tmp_path / "my.txt"), 0)
    assert [*data.texts, *data.held_out] == wanted
    assert (data.name, data.source, data.licence) == (f"my.txt-{len(wanted)}", "my.txt", "unknown (user data)")


def test_one_text_in_twenty_of_a_file_is_held_out(tmp_path: Path) -> None:
    path = tmp_path / "my.txt"
    path.write_text("\n".join(str(number) for number in range(1, 61)))
    assert open_texts(str(path), 0).held_out == ("20", "40", "60")
    assert len(open_texts(str(path), 0).texts) == 57


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"my\.txt does not exist; give a UTF-8 file with one text per line"),
        (b"", r"holds 0 texts, wanted at least 2 \(one to learn, one to measure\)"),
        (b" \n\n\t\n", "holds 0 texts, wanted at least 2"),
        (b"only one", "holds 1 texts, wanted at least 2"),
        (b"first\nsecond \xe9t\xe9\n", "is not UTF-8: byte 0xe9 in line 2"),
        (b"\xef\xbb\xbffirst\n\xe9", "is not UTF-8: byte 0xe9 in line 2"),
        (b"first\nsecond\0\n", r"holds the byte 0 in line 2, which no text may"),
    ],
)
def test_files_that_cannot_be_learned_from_are_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "my.txt").write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_texts(str(tmp_path / "my.txt"), 0)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a file; give a UTF-8 file"):
        open_texts(str(tmp_path), 0)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "huge.txt").open("wb") as file:
        file.truncate(texts.MAX_FILE_BYTES + 1)
    with pytest.raises(DataError, match="over the limit of 250000000: give a part of it"):
        open_texts(str(tmp_path / "huge.txt"), 0)
