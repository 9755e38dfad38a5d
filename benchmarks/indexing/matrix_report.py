"""Tables (GitHub's Markdown), records and a picture of a matrix of variants and scenarios."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from app.indexing.problem import BRAVAIS
from benchmarks.indexing.matrix import Trial
from benchmarks.indexing.report import Summary, summarise
from benchmarks.indexing.variants import OFF
from training.paired import Gains, Interval, gains, ratio

EVERY = "all"
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
BINS = 10
"""Of the probability, for its expected error."""


@dataclass(frozen=True)
class Cell:
    """One variant under one scenario.

    Attributes:
        summary: counts and times.
        true_wall_median_s, true_cpu_median_s: until the true cell first led, over the cases whose answer is right;
            None where no answer is.
        brier: mean squared difference between the probability said of the first cell and its being right.
        expected_error: mean difference between the two over ten bins of the probability, weighted by their cases.
    """

    summary: Summary
    true_wall_median_s: float | None
    true_cpu_median_s: float | None
    brier: float
    expected_error: float


@dataclass(frozen=True)
class Pair:
    """One variant against the solver without learned parts, on the same cases."""

    first: Gains
    wall: Interval
    cpu: Interval


def cell_of(trials: Sequence[Trial]) -> Cell:
    """Summarise the trials of one variant."""
    said = np.array([trial.outcome.confidence for trial in trials])
    right = np.array([trial.right for trial in trials])
    return Cell(
        summarise([trial.outcome for trial in trials]),
        _median(trial.true_wall_s for trial in trials),
        _median(trial.true_cpu_s for trial in trials),
        float(np.mean((said - right) ** 2)),
        expected_error(said, right),
    )


def expected_error(said: Float[np.ndarray, "case"], right: Bool[np.ndarray, "case"]) -> float:
    """Expected calibration error with ten bins of equal width (M. P. Naeini et al., AAAI 2015)."""
    number = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = [abs(float(np.sum(said[number == i]) - np.sum(right[number == i]))) for i in range(BINS)]
    return sum(gaps) / len(said)


def pair_of(new: Sequence[Trial], old: Sequence[Trial]) -> Pair:
    """Compare two variants on the same cases in the same order."""
    times = [[(trial.outcome.wall_s, trial.outcome.cpu_s) for trial in trials] for trials in (new, old)]
    (new_wall, new_cpu), (old_wall, old_cpu) = (np.array(one).T for one in times)
    first = gains([trial.right for trial in new], [trial.right for trial in old])
    return Pair(first, ratio(new_wall, old_wall), ratio(new_cpu, old_cpu))


def picked(trials: Iterable[Trial], variant: str, scenario: str = EVERY, bravais: str = EVERY) -> list[Trial]:
    """Give the trials of one variant, of one scenario or all, of one lattice or all."""
    return [
        trial
        for trial in trials
        if trial.variant == variant
        and scenario in (EVERY, trial.scenario)
        and bravais in (EVERY, trial.outcome.bravais)
    ]


def names_in(trials: Iterable[Trial], field: str) -> list[str]:
    """Give the scenarios or variants that occur, in their order."""
    return list(dict.fromkeys(getattr(trial, field) for trial in trials))


def scenario_table(trials: Sequence[Trial]) -> str:
    """Success and time of each variant under each scenario."""
    heads = (
        "cases", "learned", "n", "first", "in first 20", "wall s median / p95", "CPU s median / p95",
        "true cell leads after, wall / CPU s", "Brier", "expected error",
    )  # fmt: skip
    rows = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for scenario in (*names_in(trials, "scenario"), EVERY):
        for variant in names_in(trials, "variant"):
            cell = cell_of(picked(trials, variant, scenario))
            s = cell.summary
            rows.append(
                f"| {scenario} | {variant} | {s.n} | {s.first} ({100 * s.first / s.n:.0f}%) | {s.top_20} "
                f"| {s.wall_median_s:.2f} / {s.wall_p95_s:.2f} | {s.cpu_median_s:.2f} / {s.cpu_p95_s:.2f} "
                f"| {_shown(cell.true_wall_median_s)} / {_shown(cell.true_cpu_median_s)} "
                f"| {cell.brier:.3f} | {cell.expected_error:.3f} |"
            )
    return "\n".join(rows)


def lattice_table(trials: Sequence[Trial], scenario: str = EVERY) -> str:
    """First choices right, and the median wall time, by Bravais lattice and variant."""
    names = names_in(trials, "variant")
    rows = [
        "| lattice | n | " + " | ".join(f"{name}: first, median s" for name in names) + " |",
        "|---" * (len(names) + 2) + "|",
    ]
    for bravais in BRAVAIS:
        groups = [picked(trials, name, scenario, bravais) for name in names]
        if groups[0]:
            parts = [summarise([trial.outcome for trial in group]) for group in groups]
            shown = " | ".join(f"{one.first}, {one.wall_median_s:.2f}" for one in parts)
            rows.append(f"| {bravais} | {parts[0].n} | {shown} |")
    return "\n".join(rows)


def pair_table(trials: Sequence[Trial]) -> str:
    """Each variant against ``off``: cases won and lost, and the ratio of the times."""
    rows = [
        "| cases | learned | won | lost | p (McNemar) | wall, times off (95%) | CPU, times off (95%) |",
        "|---|---|---|---|---|---|---|",
    ]
    for scenario in (*names_in(trials, "scenario"), EVERY):
        old = picked(trials, OFF, scenario)
        for variant in names_in(trials, "variant"):
            if variant != OFF:
                pair = pair_of(picked(trials, variant, scenario), old)
                rows.append(
                    f"| {scenario} | {variant} | {pair.first.won} | {pair.first.lost} | {pair.first.p_value:.2g} "
                    f"| {_interval(pair.wall)} | {_interval(pair.cpu)} |"
                )
    return "\n".join(rows)


def matrix_record(trials: Sequence[Trial]) -> dict:
    """Return everything as plain data: cells and pairs by scenario, variant and lattice, and the trials."""
    scenarios, names = (*names_in(trials, "scenario"), EVERY), names_in(trials, "variant")
    cells = [
        {"scenario": scenario, "variant": name, "bravais": bravais, **asdict(cell_of(group))}
        for scenario in scenarios
        for name in names
        for bravais in (*BRAVAIS, EVERY)
        if (group := picked(trials, name, scenario, bravais))
    ]
    pairs = [
        {"scenario": scenario, "variant": name, **asdict(pair_of(picked(trials, name, scenario), off))}
        for scenario in scenarios
        if (off := picked(trials, OFF, scenario))
        for name in names
        if name != OFF
    ]
    return {"cells": cells, "pairs": pairs, "trials": [asdict(trial) for trial in trials]}


def draw_matrix(trials: Sequence[Trial], path: Path) -> None:
    """Draw first choices right (left) and the CPU time relative to ``off`` with its interval (right), by scenario."""
    from matplotlib.figure import Figure

    scenarios, names = names_in(trials, "scenario"), names_in(trials, "variant")
    figure = Figure(figsize=(8.6, 0.9 + 0.5 * len(scenarios)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for number, name in enumerate(names):
        places = np.arange(len(scenarios)) + 0.6 * (number / max(len(names) - 1, 1) - 0.5)
        groups = [picked(trials, name, scenario) for scenario in scenarios]
        shares = [100.0 * np.mean([trial.right for trial in group]) for group in groups]
        left.plot(shares, places, "o", color=f"C{number}", markersize=4, label=name)
        if name != OFF:
            ratios = [
                pair_of(group, picked(trials, OFF, one)).cpu for group, one in zip(groups, scenarios, strict=True)
            ]
            values = np.array([one.value for one in ratios])
            ends = np.abs(np.array([(one.low, one.high) for one in ratios]).T - values)
            right.errorbar(values, places, xerr=ends, fmt="o", color=f"C{number}", markersize=4, capsize=2)
    left.set(xlabel="first choice right (%)", yticks=range(len(scenarios)), yticklabels=scenarios)
    left.invert_yaxis()
    right.axvline(1.0, color="0.6", linewidth=0.8)
    right.set(xlabel="CPU time, times that without learned parts", xscale="log")
    low, high = right.get_xlim()
    right.set_xticks(shown := [tick for tick in _TICKS if low <= tick <= high], labels=[f"{tick:g}" for tick in shown])
    right.set_xticks([], minor=True)
    for axes in (left, right):
        axes.grid(alpha=0.3, axis="x")
    figure.legend(loc="outside upper center", ncols=len(names), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _median(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _interval(one: Interval) -> str:
    return f"{one.value:.2f} ({one.low:.2f}-{one.high:.2f})"
