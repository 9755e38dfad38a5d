"""The steps of a peak search: width of the lines, detection, fits in groups, what the fits left, background."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from time import thread_time
from typing import Final

import numpy as np
from jaxtyping import Bool, Float
from pybaselines.utils import whittaker_smooth

from app.errors import TooLarge
from app.indexing.patterns.pattern import Doublet, Pattern
from app.indexing.patterns.peak_detect import (
    MIN_FWHM_POINTS,
    Noise,
    detect,
    noise_excess,
    noise_left,
    noise_of,
    signal_to_noise,
    usual_width,
    width_grid,
)
from app.indexing.patterns.peak_profile import Fit, Lines, Stretch, fit, model
from app.indexing.patterns.radiation import alpha2_from_alpha1, doublet_of_tube

MAX_SEARCH_S: Final = 10.0
"""Processor time of one search; patterns of diffractometers take up to one second."""
MAX_FIT_POINTS: Final = 5000
"""Of more points within one fit, each second one, or third one, is left out."""
MAX_FWHM_DEG: Final = 1.5
MAX_IN_GROUP: Final = 8
WINDOW: Final = 1.8
"""A fit reaches so many full widths beyond its outer lines."""
LINKED: Final = 2.2
"""Lines nearer than this many full widths are fitted together."""
SHAPE_MISFIT: Final = 0.04
"""Share of a line's height that its fit may leave."""
WIDTHS_ALLOWED: Final = (0.45, 2.5)
"""Of the width usual at that angle: narrower are spikes, wider are humps."""
MAX_CANDIDATES: Final = 400
REFINEMENTS: Final = 2
BACKGROUND_LENGTH: Final = 30.0
"""The background follows what is longer than so many full widths."""
EXCESS_ROUNDS: Final = 3
"""Until what is left away from the lines is as wide as noise should be."""


