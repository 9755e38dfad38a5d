"""Many patterns at once: the quick search on an accelerator where there is one, the rest on the CPU beside it.

The accelerator proposes cells for a batch of patterns; each pattern is then finished by `app.indexing.solve` with that
proposal in place of its own first search: cells are refined in double precision, weighed and ranked as for a single
pattern, and a pattern that is still in doubt goes through the solver's further rounds. Finishing is Python and takes
longer than the accelerator's part, so that it is worth as many processes as there are cores.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from jaxtyping import Float

from app.errors import InvalidInput
from app.indexing.cores import usable_cores
from app.indexing.learned.shelf import AtHand, Shelf, tried
from app.indexing.problem import PeakList, ShouldStop, SolveOptions, SolveResult, UsedModel
from app.indexing.search.cells import Limits
from app.indexing.search.dense import Task
from app.indexing.search.generator import Effort, Proposal
from app.indexing.search.low_order import LowOrder
from app.indexing.search.observed import Observed
from app.indexing.solve import ROUNDS, Round, Rounds, search_bounds, solve
from app.indexing.walk.kernels import NO_GPU, choose_back_end, gpu_ready

if TYPE_CHECKING:
    from app.indexing.search.device_search import DeviceSearch

Answer = SolveResult | Exception
"""Of one pattern; an error of one does not touch the others."""
OnDone = Callable[[int, Answer], None]
"""Told the number of a pattern and its answer as soon as there is one, in any order."""
POLL_S: Final = 0.1
"""Between two looks at whether to stop."""


@dataclass(frozen=True)
class Proposed:
    """Cells that were found beforehand, as a generator in place of `LowOrder`.

    Attributes:
        cells: metric terms by lattice, best first, Angstrom^-2.
        n_tried: cells that were looked at for them, by lattice.
    """

    cells: Mapping[str, Float[np.ndarray, "cell param"]]
    n_tried: Mapping[str, int]
    name: str = LowOrder.name

    @property
    def lattices(self) -> frozenset[str]:
        """Lattices that were searched."""
        return frozenset(self.cells)

    def propose(self, bravais: str, observed: Observed, limits: Limits, effort: Effort) -> Proposal:
        """Give the cells of one lattice."""
        return Proposal(self.cells[bravais][: effort.keep], self.n_tried[bravais])


@dataclass
class Finishers:
    """Processes that finish patterns; a context manager. They end with the process that started them, however it ends.

    Attributes:
        n_processes: how many.
    """

    n_processes: int = field(default_factory=usable_cores)

    def __post_init__(self) -> None:
        context = get_context("spawn")
        self.stop = context.Event()
        self._pool = ProcessPoolExecutor(self.n_processes, context, _start_finisher, (self.stop,))

    def __enter__(self) -> Finishers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def submit(
        self,
        peaks: PeakList,
        options: SolveOptions,
        proposed: Proposed | None,
        *,
        follow_up: bool,
        models: Sequence[UsedModel] = (),
        store: Path | None = None,
    ) -> Future[SolveResult]:
        """Finish one pattern, with these learned parts of a model store; without a proposal, solve it."""
        return self._pool.submit(_finish, peaks, options, proposed, follow_up, tuple(models), store)

    def warm_up(self) -> None:
        """Wait until the compiled code is loaded in all of them."""
        cube = PeakList(np.array([1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13]) / 16.0, wavelength_ang=1.5406)
        options = SolveOptions(max_seconds=30.0)
        wait([self.submit(cube, options, None, follow_up=False) for _ in range(2 * self.n_processes)])


@cache
def kept_finishers() -> Finishers:
    """Give processes that live as long as this one."""
    return Finishers()


def solve_many(
    peaks: Sequence[PeakList],
    options: SolveOptions | Sequence[SolveOptions] | None = None,
    *,
    follow_up: bool = True,
    finishers: Finishers | None = None,
    on_done: OnDone | None = None,
    should_stop: ShouldStop | None = None,
    search: DeviceSearch | None = None,
    models: Sequence[Sequence[UsedModel]] = (),
    shelf: Shelf | None = None,
) -> tuple[Answer, ...]:
    """Index many lists of lines.

    Args:
        peaks: the patterns.
        options: of all, or one for each; ``max_seconds`` limits the CPU's part of each pattern. The device is the one
            that the first names.
        follow_up: a pattern that the quick search leaves in doubt goes through the solver's further rounds on the CPU,
            for as long as its ``max_seconds`` allow.
        finishers: processes that share the CPU's part; without them it is done here, one pattern after another.
        on_done: told of each answer.
        should_stop: asked often; True ends the search, and patterns without an answer get one without solutions.
        search: the device's part, to be forced or kept; by default chosen by the device that the options name.
        models: learned parts that are to take part, of each pattern; empty for none.
        shelf: where they are.

    Returns:
        An answer or an error for each pattern, in their order.

    Raises:
        InvalidInput: the device ``gpu`` was asked for where there is none, or options do not match the patterns.
    """
    each = _options_of(peaks, options)
    if not peaks:
        return ()
    search = search or device_search(each[0].device)
    wanted = [tuple(one) for one in models] or [()] * len(peaks)
    batch = _Batch(list(peaks), each, wanted, shelf or Shelf(), follow_up, finishers, on_done, should_stop)
    return batch.run(search)


def device_search(device: str) -> DeviceSearch | None:
    """Give the accelerator's search for ``auto``, ``gpu`` or ``cpu``; None where the CPU is to do it.

    Raises:
        InvalidInput: ``gpu`` where there is none.
    """
    found = _gpu_search() if device != "cpu" and gpu_ready() else None
    if device == "gpu" and found is None:
        raise InvalidInput(NO_GPU)
    return found


@cache
def _gpu_search() -> DeviceSearch | None:
    choose_back_end()
    module = import_module("app.indexing.search.device_search")
    return module.DeviceSearch() if module.dense_keras.accelerator() else None


def _options_of(peaks: Sequence[PeakList], options: SolveOptions | Sequence[SolveOptions] | None) -> list[SolveOptions]:
    if options is None or isinstance(options, SolveOptions):
        return [options or SolveOptions()] * len(peaks)
    if len(options) != len(peaks):
        raise InvalidInput(
            f"options: found {len(options)} for {len(peaks)} patterns; give one for each, or one for all"
        )
    return list(options)


@dataclass
class _Batch:
    """The state of one `solve_many`."""

    peaks: list[PeakList]
    options: list[SolveOptions]
    models: list[tuple[UsedModel, ...]]
    shelf: Shelf
    follow_up: bool
    finishers: Finishers | None
    on_done: OnDone | None
    should_stop: ShouldStop | None
    answers: dict[int, Answer] = field(default_factory=dict)
    running: dict[Future[SolveResult], int] = field(default_factory=dict)
    shares: dict[int, float] = field(default_factory=dict)

    def run(self, search: DeviceSearch | None) -> tuple[Answer, ...]:
        if self.finishers is not None:
            self.finishers.stop.clear()
        for index, proposed in self._on_device(search) if search else self._on_cpu():
            self._collect(timeout_s=0.0)
            if self._stopped():
                break
            self._start(index, proposed)
        while self.running:
            self._collect(timeout_s=POLL_S)
        return tuple(self.answers.get(index, _unsolved(options)) for index, options in enumerate(self.options))

    def _on_cpu(self) -> Iterator[tuple[int, None]]:
        return ((index, None) for index in range(len(self.peaks)))

    def _on_device(self, search: DeviceSearch) -> Iterator[tuple[int, Proposed]]:
        """Search a batch, then give its patterns to be finished, while the next is searched where processes finish."""
        left = list(self._searchable())
        size = search.options.most_patterns
        for part in (left[at : at + size] for at in range(0, len(left), size)):
            start = time.monotonic()
            proposed = _proposals(search, part, self._stopped)
            for index, _, _ in part:
                self.shares[index] = (time.monotonic() - start) / len(part)
                yield index, proposed[index]

    def _searchable(self) -> Iterator[tuple[int, SolveOptions, Task]]:
        for index, (peaks, options) in enumerate(zip(self.peaks, self.options, strict=True)):
            try:
                yield index, options, Task(*search_bounds(peaks, options))
            except Exception as error:
                self._keep(index, error)

    def _start(self, index: int, proposed: Proposed | None) -> None:
        peaks, options, models = self.peaks[index], self.options[index], self.models[index]
        if self.finishers is not None:
            future = self.finishers.submit(
                peaks, options, proposed, follow_up=self.follow_up, models=models, store=self.shelf.root
            )
            self.running[future] = index
            return
        rounds = rounds_with(proposed, follow_up=self.follow_up)
        try:
            answer = tried(
                lambda learned: solve(peaks, options, None, self.should_stop, rounds, learned),
                at_hand_for(self.shelf, models, proposed),
            )
        except Exception as error:
            answer = error
        self._keep(index, answer)

    def _collect(self, *, timeout_s: float) -> None:
        if self._stopped() and self.finishers is not None:
            self.finishers.stop.set()
        for future in wait(self.running, timeout=timeout_s, return_when="FIRST_COMPLETED").done:
            index, error = self.running.pop(future), future.exception()
            self._keep(index, error if isinstance(error, Exception) else future.result())

    def _keep(self, index: int, answer: Answer) -> None:
        if isinstance(answer, SolveResult) and index in self.shares:
            answer = replace(answer, seconds=answer.seconds + self.shares[index], device="gpu")
        self.answers[index] = answer
        if self.on_done is not None:
            self.on_done(index, answer)

    def _stopped(self) -> bool:
        return self.should_stop is not None and self.should_stop()


def _proposals(
    search: DeviceSearch, part: Sequence[tuple[int, SolveOptions, Task]], stopped: ShouldStop
) -> dict[int, Proposed]:
    cells: dict[int, dict[str, Float[np.ndarray, "cell param"]]] = {index: {} for index, _, _ in part}
    tried: dict[str, int] = {}
    for bravais in dict.fromkeys(name for _, options, _ in part for name in options.lattices):
        wanted = [(index, task) for index, options, task in part if bravais in options.lattices]
        if stopped():
            break
        tried[bravais] = search.n_assignments(bravais)
        for (index, _), x in zip(wanted, search.propose(bravais, [task for _, task in wanted]), strict=True):
            cells[index][bravais] = x
    return {index: Proposed(found, tried) for index, found in cells.items()}


def rounds_with(proposed: Proposed | None, *, follow_up: bool) -> Rounds:
    """Give the solver's rounds, with the proposal as the first of them in place of the quick search.

    Args:
        proposed: None leaves the rounds as they are.
        follow_up: False takes the first alone.
    """
    if proposed is None:
        return ROUNDS if follow_up else ROUNDS[:1]
    beside = tuple(one for one in ROUNDS[0] if not isinstance(one.generator, LowOrder))
    return ((Round(proposed),), *(rounds for rounds in (beside, *ROUNDS[1:]) if follow_up and rounds))


def at_hand_for(shelf: Shelf, models: Sequence[UsedModel], proposed: Proposed | None) -> AtHand:
    """The learned parts of a pattern; where cells were proposed, the order of the search is given and no odds ask."""
    found = shelf.at_hand(models)
    return found if proposed is None else found.without("odds")


def _unsolved(options: SolveOptions) -> SolveResult:
    return SolveResult((), "cancelled", 0.0, (), 0, 0.0, options.seed, "cpu")


_STOP: list[Any] = []
_SHELF: Final = Shelf()
"""Of a process that finishes patterns."""


def _start_finisher(stop: Any) -> None:
    _STOP[:] = [stop]
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)


def _finish(
    peaks: PeakList,
    options: SolveOptions,
    proposed: Proposed | None,
    follow_up: bool,
    models: tuple[UsedModel, ...],
    store: Path | None,
) -> SolveResult:
    if store is not None:
        _SHELF.take_from(store)
    rounds = rounds_with(proposed, follow_up=follow_up)
    return tried(lambda learned: solve(peaks, options, None, _STOP[0].is_set, rounds, learned), _SHELF.at_hand(models))
