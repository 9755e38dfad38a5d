"""How probable each Bravais lattice is before anything is searched, and what a search of it is worth.

A network sees the exact relations among the first lines and gives the 14 probabilities. With them go, as parameters of
the same model, the steps of the search and what each was measured to earn and to cost: see
`app.indexing.search_order`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from app.errors import ModelRefused
from app.indexing.learned.template_features import N_LINES, template_features
from app.indexing.problem import BRAVAIS
from app.indexing.search.observed import Observed
from app.indexing.search_order import GENERATORS, N_TERMS, Doubt, Step
from app.model_registry.loading import LoadedModel
from app.model_registry.runtime import Network

INPUT: Final = "lines"
OUTPUT: Final = "probability"
FAMILY: Final = "indexing/odds"
NAME: Final = "indexing-odds"


@dataclass(frozen=True)
class NetworkOdds:
    """The learned odds.

    Attributes:
        network: {"lines": (pattern, feature)} to {"probability": (pattern, lattice)}.
        steps: of the search, with what each earns and costs.
        doubt: when the answer is taken for certain.
    """

    network: Network
    steps: tuple[Step, ...]
    doubt: Doubt

    def probabilities(self, observed: Observed) -> Float[np.ndarray, "lattice"]:
        """Give the probability of each lattice, in the order of `BRAVAIS`; the sum is 1."""
        first = observed.first(N_LINES)
        given = template_features(first.q2[None], first.per_degree[None])
        found = np.asarray(self.network({INPUT: given})[OUTPUT][0], dtype=float)
        return found / found.sum()


def from_model(model: LoadedModel) -> NetworkOdds:
    """Take the network and the parameters of a version.

    Raises:
        ModelRefused: it knows other lattices, or its parameters do not fit.
    """
    parameters: dict[str, Any] = dict(model.parameters)
    if tuple(parameters.get("lattices", ())) != BRAVAIS:
        raise ModelRefused("the odds are those of other lattices: expected the 14 in the order of the solver")
    try:
        steps = tuple(Step(**step) for step in parameters["steps"])
        doubt = Doubt(**parameters["doubt"])
    except (KeyError, TypeError) as error:
        raise ModelRefused(f"the parameters of the odds do not fit: {error}") from error
    unknown = sorted({step.generator for step in steps} - set(GENERATORS))
    if unknown or not {step.lattice for step in steps} <= set(BRAVAIS) or any(step.cost_s <= 0 for step in steps):
        raise ModelRefused(f"the steps of the odds do not fit this solver: {unknown or 'lattices or costs'}")
    if len(doubt.weights) != N_TERMS:
        raise ModelRefused(f"the doubt of the odds has {len(doubt.weights)} weights, expected {N_TERMS}")
    return NetworkOdds(model.run, steps, doubt)
