"""Fit methods on one simulation and let them answer patterns of many: resumable, one JSON file for each pair.

A file is written when a method has answered a case, and read when it is there. Its folder's name carries what the
method was trained on and every setting of the method, and both names a digest of the simulator: what an older simulator
gave is not taken for an answer.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from tqdm import tqdm

from training.aggregates.args import DataArgs
from training.aggregates.cases import CASES, case_named, unseen_sample
from training.aggregates.methods import Answer, Classifier, Method, Sample, fingerprint, method_key, sample
from training.aggregates.scores import Outcome, Scores, confusion, reliability, score, sliced
from training.aggregates.settings import SIMULATIONS, TRAINING

EDGES: Final = MappingProxyType[str, tuple[float, ...]](
    {
        "photons": tuple(float(x) for x in np.round(np.geomspace(1e3, 1e7, 17), 0)),
        "radius_px": tuple(float(x) for x in np.arange(2.0, 8.25, 0.5)),
        "overlap": (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0),
    }
)
"""Bins in which accuracy is given: photons a particle, radius [object pixels], hidden share of the area."""
DIGITS: Final = 7
REFERENCE: Final = "reference-r5"
"""What methods are trained on that are tested on a shift."""


@dataclass(frozen=True)
class Result:
    """What one method, trained on one thing, said of one case."""

    method: str
    training: str
    case: str
    outcome: Outcome

    @property
    def scores(self) -> Scores:
        return score(self.outcome)


def training_key(method: Method, data: DataArgs) -> str:
    """Give the folder's name for what a method was trained on; one that is trained already says so itself."""
    own = f"{data.setting}-{data.images}-seed{data.seed}-{fingerprint(data.setting)}"
    return getattr(method, "trained_on", None) or own


def evaluate(
    methods: Sequence[Method],
    data: DataArgs,
    cases: Sequence[str],
    folder: Path,
    *,
    images: int,
    seed: int = 0,
    progress: bool = True,
) -> list[Result]:
    """Fit each method once and let it answer every case; what is done already is read.

    Args:
        methods: names must differ.
        data: what they are trained on.
        cases: keys of `cases.CASES`.
        folder: where results are kept, e.g. ``runs/aggregates/results``.
        images: test patterns of each case.
        seed: of the fits and of the test patterns.
        progress: show a bar on standard error.

    Returns:
        One result for each method and case.

    Raises:
        ValueError: two methods with one name, or an unknown case.
    """
    names = [method.name for method in methods]
    if len(set(names)) < len(names):
        raise ValueError(f"names of methods must differ; found {', '.join(names)}")
    for name in cases:
        case_named(name)
    tasks = [(m, c, _file(folder, data, m, c, images, seed)) for c in cases for m in methods]
    fitted = cache(lambda method: _fit(method, data, seed))
    tested = lru_cache(maxsize=1)(lambda case: unseen_sample(case_named(case), images, seed))
    for method, case, file in tqdm(tasks, unit="answer", disable=not progress):
        if not file.exists():
            found = outcome_of(fitted(method), tested(case))
            _write(file, Result(method.name, training_key(method, data), case, found))
    return [read(file) for _, _, file in tasks]


def _fit(method: Method, data: DataArgs, seed: int) -> Classifier:
    if getattr(method, "trained_on", None):
        return method.fit(*_training_samples(replace(data, images=1, validation_images=1)), seed)
    return method.fit(*_training_samples(data), seed)


@lru_cache(maxsize=1)
def _training_samples(data: DataArgs) -> tuple[Sample, Sample]:
    train = sample(data.setting, "train", data.images, data.seed)
    return train, sample(data.setting, "validation", data.validation_images, data.seed)


def outcome_of(classifier: Classifier, tested: Sample) -> Outcome:
    """Let a classifier answer patterns and put the truth beside its answers."""
    return _outcome(classifier.predict_proba(tested.question), tested)


def _outcome(answer: Answer, tested: Sample) -> Outcome:
    truth = tested.truth
    return Outcome(truth.number, answer.probability, answer.answered, truth.photons, truth.radius_px, truth.overlap)


def _file(folder: Path, data: DataArgs, method: Method, case: str, images: int, seed: int) -> Path:
    drawn = fingerprint(case_named(case).simulation)
    return folder / training_key(method, data) / method_key(method) / f"{case}-{images}-seed{seed}-{drawn}.json"


