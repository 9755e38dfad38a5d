"""Tables and CIF of an answer, read back."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import replace

import numpy as np
import pytest
from gemmi import cif

from app.crystallography.cell import UnitCell
from app.errors import InvalidInput
from app.indexing.report import (
    LINE_COLUMNS,
    SOLUTION_COLUMNS,
    cif_from_result,
    csv_from_result,
    volume_sigma,
    with_uncertainty,
)
from tests import indexing_results as answers


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_row_a_solution() -> None:
    text = csv_from_result(answers.result())
    assert tuple(text.splitlines()[0].split(",")) == SOLUTION_COLUMNS
    first, second = rows(text)
    assert (first["rank"], first["bravais"], second["rank"], second["bravais"]) == ("1", "cP", "2", "mC")
    assert float(first["a_ang"]) == pytest.approx(answers.CUBE.a_ang)
    assert float(second["beta_deg"]) == pytest.approx(answers.RIVAL.beta_deg)
    assert (float(first["m20"]), float(first["log_odds"])) == (187.4, 84.2)
    assert first["relatives"] == "2"
    assert first["extinction"] == "P - - -"


def test_a_row_a_line() -> None:
    peaks = answers.peaks()
    table = rows(csv_from_result(answers.result(), lines=True, peaks=peaks))
    assert tuple(table[0]) == LINE_COLUMNS
    assert len(table) == 2 * len(peaks.q2_inv_ang2)
    impurity = [row for row in table if row["rank"] == "1" and row["h"] == ""]
    assert len(impurity) == 1
    assert impurity[0]["d_calculated_ang"] == impurity[0]["delta_two_theta_deg"] == ""
    for row in table:
        if row["h"]:
            difference = float(row["two_theta_observed_deg"]) - float(row["two_theta_calculated_deg"])
            shift = answers.ZERO_SHIFT_DEG if row["rank"] == "1" else 0.0
            assert difference == pytest.approx(
                float(row["delta_two_theta_deg"]) + answers.ZERO_SHIFT_DEG - shift, abs=2e-5
            )
            assert float(row["d_calculated_ang"]) == pytest.approx(
                float(row["q2_calculated_inv_ang2"]) ** -0.5, abs=1e-5
            )


def test_without_a_wavelength_there_are_no_angles() -> None:
    table = rows(csv_from_result(answers.result(wavelength_ang=None), lines=True, peaks=answers.peaks(None)))
    assert {row["two_theta_observed_deg"] for row in table} == {""}
    assert rows(csv_from_result(answers.result(wavelength_ang=None)))[0]["f20"] == ""


def test_no_solution_is_an_empty_table_and_no_cif() -> None:
    nothing = replace(answers.result(), solutions=())
    assert csv_from_result(nothing).splitlines() == [",".join(SOLUTION_COLUMNS)]
    with pytest.raises(InvalidInput, match="no cell"):
        cif_from_result(nothing)


@pytest.mark.parametrize(
    ("value", "sigma", "text"),
    [
        (4.15689, 0.00023, "4.1569(2)"),
        (4.15689, 0.00013, "4.15689(13)"),
        (90.0, 0.0, "90"),
        (97.25, 0.021, "97.25(2)"),
        (12.3456, 0.019, "12.346(19)"),
        (12.3456, 0.0196, "12.35(2)"),
        (1234.5, 12.0, "1234(12)"),
        (1234.5, 250.0, "1200(200)"),
        (0.5, 0.099, "0.50(10)"),
        (10.5, float("nan"), "10.5"),
    ],
)
def test_uncertainties_in_brackets(value: float, sigma: float, text: str) -> None:
    assert with_uncertainty(value, sigma) == text


def test_the_uncertainty_read_back_is_the_one_written_to_one_part_in_ten() -> None:
    rng = np.random.default_rng(0)
    for value, sigma in zip(rng.uniform(2, 50, 200), 10 ** rng.uniform(-5, 0, 200), strict=True):
        match = re.fullmatch(r"(\d+)(?:\.(\d+))?\((\d+)\)", with_uncertainty(value, sigma))
        assert match is not None
        unit = 10.0 ** -len(match[2] or "")
        assert int(match[3]) * unit == pytest.approx(sigma, rel=0.3)
        assert cif.as_number(match[0]) == pytest.approx(value, abs=0.6 * unit)


def test_cif_parses_back() -> None:
    peaks = answers.peaks()
    document = cif.read_string(cif_from_result(answers.result(), peaks=peaks, name="LaB6, run 1's"))
    first, second = document
    assert (first.name, second.name) == ("LaB6_run_1_s_1_cP", "LaB6_run_1_s_2_mC")
    assert first.find_value("_cell_length_a") == "4.1569(2)"
    assert first.find_value("_cell_angle_alpha") == "90"
    assert second.find_value("_cell_angle_beta") == "97.25(2)"
    assert cif.as_number(first.find_value("_cell_volume")) == pytest.approx(answers.CUBE.a_ang**3, abs=0.02)
    assert first.find_value("_space_group_crystal_system") == "cubic"
    assert second.find_value("_space_group_Bravais_type") == "mS"
    assert second.find_value("_space_group_centring_type") == "C"
    assert cif.as_number(first.find_value("_diffrn_radiation_wavelength")) == answers.WAVELENGTH_ANG
    assert cif.as_number(first.find_value("_pd_calib_2theta_offset")) == -answers.ZERO_SHIFT_DEG
    assert "M11 = 187.4" in cif.as_string(first.find_value("_cell_special_details"))


def test_cif_lines_refer_to_peaks() -> None:
    document = cif.read_string(cif_from_result(answers.result(), peaks=answers.peaks(), max_solutions=1))
    block = document.sole_block()
    observed = {row[0]: float(row[1]) for row in block.find("_pd_peak_", ["id", "d_spacing"])}
    assert len(observed) == 11
    names = ["_refln_index_h", "_refln_index_k", "_refln_index_l", "_refln_d_spacing", "_pd_refln_peak_id"]
    indexed = list(block.find(names))
    assert len(indexed) == 10
    for row in indexed:
        h, k, l = (int(row[at]) for at in range(3))  # noqa: E741 - the crystallographer's name
        assert float(row[3]) == pytest.approx(answers.CUBE.a_ang / np.sqrt(h * h + k * k + l * l), abs=1e-5)
        assert observed[row[4]] == pytest.approx(float(row[3]), rel=3e-3)


def test_names_make_no_other_block() -> None:
    hostile = "x\ndata_evil\n_cell_length_a 1 '\" ;\n;"
    document = cif.read_string(cif_from_result(answers.result(), peaks=answers.peaks(), name=hostile))
    assert len(document) == 2
    assert all(block.name.startswith("x_data_evil") for block in document)


def test_the_uncertainty_of_a_volume() -> None:
    cube = answers.solution()
    expected = 3 * cube.cell.a_ang**2 * cube.cell_sigma.a_ang
    assert volume_sigma(cube.cell, cube.cell_sigma, "cP") == pytest.approx(expected, rel=1e-6)
    cell, sigma = UnitCell(5, 6, 7, 90, 100, 90), UnitCell(0.01, 0.02, 0.03, 0, 0.1, 0)
    volume = 210 * np.sin(np.radians(100))
    terms = [0.01 / 5, 0.02 / 6, 0.03 / 7, np.radians(0.1) / np.tan(np.radians(100))]
    assert volume_sigma(cell, sigma, "mP") == pytest.approx(volume * np.linalg.norm(terms), rel=1e-5)
