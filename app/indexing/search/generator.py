"""What every generator of candidate cells looks like."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from jaxtyping import Float

from app.indexing.search.cells import Limits
from app.indexing.search.observed import Observed

if TYPE_CHECKING:
    from app.indexing.learned.models import TemplateScores


def _never() -> bool:
    return False


@dataclass(frozen=True)
class Effort:
    """How hard a generator should try.

    Attributes:
        level: 0 is the quick first look, 1 the thorough second.
        keep: most candidates to propose, best first.
        max_impurities: lines among the first 20 that may stay unexplained.
        seed: of all randomness.
        device: for batched refinement: cpu or gpu.
        templates: puts low-order assignments into an order of the pattern's own; None keeps the list's.
        stop: says True once time is up or the caller has given up; asked every few milliseconds.
    """

    level: int = 0
    keep: int = 150
    max_impurities: int = 2
    seed: int = 0
    device: str = "cpu"
    templates: TemplateScores | None = None
    stop: Callable[[], bool] = field(default=_never, compare=False)


@dataclass(frozen=True)
class Proposal:
    """Candidates of one lattice, best first.

    Attributes:
        x: metric terms in the order of the lattice's design matrix, Angstrom^-2, shape (cell, param).
        n_tried: cells that were looked at.
        complete: no cell within the limits that explains the lines (within the error window, up to the allowed
            impurities) was left out.
    """

    x: Float[np.ndarray, "cell param"]
    n_tried: int
    complete: bool = False


class Generator(Protocol):
    """One way to come by candidate cells; pure: the same arguments give the same proposal."""

    @property
    def name(self) -> str: ...

    @property
    def lattices(self) -> frozenset[str]: ...

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Propose cells of one lattice."""
        ...
