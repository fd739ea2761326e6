"""Random numbers by which a seed means the same latents for ever, for many seeds in one array operation.

Specified in docs/sampling.md. A counter-based generator (Philox4x32-10: Salmon et al. 2011, "Parallel random numbers:
as easy as 1, 2, 3") feeds the inverse of the normal distribution (AS 241 PPND16: Wichura 1988). numpy promises the raw
integers of its Philox, but not the uniform and normal numbers of its `Generator`, and takes one object a seed; here a
block of words follows from (seed, block) alone, vectorized over rows. Everything is built from integer operations and
the four IEEE-754 basic ones plus square root, which every CPU rounds alike; so the logarithm is written out, too.

Dimensions: B seeds, Z numbers per seed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_ROUNDS = 10

# AS 241, coefficients of the three rational approximations, lowest power first.
_A = (
    3.3871328727963666080e0, 1.3314166789178437745e2, 1.9715909503065514427e3, 1.3731693765509461125e4,
    4.5921953931549871457e4, 6.7265770927008700853e4, 3.3430575583588128105e4, 2.5090809287301226727e3,
)  # fmt: skip
_B = (
    1.0, 4.2313330701600911252e1, 6.8718700749205790830e2, 5.3941960214247511077e3,
    2.1213794301586595867e4, 3.9307895800092710610e4, 2.8729085735721942674e4, 5.2264952788528545610e3,
)  # fmt: skip
_C = (
    1.42343711074968357734e0, 4.63033784615654529590e0, 5.76949722146069140550e0, 3.64784832476320460504e0,
    1.27045825245236838258e0, 2.41780725177450611770e-1, 2.27238449892691845833e-2, 7.74545014278341407640e-4,
)  # fmt: skip
_D = (
    1.0, 2.05319162663775882187e0, 1.67638483018380384940e0, 6.89767334985100004550e-1,
    1.48103976427480074590e-1, 1.51986665636164571966e-2, 5.47593808499534494600e-4, 1.05075007164441684324e-9,
)  # fmt: skip
_E = (
    6.65790464350110377720e0, 5.46378491116411436990e0, 1.78482653991729133580e0, 2.96560571828504891230e-1,
    2.65321895265761230930e-2, 1.24266094738807843860e-3, 2.71155556874348757815e-5, 2.01033439929228813265e-7,
)  # fmt: skip
_F = (
    1.0, 5.99832206555887937690e-1, 1.36929880922735805310e-1, 1.48753612908506148525e-2,
    7.86869131145613259100e-4, 1.84631831751005468180e-5, 1.42151175831644588870e-7, 2.04426310338993978564e-15,
)  # fmt: skip


def philox(counter: NDArray[np.uint64], key: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Philox4x32-10: counter (..., 4), key (..., 2) -> (..., 4) random words, all of 32 bits in 64-bit integers."""
    c0, c1, c2, c3 = (counter[..., i] for i in range(4))
    k0, k1 = key[..., 0], key[..., 1]
    for _ in range(_ROUNDS):
        product0, product1 = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            (product1 >> np.uint64(32)) ^ c1 ^ k0,
            product1 & _LOW,
            (product0 >> np.uint64(32)) ^ c3 ^ k1,
            product0 & _LOW,
        )
        k0, k1 = (k0 + np.uint64(_WEYL[0])) & _LOW, (k1 + np.uint64(_WEYL[1])) & _LOW
    return np.stack(np.broadcast_arrays(c0, c1, c2, c3), axis=-1)


def uniforms(seeds: Sequence[int], count: int, stream: int = 0, first: int = 0) -> NDArray[np.float64]:
    """(B, count) numbers strictly between 0 and 1, each from 52 random bits; row b depends on seeds[b] alone.

    They are those from number `first` on, which is even.
    """
    blocks = -(-count // 2)  # a Philox block of four words gives two numbers
    seed = np.array(seeds, np.uint64)
    counter = np.zeros((len(seeds), blocks, 4), np.uint64)
    counter[..., 0] = np.arange(first // 2, first // 2 + blocks, dtype=np.uint64)
    counter[..., 1] = stream
    key = np.stack([seed & _LOW, seed >> np.uint64(32)], axis=-1)[:, None, :]
    words = philox(counter, key).reshape(len(seeds), blocks * 2, 2)
    bits = ((words[..., 0] >> np.uint64(6)) << np.uint64(26)) + (words[..., 1] >> np.uint64(6))
    return np.asarray((bits[:, :count].astype(np.float64) + 0.5) / 2.0**52)  # exact: never 0 or 1


def normals(seeds: Sequence[int], count: int, stream: int = 0) -> NDArray[np.float32]:
    """(B, count) standard normal numbers as float32; row b depends on seeds[b] alone."""
    return inverse_normal(uniforms(seeds, count, stream)).astype(np.float32)


def inverse_normal(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The normal quantile of p in (0, 1), AS 241 PPND16: about 16 digits."""
    q = p - 0.5
    central = 0.180625 - q * q
    middle = q * _ratio(_A, _B, central)
    tail = np.sqrt(-_log(np.where(q < 0, p, 1.0 - p)))
    near, far = tail - 1.6, tail - 5.0
    outer = np.where(tail <= 5.0, _ratio(_C, _D, near), _ratio(_E, _F, far))
    return np.where(np.abs(q) <= 0.425, middle, np.where(q < 0, -outer, outer))


def _ratio(above: tuple[float, ...], below: tuple[float, ...], x: NDArray[np.float64]) -> NDArray[np.float64]:
    return _polynomial(above, x) / _polynomial(below, x)


def _polynomial(coefficients: tuple[float, ...], x: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient  # two roundings each: numpy never fuses them
    return total


def _log(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Natural logarithm by the atanh series, from basic operations alone (libraries round theirs differently)."""
    mantissa, exponent = np.frexp(x)  # x = mantissa * 2**exponent, mantissa in [0.5, 1)
    low = mantissa < 0.70710678118654752440
    mantissa, exponent = np.where(low, mantissa * 2.0, mantissa), exponent - low
    s = (mantissa - 1.0) / (mantissa + 1.0)  # |s| <= 0.1716
    series = _polynomial(tuple(1.0 / (2 * k + 1) for k in range(12)), s * s)
    return 2.0 * s * series + exponent * 0.69314718055994530942
