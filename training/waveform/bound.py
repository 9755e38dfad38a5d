"""How well any estimator can know the separation d of two scatters: the Cramer-Rao bound.

The binned pulse x is a sum over electrons: its mean m and covariance C follow from the electrons' arrival density, the
light of one electron while it crosses the gas, Poisson photons, the spread of a photon's charge, and the noise. The
Fisher information about (d, middle, split, ln electrons, drift time) has no closed form; it lies between two that have:

- ``linear``: dm^T C^-1 dm, that of the best estimating function which is linear in x. A lower limit.
- ``electrons``: that of a detector which sees when each electron arrives. An upper limit, since the waveform is made
  from these times (data processing inequality): no unbiased estimator does better.

``gaussian`` is the textbook's formula for a Gaussian x, dm^T C^-1 dm + tr(C^-1 dC C^-1 dC) / 2 (Kay, Estimation Theory,
1993, eq. 3.31). It is here to be compared with: in bins of few electrons x is not Gaussian, its variance says nothing
that its mean does not say, and the formula claims more information than the electrons have.

docs/waveform-simulation.md gives the three in numbers and says what the bound means near d = 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_factor, cho_solve, toeplitz
from scipy.special import ndtr

from app.errors import InvalidInput
from training.waveform.electronics import ar_amplitude
from training.waveform.light import crossing, decay_shares, delay_kernel, gaussian_kernel
from training.waveform.settings import SAMPLE_US, SAMPLES, Emission, Simulation
from training.waveform.simulate import Truth

Information = Literal["linear", "gaussian", "electrons"]

PARAMETERS: Final = ("d_us", "middle_us", "split", "ln_electrons", "drift_time_us")
D: Final = 0
DRIFT: Final = PARAMETERS.index("drift_time_us")

REACH_SIGMAS: Final = 5.0
BINS_PER_SIGMA: Final = 3.0
BIN_SAMPLES: Final = (4, 20)
"""A bin is a third of the narrower scatter's width, within these limits (0.04 to 0.2 us)."""

CELLS: Final = 2
"""Cells of electrons in a bin of light."""


@dataclass(frozen=True)
class Pulse:
    """Where one pulse's electrons come from: two scatters.

    Attributes:
        d_us: separation [us].
        drift_time_us: of the first scatter [us].
        electrons: of both scatters.
        split: share of the first.
    """

    d_us: float
    drift_time_us: float
    electrons: float
    split: float


class Moments(NamedTuple):
    """Mean and covariance of the light in bins, and their derivatives with respect to `PARAMETERS`."""

    mean: Float[np.ndarray, "bin"]
    covariance: Float[np.ndarray, "bin bin"]
    dmean: Float[np.ndarray, "param bin"]
    dcovariance: Float[np.ndarray, "param bin bin"] | None


class Density(NamedTuple):
    """Electrons of each scatter in cells of time, and derivatives.

    Attributes:
        share: of a scatter's electrons in each cell.
        dshare: its derivative with respect to each parameter.
        number: electrons of each scatter.
        dnumber: its derivative with respect to each parameter.
    """

    share: Float[np.ndarray, "scatter cell"]
    dshare: Float[np.ndarray, "param scatter cell"]
    number: Float[np.ndarray, "scatter"]
    dnumber: Float[np.ndarray, "param scatter"]

    @property
    def total(self) -> Float[np.ndarray, "cell"]:
        return self.number @ self.share

    @property
    def dtotal(self) -> Float[np.ndarray, "param cell"]:
        return np.einsum("ps,sc->pc", self.dnumber, self.share) + np.einsum("s,psc->pc", self.number, self.dshare)


