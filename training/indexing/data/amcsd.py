"""Structures of the American Mineralogist Crystal Structure Database, as the PyPI package `larixite` carries them.

The file is ``amcsd_cif1.db`` (SQLite) inside the wheel. Its table ``cif`` holds coordinates, occupancies and U as
base64 of int32, in units of 1 / 4,000,000; two sentinels, 2.0 and 3.0, stand for "?" and ".".
"""

from __future__ import annotations

import json
import re
import sqlite3
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gemmi
import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput

_SCALE = 4.0e6
_UNKNOWN = (2.0, 3.0)
_QUERY = """
SELECT cif.id, minerals.name, cif.formula, spacegroups.symmetry_xyz, cif.a, cif.b, cif.c, cif.alpha, cif.beta,
       cif.gamma, cif.cell_volume, cif.atoms_sites, cif.atoms_x, cif.atoms_y, cif.atoms_z, cif.atoms_occupancy,
       cif.atoms_u_iso
FROM cif JOIN spacegroups ON spacegroups.id = cif.spacegroup_id LEFT JOIN minerals ON minerals.id = cif.mineral_id
"""
# Labels that name a group of atoms; its scattering is that of the heavy one.
_GROUPS = {"Wat": "O", "NH": "N", "CH": "C", "OH": "O", "OD": "O"}


@dataclass(frozen=True)
class Site:
    """One atom of the asymmetric unit.

    Attributes:
        label: as published.
        element: chemical symbol; X where the label names none.
        fract: fractional coordinates, shape (3,).
        occupancy: share of the site that this atom fills, without regard to its multiplicity.
        u_iso_ang2: isotropic displacement; None where none was published.
    """

    label: str
    element: str
    fract: Float[np.ndarray, "axis"]
    occupancy: float
    u_iso_ang2: float | None


@dataclass(frozen=True)
class Structure:
    """One published structure; ``space_group`` is None for the settings that gemmi's tables do not hold."""

    amcsd_id: int
    name: str
    formula: str
    space_group: gemmi.SpaceGroup | None
    cell: gemmi.UnitCell
    volume_published_ang3: float | None
    sites: tuple[Site, ...]


def read_structures(path: Path, *, ids: tuple[int, ...] | None = None) -> Iterator[Structure]:
    """Yield the structures of the database in the order of their ids; rows without sites or cell are left out.

    Raises:
        InvalidInput: the file is not there or is not this database.
    """
    if not path.is_file():
        raise InvalidInput("the structure database is not there: expected amcsd_cif1.db of the package larixite")
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        for row in connection.execute(_QUERY + " ORDER BY cif.id"):
            if ids is None or row[0] in ids:
                structure = _structure(row)
                if structure is not None:
                    yield structure
    except sqlite3.DatabaseError as error:
        raise InvalidInput("the structure database cannot be read: expected amcsd_cif1.db of larixite") from error
    finally:
        connection.close()


def element_of(label: str) -> str:
    """Return the element that a site label begins with (`FeM1` is Fe, `Ow` is O, `Wat` is O); X where none."""
    letters = re.match(r"[A-Za-z]*", label).group()  # pyright: ignore[reportOptionalMemberAccess]
    for group, element in _GROUPS.items():
        if letters.startswith(group):
            return element
    for symbol in (letters[:2], letters[:1]):
        if symbol and symbol == symbol.capitalize() and gemmi.Element(symbol).atomic_number > 0:
            return symbol
    return "X"


def _structure(row: tuple) -> Structure | None:
    amcsd_id, name, formula, operations, *rest = row
    cell = [_number(text) for text in rest[:6]]
    sites = _sites(*rest[7:])
    if None in cell or not sites:
        return None
    group = gemmi.GroupOps([gemmi.Op(triplet) for triplet in json.loads(operations)])
    return Structure(
        amcsd_id=amcsd_id,
        name=name or "",
        formula=formula or "",
        space_group=gemmi.find_spacegroup_by_ops(group),
        cell=gemmi.UnitCell(*cell),
        volume_published_ang3=_number(rest[6]),
        sites=sites,
    )


def _sites(labels: str, x: str, y: str, z: str, occupancy: str, u_iso: str) -> tuple[Site, ...]:
    names = json.loads(labels) if labels and labels != "0" else []
    if not isinstance(names, list):
        return ()
    coordinates = [_floats(text) for text in (x, y, z)]
    if any(len(values) != len(names) for values in coordinates):
        return ()
    occupancies = _floats(occupancy) or [1.0] * len(names)
    displacements = _floats(u_iso) or [None] * len(names)
    return tuple(
        Site(label, element_of(label), np.array(fract, dtype=float), 1.0 if share is None else share, u)
        for label, fract, share, u in zip(
            names, zip(*coordinates, strict=True), occupancies, displacements, strict=True
        )
    )


def _floats(text: str | None) -> list[float | None]:
    if text in (None, "", "0"):
        return []
    values = np.frombuffer(b64decode(text), dtype="<i4") / _SCALE  # pyright: ignore[reportArgumentType]
    return [None if min(abs(value - mark) for mark in _UNKNOWN) < 1e-5 else float(value) for value in values]


def _number(text: str | None) -> float | None:
    match = re.match(r"\s*-?\d*\.?\d+", (text or "").replace(",", "."))
    return float(match.group()) if match else None
