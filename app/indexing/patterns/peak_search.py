"""From a measured pattern to the positions of its lines, with errors.

Lines are found by a matched filter (`peak_detect`), fitted by pseudo-Voigts (`peak_profile`) in groups of neighbours,
then sought once more in what the fit left. SciPy and pybaselines are loaded at the first search.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from app.crystallography import bragg
from app.errors import InvalidInput
from app.indexing.patterns.pattern import MIN_POINTS, Doublet, Pattern, wavelength
from app.indexing.patterns.radiation import mean_wavelength
from app.indexing.problem import PeakList

KAlpha2 = Literal["auto", "yes", "no"]


@dataclass(frozen=True)
class PeakOptions:
    """How to search; the defaults suit laboratory and synchrotron patterns.

    Attributes:
        min_snr: least area over its standard deviation. Below 4, noise begins to pass as lines, and a false line costs
            the indexing more than a missed one.
        max_peaks: at most so many lines, the most significant.
        two_theta_min_deg, two_theta_max_deg: search only there.
        wavelength_ang: goes before the pattern's own.
        k_alpha2: whether K-alpha2 is in the beam: ``auto`` believes the file, else knows the tubes' wavelengths and
            asks the data. Positions are always those of K-alpha1.
        shape_error: what real line shapes differ from pseudo-Voigts, as a share of the full width; it is added to each
            position's error, in quadrature.
    """

    min_snr: float = 5.0
    max_peaks: int = 100
    two_theta_min_deg: float | None = None
    two_theta_max_deg: float | None = None
    wavelength_ang: float | None = None
    k_alpha2: KAlpha2 = "auto"
    shape_error: float = 0.02

    def checked(self) -> PeakOptions:
        """Check the values.

        Raises:
            InvalidInput: a value outside its bounds.
        """
        bounds = {"min_snr": (2.0, 1000.0), "max_peaks": (1, 1000), "shape_error": (0.0, 0.5)}
        for name, (low, high) in bounds.items():
            if not low <= (value := getattr(self, name)) <= high:
                raise InvalidInput(f"{name} is {value:g}, expected {low:g} to {high:g}")
        if self.k_alpha2 not in get_args(KAlpha2):
            raise InvalidInput(f"k_alpha2 is '{self.k_alpha2[:20]}', expected one of {', '.join(get_args(KAlpha2))}")
        wavelength(self.wavelength_ang)
        return self


@dataclass(frozen=True)
class PeakSearch:
    """The lines of a pattern, in ascending 2theta.

    Attributes:
        two_theta_deg: positions (of K-alpha1), shape (peak,).
        sigma_deg: their standard deviations.
        intensity: areas (of K-alpha1), counts times degrees.
        sigma_intensity: their standard deviations.
        height: counts above the background.
        fwhm_deg: full widths at half maximum.
        snr: area over the standard deviation that it has at the width and shape fitted.
        overlapped: a neighbour stands within 1.2 full widths: the position leans on the fit's line shape.
        background: shape (point,).
        calculated: background and lines, shape (point,).
        pattern: what was searched: the pattern given, cut to the range asked for.
        doublet: the lines of the tube that each peak was fitted with; None for one wavelength.
        wavelength_ang: what the positions belong to; K-alpha1 of a tube.
        warnings: what the user should know.
    """

    two_theta_deg: Float[np.ndarray, "peak"]
    sigma_deg: Float[np.ndarray, "peak"]
    intensity: Float[np.ndarray, "peak"]
    sigma_intensity: Float[np.ndarray, "peak"]
    height: Float[np.ndarray, "peak"]
    fwhm_deg: Float[np.ndarray, "peak"]
    snr: Float[np.ndarray, "peak"]
    overlapped: Bool[np.ndarray, "peak"]
    background: Float[np.ndarray, "point"]
    calculated: Float[np.ndarray, "point"]
    pattern: Pattern
    doublet: Doublet | None
    wavelength_ang: float | None
    warnings: tuple[str, ...] = ()


OVERLAP: Final = 1.2


def search_peaks(pattern: Pattern, options: PeakOptions | None = None) -> PeakSearch:
    """Find the lines of a pattern.

    Raises:
        InvalidInput: options out of bounds, a range with too few points.
        TooLarge: it takes too long, see `app.indexing.patterns.peak_fit.MAX_SEARCH_S`.
    """
    from app.indexing.patterns.peak_fit import search  # SciPy and pybaselines are heavy

    options = (options or PeakOptions()).checked()
    part = cropped(pattern, options.two_theta_min_deg, options.two_theta_max_deg)
    if options.wavelength_ang is not None and options.wavelength_ang != part.wavelength_ang:
        if part.nominal:
            raise InvalidInput("the pattern was read over d or q: give the wavelength where it is read")
        part = replace(part, wavelength_ang=options.wavelength_ang, doublet=None, monochromatic=False)
    found = search(part, min_snr=options.min_snr, k_alpha2=options.k_alpha2)
    lines, warnings = found.lines, [*part.warnings, *found.warnings]
    if len(lines) > options.max_peaks:
        warnings.append(f"{len(lines)} lines were found; the {options.max_peaks} most significant are given")
        strongest = np.argsort(-lines.snr, kind="stable")[: options.max_peaks]
        lines = lines.take(np.sort(strongest))
    return PeakSearch(
        two_theta_deg=lines.position,
        sigma_deg=np.hypot(lines.sigma, options.shape_error * lines.fwhm),
        intensity=lines.area,
        sigma_intensity=lines.sigma_area,
        height=lines.height,
        fwhm_deg=lines.fwhm,
        snr=lines.snr,
        overlapped=_overlapped(lines.position, lines.fwhm),
        background=found.background,
        calculated=found.calculated,
        pattern=part,
        doublet=found.doublet,
        wavelength_ang=_wavelength(part, found.doublet, warnings),
        warnings=tuple(warnings),
    )


def cropped(pattern: Pattern, low_deg: float | None, high_deg: float | None) -> Pattern:
    """The pattern between two angles, either may be None.

    Raises:
        InvalidInput: fewer than `pattern.MIN_POINTS` points.
    """
    x = pattern.two_theta_deg
    keep = (x >= (-np.inf if low_deg is None else low_deg)) & (x <= (np.inf if high_deg is None else high_deg))
    if np.count_nonzero(keep) < MIN_POINTS:
        raise InvalidInput(
            f"{np.count_nonzero(keep)} points lie between the two_theta_min_deg and two_theta_max_deg given, expected "
            f"at least {MIN_POINTS}; the pattern reaches from {x[0]:g} to {x[-1]:g} degrees"
        )
    sigma = None if pattern.sigma is None else pattern.sigma[keep]
    return replace(pattern, two_theta_deg=x[keep], counts=pattern.counts[keep], sigma=sigma)


def _overlapped(position: np.ndarray, fwhm: np.ndarray) -> np.ndarray:
    near = np.diff(position) < OVERLAP * np.maximum(fwhm[1:], fwhm[:-1])
    return np.concatenate([[False], near]) | np.concatenate([near, [False]]) if len(position) else np.zeros(0, bool)


def _wavelength(pattern: Pattern, doublet: Doublet | None, warnings: list[str]) -> float | None:
    """K-alpha1 where positions are those of K-alpha1 and the mean of both lines was given."""
    given = pattern.wavelength_ang
    if given is None or doublet is None or given == doublet.alpha1_ang:
        return given
    warnings.append(
        f"the wavelength {given:g} Angstrom is the mean of K-alpha1 and K-alpha2 ({mean_wavelength(doublet):.4f}); the "
        f"positions found are those of K-alpha1, and {doublet.alpha1_ang:g} Angstrom goes with them"
    )
    return doublet.alpha1_ang


def peak_list_from_search(search: PeakSearch) -> PeakList:
    """The lines as the solver takes them; without the wavelength where it is nominal.

    Raises:
        InvalidInput: no wavelength is known, or nothing was found.
    """
    if search.wavelength_ang is None:
        raise InvalidInput("the file names no wavelength: give wavelength_ang (1.5406 for copper K-alpha1)")
    if len(search.two_theta_deg) == 0:
        raise InvalidInput("no lines were found in the pattern; a lower min_snr finds weaker ones")
    q2 = bragg.q2_from_two_theta(two_theta_deg=search.two_theta_deg, wavelength_ang=search.wavelength_ang)
    sigma = bragg.sigma_q2_from_sigma_two_theta(
        sigma_two_theta_deg=search.sigma_deg, q2_inv_ang2=q2, wavelength_ang=search.wavelength_ang
    )
    wave = None if search.pattern.nominal else search.wavelength_ang
    return PeakList(q2, sigma, search.intensity, wave)
