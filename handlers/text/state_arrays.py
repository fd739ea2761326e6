"""The state of texts that are written side by side, in dense arrays: row r of every array belongs to one text.

Live rows are always the first ones, so a step over all of them takes views, not copies: the attention memory is the
largest part.
Dimensions: R rows, S source positions (padded), H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class StateArrays:
    """`tokens` (R, S) and `memory` (R, S, H) of the sources, their `lengths` (R,), and named states, each (R, ...)."""

    def __init__(self, capacity: int, width: int, states: Mapping[str, tuple[int, ...]], multiple: int) -> None:
        self.capacity, self._multiple = capacity, multiple
        self.lengths = np.zeros(capacity, np.int64)
        self.states = {name: np.zeros((capacity, *shape), np.float32) for name, shape in states.items()}
        self.memory = np.zeros((capacity, multiple, width), np.float32)
        self.tokens = np.zeros((capacity, multiple), np.int64)
        self._moved: list[Callable[[int], None]] = []  # of each live row: tells its owner where it is now

    @property
    def live(self) -> int:
        """How many rows are in use."""
        return len(self._moved)

    def add(
        self,
        ids: Sequence[int],
        memory: NDArray[np.float32],
        states: Mapping[str, NDArray[np.float32]],
        moved: Callable[[int], None],
    ) -> int:
        """Take a row for a source with the tokens `ids` and memory (as many or more, H); returns its number.

        `moved` is called with the new place whenever the row is moved. Raises `ValueError` when all rows are in use, or
        for arrays that do not fit; then nothing is taken.
        """
        row = self.live
        if row == self.capacity:
            raise ValueError(f"all {self.capacity} rows are in use")
        self._moved.append(moved)
        self.lengths[row] = length = len(ids)
        try:
            self._fit()
            self.tokens[row] = 0
            self.tokens[row, :length] = ids
            self.memory[row] = 0.0
            self.memory[row, :length] = memory[:length]
            for name, array in self.states.items():
                array[row] = states.get(name, 0.0)  # what the encoder says nothing of begins with zeros
        except Exception:
            self.release(row)
            raise
        return row

    def release(self, row: int) -> None:
        """Give a row back; the last one takes its place."""
        last = self.live - 1
        if row != last:
            self.lengths[row], self.tokens[row] = self.lengths[last], self.tokens[last]
            for array in (self.memory, *self.states.values()):
                array[row] = array[last]
            self._moved[row] = self._moved[last]
            self._moved[row](row)
        self._moved.pop()
        self._fit()

    def inputs(self, rows: Sequence[int]) -> dict[str, NDArray[Any]]:
        """Tokens, memory, lengths and states of rows; of the first ones, in order, as views."""
        first = list(rows) == list(range(len(rows)))
        chosen = slice(0, len(rows)) if first else list(rows)
        arrays: dict[str, NDArray[Any]] = {
            "tokens": self.tokens,
            "memory": self.memory,
            "lengths": self.lengths,
            **self.states,
        }
        return {name: array[chosen] for name, array in arrays.items()}

    def _fit(self) -> None:
        """Pad memory to the longest live source: a longer array than needed would be read in every step."""
        longest = int(self.lengths[: self.live].max(initial=1))
        positions = -(-longest // self._multiple) * self._multiple
        if positions != self.memory.shape[1]:
            self.memory, self.tokens = (self._resized(array, positions) for array in (self.memory, self.tokens))

    def _resized(self, array: NDArray[Any], positions: int) -> NDArray[Any]:
        new = np.zeros((self.capacity, positions, *array.shape[2:]), array.dtype)
        kept = min(positions, array.shape[1])
        new[: self.live, :kept] = array[: self.live, :kept]
        return new
