"""The solver: from observed lines to ranked cells. A pure function of (peaks, options, seed), but for the clock.

Rounds of generators propose candidates lattice by lattice; each candidate is grown to all lines and weighed by its
evidence; the families are ranked after each round. The solver ends as soon as one family is beyond doubt, when all
rounds are done, at its deadline, or when it is told to stop, with the best so far. Where a model tells the odds of the
lattices, the same searches are done in smaller stages, in the order of what they are worth.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

import numpy as np

from app.crystallography.lattice import LATTICES
from app.crystallography.metric import cell_from_x
from app.errors import InvalidInput
from app.indexing.compiled import CACHE
from app.indexing.cores import usable_cores
from app.indexing.learned.from_networks import FromNetworks
from app.indexing.learned.models import NOTHING_LEARNED, Learned, Regression
from app.indexing.learned.probability import cut
from app.indexing.peaks import MIN_LINES
from app.indexing.problem import (
    BRAVAIS,
    OnProgress,
    PeakList,
    Progress,
    SearchReport,
    ShouldStop,
    Solution,
    SolveOptions,
    SolveResult,
)
from app.indexing.ranking import Found, families, in_convention, ranked, with_relatives
from app.indexing.search.cells import Limits
from app.indexing.search.exhaustive import Exhaustive
from app.indexing.search.generator import Effort, Generator
from app.indexing.search.hypotheses import Hypotheses, grown_and_weighed
from app.indexing.search.low_order import LowOrder
from app.indexing.search.observed import Observed, observed_from
from app.indexing.search.volume import ByVolume
from app.indexing.search.zones import Zones
from app.indexing.search_order import GENERATORS, Step, in_lots, remaining
from app.indexing.solution import n_unindexed, solutions_from
from app.indexing.walk.kernels import NO_GPU, gpu_ready

LEAST_VOLUME_ANG3 = 8.0
"""Smallest primitive volume: an atom needs as much."""
UNBOUNDED_VOLUME_ANG3 = 1e6
SURE_LOG_ODDS = 12.0
"""Evidence against chance above which a cell may be beyond doubt."""
SURE_GAP = 7.0
"""Evidence against the next family above which it is."""
CONTENDING = 15.0
"""A cell that is so far behind the first one has no part in how sure that is."""
LEAST_ODDS = 1e-6
"""Of the lattices that are asked for, together: below, they are not taken for the only ones."""
LESS_TO_FIND = 0.25
"""The families are ranked anew when the chance to find more has fallen to this share."""
TEMPERATURE = 3.0
"""Evidence is divided by this before it becomes a probability: the lines know less than they seem to."""
PRIOR_SHARE = 0.2
"""The zero shift's standard deviation, as a share of the largest that is looked for."""
NEAR_RELATIVES, FAR_RELATIVES = (2,), (2, 3, 4)
"""Indices of the sublattices and superlattices that are weighed beside a cell beyond doubt, and beside any other."""
FAMILIES = 20
"""Families that are compared at least."""
COUNTED_LINES = 20
"""Lines among which unindexed ones count as impurities."""
NO_DEADLINE_S = 3600.0
_COMPILING = threading.Lock()
DRAWS = 900
"""Cells that are drawn for the walk where a model knows the lattice. Of 84 hard patterns they find 60 cells, and random
starts, which take half as long again, find 40."""
NO_SHIFT_DEG = 1e-5
"""Standard deviation of a zero shift that is not looked for."""


@dataclass(frozen=True)
class Round:
    """One pass over the lattices.

    Attributes:
        generator: what proposes.
        level: effort, see `Effort`.
        shifts: zero shifts to take off the lines beforehand, as shares of the largest that is looked for.
        impurities: lines that an exhaustive search may leave unexplained.
        systems: lattice systems to search; None takes all that the generator knows.
        last_resort: for patterns where no cell is convincing so far.
    """

    generator: Generator
    level: int = 0
    shifts: tuple[float, ...] = (0.0,)
    impurities: int = 0
    systems: frozenset[str] | None = None
    last_resort: bool = False

    def covers(self, bravais: str) -> bool:
        """Tell whether the round searches this lattice."""
        system = LATTICES[bravais].system
        return bravais in self.generator.lattices and (self.systems is None or system in self.systems)


ORTHOGONAL = frozenset({"cubic", "tetragonal", "hexagonal", "rhombohedral", "orthorhombic"})
OBLIQUE = frozenset({"monoclinic", "triclinic"})


@dataclass(frozen=True)
class Stage:
    """What is searched before the families are looked at anew.

    Attributes:
        tasks: round, lattice, and zero shift in degrees to take off the lines beforehand.
        last_resort: for patterns where no cell is convincing so far.
        left: probability that what comes after finds the true cell and nothing before does; None where nobody knows.
    """

    tasks: tuple[tuple[Round, str, float], ...]
    last_resort: bool = False
    left: float | None = None


