"""Cells that tests share: one of each Bravais lattice, and a strategy for random ones."""

from __future__ import annotations

from hypothesis import strategies as st

from app.crystallography.cell import UnitCell
from app.crystallography.lattice import LATTICES, BravaisLattice

CORUNDUM = UnitCell(4.7592, 4.7592, 12.9946, 90.0, 90.0, 120.0)
QUARTZ = UnitCell(4.91344, 4.91344, 5.40524, 90.0, 90.0, 120.0)
NAC = UnitCell(10.2510, 10.2510, 10.2510, 90.0, 90.0, 90.0)

EXAMPLES = {
    symbol: UnitCell(
        *(
            {"a_ang": 5.1, "b_ang": 6.7, "c_ang": 8.3, "alpha_deg": 81.0, "beta_deg": 103.0, "gamma_deg": 97.0}[value]
            if isinstance(value, str)
            else value
            for value in lattice.form.setting
        )
    )
    for symbol, lattice in LATTICES.items()
}


@st.composite
def cells(draw: st.DrawFn, lattice: BravaisLattice) -> UnitCell:
    """Draw a cell with the lattice's metric, none of them flat."""
    free = {name: draw(st.floats(2.0, 40.0)) for name in ("a_ang", "b_ang", "c_ang")}
    free |= {name: draw(st.floats(65.0, 115.0)) for name in ("alpha_deg", "beta_deg", "gamma_deg")}
    return UnitCell(*(free[v] if isinstance(v, str) else v for v in lattice.form.setting))
