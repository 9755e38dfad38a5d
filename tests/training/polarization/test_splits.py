"""Facts of the splits: what shares a filled cell is never on both sides."""

from __future__ import annotations

import dataclasses

import numpy as np

from app.polarization.experiment import Experiment
from training.polarization.simulate import SimulationArgs, simulate
from training.polarization.splits import fills, fingerprint, folds, installations


def _experiments(reflections: int = 2) -> list[Experiment]:
    return simulate("amorphous", 4, np.random.default_rng(0), SimulationArgs(reflections=reflections))


def test_reflections_of_one_installed_cell_are_held_out_together() -> None:
    assert installations(_experiments()) == [(0, 1), (2, 3), (4, 5), (6, 7)]


def test_no_filling_stands_on_both_sides_and_every_experiment_is_held_out_once() -> None:
    experiments = _experiments()
    held_out = []
    for training, held in folds(experiments):
        assert not set().union(*map(fills, training)) & set().union(*map(fills, held))
        held_out += [e.name for e in held]
    assert sorted(held_out) == sorted(e.name for e in experiments)


def test_an_analyser_that_stays_joins_two_polarizers() -> None:
    first, second, *rest = _experiments(reflections=1)
    second = dataclasses.replace(second, analyser=first.analyser)
    assert installations([first, second, *rest])[0] == (0, 1)


def test_chains_of_shared_fillings_are_one_installation() -> None:
    a, b, c, d = _experiments(reflections=1)
    b = dataclasses.replace(b, analyser=d.analyser)
    a = dataclasses.replace(a, polarizer=b.polarizer)
    assert installations([a, b, c, d]) == [(0, 1, 3), (2,)]


def test_the_fingerprint_knows_every_value_and_no_order() -> None:
    experiments = _experiments()
    changed = dataclasses.replace(experiments[0], sigma=experiments[0].sigma * (1 + 1e-12))
    assert fingerprint(experiments) == fingerprint(experiments[::-1])
    assert fingerprint(experiments) != fingerprint([changed, *experiments[1:]])
    assert fingerprint(experiments) != fingerprint(experiments[1:])
