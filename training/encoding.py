"""Pairs as numbers: the tokens of source and target, and, for a BERT, the word pieces of the source beside its tokens.

handlers/ encodes the same turns alike: a property test compares the two.

Dimensions: B pairs of a batch, S source tokens, P word pieces, T target tokens.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data import Pair
from training.models.seq2seq import BEGIN, END, PAD, TURN, ModelConfig
from training.tokenizer import BytePairTokenizer, WordPieceTokenizer

Task = Literal["summary", "dialogue"]


def _nothing() -> NDArray[np.int32]:
    return np.zeros(0, np.int32)


@dataclasses.dataclass(frozen=True)
class Encoded:
    """A pair as ids; the target ends with END unless it was cut."""

    source: NDArray[np.int32]
    """(S,)"""
    target: NDArray[np.int32]
    """(T,)"""
    pieces: NDArray[np.int32] = dataclasses.field(default_factory=_nothing)
    """(P,), of a source that a BERT reads"""
    at: NDArray[np.int32] = dataclasses.field(default_factory=_nothing)
    """(S,), the index of the piece at which each token begins"""


def encode(
    tokens: BytePairTokenizer, pair: Pair, config: ModelConfig, task: Task, words: WordPieceTokenizer | None = None
) -> Encoded:
    """Ids of a pair, cut to the model's lengths: a document loses its end, a conversation its beginning."""
    target = [*tokens.encode(pair.target), END][: config.max_target]
    if words is None or config.bert_shape is None:
        whole = tokens.encode_turns(pair.source)
        source = whole[: config.max_source] if task == "summary" else whole[-config.max_source :]
        return Encoded(np.array(source, np.int32), np.array(target, np.int32))
    cut = cut_end if task == "summary" else cut_beginning
    ids, pieces, at = cut(*align(tokens, words, pair.source), config.max_source, config.bert_shape.positions)
    return Encoded(*(np.array(part, np.int32) for part in (ids, target, pieces, at)))


Aligned = tuple[list[int], list[int], NDArray[np.int64]]  # tokens (S,), pieces (P,), at (S,)


def align(tokens: BytePairTokenizer, words: WordPieceTokenizer, turns: Sequence[str]) -> Aligned:
    """The tokens of turns with TURN between them, the pieces with marks around each turn, and the piece of each token.

    That is the first piece that ends behind the token's first character: one that covers it, or else (a space, a
    character BERT leaves out) the next one; where none is left, the mark behind the turn. TURN stands at the mark of
    the turn before it.
    """
    ids: list[int] = []
    pieces, at = [words.begin], list[NDArray[np.int64]]()
    for (mine, starts), (theirs, ends) in zip(tokens.parts(turns), words.encode(turns), strict=True):
        if at:
            ids.append(TURN)
            at.append(np.array([len(pieces) - 1]))
        at.append(len(pieces) + np.searchsorted(np.maximum.accumulate(ends), starts, side="right"))
        ids += mine
        pieces += [*theirs, words.end]
    return ids, pieces, np.maximum.accumulate(np.concatenate(at))


def cut_end(
    ids: Sequence[int], pieces: Sequence[int], at: NDArray[np.int64], most: int, room: int
) -> tuple[Sequence[int], Sequence[int], NDArray[np.int64]]:
    """The beginning that fits both tokenizers: at most `most` tokens and `room` pieces, the last one a mark."""
    if len(ids) <= most and len(pieces) <= room:
        return ids, pieces, at
    count = min(most, int(np.searchsorted(at, room - 2, side="right")))
    last = max(int(at[count]), int(at[count - 1]) + 1) if count < len(ids) else len(pieces) - 1
    last = min(last, room - 1)
    return ids[:count], [*pieces[:last], pieces[-1]], at[:count]


def cut_beginning(
    ids: Sequence[int], pieces: Sequence[int], at: NDArray[np.int64], most: int, room: int
) -> tuple[Sequence[int], Sequence[int], NDArray[np.int64]]:
    """The end that fits both tokenizers, the first piece a mark."""
    least = max(1, len(pieces) + 1 - room)  # the first piece there is room for
    first = max(len(ids) - most, min(int(np.searchsorted(at, least)), len(ids) - 1), 0)
    gone = max(int(at[first]), least) - 1
    return ids[first:], [pieces[0], *pieces[gone + 1 :]], np.maximum(at[first:] - gone, 1)


def inputs(pairs: Sequence[Encoded]) -> tuple[Tensor, ...]:
    """Inputs of the encoder: tokens (B, S), lengths (B,); for BERT pieces (B, P), piece_lengths (B,), at (B, S)."""
    read = padded([pair.source for pair in pairs])
    if not len(pairs[0].pieces):
        return read
    return *read, *padded([pair.pieces for pair in pairs]), padded([pair.at for pair in pairs])[0]


def padded(rows: Sequence[NDArray[np.int32]]) -> tuple[Tensor, Tensor]:
    """Rows of ids -> (B, longest) int64 with PAD after each, and their lengths (B,)."""
    lengths = [len(row) for row in rows]
    out = np.full((len(rows), max(lengths)), PAD, np.int64)
    for at, row in enumerate(rows):
        out[at, : len(row)] = row
    return torch.from_numpy(out), torch.tensor(lengths)


def read_before(target: Tensor) -> Tensor:
    """The decoder's inputs for target (B, T): BEGIN, then all but the last token."""
    return torch.cat([torch.full((len(target), 1), BEGIN), target[:, :-1]], dim=1)
