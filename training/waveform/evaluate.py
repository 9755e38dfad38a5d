"""Methods against unseen events and unseen detectors: resumable, one file for each method and set of questions.

A method is fitted on one training set and asked about every setting. A result is kept together with what it was made
from, under a name that changes with the method, the training set and the questions; a rerun reads what is there, and
fits a method only where something is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float
from tqdm import tqdm

from app.model_registry.durable import replace_durably
from training.waveform.args import DataArgs
from training.waveform.bound import bound_us
from training.waveform.methods import Answer, Method, Predictor, Question, method_key
from training.waveform.scores import Bin, Scores, SeparationScores, TwoBin, TwoScores, score
from training.waveform.sets import TestArgs, TestSet, fingerprint, measured_noise, questions, training_set
from training.waveform.settings import SIMULATIONS

CHUNK: Final = 2000
"""Waveforms asked about at a time."""


@dataclass(frozen=True)
class Result:
    """One method on one set of questions, as it is kept.

    Attributes:
        method, settings_of_method: its name and its repr.
        training, training_fingerprint: what it learned from; None for a model that was trained elsewhere.
        questions, questions_fingerprint: what it was asked.
    """

    method: str
    settings_of_method: str
    training: DataArgs | None
    training_fingerprint: str | None
    questions: TestArgs
    questions_fingerprint: str
    scores: Scores


@dataclass(frozen=True)
class Plan:
    """What is evaluated.

    Attributes:
        methods: their names must differ.
        training: what those that learn learn from.
        questions: what they are asked.
        folder: where results are kept.
        shared_data: folder of the real measurements, for measured noise.
    """

    methods: Sequence[Method]
    training: DataArgs
    questions: Sequence[TestArgs]
    folder: Path
    shared_data: Path | None = None


def evaluate(plan: Plan, *, progress: bool = True) -> list[Result]:
    """Give the result of every method on every set of questions, in the plan's order; compute what is missing.

    Raises:
        ValueError: two methods with one name, or no such setting.
    """
    names = [method.name for method in plan.methods]
    if len(set(names)) < len(names):
        raise ValueError(f"names of methods must differ; found {', '.join(names)}")
    sets = _Sets(plan)
    bar = tqdm(plan.methods, unit="method", disable=not progress)
    for method in bar:
        bar.set_postfix_str(method.name)
        _evaluate_one(plan, method, sets)
    return [read_result(result_file(plan, method, asked)) for method in plan.methods for asked in plan.questions]


def result_file(plan: Plan, method: Method, asked: TestArgs) -> Path:
    """Give where a result is kept."""
    learned_from = (plan.training, SIMULATIONS.get(plan.training.setting)) if method.learns else None
    made_from = sha256(repr((learned_from, asked, SIMULATIONS.get(asked.setting))).encode()).hexdigest()[:10]
    return plan.folder / asked.setting / f"{method_key(method)}-{made_from}.json"


class _Sets:
    """Simulated sets, drawn when first asked for."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.training = lru_cache(1)(lambda: training_set(plan.training, singles=True))
        self.training_fingerprint = lru_cache(1)(lambda: fingerprint(self.training()))
        self.questions = lru_cache(None)(self._questions)
        self.asked_fingerprint = lru_cache(None)(lambda asked: fingerprint([self.questions(asked).two]))
        self.bounds = lru_cache(None)(self._bounds)

    def _questions(self, asked: TestArgs) -> TestSet:
        folder = self._plan.shared_data
        return questions(asked, None if folder is None else measured_noise(folder))

    def _bounds(self, asked: TestArgs, drift: bool) -> Float[np.ndarray, "wave"]:
        return bounds_us(self.questions(asked), drift=drift)


def _evaluate_one(plan: Plan, method: Method, sets: _Sets) -> None:
    waiting = [asked for asked in plan.questions if not result_file(plan, method, asked).exists()]
    if not waiting:
        return
    predict = method.fit(sets.training() if method.learns else [], np.random.default_rng(plan.training.seed))
    for asked in waiting:
        found = sets.questions(asked)
        bounds = sets.bounds(asked, method.drift)
        scores = scores_of(predict, found, bounds)
        made_from = sets.training_fingerprint() if method.learns else None
        result = Result(
            method.name,
            repr(method),
            plan.training if method.learns else None,
            made_from,
            asked,
            sets.asked_fingerprint(asked),
            scores,
        )
        write_result(result_file(plan, method, asked), result)


def bounds_us(found: TestSet, *, drift: bool) -> Float[np.ndarray, "wave"]:
    """Give the Cramer-Rao bound of each event with two scatters [us]; what is known beforehand of d counts too."""
    truth = found.two.truth
    return bound_us(
        found.settings,
        truth.d_us,
        truth.drift_time_us,
        truth.electrons,
        truth.split,
        drift_known=drift,
        joined=True,
    )


def scores_of(predict: Predictor, found: TestSet, bounds_us: Float[np.ndarray, "wave"] | None = None) -> Scores:
    """Ask a fitted method and score its answers."""
    answer, single = in_chunks(predict, found.two.question), in_chunks(predict, found.one.question)
    return score(found.two.truth.d_us, answer, single.p_two, bounds_us)


def in_chunks(predict: Predictor, question: Question) -> Answer:
    """Ask about many waveforms, some at a time."""
    rows = [slice(start, start + CHUNK) for start in range(0, len(question), CHUNK)]
    answers = [
        predict(replace(question, waveforms=question.waveforms[r], drift_time_us=question.drift_time_us[r]))
        for r in rows
    ]
    return Answer(
        _joined([a.d_us for a in answers]),
        _joined([a.p_two for a in answers]),
        _joined([a.intervals_us for a in answers]),
    )


def _joined(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [part for part in parts if part is not None]
    return np.concatenate(known, axis=-1) if known else None


def write_result(file: Path, result: Result) -> None:
    """Write a result so that a reader sees all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_durably(file, json.dumps(asdict(result), indent=1, allow_nan=False).encode())


def read_result(file: Path) -> Result:
    """Read what `write_result` wrote."""
    content = json.loads(file.read_text("utf-8"))
    return Result(
        **{
            **content,
            "training": content["training"] and DataArgs(**content["training"]),
            "questions": TestArgs(**content["questions"]),
            "scores": _scores(content["scores"]),
        }
    )


def stored_results(folder: Path) -> list[Result]:
    """Read all results in a folder."""
    return [read_result(file) for file in sorted(folder.glob("*/*.json"))]


def _scores(content: Mapping[str, Any]) -> Scores:
    separation, two = content["separation"], content["two"]
    return Scores(
        separation and SeparationScores(**{**_tupled(separation), "bins": _bins(Bin, separation)}),
        two and TwoScores(**{**two, "bins": _bins(TwoBin, two)}),
    )


def _bins(kind: type, content: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(kind(**_tupled(row)) for row in content["bins"])


def _tupled(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
