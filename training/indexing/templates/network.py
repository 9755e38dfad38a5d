"""The network that scores low-order assignments, and what it is trained for.

One trunk reads the lines; for each lattice a head gives a value to every pair (line, reflection) of the lattice's list.
The score of a row is the sum of its pairs' values and its prior; what the service does with it is to solve the k rows
of highest score. So the loss asks that one right row has a share of at least about 1/k of all rows' exponentials.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from jaxtyping import Float, Int

from app.indexing.compiled import compiled
from app.indexing.learned.template_features import N_FEATURES
from app.indexing.learned.templates import INPUT, pairs_of

BETA = 2.0
"""Right rows count by a norm of this order: one that is certain is worth more than several that are not."""


@dataclass(frozen=True)
class NetworkArgs:
    """The network's size.

    Attributes:
        trunk: units of the shared layers.
        head: units of each lattice's own layer.
    """

    trunk: tuple[int, ...] = (256, 256)
    head: int = 64


def build(lattices: tuple[str, ...], args: NetworkArgs) -> keras.Model:
    """Build the network; its outputs have the lattices' names, and are 0 before training: the order of the list."""
    lines = keras.Input((N_FEATURES,), name=INPUT)
    trunk = lines
    for units in args.trunk:
        trunk = keras.layers.Dense(units, activation="relu")(trunk)
    outputs = {}
    for symbol in lattices:
        own = keras.layers.Dense(args.head, activation="relu", name=f"{symbol}_own")(trunk)
        n_pairs = len(pairs_of(symbol).line)
        outputs[symbol] = keras.layers.Dense(n_pairs, kernel_initializer="zeros", name=symbol)(own)
    return keras.Model(lines, outputs)


def heads(model: keras.Model) -> Mapping[str, keras.Model]:
    """Give each lattice's part of the network, trunk included, sharing its weights."""
    outputs: Any = model.output
    return {symbol: keras.Model(model.input, output) for symbol, output in outputs.items()}


@compiled
def loss_and_slope(  # noqa: C901 - one compiled loop
    value: Float[np.ndarray, "pattern pair"],
    rows: Int[np.ndarray, "param assignment"],
    prior: Float[np.ndarray, "assignment"],
    some: Int[np.ndarray, "some"],
    weight: Float[np.ndarray, "some"],
    right: Int[np.ndarray, "pattern row"],
    quality: Float[np.ndarray, "pattern row"],
    log_k: float,
    beta: float,
    loss: Float[np.ndarray, "pattern"],
    slope: Float[np.ndarray, "pattern pair"],
) -> None:
    """Write each pattern's loss log(1 + 1/(k p)) and its slope.

    p is the share of the right rows, (sum of (quality e^score)^beta)^(1/beta) over the sum of e^score of all rows, an
    estimate from some of them. Once a right row is among the k first there is little left to gain, so that the
    network hedges between readings instead of betting on one.

    Args:
        value: of the pairs.
        rows, prior: see `Pairs`.
        some, weight: rows that stand for all, and how many each stands for.
        right, quality: see `TemplateSet`.
        log_k: ln k.
        beta: see `BETA`.
        loss, slope: written; 0 for patterns without a right row.
    """
    n_params, n_some, n_right = rows.shape[0], some.shape[0], right.shape[1]
    score, share = np.empty(n_some, np.float32), np.empty(n_right, np.float32)
    for pattern in range(value.shape[0]):
        loss[pattern] = 0.0
        slope[pattern, :] = 0.0
        known = 0
        largest = np.float32(-1e30)
        while known < n_right and right[pattern, known] >= 0:
            row = right[pattern, known]
            total = prior[row] + np.float32(math.log(quality[pattern, known]))
            for p in range(n_params):
                total += value[pattern, rows[p, row]]
            share[known] = np.float32(beta) * total
            largest = max(largest, share[known])
            known += 1
        if known == 0:
            continue
        norm = np.float32(0.0)
        for i in range(known):
            share[i] = math.exp(share[i] - largest)
            norm += share[i]
        of_right = (largest + math.log(norm)) / beta
        highest = np.float32(-1e30)
        for i in range(n_some):
            row = some[i]
            total = prior[row]
            for p in range(n_params):
                total += value[pattern, rows[p, row]]
            score[i] = total
            highest = max(highest, total)
        of_all = 0.0
        for i in range(n_some):
            score[i] = weight[i] * math.exp(score[i] - highest)
            of_all += score[i]
        gap = log_k + of_right - highest - math.log(of_all)
        loss[pattern] = math.log1p(math.exp(-gap)) if gap > -30.0 else -gap
        steep = 1.0 / (1.0 + math.exp(min(gap, 30.0)))
        for i in range(n_some):
            part = np.float32(steep * score[i] / of_all)
            if part > 1e-7:
                for p in range(n_params):
                    slope[pattern, rows[p, some[i]]] += part
        for i in range(known):
            part = np.float32(steep * share[i] / norm)
            for p in range(n_params):
                slope[pattern, rows[p, right[pattern, i]]] -= part
