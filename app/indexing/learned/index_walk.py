"""The walk over index assignments with the indices and the lines of its first steps drawn by index networks.

An option of the walk beside the nearest reflection and the summed likelihood: `NetworkKernel` stands where a kernel
stands. In its first steps a network's softmax draws each line's index, and lines are kept in the subsample by how
probable their index is (source, 2.4.3, step 1.1); the other steps, and the score of every step, are the kernel's that
it wraps.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from app.errors import InvalidInput
from app.indexing.walk import kernel_numpy as plain
from app.indexing.walk.counter_random import uniforms
from app.indexing.walk.mcmc import Kernel, McmcOptions, McmcState, Problem, kept_lines

CHUNK = 64
"""Cells that go through a network together, so that its layers stay in the cache."""
_SMALLEST = 1e-12


class Assigns(Protocol):
    """Gives lines probabilities of indices; an `AssignmentNetwork`, or what stands in its place."""

    @property
    def n_peaks(self) -> int:
        """Lines that it looks at, from the lowest."""
        ...

    @property
    def design(self) -> Float[np.ndarray, "ref param"]: ...

    def allowed(self, bravais: str) -> Bool[np.ndarray, "ref"]:
        """Tell which reference reflections the centring of a lattice leaves."""
        ...

    def probabilities(
        self, bravais: str, x: Float[np.ndarray, "cell param"], q2: Float[np.ndarray, "cell peak"]
    ) -> Float32[np.ndarray, "cell peak ref+1"]:
        """See `AssignmentNetwork.probabilities`."""
        ...


class Assigners(Protocol):
    """Holds one for each lattice and level, such as `AssignmentNetworks`."""

    def network(self, bravais: str, level: str) -> Assigns:
        """Look one up."""
        ...


@dataclass(frozen=True)
class NetworkSteps:
    """How the networks take part.

    Attributes:
        levels: the network of each of the first steps, by its level.
        draw_indices: draw each index by its probability; otherwise the most probable is taken.
        draw_lines: keep lines in the subsample by the probability of their index; otherwise at random.
    """

    levels: tuple[str, ...] = ("0.10", "0.05", "0.025")
    draw_indices: bool = True
    draw_lines: bool = True


@dataclass(frozen=True)
class NetworkKernel:
    """A kernel whose first steps ask networks. Its problems have the reference reflections of `problem_design`.

    Attributes:
        inner: does everything else.
        bravais: lattice of the candidates.
        networks: those of the levels that `steps` names; all with the same reference reflections.
    """

    inner: Kernel
    bravais: str
    networks: Assigners
    steps: NetworkSteps = NetworkSteps()

    def start(
        self,
        x: Float[np.ndarray, "cell param"],
        stream: Int[np.ndarray, "cell"],
        pattern: Int[np.ndarray, "cell"],
        problem: Problem,
        options: McmcOptions,
    ) -> McmcState:
        """Assign and score the candidates as they are.

        Raises:
            InvalidInput: the walk is shorter than the networks' part in it.
        """
        if options.n_steps < len(self.steps.levels):
            raise InvalidInput(f"The walk has {options.n_steps} steps; networks are to take {len(self.steps.levels)}.")
        return self.inner.start(x, stream, pattern, problem, options)

    def advance(self, state: McmcState, problem: Problem, options: McmcOptions, seed: int, steps: range) -> McmcState:
        """Take the steps with these numbers."""
        n_first = len(self.steps.levels)
        for number in range(steps.start, min(steps.stop, n_first)):
            state = self._step(state, problem, options, seed, number)
        rest = range(max(steps.start, min(n_first, steps.stop)), steps.stop)
        return self.inner.advance(state, problem, options, seed, rest) if rest else state

    def _step(self, state: McmcState, problem: Problem, options: McmcOptions, seed: int, number: int) -> McmcState:
        u = uniforms(seed, number, state.stream, np.arange(plain.DRAWS_BEFORE_PEAKS + 2 * problem.lines.q2.shape[1]))
        network = self.networks.network(self.bravais, self.steps.levels[number])
        index, confidence = self._indices(network, state, problem, u[:, 3::2])
        chances = confidence if self.steps.draw_lines else np.where(confidence > 0, 1.0, 0.0)
        kept = likely_lines(chances, u[:, 2::2], kept_lines(problem, options)[state.pattern])
        x, solved = plain.refit(state.x, index, kept, state.pattern, problem, options)
        new = self.inner.start(x, state.stream, state.pattern, problem, options)
        accepted = solved & plain.accept(new.log_likelihood, state.log_likelihood, u[:, 0], options.temperature)
        return _moved(state, accepted, new)

    def _indices(
        self, network: Assigns, state: McmcState, problem: Problem, u: Float[np.ndarray, "cell peak"]
    ) -> tuple[Int[np.ndarray, "cell peak"], Float[np.ndarray, "cell peak"]]:
        """Give each line an index and its probability, 0 for lines that the network does not look at."""
        n_terms, n_peaks = problem.design.shape[1], min(network.n_peaks, u.shape[1])
        columns = np.flatnonzero(network.allowed(self.bravais))
        real = plain.real_lines(state.pattern, problem)
        index, confidence = np.where(real, state.nearest, 0), np.zeros(u.shape)
        lines = plain.observed_q2(state.x, state.pattern, problem)[:, :n_peaks]
        for first in range(0, len(u), CHUNK):
            part = slice(first, first + CHUNK)
            found = network.probabilities(self.bravais, state.x[part, :n_terms], lines[part])[:, :, columns]
            chosen = drawn(found, u[part, :n_peaks]) if self.steps.draw_indices else found.argmax(axis=2)
            index[part, :n_peaks] = chosen
            confidence[part, :n_peaks] = np.take_along_axis(found, chosen[:, :, None], axis=2)[:, :, 0]
        return index, np.where(real, confidence, 0.0)


def problem_design(network: Assigns, bravais: str) -> Float[np.ndarray, "ref param"]:
    """The design matrix that a `NetworkKernel` needs: the network's reflections that the centring leaves."""
    return network.design[network.allowed(bravais)]


