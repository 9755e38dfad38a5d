"""Spheres in space, weakly scattering: their far field is the sphere's form factor times a sum of phases."""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Complex64, Float, Float32, Int

from training.aggregates.detector import IMAGE
from training.aggregates.discs import PADDED, squared_modulus
from training.aggregates.place import OBJECT

SERIES_BELOW: Final = 0.2
"""Below this q r the form factor is taken from its series, where single precision would cancel."""


def form_factor(qr: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Amplitude of a uniform sphere, 1 at q = 0: 3 (sin x - x cos x)/x^3 (Rayleigh, Proc. R. Soc. A 84, 25, 1910).

    Args:
        qr: 2 pi times spatial frequency times radius, any shape.
    """
    small = np.abs(qr) < SERIES_BELOW
    x = np.where(small, 1, qr)
    square = np.square(qr)
    return np.where(small, 1 - square / 10 + square**2 / 280, 3 * (np.sin(x) - x * np.cos(x)) / x**3)


def self_energy(radius_px: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Integral of the squared projected thickness, 4 (r^2 - s^2), of one sphere [px^4]: 2 pi r^4."""
    return 2 * np.pi * radius_px**4


def intensity(
    centres_px: Float[np.ndarray, "image particle axis"],
    radii_px: Float[np.ndarray, "image particle"],
    number: Int[np.ndarray, " image"],
    beam_px: Float[np.ndarray, "image 2"],
) -> Float32[np.ndarray, "image row col"]:
    """|F|^2/128^2 of spheres [px^4], F(q) = sum_j V_j f(q r_j) exp(-i q.x_j).

    First Born approximation at small angles: q lies in the plane of the detector, so depth does not matter, and a
    sphere before another adds to its thickness.

    Args:
        centres_px: (row, column, depth) [object pixels].
        radii_px: radii [object pixels].
        number: spheres of each aggregate.
        beam_px: row and column of the direct beam in each pattern [detector pixels].
    """
    amplitude = np.zeros((len(number), IMAGE, IMAGE), np.complex64)
    for k in range(int(number.max(initial=0))):
        some = np.flatnonzero(number > k)
        amplitude[some] += _one(centres_px[some, k], radii_px[some, k], beam_px[some])
    return squared_modulus(amplitude) / np.float32(PADDED**2)


def _one(
    centre: Float[np.ndarray, "image axis"], radius: Float[np.ndarray, " image"], beam: Float[np.ndarray, "image 2"]
) -> Complex64[np.ndarray, "image row col"]:
    q = ((2 * np.pi / PADDED) * (np.arange(IMAGE) - beam[:, :, None])).astype(np.float32)
    modulus = np.sqrt((q[:, 0] ** 2)[:, :, None] + (q[:, 1] ** 2)[:, None, :])
    volume = (4 / 3 * np.pi * radius**3).astype(np.float32)
    sphere = volume[:, None, None] * form_factor(modulus * radius.astype(np.float32)[:, None, None])
    wave = np.exp(-1j * q * (centre[:, :2] - OBJECT / 2).astype(np.float32)[:, :, None])
    return sphere * wave[:, 0, :, None] * wave[:, 1, None, :]


def thickness(
    centres_px: Float[np.ndarray, "image particle axis"],
    radii_px: Float[np.ndarray, "image particle"],
    number: Int[np.ndarray, " image"],
) -> Float32[np.ndarray, "image y x"]:
    """Projected thickness [px] of the spheres on the object grid, 2 sqrt(r^2 - s^2) each, summed."""
    grid = np.arange(OBJECT, dtype=np.float32)
    total = np.zeros((len(number), OBJECT, OBJECT), np.float32)
    for k in range(int(number.max(initial=0))):
        some = np.flatnonzero(number > k)
        row, col = centres_px[some, k, :2].astype(np.float32).T
        squared = ((grid - row[:, None]) ** 2)[:, :, None] + ((grid - col[:, None]) ** 2)[:, None, :]
        total[some] += 2 * np.sqrt(np.maximum(np.float32(radii_px[some, k, None, None]) ** 2 - squared, 0))
    return total
