"""Evidence from systematic absences: lines that glide planes and screw axes forbid are not held against a cell."""

from __future__ import annotations

from collections import Counter
from functools import cache

import gemmi
import numpy as np
from jaxtyping import Bool, Float

from app.crystallography.extinction_classes import extinction_classes
from app.crystallography.space_group_counts import SPACE_GROUP_COUNTS
from app.indexing.search.cells import MAX_REFLECTIONS, form_from_x, reflections
from app.indexing.search.evidence import RESOLUTION_DEG, weigh_absences
from app.indexing.search.hypotheses import Hypotheses
from app.indexing.search.observed import Observed
from app.indexing.search.row import row_of

UNSEEN_COUNT = 0.5
"""Added to the count of every space group, so that a rare one is not impossible."""


def absence_gain(found: Hypotheses, cell: int, observed: Observed) -> float:
    """How much the evidence of a cell changes when the extinction symbols of its lattice are summed over.

    Args:
        found: weighed hypotheses.
        cell: which of them.
        observed: the lines.

    Returns:
        log of the mean likelihood over extinction symbols by their prior, over the likelihood without absences.
    """
    classes = extinction_classes(found.bravais)
    if len(classes) < 2:
        return 0.0
    row, form = row_of(found.bravais), np.empty(6)
    form_from_x(found.x[cell], row.terms, form)
    lines = observed.q2 - found.zero_shift_deg[cell] * observed.slope
    q2, hkl = np.empty(MAX_REFLECTIONS), np.empty((MAX_REFLECTIONS, 3), np.int64)
    q2_max = float(lines[-1] + RESOLUTION_DEG * observed.per_degree[-1])
    count = reflections(form, row.domain, row.allowed, q2_max, q2, hkl)
    order = np.argsort(q2[:count], kind="stable")
    forbidden: Bool[np.ndarray, "symbol ref"] = np.stack([one.forbidden(hkl[order]) for one in classes])
    likelihood: Float[np.ndarray, "symbol"] = np.empty(len(classes))
    sigma_deg = float(found.sigma_deg[cell])
    weigh_absences(lines, observed.per_degree, observed.foreign, sigma_deg, q2[order], forbidden, likelihood)
    gain = likelihood - likelihood[0]
    return float(gain.max() + np.log(np.sum(_prior(found.bravais) * np.exp(gain - gain.max()))))


@cache
def _prior(bravais: str) -> Float[np.ndarray, "symbol"]:
    """Prior probability of each extinction symbol of a lattice: how often its space groups occur.

    A space group with several settings (axes permuted, other cell choices) shares its count among their symbols.
    """
    numbers = [{gemmi.SpaceGroup(name).number for name in one.space_groups} for one in extinction_classes(bravais)]
    settings = Counter(number for members in numbers for number in members)
    weight = np.array(
        [
            sum((SPACE_GROUP_COUNTS.get(number, 0) + UNSEEN_COUNT) / settings[number] for number in members)
            for members in numbers
        ]
    )
    return weight / weight.sum()
