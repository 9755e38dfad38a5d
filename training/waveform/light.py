"""From electrons to photoelectrons in samples, for many events at once laid one after another.

Each event has a segment of samples that holds its pulse and a tail long enough for the gas and all delays, so that
sums and convolutions run over all events together without one reaching into the next.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy.random import Generator
from scipy.signal import oaconvolve
from scipy.special import ndtr

from training.waveform.settings import SAMPLE_US, Emission

TAIL_LIFETIMES: Final = 8.0
"""Decays are followed for this many lifetimes; 3e-4 of an exponential lies beyond and is put back by the norm."""

TAIL_SIGMAS: Final = 5.0
"""A Gaussian is followed for this many standard deviations to either side."""


@dataclass(frozen=True)
class Arrivals:
    """Electrons of all events, those of one event together, binned at the liquid's surface.

    Attributes:
        event, local: of each electron: its event, and its sample from the start of that event's segment.
        first_sample: of each event: sample of the window where its segment starts; may lie before the window.
        reach: of each event: samples from its first electron to its last, both included.
    """

    event: Int[np.ndarray, "electron"]
    local: Int[np.ndarray, "electron"]
    first_sample: Int[np.ndarray, "wave"]
    reach: Int[np.ndarray, "wave"]


def arrivals(
    *,
    electrons: Int[np.ndarray, "wave scatter"],
    mean_us: Float[np.ndarray, "wave scatter"],
    sigma_us: Float[np.ndarray, "wave scatter"],
    trapping_us: float,
    rng: Generator,
) -> Arrivals:
    """Draw when each electron arrives at the surface: Gaussian about its scatter's mean, then trapped for a while."""
    counts = electrons.ravel()
    time = rng.standard_normal(int(counts.sum()), dtype=np.float32)
    time *= np.repeat((sigma_us.ravel() / SAMPLE_US).astype(np.float32), counts)
    time += np.repeat((mean_us.ravel() / SAMPLE_US).astype(np.float32), counts)
    if trapping_us > 0.0:
        time += np.float32(trapping_us / SAMPLE_US) * rng.standard_exponential(len(time), dtype=np.float32)
    sample = np.floor(time).astype(np.int32)
    per_event = electrons.sum(axis=1)
    starts = np.cumsum(per_event) - per_event
    first = np.minimum.reduceat(sample, starts)
    last = np.maximum.reduceat(sample, starts)
    event = np.repeat(np.arange(len(electrons), dtype=np.int32), per_event)
    return Arrivals(event, sample - first[event], first, last - first + 1)


def light(
    pulses: Arrivals,
    gas_gap_us: Float[np.ndarray, "wave"],
    phd_per_electron: Float[np.ndarray, "wave"],
    emission: Emission,
    pulse_sigma_us: float,
    out: Float32[np.ndarray, "wave sample"],
    rng: Generator,
) -> None:
    """Add the detected photons of all events to ``out`` [phd per sample]; light outside of the window is lost."""
    delay, transit, shape = (
        delay_kernel(emission),
        gaussian_kernel(emission.transit_us),
        gaussian_kernel(pulse_sigma_us),
    )
    gap = gas_gap_us / SAMPLE_US
    tail = int(gap.max()) + 2 + len(delay) + len(transit) + len(shape)
    lengths = pulses.reach.astype(np.int64) + tail
    starts = tail + np.cumsum(lengths) - lengths
    index = starts.astype(np.int32)[pulses.event] + pulses.local
    weights = _gain(len(index), emission.gain_spread, rng)
    per_sample = np.bincount(index, weights=weights, minlength=tail + int(lengths.sum()))
    event = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    mean = crossing(per_sample, tail, event, gap)
    mean *= phd_per_electron[event]
    photons = rng.poisson(_convolved(_convolved(mean, delay), transit))
    charge = _convolved(_charge(photons, emission, rng), shape).astype(np.float32)
    early = len(transit) // 2 + len(shape) // 2
    sample = np.arange(tail, tail + len(charge)) + (pulses.first_sample - starts - early)[event]
    inside = (sample >= 0) & (sample < out.shape[1])
    out[event[inside], sample[inside]] += charge[inside]