class Grid(NamedTuple):
    """Bins of light that hold a pulse, in whole samples; electrons have cells of a `CELLS`-th of a bin.

    Attributes:
        bin_samples: samples in a bin.
        bins: their number.
        start_us: edge of the first bin, counted from the middle of the two scatters [us].
    """

    bin_samples: int
    bins: int
    start_us: float

    @property
    def cell_edges_us(self) -> Float[np.ndarray, "cell+1"]:
        return self.start_us + np.arange(self.bins * CELLS + 1) * self.bin_samples * SAMPLE_US / CELLS


def bound_us(
    settings: Simulation,
    d_us: Float[np.ndarray, "wave"] | float,
    drift_time_us: Float[np.ndarray, "wave"] | float,
    electrons: Float[np.ndarray, "wave"] | float,
    split: Float[np.ndarray, "wave"] | float,
    *,
    drift_known: bool,
    information: Information = "electrons",
    prior: bool = True,
    joined: bool = False,
) -> Float[np.ndarray, "wave"]:
    """Return the least standard deviation of d [us]; arguments broadcast.

    Args:
        settings: detector, light, electronics; the population gives the priors.
        d_us, drift_time_us, electrons, split: of each event; the drift time is the first scatter's.
        drift_known: whether the drift time, and with it the width of each scatter, is known.
        information: see the module.
        prior: whether what the population says of split and drift time counts as information: as a Gaussian of the
            same variance, as in van Trees' bound.
        joined: whether the population's variance of d counts too. Without it the bound diverges at d = 0.
    """
    matrices = fisher(settings, d_us, drift_time_us, electrons, split, information=information)
    matrices = matrices + prior_information(settings, joined=joined, nuisance=prior)
    return sigma_d_us(matrices, drift_known=drift_known)


def bound_of_events(
    settings: Simulation,
    truth: Truth,
    *,
    drift_known: bool,
    information: Information = "electrons",
    joined: bool = True,
) -> Float[np.ndarray, "wave"]:
    """Return the bound [us] of each of a detector's events, all of which have two scatters."""
    columns = (truth.d_us, truth.drift_time_us, truth.electrons, truth.split)
    return bound_us(settings, *columns, drift_known=drift_known, information=information, joined=joined)


def bound_by_separation(
    settings: Simulation,
    truth: Truth,
    edges_us: Float[np.ndarray, "edge"],
    *,
    drift_known: bool,
    information: Information = "electrons",
    joined: bool = True,
) -> Float[np.ndarray, "range"]:
    """Return the root of the mean of the events' squared bounds [us] in ranges of d; nan where a range is empty."""
    least = bound_of_events(settings, truth, drift_known=drift_known, information=information, joined=joined)
    ranges = np.digitize(truth.d_us, edges_us) - 1
    chosen = [least[ranges == i] for i in range(len(edges_us) - 1)]
    return np.array([np.sqrt(np.mean(part**2)) if len(part) else np.nan for part in chosen])


def sigma_d_us(matrices: Float[np.ndarray, "wave param param"], *, drift_known: bool) -> Float[np.ndarray, "wave"]:
    """Return the square root of the inverse's entry of d; infinite where nothing is known of d."""
    kept = [i for i in range(len(PARAMETERS)) if i not in ({D, DRIFT} if drift_known else {D})]
    nuisance = matrices[:, kept][:, :, kept]
    across = matrices[:, D][:, kept]
    scale = np.sqrt(np.einsum("wii->wi", nuisance))
    scaled = nuisance / scale[:, :, None] / scale[:, None, :]
    lost = np.linalg.solve(scaled, (across / scale)[:, :, None])[:, :, 0]
    left = matrices[:, D, D] - np.sum(across / scale * lost, axis=1)
    known = left > 1e-12 * matrices[:, D, D]  # less is the rounding of the difference
    return np.where(known, 1.0 / np.sqrt(np.where(known, left, 1.0)), np.inf)


