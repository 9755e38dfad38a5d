"""Leave one experiment out, over a table of methods: parallel, resumable, ranked.

Every installation (see `splits`) is held out once, each method is fitted to the rest and predicts the points between
the held-out anchors. One file for each method and held-out experiment is written when its fold is done; a rerun reads
what is there. The folder's name carries the data's fingerprint, the method's settings and the seed.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from app.polarization.correction import bump, line_sigma, position
from app.polarization.ensemble import inverse_variance_mean
from app.polarization.experiment import Experiment
from training.polarization.methods import Method, Prediction, method_key
from training.polarization.scores import Outcome, Scores, outcome, score
from training.polarization.splits import fingerprint, installations

Grouping = Callable[[Sequence[Experiment]], list[tuple[int, ...]]]
"""Experiments -> indices of those that are held out together; see `splits`."""


@dataclass(frozen=True)
class Task:
    """One fit: a method without one installation. `held_out` indexes the experiments."""

    method: Method
    held_out: tuple[int, ...]
    files: tuple[Path, ...]
    seed: int

    @property
    def done(self) -> bool:
        return all(file.exists() for file in self.files)


def leave_one_out(
    methods: Sequence[Method],
    experiments: Sequence[Experiment],
    folder: Path,
    *,
    grouping: Grouping = installations,
    seed: int = 0,
    jobs: int = 1,
    progress: bool = True,
) -> dict[str, list[Outcome]]:
    """Predict every experiment by every method without having seen its installation.

    Fits run through joblib: inside ``with joblib.parallel_config("dask")`` they run on a Dask cluster that shares the
    file system.

    Args:
        methods: names must differ.
        experiments: of one material, deduplicated.
        folder: where results are kept, e.g. ``runs/leave-one-out/crystalline``; another one for another grouping.
        grouping: what is held out together.
        seed: handed to every fit.
        jobs: fits at the same time, in processes; -1 takes all cores. A back end that is set outside goes before it.
        progress: show a bar on standard error.

    Returns:
        Outcomes by method name, in the order of the experiments; those without a point between the anchors left out.

    Raises:
        ValueError: two methods with one name, or experiments of several materials or with one name.
    """
    _check(methods, experiments)
    kept = [e for e in experiments if len(e.time_s) > 2]
    tasks = plan(methods, kept, folder, seed, grouping)
    waiting = [task for task in tasks if not task.done]
    results = Parallel(n_jobs=jobs, return_as="generator_unordered")(delayed(run)(task, kept) for task in waiting)
    bar = tqdm(results, total=len(tasks), initial=len(tasks) - len(waiting), unit="fit", disable=not progress)
    for method in bar:
        bar.set_postfix_str(str(method))
    return {method.name: _read_all(method, tasks, kept) for method in methods}


def _check(methods: Sequence[Method], experiments: Sequence[Experiment]) -> None:
    for what, names in (("methods", [m.name for m in methods]), ("experiments", [e.name for e in experiments])):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"names of {what} must differ; found twice: {', '.join(twice)}")
    if len({e.material for e in experiments}) != 1:
        raise ValueError("give experiments of exactly one material: crystalline or amorphous")


def plan(
    methods: Sequence[Method],
    experiments: Sequence[Experiment],
    folder: Path,
    seed: int,
    grouping: Grouping = installations,
) -> list[Task]:
    """List all fits, done or not. Groups come first, methods within: early results cover all methods."""
    data = data_folder(folder, experiments)
    return [
        Task(
            method,
            group,
            tuple(data / f"{method_key(method)}-seed{seed}" / _file_name(experiments[i].name) for i in group),
            seed,
        )
        for group in grouping(experiments)
        for method in methods
    ]


def data_folder(folder: Path, experiments: Sequence[Experiment]) -> Path:
    """Give where results on exactly these experiments are kept."""
    return folder / f"data-{fingerprint(experiments)[:12]}"


def stored_outcomes(folder: Path, experiments: Sequence[Experiment]) -> dict[str, list[Outcome]]:
    """Read the results of every method that has predicted all of these experiments.

    Returns:
        By method name; where a name was run with several settings or seeds, the folder's key is added to it.
    """
    names = [_file_name(e.name) for e in experiments]
    whole = [d for d in sorted(data_folder(folder, experiments).glob("*")) if all((d / n).exists() for n in names)]
    labels = [d.name.rsplit("-", 2)[0] for d in whole]
    return {
        label if labels.count(label) == 1 else f"{label} ({d.name.removeprefix(label + '-')})": [
            read_outcome(d / n) for n in names
        ]
        for label, d in zip(labels, whole, strict=True)
    }


def _file_name(experiment: str) -> str:
    """Names hold brackets and commas, and may be long: keep what is harmless and add a digest."""
    harmless = "".join(c if c.isalnum() or c in "-_" else "_" for c in experiment)[:80]
    return f"{harmless}-{sha256(experiment.encode()).hexdigest()[:8]}.json"


def run(task: Task, experiments: Sequence[Experiment]) -> str:
    """Fit one method without one installation and write what it predicts there. Returns the method's name."""
    found = predicted(task.method, task.held_out, experiments, task.seed)
    for result, file in zip(found, task.files, strict=True):
        write_outcome(file, result)
    return task.method.name


