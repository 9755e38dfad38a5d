"""A solver that answers at once: every pattern is cubic, its first line is 1 0 0."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from unittest.mock import patch

import numpy as np

from app.crystallography.cell import UnitCell
from app.errors import InvalidInput
from app.indexing import batch_job, files_job, job
from app.indexing.learned.models import NOTHING_LEARNED, Learned
from app.indexing.problem import (
    Extinction,
    IndexedLine,
    OnProgress,
    PeakList,
    Progress,
    SearchReport,
    ShouldStop,
    Solution,
    SolveOptions,
    SolveResult,
)

SLOW_SEED = 999
"""With this seed the solver takes all of ``max_seconds``, or until it is told to stop."""
REFUSED_SEED = 998
"""With this seed the solver refuses the lines."""
BROKEN_SEED = 997
"""With this seed the solver fails as a programming error does."""


def solve(
    peaks: PeakList,
    options: SolveOptions,
    on_progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    *,
    learned: Learned = NOTHING_LEARNED,
) -> SolveResult:
    """Stand in for `app.indexing.solve.solve`; of the learned parts it asks the probability."""
    if options.seed == REFUSED_SEED:
        raise InvalidInput("the lines were refused: give others")
    if options.seed == BROKEN_SEED:
        raise ZeroDivisionError
    best = cubic(peaks, options)
    if on_progress is not None:
        on_progress(Progress(options.lattices[:1], options.lattices, 12, 0.01, best))
    stopped = "certain"
    if options.seed == SLOW_SEED:
        stopped = _wait(options.max_seconds, should_stop)
    search = SearchReport(options.lattices[0], "fake", 12, True, 0.01, best.log_odds)
    result = SolveResult(
        (best, replace(best, bravais="aP", weight=0.1, relatives=(0,)))[: options.max_solutions],
        stopped,
        0.9,
        (search, replace(search, lattice="aP", best_log_odds=None)),
        24,
        0.02,
        options.seed,
        "cpu",
        ("the solver's own warning",),
    )
    return result if learned.probability is None else learned.probability.answered(result)


def _wait(seconds: float, should_stop: ShouldStop | None) -> str:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if should_stop is not None and should_stop():
            return "cancelled"
        time.sleep(0.01)
    return "deadline"


def cubic(peaks: PeakList, options: SolveOptions) -> Solution:
    """The primitive cube whose first line is the first one, with every line indexed that it explains within 1%."""
    q2 = peaks.q2_inv_ang2[: options.max_peaks]
    a = float(q2[0] ** -0.5)
    cell, zero = UnitCell(a, a, a, 90.0, 90.0, 90.0), UnitCell(1e-4, 1e-4, 1e-4, 0.0, 0.0, 0.0)
    lines = tuple(_line(float(value), float(q2[0]), peaks.wavelength_ang) for value in q2)
    known = peaks.wavelength_ang is not None
    return Solution(
        bravais="cP",
        cell=cell,
        cell_sigma=zero,
        niggli=cell,
        volume_ang3=a**3,
        m20=123.456,
        f20=45.6 if known else None,
        f20_mean_delta_deg=0.0123 if known else None,
        f20_n_possible=22 if known else None,
        log_odds=17.5,
        weight=0.9,
        zero_shift_deg=0.0,
        n_indexed=sum(line.hkl is not None for line in lines),
        n_lines=len(q2),
        n_possible=25,
        lines=lines,
        extinctions=(Extinction("P - - -", ("P 2 3", "P m -3 m"), 0, 0),),
        relatives=(1,),
        found_by="fake",
    )


def _line(q2: float, first: float, wavelength: float | None) -> IndexedLine:
    n = round(q2 / first)
    hkl = _hkl(n)
    if hkl is None or abs(q2 / first / n - 1.0) > 0.01:
        return IndexedLine(q2, None, None, None)
    delta = None
    if wavelength is not None:
        two_theta = np.degrees(2.0 * np.arcsin(wavelength * np.sqrt([q2, n * first]) / 2.0))
        delta = float(two_theta[0] - two_theta[1])
    return IndexedLine(q2, hkl, n * first, delta)


def _hkl(n: int) -> tuple[int, int, int] | None:
    """The indices with h >= k >= l whose sum of squares is n."""
    indices = range(int(n**0.5), -1, -1)
    ordered = ((h, k, i) for h in indices for k in range(h + 1) for i in range(k + 1))
    return next((hkl for hkl in ordered if sum(index**2 for index in hkl) == n), None)


warm_up = job.use_store


def run(payload: bytes, report: Callable[[bytes], None], cancelled: Callable[[], bool]) -> bytes:
    """`app.indexing.job.run` with this solver."""
    with patch.object(job, "_solve", lambda: solve):
        return job.run(payload, report, cancelled)


def run_part(payload: bytes, report: Callable[[bytes], None], cancelled: Callable[[], bool]) -> bytes:
    """`app.indexing.batch_job.run` with this solver."""
    with patch.object(job, "_solve", lambda: solve):
        return batch_job.run(payload, report, cancelled)


def run_file(payload: bytes, report: Callable[[bytes], None], cancelled: Callable[[], bool]) -> bytes:
    """`app.indexing.files_job.run` with this solver."""
    with patch.object(job, "_solve", lambda: solve):
        return files_job.run(payload, report, cancelled)
