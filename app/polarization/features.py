"""What a network sees of an experiment: the same function in training and in service.

A feature list is a sequence of names in the order the network was trained with; it stands in a model's manifest. A
name is a number of `NUMBERS`, or one column of a one-hot code: ``cell=ge18004`` (polarizer), ``analyser=sic1402``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, ModelRefused
from app.polarization.experiment import Cell, Material, Query

CELL_PREFIX: Final = "cell="
ANALYSER_PREFIX: Final = "analyser="


def _analyser(query: Query) -> Cell:
    if query.analyser is None:
        raise InvalidInput("this model needs an analyser cell and the experiment names none: give `analyser`")
    return query.analyser


NUMBERS: Final = MappingProxyType[str, Callable[[Query], float]](
    {
        "pressure_bar": lambda q: q.polarizer.pressure_bar,
        "polarizer_pressure_bar": lambda q: q.polarizer.pressure_bar,
        "analyser_pressure_bar": lambda q: _analyser(q).pressure_bar,
        "lab_polarization": lambda q: q.polarizer.lab_polarization,
        "lab_time_s": lambda q: q.lab_time_s,
        "initial_time_s": lambda q: q.initial.time_s,
        "initial_polarization": lambda q: q.initial.polarization,
        "initial_sigma": lambda q: q.initial.sigma,
        "final_time_s": lambda q: q.final.time_s,
        "final_polarization": lambda q: q.final.polarization,
        "final_sigma": lambda q: q.final.sigma,
    }
)
"""Every numerical feature by name. Units stand in the names; polarizations have none."""

_BEFORE_CELLS: Final[dict[Material, tuple[str, ...]]] = {
    "crystalline": ("pressure_bar", "lab_polarization", "lab_time_s"),
    "amorphous": ("polarizer_pressure_bar", "analyser_pressure_bar", "lab_polarization", "lab_time_s"),
}
ANCHORS: Final = ("initial_time_s", "initial_polarization", "final_time_s", "final_polarization")


@dataclass(frozen=True)
class StaticFeatures:
    """A network's static input.

    Attributes:
        values: in the order of the feature list, shape ``feature``.
        unknown_cells: cell ids of the experiment that the feature list has no column for; their one-hot code is all 0.
    """

    values: Float[np.ndarray, "feature"]
    unknown_cells: tuple[str, ...]


def feature_names(material: Material, cell_ids: Iterable[str], analyser_ids: Iterable[str] = ()) -> tuple[str, ...]:
    """Give the feature list of the D3 pipeline: numbers, polarizer cells, analyser cells, anchors."""
    cells = (f"{CELL_PREFIX}{name}" for name in sorted(set(cell_ids)))
    analysers = (f"{ANALYSER_PREFIX}{name}" for name in sorted(set(analyser_ids)))
    return (*_BEFORE_CELLS[material], *cells, *analysers, *ANCHORS)


def static_features(query: Query, names: Sequence[str]) -> StaticFeatures:
    """Compute the static input of one experiment.

    Args:
        query: the experiment.
        names: the feature list.

    Raises:
        InvalidInput: the list has a feature of an analyser and the experiment has no analyser.
        ModelRefused: the list has a name that means nothing here.
    """
    values = np.array([_value(query, name) for name in names], dtype=float)
    return StaticFeatures(values, _unknown_cells(query, frozenset(names)))


def _value(query: Query, name: str) -> float:
    if name in NUMBERS:
        return NUMBERS[name](query)
    if name.startswith(CELL_PREFIX):
        return float(query.polarizer.cell_id == name.removeprefix(CELL_PREFIX))
    if name.startswith(ANALYSER_PREFIX):
        return float(_analyser(query).cell_id == name.removeprefix(ANALYSER_PREFIX))
    raise ModelRefused(
        f"unknown feature {name[:60]!r}; known are {', '.join(NUMBERS)}, {CELL_PREFIX}<id> and {ANALYSER_PREFIX}<id>"
    )


def _unknown_cells(query: Query, names: frozenset[str]) -> tuple[str, ...]:
    """Cells without a column, for each code that the list has at all: a list without one-hot columns ignores cells."""
    pairs = ((CELL_PREFIX, query.polarizer), (ANALYSER_PREFIX, query.analyser))
    return tuple(
        cell.cell_id
        for prefix, cell in pairs
        if cell is not None and any(n.startswith(prefix) for n in names) and f"{prefix}{cell.cell_id}" not in names
    )


def one_hot_columns(names: Sequence[str]) -> tuple[int, ...]:
    """Give the positions of the one-hot columns in a feature list."""
    return tuple(i for i, n in enumerate(names) if n.startswith((CELL_PREFIX, ANALYSER_PREFIX)))
