"""The observed lines as the search sees them: q^2, and what a degree of 2theta is worth at each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from app.crystallography.bragg import dq2_d_two_theta
from app.indexing.problem import PeakList

LABORATORY_ANG = 1.5406
"""Copper K-alpha1: the scale of errors where no wavelength is given."""
WIDEST_Q_WAVELENGTH = 1.5
"""Largest q * wavelength (= 2 sin theta) of a pattern whose wavelength is not known: 2theta up to 97 degrees."""
LEAST_SLOPE = 1e-3
"""Smallest change of q^2 with 2theta, as a share of the largest: at 180 degrees it is 0, and no error is."""
FOREIGN_SHARE = 0.02
"""Foreign lines relative to chance."""
FOREIGN_EXPONENT = 0.5
"""Foreign lines are as much more frequent as they are weaker, to this power."""
FOREIGN_RANGE = 4.0
"""Largest factor by which an intensity changes the share."""


@dataclass(frozen=True)
class Observed:
    """The lines in the form that every part of the search takes.

    Attributes:
        q2: Angstrom^-2, ascending, shape (peak,).
        per_degree: change of q^2 for a shift of one degree in 2theta, Angstrom^-2, shape (peak,); larger where the
            measurement says that a line is less certain than the others.
        slope: the same for a zero shift, which moves all lines by one angle; 0 where there is no wavelength.
        foreign: how many foreign lines like this one are expected, relative to chance, shape (peak,): more that are
            weak. Without intensities all are alike.
    """

    q2: Float[np.ndarray, "peak"]
    per_degree: Float[np.ndarray, "peak"]
    slope: Float[np.ndarray, "peak"]
    foreign: Float[np.ndarray, "peak"] = field(default_factory=lambda: np.empty(0))

    def __post_init__(self) -> None:
        if len(self.foreign) != len(self.q2):
            object.__setattr__(self, "foreign", np.full(len(self.q2), FOREIGN_SHARE))

    def first(self, n: int) -> Observed:
        """Give the lowest lines alone."""
        return Observed(self.q2[:n], self.per_degree[:n], self.slope[:n], self.foreign[:n])

    def without(self, line: int) -> Observed:
        """Leave one line out."""
        return Observed(*(np.delete(values, line) for values in (self.q2, self.per_degree, self.slope, self.foreign)))

    def shifted(self, zero_shift_deg: float) -> Observed:
        """Take a zero shift off every position."""
        return replace(self, q2=self.q2 - zero_shift_deg * self.slope)


def observed_from(peaks: PeakList, *, max_peaks: int) -> Observed:
    """Prepare a peak list for the search.

    Without a wavelength, errors are taken to grow along the pattern as they would at copper K-alpha (or at the shorter
    wavelength that reaches the last line), and no zero shift is fitted.
    """
    # A copy of its own: compiled code is compiled anew for arrays that are strided or read-only.
    q2 = np.array(peaks.q2_inv_ang2[:max_peaks], dtype=np.float64)
    known = peaks.wavelength_ang is not None
    wavelength = peaks.wavelength_ang or min(LABORATORY_ANG, WIDEST_Q_WAVELENGTH / float(np.sqrt(q2[-1])))
    slope = dq2_d_two_theta(q2_inv_ang2=q2, wavelength_ang=wavelength)
    slope = np.maximum(slope, LEAST_SLOPE * slope.max())
    scale = np.ones_like(q2)
    if peaks.sigma_q2_inv_ang2 is not None:
        sigma_deg = np.asarray(peaks.sigma_q2_inv_ang2, dtype=np.float64)[:max_peaks] / slope
        scale = np.clip(sigma_deg / np.median(sigma_deg), 0.7, 3.0)
    foreign = np.full(len(q2), FOREIGN_SHARE)
    if peaks.intensity is not None:
        foreign = _foreign(np.array(peaks.intensity[:max_peaks], dtype=np.float64))
    return Observed(q2, slope * scale, slope if known else np.zeros_like(slope), foreign)


def _foreign(intensity: Float[np.ndarray, "peak"]) -> Float[np.ndarray, "peak"]:
    """The share of foreign lines, by intensity relative to the median."""
    known = np.where(np.isfinite(intensity) & (intensity > 0), intensity, np.nan)
    if np.isnan(known).all():
        return np.full(len(intensity), FOREIGN_SHARE)
    weaker = np.nan_to_num((np.nanmedian(known) / known) ** FOREIGN_EXPONENT, nan=1.0)
    return FOREIGN_SHARE * np.clip(weaker, 1 / FOREIGN_RANGE, FOREIGN_RANGE)
