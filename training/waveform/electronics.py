"""From photoelectrons to samples: noise, baseline, digitiser."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Float32
from numpy.random import Generator
from scipy import fft

from training.waveform.settings import Electronics


def add_electronics(samples: Float32[np.ndarray, "wave sample"], electronics: Electronics, rng: Generator) -> None:
    """Add noise and baseline to ``samples`` and digitise them, in place."""
    add_noise(samples, electronics.noise_phd, electronics.noise_ar, rng)
    add_baseline(samples, electronics, rng)
    digitise(samples, electronics)


def add_noise(
    samples: Float32[np.ndarray, "wave sample"],
    noise_phd: Float[np.ndarray, "wave"] | float,
    noise_ar: tuple[float, ...],
    rng: Generator,
) -> None:
    """Add stationary Gaussian noise of a standard deviation and an autoregression, in place."""
    n = samples.shape[1]
    noise = rng.standard_normal(samples.shape, dtype=np.float32)
    if noise_ar:
        noise = coloured(noise, noise_ar)
    noise *= np.broadcast_to(np.asarray(noise_phd, dtype=np.float32), len(samples))[:, None]
    samples += noise[:, :n]


def coloured(
    white: Float32[np.ndarray, "wave sample"], noise_ar: tuple[float, ...]
) -> Float32[np.ndarray, "wave sample"]:
    """Turn white numbers of unit variance into noise of unit variance with the spectrum of an autoregression.

    The white numbers serve as Fourier coefficients (real parts, then imaginary parts), so that one transform is
    enough. The noise is periodic over the window.
    """
    n = white.shape[1]
    amplitude = ar_amplitude(noise_ar, n)
    bins = len(amplitude)
    spectrum = np.zeros((len(white), bins), dtype=np.complex64)
    spectrum.real = white[:, :bins]
    spectrum.imag[:, 1 : n - bins + 1] = white[:, bins:]
    spectrum *= amplitude
    return np.asarray(fft.irfft(spectrum, n, axis=1))


@lru_cache(maxsize=64)
def ar_amplitude(noise_ar: tuple[float, ...], n: int) -> Float32[np.ndarray, "bin"]:
    """Return the standard deviations of the Fourier coefficients' parts for noise of unit variance of n samples."""
    response = 1.0 / np.abs(1.0 - np.fft.rfft(np.concatenate([[0.0], noise_ar]), n))
    weight = np.full(len(response), 2.0)  # each inner coefficient has a real and an imaginary part and stands for two
    weight[0] = 1.0
    if n % 2 == 0:
        weight[-1] = 1.0
    alone = np.where(weight == 1.0, 1.0, np.sqrt(0.5))  # parts of an inner coefficient have half of its variance
    variance = np.sum(weight * response**2) / n**2
    return (response * alone / np.sqrt(variance)).astype(np.float32)


def add_baseline(samples: Float32[np.ndarray, "wave sample"], electronics: Electronics, rng: Generator) -> None:
    """Add an offset and a straight line, in place."""
    if electronics.baseline_phd == 0.0 and electronics.drift_phd == 0.0:
        return
    count, n = samples.shape
    offset = rng.uniform(-1.0, 1.0, count) * electronics.baseline_phd
    slope = rng.uniform(-1.0, 1.0, count) * electronics.drift_phd
    samples += (offset[:, None] + slope[:, None] * np.linspace(-0.5, 0.5, n)).astype(np.float32)


def digitise(samples: Float32[np.ndarray, "wave sample"], electronics: Electronics) -> None:
    """Round to the digitiser's step and cut at its full scale, in place."""
    if electronics.step_phd > 0.0:
        step = np.float32(electronics.step_phd)
        np.rint(samples / step, out=samples)
        samples *= step
    if np.isfinite(electronics.full_scale_phd):
        np.minimum(samples, np.float32(electronics.full_scale_phd), out=samples)


def add_recorded_noise(
    samples: Float32[np.ndarray, "wave sample"],
    recorded: Float[np.ndarray, "time channel"],
    noise_phd: float,
    rng: Generator,
) -> None:
    """Add pieces of a recorded noise, summed over channels and scaled to a standard deviation, in place."""
    trace = recorded.sum(axis=1)
    trace = (trace - trace.mean()) * (noise_phd / trace.std())
    n = samples.shape[1]
    starts = rng.integers(0, len(trace) - n, len(samples), endpoint=True)
    samples += trace.astype(np.float32)[starts[:, None] + np.arange(n)]