def predicted(
    method: Method, held_out: Sequence[int], experiments: Sequence[Experiment], seed: int
) -> Iterator[Outcome]:
    """Fit a method without some experiments and predict each of them."""
    held = set(held_out)
    predictor = method.fit([e for i, e in enumerate(experiments) if i not in held], seed)
    for index in held_out:
        yield outcome(experiments[index], Prediction(*predictor(experiments[index].query())))


def write_outcome(file: Path, result: Outcome) -> None:
    """Write a result so that a reader sees all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(outcome_content(result), stream, allow_nan=False)
    Path(temporary).replace(file)


def read_outcome(file: Path) -> Outcome:
    """Read what `write_outcome` wrote."""
    return outcome_from_content(json.loads(file.read_text("utf-8")))


def outcome_content(result: Outcome) -> dict[str, Any]:
    """Give a result as plain data."""
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(result).items()}


def outcome_from_content(content: Mapping[str, Any]) -> Outcome:
    """Inverse of `outcome_content`, to the last bit, also after a way through JSON."""
    columns = {f.name: np.array(content[f.name], dtype=float) for f in fields(Outcome) if f.name != "experiment"}
    return Outcome(experiment=str(content["experiment"]), **columns)


def _read_all(method: Method, tasks: Sequence[Task], experiments: Sequence[Experiment]) -> list[Outcome]:
    files = {i: f for t in tasks if t.method == method for i, f in zip(t.held_out, t.files, strict=True)}
    return [read_outcome(files[i]) for i in range(len(experiments))]


def combined(members: Sequence[Sequence[Outcome]], experiments: Sequence[Experiment]) -> list[Outcome]:
    """Combine corrected members as the D3 pipeline does, from their results: nothing is fitted again.

    The anchors' errors are common to all members. They are taken out of each sigma, the members' own errors are
    averaged by inverse variance, and the anchors' errors are added in quadrature again.

    Args:
        members: one list for each member, all over the same experiments in the same order.
        experiments: those experiments, for their anchors.
    """
    by_name = {e.name: e for e in experiments}
    return [_combined_one([m[i] for m in members], by_name[members[0][i].experiment]) for i in range(len(members[0]))]


def _combined_one(results: Sequence[Outcome], experiment: Experiment) -> Outcome:
    query = experiment.query()
    u = position(query.time_s, query.initial, query.final)
    anchors = line_sigma(u, query.initial.sigma, query.final.sigma)
    smallest = 1e-4 * bump(u)
    own = [np.sqrt(np.maximum(r.predicted_sigma**2 - anchors**2, smallest**2)) for r in results]
    curve = inverse_variance_mean(np.stack([r.predicted for r in results]), np.stack(own))
    return outcome(experiment, Prediction(curve.mean, np.hypot(curve.sigma, anchors)))


@dataclass(frozen=True)
class Ranked:
    """A row of the ranking."""

    method: str
    scores: Scores


def ranking(results: Mapping[str, Sequence[Outcome]]) -> list[Ranked]:
    """Order methods by RMSE, the best first."""
    return sorted((Ranked(name, score(found)) for name, found in results.items()), key=lambda row: row.scores.rmse)


COLUMNS = ("rmse", "mae", "chi2", "over_floor", "coverage_1", "coverage_2")


def markdown_table(rows: Sequence[Ranked]) -> str:
    """Write a ranking as a Markdown table."""
    head = ["method", *COLUMNS]
    body = [[row.method, *(f"{asdict(row.scores)[c]:.4g}" for c in COLUMNS)] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])
