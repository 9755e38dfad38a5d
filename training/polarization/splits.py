"""Which experiments may not stand on both sides of a split, and a dataset's fingerprint.

A cell is installed, decays, and is exchanged. Several reflections may be measured on it meanwhile: they share its
opacity, its T1 and their times, so one of them in the training set tells the other's curve. Everything that shares a
filled cell, polarizer or analyser, is therefore held out together, and rows are never split at random (that looked 4.5
times better than it was). Experiments with the same cell after another filling stay: a user's next run has them too.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

import numpy as np

from app.polarization.experiment import Experiment

CAMPAIGN_PAUSE: Final = timedelta(days=14)
"""Longer than any pause within a reactor cycle of the ILL, shorter than any between two."""

Fill = tuple[str, str]
"""A cell id and when its lab polarization was measured: one filling of one cell."""


def fills(experiment: Experiment) -> set[Fill]:
    """Give the fillings that an experiment was measured on."""
    cells = (experiment.polarizer, experiment.analyser)
    return {(cell.cell_id, cell.lab_time.isoformat()) for cell in cells if cell is not None}


def installations(experiments: Sequence[Experiment]) -> list[tuple[int, ...]]:
    """Group experiments that share a filling, directly or through others: connected components.

    Returns:
        Indices into ``experiments``; every index is in one group, groups in order of their first member.
    """
    group_of: dict[Fill, set[int]] = {}
    for index, experiment in enumerate(experiments):
        joined = {index}.union(*(group_of.get(fill, set()) for fill in fills(experiment)))
        for fill in set().union(*(fills(experiments[i]) for i in joined)):
            group_of[fill] = joined
    return sorted({tuple(sorted(group)) for group in group_of.values()})


def campaigns(experiments: Sequence[Experiment]) -> list[tuple[int, ...]]:
    """Group experiments by beam time: a pause of `CAMPAIGN_PAUSE` begins another campaign, of another reactor cycle.

    Returns:
        Indices into ``experiments``, groups in order of time.
    """
    groups: list[list[int]] = []
    last: datetime | None = None
    for index in sorted(range(len(experiments)), key=lambda i: experiments[i].start):
        start = experiments[index].start
        if last is None or start - last > CAMPAIGN_PAUSE:
            groups.append([])
        groups[-1].append(index)
        last = start
    return [tuple(group) for group in groups]


def folds(experiments: Sequence[Experiment]) -> Iterator[tuple[list[Experiment], list[Experiment]]]:
    """Yield (training, held out) once for each installation."""
    for group in installations(experiments):
        held = set(group)
        yield [e for i, e in enumerate(experiments) if i not in held], [experiments[i] for i in group]


def fingerprint(experiments: Sequence[Experiment]) -> str:
    """Give the SHA-256 of everything a method can see; it does not depend on the order of the experiments."""
    return hashlib.sha256(b"".join(sorted(_digest(e) for e in experiments))).hexdigest()


def _digest(experiment: Experiment) -> bytes:
    parts = (experiment.name, experiment.material, experiment.polarizer, experiment.analyser, experiment.start)
    digest = hashlib.sha256(repr(parts).encode())
    for column in (experiment.time_s, experiment.polarization, experiment.sigma):
        digest.update(np.ascontiguousarray(column, dtype="<f8").tobytes())
    return digest.digest()
