"""Answers of the solver as tables and as CIF."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from app.crystallography import bragg
from app.crystallography.cell import UnitCell
from app.crystallography.lattice import CONSTANTS, LATTICES
from app.errors import InvalidInput
from app.indexing.problem import IndexedLine, PeakList, Solution, SolveResult

_SUMMARY: Final[dict[str, Callable[[Solution], object]]] = {
    "bravais": lambda one: one.bravais,
    **{name: lambda one, name=name: _plain(getattr(one.cell, name), 6) for name in CONSTANTS},
    **{f"sigma_{name}": lambda one, name=name: _plain(getattr(one.cell_sigma, name), 6) for name in CONSTANTS},
    "volume_ang3": lambda one: _plain(one.volume_ang3, 3),
    **{f"niggli_{name}": lambda one, name=name: _plain(getattr(one.niggli, name), 5) for name in CONSTANTS},
    "m20": lambda one: _plain(one.m20, 2),
    "f20": lambda one: _plain(one.f20, 2),
    "f20_mean_delta_deg": lambda one: _plain(one.f20_mean_delta_deg, 5),
    "f20_n_possible": lambda one: "" if one.f20_n_possible is None else one.f20_n_possible,
    "n_indexed": lambda one: one.n_indexed,
    "n_lines": lambda one: one.n_lines,
    "n_possible": lambda one: one.n_possible,
    "zero_shift_deg": lambda one: _plain(one.zero_shift_deg, 4),
    "log_odds": lambda one: _plain(one.log_odds, 2),
    "weight": lambda one: _plain(one.weight, 5),
    "probability": lambda one: _plain(one.probability, 5),
    "extinction": lambda one: one.extinctions[0].symbol if one.extinctions else "",
    "relatives": lambda one: " ".join(str(index + 1) for index in one.relatives),
    "found_by": lambda one: one.found_by,
}
"""Columns of the table of solutions behind `rank`; relatives are ranks, too."""

SOLUTION_COLUMNS: Final = ("rank", *_SUMMARY)
LINE_COLUMNS: Final = (
    "rank",
    "line",
    "h",
    "k",
    "l",
    "q2_observed_inv_ang2",
    "q2_calculated_inv_ang2",
    "d_observed_ang",
    "d_calculated_ang",
    "two_theta_observed_deg",
    "two_theta_calculated_deg",
    "delta_two_theta_deg",
    "intensity",
)
"""Columns of the table of lines; calculated 2theta includes the zero shift, it is where the line should be seen."""


def csv_from_result(result: SolveResult, *, lines: bool = False, peaks: PeakList | None = None) -> str:
    """Write one table: a row a solution, or with `lines` a row for each line of each solution.

    Args:
        result: the answer.
        lines: the lines instead of the solutions.
        peaks: gives the table of lines its 2theta (with a wavelength) and intensities.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(LINE_COLUMNS if lines else SOLUTION_COLUMNS)
    for rank, solution in enumerate(result.solutions, start=1):
        if lines:
            writer.writerows(_line_rows(rank, solution, peaks))
        else:
            writer.writerow((rank, *(value(solution) for value in _SUMMARY.values())))
    return text.getvalue()


def _plain(value: float | None, digits: int) -> str:
    """A number with so many decimals; nothing where there is none."""
    return "" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _line_rows(rank: int, solution: Solution, peaks: PeakList | None) -> Iterator[tuple[object, ...]]:
    wavelength_ang = None if peaks is None else peaks.wavelength_ang
    for number, line in enumerate(solution.lines, start=1):
        observed, calculated = two_thetas(line, solution.zero_shift_deg, wavelength_ang)
        yield (
            rank,
            number,
            *(line.hkl or ("", "", "")),
            _plain(line.q2_observed_inv_ang2, 8),
            _plain(line.q2_calculated_inv_ang2, 8),
            _plain(line.q2_observed_inv_ang2**-0.5, 6),
            "" if line.q2_calculated_inv_ang2 is None else _plain(line.q2_calculated_inv_ang2**-0.5, 6),
            _plain(observed, 5),
            _plain(calculated, 5),
            _plain(line.delta_two_theta_deg, 5),
            _intensity(line, peaks),
        )


