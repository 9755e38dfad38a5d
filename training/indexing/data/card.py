"""The card of a set of patterns: ``DATA.md`` beside it, counted from the files themselves."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from app.crystallography.lattice import LATTICES
from app.indexing.problem import BRAVAIS
from training.indexing.data.augment import Acceptance, fit_acceptance
from training.indexing.data.parts import kind_names
from training.indexing.data.pattern_set import GROUPS_FILE, PatternSet, read_patterns
from training.indexing.data.peak_lists import INSTRUMENT, q2_max

CARD_FILE, ACCEPTANCE_FILE = "DATA.md", "acceptance.json"
_MOST_PATTERNS = 3000
"""Of a lattice system, from which its acceptance is fitted."""
_FIRST = 20


def write_card(folder: Path) -> str:
    """Write ``DATA.md`` and ``acceptance.json`` of a finished set; gives the text of the card."""
    patterns = read_patterns(folder)
    record, args = (json.loads((folder / name).read_text()) for name in ("record.json", "args.json"))
    groups = json.loads((folder / GROUPS_FILE).read_text())
    acceptances = fit_acceptances(patterns)
    found = {
        system: {"r0": one.r0, "r1": one.r1, "ceiling": one.ceiling, "first": one.first.tolist()}
        for system, (one, _) in acceptances.items()
    }
    (folder / ACCEPTANCE_FILE).write_text(json.dumps(found) + "\n")
    sections = [
        _heading(patterns, args),
        "## Patterns\n\n" + _counts(patterns, groups),
        "## Real structures that are not in it\n\n" + _rejected(record),
        "## Synthetic crystals\n\n" + _kinds(record),
        "## Distributions\n\n" + _distributions(patterns),
        "## Which lines are seen\n\n" + _acceptance_table(acceptances),
        "## Groups\n\n" + _groups(groups),
    ]
    text = "\n\n".join(sections) + "\n"
    (folder / CARD_FILE).write_text(text)
    return text


def fit_acceptances(patterns: PatternSet) -> dict[str, tuple[Acceptance, Acceptance]]:
    """Fit each lattice system's acceptance on its training side: with a ceiling, and in the report's form."""
    systems = np.array([LATTICES[bravais].system for bravais in BRAVAIS])[patterns.bravais]
    found = {}
    for system in dict.fromkeys(systems.tolist()):
        rows = np.flatnonzero((systems == system) & ~patterns.validation)
        chosen = patterns.take(rows[:: max(1, len(rows) // _MOST_PATTERNS)])
        if np.isfinite(chosen.q2).sum() > len(chosen):
            found[str(system)] = (fit_acceptance(chosen), fit_acceptance(chosen, with_ceiling=False))
    return found


def read_acceptances(folder: Path) -> dict[str, Acceptance]:
    """Read the acceptance of each lattice system, as the card left it."""
    record = json.loads((folder / ACCEPTANCE_FILE).read_text())
    return {
        system: Acceptance(one["r0"], one["r1"], one["ceiling"], np.array(one["first"]))
        for system, one in record.items()
    }


def table(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write a Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(str(value) for value in line) + " |" for line in lines)


def _heading(patterns: PatternSet, args: Mapping[str, Any]) -> str:
    made = (
        f"{len(patterns)} patterns with known cells: {int(patterns.real.sum())} of published structures of the "
        f"American Mineralogist Crystal Structure Database, {int((~patterns.real).sum())} of synthetic crystals. Seed "
        f"{args['seed']}, parts of {args['part']}; structures reserved for evaluation (digest {args['reserved']}) are "
        "not in it."
    )
    seen = (
        f"List 1: the first 60 lines that are not systematically absent. List 2: the first 60 that a pattern up to "
        f"{INSTRUMENT.two_theta_max_deg:g} degrees at {INSTRUMENT.wavelength_ang} Angstrom shows with peaks "
        f"{INSTRUMENT.fwhm_deg} degrees wide. Positions are exact: no noise, no zero shift, no foreign lines."
    )
    return f"# Patterns for learning to index\n\n{made}\n\n{seen}"


def _counts(patterns: PatternSet, groups: Mapping[str, list]) -> str:
    rows = []
    for index, bravais in enumerate(BRAVAIS):
        one = patterns.take(patterns.bravais == index)
        sides = [
            int(np.sum((one.real == real) & (one.validation == back)))
            for real in (True, False)
            for back in (False, True)
        ]
        rows.append([bravais, *sides, len(groups.get(bravais, []))])
    rows.append(["all", *np.array([row[1:] for row in rows]).sum(axis=0).tolist()])
    return table(("lattice", "real, training", "real, held back", "synthetic, training", "held back", "groups"), rows)


def _rejected(record: Mapping[str, Any]) -> str:
    return table(("reason", "structures"), record["rejected"].items())


def _kinds(record: Mapping[str, Any]) -> str:
    counts = {bravais: dict.fromkeys(kind_names(), 0) for bravais in BRAVAIS}
    for key, count in record["kinds"].items():
        bravais, kind = key.split()
        counts[bravais][kind_names()[int(kind)]] = count
    names = [name for name in kind_names() if name != "real"]
    rows = [[bravais, *(counts[bravais][name] for name in names)] for bravais in BRAVAIS]
    note = (
        f"{record['synthetic between both sides']} synthetic crystals are left out, since they are near-duplicates of "
        "real structures of both sides. The ten largest groups of near-duplicates, each on one side, have "
        f"{', '.join(map(str, record['largest clusters']))} members."
    )
    return table(("lattice", *names), rows) + "\n\n" + note


def _distributions(patterns: PatternSet) -> str:
    rows = []
    for index, bravais in enumerate(BRAVAIS):
        for real in (True, False):
            one = patterns.take((patterns.bravais == index) & (patterns.real == real))
            if len(one):
                rows.append([bravais, "real" if real else "synthetic", *_described(one, bravais)])
    heading = (
        *("lattice", "source", "primitive volume, A^3: 5, 50, 95%", "shortest axis, A: 5, 50, 95%"),
        *("longest axis, A: 5, 50, 95%", "lines seen: 5, 50, 95%", "share of the first 20 lines seen"),
    )
    return table(heading, rows)


def _described(patterns: PatternSet, bravais: str) -> list[str]:
    cosines = np.cos(np.radians(patterns.niggli[:, 3:]))
    volume = patterns.niggli[:, :3].prod(axis=1) * np.sqrt(1.0 - (cosines**2).sum(axis=1) + 2.0 * cosines.prod(axis=1))
    columns = (
        (volume, 0),
        (patterns.cell[:, :3].min(axis=1), 1),
        (patterns.cell[:, :3].max(axis=1), 1),
        (np.isfinite(patterns.q2).sum(axis=1), 0),
    )
    return [
        *(
            ", ".join(f"{value:.{digits}f}" for value in np.percentile(values, (5, 50, 95)))
            for values, digits in columns
        ),
        f"{share_seen(patterns):.3f}",
    ]


def share_seen(patterns: PatternSet) -> float:
    """Return which share of the first 20 lines within the pattern's range is in the observable list."""
    full = patterns.q2_all[:, :_FIRST]
    inside = full <= q2_max()
    seen = np.array([np.isin(row, shown) for row, shown in zip(full, patterns.q2, strict=True)])
    return float(seen[inside].mean()) if inside.any() else float("nan")


def _acceptance_table(acceptances: Mapping[str, tuple[Acceptance, Acceptance]]) -> str:
    rows = [
        [
            system,
            *(f"{value:.4g}" for value in (one.r0, one.r1, one.ceiling, plain.r0, plain.r1)),
            f"{one.first[0]:.3f}",
        ]
        for system, (one, plain) in acceptances.items()
    ]
    note = (
        "The chance that a line is seen, by how far in q^2 it lies behind the last one that is: "
        "ceiling (1 - exp(-r0 dq^2))^r1; then r0 and r1 with a ceiling of 1."
    )
    heading = ("system", "r0, A^2", "r1", "ceiling", "r0 alone", "r1 alone", "first line seen")
    return note + "\n\n" + table(heading, rows)


def _groups(groups: Mapping[str, list]) -> str:
    rows = [
        [bravais, number, group["level"], group["n_training"], group["n_validation"], group["name"]]
        for bravais in BRAVAIS
        for number, group in enumerate(groups.get(bravais, []))
    ]
    return table(("lattice", "group", "level", "training", "held back", "symbols, axes by length"), rows)
