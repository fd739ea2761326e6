"""Many samples of many sounds in one call: what a step graph computes one by one, with the draw between.

Dimensions: B sounds, K = F * frame samples of each, N rows of the rings, W = sum of the dilations, L layers,
R channels, C numbers of condition, Q levels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from handlers.runtimes.runtime import Arrays, SessionError
from handlers.sampling.next_token import Rule, choose


@dataclasses.dataclass(frozen=True)
class Block:
    """What is to be computed. The rings are changed in place, and nothing else.

    The ring of layer l holds what the layer was given in the last `dilations[l]` samples: after t samples the oldest
    is at t % dilations[l]. The rings of all layers stand one after the other.
    """

    samples: NDArray[np.int64]  # (B,): the level before the first one
    times: NDArray[np.int64]  # (B,): how many samples there are so far
    rings: NDArray[np.float32]  # (N, W, R)
    rows: NDArray[np.int64]  # (B,): of the rings, each another one
    dilations: NDArray[np.int64]  # (L,)
    conditions: NDArray[np.float32]  # (B, F, C): one a frame
    uniforms: NDArray[np.float64]  # (B, K) in (0, 1): what draws each sample
    temperatures: NDArray[np.float64]  # (B,); 0: the likeliest level

    @property
    def count(self) -> int:
        """Samples of each sound."""
        return int(self.uniforms.shape[1])

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where the ring of each layer begins (L,)."""
        return np.cumsum(self.dilations) - self.dilations

    def check(self) -> None:
        """Raise `SessionError` for arrays that do not fit together: native code would read and write beside them."""
        rows, frames = len(self.samples), self.conditions.shape[1]
        wanted = {
            "times": (rows,),
            "rows": (rows,),
            "temperatures": (rows,),
            "rings": (len(self.rings), int(self.dilations.sum()), self.rings.shape[-1]),
            "conditions": (rows, frames, self.conditions.shape[-1]),
            "uniforms": (rows, self.count),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise SessionError(f"{name} of a block is {list(getattr(self, name).shape)}, wanted {list(shape)}")
        if not rows or not frames or self.count % frames:
            raise SessionError(f"a block has {rows} sounds of {self.count} samples in {frames} frames")
        if len(set(self.rows.tolist())) != rows or not ((self.rows >= 0) & (self.rows < len(self.rings))).all():
            raise SessionError(f"rows {self.rows.tolist()} of a block are not {rows} of {len(self.rings)} rows")
        if (self.dilations < 1).any() or (self.times < 0).any() or (self.samples < 0).any():
            raise SessionError("a block has a dilation, a time or a sample below its range")
        if not np.isfinite(self.conditions).all() or not (self.temperatures >= 0).all():
            raise SessionError("a condition or a temperature of a block is not a number, or below 0")


@runtime_checkable
class BlockGraph(Protocol):
    """An open graph that computes a block by itself."""

    def block(self, block: Block) -> NDArray[np.int64]:
        """The levels (B, K)."""
        ...


def by_steps(run: Callable[[Arrays], Arrays], block: Block) -> NDArray[np.int64]:
    """The levels (B, K) of a block by one run a sample, in any runtime. The rings change when all of it is done."""
    rings = block.rings[block.rows]  # (B, W, R), a copy
    sounds = np.arange(len(rings))[:, None]
    rules = [Rule(float(temperature)) for temperature in block.temperatures]
    frame = block.count // block.conditions.shape[1]
    levels = np.empty(block.uniforms.shape, np.int64)
    sample = block.samples
    for at in range(block.count):
        places = block.starts + (block.times[:, None] + at) % block.dilations  # (B, L)
        condition = np.ascontiguousarray(block.conditions[:, at // frame])
        found = run({"sample": sample, "past": rings[sounds, places], "condition": condition})
        rings[sounds, places] = found["push"]
        sample = levels[:, at] = choose(found["logits"], rules, block.uniforms[:, at].tolist())
    block.rings[block.rows] = rings
    return levels
