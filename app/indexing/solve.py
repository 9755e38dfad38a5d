"""The solver: from observed lines to ranked cells. A pure function of (peaks, options, seed), but for the clock.

Rounds of generators propose candidates lattice by lattice; each candidate is grown to all lines and weighed by its
evidence; the families are ranked after each round. The solver ends as soon as one family is beyond doubt, when all
rounds are done, at its deadline, or when it is told to stop, with the best so far.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field

from app.crystallography.lattice import LATTICES
from app.errors import InvalidInput
from app.indexing.problem import (
    BRAVAIS,
    OnProgress,
    PeakList,
    Progress,
    SearchReport,
    ShouldStop,
    SolveOptions,
    SolveResult,
)
from app.indexing.ranking import Found, families, ranked, with_relatives
from app.indexing.search.cells import Limits
from app.indexing.search.generator import Effort, Generator
from app.indexing.search.hypotheses import Hypotheses, grown_and_weighed
from app.indexing.search.low_order import LowOrder
from app.indexing.search.observed import observed_from
from app.indexing.solution import solutions_from

LEAST_VOLUME_ANG3 = 8.0
"""Smallest primitive volume: an atom needs as much."""
UNBOUNDED_VOLUME_ANG3 = 1e6
SURE_LOG_ODDS = 12.0
"""Evidence against chance above which a cell may be beyond doubt."""
SURE_GAP = 8.0
"""Evidence against the next family above which it is."""
TEMPERATURE = 3.0
"""Evidence is divided by this before it becomes a probability: the lines know less than they seem to."""
PRIOR_SHARE = 0.2
"""The zero shift's standard deviation, as a share of the largest that is looked for."""
NO_SHIFT_DEG = 1e-5
"""Standard deviation of a zero shift that is not looked for."""


@dataclass(frozen=True)
class Round:
    """One pass over the lattices.

    Attributes:
        generator: what proposes.
        level: effort, see `Effort`.
        shifts: zero shifts to take off the lines beforehand, as shares of the largest that is looked for.
    """

    generator: Generator
    level: int = 0
    shifts: tuple[float, ...] = (0.0,)


ROUNDS: tuple[tuple[Round, ...], ...] = (
    (Round(LowOrder()),),
    (Round(LowOrder(), level=1), Round(LowOrder(), shifts=(-0.7, 0.7))),
)
"""What is tried, one after another, until the answer is beyond doubt."""


def solve(
    peaks: PeakList,
    options: SolveOptions | None = None,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    rounds: Sequence[Sequence[Round]] = ROUNDS,
) -> SolveResult:
    """Index a list of lines.

    Args:
        peaks: at least six lines, ascending in q^2.
        options: what to search and for how long.
        on_progress: called after each lattice of each round.
        should_stop: asked every few milliseconds; True ends the search with the best so far.
        rounds: what to try, one after another, until the answer is beyond doubt.

    Raises:
        InvalidInput: an unknown lattice, or fewer lines than a lattice has parameters.
    """
    options = options or SolveOptions()
    unknown = sorted(set(options.lattices) - set(BRAVAIS))
    if unknown or not options.lattices:
        raise InvalidInput(f"lattices: found {unknown or 'none'}; choose from {', '.join(BRAVAIS)}")
    return _Search(peaks, options, on_progress, should_stop, rounds).run()


