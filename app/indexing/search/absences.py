"""Evidence from systematic absences: lines that glide planes and screw axes forbid are not held against a cell."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from app.crystallography.extinction_classes import extinction_classes
from app.indexing.search.cells import MAX_REFLECTIONS, form_from_x, reflections
from app.indexing.search.evidence import RESOLUTION_DEG, weigh_absences
from app.indexing.search.hypotheses import Hypotheses
from app.indexing.search.observed import Observed
from app.indexing.search.row import row_of

NO_ABSENCES_SHARE = 0.3
"""Prior probability that a structure has no absences beyond its centring; the rest is shared evenly."""


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
    weigh_absences(lines, observed.per_degree, float(found.sigma_deg[cell]), q2[order], forbidden, likelihood)
    prior = np.full(len(classes), (1 - NO_ABSENCES_SHARE) / (len(classes) - 1))
    prior[0] = NO_ABSENCES_SHARE
    gain = likelihood - likelihood[0]
    return float(gain.max() + np.log(np.sum(prior * np.exp(gain - gain.max()))))
