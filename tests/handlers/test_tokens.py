"""The tokenizer in service gives the ids of training, and writes back every byte."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
from hypothesis import given

from handlers.text import patterns
from handlers.text.tokenizer import MARKS, SubwordTokenizer
from training.models.seq2seq import BEGIN, END, PAD, TURN
from training.tokenizer import SPECIAL
from training.tokenizer import BytePairTokenizer as Trained

CORPUS = [
    "The ship came to Malmö with tea.",
    "The ship left Malmö.",
    "今天天气很好。",
    "The tea was sold in Malmö.",
] * 3
TRAINED = Trained.learn(CORPUS, 320)
SERVED = SubwordTokenizer(TRAINED.data, TRAINED.scored)
TEXTS = st.text(st.characters(exclude_categories=["Cs", "Cn"]), min_size=1)


@given(st.lists(TEXTS, min_size=1, max_size=4))
def test_training_and_service_give_the_same_ids(turns: list[str]) -> None:
    assert SERVED.encode_turns(turns) == TRAINED.encode_turns(turns)


def test_a_learned_file_is_the_same_when_it_is_learned_again() -> None:
    assert Trained.learn(CORPUS, 320).data == TRAINED.data
    assert 260 < TRAINED.size <= 320


@given(st.text(st.characters(exclude_categories=["Cs", "Cn"], codec="utf-8"), min_size=1))
def test_every_text_has_tokens_and_comes_back(text: str) -> None:
    import unicodedata

    normal = unicodedata.normalize("NFC", text)
    written = b"".join(SERVED.pieces[token] for token in SERVED.encode_turns([text])).decode()
    assert written.removeprefix(" ") == normal.removeprefix(" ")


@pytest.mark.parametrize("text", ["Mary likes 茶.", "今天天气很好。", "naïve café", "🙂🙃", "x<end>y <turn>"])
def test_scripts_without_spaces_and_what_was_never_seen(text: str) -> None:
    ids = TRAINED.encode(text)
    assert TRAINED.decode([*ids, END, 300]) == text


def test_marks_in_a_text_are_text() -> None:
    assert not set(TRAINED.encode("<pad><begin><end><turn>")) & set(SPECIAL)
    assert TRAINED.encode_turns(["a", "b"]).count(TURN) == 1


def test_marks_have_no_bytes() -> None:
    assert [SERVED.pieces[token] for token in (PAD, BEGIN, END, TURN)] == [b""] * 4
    assert set(MARKS) == {PAD, BEGIN, TURN}
    assert all(SERVED.pieces[4 : TRAINED.size])
    assert not any(SERVED.pieces[TRAINED.size :])
    assert list(SERVED.never) == TRAINED.never
    assert TRAINED.scored % 64 == 0 and 0 <= TRAINED.scored - TRAINED.size < 64


def test_a_tokenizer_of_another_model_is_refused() -> None:
    with pytest.raises(
        ValueError, match=rf"the tokenizer has {TRAINED.size} tokens, the graph scores 500: they are not of"
    ):
        SubwordTokenizer(TRAINED.data, 500)
    with pytest.raises(ValueError, match=r"the tokenizer of the bundle cannot be read: .*; build the bundle again"):
        SubwordTokenizer(b'{"model": {}}', 64)


def with_pattern(pattern: str) -> bytes:
    """The tokenizer with a pattern of its own in front of its usual parts."""
    document = json.loads(TRAINED.data)
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    document["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, document["pre_tokenizer"]]}
    return json.dumps(document).encode()


def test_patterns_of_a_file_that_are_quick_are_served() -> None:
    served = SubwordTokenizer(with_pattern(r"\s+|\p{L}+|."), TRAINED.scored)
    assert served.encode_turns(["The tea"])


@pytest.mark.parametrize("pattern", [r"(a+)+b", r"(\s*)*\d", r"(a|aa)+$"])
def test_patterns_of_a_file_that_take_for_ever_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"its regular expressions .*; build the bundle again"):
        SubwordTokenizer(with_pattern(pattern), TRAINED.scored)


def test_patterns_that_never_end_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    tokenizer = SimpleNamespace(encode=lambda *_, **__: ended.wait())
    monkeypatch.setattr(patterns, "MAX_SECONDS", 0.01)
    with pytest.raises(ValueError, match="were not through with 16 texts of 2048 characters after 0 s"):
        patterns.check_patterns(tokenizer, {"pre_tokenizer": [{"pattern": {"Regex": "x"}}]})
    ended.set()
    patterns.check_patterns(tokenizer, {"model": {"vocab": {"Regex": 1}}})  # a token called so is no pattern
