"""What a method of prediction is: something that learns from experiments and then answers queries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from app.polarization.correction import bump, line_sigma, position
from app.polarization.experiment import Experiment, Query


class Prediction(NamedTuple):
    """Neutron polarization at a query's times and its standard deviation, each of shape ``time``."""

    mean: Float[np.ndarray, "time"]
    sigma: Float[np.ndarray, "time"]


class Predictor(Protocol):
    """A fitted method. It sees the cells, the two anchors and the times, never the points between."""

    def __call__(self, query: Query) -> Prediction: ...


@runtime_checkable
class Method(Protocol):
    """A method that can be fitted; a frozen dataclass, so that it travels to workers and its repr tells it apart."""

    @property
    def name(self) -> str:
        """Short and unique in a table."""
        ...

    def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
        """Learn from these experiments. The same experiments and seed give the same predictor."""
        ...


def method_key(method: Method) -> str:
    """Give a folder name that changes whenever the method or any of its settings does."""
    digest = hashlib.sha256(repr(method).encode()).hexdigest()[:10]
    return f"{''.join(c if c.isalnum() or c in '-_.' else '-' for c in method.name)}-{digest}"


def interior_sigma(experiment: Experiment) -> Float[np.ndarray, "time"]:
    """Give what counting alone puts between a point and a perfect model that knows only the anchors.

    sqrt(sigma_i^2 + (1-u)^2 s0^2 + u^2 s1^2) for each point between the anchors.
    """
    query = experiment.query()
    u = position(query.time_s, query.initial, query.final)
    return np.hypot(experiment.sigma[1:-1], line_sigma(u, query.initial.sigma, query.final.sigma))


def interior_bump(experiment: Experiment) -> Float[np.ndarray, "time"]:
    """Give 4u(1-u) for each point between the anchors."""
    query = experiment.query()
    return bump(position(query.time_s, query.initial, query.final))
