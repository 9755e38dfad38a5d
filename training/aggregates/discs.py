"""Flat discs: the union of their areas, and its far field."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Complex64, Float, Float32, Int

from training.aggregates.detector import CENTRE, IMAGE
from training.aggregates.place import OBJECT

PADDED: Final = 2 * OBJECT
"""Points of the padded Fourier transform: neighbouring detector pixels are 1/128 cycle per object pixel apart, half of
what the object's 64 px ask for (Shannon), so that the pattern's Fourier transform is the object's whole
autocorrelation."""
EDGE_PX: Final = 1.0
"""Width over which an edge falls from 1 to 0."""


def union(
    centres_px: Float[np.ndarray, "image particle axis"],
    radii_px: Float[np.ndarray, "image particle"],
    number: Int[np.ndarray, " image"],
) -> Float32[np.ndarray, "image y x"]:
    """Objects: 1 inside any disc, 0 outside all, with an edge that falls linearly over one pixel.

    Args:
        centres_px: rows and columns [object pixels]; further axes are not read.
        radii_px: radii [object pixels].
        number: discs of each object.
    """
    grid = np.arange(OBJECT, dtype=np.float32)
    depth = np.full((len(number), OBJECT, OBJECT), -np.inf, np.float32)
    for k in range(int(number.max(initial=0))):
        some = np.flatnonzero(number > k)
        row, col = centres_px[some, k, :2].astype(np.float32).T
        squared = ((grid - row[:, None]) ** 2)[:, :, None] + ((grid - col[:, None]) ** 2)[:, None, :]
        inside = radii_px[some, k, None, None].astype(np.float32) - np.sqrt(squared)
        depth[some] = np.maximum(depth[some], inside)
    return np.clip(depth / np.float32(EDGE_PX) + np.float32(0.5), 0, 1)


def self_energy(radius_px: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Integral of the squared object over one disc [px^2]: pi (r^2 - r w/3 + w^2/12) with an edge of width w."""
    return np.pi * (radius_px**2 - radius_px * EDGE_PX / 3 + EDGE_PX**2 / 12)


def far_field(
    objects: Float32[np.ndarray, "image y x"], centres_px: Float[np.ndarray, "image 2"]
) -> Complex64[np.ndarray, "image row col"]:
    """Fourier transform of objects at the 64 x 64 central points of the padded grid.

    F(k) = sum_x rho(x) exp(-2 pi i (k - c) x / 128) is written as two products of matrices: only the points that the
    detector sees are computed, and c, where the direct beam falls, need not be a whole pixel.

    Args:
        objects: shape (image, 64, 64).
        centres_px: row and column of the direct beam in each pattern [detector pixels].
    """
    if np.all(centres_px == CENTRE):
        centres_px = centres_px[:1]
    rows, cols = (_waves(centres_px[:, axis]) for axis in (0, 1))
    return rows @ objects.astype(np.complex64) @ cols.transpose(0, 2, 1)


def _waves(centre_px: Float[np.ndarray, " image"]) -> Complex64[np.ndarray, "image k x"]:
    offset = (np.arange(IMAGE) - centre_px[:, None])[:, :, None]
    phase = -2 * np.pi / PADDED * offset * (np.arange(OBJECT) - OBJECT / 2)
    return np.exp(1j * phase.astype(np.float32)).astype(np.complex64)


def intensity(
    centres_px: Float[np.ndarray, "image particle axis"],
    radii_px: Float[np.ndarray, "image particle"],
    number: Int[np.ndarray, " image"],
    beam_px: Float[np.ndarray, "image 2"],
) -> Float32[np.ndarray, "image row col"]:
    """|F|^2/128^2 of the union [px^2]: over the whole padded grid it sums to the object's squared sum (Parseval)."""
    return squared_modulus(far_field(union(centres_px, radii_px, number), beam_px)) / np.float32(PADDED**2)


def squared_modulus(amplitude: Complex64[np.ndarray, "..."]) -> Float32[np.ndarray, "..."]:
    """|F|^2, without the root that `abs` would take."""
    return np.square(np.real(amplitude)) + np.square(np.imag(amplitude))
