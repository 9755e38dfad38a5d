"""S2 pulses of a dual-phase xenon detector: one scatter, or two at different drift times.

Electrons are drawn one by one, photons by the sample: given when its electrons arrive, the numbers of photons in
different samples are independent and Poisson (an electron makes Poisson light, uniformly over its way through the gas),
so nothing is lost against drawing photons one by one. Work is done where the pulse is, not over the window.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
from jaxtyping import Float, Float32, Int
from numpy.random import Generator, SeedSequence

from app.errors import InvalidInput
from app.waveform.detector import diffusion_us_from_drift
from training.waveform.electronics import add_electronics
from training.waveform.light import arrivals, light
from training.waveform.settings import SAMPLE_US, SAMPLES, WINDOW_US, Electronics, Emission, Population, Simulation

BLOCK = 256
"""Events simulated together: few enough to stay in a core's cache."""


@dataclass(frozen=True)
class Transport:
    """The detector of each event; fields and units are those of `app.waveform.detector.Detector`."""

    drift_velocity_mm_per_us: Float[np.ndarray, "wave"]
    longitudinal_diffusion_cm2_per_s: Float[np.ndarray, "wave"]
    gas_gap_us: Float[np.ndarray, "wave"]
    phd_per_electron: Float[np.ndarray, "wave"]

    def diffusion_us(self, drift_time_us: Float[np.ndarray, "wave"]) -> Float[np.ndarray, "wave"]:
        """Standard deviation of the arrival times [us]."""
        return diffusion_us_from_drift(
            drift_time_us,
            drift_velocity_mm_per_us=self.drift_velocity_mm_per_us,
            longitudinal_diffusion_cm2_per_s=self.longitudinal_diffusion_cm2_per_s,
        )


@dataclass(frozen=True)
class Truth:
    """What is true of each event.

    Attributes:
        scatters: 1 or 2.
        d_us: how much later the second scatter arrives [us]; zero where there is one scatter.
        drift_time_us: of the first scatter [us]; the second drifts longer by ``d_us``.
        electrons: extracted electrons of both scatters.
        split: share of the first scatter; one where there is one scatter.
        centre_us: middle of the two mean arrival times at the liquid's surface, from the window's start [us].
        transport: the detector of each event.
    """

    scatters: Int[np.ndarray, "wave"]
    d_us: Float[np.ndarray, "wave"]
    drift_time_us: Float[np.ndarray, "wave"]
    electrons: Int[np.ndarray, "wave"]
    split: Float[np.ndarray, "wave"]
    centre_us: Float[np.ndarray, "wave"]
    transport: Transport

    def __len__(self) -> int:
        return len(self.scatters)

    @property
    def first_electrons(self) -> Int[np.ndarray, "wave"]:
        """Electrons of the first scatter."""
        return np.rint(self.split * self.electrons).astype(np.int64)


@dataclass(frozen=True)
class Events(Truth):
    """Truth and what was measured.

    Attributes:
        samples: detected photons in each sample of 10 ns [phd], with noise and baseline.
    """

    samples: Float32[np.ndarray, "wave 5000"]


T = TypeVar("T", bound=Truth)


def simulate(settings: Simulation, n: int, rng: Generator, *, two_share: float = 1.0) -> Events:
    """Draw ``n`` events of one detector, each with two scatters with probability ``two_share``."""
    transport = _same_for_all(settings, n)
    detector = settings.detector
    drift_time_us = rng.uniform(detector.drift_min_us, detector.drift_max_us, n)
    truth = draw_truth(settings.population, transport, drift_time_us, rng, two_share=two_share)
    return measure(truth, settings.emission, settings.electronics, rng)


