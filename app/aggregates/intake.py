"""From detector images of any size to what the models take: 64 x 64 photon counts around the beam, with a mask."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Shaped

from app.aggregates.centre import BLOCK, block_sums, centres
from app.aggregates.measurement import Measurement, Note, binning_for, radius_in_image_px
from app.aggregates.setting import DETECTOR_PX, Setting
from app.errors import InvalidInput

MIDDLE: Final = DETECTOR_PX // 2
"""Row and column of the grid on which the beam is put."""
MAX_BINNING: Final = 128
SENTINELS: Final = (65_535, 2**31 - 1, 2**32 - 1)
"""Values by which detectors mark pixels without a measurement (or far beyond it)."""
LEAST_MEASURED: Final = 0.2
"""Share of the grid that must measure; where no image has as much, the mask is taken for one of the other kind."""
NOISE_PHOTONS: Final = -10.0
"""Values below this, in photons, are no noise of an integrating detector: the pixel does not measure."""
STOP_LEVEL: Final = 0.02
"""Share of the intensity around, below which a pixel near the beam lies in the shadow of the beam stop."""
STOP_REACH_PX: Final = 12.0
"""A beam stop is looked for up to this distance from the beam [grid pixels]."""


@dataclass(frozen=True)
class Prepared:
    """Patterns as the models take them, and how they came about.

    Attributes:
        patterns: photons on the grid; 0 where nothing is measured.
        mask: True where a grid point measures.
        centre_px: row and column of the beam on the grid, within half a pixel of (32, 32).
        settings: of each pattern; lengths in grid pixels.
        beam_px: row and column of the beam on the image as it was sent.
        binning: detector pixels along each side of a grid point.
        notes: for each pattern what there is to know.
    """

    patterns: Float32[np.ndarray, "image 64 64"]
    mask: Bool[np.ndarray, "image 64 64"]
    centre_px: Float[np.ndarray, "image 2"]
    settings: tuple[Setting, ...]
    beam_px: Float[np.ndarray, "image 2"]
    binning: int
    notes: tuple[tuple[Note, ...], ...]

    def __len__(self) -> int:
        return len(self.patterns)


def prepare(
    images: Shaped[np.ndarray, "image row col"],
    mask: Bool[np.ndarray, "*image row col"] | None,
    centre_px: Float[np.ndarray, "*image 2"] | None,
    measurement: Measurement,
) -> Prepared:
    """Bring images to the grid: around the beam, binned by a whole number, in photons. Sums of photons are kept.

    Args:
        images: photons or detector units. NaN, infinities, negative values and `SENTINELS` are not measured.
        mask: True where a pixel measures; for all images or for each.
        centre_px: row and column of the beam [image pixels], pixel centres at whole numbers; for all images or for
            each; None: found by Friedel's law in each.
        measurement: sample and detector.

    Raises:
        InvalidInput: shapes that do not fit, a centre outside of the image, an unknown radius, or a mask that leaves
            almost nothing.
    """
    images, mask = np.asarray(images), _mask_of_all(images, mask)
    radius = radius_in_image_px(measurement)
    binning = measurement.binning or binning_for(radius, *images.shape[1:])
    if not 1 <= binning <= MAX_BINNING:
        raise InvalidInput(f"binning is {binning}; expected 1 to {MAX_BINNING}", details={"field": "binning"})
    beam, found = _beam(images, mask, centre_px, measurement)
    patterns, seen, origins, raw = _gridded(images, mask, beam, binning, measurement)
    centre = (beam - origins - (binning - 1) / 2.0) / binning
    _check_measured(seen)
    settings = _settings(patterns, seen, centre, radius * binning, binning, measurement)
    prepared = Prepared(patterns, seen, centre, settings, beam, binning, ())
    return replace(prepared, notes=_notes(prepared, images.shape[1:], origins, raw, found, measurement))


def _mask_of_all(
    images: Shaped[np.ndarray, "image row col"], mask: Bool[np.ndarray, "*image row col"] | None
) -> Bool[np.ndarray, "image row col"]:
    """One mask an image, without a copy where all share one."""
    if mask is None:
        return np.broadcast_to(np.True_, images.shape)
    single = mask if mask.ndim == 2 else mask[0] if mask.ndim == 3 and len(mask) == 1 else None
    given = mask if single is None else single
    if given.shape not in (images.shape, images.shape[1:]):
        raise InvalidInput(
            f"the mask has the shape {tuple(mask.shape)}, the images have {tuple(images.shape)}: expected one mask "
            "with the rows and columns of the images, or one for each image",
            details={"field": "mask"},
        )
    return np.broadcast_to(given, images.shape)


def _beam(
    images: Shaped[np.ndarray, "image row col"],
    mask: Bool[np.ndarray, "image row col"],
    centre_px: Float[np.ndarray, "*image 2"] | None,
    measurement: Measurement,
) -> tuple[Float[np.ndarray, "image 2"], Float[np.ndarray, "image"] | None]:
    """Where the beam is on each image, and how well the symmetry fits where it was found by that."""
    if centre_px is None:
        blocks = [slice(i, i + BLOCK) for i in range(0, len(images), BLOCK)]
        found = [centres(*photons(images[b], mask[b], measurement.adu_per_photon)) for b in blocks]
        return np.concatenate([beam for beam, _ in found]), np.concatenate([likeness for _, likeness in found])
    given = np.asarray(centre_px, float)
    if given.shape not in ((2,), (1, 2), (len(images), 2)):
        raise InvalidInput(
            f"the centre has the shape {given.shape}; expected (row, column), for all images or for each of the "
            f"{len(images)}",
            details={"field": "centre_px"},
        )
    beam = np.broadcast_to(given, (len(images), 2))
    if not np.isfinite(beam).all() or (beam < -0.5).any() or (beam > np.array(images.shape[1:]) - 0.5).any():
        raise InvalidInput(
            f"the beam centre lies outside of the image of {images.shape[1]} x {images.shape[2]} pixels; give row, "
            "then column, counted from 0",
            details={"field": "centre_px"},
        )
    return beam, None


# --- photons ----------------------------------------------------------------------------------------------------------


def photons(
    images: Shaped[np.ndarray, "image row col"], mask: Bool[np.ndarray, "image row col"], adu_per_photon: float | None
) -> tuple[Float32[np.ndarray, "image row col"], Bool[np.ndarray, "image row col"]]:
    """Photons, 0 where nothing is measured, and where something is.

    With `adu_per_photon`, values are rounded to whole photons, and what noise carried below 0 is 0.
    """
    seen = mask & measures(images, adu_per_photon)
    counts = np.where(seen, images, 0).astype(np.float32)
    if adu_per_photon is not None:
        counts = np.rint(counts / np.float32(adu_per_photon))
    return np.maximum(counts, np.float32(0)), seen


def measures(images: Shaped[np.ndarray, "..."], adu_per_photon: float | None) -> Bool[np.ndarray, "..."]:
    """False where a value says itself that it is none: not finite, negative, or one of `SENTINELS`."""
    seen = np.ones(images.shape, bool)
    if images.dtype.kind == "f":
        seen &= np.isfinite(images)
    if images.dtype.kind in "fi":
        lowest = -0.5 if adu_per_photon is None else NOISE_PHOTONS * adu_per_photon
        seen &= np.greater(images, lowest, out=np.zeros_like(seen), where=seen)
    if images.dtype.kind != "b":
        largest = float((np.finfo if images.dtype.kind == "f" else np.iinfo)(images.dtype).max)
        for value in SENTINELS:
            if value <= largest:
                seen &= images != images.dtype.type(value)
    return seen


# --- the grid ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Raw:
    """Of each image's part under the grid: share of saturated pixels, and whether there are fractions of photons."""

    saturated: Float[np.ndarray, "image"]
    fractional: Bool[np.ndarray, "image"]


