"""Index assignment networks: how probable each index of each line is, given a cell that is about right.

A network of one lattice system sees, for each line, how close it is to each of some hundred reference reflections of
the cell, and answers a softmax over them and over "none of these". There is one for each size of the cell's error.
After section 2.3 of the data-driven indexing report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from app.crystallography.lattice import LATTICES, BravaisLattice
from app.errors import InvalidInput, ModelRefused
from app.model_registry.loading import LoadedModel

FAMILY: Final = "indexing/index-assignment"
INPUT: Final = "closeness"
OUTPUT: Final = "logits"
Run = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
"""A network: {"closeness": (cell, peak, ref)} to {"logits": (cell, peak, ref + 1)}."""


def least_symmetric(system: str) -> BravaisLattice:
    """Give the lattice of a system whose centring extinguishes least; all others' reflections are among its own.

    Raises:
        InvalidInput: there is no such lattice system.
    """
    rows = [lattice for lattice in LATTICES.values() if lattice.system == system]
    if not rows:
        known = ", ".join(dict.fromkeys(lattice.system for lattice in LATTICES.values()))
        raise InvalidInput(f"There is no lattice system {system!r}; there are {known}.")
    return min(rows, key=lambda lattice: lattice.centring.multiplicity)


def differences(
    x: Float[np.ndarray, "cell param"], q2: Float[np.ndarray, "cell peak"], design: Float[np.ndarray, "ref param"]
) -> Float32[np.ndarray, "cell peak ref"]:
    """Observed minus reference q^2 of every pair, Angstrom^-2, in single precision."""
    calculated = (x @ design.T).astype(np.float32)
    return q2.astype(np.float32)[:, :, None] - calculated[:, None, :]


def closeness(difference: Float32[np.ndarray, "cell peak ref"], epsilon: float) -> Float32[np.ndarray, "cell peak ref"]:
    """epsilon / (|difference| + epsilon): 1 where a line meets a reflection, towards 0 far from it (source, 2.3.3)."""
    small = np.float32(epsilon)
    return small / (np.abs(difference) + small)


def probabilities_from_logits(logits: Float32[np.ndarray, "*shape ref"]) -> Float32[np.ndarray, "*shape ref"]:
    """Softmax over the last axis; a logit of -inf is impossible."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class AssignmentNetwork:
    """The network of one lattice system and one size of error.

    Attributes:
        system: lattice system, as in `LATTICES`.
        level: the size of the error that it was trained for, by name: `predicted`, `0.10`, `0.05`, `0.025`, `0.01`.
        hkl: reference reflections, shape (ref, 3); the class after the last of them is "none of these".
        epsilon: of `closeness`, Angstrom^-2.
        n_peaks: lines that it tells apart, from the lowest q^2.
        run: the network itself.
    """

    system: str
    level: str
    hkl: Int[np.ndarray, "ref 3"]
    epsilon: float
    n_peaks: int
    run: Run

    @cached_property
    def design(self) -> Float[np.ndarray, "ref param"]:
        """q^2 of a reference reflection is its row times the metric terms."""
        return least_symmetric(self.system).design(self.hkl).astype(float)

    def allowed(self, bravais: str) -> Bool[np.ndarray, "ref"]:
        """Tell which reference reflections the centring of a lattice leaves."""
        return LATTICES[bravais].allowed(self.hkl)

    def logits(
        self, bravais: str, difference: Float32[np.ndarray, "cell peak ref"]
    ) -> Float32[np.ndarray, "cell peak ref+1"]:
        """Give the logits of all classes, -inf for those that the centring extinguishes."""
        found = self.run({INPUT: closeness(difference, self.epsilon)})[OUTPUT]
        return np.where(np.append(self.allowed(bravais), True), found, np.float32(-np.inf))

    def probabilities(
        self, bravais: str, x: Float[np.ndarray, "cell param"], q2: Float[np.ndarray, "cell peak"]
    ) -> Float32[np.ndarray, "cell peak ref+1"]:
        """Give each line's probability of each reference reflection, and of none of them in the last column.

        Args:
            bravais: lattice of the cells, one of this system.
            x: metric terms, Angstrom^-2.
            q2: the lines of each cell's pattern, Angstrom^-2, ascending; at most `n_peaks` of them.

        Raises:
            InvalidInput: the lattice is of another system, or there are more lines than the network tells apart.
        """
        if LATTICES[bravais].system != self.system:
            raise InvalidInput(f"The lattice {bravais} is {LATTICES[bravais].system}; this network is {self.system}.")
        if q2.shape[1] > self.n_peaks:
            raise InvalidInput(f"Found {q2.shape[1]} lines; this network takes the first {self.n_peaks}.")
        padded = np.pad(differences(x, q2, self.design), ((0, 0), (0, self.n_peaks - q2.shape[1]), (0, 0)), mode="edge")
        return probabilities_from_logits(self.logits(bravais, padded)[:, : q2.shape[1]])


@dataclass(frozen=True)
class AssignmentNetworks:
    """All networks at hand, by lattice system and level; the part `indices` of what is learned."""

    networks: Mapping[tuple[str, str], AssignmentNetwork]

    def network(self, bravais: str, level: str) -> AssignmentNetwork:
        """Look the network of a lattice's system up.

        Raises:
            InvalidInput: there is none.
        """
        key = (LATTICES[bravais].system, level)
        if key not in self.networks:
            known = ", ".join(" ".join(key) for key in self.networks) or "none at all"
            raise InvalidInput(f"There is no index network for {' '.join(key)}; there are {known}.")
        return self.networks[key]


def together(networks: Iterable[AssignmentNetwork]) -> AssignmentNetworks:
    """Put networks together."""
    return AssignmentNetworks(MappingProxyType({(one.system, one.level): one for one in networks}))


def from_model(loaded: LoadedModel) -> AssignmentNetwork:
    """Give a loaded version its behaviour.

    Raises:
        InvalidInput: the version is of another family.
        ModelRefused: its parameters do not fit the family.
    """
    if loaded.manifest.family != FAMILY:
        raise InvalidInput(f"The model {loaded.name!r} is of family {loaded.manifest.family!r}, not {FAMILY!r}.")
    read: Any = loaded.parameters
    try:
        hkl = np.array(read["hkl"], dtype=np.int64).reshape(-1, 3)
        network = AssignmentNetwork(
            str(read["system"]), str(read["level"]), hkl, float(read["epsilon"]), int(read["n_peaks"]), loaded.run
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"The parameters of the model {loaded.name!r} do not fit {FAMILY!r}.") from error
    if not (len(hkl) > 1 and network.epsilon > 0 and network.n_peaks > 0):
        raise ModelRefused(f"The model {loaded.name!r} has no reference reflections, no lines or no epsilon above 0.")
    return network
