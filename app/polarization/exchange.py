"""The pairs of text files that the D3 notebooks exchange: the measured decay, and what is known of the cells.

`PolarizationD3_<file>_<d>_<m>_<yy>_<n>_MillerIndex_(h,k,l).txt` has the columns
`DeltaTime,PolarizationD3,SoftPolarizationD3,ErrPolarizationD3` (seconds since the first row); beside it lies
`..._Parameters.txt` with one row, `CellID,Pressure,LabPolarization,LabTime` for one cell and
`CellID,AnalyserID,PolariserPressure,AnalyserPressure,LabPolarization,LabTime` for two (bar; LabTime in seconds relative
to the first row, negative before it).
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput, TooLarge
from app.polarization.experiment import Cell, Experiment

MEASUREMENT_COLUMNS = ("DeltaTime", "PolarizationD3", "SoftPolarizationD3", "ErrPolarizationD3")
CRYSTALLINE_COLUMNS = ("CellID", "Pressure", "LabPolarization", "LabTime")
AMORPHOUS_COLUMNS = ("CellID", "AnalyserID", "PolariserPressure", "AnalyserPressure", "LabPolarization", "LabTime")
MAX_ROWS = 100_000
UNKNOWN_DATE = datetime(1970, 1, 1)  # noqa: DTZ001 local time of the instrument has no zone
SOFT_WINDOW, SOFT_ORDER = 5, 2

_NAME = re.compile(r"_(?P<d>\d{1,2})_(?P<m>\d{1,2})_(?P<y>\d{2})_\d+_MillerIndex_\((?P<hkl>[^()]{1,60})\)")


@dataclass(frozen=True)
class ExchangePair:
    """Two texts and the name they share; the files are `<name>.txt` and `<name>_Parameters.txt`."""

    name: str
    measurements: str
    parameters: str


def soft_polarization(polarization: Float[np.ndarray, "time"]) -> Float[np.ndarray, "time"]:
    """D3's SoftPolarizationD3: a Savitzky-Golay filter, 5 rows, parabola, fitted polynomial at the ends.

    Window, order and ends were inferred from D3's own pairs, which they reproduce to the last digit when the filter
    runs over the rows before outliers are dropped. Fewer than 5 rows: 3, which with a parabola changes nothing.
    """
    window = SOFT_WINDOW if polarization.size >= SOFT_WINDOW else 3
    if polarization.size < window:
        return polarization.copy()
    from scipy.signal import savgol_filter  # half a second that a service without text pairs need not spend

    return np.asarray(savgol_filter(polarization, window, SOFT_ORDER, mode="interp"))


def pair_name(experiment: Experiment, stem: str, number: int = 0) -> str:
    """The notebooks' name: file, day the cell was filled, number in the file, reflection."""
    filled = experiment.polarizer.lab_time
    hkl = ",".join(f"{index:g}" for index in experiment.reflection)
    return f"PolarizationD3_{stem}_{filled.day}_{filled.month}_{filled:%y}_{number}_MillerIndex_({hkl})"


def write_pair(experiment: Experiment, stem: str = "polar", number: int = 0) -> ExchangePair:
    """An experiment as D3's pair. The analyser's own laboratory values have no place in it and are lost."""
    soft = soft_polarization(experiment.polarization)
    columns = (experiment.time_s, experiment.polarization, soft, experiment.sigma)
    rows = [[repr(float(value)) for value in row] for row in zip(*columns, strict=True)]
    return ExchangePair(
        name=pair_name(experiment, stem, number),
        measurements=_csv(MEASUREMENT_COLUMNS, rows),
        parameters=_parameters(experiment),
    )


def _parameters(experiment: Experiment) -> str:
    polarizer, analyser = experiment.polarizer, experiment.analyser
    lab = [f"{polarizer.lab_polarization:g}", f"{experiment.lab_time_s:.15g}"]
    if analyser is None:
        return _csv(CRYSTALLINE_COLUMNS, [[polarizer.cell_id, f"{polarizer.pressure_bar:g}", *lab]])
    pressures = [f"{polarizer.pressure_bar:g}", f"{analyser.pressure_bar:g}"]
    return _csv(AMORPHOUS_COLUMNS, [[polarizer.cell_id, analyser.cell_id, *pressures, *lab]])


