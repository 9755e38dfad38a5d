"""What drawn starts are worth in the search: hard patterns of held-out structures, with them and without."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.metric import cell_from_x
from app.crystallography.reduction import niggli
from app.indexing.learned.from_networks import FromNetworks
from app.indexing.learned.models import LatticeOdds, Learned, Regression
from app.indexing.problem import BRAVAIS, PeakList, SolveOptions, SolveResult
from app.indexing.search.generator import Effort, Generator
from app.indexing.search.hypotheses import grown_and_weighed
from app.indexing.search.volume import ByVolume
from app.indexing.solve import search_bounds, solve
from training.indexing.data.pattern_set import read_patterns
from training.indexing.odds.data import N_DRAWN, WAVELENGTH_ANG, disturbed
from training.indexing.odds.patterns import CONDITIONS, Known, different
from training.paired import gains, ratio

COUNTS: Final = ((True, {"mC": 24, "mP": 24, "aP": 12}), (False, {"mC": 6, "mP": 6, "aP": 18}))
"""Published structures, then synthetic crystals, of each lattice."""
TURNS: Final = ("5 foreign", "5 foreign", "2 foreign", "5 foreign")
_FEWEST_LINES: Final = 15
_LOOKED_AT: Final = 300
_NO_DEADLINE_S: Final = 3600.0


def hard_patterns(data: Path, *, synthetic: int | None = None, seed: int = 5) -> list[Known]:
    """Give patterns of held-back structures with foreign lines, all lattices mixed; near-duplicates are passed over.

    Args:
        data: folder of `python -m training.indexing data`.
        synthetic: as many synthetic crystals of each lattice alone, instead of `COUNTS`.
        seed: of the choice and of what is done to the lines.
    """
    rng = np.random.default_rng([seed, 1])
    found: list[Known] = []
    counted = COUNTS if synthetic is None else ((False, dict.fromkeys(COUNTS[0][1], synthetic)),)
    for real, counts in counted:
        patterns = read_patterns(data, real=real, validation=True)
        patterns = patterns.take(np.isfinite(patterns.q2).sum(axis=1) >= _FEWEST_LINES)
        for bravais, count in counts.items():
            rows = rng.permutation(np.flatnonzero(patterns.bravais == BRAVAIS.index(bravais)))[:_LOOKED_AT]
            for place, row in enumerate(different(rows, patterns.niggli, count, rng)):
                name = TURNS[place % len(TURNS)]
                q2, _ = disturbed(patterns.q2[row : row + 1, :N_DRAWN].astype(float), CONDITIONS[name], rng)
                peaks = PeakList(q2[0][np.isfinite(q2[0])], wavelength_ang=WAVELENGTH_ANG)
                cell = UnitCell(*(float(value) for value in patterns.niggli[row]))
                found.append(Known(int(patterns.identifier[row]), bravais, cell, name, peaks))
    return [found[place] for place in np.random.default_rng(3).permutation(len(found))]


def generators(regression: Regression, draws: Sequence[int]) -> Mapping[str, Generator]:
    """Give the walk from random starts, and from as many drawn ones."""
    return {"volume": ByVolume()} | {f"{n} draws": FromNetworks(regression, n_network=n) for n in draws}


def walked(known: Known, asked: Mapping[str, Generator]) -> dict[str, tuple[bool, float]]:
    """Ask each generator for the true lattice: whether the true cell is among the grown ones, and processor seconds."""
    observed, limits, zero_sigma = search_bounds(known.peaks, SolveOptions(device="cpu"))
    lattice = LATTICES[known.bravais]
    found = {}
    for name, generator in asked.items():
        started = time.process_time()
        x = generator.propose(known.bravais, observed, limits, Effort()).x
        grown = grown_and_weighed(
            known.bravais, x, observed, limits, generator=name, zero_start_deg=0.0, zero_sigma_deg=zero_sigma
        )
        spent = time.process_time() - started
        cells = (niggli(cell_from_x(lattice, one), lattice.centring.symbol) for one in grown.x)
        found[name] = any(known.is_cell(cell) for cell in cells), spent
    return found


@dataclass(frozen=True)
class Searched:
    """A whole search.

    Attributes:
        first, listed: whether the true cell is the first, and whether it is in the answer.
        cpu_s: processor seconds.
        walked: the search came to the walk.
    """

    first: bool
    listed: bool
    cpu_s: float
    walked: bool


def searched(patterns: Sequence[Known], odds: LatticeOdds, regression: Regression) -> Iterator[tuple[Searched, ...]]:
    """Search each pattern to its end with the drawn starts, then without; one that never walks is searched once."""
    options = SolveOptions(max_seconds=_NO_DEADLINE_S, device="cpu")
    for known in patterns:
        found: list[Searched] = []
        for learned in (Learned(odds=odds, regression=regression), Learned(odds=odds)):
            if found and not found[0].walked:
                found.append(found[0])
                continue
            started = time.process_time()
            result = solve(known.peaks, options, learned=learned)
            found.append(_searched(result, known, time.process_time() - started))
        yield tuple(found)


def _searched(result: SolveResult, known: Known, cpu_s: float) -> Searched:
    right = [known.is_cell(solution.niggli) for solution in result.solutions]
    walks = any(report.generator in {"volume", "networks"} for report in result.searches)
    return Searched(bool(right) and right[0], any(right), cpu_s, walks)


def compared(both: Sequence[tuple[Searched, ...]]) -> list[str]:
    """Say of whole searches, with drawn starts and with random ones, what either alone has, and the ratio of times."""
    walked = [pair for pair in both if pair[0].walked]
    if not walked:
        return []
    drawn, random = zip(*walked, strict=True)
    first = gains([one.first for one in drawn], [one.first for one in random])
    cpu = ratio(np.array([one.cpu_s for one in drawn]), np.array([one.cpu_s for one in random]))
    return [
        f"{len(walked)} of {len(both)} searches walk; of these drawn starts alone have {first.won} right, random ones"
        f" {first.lost}; CPU {cpu.value:.2f} times ({cpu.low:.2f}-{cpu.high:.2f}, 95 %)"
    ]
