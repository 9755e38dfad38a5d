"""The public form of an answer: plain data with units in the names, rounded to what can be known, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np

from app.crystallography import bragg
from app.crystallography.cell import UnitCell
from app.indexing.learned.choice import models_content, models_from_content
from app.indexing.problem import Extinction, IndexedLine, Progress, SearchReport, Solution, SolveResult

CELL_DIGITS: Final = 5
SIGMA_DIGITS: Final = 7
Q2_DIGITS: Final = 8
D_DIGITS: Final = 6
ANGLE_DIGITS: Final = 5
MERIT_DIGITS: Final = 2
LARGEST: Final = 1e9
"""Lines without any error have an infinite figure of merit, which JSON cannot hold."""


def result_content(result: SolveResult, *, wavelength_ang: float | None, name: str = "") -> dict[str, Any]:
    """Give an answer as plain data.

    Args:
        result: what the solver found.
        wavelength_ang: adds 2theta to each line.
        name: the user's label; comes back as it was.
    """
    angles = _angles(result.solutions, wavelength_ang)
    return {
        "name": name or None,
        "solutions": [_solution(solution, angles) for solution in result.solutions],
        "stopped": result.stopped,
        "confidence": _rounded(result.confidence, 6),
        "probability": _rounded(result.probability, 6),
        "warnings": list(result.warnings),
        "models": models_content(result.models),
        "searches": [_search(search) for search in result.searches],
        "n_candidates": int(result.n_candidates),
        "seconds": _rounded(result.seconds, 4),
        "seed": int(result.seed),
        "device": result.device,
        "wavelength_ang": wavelength_ang,
    }


def _angles(solutions: Sequence[Solution], wavelength_ang: float | None) -> dict[float, float]:
    """2theta in degrees of every observed q^2, by q^2; empty without a wavelength. All in one call, for speed."""
    observed = list({line.q2_observed_inv_ang2 for solution in solutions for line in solution.lines})
    if wavelength_ang is None or not observed:
        return {}
    two_theta = bragg.two_theta_from_q2(q2_inv_ang2=np.array(observed), wavelength_ang=wavelength_ang)
    return dict(zip(observed, two_theta.tolist(), strict=True))


def _solution(solution: Solution, angles: Mapping[float, float]) -> dict[str, Any]:
    """Give one cell with all it says of the lines."""
    return {
        **cell_summary(solution),
        "probability": _rounded(solution.probability, 6),
        "cell_sigma": _cell(solution.cell_sigma, SIGMA_DIGITS),
        "f20_mean_delta_deg": _rounded(solution.f20_mean_delta_deg, ANGLE_DIGITS),
        "f20_n_possible": None if solution.f20_n_possible is None else int(solution.f20_n_possible),
        "weight": _rounded(solution.weight, 6),
        "zero_shift_deg": _rounded(solution.zero_shift_deg, ANGLE_DIGITS),
        "n_possible": int(solution.n_possible),
        "relatives": [int(index) for index in solution.relatives],
        "found_by": solution.found_by,
        "extinctions": [_extinction(extinction) for extinction in solution.extinctions],
        "lines": [_line(line, angles) for line in solution.lines],
    }


def cell_summary(solution: Solution) -> dict[str, Any]:
    """Give one cell in short, as progress shows it."""
    return {
        "bravais": solution.bravais,
        "cell": _cell(solution.cell, CELL_DIGITS),
        "niggli": _cell(solution.niggli, CELL_DIGITS),
        "volume_ang3": _rounded(solution.volume_ang3, 4),
        "m20": _rounded(solution.m20, MERIT_DIGITS),
        "f20": _rounded(solution.f20, MERIT_DIGITS),
        "log_odds": _rounded(solution.log_odds, 3),
        "n_indexed": int(solution.n_indexed),
        "n_lines": int(solution.n_lines),
    }


def progress_content(progress: Progress) -> dict[str, Any]:
    """Where a running solve stands."""
    return {
        "lattices_done": list(progress.lattices_done),
        "lattices": list(progress.lattices),
        "n_candidates": int(progress.n_candidates),
        "seconds": _rounded(progress.seconds, 3),
        "best": None if progress.best is None else cell_summary(progress.best),
    }


def _cell(cell: UnitCell, digits: int) -> dict[str, float | None]:
    return {field.name: _rounded(getattr(cell, field.name), digits) for field in fields(UnitCell)}


def _search(search: SearchReport) -> dict[str, Any]:
    return {
        "lattice": search.lattice,
        "generator": search.generator,
        "n_candidates": int(search.n_candidates),
        "complete": bool(search.complete),
        "seconds": _rounded(search.seconds, 4),
        "best_log_odds": _rounded(search.best_log_odds, 3),
    }


def _extinction(extinction: Extinction) -> dict[str, Any]:
    return {
        "symbol": extinction.symbol,
        "space_groups": list(extinction.space_groups),
        "n_forbidden": int(extinction.n_forbidden),
        "n_absent": int(extinction.n_absent),
    }


def _line(line: IndexedLine, angles: Mapping[float, float]) -> dict[str, Any]:
    observed, calculated = line.q2_observed_inv_ang2, line.q2_calculated_inv_ang2
    two_theta = angles.get(observed)
    delta = line.delta_two_theta_deg
    return {
        "hkl": None if line.hkl is None else [int(index) for index in line.hkl],
        "q2_observed_inv_ang2": _rounded(observed, Q2_DIGITS),
        "q2_calculated_inv_ang2": _rounded(calculated, Q2_DIGITS),
        "d_observed_ang": _rounded(observed**-0.5, D_DIGITS),
        "d_calculated_ang": None if calculated is None else _rounded(calculated**-0.5, D_DIGITS),
        "two_theta_observed_deg": _rounded(two_theta, ANGLE_DIGITS),
        "two_theta_calculated_deg": None
        if two_theta is None or delta is None
        else _rounded(two_theta - delta, ANGLE_DIGITS),
        "delta_two_theta_deg": _rounded(delta, ANGLE_DIGITS),
    }


def _rounded(value: float | None, digits: int) -> float | None:
    """Round; None for what is not known, and the largest number for what is infinite."""
    if value is None or value != value:
        return None
    return round(max(-LARGEST, min(LARGEST, float(value))), digits)


# --- and back ---------------------------------------------------------------------------------------------------------


def result_from_content(content: Mapping[str, Any]) -> SolveResult:
    """Inverse of `result_content`, to the digits that it keeps."""
    return SolveResult(
        solutions=tuple(_solution_from(solution) for solution in content["solutions"]),
        stopped=content["stopped"],
        confidence=content["confidence"],
        searches=tuple(SearchReport(**search) for search in content["searches"]),
        n_candidates=content["n_candidates"],
        seconds=content["seconds"],
        seed=content["seed"],
        device=content["device"],
        warnings=tuple(content["warnings"]),
        probability=content.get("probability"),
        models=models_from_content(content.get("models", ())),
    )


def _solution_from(content: Mapping[str, Any]) -> Solution:
    plain = {field.name: content[field.name] for field in fields(Solution) if field.name in content}
    cells = {name: UnitCell(**content[name]) for name in ("cell", "cell_sigma", "niggli")}
    return Solution(
        **{
            **plain,
            **cells,
            "lines": tuple(_line_from(line) for line in content["lines"]),
            "extinctions": tuple(
                replace(Extinction(**extinction), space_groups=tuple(extinction["space_groups"]))
                for extinction in content["extinctions"]
            ),
            "relatives": tuple(content["relatives"]),
        }
    )


def _line_from(content: Mapping[str, Any]) -> IndexedLine:
    hkl = content["hkl"]
    return IndexedLine(
        content["q2_observed_inv_ang2"],
        None if hkl is None else (hkl[0], hkl[1], hkl[2]),
        content["q2_calculated_inv_ang2"],
        content["delta_two_theta_deg"],
    )
