"""The native loop of a WaveNet: K samples of one or of two sounds, drawing included, compiled by numba.

Every number of a sound comes from one chain of operations in one order, whatever is computed beside it: a matrix
product adds its inputs one after the other (vectors run over the outputs), so that neither the width of the vectors
nor a second sound, which shares the loads of the weights, changes a bit. `contract` alone is allowed of the fast
mathematics: a product and its sum become one rounding, everywhere or nowhere.

Functions: tanh as the quotient of two polynomials (13 over 6: Eigen's, and XLA's), at most 6e-7 off; the sigmoid from
it as (1 + tanh(x / 2)) / 2; exp by 2**n and a polynomial (Cephes' expf), at most 3e-7 of its value off.
Dimensions: G sounds, R, S, H, C, L, Q as in `wavenet_graph`.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

NEGLIGIBLE = 40.0  # in nats below the likeliest, as in handlers/sampling/next_token.py
OPTIONS: dict[str, Any] = {"nogil": True, "fastmath": {"contract"}, "error_model": "numpy", "boundscheck": False}


@functools.cache
def functions() -> tuple[Any, Any]:
    """tanh and exp of one float32, exp for numbers from -80 to 0: compiled into whoever calls them."""
    from numba import float32, int32, njit, types
    from numba.extending import intrinsic

    @intrinsic
    def bitcast(typing: Any, bits: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.bitcast(arguments[0], context.get_value_type(types.float32))

        return types.float32(types.int32), build

    as_float: Any = bitcast

    @njit(**OPTIONS)  # type: ignore[untyped-decorator]
    def tanh(x: Any) -> Any:
        x = min(max(x, float32(-7.90531110763549805)), float32(7.90531110763549805))
        square = x * x
        above = float32(-2.76076847742355e-16) * square + float32(2.00018790482477e-13)
        above = above * square + float32(-8.60467152213735e-11)
        above = above * square + float32(5.12229709037114e-08)
        above = above * square + float32(1.48572235717979e-05)
        above = above * square + float32(6.37261928875436e-04)
        above = above * square + float32(4.89352455891786e-03)
        below = float32(1.19825839466702e-06) * square + float32(1.18534705686654e-04)
        below = below * square + float32(2.26843463243900e-03)
        below = below * square + float32(4.89352518554385e-03)
        return x * above / below

    @njit(**OPTIONS)  # type: ignore[untyped-decorator]
    def exp(x: Any) -> Any:
        power = np.floor(x * float32(1.44269504088896341) + float32(0.5))
        rest = x - power * float32(0.693359375) - power * float32(-2.12194440e-4)
        found = float32(1.9875691500e-4) * rest + float32(1.3981999507e-3)
        found = found * rest + float32(8.3334519073e-3)
        found = found * rest + float32(4.1665795894e-2)
        found = found * rest + float32(1.6666665459e-1)
        found = found * rest + float32(5.0000001201e-1)
        found = found * (rest * rest) + rest + float32(1.0)
        return found * as_float((int32(power) + int32(127)) << int32(23))

    return tanh, exp


@functools.cache
def product(sounds: int) -> Any:
    """into (G, outputs) += x (G, inputs) @ matrix (inputs, outputs), input after input, for one or two sounds."""
    from numba import njit

    @njit(**OPTIONS)  # type: ignore[untyped-decorator]
    def one(x: Any, matrix: Any, into: Any) -> None:
        inputs, outputs = matrix.shape
        four = inputs - inputs % 4
        for i in range(0, four, 4):
            a, b, c, d = x[0, i], x[0, i + 1], x[0, i + 2], x[0, i + 3]
            for o in range(outputs):
                into[0, o] = (
                    into[0, o] + a * matrix[i, o] + b * matrix[i + 1, o] + c * matrix[i + 2, o] + d * matrix[i + 3, o]
                )
        for i in range(four, inputs):
            for o in range(outputs):
                into[0, o] = into[0, o] + x[0, i] * matrix[i, o]

    @njit(**OPTIONS)  # type: ignore[untyped-decorator]
    def two(x: Any, matrix: Any, into: Any) -> None:
        inputs, outputs = matrix.shape
        four = inputs - inputs % 4
        for i in range(0, four, 4):
            a, b, c, d = x[0, i], x[0, i + 1], x[0, i + 2], x[0, i + 3]
            e, f, g, h = x[1, i], x[1, i + 1], x[1, i + 2], x[1, i + 3]
            for o in range(outputs):
                first, second, third, fourth = matrix[i, o], matrix[i + 1, o], matrix[i + 2, o], matrix[i + 3, o]
                into[0, o] = into[0, o] + a * first + b * second + c * third + d * fourth
                into[1, o] = into[1, o] + e * first + f * second + g * third + h * fourth
        for i in range(four, inputs):
            for o in range(outputs):
                into[0, o] = into[0, o] + x[0, i] * matrix[i, o]
                into[1, o] = into[1, o] + x[1, i] * matrix[i, o]

    return {1: one, 2: two}[sounds]


@functools.cache
def drawing() -> Any:
    """The level that a uniform number draws from scores (Q,): the rule of handlers/sampling/next_token.py."""
    from numba import float32, njit

    _, exp = functions()

    @njit(**OPTIONS)  # type: ignore[untyped-decorator]
    def draw(scores: Any, temperature: Any, uniform: Any, weights: Any) -> Any:
        top, best = scores[0], 0
        for i in range(len(scores)):
            if scores[i] > top:
                top, best = scores[i], i
        if temperature == 0.0:
            return best
        scale = float32(1.0 / temperature)
        for i in range(len(scores)):
            below = (scores[i] - top) * scale
            kept = float32(1.0) if below >= float32(-NEGLIGIBLE) else float32(0.0)
            weights[i] = kept * exp(max(below, float32(-80.0)))
        whole, upto = 0.0, 0.0
        for i in range(len(scores)):
            whole += weights[i]
        for i in range(len(scores)):
            upto += weights[i]
            if upto > uniform * whole:
                return i
        return best

    return draw


@functools.cache
def compiled(residual: int, skip: int, hidden: int, layers: int, levels: int, sounds: int) -> Any:
    """The loop for a network of these sizes, and one or two sounds: it changes rings, `levels_out` and `logits_out`.

    `first` is the first sound of the block; it may be called without Python's lock.
    """
    from numba import float32, njit

    (tanh, _), draw = functions(), drawing()
    add_product = product(sounds)

    @njit(**OPTIONS)  # type: ignore[untyped-decorator]
    def loop(  # noqa: PLR0912
        first: Any, samples: Any, times: Any, rings: Any, rows: Any, dilations: Any, starts: Any, conditions: Any,
        uniforms: Any, temperatures: Any, embedding: Any, condition: Any, condition_bias: Any, spread: Any,
        spread_bias: Any, gates: Any, outs: Any, out_biases: Any, head: Any, head_bias: Any, output: Any,
        output_bias: Any, levels_out: Any, logits_out: Any,
    ) -> None:  # fmt: skip
        count, frames = uniforms.shape[1], conditions.shape[1]
        frame = count // frames
        made = np.empty((sounds, hidden), np.float32)
        biases = np.empty((sounds, layers * 2 * residual), np.float32)
        pair = np.empty((sounds, 2 * residual), np.float32)  # [earlier, now]
        gate = np.empty((sounds, 2 * residual), np.float32)
        both = np.empty((sounds, residual + skip), np.float32)
        skips = np.empty((sounds, skip), np.float32)
        heads = np.empty((sounds, skip), np.float32)
        weights = np.empty(levels, np.float32)
        sample = np.empty(sounds, np.int64)
        for g in range(sounds):
            sample[g] = samples[first + g]
        for k in range(count):
            if k % frame == 0:
                for g in range(sounds):
                    made[g, :] = condition_bias
                    for i in range(layers):
                        biases[g, i * 2 * residual : (i + 1) * 2 * residual] = spread_bias[i]
                add_product(conditions[first : first + sounds, k // frame], condition, made)
                for g in range(sounds):
                    for i in range(hidden):
                        made[g, i] = max(made[g, i], float32(0.0))
                add_product(made, spread, biases)
            for g in range(sounds):
                for i in range(residual):
                    pair[g, residual + i] = embedding[sample[g], i]
                for i in range(skip):
                    skips[g, i] = float32(0.0)
            for layer in range(layers):
                for g in range(sounds):
                    place = starts[layer] + (times[first + g] + k) % dilations[layer]
                    ring = rings[rows[first + g], place]
                    for i in range(residual):
                        pair[g, i] = ring[i]
                        ring[i] = pair[g, residual + i]
                    for i in range(2 * residual):
                        gate[g, i] = float32(0.0)
                add_product(pair, gates[layer], gate)
                for g in range(sounds):
                    for i in range(residual):
                        gate[g, i] = gate[g, i] + biases[g, layer * 2 * residual + i]
                        opened = gate[g, residual + i] + biases[g, layer * 2 * residual + residual + i]
                        gate[g, residual + i] = float32(0.5) * opened
                    for i in range(2 * residual):
                        gate[g, i] = tanh(gate[g, i])
                    for i in range(residual):
                        gate[g, i] = gate[g, i] * (float32(0.5) * gate[g, residual + i] + float32(0.5))
                    both[g, :] = out_biases[layer]
                add_product(gate, outs[layer], both)
                for g in range(sounds):
                    for i in range(residual):
                        pair[g, residual + i] += both[g, i]
                    for i in range(skip):
                        skips[g, i] += both[g, residual + i]
            for g in range(sounds):
                for i in range(skip):
                    skips[g, i] = max(skips[g, i], float32(0.0))
                heads[g, :] = head_bias
            add_product(skips, head, heads)
            for g in range(sounds):
                for i in range(skip):
                    heads[g, i] = max(heads[g, i], float32(0.0))
                logits_out[first + g, :] = output_bias
            add_product(heads, output, logits_out[first : first + sounds])
            for g in range(sounds):
                best = draw(logits_out[first + g], temperatures[first + g], uniforms[first + g, k], weights)
                sample[g] = best
                levels_out[first + g, k] = best

    return loop