def _gridded(
    images: Shaped[np.ndarray, "image row col"],
    mask: Bool[np.ndarray, "image row col"],
    beam: Float[np.ndarray, "image 2"],
    binning: int,
    measurement: Measurement,
) -> tuple[Float32[np.ndarray, "image 64 64"], Bool[np.ndarray, "image 64 64"], np.ndarray, _Raw]:
    """Patterns, masks, the image pixel (row, column) where each grid begins, and facts of the pixels beneath.

    Images with the beam on the same pixel are worked on together.
    """
    origins = np.rint(beam - MIDDLE * binning - (binning - 1) / 2.0).astype(int)
    patterns = np.zeros((len(images), DETECTOR_PX, DETECTOR_PX), np.float32)
    seen = np.zeros(patterns.shape, bool)
    saturated, fractional = np.zeros(len(images)), np.zeros(len(images), bool)
    for origin, rows in _groups(origins):
        part, place = _window(images, origin, DETECTOR_PX * binning)
        values = images[rows, *part]
        counts, good = photons(values, mask[rows, *part], measurement.adu_per_photon)
        patterns[rows], seen[rows] = _binned(counts, good, place, binning)
        saturated[rows] = _saturated(values, counts, measurement)
        fractional[rows] = (counts != np.rint(counts)).any(axis=(1, 2))
    return patterns, seen, origins, _Raw(saturated, fractional)


