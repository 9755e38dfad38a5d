"""Results as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from training.waveform.evaluate import Result
from training.waveform.methods import LEVELS

CELLS: Final = {"bias": "Bias", "rmse": "RMSE", "over_bound": "RMSE / Cramer-Rao bound"}
"""Figures of `scores.Bin` that are shown."""


def table(results: Sequence[Result]) -> str:
    """Write one row for each result, the settings in their order, within one the best mean squared error first."""
    order = {name: place for place, name in enumerate(dict.fromkeys(r.questions.setting for r in results))}
    rows = sorted(results, key=lambda r: (order[r.questions.setting], _mse(r)))
    levels = [f"cov {level:.2f}" for level in LEVELS]
    head = ["setting", "method", "MSE", "MAE", "accuracy", *levels, "AUC", "AUC .1-.2", "efficiency", "Brier"]
    return markdown([head, *(_row(result) for result in rows)])


def report(results: Sequence[Result]) -> str:
    """Write all tables of an evaluation."""
    parts = [table(results)]
    for setting in dict.fromkeys(result.questions.setting for result in results):
        here = [result for result in results if result.questions.setting == setting]
        tables = [(f"{what} by separation, {setting}", by_separation(here, cell)) for cell, what in CELLS.items()]
        tables.append((f"AUC and efficiency at 5 % false positives, {setting}", two_by_separation(here)))
        parts += [f"{title}\n\n{content}" for title, content in tables if content]
    return "\n\n".join(parts)


def _mse(result: Result) -> float:
    return result.scores.separation.mse if result.scores.separation else float("inf")


def _row(result: Result) -> list[str]:
    separation, two = result.scores.separation, result.scores.two
    errors = [f"{separation.mse:.2e}", f"{separation.mae:.4f}", f"{separation.accuracy:.3f}"] if separation else []
    covered = [f"{share:.3f}" for share in separation.coverage] if separation else []
    narrow = next((f"{row.auc:.3f}" for row in two.bins if row.low == 0.1), "") if two else ""
    told = [f"{two.auc:.3f}", narrow, f"{two.efficiency:.3f}", f"{two.brier:.3f}"] if two else []
    return [
        result.questions.setting,
        result.method,
        *_padded(errors, 3),
        *_padded(covered, len(LEVELS)),
        *_padded(told, 4),
    ]


def _padded(cells: Sequence[str], length: int) -> list[str]:
    return [*cells, *[""] * (length - len(cells))]


def by_separation(results: Sequence[Result], cell: str) -> str:
    """Write one figure of each bin of separation (a field of `scores.Bin`) for each method, of one setting."""
    known = [(r.method, r.scores.separation) for r in results if r.scores.separation]
    if not known:
        return ""
    head = ["d / 8 us", *(f"{row.low:g}-{row.high:g}" for row in known[0][1].bins)]
    show: Callable[[float | None], str] = lambda value: "" if value is None else f"{value:.3g}"  # noqa: E731
    return markdown([head, *([name, *(show(getattr(row, cell)) for row in found.bins)] for name, found in known)])


def two_by_separation(results: Sequence[Result]) -> str:
    """Write AUC with its standard error and the efficiency at 5 % false positives, by separation."""
    known = [(r.method, r.scores.two) for r in results if r.scores.two]
    if not known:
        return ""
    head = ["d / 8 us", *(f"{row.low:g}-{row.high:g}" for row in known[0][1].bins)]
    body = [
        [name, *(f"{row.auc:.3f} ± {row.auc_error:.3f}; {row.efficiency:.2f}" for row in found.bins)]
        for name, found in known
    ]
    return markdown([head, *body])


def curve_table(points: Mapping[str, Mapping[int, float]]) -> str:
    """Write mean squared errors against the number of events in training."""
    sizes = sorted({size for curve in points.values() for size in curve})
    body = [[name, *(f"{curve[s]:.2e}" if s in curve else "" for s in sizes)] for name, curve in points.items()]
    return markdown([["events", *(f"{size:,}" for size in sizes)], *body])


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """Write rows, the first of which is the head, as a Markdown table."""
    rule = ["---"] * len(rows[0])
    return "\n".join(f"| {' | '.join(row)} |" for row in [rows[0], rule, *rows[1:]])
