"""What came of one case in one program, and where in its answer the true cell stands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.indexing.cases import Case
from benchmarks.indexing.criterion import derivative_index, n_explained, same_constants, same_lattice


@dataclass(frozen=True)
class Found:
    """One answered cell.

    Attributes:
        bravais: as the program says.
        niggli: its Niggli-reduced cell.
        m20: de Wolff's figure of merit as the program says.
        zero_shift_deg: that the program fitted.
    """

    bravais: str
    niggli: tuple[float, ...]
    m20: float = 0.0
    zero_shift_deg: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """One case in one program.

    Attributes:
        rank: place of the true lattice in the answer, from 1; 0 where it is not among the first 20.
        plain_rank: the same where the Niggli constants are compared as they stand.
        rank_by: the place that other orders of the same answer would give it.
        derivative: n if the first cell is the true lattice n times larger (-n: smaller) and explains as many lines.
        first: the first cell.
        true_m20: figure of merit that the program gives the true cell; 0 where it was not found.
        wall_s, cpu_s: of the solve alone.
        candidates: as the program counts them; 0 where it does not.
        problem: why there is no answer.
    """

    case_id: str
    bravais: str
    rank: int = 0
    plain_rank: int = 0
    rank_by: dict[str, int] = field(default_factory=dict)
    derivative: int = 0
    first: Found | None = None
    true_m20: float = 0.0
    wall_s: float = 0.0
    cpu_s: float = 0.0
    candidates: int = 0
    stopped: str = ""
    confidence: float = 0.0
    found_by: str = ""
    problem: str = ""


SHOWN = 20
_SYMMETRY = {"c": 0, "t": 1, "h": 2, "r": 2, "o": 3, "m": 4, "a": 5}
_DICVOL_M20 = 10.0


def _as_answered(found: Sequence[Found]) -> list[int]:
    return list(range(len(found)))


def _by_m20(found: Sequence[Found]) -> list[int]:
    return sorted(range(len(found)), key=lambda index: -found[index].m20)


def _by_dicvol(found: Sequence[Found]) -> list[int]:
    """Put the highest symmetry with M20 >= 10 first, the larger M20 first within a symmetry (Louer & Boultif, 1991)."""

    def key(index: int) -> tuple[bool, int, float]:
        cell = found[index]
        good = cell.m20 >= _DICVOL_M20
        return not good, _SYMMETRY[cell.bravais[0]] if good else 0, -cell.m20

    return sorted(range(len(found)), key=key)


RULES: dict[str, Callable[[Sequence[Found]], list[int]]] = {
    "ours": _as_answered,
    "m20": _by_m20,
    "dicvol": _by_dicvol,
}
"""Orders of one answer; `ours` is that of the program itself."""


def judge(case: Case, found: Sequence[Found], *, rule: str = "ours") -> Outcome:
    """Say where the true cell stands among the first 20 of ``found`` in the order of ``rule``."""
    right = [same_lattice(cell.niggli, case.niggli) for cell in found[:SHOWN]]
    plain = [same_constants(cell.niggli, case.niggli) for cell in found[:SHOWN]]
    orders = {name: order(found[:SHOWN]) for name, order in RULES.items()}
    rank = _place(right, orders[rule])
    first = found[orders[rule][0]] if found else None
    return Outcome(
        case_id=case.id,
        bravais=case.bravais,
        rank=rank,
        plain_rank=_place(plain, orders[rule]),
        rank_by={name: _place(right, order) for name, order in orders.items()},
        derivative=_derivative(case, first) if first is not None and rank != 1 else 0,
        first=first,
        true_m20=found[orders[rule][rank - 1]].m20 if rank else 0.0,
    )


def _place(right: Sequence[bool], order: Sequence[int]) -> int:
    return next((place for place, index in enumerate(order, start=1) if right[index]), 0)


def _derivative(case: Case, first: Found) -> int:
    index = derivative_index(first.niggli, case.niggli)
    if not index:
        return 0
    lines = case.two_theta_deg[:SHOWN]
    true = n_explained(lines - case.zero_shift_deg, case.wavelength_ang, case.niggli)
    explained = n_explained(lines - first.zero_shift_deg, case.wavelength_ang, first.niggli)
    return index if explained >= true else 0
