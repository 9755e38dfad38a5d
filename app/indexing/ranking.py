"""From weighed cells of all lattices to a ranking of families: one entry for each lattice that is not another's twin.

A cell found under several Bravais lattices is one lattice: it stands where its most probable reading stands. Sub- and
superlattices of the best ones are weighed beside them, because a smaller or larger cell often explains the same lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES
from app.crystallography.lattice_symmetry import bravais_of
from app.crystallography.metric import cell_from_x, volume, x_from_cell
from app.crystallography.reduction import derivative_lattices, niggli, same_lattice
from app.indexing.search.absences import absence_gain
from app.indexing.search.cells import Limits
from app.indexing.search.hypotheses import ZERO_SIGMA_DEG, Hypotheses, grown_and_weighed
from app.indexing.search.observed import Observed
from app.indexing.special import special_readings

POOL = 80
"""Cells that are compared in full."""
HOPELESS = 25.0
"""Cells whose evidence is so far behind the best are not worked out: more than systematic absences make up for."""
SAME_VOLUME = 0.05
"""Relative difference of volumes beyond which two cells are not one lattice."""
PSEUDO_SYMMETRY = 0.004
"""Relative change of a length, or angle in radians, up to which a higher symmetry is weighed against the lower one."""

GENERATIONS = 3
"""How often the relatives of a new best cell are looked at in turn."""
RELATIVES = 3
"""Relatives of each Bravais lattice that are ranked."""
USUAL_ELONGATION, ELONGATION_SPREAD, ELONGATION_FREEDOM = 0.45, 0.35, 4.0
"""Student's t of the logarithm of the longest over the shortest reduced axis, above the first number: 2,205 lattices of
the American Mineralogist Crystal Structure Database have a median of 0.48, 95% below 1.24, none above 2. The tail is
heavier than theirs, for other materials are more elongated."""
FAR_BEHIND = 15.0
"""Systematic absences do not bring a reading up from this far behind the best."""


@dataclass(frozen=True)
class Found:
    """One weighed cell.

    Attributes:
        bravais, generator: see `Hypotheses`.
        x: metric terms, shape (param,).
        zero_shift_deg, log_odds, n_indexed, n_possible, sigma_deg: see `Solution`.
        niggli: reduced primitive cell.
        volume: of it, Angstrom^3.
        conventional: x is known to be in the conventional setting.
    """

    bravais: str
    generator: str
    x: Float[np.ndarray, "param"]
    zero_shift_deg: float
    log_odds: float
    n_indexed: int
    n_possible: int
    sigma_deg: float
    niggli: UnitCell
    volume: float
    conventional: bool = False


Wanted = Callable[[Found], bool]


def _any(_: Found) -> bool:
    return True


def ranked(
    batches: Iterable[Hypotheses], observed: Observed, *, count: int, wanted: Wanted = _any
) -> tuple[Found, ...]:
    """Rank the cells of all batches, one for each lattice, by their evidence with systematic absences.

    Args:
        batches: weighed on the same lines.
        observed: these lines.
        count: families wanted.
        wanted: which cells may stand for their lattice.
    """
    flat = [(batch, i) for batch in batches for i in range(len(batch))]
    flat.sort(key=lambda one: -one[0].log_odds[one[1]])
    found: list[Found] = []
    least = -math.inf
    for batch, i in flat[:POOL]:
        if batch.log_odds[i] < least:
            break
        one = _found(batch, i, observed)
        if wanted(one):
            least = max(least, float(batch.log_odds[i]) - HOPELESS)
            found.append(one)
    return families(found, count=count)


def families(found: Sequence[Found], *, count: int) -> tuple[Found, ...]:
    """Keep the most probable reading of each lattice, best first."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: -one.log_odds):
        if len(kept) == count:
            break
        if not any(_twins(one, other) for other in kept):
            kept.append(one)
    return tuple(kept)


