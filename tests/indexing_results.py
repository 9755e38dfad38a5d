"""Answers of a solver, made by hand: a primitive cube like LaB6's with one impurity line, and an orthorhombic rival."""

from __future__ import annotations

import numpy as np

from app.crystallography import bragg
from app.crystallography.cell import UnitCell
from app.indexing.problem import Extinction, IndexedLine, PeakList, SearchReport, Solution, SolveResult

WAVELENGTH_ANG = 1.5406
CUBE = UnitCell(4.15689, 4.15689, 4.15689, 90.0, 90.0, 90.0)
RIVAL = UnitCell(4.1569, 5.8788, 8.3138, 90.0, 97.25, 90.0)
HKL = ((1, 0, 0), (1, 1, 0), (1, 1, 1), (2, 0, 0), (2, 1, 0), (2, 1, 1), (2, 2, 0), (3, 0, 0), (3, 1, 0), (3, 1, 1))
IMPURITY_Q2 = 0.2503
ZERO_SHIFT_DEG = 0.021


def peaks(wavelength_ang: float | None = WAVELENGTH_ANG) -> PeakList:
    """Ten lines of the cube, shifted and with errors, and one of something else."""
    true = np.array([sum(i * i for i in hkl) for hkl in HKL]) / CUBE.a_ang**2
    q2 = np.sort(np.append(true, IMPURITY_Q2))
    error = 0.004 * np.cos(np.arange(len(q2)))
    two_theta = bragg.two_theta_from_q2(q2_inv_ang2=q2, wavelength_ang=WAVELENGTH_ANG) + ZERO_SHIFT_DEG + error
    shifted = bragg.q2_from_two_theta(two_theta_deg=two_theta, wavelength_ang=WAVELENGTH_ANG)
    intensity = 1000.0 / (1 + np.arange(len(q2)))
    return PeakList(shifted, 1e-4 * np.sqrt(shifted), intensity, wavelength_ang)


def solution(*, wavelength_ang: float | None = WAVELENGTH_ANG) -> Solution:
    """The cube."""
    lines = tuple(_line(float(q2), wavelength_ang) for q2 in peaks().q2_inv_ang2)
    return Solution(
        bravais="cP",
        cell=CUBE,
        cell_sigma=UnitCell(0.00023, 0.00023, 0.00023, 0.0, 0.0, 0.0),
        niggli=CUBE,
        volume_ang3=CUBE.a_ang**3,
        m20=187.4,
        f20=None if wavelength_ang is None else 96.2,
        f20_mean_delta_deg=None if wavelength_ang is None else 0.0061,
        f20_n_possible=None if wavelength_ang is None else 17,
        log_odds=84.2,
        weight=0.97,
        zero_shift_deg=ZERO_SHIFT_DEG,
        n_indexed=10,
        n_lines=11,
        n_possible=10,
        lines=lines,
        extinctions=(Extinction("P - - -", ("P m -3 m", "P 2 3"), 0, 0),),
        relatives=(1,),
        found_by="dichotomy",
    )


def rival(*, wavelength_ang: float | None = WAVELENGTH_ANG) -> Solution:
    """A monoclinic cell that explains one line less."""
    first = solution(wavelength_ang=wavelength_ang)
    lines = tuple(
        IndexedLine(line.q2_observed_inv_ang2, None, None, None) if at == 3 else line
        for at, line in enumerate(first.lines)
    )
    return Solution(
        bravais="mC",
        cell=RIVAL,
        cell_sigma=UnitCell(0.0011, 0.002, 0.0031, 0.0, 0.021, 0.0),
        niggli=UnitCell(3.6, 3.6, 8.3138, 93.0, 95.0, 109.0),
        volume_ang3=201.54,
        m20=21.7,
        f20=first.f20,
        f20_mean_delta_deg=first.f20_mean_delta_deg,
        f20_n_possible=first.f20_n_possible,
        log_odds=12.5,
        weight=0.03,
        zero_shift_deg=0.0,
        n_indexed=9,
        n_lines=11,
        n_possible=61,
        lines=lines,
        relatives=(0,),
        found_by="zones",
    )


def result(*, wavelength_ang: float | None = WAVELENGTH_ANG) -> SolveResult:
    """Both, ranked."""
    return SolveResult(
        solutions=(solution(wavelength_ang=wavelength_ang), rival(wavelength_ang=wavelength_ang)),
        stopped="certain",
        confidence=0.97,
        searches=(SearchReport("cP", "dichotomy", 120, True, 0.01, 84.2),),
        n_candidates=120,
        seconds=0.02,
        seed=0,
        device="cpu",
        warnings=("11 lines: 20 or more make an answer surer",),
    )


def _line(observed: float, wavelength_ang: float | None) -> IndexedLine:
    two_theta = float(bragg.two_theta_from_q2(q2_inv_ang2=observed, wavelength_ang=WAVELENGTH_ANG))
    corrected = float(bragg.q2_from_two_theta(two_theta_deg=two_theta - ZERO_SHIFT_DEG, wavelength_ang=WAVELENGTH_ANG))
    scaled = corrected * CUBE.a_ang**2
    hkl = min(HKL, key=lambda hkl: abs(sum(i * i for i in hkl) - scaled))
    calculated = sum(i * i for i in hkl) / CUBE.a_ang**2
    if abs(scaled - calculated * CUBE.a_ang**2) > 0.02:
        return IndexedLine(observed, None, None, None)
    at = float(bragg.two_theta_from_q2(q2_inv_ang2=calculated, wavelength_ang=WAVELENGTH_ANG))
    delta = two_theta - ZERO_SHIFT_DEG - at
    return IndexedLine(observed, hkl, calculated, None if wavelength_ang is None else delta)
