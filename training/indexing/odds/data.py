"""Patterns by which a network learns how probable each Bravais lattice is.

A third of what it sees are random lattices (`data.lattice_patterns`), a third synthetic crystals, a third published
structures (`data.pattern_set`). All lose lines, get foreign ones, errors and a zero shift, anew in each epoch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Bool, Float, Int

from app.crystallography.bragg import dq2_d_two_theta, q2_from_two_theta, two_theta_from_q2
from app.crystallography.space_group_counts import SPACE_GROUP_COUNTS
from app.indexing.learned.template_features import N_LINES
from app.indexing.problem import BRAVAIS
from training.indexing.data.lattice_patterns import PatternOptions, draw_patterns, group_frequency
from training.indexing.data.lattices import bravais_of
from training.indexing.data.pattern_set import PatternSet, read_patterns

WAVELENGTH_ANG = PatternOptions().wavelength_ang
N_DRAWN = 30
"""Lines of a pattern before some are lost."""
_END_DEG = 178.0
_LARGEST_Q2 = 0.999 * (2.0 / WAVELENGTH_ANG) ** 2
_LEAST_LINES = 8
_MOLECULAR = {14: 34.2, 2: 25.0, 15: 8.3, 19: 7.0, 4: 5.1, 61: 3.3, 33: 1.4, 9: 1.1, 62: 1.1, 1: 1.0, 60: 0.9, 148: 0.8}
"""How often space groups occur in molecular crystals, in percent, rounded: those of the Cambridge Structural Database
that are more frequent than 0.7%."""


@dataclass(frozen=True)
class Examples:
    """Clean patterns.

    Attributes:
        q2: of the first lines, Angstrom^-2, NaN where a pattern has fewer, shape (pattern, peak).
        lattice: index into `BRAVAIS`.
        weight: how much each counts; the weights of a lattice are as its frequency.
        validation: not to be learnt from.
        real: a published structure.
    """

    q2: Float[np.ndarray, "pattern peak"]
    lattice: Int[np.ndarray, "pattern"]
    weight: Float[np.ndarray, "pattern"]
    validation: Bool[np.ndarray, "pattern"]
    real: Bool[np.ndarray, "pattern"]

    def __len__(self) -> int:
        return len(self.lattice)

    def take(self, rows: Int[np.ndarray, "row"] | Bool[np.ndarray, "pattern"]) -> Examples:
        """Give some of the patterns."""
        return Examples(*(values[rows] for values in (self.q2, self.lattice, self.weight, self.validation, self.real)))


@dataclass(frozen=True)
class Disturbance:
    """What is done to clean lines. A pair is the range of a uniform distribution, drawn for each pattern.

    Attributes:
        lost: share of the lines that are missing.
        foreign: chance of 0, 1, 2, ... impurity lines.
        sigma_deg: error of a line, degrees of 2theta.
        zero_sigma_deg: standard deviation of the zero shift.
        zero_deg: size of a zero shift of either sign, added to it.
        short: share of the patterns that end before the twentieth line.
    """

    lost: tuple[float, float] = (0.0, 0.12)
    foreign: tuple[float, ...] = (0.5, 0.17, 0.13, 0.08, 0.06, 0.06)
    sigma_deg: tuple[float, float] = (0.003, 0.03)
    zero_sigma_deg: float = 0.04
    zero_deg: float = 0.0
    short: float = 0.15


@cache
def frequencies() -> Float[np.ndarray, "lattice"]:
    """How often each Bravais lattice occurs, in the order of `BRAVAIS`; the sum is 1.

    The mean over minerals, molecular crystals, and all databases together: a beamline sees all of them.
    """
    mixed = {number: group_frequency(number) for number in range(1, 231)}
    parts = [_by_lattice(counts) for counts in (SPACE_GROUP_COUNTS, _MOLECULAR, mixed)]
    return np.mean([part / part.sum() for part in parts], axis=0)


def _by_lattice(counts: Mapping[int, float]) -> Float[np.ndarray, "lattice"]:
    lattices = {number: bravais_of(gemmi.find_spacegroup_by_number(number)) for number in counts}
    return np.array([sum(counts[n] for n, symbol in lattices.items() if symbol == bravais) for bravais in BRAVAIS])


def synthetic(per_lattice: int, *, seed: int) -> Examples:
    """Draw random lattices, as many of each kind."""
    options = PatternOptions(n_lines=N_DRAWN, foreign=0.0)
    found = [
        np.sort(draw_patterns(symbol, per_lattice, np.random.default_rng([seed, *symbol.encode()]), options)
                .q2_inv_ang2, axis=1)
        for symbol in BRAVAIS
    ]  # fmt: skip
    lattice = np.repeat(np.arange(len(BRAVAIS)), per_lattice)
    return _weighted(np.concatenate(found), lattice, np.zeros(len(lattice), bool), real=False)


def cached_synthetic(folder: Path, per_lattice: int, *, seed: int) -> Examples:
    """Draw random lattices, or read those drawn before with the same count and seed."""
    path = folder / f"synthetic-{per_lattice}-{seed}.npz"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez(part, **vars(synthetic(per_lattice, seed=seed)))
        part.rename(path)
    with np.load(path) as data:
        return Examples(**{name: data[name] for name in data.files})


def made(folder: Path, *, real: bool) -> Examples:
    """Read the published structures, or the synthetic crystals, of a folder of patterns."""
    patterns: PatternSet = read_patterns(folder, real=real)
    q2 = patterns.q2[:, :N_DRAWN].astype(float)
    enough = np.isfinite(q2).sum(axis=1) >= _LEAST_LINES
    return _weighted(q2[enough], patterns.bravais[enough].astype(int), patterns.validation[enough], real=real)


def joined(parts: Sequence[Examples]) -> Examples:
    """Put several sets one behind the other, each with the same weight in all."""
    names = ("q2", "lattice", "weight", "validation", "real")
    return Examples(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _weighted(
    q2: Float[np.ndarray, "pattern peak"],
    lattice: Int[np.ndarray, "pattern"],
    validation: Bool[np.ndarray, "pattern"],
    *,
    real: bool,
) -> Examples:
    """Weigh patterns so that those to be learnt from come to the frequency of each lattice, and to 1 in all."""
    counts = np.bincount(lattice[~validation], minlength=len(BRAVAIS))
    weight = frequencies()[lattice] / np.maximum(counts[lattice], 1)
    weight = weight / weight[~validation].sum()
    return Examples(q2, lattice, weight, validation, np.full(len(lattice), real))


def disturbed(
    q2: Float[np.ndarray, "pattern peak"], how: Disturbance, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "pattern peak"], Float[np.ndarray, "pattern peak"]]:
    """Make of clean lines what is measured.

    Args:
        q2: clean, ascending, NaN behind the last.
        how: what is done to them.
        rng: of all chance.

    Returns:
        q^2 of the first lines and what a degree is worth at each, as `template_features` takes them.
    """
    there = np.isfinite(q2) & (q2 < _LARGEST_Q2)
    two_theta = two_theta_from_q2(q2_inv_ang2=np.where(there, q2, 0.1), wavelength_ang=WAVELENGTH_ANG)
    lost = rng.random(q2.shape) < rng.uniform(*how.lost, (len(q2), 1))
    # The first lines of a short pattern stay.
    lost &= np.cumsum(there & ~lost, axis=1) > _LEAST_LINES
    two_theta = np.where(there & ~lost, two_theta, np.nan)
    two_theta = np.concatenate((two_theta, _foreign(two_theta, how, rng)), axis=1)
    two_theta += rng.uniform(*how.sigma_deg, (len(q2), 1)) * rng.standard_normal(two_theta.shape)
    two_theta += how.zero_sigma_deg * rng.standard_normal((len(q2), 1))
    two_theta += how.zero_deg * rng.choice((-1.0, 1.0), (len(q2), 1))
    two_theta = np.sort(np.clip(two_theta, 0.2, _END_DEG), axis=1)[:, :N_LINES]
    two_theta = np.pad(two_theta, ((0, 0), (0, N_LINES - two_theta.shape[1])), constant_values=np.nan)
    ends = np.where(rng.random(len(q2)) < how.short, rng.integers(_LEAST_LINES, N_LINES, len(q2)), N_LINES)
    two_theta[np.arange(N_LINES) >= ends[:, None]] = np.nan
    seen = np.isfinite(two_theta)
    noisy = q2_from_two_theta(two_theta_deg=np.where(seen, two_theta, 90.0), wavelength_ang=WAVELENGTH_ANG)
    slope = dq2_d_two_theta(q2_inv_ang2=noisy, wavelength_ang=WAVELENGTH_ANG)
    return np.where(seen, noisy, np.nan), np.where(seen, slope, np.nan)


def _foreign(
    two_theta: Float[np.ndarray, "pattern peak"], how: Disturbance, rng: np.random.Generator
) -> Float[np.ndarray, "pattern foreign"]:
    """Impurity lines anywhere between the first line and the twentieth."""
    most = len(how.foreign) - 1
    low = np.nanmin(two_theta, axis=1, keepdims=True)
    high = np.nanmax(np.sort(two_theta, axis=1)[:, :N_LINES], axis=1, keepdims=True)
    places = low + (high - low) * rng.random((len(two_theta), most))
    count = rng.choice(len(how.foreign), len(two_theta), p=how.foreign)
    return np.where(np.arange(most) < count[:, None], places, np.nan)
