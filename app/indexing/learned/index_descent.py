"""Cells that descend the negative log-likelihood of all assignments at once, through the index network.

The source takes one assignment at a time and leaves this to be done: the likelihood of a line is that of all its
assignments, weighed by the network's softmax, which itself depends on the cell (source, 2.4.1). All gradients are exact
and in plain NumPy, so that the service needs no TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from app.indexing.learned.indices import AssignmentNetwork, closeness, differences, probabilities_from_logits
from app.indexing.learned.plain_network import PlainNetwork

LEAST_STEP = 1e-3
"""A cell whose step has shrunk to this has arrived."""
_RIDGE = 1e-6
_CHUNK = 64

Kind = Literal["expected", "marginal"]


class Stage(NamedTuple):
    """One part of a descent.

    Attributes:
        width: added to the lines' standard deviations, relative to q^2. Each reflection is a cusp of the likelihood; a
            width about the cell's error makes valleys of them that lead somewhere.
        n_steps: trial steps of each cell.
    """

    width: float
    n_steps: int


@dataclass(frozen=True)
class DescentOptions:
    """How to descend.

    Attributes:
        kind: ``expected`` is the sum over assignments of probability times negative log-likelihood, ``marginal`` the
            negative logarithm of the sum of probability times likelihood.
        stages: one after the other, from wide to narrow.
        grow, shrink: the step's factor after success and after failure.
    """

    kind: Kind = "expected"
    stages: tuple[Stage, ...] = (Stage(0.1, 8), Stage(0.03, 4), Stage(0.01, 3))
    grow: float = 1.5
    shrink: float = 0.3


class Value(NamedTuple):
    """The objective of each cell and what a step needs.

    Attributes:
        value: shape (cell,).
        gradient: with respect to x, shape (cell, param).
        curvature: of the weighted squares of the residuals, a positive stand-in for the Hessian,
            shape (cell, param, param).
    """

    value: Float[np.ndarray, "cell"]
    gradient: Float[np.ndarray, "cell param"]
    curvature: Float[np.ndarray, "cell param param"]


def objective(
    network: AssignmentNetwork,
    weights: PlainNetwork,
    bravais: str,
    x: Float[np.ndarray, "cell param"],
    q2: Float[np.ndarray, "cell peak"],
    sigma_q2: Float[np.ndarray, "cell peak"],
    kind: Kind = "expected",
) -> Value:
    """Give the negative log-likelihood of the lines over all their assignments, with its gradient.

    A line's density around a reflection is the source's, normal with sigma^2 = q2 (|residual| + sigma); a line of no
    reflection lies anywhere up to the last line.

    Args:
        network: whose reference reflections and epsilon hold.
        weights: the same network in plain form.
        bravais: lattice of the cells.
        x: metric terms, Angstrom^-2.
        q2: the lines of each cell's pattern, Angstrom^-2, ascending; at most as many as the network tells apart.
        sigma_q2: their standard deviations.
        kind: see `DescentOptions`.
    """
    difference = differences(x, q2, network.design)
    near = closeness(difference, network.epsilon)
    weights = weights.first(q2.shape[1])
    logits, traces = weights.traced(near)
    open_class = np.append(network.allowed(bravais), True)
    probability = probabilities_from_logits(np.where(open_class, logits, np.float32(-np.inf)))
    cost, slope, variance = _costs(difference, q2, sigma_q2)
    terms = _KINDS[kind](probability, cost)
    d_near = weights.pulled_back(terms.d_logits, traces)
    # d near / d |difference| = -near^2 / epsilon
    d_difference = terms.share[:, :, :-1] * slope - np.sign(difference) * d_near * near**2 / np.float32(network.epsilon)
    gradient = -d_difference.sum(axis=1).astype(float) @ network.design
    weight = (terms.share[:, :, :-1] / variance).sum(axis=1).astype(float)
    rows = network.design
    curvature = np.einsum("kr,rp,rq->kpq", weight, rows, rows, optimize=True)
    return Value(terms.value.sum(axis=1).astype(float), gradient, curvature)


def _costs(
    difference: Float[np.ndarray, "cell peak ref"],
    q2: Float[np.ndarray, "cell peak"],
    sigma_q2: Float[np.ndarray, "cell peak"],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Negative log-density of every class, its slope along the difference, and the variance; classes end with none."""
    line, sigma = q2.astype(np.float32)[:, :, None], sigma_q2.astype(np.float32)[:, :, None]
    size = np.abs(difference)
    wide = size + sigma
    variance = line * wide
    cost = 0.5 * (size * size / variance + np.log(2 * np.pi * variance))
    slope = 0.5 * np.sign(difference) * ((size * size + 2 * size * sigma) / (line * wide * wide) + 1 / wide)
    foreign = np.broadcast_to(np.log(line[:, -1:]), (*cost.shape[:2], 1))
    return np.concatenate([cost, foreign], axis=2), slope, variance


