"""One extinction symbol in the light of a pattern."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Extinction:
    """One extinction symbol that the indexed lines allow.

    Attributes:
        symbol: as in International Tables A, e.g. ``P 1 21/c 1``.
        space_groups: Hermann-Mauguin symbols of the space groups with these absences, in the setting of the cell.
        n_forbidden: indexed lines that it forbids.
        n_absent: predicted lines that it explains as absent.
    """

    symbol: str
    space_groups: tuple[str, ...]
    n_forbidden: int
    n_absent: int
