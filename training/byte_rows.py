"""Texts as rows of bytes, for a language model over bytes.

Dimensions: N bytes of a stream, R rows, B rows of a batch, T bytes of a row.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.models.charlm import BOUNDARY

IGNORED = -100  # a target that cross_entropy passes over


def row_spans(stream: NDArray[np.uint8], longest: int) -> NDArray[np.int64]:
    """Begin and end (R, 2) of the rows of a stream (N,) of texts: a row is a text with the boundary on either side.

    A text of more than `longest` bytes makes several rows, each of which begins at the first byte of a character.
    """
    spans = []
    for begin, end in itertools.pairwise(np.flatnonzero(stream == BOUNDARY).tolist()):
        starts = [begin]
        while end - starts[-1] > longest:
            cut = starts[-1] + longest
            while stream[cut] & 0xC0 == 0x80:  # within a UTF-8 character: back to its first byte
                cut -= 1
            starts.append(cut)
        # Each row ends with the first byte of the next one, so that every byte is predicted once.
        spans += [(start, stop + 1) for start, stop in itertools.pairwise([*starts, end])]
    return np.array(spans, np.int64)


def inputs_and_targets(rows: Sequence[NDArray[np.uint8]]) -> tuple[Tensor, Tensor]:
    """Rows of bytes -> all but the last byte, and all but the first one (B, T) int64; the loss ignores padding."""
    T = max(map(len, rows)) - 1
    inputs, targets = np.full((len(rows), T), BOUNDARY, np.int64), np.full((len(rows), T), IGNORED, np.int64)
    for at, row in enumerate(rows):
        inputs[at, : len(row) - 1], targets[at, : len(row) - 1] = row[:-1], row[1:]
    return torch.from_numpy(inputs), torch.from_numpy(targets)