class _Terms(NamedTuple):
    """Of each line: its value, the derivative with respect to the logits, and to each class's cost."""

    value: Float[np.ndarray, "cell peak"]
    d_logits: Float[np.ndarray, "cell peak class"]
    share: Float[np.ndarray, "cell peak class"]


def _expected(probability: np.ndarray, cost: np.ndarray) -> _Terms:
    value = (probability * cost).sum(axis=2)
    return _Terms(value, probability * (cost - value[:, :, None]), probability)


def _marginal(probability: np.ndarray, cost: np.ndarray) -> _Terms:
    least = cost.min(axis=2, keepdims=True)
    likely = probability * np.exp(least - cost)
    total = likely.sum(axis=2, keepdims=True)
    share = likely / total
    value = least[:, :, 0] - np.log(total[:, :, 0])
    return _Terms(value, probability - share, share)


_KINDS: Mapping[str, Callable[[np.ndarray, np.ndarray], _Terms]] = MappingProxyType(
    {"expected": _expected, "marginal": _marginal}
)


def descend(
    network: AssignmentNetwork,
    weights: PlainNetwork,
    bravais: str,
    x: Float[np.ndarray, "cell param"],
    q2: Float[np.ndarray, "peak"],
    sigma_q2: Float[np.ndarray, "peak"],
    options: DescentOptions | None = None,
) -> Float[np.ndarray, "cell param"]:
    """Descend from each cell; no stage makes one worse by its objective.

    Steps are those of Gauss and Newton times a factor that grows with success and shrinks without it.

    Args: as `objective`, for one pattern of lines.
    """
    options = options or DescentOptions()
    parts = []
    for first in range(0, len(x), _CHUNK):
        part = x[first : first + _CHUNK]
        for stage in options.stages:
            lines, sigma = (np.tile(row, (len(part), 1)) for row in (q2, sigma_q2 + stage.width * q2))

            def cost(cells: np.ndarray, lines: np.ndarray = lines, sigma: np.ndarray = sigma) -> Value:
                return objective(network, weights, bravais, cells, lines, sigma, options.kind)

            part = _descend(cost, part, stage.n_steps, options)
        parts.append(part)
    return np.concatenate(parts) if parts else x


def _descend(
    cost: Callable[[np.ndarray], Value], x: Float[np.ndarray, "cell param"], n_steps: int, options: DescentOptions
) -> Float[np.ndarray, "cell param"]:
    now, factor = cost(x), np.ones(len(x))
    for _ in range(n_steps):
        trial_x = x - factor[:, None] * _newton(now)
        trial = cost(trial_x)
        better = (trial.value < now.value) & (trial_x[:, :3] > 0).all(axis=1)
        x = np.where(better[:, None], trial_x, x)
        now = Value(*(_chosen(better, new, old) for new, old in zip(trial, now, strict=True)))
        factor = np.where(better, np.minimum(factor * options.grow, 1.0), factor * options.shrink)
        if np.all(factor < LEAST_STEP):
            break
    return x


def _chosen(better: np.ndarray, new: np.ndarray, old: np.ndarray) -> np.ndarray:
    return np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _newton(now: Value) -> Float[np.ndarray, "cell param"]:
    """Solve curvature @ step = gradient, with a ridge where lines do not fix a parameter."""
    scale = np.sqrt(np.einsum("kpp->kp", now.curvature)) + np.finfo(float).tiny
    scaled = now.curvature / (scale[:, :, None] * scale[:, None, :]) + _RIDGE * np.eye(scale.shape[1])
    return np.linalg.solve(scaled, (now.gradient / scale)[:, :, None])[:, :, 0] / scale
