"""From experiments to the rows that a two-input network is trained on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.preprocessing import MinMaxScaler

from app.polarization.experiment import Experiment, Query
from app.polarization.features import feature_names, one_hot_columns, static_features
from training.polarization.args import DataArgs


@dataclass(frozen=True)
class Rows:
    """Points between anchors, of all experiments.

    Attributes:
        static: shape ``sample feature``, the same for all rows of an experiment.
        time_s: shape ``sample``.
        target: neutron polarization, shape ``sample``.
    """

    static: Float[np.ndarray, "sample feature"]
    time_s: Float[np.ndarray, "sample"]
    target: Float[np.ndarray, "sample"]


@dataclass(frozen=True)
class Scalers:
    """Min-max scalers of static features, time and polarization, fitted on the training side only."""

    static: MinMaxScaler
    time: MinMaxScaler
    target: MinMaxScaler


def names_of(experiments: Sequence[Experiment]) -> tuple[str, ...]:
    """Give the feature list for networks trained on these experiments: one column for each cell that occurs."""
    analysers = [e.analyser.cell_id for e in experiments if e.analyser is not None]
    return feature_names(experiments[0].material, [e.polarizer.cell_id for e in experiments], analysers)


def augmented(experiments: Sequence[Experiment], copies: int, rng: np.random.Generator) -> list[Experiment]:
    """Give the experiments and noisy copies of each: every polarization redrawn from its own sigma, anchors too.

    Do this after a split: all copies of an experiment belong on its side.
    """
    drawn = (
        dataclasses.replace(e, polarization=rng.normal(e.polarization, e.sigma))
        for e in experiments
        for _ in range(copies)
    )
    return [*experiments, *drawn]


def build_rows(
    experiments: Sequence[Experiment], names: Sequence[str], cell_dropout: float, rng: np.random.Generator
) -> Rows:
    """Make rows: static features repeated, the two anchor rows left out of the targets."""
    parts = [_static_rows(e, names, cell_dropout, rng) for e in experiments]
    return Rows(
        np.concatenate(parts),
        np.concatenate([e.time_s[1:-1] for e in experiments]),
        np.concatenate([e.polarization[1:-1] for e in experiments]),
    )


def _static_rows(
    experiment: Experiment, names: Sequence[str], cell_dropout: float, rng: np.random.Generator
) -> Float[np.ndarray, "sample feature"]:
    values = static_features(experiment.query(), names).values
    if rng.random() < cell_dropout:
        values[list(one_hot_columns(names))] = 0.0
    return np.tile(values, (len(experiment.time_s) - 2, 1))


def training_rows(
    experiments: Sequence[Experiment], names: Sequence[str], args: DataArgs, rng: np.random.Generator
) -> tuple[Rows, Scalers]:
    """Augment, make rows, fit the scalers: static on the rows, time and target on all points, anchors included."""
    everything = augmented(experiments, args.augmentations, rng)
    rows = build_rows(everything, names, args.cell_dropout, rng)
    times, targets = (
        np.concatenate(x)[:, None] for x in zip(*((e.time_s, e.polarization) for e in everything), strict=True)
    )
    return rows, Scalers(*(MinMaxScaler().fit(x) for x in (rows.static, times, targets)))


def scaled(rows: Rows, scalers: Scalers) -> Rows:
    """Apply the scalers."""
    return Rows(
        scalers.static.transform(rows.static),
        scalers.time.transform(rows.time_s[:, None])[:, 0],
        scalers.target.transform(rows.target[:, None])[:, 0],
    )


def query_rows(query: Query, names: Sequence[str]) -> Rows:
    """Make rows of a query, both anchors' times appended; the targets are NaN."""
    time_s = np.concatenate([query.time_s, [query.initial.time_s, query.final.time_s]])
    static = np.tile(static_features(query, names).values, (len(time_s), 1))
    return Rows(static, time_s, np.full(len(time_s), np.nan))
