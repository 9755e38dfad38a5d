"""The simulated sets that methods learn from and are asked about."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np
from jaxtyping import Float

from training.waveform.args import DataArgs
from training.waveform.methods import Labelled, labelled
from training.waveform.mixed import random_simulation
from training.waveform.settings import SIMULATIONS, Simulation
from training.waveform.simulate import BLOCK, Events, block_generator, concatenate, simulate, take

MIXED: Final = "mixed"
MEASURED_NOISE: Final = "xenon1t-noise"
"""The setting `xenon1t` with noise that was measured there, at the reference's size."""
NOISE_FILE: Final = "waveform/x1t_noise_170203_0850_00_small.npz"
TEST_SEED: Final = 7001
"""Seeds from here on are kept for tests."""
MIXED_BLOCK: Final = 32
"""Events of one detector in the setting `mixed`."""
_SINGLES: Final = 500_000
"""Added to a seed for the events with one scatter."""


@dataclass(frozen=True)
class TestArgs:
    """The events that methods are asked about.

    Attributes:
        setting: name of a simulation, or `MEASURED_NOISE`.
        events: with two scatters, and as many with one.
        seed: of the simulation.
    """

    setting: str = "reference"
    events: int = 4000
    seed: int = TEST_SEED

    __test__ = False  # pytest takes classes named like this for tests


@dataclass(frozen=True)
class TestSet:
    """Unseen events of one setting, those with two scatters and those with one."""

    settings: Simulation
    two: Labelled
    one: Labelled

    __test__ = False


def training_set(args: DataArgs, *, singles: bool) -> list[Labelled]:
    """Simulate what methods learn from: events with two scatters and, where asked for, as many with one.

    Raises:
        ValueError: the seed is kept for tests, or no such setting.
    """
    if args.seed >= TEST_SEED:
        raise ValueError(f"seeds from {TEST_SEED} on are kept for tests; found {args.seed}")
    counts = ((args.seed, 1.0), (args.seed + _SINGLES, 0.0)) if singles else ((args.seed, 1.0),)
    return [part for seed, share in counts for part in _drawn(args, seed, share)]


def questions(args: TestArgs, noise: Float[np.ndarray, "sample"] | None = None) -> TestSet:
    """Simulate what methods are asked about.

    Args:
        args: which events.
        noise: a measured trace, for `MEASURED_NOISE`; see `measured_noise`.

    Raises:
        ValueError: no such setting, or the noise is missing.
    """
    if args.setting == MEASURED_NOISE:
        return _with_noise(args, noise)
    settings = named(args.setting)
    two, one = (_one_setting(settings, args.events, seed, share) for seed, share in _test_seeds(args))
    return TestSet(settings, labelled(two, settings.detector), labelled(one, settings.detector))


def named(setting: str) -> Simulation:
    """Look a setting up.

    Raises:
        ValueError: no such setting.
    """
    try:
        return SIMULATIONS[setting]
    except KeyError:
        raise ValueError(f"no setting {setting!r}: give one of {', '.join(SIMULATIONS)}") from None


def measured_noise(shared_data: Path) -> Float[np.ndarray, "sample"] | None:
    """Read the sum of XENON1T's channels without a signal (public; XENONnT/strax_auxiliary_files), if it is there."""
    file = shared_data / NOISE_FILE
    if not file.is_file():
        return None
    with np.load(file) as content:
        summed = content[content.files[0]].sum(axis=1, dtype=float)
    return summed - summed.mean()


def fingerprint(sets: list[Labelled]) -> str:
    """Give the SHA-256 of waveforms and separations."""
    digest = sha256()
    for part in sets:
        digest.update(np.ascontiguousarray(part.question.waveforms).data)
        digest.update(np.ascontiguousarray(part.truth.d_us).data)
    return digest.hexdigest()


def _test_seeds(args: TestArgs) -> tuple[tuple[int, float], tuple[int, float]]:
    return (args.seed, 1.0), (args.seed + _SINGLES, 0.0)


def _with_noise(args: TestArgs, noise: Float[np.ndarray, "sample"] | None) -> TestSet:
    """Put measured noise in the place of the simulated one, from a random start, each waveform from its own."""
    if noise is None:
        raise ValueError(f"{MEASURED_NOISE} needs the measured noise: give the folder of the real measurements")
    base = named("xenon1t")
    silent = replace(base, electronics=replace(base.electronics, noise_phd=0.0))
    scale = base.electronics.noise_phd / noise.std()
    parts = []
    for seed, share in _test_seeds(args):
        events = _one_setting(silent, args.events, seed, share)
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1 << 20,)))
        starts = rng.integers(0, len(noise), len(events))
        rows = (starts[:, None] + np.arange(events.samples.shape[1])) % len(noise)
        parts.append(replace(events, samples=events.samples + (noise[rows] * scale).astype(np.float32)))
    return TestSet(base, *(labelled(events, base.detector) for events in parts))


def _drawn(args: DataArgs, seed: int, two_share: float) -> Iterator[Labelled]:
    if args.setting == MIXED:
        yield from _mixed(args, seed, two_share)
    else:
        settings = named(args.setting)
        yield labelled(_one_setting(settings, args.events, seed, two_share), settings.detector)


def _mixed(args: DataArgs, seed: int, two_share: float) -> Iterator[Labelled]:
    """Draw events of many detectors, the same ones for one scatter and for two, or they would tell which it is."""
    for block in range(-(-args.events // MIXED_BLOCK)):
        settings = random_simulation(np.random.default_rng(np.random.SeedSequence(args.seed, spawn_key=(block, 1))))
        size = min(MIXED_BLOCK, args.events - block * MIXED_BLOCK)
        events = simulate(settings, size, block_generator(seed, block), two_share=two_share)
        yield labelled(events, settings.detector)


def _one_setting(settings: Simulation, events: int, seed: int, two_share: float) -> Events:
    blocks = range(-(-events // BLOCK))
    parts = [simulate(settings, BLOCK, block_generator(seed, block), two_share=two_share) for block in blocks]
    return take(concatenate(parts), slice(0, events))