Rounds = Sequence[Sequence[Round]]
ROUNDS: Rounds = (
    (Round(LowOrder()), Round(Exhaustive(), systems=ORTHOGONAL)),
    (Round(Zones()), Round(LowOrder(), level=1), Round(LowOrder(), shifts=(-0.7, 0.7))),
    (
        Round(Exhaustive(), impurities=1, systems=ORTHOGONAL, last_resort=True),
        Round(Zones(), shifts=(-0.7, 0.7), last_resort=True),
        Round(ByVolume(), systems=OBLIQUE, last_resort=True),
    ),
)
"""What is tried, one after another, until the answer is beyond doubt."""


def solve(
    peaks: PeakList,
    options: SolveOptions | None = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    rounds: Rounds = ROUNDS,
    learned: Learned = NOTHING_LEARNED,
) -> SolveResult:
    """Index a list of lines.

    Args:
        peaks: at least six lines, ascending in q^2.
        options: what to search and for how long.
        on_progress: called after each lattice of each round, and whenever the families were ranked.
        should_stop: asked every few milliseconds; True ends the search with the best so far.
        rounds: what to try, one after another, until the answer is beyond doubt.
        learned: parts that models bring; every one may be missing.

    Raises:
        InvalidInput: an unknown lattice, fewer than six lines, or lines that are no positions or not in order.
    """
    options = options or SolveOptions()
    _check(peaks, options)
    compile_all()
    return _Search(peaks, options, on_progress, should_stop, rounds, learned).run()


def compile_all() -> None:
    """Compile what is not yet on disk: a minute, once for each version on a machine, and not on a caller's clock."""
    ready = CACHE / "ready"
    with _COMPILING:
        if not ready.exists():
            # Lines of no lattice go through all rounds.
            lines = PeakList(np.cumsum(np.geomspace(0.011, 0.004, 12)), wavelength_ang=1.5406)
            options = SolveOptions(lattices=("cP", "mP", "aP"), max_seconds=NO_DEADLINE_S)
            _Search(lines, options, None, None).run()
            ready.touch()


def with_mixture(generator: Generator, bravais: str, regression: Regression | None) -> Generator:
    """Walk from cells that were learned where that is possible, from random ones otherwise."""
    if regression is None or bravais not in regression.lattices or not isinstance(generator, ByVolume):
        return generator
    return FromNetworks(regression, n_network=DRAWS)


def search_bounds(peaks: PeakList, options: SolveOptions) -> tuple[Observed, Limits, float]:
    """Give the lines as the search takes them, the bounds on cells, and the zero shift's expected size in degrees.

    Raises:
        InvalidInput: as `solve`.
    """
    _check(peaks, options)
    search = _Search(peaks, options, None, None)
    return search.observed, search.limits, search.zero_sigma


def _check(peaks: PeakList, options: SolveOptions) -> None:
    unknown = sorted(set(options.lattices) - set(BRAVAIS))
    if unknown or not options.lattices:
        raise InvalidInput(f"lattices: found {unknown or 'none'}; choose from {', '.join(BRAVAIS)}")
    if options.device == "gpu" and not gpu_ready():
        raise InvalidInput(NO_GPU)
    _check_lines(peaks)


def _check_lines(peaks: PeakList) -> None:
    q2 = np.asarray(peaks.q2_inv_ang2, dtype=float)
    if len(q2) < MIN_LINES:
        raise InvalidInput(f"q2_inv_ang2: found {len(q2)} lines; at least {MIN_LINES} are needed")
    if not (np.all(np.isfinite(q2)) and q2[0] > 0 and np.all(np.diff(q2) >= 0)):
        raise InvalidInput("q2_inv_ang2: expected positive, finite values in ascending order")


