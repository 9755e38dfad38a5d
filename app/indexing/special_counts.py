"""How many lattices have the metric of a more symmetric relative, by kind: structures of the American Mineralogist
Crystal Structure Database.

Distinct lattices, without the structures that evaluation keeps for itself, whose sub- or superlattice of index 2 or 3
is of higher symmetry to within 0.2% and 0.002 rad (`python -m training.indexing special-metrics` counts them again).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SPECIAL_COUNTS: Mapping[str, tuple[int, Mapping[tuple[str, float], int]]] = MappingProxyType(
    {
        "oP": (
            493,
            {
                ("cF", 0.5): 4,
                ("cP", 0.5): 1,
                ("cP", 2.0): 4,
                ("hP", 0.5): 8,
                ("hP", 2.0): 8,
                ("tP", 0.333): 5,
                ("tP", 0.5): 7,
                ("tP", 2.0): 7,
                ("tP", 3.0): 5,
            },
        ),
        "oC": (
            162,
            {
                ("cI", 2.0): 1,
                ("cP", 0.5): 1,
                ("hP", 0.333): 1,
                ("hP", 3.0): 1,
                ("tI", 0.5): 8,
                ("tP", 0.333): 1,
                ("tP", 2.0): 11,
                ("tP", 3.0): 1,
            },
        ),
        "mC": (
            231,
            {
                ("hP", 0.333): 3,
                ("hP", 0.5): 2,
                ("hP", 2.0): 2,
                ("hP", 3.0): 8,
                ("hR", 0.333): 6,
                ("oC", 0.333): 8,
                ("oC", 2.0): 4,
                ("oC", 3.0): 4,
                ("oF", 0.333): 2,
                ("oF", 3.0): 2,
                ("oI", 0.5): 4,
                ("tI", 0.5): 1,
                ("tP", 2.0): 1,
            },
        ),
        "mP": (
            247,
            {
                ("hR", 0.5): 1,
                ("hR", 2.0): 1,
                ("oC", 0.333): 3,
                ("oC", 0.5): 6,
                ("oC", 2.0): 6,
                ("oC", 3.0): 3,
                ("oP", 0.333): 8,
                ("oP", 3.0): 8,
            },
        ),
    }
)
"""By Bravais lattice: how many, and of how many a relative has that lattice and so many times the volume."""
