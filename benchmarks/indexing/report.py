"""Tables for the terminal and records for JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

import numpy as np

from app.indexing.problem import BRAVAIS
from benchmarks.indexing.outcome import RULES, Outcome

_HEADER = (
    f"{'lattice':<8}{'n':>4}{'first':>7}{'top 5':>7}{'top 20':>7}{'derivative first':>18}"
    f"{'wall s median':>15}{'p95':>8}{'CPU s median':>14}{'p95':>8}{'candidates':>12}"
)

_CONFIDENCE_EDGES = (0.0, 0.5, 0.8, 0.95, 0.99, 1.001)


@dataclass(frozen=True)
class Summary:
    """Counts and times of a group of cases.

    Attributes:
        first, top_5, top_20: cases with the true lattice within so many answers.
        derivative_first: cases, not among `first`, whose first answer is a sub- or superlattice of the true one that
            explains as many lines.
        wall_median_s, wall_p95_s, cpu_median_s, cpu_p95_s: of the solves.
        candidates_median: cells tried.
    """

    n: int
    first: int
    top_5: int
    top_20: int
    derivative_first: int
    wall_median_s: float
    wall_p95_s: float
    cpu_median_s: float
    cpu_p95_s: float
    candidates_median: float


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """Count the cases and take the quantiles of their times."""
    wall, cpu = ([getattr(outcome, key) for outcome in outcomes] for key in ("wall_s", "cpu_s"))
    return Summary(
        n=len(outcomes),
        first=_within(outcomes, 1),
        top_5=_within(outcomes, 5),
        top_20=_within(outcomes, 20),
        derivative_first=sum(outcome.derivative != 0 for outcome in outcomes),
        wall_median_s=float(np.median(wall)),
        wall_p95_s=float(np.quantile(wall, 0.95)),
        cpu_median_s=float(np.median(cpu)),
        cpu_p95_s=float(np.quantile(cpu, 0.95)),
        candidates_median=float(np.median([outcome.candidates for outcome in outcomes])),
    )


def by_lattice(outcomes: Sequence[Outcome]) -> dict[str, Summary]:
    """Return a summary for each Bravais lattice that occurs, and one for all."""
    groups = {name: [outcome for outcome in outcomes if outcome.bravais == name] for name in BRAVAIS}
    return {name: summarise(group) for name, group in (groups | {"all": list(outcomes)}).items() if group}


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table by Bravais lattice, with the shares of the whole below it."""
    rows = by_lattice(outcomes)
    total = rows["all"]
    shares = "".join(f"{100 * count / total.n:>6.1f}%" for count in (total.first, total.top_5, total.top_20))
    return "\n".join([_HEADER, *(_row(name, summary) for name, summary in rows.items()), f"{'':<12}{shares}"])


def notes(outcomes: Sequence[Outcome]) -> list[str]:
    """Return lines on the order of the answers, the criterion and what went wrong."""
    lines = [
        "first choice right, the same answers in another order: "
        + ", ".join(f"{rule} {sum(outcome.rank_by.get(rule) == 1 for outcome in outcomes)}" for rule in RULES)
    ]
    if any(outcome.confidence for outcome in outcomes):
        lines.append("said to be right with a probability of " + "; ".join(_calibration(outcomes)))
    if any(outcome.stopped for outcome in outcomes):
        ends = Counter(outcome.stopped for outcome in outcomes if outcome.stopped)
        lines.append("ended: " + ", ".join(f"{reason} {count}" for reason, count in ends.most_common()))
    near = [outcome.case_id for outcome in outcomes if outcome.rank and outcome.rank != outcome.plain_rank]
    if near:
        lines.append(f"the same lattice by another reduced basis only: {', '.join(near)}")
    lines += [f"{outcome.case_id}: {outcome.problem}" for outcome in outcomes if outcome.problem]
    return lines


def misses(outcomes: Sequence[Outcome]) -> list[str]:
    """Return one line for each case whose first answer is not the true lattice."""
    return [_miss(outcome) for outcome in outcomes if outcome.rank != 1]


def record(outcomes: Sequence[Outcome]) -> dict:
    """Return summaries and outcomes as plain data."""
    return {
        "by_lattice": {name: asdict(summary) for name, summary in by_lattice(outcomes).items()},
        "cases": [asdict(outcome) for outcome in outcomes],
    }


def _calibration(outcomes: Sequence[Outcome]) -> list[str]:
    """Set the solver's confidence in its first cell against how often that cell is right."""
    shown = []
    for low, high in pairwise(_CONFIDENCE_EDGES):
        inside = [outcome.rank == 1 for outcome in outcomes if low <= outcome.confidence < high]
        if inside:
            shown.append(f"{low:g}-{min(high, 1):g}: {sum(inside)} of {len(inside)} are")
    return shown


def _within(outcomes: Sequence[Outcome], place: int) -> int:
    return sum(1 <= outcome.rank <= place for outcome in outcomes)


def _row(name: str, summary: Summary) -> str:
    return (
        f"{name:<8}{summary.n:>4}{summary.first:>7}{summary.top_5:>7}{summary.top_20:>7}"
        f"{summary.derivative_first:>18}{summary.wall_median_s:>15.2f}{summary.wall_p95_s:>8.2f}"
        f"{summary.cpu_median_s:>14.2f}{summary.cpu_p95_s:>8.2f}{summary.candidates_median:>12.0f}"
    )


def _miss(outcome: Outcome) -> str:
    place = f"true cell in place {outcome.rank} (M20 {outcome.true_m20:.1f})" if outcome.rank else "true cell not found"
    if outcome.first is None:
        return f"{outcome.case_id}: {place}; no answer {outcome.problem}"
    cell = " ".join(f"{value:.4g}" for value in outcome.first.niggli)
    kind = f", derivative {outcome.derivative:+d}" if outcome.derivative else ""
    return f"{outcome.case_id}: {place}; first {outcome.first.bravais} {cell}, M20 {outcome.first.m20:.1f}{kind}"
