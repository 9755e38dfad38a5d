from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidInput
from app.polarization.exchange import read_pair, soft_polarization, write_pair
from app.polarization.experiment import Experiment
from app.polarization.segments import survey
from tests.polarization.fli_writer import decay_rows, fli, header


def experiment(*, two_cells: bool) -> Experiment:
    headers = (
        [header("ge18012"), header("sic1403", role="analyser", pressure=2.0)] if two_cells else [header("ge18012")]
    )
    (found,) = survey({"a.fli": fli(headers, decay_rows(directions="" if two_cells else "+z +z"))}).experiments
    return found


@pytest.mark.parametrize("two_cells", [False, True])
def test_what_is_written_is_read_back(two_cells: bool) -> None:
    written = experiment(two_cells=two_cells)
    pair = write_pair(written, "a")
    read = read_pair(pair.measurements, pair.parameters, pair.name)
    for name in ("time_s", "polarization", "sigma"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert (read.material, read.reflection, read.lab_time_s) == (
        written.material,
        written.reflection,
        written.lab_time_s,
    )
    assert read.polarizer.lab_time.date() == written.polarizer.lab_time.date()
    assert (read.polarizer.cell_id, read.polarizer.pressure_bar) == ("ge18012", 2.3)
    assert (read.analyser is None) == (written.analyser is None)
    if read.analyser is not None:
        assert (read.analyser.cell_id, read.analyser.pressure_bar) == ("sic1403", 2.0)


def test_the_columns_are_those_of_the_notebooks() -> None:
    one, two = write_pair(experiment(two_cells=False)), write_pair(experiment(two_cells=True))
    assert one.measurements.startswith("DeltaTime,PolarizationD3,SoftPolarizationD3,ErrPolarizationD3\n0.0,")
    assert one.parameters == "CellID,Pressure,LabPolarization,LabTime\nge18012,2.3,0.79,-300\n"
    assert two.parameters.startswith("CellID,AnalyserID,PolariserPressure,AnalyserPressure,LabPolarization,LabTime\n")
    assert one.name == "PolarizationD3_polar_4_5_30_0_MillerIndex_(1,1,1)"


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.integers(5, 40))
def test_the_soft_filter_leaves_a_parabola_as_it_is(coefficients: list[float], size: int) -> None:
    parabola = np.polyval(coefficients, np.linspace(-1, 1, size))
    np.testing.assert_allclose(soft_polarization(parabola), parabola, atol=1e-12)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_short_series_are_not_filtered(size: int) -> None:
    values = np.random.default_rng(size).random(size)
    np.testing.assert_allclose(soft_polarization(values), values, atol=1e-12)


MEASUREMENTS = "DeltaTime,PolarizationD3,SoftPolarizationD3,ErrPolarizationD3\n0,0.8,0.8,0.002\n60,0.7,0.7,0.002\n"
PARAMETERS = "CellID,Pressure,LabPolarization,LabTime\nge18004,2.3,0.79,-300\n"


@pytest.mark.parametrize(
    ("measurements", "parameters", "message"),
    [
        ("", PARAMETERS, "expected the columns"),
        ("Time,P\n0,1\n", PARAMETERS, "expected the columns"),
        (MEASUREMENTS, "CellID,Pressure\nx,1\n", "expected the columns"),
        (MEASUREMENTS.replace("60,", "0,"), PARAMETERS, "does not increase"),
        (MEASUREMENTS.replace("0.7,0.7", "1.7,0.7"), PARAMETERS, "outside"),
        (MEASUREMENTS.replace("0.002", "0"), PARAMETERS, "not above 0"),
        (MEASUREMENTS.replace("0.002", "nan"), PARAMETERS, "finite number"),
        (MEASUREMENTS.replace(",0.002\n60", "\n60"), PARAMETERS, "3 fields"),
        (MEASUREMENTS.partition("60,")[0], PARAMETERS, "initial and the final"),
        (MEASUREMENTS, PARAMETERS.replace("0.79", "1.79"), "LabPolarization"),
        (MEASUREMENTS, PARAMETERS.replace("2.3", "-2.3"), "Pressure"),
        (MEASUREMENTS, PARAMETERS.replace("-300", "-1e300"), "LabTime"),
        (MEASUREMENTS, PARAMETERS + "ge18004,2.3,0.79,-300\n", "2 rows"),
    ],
)
def test_a_damaged_pair_is_refused_with_the_reason(measurements: str, parameters: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        read_pair(measurements, parameters)


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_text_raises_anything_but_invalid_input(measurements: str, parameters: str) -> None:
    for first, second in ((measurements, parameters), (MEASUREMENTS + measurements, PARAMETERS)):
        try:
            read_pair(first, second, measurements)
        except InvalidInput:
            continue
