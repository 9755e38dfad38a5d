"""What the solver answers to patterns of known lattices: the data that its probabilities are fitted on.

Case ``i`` of a seed is always the same list of lines. The answers are appended as they come, so that a run that was
broken off goes on where it was, and several may be put together.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np

import app.indexing
from app.crystallography.cell import UnitCell
from app.crystallography.reduction import same_lattice
from app.errors import InvalidInput
from app.indexing.answer import result_content, result_from_content
from app.indexing.learned.models import Learned
from app.indexing.learned.shelf import Shelf
from app.indexing.peaks import MIN_LINES
from app.indexing.problem import PeakList, SolveOptions, SolveResult
from app.indexing.solve import solve
from training.indexing.data.amcsd import Structure, read_structures
from training.indexing.outcomes.conditions import Conditions, draw_conditions, listed
from training.indexing.outcomes.sources import (
    EvaluationCase,
    Known,
    Shelves,
    Truth,
    arranged,
    choose,
    lines_of,
    random_crystal,
    truth_of,
)

RANDOM_CRYSTALS: Final = 0.25
"""Share of patterns that come from random molecular crystals."""
FOREIGN_VOLUME_ANG3: Final = 600.0
"""Largest primitive cell of an impurity: those have few lines, and strong ones."""
NO_DEADLINE_S: Final = 3600.0
LENGTH_REL: Final = 0.015
ANGLE_DEG: Final = 1.5
_SOLVER: Final = ("solve.py", "ranking.py", "solution.py", "assignments.npz")
_LINE_KEYS: Final = ("q2_observed_inv_ang2", "hkl", "q2_calculated_inv_ang2", "delta_two_theta_deg")

Solve = Callable[[PeakList, SolveOptions, Callable[[], bool]], SolveResult]


@dataclass(frozen=True)
class Case:
    """One list of lines whose lattice is known; ``name`` is its own."""

    name: str
    truth: Truth
    conditions: Conditions
    peaks: PeakList


@dataclass(frozen=True)
class Outcome:
    """One case and its answer.

    Attributes:
        right: whether each solution is the true lattice: its Niggli constants agree within 1.5 % and 1.5 deg.
        solver: digest of the solver's sources.
        cpu_s, seconds: that it took.
    """

    case: Case
    result: SolveResult
    right: tuple[bool, ...]
    solver: str = ""
    cpu_s: float = 0.0
    seconds: float = 0.0


# --- cases ------------------------------------------------------------------------------------------------------------


def case_name(seed: int, number: int) -> str:
    """Give the name of a drawn case."""
    return f"{seed}-{number}"


def drawn_cases(numbers: Iterable[int], seed: int, catalogue: Sequence[Known], database: Path | None) -> Iterator[Case]:
    """Make the cases of these numbers; a pattern with too few lines is passed over.

    Args:
        numbers: which.
        seed: of all of them; a case depends on its own number alone.
        catalogue: structures to choose from.
        database: where they are read; without one, all are random crystals.

    Raises:
        InvalidInput: the database cannot be read.
    """
    chosen = catalogue if database else ()
    shelves = arranged(chosen), arranged([known for known in chosen if known.volume_ang3 < FOREIGN_VOLUME_ANG3])
    plans = [_plan(number, seed, *shelves) for number in numbers]
    ids = {known.amcsd_id for _, _, own, foreign in plans for known in (own, foreign) if known is not None}
    structures = {one.amcsd_id: one for one in read_structures(database, ids=tuple(ids))} if database and ids else {}
    for rng, name, own, foreign in plans:
        case = _case(rng, name, own, foreign, structures)
        if len(case.peaks.q2_inv_ang2) >= MIN_LINES:
            yield case


_Plan = tuple[np.random.Generator, str, Known | None, Known | None]


def _plan(number: int, seed: int, shelves: Shelves, small: Shelves) -> _Plan:
    rng = np.random.default_rng([seed, number])
    own = None if rng.random() < RANDOM_CRYSTALS or not shelves else choose(shelves, rng)
    return rng, case_name(seed, number), own, choose(small, rng) if small else None


def _case(
    rng: np.random.Generator, name: str, own: Known | None, foreign: Known | None, structures: Mapping[int, Structure]
) -> Case:
    conditions = draw_conditions(rng)
    if own is None:
        truth, lines = random_crystal(f"crystal-{name}", conditions, rng)
    else:
        truth, lines = truth_of(own), lines_of(structures[own.amcsd_id], conditions)
    other = None
    if conditions.impurities and conditions.foreign == "structure" and foreign is not None:
        other = lines_of(structures[foreign.amcsd_id], replace(conditions, weakest_percent=3.0))
    return Case(name, truth, conditions, listed(lines, conditions, rng, other))


def evaluation_cases(
    cases: Iterable[EvaluationCase], *, impurities: int = 0, zero_shift_deg: float = 0.0, seed: int = 1
) -> Iterator[Case]:
    """Give the cases of an evaluation set as they are, or with random foreign lines and a zero shift."""
    for number, one in enumerate(cases):
        conditions = Conditions(
            wavelength_ang=one.wavelength_ang, impurities=impurities, zero_shift_deg=zero_shift_deg, weakest_percent=0.0
        )
        peaks = listed(one.lines, conditions, np.random.default_rng([seed, number]))
        name = f"{one.truth.identifier}+{impurities}+{zero_shift_deg:g}"
        yield Case(name, one.truth, conditions, peaks)


# --- answers ----------------------------------------------------------------------------------------------------------


def outcome_of(case: Case, solver: Solve) -> Outcome:
    """Solve a case within its processor time, whatever else the machine does."""
    start, cpu = time.monotonic(), time.process_time()
    spent = partial(_spent, cpu, case.conditions.cpu_s)
    result = solver(case.peaks, SolveOptions(max_seconds=NO_DEADLINE_S), spent)
    if result.stopped == "cancelled":
        result = replace(result, stopped="deadline")
    right = tuple(is_right(solution.niggli, case.truth.niggli) for solution in result.solutions)
    return Outcome(case, result, right, solver_digest(), time.process_time() - cpu, time.monotonic() - start)


def _spent(start: float, allowed: float) -> bool:
    return time.process_time() - start > allowed


def is_right(found: UnitCell, true: Sequence[float]) -> bool:
    """Tell whether a Niggli cell is the true lattice within 1.5 % and 1.5 deg."""
    return same_lattice(UnitCell(*true), found, length_tolerance=LENGTH_REL, angle_tolerance_deg=ANGLE_DEG)


@cache
def solver_digest() -> str:
    """Give what tells one state of the solver from another: a digest of its sources."""
    folder, digest = Path(app.indexing.__path__[0]), hashlib.sha256()
    for path in sorted([*folder.glob("search/*"), *folder.glob("walk/*"), *(folder / name for name in _SOLVER)]):
        if path.is_file():
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@dataclass(frozen=True)
class Solver:
    """The solver as the service runs it, but for the probabilities that are to be fitted.

    Attributes:
        store: model store whose learned parts take part; None for none.
    """

    store: Path | None = None

    def __call__(self, peaks: PeakList, options: SolveOptions, should_stop: Callable[[], bool]) -> SolveResult:
        """Solve one list of lines."""
        return solve(peaks, options, None, should_stop, learned=_learned(self.store))


@cache
def _learned(store: Path | None) -> Learned:
    shelf = Shelf(store)
    return replace(shelf.at_hand(shelf.default()).learned, probability=None)


def run_cases(cases: Iterable[Case], folder: Path, *, solver: Solve = Solver(), jobs: int = 1) -> Iterator[Outcome]:
    """Solve cases and append the answers to a folder; yields each as it is done."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"part-{time.time_ns()}.jsonl.gz").open("ab") as file:
        for outcome in _solved(cases, solver, jobs):
            file.write(gzip.compress((json.dumps(content_of(outcome)) + "\n").encode(), mtime=0))
            file.flush()
            yield outcome