def _groups(origins: np.ndarray) -> list[tuple[np.ndarray, Any]]:
    """Each origin with the images that have it."""
    if (origins == origins[0]).all():
        return [(origins[0], slice(None))]
    distinct, which = np.unique(origins, axis=0, return_inverse=True)
    return [(origin, np.flatnonzero(which.ravel() == number)) for number, origin in enumerate(distinct)]


def _window(
    images: np.ndarray, origin: np.ndarray, size: int
) -> tuple[tuple[slice, slice], tuple[tuple[int, int], tuple[int, int]]]:
    """The part of an image under the grid, and how many pixels the grid reaches beyond it before and after."""
    parts, beyond = [], []
    for start, length in zip(origin.tolist(), images.shape[1:], strict=True):
        first, last = max(start, 0), min(start + size, length)
        parts.append(slice(first, max(first, last)))
        beyond.append((first - start, start + size - max(first, last)))
    return (parts[0], parts[1]), (beyond[0], beyond[1])


def _binned(
    counts: Float32[np.ndarray, "image row col"],
    good: Bool[np.ndarray, "image row col"],
    beyond: tuple[tuple[int, int], tuple[int, int]],
    binning: int,
) -> tuple[Float32[np.ndarray, "image 64 64"], Bool[np.ndarray, "image 64 64"]]:
    """Sums over blocks; one of which at least half measures is scaled to the whole of it, others do not measure."""
    if any(map(any, beyond)):
        around = ((0, 0), *beyond)
        counts, good = np.pad(counts, around), np.pad(good, around)
    if binning == 1:
        return counts, good
    total, measured = block_sums(counts, binning), block_sums(good.astype(np.float32), binning)
    seen = measured >= 0.5 * binning**2
    scale = np.divide(binning**2, measured, out=np.zeros_like(total), where=seen)
    return total * scale, seen


def _saturated(
    images: Shaped[np.ndarray, "image row col"], counts: Float32[np.ndarray, "image row col"], measurement: Measurement
) -> Float[np.ndarray, "image"]:
    """Share of pixels at the full well, or at the largest value of their type, beam stop or not."""
    if images[0].size == 0:
        return np.zeros(len(images))
    full = counts >= measurement.full_well if measurement.full_well is not None else np.zeros(counts.shape, bool)
    if images.dtype.kind in "ui":
        full |= images == np.iinfo(images.dtype).max
    return full.mean(axis=(1, 2))


