"""Leave one out as a job made of parts: each part is one fit, by any worker that sees the data set's folder.

`run` and `join` are pure functions of JSON, apart from the data set, which is named by its folder and by its
fingerprint. `work` writes what is to be submitted, and `outcomes` reads what came of it; the scores are those of
`training.polarization.evaluate.leave_one_out`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from app.errors import Conflict, InvalidInput
from app.polarization.experiment import Experiment, Material
from training.polarization.catalogue import GROUPINGS, HoldOut, experiments_to_predict, method_from_name
from training.polarization.data import EXPERIMENTS_FILE, load_dataset
from training.polarization.evaluate import (
    data_folder,
    markdown_table,
    outcome_content,
    outcome_from_content,
    plan,
    predicted,
    ranking,
    write_outcome,
)
from training.polarization.scores import Outcome
from training.polarization.splits import fingerprint


@dataclass(frozen=True)
class Study:
    """What is evaluated on what.

    Attributes:
        dataset: the folder that `python -m training.polarization data` wrote, as every worker sees it.
        data: fingerprint of the experiments: a worker that finds others refuses.
        material: ``crystalline`` or ``amorphous``.
        methods: by name, see `training.polarization.catalogue.method_from_name`.
        hold_out: what is held out together.
        seed: handed to every fit.
    """

    dataset: str
    data: str
    material: Material
    methods: tuple[str, ...]
    hold_out: HoldOut = HoldOut.installation
    seed: int = 0

    def experiments(self) -> tuple[Experiment, ...]:
        """Read the experiments.

        Raises:
            NotFound: there is no data set in the folder.
            Conflict: it is another one.
        """
        folder = Path(self.dataset)
        file = folder / EXPERIMENTS_FILE
        changed_ns = file.stat().st_mtime_ns if file.is_file() else 0
        found = _experiments(folder, self.material, changed_ns)
        if fingerprint(found) != self.data:
            raise Conflict("the folder holds another data set than the job was made for: submit it again")
        return found


@lru_cache(maxsize=2)
def _experiments(folder: Path, material: str, _changed_ns: int) -> tuple[Experiment, ...]:
    """Read once what all parts of a study need; another time of the file is another data set."""
    return tuple(experiments_to_predict(load_dataset(folder), material))


def study_of(dataset: Path, material: Material, methods: Sequence[str], *, hold_out: HoldOut, seed: int) -> Study:
    """Describe a study of the data set as it is now.

    Raises:
        InvalidInput: an unknown method, or no experiment of the material.
        NotFound: there is no data set in the folder.
    """
    folder = str(dataset.resolve())
    for name in methods:
        _method(name)
    found = experiments_to_predict(load_dataset(dataset), material)
    if not found:
        raise InvalidInput(f"the data set has no {material} experiment with a point between its anchors")
    return Study(folder, fingerprint(found), material, tuple(dict.fromkeys(methods)), hold_out, seed)


def work(study: Study) -> tuple[bytes, list[bytes]]:
    """Write the payload of the job, and of each of its parts: a method without one group of experiments.

    Raises:
        InvalidInput: nothing would be left to learn from.
        NotFound, Conflict: as `Study.experiments`.
    """
    groups = GROUPINGS[study.hold_out](study.experiments())
    if len(groups) < 2:
        raise InvalidInput(f"all experiments are of one {study.hold_out}: nothing is left to learn from")
    told = asdict(study)
    parts = [_json({**told, "methods": [name], "held_out": group}) for group in groups for name in study.methods]
    return _json(told), parts


def run(payload: bytes, report: Callable[[bytes], None], cancelled: Callable[[], bool]) -> bytes:
    """Fit one method without one group and give what it predicts there.

    Raises:
        InvalidInput, NotFound, Conflict: the study does not fit what this worker finds.
    """
    content = json.loads(payload)
    held_out = tuple(content.pop("held_out"))
    study = _study(content)
    (name,) = study.methods
    found = predicted(_method(name), held_out, study.experiments(), study.seed)
    return _json({"method": name, "outcomes": [outcome_content(one) for one in found]})


def join(payload: bytes, results: Sequence[bytes]) -> bytes:
    """Put all predictions together and rank the methods: ``study``, ``ranking``, ``table`` and ``outcomes``."""
    study = _study(json.loads(payload))
    order = {experiment.name: place for place, experiment in enumerate(study.experiments())}
    by_method: dict[str, list[Outcome]] = {name: [] for name in study.methods}
    for result in map(json.loads, results):
        by_method[result["method"]] += [outcome_from_content(one) for one in result["outcomes"]]
    for found in by_method.values():
        found.sort(key=lambda one: order[one.experiment])
    rows = ranking(by_method)
    return _json(
        {
            "study": asdict(study),
            "ranking": [asdict(row) for row in rows],
            "table": markdown_table(rows),
            "outcomes": {name: [outcome_content(one) for one in found] for name, found in by_method.items()},
        }
    )


def keep(result: Mapping[str, Any], folder: Path) -> Path:
    """Write a job's outcomes where `evaluate` keeps its own, so that `rank` and `publish` see them.

    Args:
        result: what `join` gave.
        folder: as for `training.polarization.evaluate.leave_one_out`.

    Returns:
        The folder of this data set.
    """
    study = _study(result["study"])
    experiments = study.experiments()
    methods = {name: _method(name) for name in study.methods}
    for task in plan(list(methods.values()), experiments, folder, study.seed, GROUPINGS[study.hold_out]):
        outcomes = {one["experiment"]: one for one in result["outcomes"][task.method.name]}
        for index, file in zip(task.held_out, task.files, strict=True):
            write_outcome(file, outcome_from_content(outcomes[experiments[index].name]))
    return data_folder(folder, experiments)


def _study(content: Mapping[str, Any]) -> Study:
    try:
        known = Study(**content)
        return Study(**{**content, "methods": tuple(known.methods), "hold_out": HoldOut(known.hold_out)})
    except (TypeError, ValueError):
        raise InvalidInput(
            f"expected a study with {', '.join(Study.__dataclass_fields__)}, as `training.polarization parts` writes it"
        ) from None


def _method(name: str) -> Any:
    try:
        return method_from_name(name)
    except ValueError as error:
        raise InvalidInput(str(error)) from None


def _json(content: Any) -> bytes:
    return json.dumps(content, allow_nan=False).encode()
