"""What is known of one spin-filter decay: the cells, the calibrations and, where measured, the points between."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Material = Literal["crystalline", "amorphous"]
"""Crystalline: one 3He cell, the polarizer. Amorphous: a polarizer cell and an analyser cell."""


@dataclass(frozen=True)
class Cell:
    """One 3He cell as its header gives it.

    Attributes:
        cell_id: name engraved on the cell, lower case, e.g. ``ge18004``.
        pressure_bar: gas pressure [bar].
        lab_polarization: 3He polarization measured in the filling laboratory, 0 to 1.
        lab_time: when that was measured (local time of the instrument, no zone).
    """

    cell_id: str
    pressure_bar: float
    lab_polarization: float
    lab_time: datetime


@dataclass(frozen=True)
class Calibration:
    """One measured neutron polarization.

    Attributes:
        time_s: seconds since the experiment's first calibration.
        polarization: neutron polarization P = (R - 1)/(R + 1), R the flipping ratio.
        sigma: its standard deviation.
    """

    time_s: float
    polarization: float
    sigma: float


class Query(NamedTuple):
    """What a prediction is asked from: the cells, the calibrations, and the times to predict at.

    Attributes:
        lab_time_s: when the polarizer's lab polarization was measured, seconds relative to the first
            calibration (negative: before).
        time_s: times to predict at, seconds since the first calibration, shape ``time``.
    """

    material: Material
    polarizer: Cell
    analyser: Cell | None
    lab_time_s: float
    initial: Calibration
    final: Calibration
    time_s: Float[np.ndarray, "time"]


@dataclass(frozen=True)
class Experiment:
    """One measured decay: the (+z, +z) calibration rows of one reflection while one cell was in place.

    Attributes:
        name: unique in a dataset; says file, cell, date and reflection.
        start: instrument's local time of the first row.
        time_s: seconds since ``start``, strictly increasing, first one 0, shape ``time``.
        polarization: shape ``time``.
        sigma: counting error of each polarization, shape ``time``.
    """

    name: str
    material: Material
    polarizer: Cell
    analyser: Cell | None
    reflection: tuple[float, float, float]
    start: datetime
    time_s: Float[np.ndarray, "time"]
    polarization: Float[np.ndarray, "time"]
    sigma: Float[np.ndarray, "time"]

    @property
    def lab_time_s(self) -> float:
        return (self.polarizer.lab_time - self.start).total_seconds()

    def calibration(self, index: int) -> Calibration:
        return Calibration(float(self.time_s[index]), float(self.polarization[index]), float(self.sigma[index]))

    def query(self, time_s: Float[np.ndarray, "time"] | None = None) -> Query:
        """The question this experiment answers: predict between its first and its last row.

        Args:
            time_s: times to ask for; the rows between the first and the last when left out.
        """
        return Query(
            material=self.material,
            polarizer=self.polarizer,
            analyser=self.analyser,
            lab_time_s=self.lab_time_s,
            initial=self.calibration(0),
            final=self.calibration(-1),
            time_s=self.time_s[1:-1] if time_s is None else time_s,
        )