def _write(file: Path, result: Result) -> None:
    """Write a result so that a reader sees all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=file.parent, suffix=".part")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        json.dump(_said(result), stream, allow_nan=False)
    Path(temporary).replace(file)


def _said(result: Result) -> dict[str, Any]:
    outcome = result.outcome
    return {
        "method": result.method,
        "training": result.training,
        "case": result.case,
        "scores": asdict(result.scores),
        "confusion": confusion(outcome).tolist(),
        "reliability": {name: column.tolist() for name, column in vars(reliability(outcome)).items()},
        "slices": {by: [asdict(s) for s in sliced(outcome, getattr(outcome, by), e)] for by, e in EDGES.items()},
        "outcome": {name: _short(column) for name, column in vars(outcome).items()},
    }


def _short(column: np.ndarray) -> list[Any]:
    return (np.round(column, DIGITS) if column.dtype.kind == "f" else column).tolist()


def read(file: Path) -> Result:
    """Read what `evaluate` wrote."""
    said = json.loads(file.read_text("utf-8"))
    outcome = Outcome(**{name: np.array(column) for name, column in said["outcome"].items()})
    return Result(said["method"], said["training"], said["case"], outcome)


def stored(folder: Path, key: Callable[[str], bool] = lambda name: True) -> list[Result]:
    """Read the results; of one method, training and case the one with the most patterns, the newest among equals.

    What was found with another simulator than today's is left out.

    Args:
        folder: of the results.
        key: tells which folders of methods to read, by `method_key`.
    """
    found: dict[tuple[str, str, str], Result] = {}
    files = (file for file in folder.glob("*/*/*.json") if key(file.parent.name) and _of_today(file))
    for file in sorted(files, key=lambda f: f.stat().st_mtime):
        result = read(file)
        name = result.training, result.method, result.case
        if name not in found or len(found[name].outcome.number) <= len(result.outcome.number):
            found[name] = result
    return list(found.values())


def _of_today(file: Path) -> bool:
    """Tell whether simulations of today gave a result; what was trained on several has none to compare."""
    case, setting = file.stem.rsplit("-", 3)[0], file.parents[1].name.rsplit("-", 3)[0]
    tested = CASES[case].simulation if case in CASES else ""
    named = ((file.stem, tested, True), (file.parents[1].name, setting, False))
    return all(name.endswith(fingerprint(s)) if s in SIMULATIONS else not must for name, s, must in named)


def comparable(results: Iterable[Result]) -> list[Result]:
    """Keep what may stand in one table: each method trained on the setting that is tested, with the most patterns.

    On a case that nothing is trained on (a shift), methods trained on the reference are kept. A method that was trained
    on several settings is kept everywhere.
    """
    best: dict[tuple[str, str], tuple[int, Result]] = {}
    for result in results:
        setting, images, *_ = (*result.training.rsplit("-", 3), "0")
        if setting in SIMULATIONS and setting != (result.case if result.case in TRAINING else REFERENCE):
            continue
        size = int(images) if images.isdecimal() else 0
        key = result.method, result.case
        if key not in best or best[key][0] < size:
            best[key] = size, result
    return [result for _, result in best.values()]


# --- tables -----------------------------------------------------------------------------------------------------------


def case_table(results: Iterable[Result]) -> str:
    """Write the methods of one case as a Markdown table, the most accurate first."""
    rows = sorted(results, key=lambda r: (-r.scores.accuracy, r.scores.log_loss))
    head = ["method", "patterns", "accuracy", "log loss", "ECE", "answered", "accuracy of these", "ECE of these"]
    return markdown(head, [[r.method, *_numbers(r.scores)] for r in rows])


def _numbers(found: Scores) -> list[str]:
    return [
        str(found.images),
        f"{found.accuracy:.4f} ± {found.accuracy_sigma:.4f}",
        f"{found.log_loss:.4f}",
        f"{found.ece:.4f}",
        f"{found.answered:.3f}",
        _optional(found.accuracy_answered),
        _optional(found.ece_answered),
    ]


def _optional(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def shift_table(results: Iterable[Result]) -> str:
    """Write accuracy of methods (columns) on cases (rows); of one that abstains also `answered share: accuracy`."""
    rows = list(results)
    methods, cases = (list(dict.fromkeys(getattr(r, what) for r in rows)) for what in ("method", "case"))
    by = {(r.method, r.case): r.scores for r in rows}
    return markdown(["case", *methods], [[c, *(_cell(by.get((m, c))) for m in methods)] for c in cases])


def _cell(found: Scores | None) -> str:
    if found is None:
        return ""
    if found.answered == 1.0:
        return f"{found.accuracy:.3f}"
    return f"{found.accuracy:.3f} (answers {found.answered:.3f}: {_optional(found.accuracy_answered)})"


def slice_table(results: Sequence[Result], by: str) -> str:
    """Write accuracy of methods (columns) in bins of a quantity (rows)."""
    found = {
        r.method: {(s.low, s.high): s for s in sliced(r.outcome, getattr(r.outcome, by), EDGES[by])} for r in results
    }
    bins = sorted({edges for slices in found.values() for edges in slices})
    body = [[f"{low:g} to {high:g}", *(_share(found[m], (low, high)) for m in found)] for low, high in bins]
    return markdown([by, *found], body)


def _share(slices: Mapping[tuple[float, float], Any], edges: tuple[float, float]) -> str:
    return f"{slices[edges].accuracy:.3f}" if edges in slices else ""


def confusion_table(result: Result) -> str:
    """Write true numbers (rows) against the most probable ones (columns)."""
    table = confusion(result.outcome)
    return markdown(
        ["true \\ said", *map(str, range(1, 6))], [[str(i + 1), *map(str, row)] for i, row in enumerate(table)]
    )


def markdown(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    """Write a Markdown table."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body])
