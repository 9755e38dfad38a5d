"""The accelerator's search against the CPU's, computed on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.indexing.batch import solve_many
from app.indexing.problem import PeakList, SolveOptions, SolveResult
from app.indexing.search.dense import Task
from app.indexing.search.hypotheses import grown_and_weighed
from app.indexing.search.low_order import LAST_LINE, WINDOW_DEG, assignments_of, screen
from app.indexing.search.row import row_of
from tests.indexing.search.lattice_lines import LIMITS, WAVELENGTH_ANG, has_cell, lines_of, random_cell

device_search = pytest.importorskip("app.indexing.search.device_search")

LATTICES = ("tP", "oP")
N = 1600
OPTIONS = device_search.DeviceOptions(
    n_assignments=N, screen_refs=300, growth_refs=300, grown=80, proposed=10, assignment_chunk=400, cell_chunk=80
)
ZERO_SIGMA_DEG = 0.03


@pytest.fixture(scope="module")
def search() -> Any:
    return device_search.DeviceSearch(OPTIONS)


def patterns_of(bravais: str, count: int = 3) -> tuple[list[Task], list[np.ndarray]]:
    rng = np.random.default_rng(len(bravais) + ord(bravais[0]))
    cells = [random_cell(bravais, rng, 200.0) for _ in range(count)]
    lines = [lines_of(bravais, x, rng, n_lines=20 - 2 * i, missing=0.1) for i, x in enumerate(cells)]
    return [Task(one, LIMITS, ZERO_SIGMA_DEG) for one in lines], cells


def scores_on_cpu(bravais: str, task: Task) -> tuple[np.ndarray, np.ndarray]:
    table, first = assignments_of(bravais), task.observed.first(LAST_LINE)
    n_params = table.lines.shape[1]
    x, score = np.zeros((N, n_params)), np.empty(N)
    screen(
        table.lines[:N], table.refs[:N], table.design, first.q2, WINDOW_DEG * first.per_degree, max(n_params + 4, 8),
        *row_of(bravais), task.limits, x, score,
    )  # fmt: skip
    return x, score


@pytest.mark.parametrize("bravais", LATTICES)
def test_assignments_score_as_on_the_cpu(search: Any, bravais: str) -> None:
    tasks, _ = patterns_of(bravais)
    chosen, scores = search.screened(bravais, tasks)
    for task, row, score in zip(tasks, chosen, scores, strict=True):
        x, reference = scores_on_cpu(bravais, task)
        close = np.abs(score - reference[row]) < 1e-2
        # A long axis runs out of the device's reflections, and a line may lie on the edge of its window.
        assert close.mean() > 0.9
        assert score[0] == pytest.approx(reference.max(), abs=0.5)
        best = np.argsort(-reference, kind="stable")[:40]
        assert np.isin(best, row).mean() > 0.9
        dense = device_search.dense_lattice(bravais, N, OPTIONS.screen_refs)
        np.testing.assert_allclose(dense.x(best, task.observed.q2), x[best], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("bravais", LATTICES)
def test_the_best_cells_of_the_cpu_are_proposed(search: Any, bravais: str) -> None:
    tasks, cells = patterns_of(bravais)
    for task, true, proposed in zip(tasks, cells, search.propose(bravais, tasks), strict=True):
        assert 0 < len(proposed) <= OPTIONS.proposed
        x, score = scores_on_cpu(bravais, task)
        ours, theirs = (
            grown_and_weighed(bravais, some, task.observed, task.limits, generator="")
            for some in (proposed, x[np.argsort(-score)[: OPTIONS.grown]])
        )
        assert ours.log_odds[0] == pytest.approx(theirs.log_odds[0], abs=0.5)
        assert has_cell(bravais, ours.x[:1], true)


def test_a_pattern_does_not_depend_on_those_beside_it(search: Any) -> None:
    tasks, _ = patterns_of("oP")
    forth, back, alone = (search.propose("oP", some) for some in (tasks, tasks[::-1], tasks[1:2]))
    for one, other in zip(forth, reversed(back), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(alone[0], forth[1])


def test_many_patterns_are_solved_in_their_order(search: Any) -> None:
    tasks, cells, names = [], [], []
    for bravais in LATTICES:
        some, true = patterns_of(bravais, 2)
        tasks, cells, names = tasks + some, cells + true, names + [bravais] * 2
    peaks = [PeakList(task.observed.q2, wavelength_ang=WAVELENGTH_ANG) for task in tasks]
    peaks.insert(2, PeakList(np.array([0.1, 0.2, 0.3])))
    answers = solve_many(peaks, SolveOptions(lattices=LATTICES), follow_up=False, search=search)
    assert "3 lines" in str(answers[2])
    for answer, bravais, true in zip(answers[:2] + answers[3:], names, cells, strict=True):
        assert isinstance(answer, SolveResult)
        assert answer.device == "gpu"
        best = answer.solutions[0]
        assert best.bravais == bravais
        assert best.niggli.constants == pytest.approx(niggli_of(bravais, true), rel=0.01)


def niggli_of(bravais: str, x: np.ndarray) -> tuple[float, ...]:
    from app.crystallography.lattice import LATTICES as TABLE
    from app.crystallography.metric import cell_from_x
    from app.crystallography.reduction import niggli

    return niggli(cell_from_x(TABLE[bravais], x), TABLE[bravais].centring.symbol).constants