def with_design(problem: Problem, network: Assigns, bravais: str) -> Problem:
    """Give a problem the network's reference reflections."""
    return replace(problem, design=problem_design(network, bravais))


def drawn(
    probability: Float[np.ndarray, "cell peak ref"], u: Float[np.ndarray, "cell peak"]
) -> Int[np.ndarray, "cell peak"]:
    """Draw an index of each line; the probabilities need not sum to 1."""
    reached = np.cumsum(probability, axis=2)
    return np.minimum((reached <= u[:, :, None] * reached[:, :, -1:]).sum(axis=2), probability.shape[2] - 1)


def likely_lines(
    chance: Float[np.ndarray, "cell peak"], u: Float[np.ndarray, "cell peak"], n_keep: Int[np.ndarray, "cell"]
) -> Bool[np.ndarray, "cell peak"]:
    """Keep ``n_keep`` lines of each cell, drawn without replacement with weights; never one of weight 0.

    The largest u^(1/weight) are kept (P. S. Efraimidis and P. G. Spirakis, Inf. Process. Lett. 97 (2006) 181).
    """
    key = np.where(chance > 0, np.log(np.maximum(u, _SMALLEST)) / np.maximum(chance, _SMALLEST), -np.inf)
    rank = np.argsort(np.argsort(-key, axis=1, kind="stable"), axis=1, kind="stable")
    return (rank < n_keep[:, None]) & (chance > 0)


def _moved(state: McmcState, accepted: Bool[np.ndarray, "cell"], new: McmcState) -> McmcState:
    row = accepted[:, None]
    better = accepted & (new.log_likelihood > state.best_log_likelihood)
    return replace(
        state,
        x=np.where(row, new.x, state.x),
        nearest=np.where(row, new.nearest, state.nearest),
        second=np.where(row, new.second, state.second),
        log_likelihood=np.where(accepted, new.log_likelihood, state.log_likelihood),
        best_x=np.where(better[:, None], new.x, state.best_x),
        best_log_likelihood=np.where(better, new.log_likelihood, state.best_log_likelihood),
    )
