"""A step compiled for its sizes: reads the same ONNX file as every runtime, and computes a WaveNet's blocks natively.

ONNX Runtime pays for every run and every node, which is most of a step this small. Compiled when it is opened, never
under a request, and kept nowhere.
"""

from __future__ import annotations

import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.graph_spec import GraphSpec
from handlers.manifest import Precision
from handlers.runtimes.blocks import Block
from handlers.runtimes.runtime import Arrays, Runtime, SessionError
from handlers.runtimes.wavenet_graph import read_weights
from handlers.runtimes.wavenet_kernel import compiled

PAIR = 2  # sounds that share the loads of the weights


class Graph:
    """The step of a WaveNet. One caller at a time; it spreads sounds over at most `threads` threads."""

    def __init__(self, model: bytes, spec: GraphSpec, threads: int, precision: Precision) -> None:
        self._weights = weights = read_weights(model)
        layers, both, _ = weights.gates.shape
        levels, residual = weights.embedding.shape
        skip, hidden = len(weights.head), weights.condition.shape[1]
        shapes = {
            "condition": weights.condition.shape == (weights.condition.shape[0], hidden),
            "spread": weights.spread.shape == (hidden, layers * both),
            "gates": weights.gates.shape == (layers, 2 * residual, 2 * residual),
            "outs": weights.outs.shape == (layers, residual, residual + skip),
            "head": weights.head.shape == (skip, skip),
            "output": weights.output.shape == (skip, levels),
        }
        if wrong := [name for name, fits in shapes.items() if not fits]:
            raise SessionError(f"the weights of {', '.join(wrong)} do not fit the others of the step")
        self._arrays = tuple(vars(weights).values())
        self._layers, self._inputs = layers, len(weights.condition)
        self._loops = {sounds: compiled(residual, skip, hidden, layers, levels, sounds) for sounds in (1, PAIR)}
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self.block(self._example(1))
        self.block(self._example(PAIR))  # compiled by now
        if threads > 1:
            self._pool = ThreadPoolExecutor(threads - 1, "compiled-step")

    def run(self, inputs: Arrays) -> Arrays:
        """One sample's scores, by the code that computes blocks: rings of one place are what is past and pushed."""
        past = np.ascontiguousarray(inputs["past"])
        count = len(past)
        block = Block(
            samples=inputs["sample"],
            times=np.zeros(count, np.int64),
            rings=past.copy(),
            rows=np.arange(count),
            dilations=np.ones(self._layers, np.int64),
            conditions=np.ascontiguousarray(inputs["condition"])[:, None],
            uniforms=np.full((count, 1), 0.5),
            temperatures=np.zeros(count),
        )
        _, logits = self._compute(block)
        return {"logits": logits, "push": block.rings}

    def block(self, block: Block) -> NDArray[np.int64]:
        """The levels (B, K); the rings are changed."""
        return self._compute(block)[0]

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()

    def _compute(self, block: Block) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        self._check(block)
        levels = np.empty(block.uniforms.shape, np.int64)
        logits = np.empty((len(levels), len(self._weights.embedding)), np.float32)
        arguments = (
            block.samples, block.times, block.rings, block.rows, block.dilations, block.starts, block.conditions,
            block.uniforms, block.temperatures, *self._arrays, levels, logits,
        )  # fmt: skip
        shares = spread(len(levels), self._threads if self._pool is not None else 1)
        waiting = [self._pool.submit(self._share, share, arguments) for share in shares[1:]] if self._pool else []
        try:
            self._share(shares[0], arguments)
        finally:
            for future in waiting:  # nobody writes into the arrays of a call that has returned
                future.result()
        return levels, logits

    def _share(self, share: range, arguments: tuple[Any, ...]) -> None:
        at = share.start
        while at < share.stop:
            sounds = min(PAIR, share.stop - at)
            self._loops[sounds](at, *arguments)
            at += sounds

    def _check(self, block: Block) -> None:
        """What native code would not notice."""
        if len(block.dilations) != self._layers or block.conditions.shape[-1] != self._inputs:
            found = f"{len(block.dilations)} layers and {block.conditions.shape[-1]} numbers of condition"
            raise SessionError(f"a block has {found}, the step {self._layers} and {self._inputs}")
        if block.rings.shape[-1] != self._weights.embedding.shape[1] or not block.rings.flags.c_contiguous:
            raise SessionError(f"rings are {list(block.rings.shape)}, wanted {self._weights.embedding.shape[1]} wide")
        if not ((block.samples >= 0) & (block.samples < len(self._weights.embedding))).all():
            raise SessionError(f"samples are {block.samples.tolist()}, wanted 0 to {len(self._weights.embedding) - 1}")

    def _example(self, count: int) -> Block:
        return Block(
            samples=np.zeros(count, np.int64),
            times=np.zeros(count, np.int64),
            rings=np.zeros((count, self._layers, self._weights.embedding.shape[1]), np.float32),
            rows=np.arange(count),
            dilations=np.ones(self._layers, np.int64),
            conditions=np.zeros((count, 1, self._inputs), np.float32),
            uniforms=np.full((count, 1), 0.5),
            temperatures=np.ones(count),
        )


@functools.cache
def spread(count: int, threads: int) -> list[range]:
    """Sounds in at most so many shares of whole pairs, as even as can be; as few sounds alone as can be."""
    pairs = -(-count // PAIR)
    if 1 < count <= threads:  # a core for each
        return [range(at, at + 1) for at in range(count)]
    shares = min(threads, pairs)
    ends = [min(count, PAIR * (pairs * at // shares)) for at in range(shares + 1)]
    return [range(begin, end) for begin, end in itertools.pairwise(ends)]


RUNTIME = Runtime(
    name="compiled",
    title="the compiled step",
    modules=("numba",),
    packages=("numba",),
    device="cpu",
    variants=("fp32",),
    kinds=("step_audio",),
    opener=Graph,
)
