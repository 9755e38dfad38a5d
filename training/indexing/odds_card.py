"""The model card of the learned odds."""

from __future__ import annotations

from typing import Any


def card(scores: dict[str, Any], doubt: dict[str, Any]) -> str:
    """Text of the card from the scores of the network and what ending a search by the doubt loses and saves."""
    lines = [
        "# indexing-odds",
        "",
        "Before anything is searched, a network tells from the exact relations among the first 20 lines how probable",
        "each Bravais lattice is. The solver takes its steps in the order of odds times measured gain over measured",
        "cost, and ends when a logistic model says that the rest would hardly find another first cell.",
        "",
        f"Learnt from {scores['learnt_from']} patterns, judged on {scores['held_out']} held-out structures.",
        "The odds say nothing of materials unlike those, and set an order only: no lattice is left out for them.",
        "",
        "| condition | odds | log loss, nats | first | first 3 | calibration error | lattices before the true one |",
        "|---|---|---|---|---|---|---|",
    ]
    for condition, methods in scores["conditions"].items():
        for name, one in methods.items():
            top = {int(k): value for k, value in one["top"].items()}
            lines.append(
                f"| {condition} | {name} | {one['log_loss']:.3f} | {top[1]:.1%} | {top[3]:.1%} | "
                f"{one['calibration']:.3f} | {one['searched']:.1%} |"
            )
    lines += [
        "",
        f"Ending a search, cross-validated over {doubt['patterns']} patterns under all conditions:",
        "",
        "| probability of a loss below which it ends | lost | mean CPU s | median CPU s |",
        "|---|---|---|---|",
    ]
    for most, one in doubt["compared"].items():
        lines.append(f"| {most} | {one['lost']:.1%} | {one['mean_s']:.2f} | {one['median_s']:.3f} |")
    return "\n".join([*lines, "", "Training: see `docs/training-indexing-odds.md`.", ""])
