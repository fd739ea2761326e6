"""Texts through sessions of encoder and decoder graphs: written greedily, or scored along given texts.

Dimensions: B texts, S source positions, T tokens, V vocabulary, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.runtimes.session import Session
from handlers.text.tokenizer import BEGIN, END
from training.encoding import Encoded, inputs

MULTIPLE = 64  # sources are padded to a multiple of it: few shapes, and sums over positions run in one order
GROUP = 32  # sources that are written for together


def decode(
    sessions: Mapping[str, Session],
    sources: Sequence[Encoded],
    forced: Sequence[Sequence[int]] | None,
    longest: int,
    never: Sequence[int],
) -> list[tuple[list[int], NDArray[np.float32]]]:
    """For every source the tokens that were written (greedily, or those of `forced`) and the scores before each (T, V).

    Scores are kept along `forced` alone: of free texts nobody needs them.
    """
    results: list[tuple[list[int], NDArray[np.float32]]] = []
    for at in range(0, len(sources), GROUP):
        state = first_inputs(sessions, whole_steps(sources[at : at + GROUP]))
        count = len(state["tokens"])
        token = np.full(count, BEGIN, np.int64)
        written: list[list[int]] = [[] for _ in range(count)]
        kept: list[list[NDArray[np.float32]]] = [[] for _ in range(count)]
        wanted = None if forced is None else forced[at : at + GROUP]
        live = set(range(count))
        for step in range(longest):
            found = sessions["decoder_step"].run({"token": token, **state})
            state |= {name.removeprefix("next_"): found[name] for name in found if name.startswith("next_")}
            best = likeliest(found["logits"], never)
            for row in sorted(live):
                token[row] = best[row] if wanted is None else wanted[row][step]
                written[row].append(int(token[row]))
                if wanted is not None:
                    kept[row].append(found["logits"][row])
                if token[row] == END or (wanted is not None and step + 1 == len(wanted[row])):
                    live.remove(row)
            if not live:
                break
        vocabulary = found["logits"].shape[1]
        results += [
            (row, np.stack(scores) if scores else np.zeros((0, vocabulary), np.float32))
            for row, scores in zip(written, kept, strict=True)
        ]
    return results


def likeliest(logits: NDArray[np.float32], never: Sequence[int]) -> NDArray[np.int64]:
    """logits (B, V) -> the likeliest token of each row (B,), of those that may be written."""
    allowed = logits.copy()
    allowed[:, list(never)] = -np.inf
    return np.asarray(allowed.argmax(axis=1))


def first_inputs(sessions: Mapping[str, Session], source: Mapping[str, NDArray[np.int64]]) -> dict[str, NDArray[Any]]:
    """The inputs of the first step but for its token."""
    encoder = sessions["encoder"]
    read = encoder.run({spec.name: source[spec.name] for spec in encoder.spec.inputs})
    feed = np.zeros((len(source["tokens"]), read["memory"].shape[2]), np.float32)
    return {**read, "tokens": source["tokens"], "lengths": source["lengths"], "feed": feed}


def whole_steps(sources: Sequence[Encoded]) -> dict[str, NDArray[np.int64]]:
    """The inputs of an encoder, rows padded with zeros to a whole `MULTIPLE`: tokens (B, S), lengths (B,).

    For a BERT also pieces (B, P), piece_lengths (B,), and at (B, S).
    """
    arrays = zip(("tokens", "lengths", "pieces", "piece_lengths", "at"), inputs(sources), strict=False)
    return {name: _whole(part.numpy()) for name, part in arrays}


def _whole(array: NDArray[np.int64]) -> NDArray[np.int64]:
    return array if array.ndim == 1 else np.pad(array, ((0, 0), (0, up(array.shape[1]) - array.shape[1])))


def up(positions: int) -> int:
    """The next whole `MULTIPLE` of positions."""
    return -(-positions // MULTIPLE) * MULTIPLE