def prior_information(
    settings: Simulation, *, joined: bool = False, nuisance: bool = True
) -> Float[np.ndarray, "param param"]:
    """Return the information of Gaussians of the variances that the population has: 12 / width^2 where uniform."""
    population, detector = settings.population, settings.detector
    widths = {
        "d_us": population.d_max_us if joined else np.inf,
        "split": population.split_max - population.split_min if nuisance else np.inf,
        "drift_time_us": detector.drift_max_us - detector.drift_min_us if nuisance else np.inf,
    }
    return np.diag([12.0 / widths.get(name, np.inf) ** 2 for name in PARAMETERS])


def fisher(
    settings: Simulation,
    d_us: Float[np.ndarray, "wave"] | float,
    drift_time_us: Float[np.ndarray, "wave"] | float,
    electrons: Float[np.ndarray, "wave"] | float,
    split: Float[np.ndarray, "wave"] | float,
    *,
    information: Information = "electrons",
) -> Float[np.ndarray, "wave param param"]:
    """Return the Fisher information of each event about `PARAMETERS`.

    Raises:
        InvalidInput: the settings have no noise, so that the covariance has no inverse where there is no light.
    """
    if settings.electronics.noise_phd <= 0.0:
        raise InvalidInput("The bound needs electronics with noise; noise_phd is zero.")
    columns = np.broadcast_arrays(
        *(np.atleast_1d(np.asarray(v, float)) for v in (d_us, drift_time_us, electrons, split))
    )
    rows = zip(*(column.ravel() for column in columns), strict=True)
    if information == "electrons":
        return np.array([electron_information(settings, Pulse(*row)) for row in rows])
    both = information == "gaussian"
    return np.array([information_from_moments(moments(settings, Pulse(*row), both=both)) for row in rows])


def information_from_moments(m: Moments) -> Float[np.ndarray, "param param"]:
    """Return the information in the mean, and in the covariance where its derivatives are given."""
    factor = cho_factor(m.covariance)
    out = m.dmean @ cho_solve(factor, m.dmean.T)
    if m.dcovariance is None:
        return out
    params, bins = m.dmean.shape
    ratio = cho_solve(factor, m.dcovariance.transpose(1, 0, 2).reshape(bins, -1)).reshape(bins, params, bins)
    return out + 0.5 * np.einsum("iaj,jbi->ab", ratio, ratio)


def electron_information(settings: Simulation, pulse: Pulse) -> Float[np.ndarray, "param param"]:
    """Return the information in the arrival times of all electrons, if each were seen.

    For a Poisson number of electrons it is sum(d rho d rho^T / rho) over cells. The numbers n of the two scatters are
    parameters and do not scatter, which takes sum_s n_s q_s q_s^T from the covariance of the cells: by Woodbury's
    identity that adds w^T M^+ w with w = q^T (d rho / rho) and M = diag(1/n) - q^T (q / rho). M vanishes along n: all
    electrons are counted, nothing else depends on their number, and one direction is left.
    """
    density = electron_density(settings, pulse, grid_for(settings, pulse))
    filled = (
        density.total > 1e-12 * density.total.max()
    )  # no electron is there; the quotient would be that of two zeros
    total, dtotal, share = density.total[filled], density.dtotal[:, filled], density.share[:, filled]
    poisson = dtotal / total @ dtotal.T
    other = np.array([density.number[1], -density.number[0]]) / np.hypot(*density.number)
    left = other @ (np.diag(1.0 / density.number) - share / total @ share.T) @ other
    if left < 1e-9 / density.number.min():  # scatters that do not overlap: d does not depend on the split
        return poisson
    across = dtotal @ (other @ share / total)
    across[PARAMETERS.index("ln_electrons")] = 0.0
    return poisson + np.outer(across, across) / left