@dataclass(frozen=True)
class SearchState:
    """What a search found: lines, background and calculated pattern, doublet, warnings."""

    lines: Lines
    background: Float[np.ndarray, "point"]
    calculated: Float[np.ndarray, "point"]
    doublet: Doublet | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Data:
    """The pattern on its own points, and what the filter needs on even ones."""

    x: Float[np.ndarray, "point"]
    y: Float[np.ndarray, "point"]
    noise: Noise
    step: float
    even: Float[np.ndarray, "even"]
    until_s: float

    def check_time(self) -> None:
        """End a search that takes too long.

        Raises:
            TooLarge: it has.
        """
        if thread_time() > self.until_s:
            raise TooLarge(
                f"the search for lines took more than {MAX_SEARCH_S:g} s: send fewer points, or a part of the pattern"
            )

    def stretch(self, inside: slice | Bool[np.ndarray, "point"]) -> Stretch:
        """The points of one fit.

        Raises:
            TooLarge: as `check_time`.
        """
        self.check_time()
        index = np.arange(len(self.x))[inside]
        index = index[:: 1 + len(index) // MAX_FIT_POINTS]
        return Stretch(self.x[index], self.y[index], self.noise.sigma[index])

    def on_even(self, values: Float[np.ndarray, "point"]) -> Float[np.ndarray, "even"]:
        return np.interp(self.even, self.x, values)


WidthAt = Callable[[Float[np.ndarray, "peak"]], Float[np.ndarray, "peak"]]


def search(pattern: Pattern, *, min_snr: float, k_alpha2: str) -> SearchState:
    """Search a pattern; see `app.indexing.patterns.peak_search.search_peaks`.

    Raises:
        TooLarge: it takes longer than `MAX_SEARCH_S`.
    """
    data = _prepared(pattern)
    first = _constant_width(data)
    if first is not None and data.noise.correlated:
        data = _widened(data, first)
        first = _constant_width(data)
    if first is None:
        background = _background(data, _none(), None, 0.1)
        return SearchState(_none(), background, background, None, ("no line stands out of the noise",))
    doublet = _doublet(data, pattern, k_alpha2, first, min_snr)
    fwhm_at = _width_model(data, first, doublet, min_snr)
    lines = _lines(data, fwhm_at, doublet, min_snr)
    for _ in range(EXCESS_ROUNDS):
        left = _excess_left(data, lines, fwhm_at, doublet)
        if left is None:
            break
        data = replace(data, noise=replace(data.noise, sigma=data.noise.sigma * left))
        lines = _lines(data, fwhm_at, doublet, min_snr)
    usual = float(np.median(lines.fwhm)) if len(lines) else float(fwhm_at(data.x[:1])[0])
    background = _background(data, lines, doublet, usual)
    lines = lines.take(_counted(data, lines, background, min_snr))
    warnings = _warnings(data, lines, usual)
    return SearchState(lines, background, background + model(data.x, lines, doublet), doublet, warnings)


def _lines(data: _Data, fwhm_at: WidthAt, doublet: Doublet | None, min_snr: float) -> Lines:
    """Detect and fit, then again in what the fits left."""
    lines = _none()
    for _ in range(1 + REFINEMENTS):
        more = _candidates(data, model(data.x, lines, doublet), lines, fwhm_at, doublet, min_snr)
        if not len(more):
            break
        lines = _refit(data, Lines.joined([lines, more]), fwhm_at, doublet)
        lines = lines.take(_sound(data, lines, fwhm_at, doublet, min_snr))
    return lines


def _widened(data: _Data, first: WidthAt) -> _Data:
    """With the noise that the filter sees where neighbours share it."""
    points = float(first(data.x[:1])[0]) / _even_step(data)
    z = signal_to_noise(data.on_even(data.y), data.on_even(data.noise.sigma), points)
    sigma = data.noise.sigma * noise_excess(z)
    return replace(data, noise=replace(data.noise, sigma=sigma))


def _excess_left(data: _Data, lines: Lines, fwhm_at: WidthAt, doublet: Doublet | None) -> float | None:
    step = _even_step(data)
    z = signal_to_noise(
        data.on_even(data.y - model(data.x, lines, doublet)),
        data.on_even(data.noise.sigma),
        float(np.median(fwhm_at(data.even))) / step,
    )
    quiet = np.ones(len(data.even), bool)
    for position, width in zip(lines.position, lines.fwhm, strict=True):
        quiet &= np.abs(data.even - position) > 3 * width
    return noise_left(z, quiet)


def _none() -> Lines:
    return Lines(*(np.empty(0) for _ in range(7)))


def _prepared(pattern: Pattern) -> _Data:
    x, y = pattern.two_theta_deg, pattern.counts
    step = float(np.median(np.diff(x)))
    with np.errstate(over="ignore"):  # steps may be next to nothing
        count = round(min(4.0 * len(x), (x[-1] - x[0]) / step + 1.0))
    even = np.linspace(x[0], x[-1], count)
    return _Data(x, y, noise_of(y, pattern.sigma), step, even, thread_time() + MAX_SEARCH_S)


def _even_step(data: _Data) -> float:
    return float(data.even[1] - data.even[0])


def _constant_width(data: _Data) -> WidthAt | None:
    """The full width of prominent lines, the same everywhere; None where nothing stands out."""
    step = _even_step(data)
    widest = min(MAX_FWHM_DEG, float(data.x[-1] - data.x[0]) / 8) / step
    found = usual_width(data.on_even(data.y), data.on_even(data.noise.sigma), widest)
    if found is None:
        return None
    width = max(found, MIN_FWHM_POINTS) * step
    return lambda at: np.full(np.shape(at), width)


def _width_model(data: _Data, first: WidthAt, doublet: Doublet | None, min_snr: float) -> WidthAt:
    """A straight line through the fitted widths of strong lines that stand alone, by medians."""
    lines = _candidates(data, np.zeros(len(data.x)), _none(), first, doublet, min_snr)
    fitted: list[tuple[float, float]] = []
    for at in np.argsort(-lines.area):
        start = lines.take(np.array([at]))
        if np.count_nonzero(np.abs(lines.position - start.position) < 2.5 * start.fwhm) > 1 or len(fitted) >= 30:
            continue
        one = _fit_alone(data, start, doublet)
        if one is not None and one.lines.snr[0] > 15 and WIDTHS_ALLOWED[0] < one.lines.fwhm[0] / start.fwhm[0] < 2:
            fitted.append((float(one.lines.position[0]), float(one.lines.fwhm[0])))
    if len(fitted) < 3:
        return first
    x, w = np.array(fitted).T
    middle, slope, centre = float(np.median(w)), 0.0, float(np.median(x))
    if len(x) >= 8 and np.ptp(x) > 10 * middle:
        apart = np.abs(x[:, None] - x[None, :]) > 0.2 * np.ptp(x)
        slope = float(np.median((w[:, None] - w[None, :])[apart] / (x[:, None] - x[None, :])[apart]))
        middle = float(np.median(w - slope * (x - centre)))
    low, high = 0.6 * middle, 1.8 * middle
    return lambda at: np.clip(middle + slope * (np.asarray(at) - centre), low, high)


def _fit_alone(data: _Data, start: Lines, doublet: Doublet | None) -> Fit | None:
    """Fit one candidate on its own."""
    reach = WINDOW * start.fwhm[0]
    end = start.position if doublet is None else alpha2_from_alpha1(two_theta_deg=start.position, doublet=doublet)[0]
    inside = (data.x > start.position[0] - reach) & (data.x < end[0] + reach)
    if np.count_nonzero(inside) < 9:
        return None
    return fit(data.stretch(inside), start, doublet)


def _doublet(data: _Data, pattern: Pattern, k_alpha2: str, fwhm_at: WidthAt, min_snr: float) -> Doublet | None:
    """Both lines of the tube where they are in the beam."""
    if k_alpha2 == "no" or pattern.wavelength_ang is None or pattern.nominal:
        return None
    known = pattern.doublet or doublet_of_tube(pattern.wavelength_ang)
    if k_alpha2 == "yes" or known is None or pattern.doublet is not None:
        return known
    return None if pattern.monochromatic or _prefers_single(data, known, fwhm_at, min_snr) else known


def _prefers_single(data: _Data, doublet: Doublet, fwhm_at: WidthAt, min_snr: float) -> bool:
    """Whether the most significant lines fit better without K-alpha2."""
    candidates = _candidates(data, np.zeros(len(data.x)), _none(), fwhm_at, doublet, max(min_snr, 10.0))
    if not len(candidates):
        return False
    second, _ = alpha2_from_alpha1(two_theta_deg=candidates.position, doublet=doublet)
    telling = candidates.area * np.minimum(1.0, (second - candidates.position) / candidates.fwhm) ** 2
    gain = 0.0
    for at in np.argsort(-telling)[:12]:
        start = candidates.take(np.array([at]))
        reach = WINDOW * start.fwhm[0]
        inside = (data.x > start.position[0] - reach) & (data.x < second[at] + reach)
        if np.count_nonzero(inside) < 9:
            continue
        stretch = data.stretch(inside)
        one, two = fit(stretch, start, None), fit(stretch, start, doublet)
        scale = max(1.0, min(one.chi2 / one.freedom, two.chi2 / two.freedom))
        gain += float(np.clip((two.chi2 - one.chi2) / scale, -200, 200))
    return gain > 10


def _candidates(
    data: _Data, calculated: np.ndarray, known: Lines, fwhm_at: WidthAt, doublet: Doublet | None, min_snr: float
) -> Lines:
    """Lines to add to the known ones: where data less the calculated stand out of noise and misfit."""
    data.check_time()
    step = _even_step(data)
    usual = fwhm_at(data.even)
    grid = width_grid(0.6 * float(usual.min()) / step, 1.7 * float(usual.max()) / step)
    y = data.on_even(data.y - calculated)
    sigma = np.hypot(data.on_even(data.noise.sigma), SHAPE_MISFIT * data.on_even(calculated))
    found = detect(
        y,
        sigma,
        widths=grid,
        allowed=lambda width: (width * step > 0.6 * usual) & (width * step < 1.7 * usual),
        min_snr=min_snr,
        most=MAX_CANDIDATES,
    )
    position = data.even[found.index]
    fwhm = np.clip(found.fwhm_points * step, 0.7 * fwhm_at(position), 1.4 * fwhm_at(position))
    height = found.snr * np.interp(position, data.even, sigma)
    lines = Lines.started(position, np.maximum(height, 1e-12) * fwhm, fwhm)
    free = _inside(data, lines)
    if len(known):
        gap = np.abs(position[:, None] - known.position[None, :]).min(axis=1)
        free &= gap > 0.5 * fwhm
    lines = lines.take(free)
    lines = lines if doublet is None else lines.take(~_second_lines(lines, doublet))
    return lines.take(np.argsort(lines.position))


def _inside(data: _Data, lines: Lines) -> Bool[np.ndarray, "peak"]:
    """Lines whose maximum was passed on both sides."""
    margin = np.maximum(0.5 * lines.fwhm, 2 * data.step)
    return (lines.position > data.x[0] + margin) & (lines.position < data.x[-1] - margin)


def _second_lines(lines: Lines, doublet: Doublet) -> Bool[np.ndarray, "peak"]:
    """Which candidates are the K-alpha2 of a stronger one."""
    second, _ = alpha2_from_alpha1(two_theta_deg=lines.position, doublet=doublet)
    near = np.abs(lines.position[:, None] - second[None, :]) < 0.4 * lines.fwhm[None, :]
    ratio = lines.area[:, None] / lines.area[None, :]
    return np.any(near & (ratio < 1.9 * doublet.ratio) & ~np.eye(len(lines), dtype=bool), axis=1)


def _groups(lines: Lines, doublet: Doublet | None) -> list[np.ndarray]:
    """Neighbours to be fitted together; long chains are cut at their widest gaps."""
    if not len(lines):
        return []
    end = lines.position if doublet is None else alpha2_from_alpha1(two_theta_deg=lines.position, doublet=doublet)[0]
    gap = (lines.position[1:] - end[:-1]) / np.maximum(lines.fwhm[1:], lines.fwhm[:-1])
    groups = np.split(np.arange(len(lines)), np.flatnonzero(gap > LINKED) + 1)
    done: list[np.ndarray] = []
    while groups:
        group = groups.pop()
        if len(group) <= MAX_IN_GROUP:
            done.append(group)
            continue
        inner = gap[group[:-1]]
        quarter = len(inner) // 4
        cut = quarter + 1 + int(np.argmax(inner[quarter : len(inner) - quarter]))
        groups += [group[:cut], group[cut:]]
    return sorted(done, key=lambda group: group[0])


def _refit(data: _Data, lines: Lines, fwhm_at: WidthAt, doublet: Doublet | None) -> Lines:
    """Fit every group, twice, so that the second time the neighbours' tails are known."""
    for _ in range(2):
        fitted = [_fit_group(data, lines, group, fwhm_at, doublet) for group in _groups(lines, doublet)]
        if not fitted:
            return lines
        lines = _merged(Lines.joined(fitted))
    return lines


def _fit_group(data: _Data, lines: Lines, group: np.ndarray, fwhm_at: WidthAt, doublet: Doublet | None) -> Lines:
    start = lines.take(group)
    end = start.position if doublet is None else alpha2_from_alpha1(two_theta_deg=start.position, doublet=doublet)[0]
    reach = WINDOW * float(np.max(start.fwhm))
    low, high = np.searchsorted(data.x, [start.position[0] - reach, end.max() + reach])
    if high - low < 7 + 2 * len(group):
        low, high = max(0, low - 4 - len(group)), min(len(data.x), high + 4 + len(group))
    part = slice(int(low), int(high))
    others = np.ones(len(lines), bool)
    others[group] = False
    others &= np.isfinite(lines.sigma)
    stretch = data.stretch(part)
    stretch = replace(stretch, y=stretch.y - model(stretch.x, lines.take(others), doublet))
    usual = np.full(len(group), float(np.median(fwhm_at(start.position))))
    begin = replace(start, fwhm=usual)
    return fit(stretch, begin, doublet).lines


def _merged(lines: Lines) -> Lines:
    """Without negative lines, and with one of any two that the fit brought together."""
    lines = lines.take(lines.area > 0)
    keep = np.ones(len(lines), bool)
    for at in np.argsort(-lines.area):
        near = np.abs(lines.position - lines.position[at]) < 0.3 * lines.fwhm[at]
        near[at] = False
        if keep[at]:
            keep &= ~near
    return lines.take(keep)


def _sound(
    data: _Data, lines: Lines, fwhm_at: WidthAt, doublet: Doublet | None, min_snr: float
) -> Bool[np.ndarray, "peak"]:
    """Lines that are significant, neither spikes nor humps, and not on the edge."""
    if not len(lines):
        return np.zeros(0, bool)
    ratio = lines.fwhm / fwhm_at(lines.position)
    good = (lines.snr > min_snr) & (ratio > WIDTHS_ALLOWED[0]) & (ratio < WIDTHS_ALLOWED[1])
    return good & _inside(data, lines) & (lines.sigma < 0.5 * lines.fwhm)


def _counted(data: _Data, lines: Lines, background: np.ndarray, min_snr: float) -> Bool[np.ndarray, "peak"]:
    """Lines that counting statistics allow where counts are few and no Gaussian.

    The signed root of the likelihood ratio of Poisson's distribution (Li and Ma, Astrophys. J. 272 (1983) 317, with the
    background known): sqrt(2 (n ln(n/b) - n + b)) for n counts on a background of b.
    """
    good = np.ones(len(lines), bool)
    if data.noise.gain is None:
        return good
    for at in range(len(lines)):
        inside = np.abs(data.x - lines.position[at]) < 0.75 * lines.fwhm[at]
        counted = float(data.y[inside].sum()) / data.noise.gain
        expected = max(float(background[inside].sum()) / data.noise.gain, 0.5)
        if counted < 200:
            excess = counted * np.log(max(counted, 1e-9) / expected) - counted + expected
            good[at] = counted > expected and np.sqrt(2 * max(excess, 0)) > min_snr
    return good


def _background(data: _Data, lines: Lines, doublet: Doublet | None, fwhm: float) -> Float[np.ndarray, "point"]:
    """What is left below the lines, smoothed (Whittaker); points under lines weigh little."""
    length = max(BACKGROUND_LENGTH * fwhm / data.step, 20.0)
    lam = min((length / (2 * np.pi)) ** 4, 1e12)
    weights = np.ones(len(data.x))
    end = lines.position if doublet is None else alpha2_from_alpha1(two_theta_deg=lines.position, doublet=doublet)[0]
    for first, last, width in zip(lines.position, end, lines.fwhm, strict=True):
        weights[(data.x > first - 2.5 * width) & (data.x < last + 2.5 * width)] = 1e-3
    left = data.y - model(data.x, lines, doublet)
    return np.asarray(whittaker_smooth(left, lam=lam, weights=weights))


def _warnings(data: _Data, lines: Lines, usual: float) -> tuple[str, ...]:
    found: list[str] = []
    if not len(lines):
        return ("no line stands out of the noise",)
    if usual < 4 * data.step:
        found.append(f"{usual / data.step:.1f} points a full width: with 5 or more, positions would be surer")
    if 2 * np.count_nonzero(np.diff(lines.position) < lines.fwhm[1:]) > len(lines):
        found.append("most lines overlap: their positions lean on the line shape of the fit")
    return tuple(found)