@dataclass
class _Search:
    """The state of one solve."""

    peaks: PeakList
    options: SolveOptions
    on_progress: OnProgress | None
    should_stop: ShouldStop | None
    rounds: Rounds = ROUNDS
    learned: Learned = NOTHING_LEARNED
    started: float = field(default_factory=time.monotonic)
    batches: list[Hypotheses] = field(default_factory=list)
    reports: list[SearchReport] = field(default_factory=list)
    best: tuple[Found, ...] = ()
    leader: Solution | None = None
    # What there was to find when the families were last ranked, see `Stage`.
    left: float = 1.0
    # The first family, and the indices of its sublattices and superlattices that are weighed already.
    related: tuple[Found, tuple[int, ...]] | None = None
    done: set[str] = field(default_factory=set)
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.observed = observed_from(self.peaks, max_peaks=self.options.max_peaks)
        options = self.options
        volume = options.max_volume_ang3 or UNBOUNDED_VOLUME_ANG3
        # Floats, because compiled code is compiled anew for whole numbers.
        bounds = (options.min_length_ang, options.max_length_ang, LEAST_VOLUME_ANG3, volume)
        self.limits = Limits(*(float(bound) for bound in bounds))
        shift = options.zero_shift_deg if self.peaks.wavelength_ang is not None else 0.0
        self.max_shift = shift
        self.device = "gpu" if options.device != "cpu" and gpu_ready() else "cpu"
        self.zero_sigma = max(PRIOR_SHARE * shift, NO_SHIFT_DEG)

    def run(self) -> SolveResult:
        stopped = "complete"
        for stage in self._stages():
            if stage.last_resort and _is_convincing(self.best):
                break
            self._run_stage(stage)
            if self._out_of_time():
                stopped = "cancelled" if self.cancelled else "deadline"
                break
            if stage.left is None or self._is_promising() or stage.left < LESS_TO_FIND * self.left:
                self._look()
                self.left = stage.left or 0.0
            if self._is_settled(stage):
                stopped = "certain" if _is_certain(self.best) else "settled"
                break
        if self.batches:
            self._look()
        return self._result(stopped)

    def _stages(self) -> Iterator[Stage]:
        odds = self.learned.odds
        if odds is None or self.rounds is not ROUNDS:
            yield from (
                Stage(tuple(self._tasks(rounds)), last_resort=all(one.last_resort for one in rounds))
                for rounds in self.rounds
            )
            return
        probability = np.where(np.isin(BRAVAIS, self.options.lattices), odds.probabilities(self.observed), 0.0)
        probability /= max(float(probability.sum()), LEAST_ODDS)
        steps = [step for step in odds.steps if step.shift == 0.0 or self.max_shift > 0.0]
        lots = in_lots(steps, probability, self.options.lattices)
        for i, lot in enumerate(lots):
            left = remaining((step for later in lots[i + 1 :] for step in later), probability)
            yield Stage(tuple(self._task(step) for step in lot), left=left)

    def _task(self, step: Step) -> tuple[Round, str, float]:
        one = Round(GENERATORS[step.generator](step), level=step.level, impurities=step.impurities)
        return one, step.lattice, step.shift * self.max_shift

    def _is_promising(self) -> bool:
        """Tell whether a cell that is not ranked yet is convincing, and may lead or contend."""
        found = max((float(batch.log_odds[0]) for batch in self.batches if len(batch)), default=-np.inf)
        return found >= max(SURE_LOG_ODDS, self.best[0].log_odds - CONTENDING if self.best else -np.inf)

    def _look(self) -> None:
        self.best = self._ranked()
        if self.on_progress is not None:
            self.leader = next(iter(self._solutions(1)), None)
            self._tell(sum(report.n_candidates for report in self.reports))

    def _is_settled(self, stage: Stage) -> bool:
        if stage.left is None or self.learned.odds is None:
            return _is_certain(self.best)
        if not self.best:
            return False
        return self.learned.odds.doubt.is_settled(self.best, len(self.observed.q2), stage.left)

    def _run_stage(self, stage: Stage) -> None:
        with ThreadPoolExecutor(usable_cores()) as pool:
            running: dict[Future[tuple[Hypotheses, SearchReport]], str] = {
                pool.submit(self._search, one, bravais, shift): bravais for one, bravais, shift in stage.tasks
            }
            left, spent = list(running.values()), sum(report.n_candidates for report in self.reports)
            for done in as_completed(running):
                left.remove(running[done])
                spent += done.result()[1].n_candidates
                self.done |= {running[done]} - set(left)
                self._tell(spent)
            # Threads finish in any order: the answer must not depend on it.
            for one in running:
                self.batches.append(one.result()[0])
                self.reports.append(one.result()[1])

    def _tasks(self, rounds: Sequence[Round]) -> Iterator[tuple[Round, str, float]]:
        """From the highest symmetry to the lowest: the quick ones have been searched when little time is given."""
        for bravais in sorted(self.options.lattices, key=BRAVAIS.index):
            for one in rounds:
                for share in one.shifts:
                    if one.covers(bravais) and (share == 0.0 or self.max_shift > 0.0):
                        yield one, bravais, share * self.max_shift

    def _search(self, one: Round, bravais: str, shift: float) -> tuple[Hypotheses, SearchReport]:
        started = time.monotonic()
        effort = Effort(
            level=one.level,
            max_impurities=one.impurities,
            seed=self.options.seed,
            device=self.device,
            templates=self.learned.templates,
            stop=self._out_of_time,
        )
        generator = with_mixture(one.generator, bravais, self.learned.regression)
        proposal = generator.propose(bravais, self.observed.shifted(shift), self.limits, effort)
        found = grown_and_weighed(
            bravais,
            proposal.x,
            self.observed,
            self.limits,
            generator=generator.name,
            zero_start_deg=shift,
            zero_sigma_deg=self.zero_sigma,
        )
        best = float(found.log_odds[0]) if len(found) else None
        seconds = time.monotonic() - started
        return found, SearchReport(bravais, found.generator, proposal.n_tried, proposal.complete, seconds, best)

    def _ranked(self) -> tuple[Found, ...]:
        """Rank what is known, and the relatives of the best with it."""
        # A short answer is cut from a long ranking, which alone tells how sure the first cell is.
        count = max(self.options.max_solutions, FAMILIES)
        found = families(
            (*self.best, *ranked(self.batches, self.observed, count=count, wanted=self._is_wanted)), count=count
        )
        self.batches = []
        indices = NEAR_RELATIVES if _is_certain(found) else FAR_RELATIVES
        known = self.related[1] if self.related and found and self.related[0] is found[0] else ()
        if not set(indices) <= set(known) and not self._out_of_time():
            known = indices
            found = with_relatives(
                found,
                self.observed,
                self.limits,
                count=count,
                wanted=self._is_wanted,
                zero_sigma_deg=self.zero_sigma,
                indices=indices,
            )
        best = tuple(one for one in map(in_convention, found) if self._is_within_bounds(one))
        self.related = (best[0], known) if best else None
        return best

    def _is_wanted(self, found: Found) -> bool:
        allowed, lines = self.options.max_impurities, self.observed.shifted(found.zero_shift_deg).q2
        return (
            found.bravais in self.options.lattices
            and abs(found.zero_shift_deg) <= max(self.max_shift, NO_SHIFT_DEG)
            # At small angles a wide shift would take lines past each other and past 0.
            and bool(lines[0] > 0 and np.all(np.diff(lines) >= 0))
            and (allowed is None or n_unindexed(found, self.observed, first=COUNTED_LINES) <= allowed)
        )

    def _is_within_bounds(self, found: Found) -> bool:
        """The search keeps the bounds in the setting that it comes upon; the answer is in the conventional one."""
        lengths = cell_from_x(LATTICES[found.bravais], found.x).constants[:3]
        return self.limits.min_length <= min(lengths) and max(lengths) <= self.limits.max_length

    def _out_of_time(self) -> bool:
        if self.should_stop is not None and not self.cancelled and self.should_stop():
            self.cancelled = True
        return self.cancelled or time.monotonic() - self.started > self.options.max_seconds

    def _solutions(self, count: int) -> tuple[Solution, ...]:
        return solutions_from(
            self.best[:count],
            self.observed,
            self.peaks.wavelength_ang,
            temperature=TEMPERATURE,
            zero_sigma_deg=self.zero_sigma,
        )

    def _confidence(self) -> float:
        """The first family's share of the posterior, in which chance, of log-odds 0, has one, too."""
        log_odds = np.array([0.0, *(one.log_odds for one in self.best)]) / TEMPERATURE
        share = np.exp(log_odds - log_odds.max())
        return float(share[1] / share.sum()) if self.best else 0.0

    def _tell(self, spent: int) -> None:
        if self.on_progress is None:
            return
        done = tuple(bravais for bravais in self.options.lattices if bravais in self.done)
        seconds = time.monotonic() - self.started
        self.on_progress(Progress(done, self.options.lattices, spent, seconds, self.leader))

    def _result(self, stopped: str) -> SolveResult:
        """A short answer has the probabilities of the long one that it is cut from."""
        probability, count = self.learned.probability, self.options.max_solutions
        if probability is None:
            return self._evident(stopped, count)
        return cut(probability.answered(self._evident(stopped, len(self.best))), count)

    def _evident(self, stopped: str, count: int) -> SolveResult:
        """The answer as the evidence has it."""
        return SolveResult(
            solutions=self._solutions(count),
            stopped=stopped,
            confidence=self._confidence(),
            searches=tuple(self.reports),
            n_candidates=sum(report.n_candidates for report in self.reports),
            seconds=time.monotonic() - self.started,
            seed=self.options.seed,
            device=self.device,
        )


def _is_convincing(found: Sequence[Found]) -> bool:
    return bool(found) and found[0].log_odds >= SURE_LOG_ODDS


def _is_certain(found: Sequence[Found]) -> bool:
    """Tell whether the first family is beyond doubt among those known."""
    return _is_convincing(found) and (len(found) == 1 or found[0].log_odds - found[1].log_odds > SURE_GAP)
