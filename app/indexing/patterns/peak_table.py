"""The lines found in a pattern as plain data and as CSV, in columns whose names the solver's endpoint takes."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
from jaxtyping import Float

from app.crystallography import bragg
from app.indexing.patterns.peak_search import PeakSearch

Column = Float[np.ndarray, "peak"]


def peaks_content(search: PeakSearch) -> dict[str, Any]:
    """Give the lines by columns, with what was searched.

    Without a wavelength d is None; where 2theta is a mere change of variable it is None, and so are widths.
    """
    pattern = search.pattern
    background = search.background
    return {
        "name": pattern.name or None,
        "n_lines": len(search.two_theta_deg),
        "wavelength_ang": None if pattern.nominal else search.wavelength_ang,
        "k_alpha2": search.doublet is not None,
        **{name: None if column is None else column.tolist() for name, column in _columns(search).items()},
        "background": {
            "smallest": _number(background.min()),
            "median": _number(np.median(background)),
            "largest": _number(background.max()),
        },
        "n_points": len(pattern.two_theta_deg),
        "warnings": list(search.warnings),
    }


def peaks_csv(search: PeakSearch) -> bytes:
    """Give the lines as CSV, one a row; columns that are not known are left out."""
    columns = {name: column for name, column in _columns(search).items() if column is not None}
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(zip(*(column.tolist() for column in columns.values()), strict=True))
    return text.getvalue().encode()


def _columns(search: PeakSearch) -> dict[str, np.ndarray | None]:
    angular = not search.pattern.nominal
    d, sigma_d = _spacings(search)
    return {
        "two_theta_deg": np.round(search.two_theta_deg, 5) if angular else None,
        "sigma_two_theta_deg": np.round(search.sigma_deg, 6) if angular else None,
        "d_ang": None if d is None else np.round(d, 6),
        "sigma_d_ang": None if sigma_d is None else np.round(sigma_d, 7),
        "intensity": _significant(np.maximum(search.intensity, 0.0)),
        "sigma_intensity": _significant(search.sigma_intensity),
        "height": _significant(search.height),
        "fwhm_deg": np.round(search.fwhm_deg, 5) if angular else None,
        "snr": _significant(search.snr),
        "overlapped": search.overlapped,
    }


def _spacings(search: PeakSearch) -> tuple[Column | None, Column | None]:
    if search.wavelength_ang is None:
        return None, None
    wavelength = search.wavelength_ang
    q2 = bragg.q2_from_two_theta(two_theta_deg=search.two_theta_deg, wavelength_ang=wavelength)
    sigma_q2 = bragg.sigma_q2_from_sigma_two_theta(
        sigma_two_theta_deg=search.sigma_deg, q2_inv_ang2=q2, wavelength_ang=wavelength
    )
    return q2**-0.5, 0.5 * sigma_q2 * q2**-1.5


def _significant(values: Column) -> Column:
    """Five digits."""
    return np.array([_number(value) for value in values])


def _number(value: float) -> float:
    return float(f"{value:.5g}")
