"""Make a set of patterns: screen the real structures, fit, make the parts, group, split, and describe."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import gemmi
import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput
from app.indexing.problem import BRAVAIS
from training.indexing.data.amcsd import read_structures
from training.indexing.data.cells import Distributions, fit_cells
from training.indexing.data.groups import choose_sides, make_groups, members_of
from training.indexing.data.parts import DISTRIBUTIONS_FILE, REAL, Part, make_part, read_parts
from training.indexing.data.pattern_set import GROUPS_FILE, NAMES, PatternSet, pattern_set, write_patterns
from training.indexing.data.quality import (
    Contents,
    Entry,
    clusters,
    entry_of,
    failed_check,
    resembles,
    without_duplicates,
)
from training.indexing.data.scaling import fit_scalings, scalings_to_json

SCREENED_FILE, ARGS_FILE, SCALING_FILE = "screened.json", "args.json", "scaling.json"
_HYDROGEN = ("H", "D")
_SPLIT, _FIT = 101, 102
"""Beside the seed: what a random number is for."""

NO_CASES = np.empty((0, 6))

Report = Callable[[str], None]


@dataclass(frozen=True)
class BuildArgs:
    """What a set is made of. Saved beside it; a set is gone on with by the same ones (``per_lattice`` may grow).

    Attributes:
        per_lattice: synthetic crystals of each Bravais lattice, in whole parts.
        seed: of everything that is drawn.
        part: crystals in one part.
    """

    per_lattice: int = 500
    seed: int = 1
    part: int = 250


def build(
    database: Path,
    out: Path,
    args: BuildArgs,
    *,
    reserved: frozenset[int],
    cases: Float[np.ndarray, "case 6"] = NO_CASES,
    processes: int = 1,
    report: Report,
) -> PatternSet:
    """Make a set of patterns in a folder, or go on where an earlier call stopped.

    Args:
        database: amcsd_cif1.db of the package larixite.
        out: folder of the set.
        args: what it is made of.
        reserved: AMCSD's numbers of structures that must not be in it.
        cases: reduced cells of cases of evaluation; real structures whose lattice is within 3% of one are left out
            when the set is put together (the distributions of cells are fitted with them).
        processes: that make parts at the same time; they change nothing in the result.
        report: told of the progress.

    Raises:
        InvalidInput: the folder holds a set that was made of something else, or the database is not there.
    """
    (out / "parts").mkdir(parents=True, exist_ok=True)
    _same_as_before(out, args, reserved)
    screened = _screened(database, out, args, reserved, report)
    parts = list(_parts(args, screened))
    make = partial(make_part, folder=out, database=database)
    for done, part in enumerate(_made(make, parts, processes), start=1):
        report(f"part {done} of {len(parts)}: {part.file_name}")
    patterns, record = assemble(read_parts(out, parts), screened, args, cases)
    groups = record.pop("groups")
    (out / GROUPS_FILE).write_text(json.dumps(groups, indent=1) + "\n")
    (out / SCALING_FILE).write_text(json.dumps(scalings_to_json(fit_scalings(patterns)), indent=1) + "\n")
    write_patterns(out, patterns)
    (out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    return patterns


def _same_as_before(out: Path, args: BuildArgs, reserved: frozenset[int]) -> None:
    digest = hashlib.sha256(" ".join(map(str, sorted(reserved))).encode()).hexdigest()[:16]
    now = {**asdict(args), "reserved": digest}
    path = out / ARGS_FILE
    if path.is_file():
        before = json.loads(path.read_text())
        changed = [name for name in now if name != "per_lattice" and before.get(name) != now[name]]
        if changed:
            raise InvalidInput(
                f"the folder holds a set with another {' and another '.join(changed)}: name another folder, or the same"
            )
    path.write_text(json.dumps(now, indent=1) + "\n")


def _parts(args: BuildArgs, screened: dict[str, Any]) -> Iterator[Part]:
    ids = screened["ids"]
    for index, start in enumerate(range(0, len(ids), args.part)):
        chosen = tuple(ids[start : start + args.part])
        yield Part(REAL, index, len(chosen), args.seed, chosen)
    for index in range(-(-args.per_lattice // args.part)):
        for bravais in BRAVAIS:
            yield Part(bravais, index, args.part, args.seed)


def _made(make: Callable[[Part], int], parts: list[Part], processes: int) -> Iterator[Part]:
    if processes == 1:
        for part in parts:
            make(part)
            yield part
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(make, part): part for part in parts}
        for future in as_completed(waiting):
            future.result()
            yield waiting[future]


# Real structures


def _screened(database: Path, out: Path, args: BuildArgs, reserved: frozenset[int], report: Report) -> dict[str, Any]:
    """Return which real structures are used, those held back, and why others are not; fit the distributions."""
    path = out / SCREENED_FILE
    if path.is_file() and (out / DISTRIBUTIONS_FILE).is_file():
        return json.loads(path.read_text())
    report("checking the real structures")
    rejected, entries = Counter(), []
    for structure in read_structures(database):
        if structure.amcsd_id in reserved:
            rejected["reserved for evaluation"] += 1
            continue
        entry = entry_of(structure)
        reason = failed_check(entry)
        rejected.update([reason] if reason else [])
        entries.extend([] if reason else [entry])
    contents = contents_of_entries(entries)
    kept = without_duplicates(contents, [_preference(entry) for entry in entries])
    rejected["duplicate of another"] = len(entries) - len(kept)
    entries, held = [entries[row] for row in kept], _held_back([entries[row] for row in kept], args.seed)
    fitted = fit([entry for entry, back in zip(entries, held, strict=True) if not back], seed=args.seed)
    (out / DISTRIBUTIONS_FILE).write_text(json.dumps(fitted.to_json(), indent=1) + "\n")
    screened = {
        "ids": [entry.structure.amcsd_id for entry in entries],
        "validation": [entry.structure.amcsd_id for entry, back in zip(entries, held, strict=True) if back],
        "rejected": dict(rejected.most_common()),
    }
    path.write_text(json.dumps(screened) + "\n")
    report(f"{len(entries)} real structures, {int(held.sum())} of them held back")
    return screened


def _preference(entry: Entry) -> float:
    """Which of several publications of one crystal is kept: the database has no R factor, so the more complete one."""
    sites = entry.structure.sites
    displaced = np.mean([site.u_iso_ang2 is not None and site.u_iso_ang2 > 0 for site in sites])
    whole = np.mean([site.occupancy > 1.0 - 1e-3 for site in sites])
    return float(displaced + 0.5 * whole)


def contents_of_entries(entries: list[Entry]) -> Contents:
    """Return what near-duplicates are found by."""
    lattices = [entry.lattice for entry in entries if entry.lattice is not None]
    amounts = np.zeros((len(entries), 120), np.float32)
    for row, entry in enumerate(entries):
        for element, amount in zip(entry.atoms.elements if entry.atoms else (), entry.amounts, strict=True):
            amounts[row, gemmi.Element(element).atomic_number] += amount
    amounts[:, :2] = 0.0
    return Contents(
        np.array([lattice.bravais[0] for lattice in lattices]),
        np.array([lattice.setting.number for lattice in lattices]),
        np.array([lattice.niggli for lattice in lattices]).reshape(-1, 6),
        amounts,
        np.ones(len(entries), bool),
    )


def _held_back(entries: list[Entry], seed: int) -> np.ndarray:
    members = [
        members_of(entry.lattice.bravais, [entry.lattice.setting.symbol], entry.lattice.cell[None])[0]
        for entry in entries
        if entry.lattice is not None
    ]
    kinds = {member: index for index, member in enumerate(dict.fromkeys(members))}
    group = np.array([kinds[member] for member in members])
    free = np.full(len(entries), -1)
    rng = np.random.default_rng([seed, _SPLIT, 0])
    return choose_sides(group, clusters(contents_of_entries(entries)), free, rng)


def fit(entries: Iterable[Entry], *, seed: int) -> Distributions:
    """Fit the distributions of minerals to the entries of the training side."""
    cells: dict[str, list[np.ndarray]] = {}
    sites, counts, volumes = Counter(), Counter(), []
    for entry in entries:
        assert entry.lattice is not None  # noqa: S101
        assert entry.atoms is not None  # noqa: S101
        cells.setdefault(entry.lattice.bravais, []).append(entry.lattice.cell)
        heavy = [element for element in entry.atoms.elements if element not in _HYDROGEN]
        counts[len(heavy)] += 1
        sites.update(site.element for site in entry.structure.sites if site.element not in _HYDROGEN)
        volumes.append(entry.volume_per_atom)
    mixtures, n_structures = fit_cells(cells, seed=seed + _FIT)
    total, logs = sites.total(), np.log(volumes)
    return Distributions(
        mixtures,
        n_structures,
        {element: count / total for element, count in sorted(sites.items())},
        tuple(counts[number] / counts.total() for number in range(1, max(counts) + 1)),
        (float(logs.mean()), float(logs.std())),
    )


# All patterns together


def assemble(
    columns: dict[str, np.ndarray],
    screened: dict[str, Any],
    args: BuildArgs,
    cases: Float[np.ndarray, "case 6"] = NO_CASES,
) -> tuple[PatternSet, dict[str, Any]]:
    """Group and split the crystals of all parts.

    Returns:
        The patterns, by lattice, the real ones first; and what the card says of how they came about.
    """
    alike = columns["real"] & resembles(columns["niggli"], cases)
    columns = {name: values[~alike] for name, values in columns.items()}
    columns, dropped, sizes = _on_sides(columns, screened)
    number, groups = np.zeros(len(columns["bravais"]), np.int64), {}
    for index, bravais in enumerate(BRAVAIS):
        rows = np.flatnonzero(columns["bravais"] == index)
        members = members_of(bravais, columns["setting"][rows].tolist(), columns["cell"][rows])
        found, of_member = make_groups(members)
        number[rows] = [of_member[member] for member in members]
        groups[bravais] = [{"name": one.name, "level": one.level, "settings": list(one.members)} for one in found]
    columns["group"] = number
    fixed = np.where(columns["real"], np.isin(columns["identifier"], screened["validation"]), -1)
    rng = np.random.default_rng([args.seed, _SPLIT, 1])
    columns["validation"] = choose_sides(
        columns["bravais"].astype(int) * 1000 + number, columns.pop("cluster"), fixed, rng
    )
    order = np.lexsort((columns["identifier"], ~columns["real"], columns["bravais"]))
    patterns = pattern_set({name: columns[name][order] for name in NAMES})
    for index, bravais in enumerate(BRAVAIS):
        one = patterns.take(patterns.bravais == index)
        for place, group in enumerate(groups[bravais]):
            back = one.validation[one.group == place]
            group["n_training"], group["n_validation"] = int((~back).sum()), int(back.sum())
    kinds = np.stack([columns["bravais"], columns["kind"]], axis=1)[order]
    counts = Counter(map(tuple, kinds.tolist()))
    return patterns, {
        "groups": groups,
        "rejected": {**screened["rejected"], "lattice of a case of evaluation": int(alike.sum())},
        "kinds": {f"{BRAVAIS[bravais]} {kind}": count for (bravais, kind), count in sorted(counts.items())},
        "synthetic between both sides": dropped,
        "largest clusters": sizes,
    }


def _on_sides(columns: dict[str, np.ndarray], screened: dict[str, Any]) -> tuple[dict[str, np.ndarray], int, list[int]]:
    """Number the clusters of near-duplicates; leave synthetic crystals out that join real ones of both sides."""
    amounts = np.zeros((len(columns["bravais"]), 120), np.float32)
    np.put_along_axis(amounts, columns["elements"].astype(np.int64), columns["amounts"], axis=1)
    amounts[:, :2] = 0.0
    family = np.array([bravais[0] for bravais in BRAVAIS])[columns["bravais"]]
    contents = Contents(family, columns["number"], columns["niggli"], amounts, columns["real"])
    cluster = clusters(contents)
    held = columns["real"] & np.isin(columns["identifier"], screened["validation"])
    both = np.intersect1d(cluster[held], cluster[columns["real"] & ~held])
    between = ~columns["real"] & np.isin(cluster, both)
    # A cluster of both sides falls apart into its real structures, whose sides stand already.
    cluster = np.where(columns["real"] & np.isin(cluster, both), cluster.max() + 1 + np.arange(len(cluster)), cluster)
    kept = {name: values[~between] for name, values in columns.items()}
    kept["cluster"] = cluster[~between]
    sizes = sorted(np.unique(kept["cluster"], return_counts=True)[1].tolist(), reverse=True)[:10]
    return kept, int(between.sum()), sizes