def _csv(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join([",".join(columns), *(",".join(row) for row in rows)]) + "\n"


def read_pair(measurements: str, parameters: str, name: str = "") -> Experiment:
    """Read D3's pair.

    The pair holds no absolute date. If `name` is the notebooks' name, its day (of the cell's filling) and its
    reflection are used: the filling is put at midnight of that day, the rows follow from LabTime; without it all
    begins on 1970-01-01. The analyser gets the polarizer's laboratory values, which is all the pair has.

    Raises:
        InvalidInput: other columns, a value that is no number, times that do not increase, an error not above 0.
        TooLarge: more than 100,000 rows.
    """
    known = _parameter_row(parameters)
    rows = _table(measurements, MEASUREMENT_COLUMNS, "measurements")
    values = np.array(
        [[_number(row[c], c, n) for c in MEASUREMENT_COLUMNS if c != "SoftPolarizationD3"] for n, row in rows]
    )
    time_s, polarization, sigma = _checked(values)
    filled, reflection = _from_name(name)
    polarizer, analyser = _cells(known, filled)
    lab_time_s = _number(known["LabTime"], "LabTime", 2) - float(time_s[0])
    return Experiment(
        name=name or f"{polarizer.cell_id} pair",
        material="crystalline" if analyser is None else "amorphous",
        polarizer=polarizer,
        analyser=analyser,
        reflection=reflection,
        start=filled - _seconds(lab_time_s),
        time_s=time_s - time_s[0],
        polarization=polarization,
        sigma=sigma,
    )


def _seconds(value: float) -> timedelta:
    if abs(value) > timedelta(days=3650).total_seconds():
        raise InvalidInput(f"LabTime is {value:g} s from the first row, expected less than ten years")
    return timedelta(seconds=value)


def _parameter_row(text: str) -> dict[str, str]:
    first = text.strip().partition("\n")[0]
    columns = AMORPHOUS_COLUMNS if "AnalyserID" in first else CRYSTALLINE_COLUMNS
    rows = _table(text, columns, "parameters")
    if len(rows) != 1:
        raise InvalidInput(f"{len(rows)} rows in the parameters, expected one below {','.join(columns)}")
    return rows[0][1]


def _table(text: str, columns: Sequence[str], what: str) -> list[tuple[int, dict[str, str]]]:
    """Line number and fields of each row; columns may come in any order, others are refused."""
    try:
        lines = list(csv.reader(io.StringIO(text.lstrip("\ufeff").strip())))
    except csv.Error:
        raise InvalidInput(f"the {what} are no comma-separated text") from None
    header = [field.strip() for field in lines[0]] if lines else []
    if sorted(header) != sorted(columns):
        raise InvalidInput(
            f"the {what} begin with '{','.join(header)[:100]}', expected the columns {','.join(columns)}"
        )
    if len(lines) - 1 > MAX_ROWS:
        raise TooLarge(f"{len(lines) - 1} rows in the {what}, at most {MAX_ROWS} are read")
    rows = [(number, line) for number, line in enumerate(lines[1:], start=2) if line]
    for number, line in rows:
        if len(line) != len(header):
            raise InvalidInput(f"line {number} of the {what} has {len(line)} fields, expected {len(header)}")
    return [(number, dict(zip(header, (field.strip() for field in line), strict=True))) for number, line in rows]


def _number(text: str, column: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{column} in line {line} is '{text[:20]}', expected a finite number")
    return value


Column = Float[np.ndarray, "time"]


def _checked(values: Float[np.ndarray, "time column"]) -> tuple[Column, Column, Column]:
    if len(values) < 2:
        raise InvalidInput(f"{len(values)} rows in the measurements, expected the initial and the final one at least")
    time_s, polarization, sigma = values.T
    problems = (
        (np.any(np.diff(time_s) <= 0), "DeltaTime does not increase from row to row"),
        (np.any(np.abs(polarization) > 1), "PolarizationD3 is outside [-1, 1]"),
        (np.any(sigma <= 0), "ErrPolarizationD3 is not above 0 in every row"),
    )
    for failed, message in problems:
        if failed:
            raise InvalidInput(message)
    return time_s.copy(), polarization.copy(), sigma.copy()


def _cells(known: Mapping[str, str], filled: datetime) -> tuple[Cell, Cell | None]:
    lab_polarization = _positive(known, "LabPolarization", 1.0)
    two = "AnalyserID" in known
    pressure = _positive(known, "PolariserPressure" if two else "Pressure", 10.0)
    polarizer = Cell(known["CellID"].lower(), pressure, lab_polarization, filled)
    if not two:
        return polarizer, None
    return polarizer, Cell(
        known["AnalyserID"].lower(), _positive(known, "AnalyserPressure", 10.0), lab_polarization, filled
    )


def _positive(known: Mapping[str, str], column: str, upper: float) -> float:
    value = _number(known[column], column, 2)
    if not 0.0 < value <= upper:
        raise InvalidInput(f"{column} is {value:g}, expected above 0 and at most {upper:g}")
    return value


def _from_name(name: str) -> tuple[datetime, tuple[float, float, float]]:
    match = _NAME.search(name)
    if match is None:
        return UNKNOWN_DATE, (0.0, 0.0, 0.0)
    try:
        filled = datetime(2000 + int(match["y"]), int(match["m"]), int(match["d"]))  # noqa: DTZ001 as above
        h, k, l_index = (float(index) for index in match["hkl"].split(","))
    except ValueError:
        return UNKNOWN_DATE, (0.0, 0.0, 0.0)
    return filled, (h, k, l_index)