def _check_measured(seen: Bool[np.ndarray, "image 64 64"]) -> None:
    most = float(seen.mean(axis=(1, 2)).max())
    if most < LEAST_MEASURED:
        raise InvalidInput(
            f"at most {100 * most:.0f} % of the grid around the beam measures; {100 * LEAST_MEASURED:.0f} % must. If "
            "the mask marks good pixels with 1, say mask_marks = good; check the beam centre too",
            details={"field": "mask"},
        )


# --- setting ----------------------------------------------------------------------------------------------------------


def _settings(
    patterns: Float32[np.ndarray, "image 64 64"],
    seen: Bool[np.ndarray, "image 64 64"],
    centre: Float[np.ndarray, "image 2"],
    radius_px: float,
    binning: int,
    measurement: Measurement,
) -> tuple[Setting, ...]:
    area = binning**2
    given = measurement.beam_stop_px
    stops = np.full(len(patterns), given / binning) if given is not None else shadows(patterns, seen, centre)
    full_well = None if measurement.full_well is None else measurement.full_well * area
    background = None if measurement.background is None else measurement.background * area
    return tuple(
        Setting(radius_px, float(stop), measurement.particle, full_well, background) for stop in stops.tolist()
    )


def distances(centre: Float[np.ndarray, "image 2"]) -> Float[np.ndarray, "image 64 64"]:
    """Distance of each grid point from the beam [grid pixels]."""
    index = np.arange(DETECTOR_PX)
    down, right = np.square(index - centre[:, :1]), np.square(index - centre[:, 1:])
    return np.sqrt(down[:, :, None] + right[:, None, :])


def shadows(
    patterns: Float32[np.ndarray, "image 64 64"],
    seen: Bool[np.ndarray, "image 64 64"],
    centre: Float[np.ndarray, "image 2"],
) -> Float[np.ndarray, "image"]:
    """Radius of the beam stop [grid pixels]: up to there nothing is measured, or next to nothing; 0 where none is seen.

    Without a stop the intensity is largest at the beam itself.
    """
    near = distances(centre)
    reach = near <= STOP_REACH_PX
    bright = np.array(
        [_upper_decile(pattern[near_beam]) for pattern, near_beam in zip(patterns, reach & seen, strict=True)]
    )
    dark = ~seen | (patterns <= STOP_LEVEL * bright[:, None, None])
    edge = np.where(reach & ~dark, near, STOP_REACH_PX).min(axis=(1, 2))
    return np.where(edge <= 1.0, 0.0, np.maximum(edge - 0.5, 0.0))


def _upper_decile(values: Float32[np.ndarray, "any"]) -> float:
    """The value that nine tenths lie below, linear between values; 0 of none. NumPy's costs three times as much."""
    if not values.size:
        return 0.0
    ordered, at = np.sort(values), 0.9 * (values.size - 1)
    below, above = float(ordered[math.floor(at)]), float(ordered[math.ceil(at)])
    return below + (above - below) * (at % 1.0)


# --- notes ------------------------------------------------------------------------------------------------------------

FEW_PHOTONS: Final = 3000.0
MUCH_MASKED: Final = 0.35
MUCH_SATURATED: Final = 0.001
MUCH_ASYMMETRY: Final = 0.3
WIDE_ANGLE_RAD: Final = 0.1


def _notes(
    prepared: Prepared,
    shape: Sequence[int],
    origins: np.ndarray,
    raw: _Raw,
    found: Float[np.ndarray, "image"] | None,
    measurement: Measurement,
) -> tuple[tuple[Note, ...], ...]:
    common = _common_notes(prepared.binning, measurement)
    total = prepared.patterns.sum(axis=(1, 2))
    measured = prepared.mask.mean(axis=(1, 2))
    uneven = asymmetry(prepared.patterns, prepared.mask, prepared.centre_px)
    size = DETECTOR_PX * prepared.binning
    padded = np.any((origins < 0) | (origins + size > np.array(shape)), axis=1).tolist()
    rows = zip(total, measured, uneven, padded, raw.saturated, raw.fractional, strict=True)
    own = [_own_notes(*row) for row in rows]
    return tuple(
        (*common, *notes, *_found_notes(prepared, number, found, measurement)) for number, notes in enumerate(own)
    )