def two_thetas(
    line: IndexedLine, zero_shift_deg: float, wavelength_ang: float | None
) -> tuple[float | None, float | None]:
    """Where a line is seen and where the cell puts it, zero shift included, in degrees; None where it is not known."""
    if wavelength_ang is None:
        return None, None
    observed = bragg.two_theta_from_q2(q2_inv_ang2=line.q2_observed_inv_ang2, wavelength_ang=wavelength_ang)
    if line.q2_calculated_inv_ang2 is None:
        return float(observed), None
    calculated = bragg.two_theta_from_q2(q2_inv_ang2=line.q2_calculated_inv_ang2, wavelength_ang=wavelength_ang)
    return float(observed), float(calculated) + zero_shift_deg


def _intensity(line: IndexedLine, peaks: PeakList | None) -> str:
    """Of the nearest peak that was given."""
    if peaks is None or peaks.intensity is None or not len(peaks.q2_inv_ang2):
        return ""
    nearest = int(np.argmin(np.abs(peaks.q2_inv_ang2 - line.q2_observed_inv_ang2)))
    return f"{peaks.intensity[nearest]:.6g}"


def with_uncertainty(value: float, sigma: float, *, digits: int = 5) -> str:
    """Value with its standard uncertainty in brackets, by the rule of 19: 4.1569(2), 4.15689(13), 97.2(2).

    Without an uncertainty the value has `digits` decimals, or none where it is whole: 90.
    """
    if not (math.isfinite(sigma) and sigma > 0):
        return f"{value:.{digits}f}".rstrip("0").rstrip(".")
    decimals = 1 - math.floor(math.log10(sigma))
    if round(sigma * 10**decimals) > 19:
        decimals -= 1
    if decimals <= 0:
        scale = 10 ** (-decimals)
        return f"{round(value / scale) * scale:.0f}({max(1, round(sigma / scale)) * scale})"
    return f"{value:.{decimals}f}({round(sigma * 10**decimals)})"


_SYSTEMS: Final = {
    "a": "triclinic",
    "m": "monoclinic",
    "o": "orthorhombic",
    "t": "tetragonal",
    "h": "hexagonal",
    "c": "cubic",
}
_ONE_FACE: Final = {"C": "S"}
"""The dictionary of symmetry calls a lattice with one centred face S, whichever it is."""


def cif_from_result(
    result: SolveResult, *, peaks: PeakList | None = None, name: str = "", max_solutions: int | None = None
) -> str:
    """Write the solutions as CIF, one data block each, best first.

    Names are those of the core, symmetry and powder dictionaries of the IUCr: cell with standard uncertainties, Bravais
    lattice, wavelength, observed lines (`_pd_peak_`) and, for each indexed one, indices and calculated spacing
    (`_refln_`, with `_pd_refln_peak_id`). Figures of merit, which have no names there, are in `_cell_special_details`.

    Raises:
        InvalidInput: there is no solution.
    """
    from gemmi import cif  # heavy

    solutions = result.solutions[:max_solutions]
    if not solutions:
        raise InvalidInput("no cell was found: there is nothing to write as CIF")
    document = cif.Document()
    stem = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_")[:40] or "indexing"
    for rank, solution in enumerate(solutions, start=1):
        _fill(document.add_new_block(f"{stem}_{rank}_{solution.bravais}"), rank, solution, result, peaks, name)
    return document.as_string()


def _fill(block: object, rank: int, solution: Solution, result: SolveResult, peaks: PeakList | None, name: str) -> None:
    from gemmi import cif

    pairs = {
        "_audit_creation_method": "'powder indexing by beamline-model-server'",
        **_cell_items(solution),
        "_space_group_Bravais_type": solution.bravais[0] + _ONE_FACE.get(solution.bravais[1], solution.bravais[1]),
        "_space_group_centring_type": solution.bravais[1],
        "_space_group_crystal_system": "trigonal" if solution.bravais == "hR" else _SYSTEMS[solution.bravais[0]],
        "_cell_measurement_reflns_used": str(solution.n_indexed),
        "_cell_special_details": cif.quote(_details(rank, solution, result, name)),
    }
    wavelength_ang = None if peaks is None else peaks.wavelength_ang
    if wavelength_ang is not None:
        pairs["_diffrn_radiation_wavelength"] = f"{wavelength_ang:.7g}"
        # The dictionary adds its offset to what is measured; the zero shift is what the measurement has too much.
        pairs["_pd_calib_2theta_offset"] = f"{-solution.zero_shift_deg:.4f}"
    for tag, value in pairs.items():
        block.set_pair(tag, value)  # type: ignore[attr-defined]
    _loops(block, solution, peaks, wavelength_ang)


