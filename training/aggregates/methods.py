"""What a method is: something that learns from patterns with known numbers and then answers with probabilities."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Float32

from app.aggregates.setting import Setting
from training.aggregates.settings import SIMULATIONS
from training.aggregates.simulate import Patterns, Simulation, drawn, simulate

Part = Literal["train", "validation", "test"]
SEEDS: Final = MappingProxyType[Part, int]({"train": 1_000_000, "validation": 2_000_000, "test": 3_000_000})
"""Where each part's seeds begin: whatever the seed of a run below a million, no pattern is in two parts."""

PROBED: Final = 20
"""Patterns of which a simulation's fingerprint is taken."""


@dataclass(frozen=True)
class Question:
    """What a method may look at.

    Attributes:
        counts: photon counts.
        mask: True where a pixel measures.
        centre_px: declared row and column of the direct beam [detector pixels]; None where it is not known.
        settings: what is declared of each pattern.
    """

    counts: Float32[np.ndarray, "image row col"]
    mask: Bool[np.ndarray, "image row col"]
    centre_px: Float[np.ndarray, "image 2"] | None
    settings: tuple[Setting, ...]

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: slice) -> Question:
        centre = None if self.centre_px is None else self.centre_px[rows]
        return Question(self.counts[rows], self.mask[rows], centre, self.settings[rows])

    @property
    def radius_px(self) -> Float[np.ndarray, "image"]:
        """Declared radius [object pixels]."""
        return np.array([each.radius_px for each in self.settings])


@dataclass(frozen=True)
class Sample:
    """Patterns with the truth behind them, and what is declared of them."""

    question: Question
    truth: Patterns

    def __len__(self) -> int:
        return len(self.truth)

    def first(self, images: int) -> Sample:
        """Give the first patterns only."""
        return Sample(self.question[:images], self.truth[:images])


class Answer(NamedTuple):
    """Probability of each number, and where the method does not abstain."""

    probability: Float[np.ndarray, "image class"]
    answered: Bool[np.ndarray, "image"]


def answer_all(probability: Float[np.ndarray, "image class"]) -> Answer:
    """Give the answer of a method that never abstains."""
    return Answer(probability, np.ones(len(probability), dtype=bool))


class Classifier(Protocol):
    """A fitted method."""

    def predict_proba(self, question: Question) -> Answer: ...


@runtime_checkable
class Method(Protocol):
    """A method that can be fitted; a frozen dataclass, so that its repr tells it apart."""

    @property
    def name(self) -> str:
        """Short and unique in a table."""
        ...

    def fit(self, train: Sample, validation: Sample, seed: int) -> Classifier:
        """Learn from patterns; `validation` may decide when to stop. The same arguments give the same classifier."""
        ...


def declared(patterns: Patterns, simulation: Simulation, *, centre: bool = True, **overrides: float | str) -> Question:
    """Declare what is true of simulated patterns.

    Args:
        patterns: of this simulation.
        simulation: whose detector is declared.
        centre: declare the beam centre; without, the middle pixel is assumed.
        **overrides: fields of `Setting` that are declared otherwise, as an operator does who is mistaken.
    """
    base = Setting(
        particle=simulation.particle,
        full_well=simulation.detector.full_well_photons,
        background=simulation.detector.background,
    )
    settings = tuple(
        replace(base, **{"radius_px": float(radius), "beam_stop_px": float(stop), **overrides})  # pyright: ignore[reportArgumentType]
        for radius, stop in zip(patterns.radius_px, patterns.beam_stop_px, strict=True)
    )
    return Question(patterns.counts, patterns.mask, patterns.centre_px if centre else None, settings)


def simulation_named(name: str) -> Simulation:
    """Look a simulation up.

    Raises:
        ValueError: no such name; the message lists those there are.
    """
    if name in SIMULATIONS:
        return SIMULATIONS[name]
    raise ValueError(f"no simulation {name!r}: give one of {', '.join(SIMULATIONS)}")


def sample(setting: str, part: Part, images: int, seed: int) -> Sample:
    """Draw a part of a named simulation, everything declared as it is.

    A larger part begins with the patterns of a smaller one.
    """
    simulation = simulation_named(setting)
    patterns = drawn(simulation, images, SEEDS[part] + seed)
    return Sample(declared(patterns, simulation), patterns)


@cache
def fingerprint(setting: str) -> str:
    """Digest of a few patterns of a named simulation: it changes whenever the simulation draws other patterns."""
    patterns = simulate(simulation_named(setting), PROBED, np.random.default_rng(0))
    return hashlib.sha256(patterns.counts.tobytes() + patterns.mask.tobytes()).hexdigest()[:8]


def method_key(method: Method) -> str:
    """Give a folder name that changes whenever the method or any of its settings does."""
    digest = hashlib.sha256(repr(method).encode()).hexdigest()[:10]
    return f"{method.name}-{digest}"