def moments(settings: Simulation, pulse: Pulse, grid: Grid | None = None, *, both: bool = False) -> Moments:
    """Return mean and covariance of a pulse's light [phd] in bins and derivatives; those of C if ``both``.

    An electron in cell c gives bin i Poisson light of mean g B_ic. Electrons of a scatter are independent and their
    number is a parameter, so that with shares q and numbers n the electrons' part of the covariance is
    g^2 sum_s n_s (B diag(q_s) B^T - B q_s q_s^T B^T); gain spread adds g^2 r^2 B diag(sum_s n_s q_s) B^T, photons add
    their variance to the diagonal.
    """
    grid = grid or grid_for(settings, pulse)
    density = electron_density(settings, pulse, grid)
    gain = settings.detector.phd_per_electron
    light = gain * response(settings, grid.bin_samples, grid.bins)
    share, dshare = density.share @ light.T, density.dshare @ light.T
    mean = density.number @ share
    dmean = density.dnumber @ share + np.einsum("s,psb->pb", density.number, dshare)
    spread, photon = 1.0 + settings.emission.gain_spread**2, photon_variance(settings.emission)
    covariance = spread * (light * density.total) @ light.T - (share.T * density.number) @ share
    covariance += np.diag(photon * mean) + noise_covariance(settings, grid.bin_samples, grid.bins)
    if not both:
        return Moments(mean, covariance, dmean, None)
    dcovariance = spread * (light * density.dtotal[:, None, :]) @ light.T
    dcovariance -= np.einsum("ps,sb,sc->pbc", density.dnumber, share, share, optimize=True)
    cross = np.einsum("s,psb,sc->pbc", density.number, dshare, share, optimize=True)
    dcovariance -= cross + cross.transpose(0, 2, 1)
    diagonal = np.arange(grid.bins)
    dcovariance[:, diagonal, diagonal] += photon * dmean
    return Moments(mean, covariance, dmean, dcovariance)


def grid_for(settings: Simulation, pulse: Pulse) -> Grid:
    """Return bins that hold the pulse: `REACH_SIGMAS` of diffusion to either side, and what comes late."""
    sigma = settings.detector.diffusion_us(np.array([pulse.drift_time_us, pulse.drift_time_us + abs(pulse.d_us)]))
    bin_samples = int(np.clip(np.rint(sigma.min() / BINS_PER_SIGMA / SAMPLE_US), *BIN_SAMPLES))
    bin_samples += bin_samples % CELLS
    emission = settings.emission
    late = settings.detector.gas_gap_us + 5.0 * (emission.trapping_us + max(emission.triplet_us, emission.singlet_us))
    before = abs(pulse.d_us) / 2.0 + REACH_SIGMAS * float(sigma.max())
    width = bin_samples * SAMPLE_US
    bins = 8 * int(np.ceil((2.0 * before + late) / width / 8.0))  # few different numbers, for the caches
    return Grid(bin_samples, bins, -np.ceil(before / width) * width)


def electron_density(settings: Simulation, pulse: Pulse, grid: Grid) -> Density:
    """Return the electrons in cells and their derivatives; times number from the middle of the two scatters."""
    detector, number = settings.detector, pulse.electrons * np.array([pulse.split, 1.0 - pulse.split])
    drift = np.array([pulse.drift_time_us, pulse.drift_time_us + pulse.d_us])
    mean = pulse.d_us * np.array([-0.5, 0.5])
    sigma = detector.diffusion_us(drift)
    z = (grid.cell_edges_us - mean[:, None]) / sigma[:, None]
    bell = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi) / sigma[:, None]
    share = np.diff(ndtr(z), axis=1)
    by_mean, by_sigma = -np.diff(bell, axis=1), -np.diff(z * bell, axis=1)
    by_drift = by_sigma * (sigma / (2.0 * drift))[:, None]  # sigma grows as the root of the drift time
    by_d = np.array([-0.5, 0.5])[:, None] * by_mean + np.array([0.0, 1.0])[:, None] * by_drift
    nothing = np.zeros_like(share)
    dshare = np.stack([by_d, by_mean, nothing, nothing, by_drift])
    dnumber = np.zeros((len(PARAMETERS), 2))
    dnumber[PARAMETERS.index("split")] = pulse.electrons, -pulse.electrons
    dnumber[PARAMETERS.index("ln_electrons")] = number
    trapping = _trapping(settings.emission.trapping_us, grid.bin_samples, grid.bins)
    return Density(share @ trapping, dshare @ trapping, number, dnumber)


