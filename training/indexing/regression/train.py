"""Train the regression models of a Bravais lattice: a network and a forest for the lattice, or for each group of it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import joblib
import numpy as np
from jaxtyping import Float, Int
from sklearn.ensemble import RandomForestRegressor
from sklearn.preprocessing import StandardScaler

from app.crystallography.lattice import LATTICES
from app.errors import InvalidInput
from app.indexing.learned.regression import Scaling, scaling_from_json, scaling_to_json
from training.indexing.regression import mixture_network, variance_network
from training.indexing.regression.forests import ForestArgs, fit_forest
from training.indexing.regression.mixture_network import MixtureArgs
from training.indexing.regression.rows import ALL, Disturbance, Rows, disturbed, fit_scaling, n_lines_of
from training.indexing.regression.variance_network import Epochs, Example, Network, Trained, VarianceArgs, stacked

MODEL_FILE: Final = "model.keras"
ESTIMATORS_FILE: Final = "estimators.joblib"
RECORD_FILE: Final = "record.json"
REST: Final = "rest"
LEVELS: Final = ("lattice", "group")


@dataclass(frozen=True)
class RegressionArgs:
    """One training run.

    Attributes:
        frame: of `app.indexing.learned.regression.FRAMES`.
        level: one model for the ``lattice``, or for each ``group`` of reflection conditions.
        rotate: predict the principal directions of the cells instead of their constants, so that independent draws keep
            what hangs together.
        least_in_group: training patterns that a group needs; smaller ones are put together.
        epoch_rows: patterns in one epoch, each time others and newly disturbed; 0 takes all.
        forest_copies: times that the forest sees each pattern, each time newly disturbed.
        share: of the training patterns that are used, for learning curves.
        disturbance: what happens to the lines.
        density: what the network says of a cell, of `TRAINERS`.
        network, mixture, forest: how they are trained; the seed of all is that of ``network``.
    """

    frame: str = "relative"
    level: str = "lattice"
    rotate: bool = False
    least_in_group: int = 200
    epoch_rows: int = 0
    forest_copies: int = 2
    share: float = 1.0
    disturbance: Disturbance = field(default_factory=Disturbance)
    density: str = "variance"
    network: VarianceArgs = field(default_factory=VarianceArgs)
    mixture: MixtureArgs = field(default_factory=MixtureArgs)
    forest: ForestArgs = field(default_factory=ForestArgs)


@dataclass(frozen=True)
class GroupModel:
    """What one group learned."""

    name: str
    network: Network
    forest: RandomForestRegressor
    history: tuple[dict[str, float], ...]
    n_rows: int


@dataclass(frozen=True)
class LatticeRun:
    """What one lattice learned.

    Attributes:
        scaling: of all its groups.
        groups: their models.
        seconds: processor time.
    """

    bravais: str
    args: RegressionArgs
    scaling: Scaling
    groups: tuple[GroupModel, ...]
    seconds: float = 0.0


def train_lattice(rows: Rows, args: RegressionArgs, folder: Path | None = None) -> LatticeRun:
    """Train on the patterns that are not held out.

    Args:
        rows: all patterns of the lattice.
        args: how.
        folder: keeps checkpoints of the networks; an interrupted run goes on there.

    Raises:
        InvalidInput: an unknown level, or no pattern to learn from.
    """
    started = time.process_time()
    for name, known in (("level", LEVELS), ("density", tuple(TRAINERS))):
        if getattr(args, name) not in known:
            raise InvalidInput(f"{name}: found {getattr(args, name)!r}; choose from {', '.join(known)}")
    fitted, held = rows.where(~rows.validation), rows.where(rows.validation)
    fitted = fitted.where(_shuffled(len(fitted), args.network.seed)[: int(np.ceil(args.share * len(fitted)))])
    if not len(fitted) or not len(held):
        raise InvalidInput(f"{rows.bravais}: {len(fitted)} patterns to learn from and {len(held)} held out")
    rng = np.random.default_rng([args.network.seed, 1])
    scaling = fit_scaling(_spoiled(fitted, args, rng), args.frame, n_lines_of(rows.bravais), rotate=args.rotate)
    held = _spoiled(held, args, rng)
    groups = []
    for name, members in members_by_group(fitted, args).items():
        inside = fitted.where(np.isin(fitted.group, members))
        outside = held.where(np.isin(held.group, members))
        kept = folder / name if folder else None
        groups.append(_train_group(name, inside, outside if len(outside) else held, scaling, args, kept))
    return LatticeRun(rows.bravais, args, scaling, tuple(groups), time.process_time() - started)


def members_by_group(rows: Rows, args: RegressionArgs) -> dict[str, Int[np.ndarray, "group"]]:
    """The numbers of the groups that share a model, by its name."""
    counts = np.bincount(rows.group, minlength=len(rows.groups))
    large = np.flatnonzero(counts >= args.least_in_group)
    if args.level == "lattice" or not len(large):
        return {ALL: np.arange(len(counts))}
    small = np.setdiff1d(np.arange(len(counts)), large)
    named = {f"{number}": np.array([number]) for number in large}
    return named | ({REST: small} if counts[small].any() else {})


def _variance(data: Epochs, held_out: Example, args: RegressionArgs, folder: Path | None) -> Trained:
    return variance_network.train(data, held_out, args.network, folder)


def _mixture(data: Epochs, held_out: Example, args: RegressionArgs, folder: Path | None) -> Trained:
    return mixture_network.train(data, held_out, replace(args.mixture, seed=args.network.seed))


TRAINERS: Final = {"variance": _variance, "mixture": _mixture}
"""By the density that a network says, see `app.indexing.learned.regression.DENSITIES`."""


def _train_group(
    name: str, fitted: Rows, held: Rows, scaling: Scaling, args: RegressionArgs, folder: Path | None
) -> GroupModel:
    def epoch(number: int) -> Example:
        rng = np.random.default_rng([args.network.seed, 2, number])
        chosen = rng.permutation(len(fitted))[: args.epoch_rows or None]
        return example(_spoiled(fitted.where(chosen), args, rng), scaling)

    trained = TRAINERS[args.density](epoch, example(held, scaling), args, folder)
    rng = np.random.default_rng([args.network.seed, 3])
    copies = [example(_spoiled(fitted, args, rng), scaling) for _ in range(args.forest_copies)]
    inputs, targets = (np.concatenate([getattr(one, what) for one in copies]) for what in ("inputs", "targets"))
    forest = fit_forest(inputs, targets, args.forest)
    return GroupModel(name, trained.network, forest, trained.history, len(fitted))


def example(rows: Rows, scaling: Scaling) -> Example:
    """Scaled lines and cells."""
    targets = scaling.targets(LATTICES[rows.bravais], rows.constants, rows.q2)
    return Example(scaling.inputs(rows.q2), targets)


def _spoiled(rows: Rows, args: RegressionArgs, rng: np.random.Generator) -> Rows:
    return replace(rows, q2=disturbed(rows.q2, args.disturbance, rng))


def _shuffled(count: int, seed: int) -> Int[np.ndarray, "row"]:
    return np.random.default_rng([seed, 0]).permutation(count)


# Files


def save(run: LatticeRun, folder: Path) -> None:
    """Write network, forests with scalers, and record of a lattice into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    stacked([group.network for group in run.groups]).save(folder / MODEL_FILE)
    scaling = run.scaling
    estimators: dict[str, Any] = {f"forest_{i}": group.forest for i, group in enumerate(run.groups)}
    estimators["lines"] = _scaler(scaling.input_mean, scaling.input_scale)
    estimators["cell"] = _scaler(scaling.target_mean, scaling.target_scale)
    joblib.dump(estimators, folder / ESTIMATORS_FILE, compress=3)
    record = {
        "bravais": run.bravais,
        "args": asdict(run.args),
        "scaling": scaling_to_json(scaling),
        "groups": [group.name for group in run.groups],
        "n_rows": [group.n_rows for group in run.groups],
        "history": [list(group.history) for group in run.groups],
        "cpu_s": run.seconds,
    }
    (folder / RECORD_FILE).write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def _scaler(mean: Float[np.ndarray, "column"], scale: Float[np.ndarray, "column"]) -> StandardScaler:
    """The scaler that two rows, one scale above and below the mean, would fit."""
    return StandardScaler().fit(np.stack([mean - scale, mean + scale]))


@dataclass(frozen=True)
class SavedRun:
    """A lattice's run as it lies in a folder.

    Attributes:
        record: arguments, scaling, groups, history.
        network: file of the groups' networks as one.
        forests: in the order of the groups.
    """

    bravais: str
    record: dict[str, Any]
    network: Path
    forests: Sequence[RandomForestRegressor]

    @property
    def scaling(self) -> Scaling:
        return scaling_from_json(self.record["scaling"])


def read_run(folder: Path) -> SavedRun:
    """Read what `save` wrote.

    Raises:
        InvalidInput: the folder holds no finished run.
    """
    if not (folder / RECORD_FILE).is_file():
        raise InvalidInput(f"{folder.name} holds no finished training run: expected {RECORD_FILE}")
    record = json.loads((folder / RECORD_FILE).read_text("utf-8"))
    estimators = joblib.load(folder / ESTIMATORS_FILE)
    forests = [estimators[f"forest_{number}"] for number in range(len(record["groups"]))]
    return SavedRun(record["bravais"], record, folder / MODEL_FILE, forests)
