"""Success against time budget."""

from __future__ import annotations

from pathlib import Path

from benchmarks.indexing.report import Summary


def budget_table(curve: dict[float, Summary]) -> str:
    """Return one row for each budget."""
    head = f"{'budget s':>9}{'n':>5}{'first %':>9}{'top 20 %':>10}{'wall s median':>15}{'p95':>8}"
    rows = [
        f"{budget:>9g}{s.n:>5}{100 * s.first / s.n:>9.1f}{100 * s.top_20 / s.n:>10.1f}"
        f"{s.wall_median_s:>15.2f}{s.wall_p95_s:>8.2f}"
        for budget, s in sorted(curve.items())
    ]
    return "\n".join([head, *rows])


def draw_budgets(curves: dict[str, dict[float, Summary]], path: Path) -> None:
    """Draw the share of patterns whose true cell is first (solid) and in the first 20 (dashed) against the budget."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for number, (name, curve) in enumerate(curves.items()):
        budgets = sorted(curve)
        for key, style, label in (("first", "-o", "first"), ("top_20", "--o", "in the first 20")):
            shares = [100.0 * getattr(curve[budget], key) / curve[budget].n for budget in budgets]
            axes.plot(budgets, shares, style, color=f"C{number}", markersize=4, label=f"{name}: {label}")
    axes.set(xscale="log", xlabel="time budget per pattern (s)", ylabel="true cell found (%)", ylim=(0, 101))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