def with_relatives(
    found: Sequence[Found],
    observed: Observed,
    limits: Limits,
    *,
    count: int,
    wanted: Wanted = _any,
    zero_sigma_deg: float = ZERO_SIGMA_DEG,
    indices: tuple[int, ...] = (2, 3, 4),
) -> tuple[Found, ...]:
    """Weigh the higher symmetries, the sublattices and the superlattices of the best; again while the best changes.

    Beside them stand the less symmetric cells that have its metric (`app.indexing.special`).

    A relative that is not ``wanted`` takes no place, so that it cannot push out its twin in another reading. The
    ``indices`` are those of the sublattices and superlattices.
    """
    families_so_far = tuple(found[:count])
    for _ in range(GENERATIONS):
        if not families_so_far:
            break
        best = families_so_far[0]
        relatives = [one for one in _relatives(best, observed, limits, zero_sigma_deg, indices) if wanted(one)]
        families_so_far = families([*families_so_far, *relatives], count=count)
        if families_so_far[0] is best:
            break
    return families_so_far


def _relatives(
    parent: Found, observed: Observed, limits: Limits, zero_sigma_deg: float, indices: tuple[int, ...]
) -> list[Found]:
    cells: dict[str, list[Float[np.ndarray, "param"]]] = {}
    for primitive in (parent.niggli, *(one.niggli for one in derivative_lattices(parent.niggli, indices=indices))):
        for reading in bravais_of(primitive, tolerance=PSEUDO_SYMMETRY):
            cells.setdefault(reading.bravais, []).append(x_from_cell(LATTICES[reading.bravais], reading.cell))
    batches = [
        grown_and_weighed(
            bravais,
            np.array(x),
            observed,
            limits,
            generator="derivative",
            keep=RELATIVES,
            zero_start_deg=parent.zero_shift_deg,
            zero_sigma_deg=zero_sigma_deg,
        )
        for bravais, x in cells.items()
    ]
    special = special_readings(
        parent.bravais,
        parent.x,
        observed,
        limits,
        zero_shift_deg=parent.zero_shift_deg,
        zero_sigma_deg=zero_sigma_deg,
    )
    batches += [batch for batch in special if batch.log_odds[0] > parent.log_odds - FAR_BEHIND]
    least = parent.log_odds - HOPELESS
    return [_found(batch, i, observed) for batch in batches for i in range(len(batch)) if batch.log_odds[i] >= least]


def _found(batch: Hypotheses, i: int, observed: Observed) -> Found:
    lattice = LATTICES[batch.bravais]
    reduced = niggli(cell_from_x(lattice, batch.x[i]), lattice.centring.symbol)
    log_odds = float(batch.log_odds[i]) + absence_gain(batch, i, observed) + log_shape_prior(reduced)
    return Found(
        batch.bravais,
        batch.generator,
        batch.x[i],
        float(batch.zero_shift_deg[i]),
        log_odds,
        int(batch.n_indexed[i]),
        int(batch.n_possible[i]),
        float(batch.sigma_deg[i]),
        reduced,
        volume(reduced),
    )


def log_shape_prior(reduced: UnitCell) -> float:
    """Prior of a reduced cell's elongation, over that of a usual one: 0 for most, negative for needles and plates.

    The evidence takes the lengths as uniform in their logarithms up to 50 Angstrom, each by itself. That makes a cell
    with one axis of 43 and two of 5 Angstrom as probable as any other; among real ones it is rare.
    """
    lengths = reduced.constants[:3]
    excess = max(math.log(max(lengths) / min(lengths)) - USUAL_ELONGATION, 0.0) / ELONGATION_SPREAD
    return -0.5 * (ELONGATION_FREEDOM + 1.0) * math.log1p(excess**2 / ELONGATION_FREEDOM)


def _twins(one: Found, other: Found) -> bool:
    if abs(one.volume / other.volume - 1) > SAME_VOLUME:
        return False
    return same_lattice(one.niggli, other.niggli)


def in_convention(found: Found) -> Found:
    """Put the cell into the conventional setting of its lattice."""
    if found.conventional:
        return found
    readings = bravais_of(found.niggli, tolerance=1e-4, wanted=(found.bravais,))
    if not readings:
        return replace(found, conventional=True)
    best = min(readings, key=lambda one: one.deviation)
    return replace(found, x=x_from_cell(LATTICES[found.bravais], best.cell), conventional=True)