def _cell_items(solution: Solution) -> dict[str, str]:
    kinds = {"a_ang": "length_a", "b_ang": "length_b", "c_ang": "length_c"}
    items = {}
    for constant in CONSTANTS:
        tag = kinds.get(constant) or f"angle_{constant.removesuffix('_deg')}"
        items[f"_cell_{tag}"] = with_uncertainty(
            getattr(solution.cell, constant), getattr(solution.cell_sigma, constant)
        )
    items["_cell_volume"] = with_uncertainty(
        solution.volume_ang3, volume_sigma(solution.cell, solution.cell_sigma, solution.bravais), digits=3
    )
    return items


def volume_sigma(cell: UnitCell, sigma: UnitCell, bravais: str) -> float:
    """Standard deviation of the volume, Angstrom^3, from those of the constants.

    Constants that symmetry makes equal are one and move together; the others are taken as independent, for want of
    covariances: V = a b c (1 - cos^2 alpha - cos^2 beta - cos^2 gamma + 2 cos alpha cos beta cos gamma)^(1/2).
    """
    start = np.array(cell.constants, float)
    total = 0.0
    for group in _free_groups(LATTICES[bravais].constant_sources):
        spread = max(sigma.constants[at] for at in group)
        if not spread > 0:
            continue
        moved = [start.copy(), start.copy()]
        moved[0][group] += spread / 2
        moved[1][group] -= spread / 2
        total += (_volume(moved[0]) - _volume(moved[1])) ** 2
    return math.sqrt(total)


def _free_groups(sources: Sequence[int]) -> list[list[int]]:
    """Constants by the free one that each is a copy of."""
    groups: dict[int, list[int]] = {}
    for at, source in enumerate(sources):
        groups.setdefault(source if source >= 0 else ~at, []).append(at)
    return list(groups.values())


def _volume(constants: np.ndarray) -> float:
    cosines = np.cos(np.radians(constants[3:]))
    return float(np.prod(constants[:3]) * np.sqrt(1 - cosines @ cosines + 2 * np.prod(cosines)))


def _details(rank: int, solution: Solution, result: SolveResult, name: str) -> str:
    label = "".join(letter for letter in name[:80] if letter.isascii() and letter.isprintable() and letter not in "'\"")
    merit = f"M{min(20, solution.n_lines)} = {solution.m20:.1f}"
    if solution.f20 is not None and solution.f20_mean_delta_deg is not None:
        n = min(20, solution.n_lines)
        merit += f", F{n} = {solution.f20:.1f} ({solution.f20_mean_delta_deg:.4f}, {solution.f20_n_possible})"
    start = f"{label}: solution" if label else "Solution"
    known = solution.probability
    probability = "" if known is None else f"; probability that it is the lattice {known:.3f}"
    models = ", ".join(f"{model.name} version {model.version}" for model in result.models)
    return (
        f"{start} {rank} of {len(result.solutions)} by indexing of powder lines; {merit}; "
        f"{solution.n_indexed} of {solution.n_lines} lines indexed; weight among the solutions {solution.weight:.3f}"
        f"{probability}. " + (f"Learned parts: {models}. " if models else "") + "A proposal, not a refined structure."
    )


def _loops(block: object, solution: Solution, peaks: PeakList | None, wavelength_ang: float | None) -> None:
    columns = ["id", "d_spacing"] + ["2theta_maximum"] * (wavelength_ang is not None)
    intensities = peaks is not None and peaks.intensity is not None
    columns += ["intensity"] * intensities
    observed = block.init_loop("_pd_peak_", columns)  # type: ignore[attr-defined]
    for number, line in enumerate(solution.lines, start=1):
        row = [str(number), f"{line.q2_observed_inv_ang2**-0.5:.6f}"]
        seen, _ = two_thetas(line, 0.0, wavelength_ang)
        row += [] if seen is None else [f"{seen:.5f}"]
        row += [_intensity(line, peaks)] * intensities
        observed.add_row(row)
    indexed = block.init_loop(  # type: ignore[attr-defined]
        "_", ["refln_index_h", "refln_index_k", "refln_index_l", "refln_d_spacing", "pd_refln_peak_id"]
    )
    for number, line in enumerate(solution.lines, start=1):
        if line.hkl is not None and line.q2_calculated_inv_ang2 is not None:
            indexed.add_row([*map(str, line.hkl), f"{line.q2_calculated_inv_ang2**-0.5:.6f}", str(number)])