def crossing(
    per_sample: Float[np.ndarray, "padded"] | Int[np.ndarray, "padded"],
    pad: int,
    event: Int[np.ndarray, "sample"],
    gap: Float[np.ndarray, "wave"],
) -> Float[np.ndarray, "sample"]:
    """Spread electrons over their way through the gas.

    An electron is anywhere within its sample and makes light evenly for ``gap`` samples (at least one). Its share in
    the sample that is j later is the integral from j to j + 1 of box(1) convolved with box(gap): half a sample's worth
    at j = 0, a whole one up to j = G - 1 with G = floor(gap), and the rest in G and G + 1.

    Args:
        per_sample: electrons in each sample, with ``pad`` samples before, of which the last ``gap + 2`` are empty.
        pad: samples before the first event.
        event: event of each sample after the padding.
        gap: length of the light of each event, in samples.
    """
    whole = np.floor(gap).astype(np.int32)
    part = gap - whole
    sums = np.cumsum(per_sample)
    here = np.arange(pad, len(per_sample), dtype=np.int32)
    back = here - whole[event]
    out = 0.5 * per_sample[pad:]
    out += sums[pad - 1 : -1]
    out -= sums[back]
    out += (part + (1.0 - part**2) / 2.0)[event] * per_sample[back]
    out += (part**2 / 2.0)[event] * per_sample[back - 1]
    out /= gap[event]
    return np.maximum(out, 0.0)  # rounding of the sums leaves values below zero where there is no electron


def delay_kernel(emission: Emission) -> Float[np.ndarray, "tap"]:
    """Return the share of photons that is late by 0, 1, 2... samples because excimers decay."""
    shares = (emission.singlet_share, 1.0 - emission.singlet_share)
    lifetimes = (emission.singlet_us / SAMPLE_US, emission.triplet_us / SAMPLE_US)
    taps = np.arange(1 + int(np.ceil(TAIL_LIFETIMES * max(lifetimes))))
    kernel = np.sum([share * decay_shares(taps, tau) for share, tau in zip(shares, lifetimes, strict=True)], axis=0)
    return kernel / kernel.sum()


def decay_shares(taps: Int[np.ndarray, "tap"], lifetime: float) -> Float[np.ndarray, "tap"]:
    """Share of an exponential in each sample, for a start that is anywhere within sample 0; lifetime in samples."""
    if lifetime == 0.0:
        return (taps == 0).astype(np.float64)
    rate = 1.0 / lifetime
    within = -np.expm1(-rate)
    return np.where(taps == 0, 1.0 - within / rate, within**2 / rate * np.exp(-rate * (taps - 1)))


def gaussian_kernel(sigma_us: float) -> Float[np.ndarray, "tap"]:
    """Return a centred Gaussian smeared over samples, of odd length: its integral over each sample."""
    half = int(np.ceil(TAIL_SIGMAS * sigma_us / SAMPLE_US))
    if half == 0:
        return np.ones(1)
    edges = np.arange(-half, half + 2) - 0.5
    kernel = np.diff(ndtr(edges * SAMPLE_US / sigma_us))
    return kernel / kernel.sum()


def _gain(n: int, spread: float, rng: Generator) -> Float[np.ndarray, "electron"] | None:
    """Relative light of each electron: gamma distributed with mean one; None is one for all."""
    return None if spread == 0.0 else rng.standard_gamma(spread**-2, n) * spread**2


def _convolved(values: Float[np.ndarray, "sample"], kernel: Float[np.ndarray, "tap"]) -> Float[np.ndarray, "sample"]:
    """Convolve, and cut to the length of ``values``: what is late stays in the event's tail."""
    if len(kernel) == 1:
        return values
    full = oaconvolve(values, kernel)[: len(values)]
    return np.maximum(full, 0.0)  # rounding of the Fourier transform leaves values below zero where there is no light


def _charge(photons: Int[np.ndarray, "sample"], emission: Emission, rng: Generator) -> Float[np.ndarray, "sample"]:
    """Charge in units of the mean charge of one detected photon."""
    electrons = photons
    if emission.double_share > 0.0:
        electrons = photons + rng.binomial(photons, emission.double_share)
    charge = electrons.astype(np.float64)
    if emission.charge_spread > 0.0:  # a sum of n gamma variables of one scale is a gamma variable of n times the shape
        charge = rng.standard_gamma(charge * emission.charge_spread**-2) * emission.charge_spread**2
    return charge / (1.0 + emission.double_share)