@dataclass
class _Search:
    """The state of one solve."""

    peaks: PeakList
    options: SolveOptions
    on_progress: OnProgress | None
    should_stop: ShouldStop | None
    rounds: Sequence[Sequence[Round]] = ROUNDS
    started: float = field(default_factory=time.monotonic)
    batches: list[Hypotheses] = field(default_factory=list)
    reports: list[SearchReport] = field(default_factory=list)
    best: tuple[Found, ...] = ()
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.observed = observed_from(self.peaks, max_peaks=self.options.max_peaks)
        options = self.options
        volume = options.max_volume_ang3 or UNBOUNDED_VOLUME_ANG3
        self.limits = Limits(options.min_length_ang, options.max_length_ang, LEAST_VOLUME_ANG3, volume)
        shift = options.zero_shift_deg if self.peaks.wavelength_ang is not None else 0.0
        self.max_shift = shift
        self.zero_sigma = max(PRIOR_SHARE * shift, NO_SHIFT_DEG)

    def run(self) -> SolveResult:
        stopped = "complete"
        for rounds in self.rounds:
            self._run_round(rounds)
            self.best = self._ranked()
            if self._out_of_time():
                stopped = "cancelled" if self.cancelled else "deadline"
                break
            if self._certain():
                stopped = "certain"
                break
        return self._result(stopped)

    def _run_round(self, rounds: Sequence[Round]) -> None:
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            running: dict[Future[tuple[Hypotheses, SearchReport]], str] = {
                pool.submit(self._search, one, bravais, shift): bravais for one, bravais, shift in self._tasks(rounds)
            }
            left = list(running.values())
            for done in as_completed(running):
                batch, report = done.result()
                left.remove(running[done])
                self.batches.append(batch)
                self.reports.append(report)
                self._tell(left)

    def _tasks(self, rounds: Sequence[Round]) -> Iterator[tuple[Round, str, float]]:
        """The longest first, so that no core waits long for the last."""
        by_size = sorted(self.options.lattices, key=lambda bravais: LATTICES[bravais].laue_order)
        for bravais in by_size:
            for one in rounds:
                for share in one.shifts:
                    if bravais in one.generator.lattices and (share == 0.0 or self.max_shift > 0.0):
                        yield one, bravais, share * self.max_shift

    def _search(self, one: Round, bravais: str, shift: float) -> tuple[Hypotheses, SearchReport]:
        started = time.monotonic()
        effort = Effort(level=one.level, seed=self.options.seed, stop=self._out_of_time)
        proposal = one.generator.propose(bravais, self.observed.shifted(shift), self.limits, effort)
        found = grown_and_weighed(
            bravais,
            proposal.x,
            self.observed,
            self.limits,
            generator=one.generator.name,
            zero_start_deg=shift,
            zero_sigma_deg=self.zero_sigma,
        )
        best = float(found.log_odds[0]) if len(found) else None
        seconds = time.monotonic() - started
        return found, SearchReport(bravais, found.generator, proposal.n_tried, proposal.complete, seconds, best)

    def _ranked(self) -> tuple[Found, ...]:
        """Rank what is known, and the relatives of the best with it."""
        count = self.options.max_solutions
        # Threads finish in any order: the ranking must not depend on it.
        self.batches.sort(key=lambda batch: (BRAVAIS.index(batch.bravais), batch.generator))
        found = families((*self.best, *ranked(self.batches, self.observed, count=count)), count=count)
        self.batches = []
        found = self._within_options(found)
        if self._out_of_time():
            return found
        return self._within_options(with_relatives(found, self.observed, self.limits, count=count))

    def _within_options(self, found: Sequence[Found]) -> tuple[Found, ...]:
        allowed = self.options.max_impurities
        n_lines = len(self.observed.q2)
        return tuple(
            one
            for one in found
            if one.bravais in self.options.lattices
            and abs(one.zero_shift_deg) <= max(self.max_shift, NO_SHIFT_DEG)
            and (allowed is None or n_lines - one.n_indexed <= allowed)
        )

    def _certain(self) -> bool:
        if not self.best or self.best[0].log_odds < SURE_LOG_ODDS:
            return False
        return len(self.best) == 1 or self.best[0].log_odds - self.best[1].log_odds > SURE_GAP

    def _out_of_time(self) -> bool:
        if self.should_stop is not None and not self.cancelled and self.should_stop():
            self.cancelled = True
        return self.cancelled or time.monotonic() - self.started > self.options.max_seconds

    def _tell(self, left: Sequence[str]) -> None:
        if self.on_progress is None:
            return
        done = tuple(bravais for bravais in self.options.lattices if bravais not in left)
        best = solutions_from(self.best[:1], self.observed, self.peaks.wavelength_ang, temperature=TEMPERATURE)
        spent = sum(report.n_candidates for report in self.reports)
        seconds = time.monotonic() - self.started
        self.on_progress(Progress(done, self.options.lattices, spent, seconds, best[0] if best else None))

    def _result(self, stopped: str) -> SolveResult:
        solutions = solutions_from(self.best, self.observed, self.peaks.wavelength_ang, temperature=TEMPERATURE)
        return SolveResult(
            solutions=solutions,
            stopped=stopped,
            confidence=solutions[0].weight if solutions else 0.0,
            searches=tuple(self.reports),
            n_candidates=sum(report.n_candidates for report in self.reports),
            seconds=time.monotonic() - self.started,
            seed=self.options.seed,
            device="cpu",
        )
