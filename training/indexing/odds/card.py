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
    if scores.get("lattices"):
        lines += ["", *lattice_table(scores["lattices"])]
    lines += [
        "",
        f"Ending a search, cross-validated over {doubt['patterns']} patterns under drawn conditions. Lost: the first",
        "family is wrong where that of the whole search is right.",
        "",
        "| probability of a loss below which it ends | lost | mean CPU s | median CPU s | end early | right | lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for most, one in doubt["compared"].items():
        early = (one.get(name, 0.0) for name in ("early", "early_right", "early_lost"))
        shares = " | ".join(f"{share:.1%}" for share in early)
        lines.append(f"| {most} | {one['lost']:.1%} | {one['mean_s']:.2f} | {one['median_s']:.3f} | {shares} |")
    return "\n".join([*lines, "", "Training: see `docs/training-indexing-odds.md`.", ""])


def lattice_table(lattices: dict[str, Any]) -> list[str]:
    """Lines of a Markdown table: the methods side by side on the held-out structures of each Bravais lattice."""
    methods = list(next(iter(lattices.values())))
    lines = [
        f"By lattice, disturbed as in training; {', '.join(methods)}:",
        "",
        "| lattice | n | log loss, nats | first | lattices before the true one |",
        "|---|---|---|---|---|",
    ]
    for bravais, one in lattices.items():
        loss = ", ".join(f"{one[method]['log_loss']:.2f}" for method in methods)
        tops = [{int(k): value for k, value in one[method]["top"].items()} for method in methods]
        first = ", ".join(f"{top[1]:.0%}" for top in tops)
        before = ", ".join(f"{one[method]['searched']:.0%}" for method in methods)
        lines.append(f"| {bravais} | {one[methods[0]]['n']} | {loss} | {first} | {before} |")
    return lines
