"""Two tokenizers over one text: every token finds its piece, in any script, and both are cut at the same place."""

from __future__ import annotations

import dataclasses

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from tokenizers import Tokenizer

from tests.support.tiny_bert import word_pieces
from training.data import Pair
from training.encoding import align, cut_beginning, cut_end, encode, inputs
from training.models.bert import BertShape
from training.models.seq2seq import ModelConfig
from training.tokenizer import BytePairTokenizer, WordPieceTokenizer

FILE = word_pieces()
WORDS = WordPieceTokenizer(FILE.to_str().encode(), 200)
TOKENS = BytePairTokenizer.learn(["The ship came to Malmö.", "accident near the ship", "今天天气很好。"] * 3, 330)
SHAPE = BertShape(200, 16, 1, 2, 32, 24, 2, 1e-12, "gelu", 0.1)
MODEL = ModelConfig(vocabulary=384, max_source=20, max_target=8, encoder="bert", bert_shape=SHAPE)
TURNS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=40), min_size=1, max_size=3).filter(
    lambda turns: any(TOKENS.encode_turns(turns))
)


def seen(*turns: str) -> list[tuple[str, str]]:
    """Each token (as its file writes it: a space is Ġ, any byte a letter), and the piece it begins at."""
    ids, pieces, at = align(TOKENS, WORDS, turns)
    names = {at: piece for piece, at in FILE.get_vocab().items()}
    assert ids == TOKENS.encode_turns(turns)
    written = Tokenizer.from_str(TOKENS.data.decode())
    return [
        (str(written.id_to_token(token)), names[pieces[place]]) for token, place in zip(ids, at.tolist(), strict=True)
    ]


def test_a_token_begins_at_the_piece_that_covers_its_first_character() -> None:
    assert seen("The ship,  x") == [("ĠThe", "the"), ("Ġship", "s"), (",", ","), ("Ġ", "x"), ("Ġ", "x"), ("x", "x")]
    assert seen("xing")[-4:] == [("x", "x"), ("i", "##ing"), ("n", "##ing"), ("g", "##ing")]
    assert seen("accident")[0][1] == "accident"


def test_every_script_has_its_pieces() -> None:
    assert [piece for _, piece in seen("x天气y")] == ["x", "x", "天", "气", "y"]
    assert [piece for _, piece in seen("x猫天y")] == ["x", "x", *["[UNK]"] * 3, "天", "y"], "three bytes of a character"
    assert [piece for _, piece in seen("🙂 x")] == ["[UNK]"] * 5 + ["x"] * 2
    assert [piece for _, piece in seen("e\u0301t")] == ["e", "e", "e", "##t"], (
        "composed for one, stripped for the other"
    )
    assert [piece for _, piece in seen("a\u200bb")] == ["a", "a", *["##b"] * 4], (
        "left out by the other: what comes next"
    )


def test_turns_are_divided_by_marks_and_marks_in_a_text_are_text() -> None:
    assert seen("on", "x") == [("Ġ", "on"), ("o", "on"), ("n", "on"), ("<turn>", "[SEP]"), ("Ġ", "x"), ("x", "x")]
    pieces = align(TOKENS, WORDS, ["a", "[SEP]", "b"])[1]
    assert pieces[0] == WORDS.begin
    assert pieces.count(WORDS.end) == 3
    assert seen("a  ")[-2:] == [("Ġ", "[SEP]")] * 2, "a space at the end stands at the mark"


@given(TURNS, st.integers(1, 30), st.integers(4, 40))
def test_what_is_cut_fits_both_and_keeps_every_tokens_piece(turns: list[str], most: int, room: int) -> None:
    ids, pieces, at = align(TOKENS, WORDS, turns)
    assert (np.diff(at) >= 0).all()
    for cut in (cut_end, cut_beginning):
        found, left, places = cut(ids, pieces, at, most, room)
        assert 1 <= len(found) == len(places) <= most
        assert 2 <= len(left) <= room
        assert (left[0], left[-1]) == (WORDS.begin, WORDS.end)
        assert ((places >= 1) & (places < len(left))).all()
        if len(ids) <= most and len(pieces) <= room:
            assert (list(found), list(left), places.tolist()) == (ids, pieces, at.tolist())
        offset = 0 if cut is cut_end else len(ids) - len(found)
        assert list(found) == ids[offset : offset + len(found)]
        wanted = [pieces[place] for place in at[offset : offset + len(found)]]
        if cut is cut_end:
            assert [left[place] for place in places] == wanted
        else:  # the pieces of a token of very many are cut, too
            assert [left[place] for place in places][1:] == wanted[1:]


def test_a_document_is_cut_at_its_end_and_a_conversation_at_its_beginning() -> None:
    pair = Pair(("abcdefgh ijklmnop", "qrstuvwx yz", "the ship"), "on")
    ids, pieces, _ = align(TOKENS, WORDS, pair.source)
    for most, positions in ((20, 24), (500, 24), (20, 512), (500, 512)):
        model = dataclasses.replace(MODEL, max_source=most, bert_shape=dataclasses.replace(SHAPE, positions=positions))
        head, tail = (encode(TOKENS, pair, model, task, WORDS) for task in ("summary", "dialogue"))
        assert ids[: len(head.source)] == head.source.tolist()
        assert ids[-len(tail.source) :] == tail.source.tolist()
        assert pieces[-len(tail.pieces) + 1 :] == tail.pieces.tolist()[1:]
        assert len(head.source) <= most and len(head.pieces) <= positions
    assert (len(head.source), len(tail.pieces)) == (len(ids), len(pieces))


def test_a_batch_is_padded_with_zeros() -> None:
    pairs = [encode(TOKENS, Pair((text,), "on"), MODEL, "summary", WORDS) for text in ("the ship", "x")]
    tokens, lengths, pieces, piece_lengths, at = inputs(pairs)
    assert tokens.shape == at.shape == (2, max(lengths))
    assert pieces.shape == (2, max(piece_lengths))
    assert (
        not tokens[1, lengths[1] :].any() and not at[1, lengths[1] :].any() and not pieces[1, piece_lengths[1] :].any()
    )


@pytest.mark.parametrize("data", [b"{}", b"\xff"])
def test_a_file_that_is_no_tokenizer_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"source_tokenizer\.json cannot be read"):
        WordPieceTokenizer(data, 200)
    with pytest.raises(ValueError, match=r"the tokenizer has 156 word pieces, the BERT knows 100"):
        WordPieceTokenizer(FILE.to_str().encode(), 100)
    with pytest.raises(ValueError, match=r"the tokenizer has no \[CLS\] and no \[SEP\], which a BERT reads"):
        WordPieceTokenizer(TOKENS.data, 5000)
