"""Uniform numbers that are a function of (seed, step, stream, draw): no state, so order and threads change nothing.

Every candidate cell has its own stream. A number is a chain of 32-bit integer hashes, which NumPy, Numba and an
accelerator compute alike to the last bit; 24 of the bits become the uniform number, exact in single precision too.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

GOLDEN = 0x9E3779B9
"""2^32 / golden ratio: consecutive multiples of it lie far apart modulo 2^32."""
MULTIPLIERS = (0x7FEB352D, 0x846CA68B)
SHIFTS = (16, 15, 16)
"""Constants of the hash `lowbias32` (C. Wellons, Hash Prospector, 2018; public domain)."""
UNIT = 2.0**-24

MASK = 0xFFFFFFFF


def mixed(key: Int[np.ndarray, "*shape"]) -> Int[np.ndarray, "*shape"]:
    """Hash 32-bit keys (held in uint64, so that no product overflows) to 32 bits."""
    for shift, multiplier in zip(SHIFTS, (*MULTIPLIERS, None), strict=True):
        key = key ^ (key >> np.uint64(shift))
        key = key if multiplier is None else (key * np.uint64(multiplier)) & np.uint64(MASK)
    return key


def seed_key(seed: int) -> int:
    """Fold a seed of any size into 32 bits."""
    key = np.array([seed & MASK, (seed >> 32) & MASK], np.uint64)
    low, high = mixed(key)
    return int(mixed(np.array([low ^ ((high + GOLDEN) & np.uint64(MASK))], np.uint64))[0])


def uniforms(
    seed: int, step: int, stream: Int[np.ndarray, "cell"], draws: Int[np.ndarray, "draw"]
) -> Float[np.ndarray, "cell draw"]:
    """Give uniform numbers in [0, 1), one for each (stream, draw)."""
    step_key = mixed(np.array([seed_key(seed) ^ ((step * GOLDEN) & MASK)], np.uint64))
    stream_key = mixed(step_key ^ (stream.astype(np.uint64) & np.uint64(MASK)))
    offset = (draws.astype(np.uint64) * np.uint64(GOLDEN)) & np.uint64(MASK)
    bits = mixed((stream_key[:, None] + offset[None, :]) & np.uint64(MASK))
    return (bits >> np.uint64(8)) * UNIT
