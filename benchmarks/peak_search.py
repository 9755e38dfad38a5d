"""How well the peak search finds lines: `python -m benchmarks.peak_search [--patterns 20]`.

Patterns with known lines, counted with Poisson's statistics: recall, false lines, errors of positions and whether they
are as large as the search says (pull: error over stated standard deviation; 1 is right).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.ndimage import gaussian_filter1d

from app.indexing.patterns.pattern import make_pattern
from app.indexing.patterns.peak_search import PeakOptions, search_peaks
from tests.indexing.patterns.pattern_maker import COPPER, Instrument, expected, matched, random_lines, sloping

LAB = Instrument(wavelength_ang=1.3)


@dataclass(frozen=True)
class Case:
    """One kind of pattern: lines `apart` degrees or more from each other, `weak` to `strong` counts high."""

    instrument: Instrument
    lines: int = 40
    apart: float = 0.3
    level: float = 100
    weak: float = 20
    strong: float = 1e4
    change: Callable[[np.ndarray], np.ndarray] = lambda mean: mean
    treat: Callable[[np.ndarray], np.ndarray] = lambda counts: counts
    options: PeakOptions = field(default_factory=PeakOptions)


def leaning(mean: np.ndarray) -> np.ndarray:
    """Axial divergence in the rough: a tail of 0.03 deg towards low angles."""
    tail = np.exp(-np.arange(12) * LAB.step / 0.03)
    weights = np.concatenate([tail[::-1], np.zeros(11)])
    return np.convolve(np.pad(mean, 11, mode="edge"), weights / weights.sum(), "valid")


CASES = {
    "laboratory, one wavelength": Case(LAB),
    "laboratory, min_snr 4": Case(LAB, options=PeakOptions(min_snr=4)),
    "laboratory, min_snr 3": Case(LAB, options=PeakOptions(min_snr=3)),
    "laboratory, Cu K-alpha doublet": Case(Instrument(doublet=COPPER)),
    "narrow lines, Cu doublet": Case(Instrument(doublet=COPPER, fwhm=0.05, step=0.01)),
    "synchrotron": Case(
        Instrument(low=3, high=40, step=0.004, fwhm=0.012, growth=0.0003, eta=0.7, wavelength_ang=0.8),
        apart=0.08,
        strong=1e5,
    ),
    "crowded": Case(replace(LAB, high=45), lines=60, apart=0.12),
    "broad lines": Case(replace(LAB, fwhm=0.5, high=120), lines=25, apart=1.5),
    "3 points a width": Case(replace(LAB, fwhm=0.06)),
    "few counts": Case(LAB, level=0.3, weak=2, strong=100),
    "counts per second": Case(LAB, treat=lambda counts: counts / 7.3),
    "background subtracted": Case(LAB, treat=lambda counts: counts - sloping(LAB)),
    "smoothed": Case(LAB, treat=lambda counts: gaussian_filter1d(counts, 2.0)),
    "leaning lines": Case(LAB, change=leaning),
    "background alone": Case(LAB, lines=0),
}


def run(name: str, case: Case, patterns: int) -> str:
    """Search so many patterns and sum up in a row."""
    hit = total = clear = clear_hit = false = 0
    errors, pulls, seconds = [], [], 0.0
    for seed in range(patterns):
        rng = np.random.default_rng(seed)
        lines, heights = random_lines(rng, case.instrument, case.lines, case.apart, case.weak, case.strong)
        mean = case.change(expected(case.instrument, lines, heights, sloping(case.instrument, case.level)))
        counts = case.treat(rng.poisson(mean).astype(float))
        pattern = make_pattern(case.instrument.points(), counts, wavelength_ang=case.instrument.wavelength_ang)
        start = time.perf_counter()
        found = search_peaks(pattern, replace(case.options, shape_error=0))
        seconds += time.perf_counter() - start
        index, extra = matched(found.two_theta_deg, lines, 0.06)
        ok = index >= 0
        strong = heights > 2.5 * np.sqrt(case.level) * 4
        hit, total, false = hit + ok.sum(), total + len(lines), false + len(extra)
        clear, clear_hit = clear + strong.sum(), clear_hit + (strong & ok).sum()
        error = found.two_theta_deg[index[ok]] - lines[ok]
        errors.extend(error)
        pulls.extend(error / found.sigma_deg[index[ok]])
    row = f"| {name} | {false / patterns:.2f} | {1000 * seconds / patterns:.0f} |"
    if not errors:
        return row + " - | - | - | - | - | - |"
    absolute, pull = np.abs(errors), np.array(pulls)
    return row + (
        f" {100 * hit / total:.0f} | {100 * clear_hit / max(clear, 1):.1f} | {np.median(absolute):.5f} | "
        f"{np.quantile(absolute, 0.95):.5f} | {np.mean(errors):+.5f} | {pull.std():.2f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patterns", type=int, default=20)
    patterns = parser.parse_args().patterns
    search_peaks(make_pattern(LAB.points(), sloping(LAB)))
    print("| pattern | false lines | ms | found % | clear lines found % | error p50 | p95 | bias [deg] | pull |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, case in CASES.items():
        print(run(name, case, patterns), flush=True)


if __name__ == "__main__":
    main()