def batches(settings: Simulation, n: int, seed: int, *, batch: int = BLOCK, two_share: float = 1.0) -> Iterator[Events]:
    """Draw ``n`` events in batches. The same seed gives the same events, whatever the size of a batch."""
    blocks = (
        simulate(settings, BLOCK, block_generator(seed, block), two_share=two_share) for block in range(-(-n // BLOCK))
    )
    return rebatched(blocks, n, batch)


def block_generator(seed: int, block: int) -> Generator:
    """Return the generator of one block of a set: blocks may be drawn in any order and by any process."""
    return np.random.default_rng(SeedSequence(seed, spawn_key=(block,)))


def rebatched(blocks: Iterator[Events], n: int, batch: int) -> Iterator[Events]:
    """Cut blocks of any size into batches, ``n`` events in all; the last batch may be shorter."""
    if batch < 1:
        raise InvalidInput(f"A batch holds at least one event; {batch} was asked for.")
    held: list[Events] = []
    for left in range(n, 0, -batch):
        size = min(batch, left)
        while sum(map(len, held)) < size:
            held.append(next(blocks))
        together = concatenate(held)
        held = [take(together, slice(size, None))]
        yield take(together, slice(0, size))


def draw_truth(
    population: Population,
    transport: Transport,
    drift_time_us: Float[np.ndarray, "wave"],
    rng: Generator,
    *,
    two_share: float = 1.0,
) -> Truth:
    """Draw everything but the pulse; the order of the draws is part of what a seed means."""
    n = len(drift_time_us)
    two = rng.random(n) < two_share
    d_samples = rng.integers(0, round(population.d_max_us / SAMPLE_US), n, endpoint=True)
    split = rng.uniform(population.split_min, population.split_max, n)
    return Truth(
        scatters=np.where(two, 2, 1),
        d_us=np.where(two, d_samples * SAMPLE_US, 0.0),
        drift_time_us=drift_time_us,
        electrons=rng.integers(population.electrons_min, population.electrons_max, n, endpoint=True),
        split=np.where(two, split, 1.0),
        centre_us=WINDOW_US / 2.0 + rng.uniform(-population.jitter_us, population.jitter_us, n),
        transport=transport,
    )


def measure(truth: Truth, emission: Emission, electronics: Electronics, rng: Generator) -> Events:
    """Draw electrons, light and electronics for given events."""
    samples = np.zeros((len(truth), SAMPLES), dtype=np.float32)
    for start in range(0, len(truth), BLOCK):
        part = slice(start, start + BLOCK)
        _measure_block(take(truth, part), emission, electronics, samples[part], rng)
    return Events(**_columns(truth), transport=truth.transport, samples=samples)


def _measure_block(
    truth: Truth,
    emission: Emission,
    electronics: Electronics,
    samples: Float32[np.ndarray, "wave 5000"],
    rng: Generator,
) -> None:
    """Fill ``samples``."""
    first, second = truth.first_electrons, truth.electrons - truth.first_electrons
    transport = truth.transport
    pulses = arrivals(
        electrons=np.stack([first, second], axis=1),
        mean_us=truth.centre_us[:, None] + truth.d_us[:, None] * np.array([-0.5, 0.5]),
        sigma_us=np.stack(
            [transport.diffusion_us(truth.drift_time_us), transport.diffusion_us(truth.drift_time_us + truth.d_us)],
            axis=1,
        ),
        trapping_us=emission.trapping_us,
        rng=rng,
    )
    light(pulses, transport.gas_gap_us, transport.phd_per_electron, emission, electronics.pulse_sigma_us, samples, rng)
    add_electronics(samples, electronics, rng)


def concatenate(parts: list[T]) -> T:
    """Join sets of events."""
    kind = type(parts[0])
    columns = [_columns(part) for part in parts]
    joined = {name: np.concatenate([column[name] for column in columns]) for name in columns[0]}
    transport = Transport(
        **{f.name: np.concatenate([getattr(p.transport, f.name) for p in parts]) for f in fields(Transport)}
    )
    return kind(**joined, transport=transport)


def take(events: T, index: slice | np.ndarray) -> T:
    """Choose events by a slice, a mask or indices."""
    chosen = {name: values[index] for name, values in _columns(events).items()}
    transport = Transport(**{f.name: getattr(events.transport, f.name)[index] for f in fields(Transport)})
    return type(events)(**chosen, transport=transport)


def _columns(truth: Truth) -> dict[str, np.ndarray]:
    return {f.name: getattr(truth, f.name) for f in fields(truth) if f.name != "transport"}


def _same_for_all(settings: Simulation, n: int) -> Transport:
    return Transport(**{f.name: np.full(n, getattr(settings.detector, f.name)) for f in fields(Transport)})
