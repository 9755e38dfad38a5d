"""Textbook structures, written out by hand."""

from __future__ import annotations

import gemmi
import numpy as np

from training.indexing.data.amcsd import Site, Structure


def crystal(group: str, cell: tuple[float, ...], *sites: tuple[str, tuple[float, float, float]]) -> Structure:
    unit_cell = gemmi.UnitCell(*cell)
    return Structure(
        amcsd_id=1,
        name="textbook",
        formula="",
        space_group=gemmi.find_spacegroup_by_name(group),
        cell=unit_cell,
        volume_published_ang3=unit_cell.volume,
        sites=tuple(Site(element, element, np.array(fract), 1.0, 0.005) for element, fract in sites),
    )


def cubic(a: float) -> tuple[float, ...]:
    return (a, a, a, 90.0, 90.0, 90.0)


HALITE = crystal("F m -3 m", cubic(5.6402), ("Na", (0, 0, 0)), ("Cl", (0.5, 0.5, 0.5)))
SYLVITE = crystal("F m -3 m", cubic(6.2917), ("K", (0, 0, 0)), ("Cl", (0.5, 0.5, 0.5)))
SILICON = crystal("F d -3 m:1", cubic(5.43102), ("Si", (0, 0, 0)))
CORUNDUM = crystal(
    "R -3 c:H", (4.7592, 4.7592, 12.992, 90.0, 90.0, 120.0), ("Al", (0, 0, 0.35216)), ("O", (0.30624, 0, 0.25))
)
