"""Where the direct beam fell on a detector, from the pattern alone: I(q) = I(-q) (Friedel's law, small angles)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from jaxtyping import Bool, Complex, Float

COARSE_PX: Final = 256
"""Larger images are binned to fewer rows and columns than this before the centre is looked for."""
LEAST_OVERLAP: Final = 0.25
"""Share of the pixels that must have a mirror image within the detector; nearer to the edge no centre is looked for."""
BLOCK: Final = 8
"""Images worked on at a time; their transforms stay in the processor's cache."""


def centres(
    images: Float[np.ndarray, "image row col"], mask: Bool[np.ndarray, "image row col"]
) -> tuple[Float[np.ndarray, "image 2"], Float[np.ndarray, "image"]]:
    """Point (row, column) around which each image is most like itself turned by 180 degrees.

    Args:
        images: photon counts.
        mask: True where a pixel measures.

    Returns:
        Centres [pixels], pixel centres at whole numbers; and the correlation of log(1 + I) between mates there, 1 for
        perfect symmetry, 0 where nothing was found.
    """
    step = -(-max(images.shape[1:]) // COARSE_PX)
    counts, weight = _coarse(images, mask, step)
    found = [_centres(counts[i : i + BLOCK], weight[i : i + BLOCK]) for i in range(0, len(counts), BLOCK)]
    coarse, likeness = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return coarse * step + (step - 1) / 2.0, likeness


def _coarse(
    images: Float[np.ndarray, "image row col"], mask: Bool[np.ndarray, "image row col"], step: int
) -> tuple[Float[np.ndarray, "image row col"], Float[np.ndarray, "image row col"]]:
    """log(1 + mean) of blocks of step x step pixels, and 1 where at least half of a block measures."""
    if step == 1:
        return np.log1p(np.where(mask, images, 0.0)), mask.astype(float)
    total, measured = (block_sums(values, step) for values in (np.where(mask, images, 0.0), mask.astype(np.float32)))
    seen = measured >= 0.5 * step * step
    mean = np.divide(total, measured, out=np.zeros_like(total, dtype=float), where=seen)
    return np.log1p(mean), seen.astype(float)


def block_sums(values: Float[np.ndarray, "image row col"], step: int) -> Float[np.ndarray, "image row2 col2"]:
    """Sums over blocks of step x step pixels; incomplete blocks at the far edges are left out."""
    rows, columns = (size // step for size in values.shape[1:])
    whole = values[:, : rows * step, : columns * step]
    return whole.reshape(len(values), rows, step, columns, step).sum(axis=(2, 4))


def _centres(
    values: Float[np.ndarray, "image row col"], weight: Float[np.ndarray, "image row col"]
) -> tuple[Float[np.ndarray, "image 2"], Float[np.ndarray, "image"]]:
    likeness = self_likeness(values, weight)
    flat = likeness.reshape(len(likeness), -1)
    best = flat.argmax(axis=1)
    rows, columns = np.unravel_index(best, likeness.shape[1:])
    twice = np.stack([_vertex(likeness, rows, columns, axis) for axis in (0, 1)], axis=1)
    found = flat[np.arange(len(flat)), best]
    middle = (np.array(values.shape[1:]) - 1) / 2.0
    return np.where(found[:, None] > 0, twice / 2.0, middle), np.maximum(found, 0.0)


def self_likeness(
    values: Float[np.ndarray, "image row col"], weight: Float[np.ndarray, "image row col"]
) -> Float[np.ndarray, "image row2 col2"]:
    """Correlation of each image with itself turned around u / 2, over the pixels where both measure, for every u.

    The masked normalized correlation of D. Padfield, IEEE Trans. Image Process. 21, 2706 (2012), eq. 24, where the
    second image is the first one turned: its sums over the overlap are those of the first.
    """
    size = (2 * values.shape[1], 2 * values.shape[2])
    window = _window(weight)
    spectrum, squares = (np.fft.rfft2(one, size) for one in (values * weight, np.square(values) * weight))
    total, square, product = (
        np.fft.irfft2(one, size) for one in (spectrum * window.spectrum, squares * window.spectrum, spectrum**2)
    )
    common = total**2 / window.count
    variance = square - common
    sound = window.enough & (variance > 1e-6 * np.abs(square))
    return np.divide(product - common, variance, out=np.full_like(variance, -1.0), where=sound)


@dataclass(frozen=True)
class _Window:
    """What follows from where images measure.

    Attributes:
        spectrum: transform of the weights.
        enough: at these u the overlap is large enough.
        count: pixels in the overlap there, 1 elsewhere.
    """

    spectrum: Complex[np.ndarray, "image row2 half"]
    enough: Bool[np.ndarray, "image row2 col2"]
    count: Float[np.ndarray, "image row2 col2"]


def _window(weight: Float[np.ndarray, "image row col"]) -> _Window:
    """Of all images at once where they measure at the same pixels, as those of one detector mostly do."""
    if (weight != weight[:1]).any():
        return _window_of(weight)
    return _kept_window(np.packbits(weight[0] > 0.0).tobytes(), weight.shape[1:])


@lru_cache(maxsize=4)
def _kept_window(bits: bytes, shape: tuple[int, int]) -> _Window:
    measured = np.unpackbits(np.frombuffer(bits, np.uint8), count=math.prod(shape))
    return _window_of(measured.reshape(1, *shape).astype(float))


def _window_of(weight: Float[np.ndarray, "image row col"]) -> _Window:
    size = (2 * weight.shape[1], 2 * weight.shape[2])
    spectrum = np.fft.rfft2(weight, size)
    overlap = np.fft.irfft2(spectrum**2, size)
    enough = overlap > LEAST_OVERLAP * weight.sum(axis=(1, 2))[:, None, None]
    return _Window(spectrum, enough, np.where(enough, overlap, 1.0))


def _vertex(
    likeness: Float[np.ndarray, "image row2 col2"], rows: np.ndarray, columns: np.ndarray, axis: int
) -> Float[np.ndarray, "image"]:
    """Vertex of the parabola through the best point and its two neighbours along an axis."""
    place = (rows, columns)[axis]
    near = np.minimum(np.maximum(place + np.array([[-1], [0], [1]]), 0), likeness.shape[1 + axis] - 1)
    image = np.arange(len(likeness))
    before, here, after = likeness[image, near, columns] if axis == 0 else likeness[image, rows, near]
    curvature = before - 2.0 * here + after
    flat = (curvature >= -1e-12) | (before <= -1.0) | (after <= -1.0)
    return place + np.where(flat, 0.0, 0.5 * (before - after) / np.where(flat, 1.0, curvature))
