"""How many assignments have to be solved for a random pattern: the network's order beside the list's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from app.indexing.learned.template_features import template_features
from app.indexing.learned.templates import INPUT, add_up, pairs_of
from app.model_registry.runtime import Network
from training.indexing.assignments.table import QUALITY
from training.indexing.templates.data import TemplateSet, measured

PREFIXES = (100, 300, 1000, 3000, 10_000)
"""Numbers of rows for which the share of solved patterns is told."""
NEVER = 10**9
"""Place of a right row where there is none."""


def places(
    symbol: str, held_out: TemplateSet, network: Network, *, seed: int
) -> Mapping[str, Int[np.ndarray, "pattern"]]:
    """Give the place, from 0, of the first right and precise row in each order: ``list`` and ``network``.

    Args:
        symbol: Bravais lattice.
        held_out: patterns that the network was not trained on.
        network: as `TemplateScores` takes it.
        seed: of the errors of the lines.

    Returns:
        `NEVER` where no row solves the pattern: precise is what predicts `QUALITY.solved` of its lines.
    """
    pairs, q2 = pairs_of(symbol), measured(held_out.q2, np.random.default_rng(seed))
    values = network({INPUT: template_features(*q2)})[symbol]
    precise = (held_out.right >= 0) & (held_out.quality >= QUALITY.solved)
    by_list = np.where(precise, held_out.right, NEVER).min(axis=1)
    by_network = np.full(len(held_out), NEVER)
    score = np.empty(pairs.rows.shape[1], np.float32)
    for pattern in np.flatnonzero(precise.any(axis=1)):
        add_up(np.ascontiguousarray(values[pattern]), pairs.rows, pairs.prior, score)
        best = score[held_out.right[pattern][precise[pattern]]].max()
        by_network[pattern] = np.count_nonzero(score > best)
    return {"list": by_list, "network": by_network}


def solved(place: Int[np.ndarray, "pattern"], prefixes: Sequence[int] = PREFIXES) -> list[float]:
    """Give the share of the patterns that the first rows solve, for each number of them."""
    return [float(np.mean(place < prefix)) for prefix in prefixes]
