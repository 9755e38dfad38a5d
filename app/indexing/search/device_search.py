"""The quick search of `app.indexing.search.low_order` for many patterns at once on an accelerator.

For each lattice, all assignments are screened on all patterns, the best are grown to all lines and weighed coarsely,
and the starts of the most probable ones come back, solved again in double precision: the CPU then grows and weighs some
tens of cells for each lattice instead of screening tens of thousands.

Importing this module imports Keras and its back end, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from app.indexing.search import dense_keras
from app.indexing.search.cells import MAX_REFLECTIONS, Limits
from app.indexing.search.dense import DenseLattice, Task, dense_lattice, log_factorials
from app.indexing.search.dense_keras import Lattice, Patterns, ops
from app.indexing.search.growth import STAGES
from app.indexing.search.low_order import HOPELESS, LAST_LINE, QUICK, WINDOW_DEG
from app.indexing.search.observed import Observed

MOST_LINES = max(STAGES)
"""Lines that the device looks at."""
WIDTHS = (LAST_LINE, MOST_LINES)
"""Lines to which a batch is padded: each new shape is compiled anew."""
LEAST_PATTERNS = 8
"""Batches hold this many patterns times a power of two: each new shape is compiled anew."""
FAR = 1e3
"""q^2 of padding, Angstrom^-2: of no reflection."""


@dataclass(frozen=True)
class DeviceOptions:
    """How the work is cut; none changes what is searched but ``n_assignments``, the references and the counts kept.

    Attributes:
        n_assignments: of each lattice, best first.
        screen_refs, growth_refs: reference reflections while screening, and while growing.
        grown: assignments of each lattice and pattern that are grown.
        proposed: of them, those that come back.
        most_patterns: in one batch.
        assignment_chunk, cell_chunk: assignments screened, and cells grown, in one call for all patterns of the batch:
            with the patterns and references they bound the memory of what the back end does not fuse.
    """

    n_assignments: int = QUICK
    screen_refs: int = 200
    growth_refs: int = 600
    grown: int = 600
    proposed: int = 40
    most_patterns: int = 64
    assignment_chunk: int = 2000
    cell_chunk: int = 150


@dataclass(frozen=True)
class _Tables:
    """One lattice on the device."""

    dense: DenseLattice
    screening: Lattice
    growing: Lattice
    chunks: tuple[tuple[Any, Any], ...]


class DeviceSearch:
    """The search with its tables on the device; compiles each shape once and is meant to be kept."""

    def __init__(self, options: DeviceOptions | None = None) -> None:
        self.options = options or DeviceOptions()
        self._tables: dict[str, _Tables] = {}

    def propose(self, bravais: str, tasks: Sequence[Task]) -> list[Float[np.ndarray, "cell param"]]:
        """Propose cells of one lattice for each pattern, the most probable first.

        Args:
            bravais: the lattice.
            tasks: the patterns, at most ``most_patterns``; they keep their order.
        """
        tables, tasks_filled = self._tables_of(bravais), _filled(tasks)
        patterns = _patterns(tasks_filled)
        chosen, score = self._screened(tables, patterns)
        starts = [tables.dense.x(row, _low(task)) for row, task in zip(chosen, tasks_filled, strict=True)]
        evidence = self._weighed(tables, patterns, np.stack(starts), _stages(tasks_filled))
        evidence[score < HOPELESS] = dense_keras.REJECTED
        return [
            x[_best_distinct(row, self.options.proposed)]
            for x, row in zip(starts[: len(tasks)], evidence[: len(tasks)], strict=True)
        ]

    def screened(
        self, bravais: str, tasks: Sequence[Task]
    ) -> tuple[Int[np.ndarray, "pattern cell"], Float[np.ndarray, "pattern cell"]]:
        """Give the numbers of the best assignments of one lattice for each pattern, best first, and their scores."""
        chosen, score = self._screened(self._tables_of(bravais), _patterns(_filled(tasks)))
        return chosen[: len(tasks)], score[: len(tasks)]

    def n_assignments(self, bravais: str) -> int:
        """Assignments of a lattice that are tried."""
        return len(self._tables_of(bravais).dense.lines)

    def warm_up(self, lattices: Sequence[str], n_patterns: int) -> None:
        """Compile for batches of so many patterns."""
        q2 = np.linspace(0.01, 0.4, LAST_LINE)
        task = Task(Observed(q2, 0.01 * np.sqrt(q2), 0.01 * np.sqrt(q2)), Limits(2.0, 50.0, 8.0, 1e6), 0.03)
        for bravais in lattices:
            self.propose(bravais, [task] * n_patterns)

    def _screened(self, tables: _Tables, patterns: Patterns) -> tuple[Int[np.ndarray, "pattern cell"], np.ndarray]:
        n_params = tables.dense.terms.shape[0]
        window = _tensor(np.array(WINDOW_DEG))
        scores = [
            dense_keras.screen(lines, inverse, tables.screening, patterns, window, max(n_params + 4, 8))
            for lines, inverse in tables.chunks
        ]
        score = ops.concatenate(scores, axis=1)[:, : len(tables.dense.lines)]
        values, index = dense_keras.best(score, min(self.options.grown, score.shape[1]))
        return ops.convert_to_numpy(index), ops.convert_to_numpy(values)

    def _weighed(
        self,
        tables: _Tables,
        patterns: Patterns,
        x: Float[np.ndarray, "pattern cell param"],
        stages: Int[np.ndarray, "stage pattern"],
    ) -> Float[np.ndarray, "pattern cell"]:
        n_cells, size = x.shape[1], self.options.cell_chunk
        x = np.pad(x, ((0, 0), (0, -n_cells % size), (0, 0)), mode="edge")
        parts = [
            dense_keras.grow(
                _tensor(x[:, at : at + size]), ops.convert_to_tensor(stages), patterns, tables.growing, self._factorials
            )
            for at in range(0, n_cells, size)
        ]
        return np.array(ops.convert_to_numpy(ops.concatenate(parts, axis=1)))[:, :n_cells]

    @cached_property
    def _factorials(self) -> Any:
        return _tensor(log_factorials(MAX_REFLECTIONS + MOST_LINES + 2))

    def _tables_of(self, bravais: str) -> _Tables:
        if bravais not in self._tables:
            options = self.options
            dense = dense_lattice(bravais, options.n_assignments, options.screen_refs)
            more = dense_lattice(bravais, options.n_assignments, options.growth_refs)
            self._tables[bravais] = _Tables(
                dense, _lattice(dense, options.screen_refs), _lattice(more, options.growth_refs), self._chunks(dense)
            )
        return self._tables[bravais]

    def _chunks(self, dense: DenseLattice) -> tuple[tuple[Any, Any], ...]:
        size = self.options.assignment_chunk
        padding = (0, -len(dense.lines) % size)
        lines = np.pad(dense.lines, (padding, (0, 0)), mode="edge").astype(np.int32)
        inverse = np.nan_to_num(np.pad(dense.inverse, (padding, (0, 0), (0, 0)), mode="edge"))
        return tuple(
            (ops.convert_to_tensor(lines[at : at + size]), _tensor(inverse[at : at + size]))
            for at in range(0, len(lines), size)
        )


def _tensor(array: np.ndarray) -> Any:
    return ops.convert_to_tensor(np.asarray(array, np.float32))


def _lattice(dense: DenseLattice, n_refs: int) -> Lattice:
    """Lists shorter than ``n_refs`` are filled with their last reflection, which counts nothing there."""
    missing = n_refs - len(dense.design)
    return Lattice(
        _tensor(np.pad(dense.design, ((0, missing), (0, 0)), mode="edge")),
        _tensor(np.pad(dense.copies, (0, missing))),
        _tensor(dense.terms),
        _tensor(np.array(dense.multiplicity)),
        _tensor(np.array(dense.share)),
    )


def _filled(tasks: Sequence[Task]) -> list[Task]:
    size = LEAST_PATTERNS
    while size < len(tasks):
        size *= 2
    return [*tasks, *[tasks[-1]] * (size - len(tasks))]


def _patterns(tasks: Sequence[Task]) -> Patterns:
    lines = [task.observed.first(MOST_LINES) for task in tasks]
    width = next(width for width in WIDTHS if width >= max(len(one.q2) for one in lines))
    return Patterns(
        q2=_tensor(_table([one.q2 for one in lines], width, FAR)),
        per_degree=_tensor(_table([one.per_degree for one in lines], width, 1.0)),
        slope=_tensor(_table([one.slope for one in lines], width, 0.0)),
        count=ops.convert_to_tensor(np.array([len(one.q2) for one in lines], np.int32)),
        zero_sigma=_tensor(np.array([task.zero_sigma_deg for task in tasks])),
        limits=_tensor(np.array([task.limits for task in tasks])),
    )


def _table(rows: Sequence[Float[np.ndarray, "peak"]], width: int, fill: float) -> Float[np.ndarray, "pattern peak"]:
    return np.stack([np.pad(row, (0, width - len(row)), constant_values=fill) for row in rows])


def _low(task: Task) -> Float[np.ndarray, "peak"]:
    """The lines that assignments may name; those that the pattern has not lie far off."""
    q2 = task.observed.q2[:LAST_LINE]
    return np.pad(q2, (0, LAST_LINE - len(q2)), constant_values=FAR)


def _stages(tasks: Sequence[Task]) -> Int[np.ndarray, "stage pattern"]:
    counts = np.array([min(len(task.observed.q2), MOST_LINES) for task in tasks])
    return np.minimum(np.array(STAGES)[:, None], counts).astype(np.int32)


def _best_distinct(evidence: Float[np.ndarray, "cell"], count: int) -> Int[np.ndarray, "kept"]:
    order = np.argsort(-evidence, kind="stable")
    order = order[evidence[order] > dense_keras.REJECTED]
    # Assignments that end in one cell have one evidence, but for rounding.
    _, first = np.unique(np.round(evidence[order], 2), return_index=True)
    return order[np.sort(first)[:count]]