def _common_notes(binning: int, measurement: Measurement) -> list[Note]:
    notes = []
    if binning > 1:
        notes.append(Note("binned", f"{binning} x {binning} detector pixels were added up for each grid point"))
    distance, pixel = measurement.detector_distance_mm, measurement.pixel_um
    if distance and pixel and DETECTOR_PX / 2 * binning * pixel / 1000.0 / distance > WIDE_ANGLE_RAD:
        notes.append(
            Note("wide-angle", f"the grid reaches beyond {WIDE_ANGLE_RAD:g} rad, where I(q) = I(-q) need not hold")
        )
    return notes


def _own_notes(
    total: float, measured: float, uneven: float, padded: bool, saturated: float, fractional: bool
) -> list[Note]:
    table = {
        "padded": (padded, "the grid around the beam reaches beyond the image; what lies beyond is not measured"),
        "few-photons": (total < FEW_PHOTONS, f"{total:.0f} photons in the whole pattern"),
        "masked": (1.0 - measured > MUCH_MASKED, f"{100 * (1 - measured):.0f} % of the grid is not measured"),
        "saturated": (saturated > MUCH_SATURATED, f"{100 * saturated:.1f} % of the pixels are saturated"),
        "asymmetric": (
            uneven > MUCH_ASYMMETRY,
            f"mates I(q) and I(-q) differ by {100 * uneven:.0f} % more than by counting: the centre may be wrong, or "
            "something else scatters",
        ),
        "not-counts": (
            fractional,
            "the values are not whole numbers of photons; give adu_per_photon if they are detector units",
        ),
    }
    return [Note(code, message) for code, (present, message) in table.items() if present]


def _found_notes(
    prepared: Prepared, number: int, found: Float[np.ndarray, "image"] | None, measurement: Measurement
) -> list[Note]:
    notes = []
    if found is not None:
        row, column = prepared.beam_px[number]
        how = (
            f"correlation of mates {found[number]:.2f}" if found[number] > 0 else "nothing found: the middle was taken"
        )
        notes.append(
            Note("centre-estimated", f"the beam was looked for and put at row {row:.1f}, column {column:.1f}; {how}")
        )
    if measurement.beam_stop_px is None:
        stop = prepared.settings[number].beam_stop_px * prepared.binning
        notes.append(
            Note("beam-stop-estimated", f"the beam stop was taken to have a radius of {stop:.1f} detector pixels")
        )
    return notes


def asymmetry(
    patterns: Float32[np.ndarray, "image 64 64"],
    mask: Bool[np.ndarray, "image 64 64"],
    centre: Float[np.ndarray, "image 2"],
) -> Float[np.ndarray, "image"]:
    """Sum of |I - I'| over sum of I + I' for mates I(q), I'(-q), less what Poisson counting makes of it.

    For large counts |I - I'| is on average sqrt(2 (I + I') / pi); it is never more than I + I'.
    """
    answer = np.zeros(len(patterns))
    for number, (pattern, seen, twice) in enumerate(zip(patterns, mask, np.rint(2 * centre).astype(int), strict=True)):
        part = tuple(_mates(n) for n in twice.tolist())
        ours, theirs = pattern[part], pattern[part][::-1, ::-1]
        both = seen[part] & seen[part][::-1, ::-1]
        total = (ours + theirs)[both]
        if total.sum() > 0:
            expected = np.minimum(np.sqrt(2.0 * total / np.pi), total).sum()
            answer[number] = max(0.0, (np.abs(ours - theirs)[both].sum() - expected) / total.sum())
    return answer


def _mates(twice: int) -> slice:
    """Indices along an axis whose mirror image around twice / 2 lies on the grid."""
    return slice(max(0, twice - DETECTOR_PX + 1), min(DETECTOR_PX - 1, twice) + 1)