def photon_variance(emission: Emission) -> float:
    """Return the variance that each detected photon adds, in units of its mean charge squared."""
    double = emission.double_share
    return 1.0 + double * (1.0 - double) / (1.0 + double) ** 2 + emission.charge_spread**2 / (1.0 + double)


def response(settings: Simulation, bin_samples: int, bins: int) -> Float[np.ndarray, "bin cell"]:
    """Return the share of an electron's light in each bin, for an electron anywhere within a cell."""
    return _response(
        settings.detector.gas_gap_us, settings.emission, settings.electronics.pulse_sigma_us, bin_samples, bins
    )


@lru_cache(maxsize=256)
def _response(
    gas_gap_us: float, emission: Emission, pulse_sigma_us: float, bin_samples: int, bins: int
) -> Float[np.ndarray, "bin cell"]:
    kernel = _light_kernel(gas_gap_us, emission, pulse_sigma_us)
    early = len(gaussian_kernel(emission.transit_us)) // 2 + len(gaussian_kernel(pulse_sigma_us)) // 2
    cell = bin_samples // CELLS
    from_cell = np.convolve(kernel, np.ones(cell) / cell)
    late = np.arange(bins * bin_samples)[:, None] - np.arange(bins * CELLS)[None, :] * cell + early
    inside = (late >= 0) & (late < len(from_cell))
    fine = np.where(inside, from_cell[np.clip(late, 0, len(from_cell) - 1)], 0.0)
    return fine.reshape(bins, bin_samples, -1).sum(axis=1)


def _light_kernel(gas_gap_us: float, emission: Emission, pulse_sigma_us: float) -> Float[np.ndarray, "tap"]:
    """Return the light in samples of an electron in sample 0, as the simulator has it."""
    gap = gas_gap_us / SAMPLE_US
    pad = int(gap) + 2
    one = np.zeros(2 * pad)
    one[pad] = 1.0
    kernel = crossing(one, pad, np.zeros(pad, dtype=np.int32), np.array([gap]))
    for late in (delay_kernel(emission), gaussian_kernel(emission.transit_us), gaussian_kernel(pulse_sigma_us)):
        kernel = np.convolve(kernel, late)
    return kernel


@lru_cache(maxsize=64)
def _trapping(trapping_us: float, bin_samples: int, bins: int) -> Float[np.ndarray, "cell cell"]:
    cells = bins * CELLS
    late = decay_shares(np.arange(cells), trapping_us / SAMPLE_US / (bin_samples / CELLS))
    return toeplitz(np.concatenate([late[:1], np.zeros(cells - 1)]), late)


def noise_covariance(settings: Simulation, bin_samples: int, bins: int) -> Float[np.ndarray, "bin bin"]:
    """Return the covariance of the summed noise of bins."""
    electronics = settings.electronics
    variance = electronics.noise_phd**2 + electronics.step_phd**2 / 12.0
    return variance * _noise_correlation(electronics.noise_ar, bin_samples, bins)


@lru_cache(maxsize=256)
def _noise_correlation(noise_ar: tuple[float, ...], bin_samples: int, bins: int) -> Float[np.ndarray, "bin bin"]:
    if not noise_ar:
        return np.eye(bins) * bin_samples
    power = ar_amplitude(noise_ar, SAMPLES).astype(np.float64) ** 2
    lag = np.fft.irfft(power, SAMPLES)
    lag /= lag[0]
    apart = np.abs(
        np.arange(bins)[:, None, None] * bin_samples + np.arange(bin_samples)[:, None] - np.arange(bin_samples)
    )
    return toeplitz(lag[apart].sum(axis=(1, 2)))