def _solved(cases: Iterable[Case], solver: Solve, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from (outcome_of(case, solver) for case in cases)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        for future in as_completed([pool.submit(outcome_of, case, solver) for case in cases]):
            yield future.result()


# --- files ------------------------------------------------------------------------------------------------------------


def content_of(outcome: Outcome) -> dict[str, Any]:
    """Give an outcome as plain data."""
    case, peaks = outcome.case, outcome.case.peaks
    answer = result_content(outcome.result, wavelength_ang=None)
    for solution in answer["solutions"]:
        solution["lines"] = [{key: line[key] for key in _LINE_KEYS} for line in solution["lines"]]
    return {
        "name": case.name,
        "truth": asdict(case.truth),
        "conditions": asdict(case.conditions),
        "peaks": {key: _plain(value) for key, value in vars(peaks).items()},
        "answer": answer,
        "right": list(outcome.right),
        "solver": outcome.solver,
        "cpu_s": outcome.cpu_s,
        "seconds": outcome.seconds,
    }


def outcome_from(content: Mapping[str, Any]) -> Outcome:
    """Inverse of `content_of`, to the digits that an answer keeps."""
    truth = Truth(**{**content["truth"], "niggli": tuple(content["truth"]["niggli"])})
    peaks = PeakList(**{key: _array(value) for key, value in content["peaks"].items()})
    case = Case(content["name"], truth, Conditions(**content["conditions"]), peaks)
    right = tuple(bool(value) for value in content["right"])
    times = (content["cpu_s"], content["seconds"])
    return Outcome(case, result_from_content(content["answer"]), right, content["solver"], *times)


def read_outcomes(*folders: Path) -> list[Outcome]:
    """Read the outcomes of folders; a case that was solved twice counts as it came out last.

    Raises:
        InvalidInput: a file is no list of outcomes.
    """
    found: dict[str, Outcome] = {}
    for path in sorted(path for folder in folders for path in folder.glob("part-*.jsonl.gz")):
        for line in _lines(path):
            try:
                outcome = outcome_from(json.loads(line))
            except (KeyError, TypeError, ValueError) as error:
                raise InvalidInput(f"{path.name} holds no outcomes; delete it and run `outcomes` again") from error
            found[outcome.case.name] = outcome
    return list(found.values())


def _lines(path: Path) -> Iterator[str]:
    """The complete lines; what a broken-off run left half written is passed over."""
    with gzip.open(path, "rt") as file:
        try:
            for line in file:
                if line.endswith("\n"):
                    yield line
        except EOFError:
            return


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _array(value: Any) -> Any:
    return np.array(value, dtype=float) if isinstance(value, list) else value
