"""Score trained regression models on held-out patterns, beside the trivial predictor and each other."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from training.indexing.regression.predictors import ByForest, ByMixture, ByNetwork, Forecast, Marginal, Predictor
from training.indexing.regression.rows import ALL, CLEAN, IMPURE, Disturbance, Rows, disturbed
from training.indexing.regression.scores import Scores, scores
from training.indexing.regression.train import REST, SavedRun, example

SCORES_FILE: Final = "scores.json"
CONDITIONS: Final[Mapping[str, Disturbance]] = {
    "clean": CLEAN,
    "impure": IMPURE,
    "shifted": replace(CLEAN, zero_shift_deg=0.1),
}
"""Noise of 0.01 to 0.02 deg; with 1 to 5 foreign lines among the first 20; with a zero shift of 0.1 deg (1 sigma)."""


BY_DENSITY: Final = {"variance": ByNetwork, "mixture": ByMixture}


@dataclass(frozen=True)
class ByGroup:
    """The predictors of all groups: the truth is held against that of its own group, draws come from all in turn.

    Attributes:
        predictors: of each group.
        own: the group of each pattern.
    """

    predictors: Sequence[Predictor]
    own: Int[np.ndarray, "pattern"]

    def forecast(
        self, inputs: Float[np.ndarray, "pattern feature"], truth: Float[np.ndarray, "pattern param"]
    ) -> Forecast:
        """See the class."""
        said = [predictor.forecast(inputs, truth) for predictor in self.predictors]
        rows = np.arange(len(truth))
        return Forecast(
            *(np.stack([getattr(f, name) for f in said])[self.own, rows] for name in ("best", "nll", "below"))
        )

    def draws(
        self, inputs: Float[np.ndarray, "pattern feature"], count: int, rng: np.random.Generator
    ) -> Float[np.ndarray, "pattern draw param"]:
        """As many from each group as make up the count."""
        each = -(-count // len(self.predictors))
        drawn = np.stack([predictor.draws(inputs, each, rng) for predictor in self.predictors], axis=2)
        return drawn.reshape(len(inputs), -1, drawn.shape[-1])[:, :count]


def predictors_of(run: SavedRun, fitted: Rows, held: Rows) -> dict[str, Predictor]:
    """The trivial predictor, the forests and the networks of a run, to be asked about the held-out patterns."""
    import keras

    own, network = own_groups(run, held), keras.models.load_model(run.network)
    kind, targets = BY_DENSITY[run.record["args"]["density"]], example(fitted, run.scaling).targets
    return {
        "trivial": Marginal(targets),
        "forest": ByGroup([ByForest(forest) for forest in run.forests], own),
        "network": ByGroup([kind(network, group) for group in range(len(run.forests))], own),
    }


def own_groups(run: SavedRun, rows: Rows) -> Int[np.ndarray, "pattern"]:
    """Which of the run's groups each pattern belongs to."""
    names = run.record["groups"]
    if names == [ALL]:
        return np.zeros(len(rows), np.int64)
    last = names.index(REST) if REST in names else 0
    return np.array([names.index(str(group)) if str(group) in names else last for group in rows.group])


def evaluate(run: SavedRun, rows: Rows, seed: int = 0, *, walks: int = 100) -> dict[str, dict[str, Scores]]:
    """Score on the held-out patterns: condition -> predictor -> scores; real structures apart, where there are any."""
    fitted, found = rows.where(~rows.validation), {}
    for condition, how in CONDITIONS.items():
        for kind, chosen in (("synthetic", ~rows.real), ("real", rows.real)):
            held = rows.where(rows.validation & chosen)
            if not len(held):
                continue
            spoiled = replace(held, q2=disturbed(held.q2, how, np.random.default_rng([seed, len(held)])))
            predictors = predictors_of(run, fitted, spoiled)
            found[f"{kind}, {condition}"] = {
                name: scores(predictor, spoiled, run.scaling, seed, walks=walks)
                for name, predictor in predictors.items()
            }
    return found


def save_scores(found: Mapping[str, Mapping[str, Scores]], folder: Path) -> None:
    """Write the scores beside the run."""
    (folder / SCORES_FILE).write_text(json.dumps(scores_to_json(found), indent=1) + "\n", "utf-8")


def scores_to_json(found: Mapping[str, Mapping[str, Scores]]) -> dict[str, Any]:
    """The scores as a manifest holds them; an angle's error is left out where there is none."""
    return {
        condition: {
            name: {key: value for key, value in asdict(one).items() if not np.any(np.isnan(value))}
            for name, one in rows.items()
        }
        for condition, rows in found.items()
    }


HEADING: Final = (
    f"{'lattice':8}{'patterns':20}{'predictor':10}{'n':>6}{'length':>8}{'angle':>7}{'NLL':>8}{'50%':>6}{'90%':>6}"
    f"{'close':>7}{'any':>6}{'refined':>9}{'any':>6}"
)


def table(bravais: str, found: Mapping[str, Mapping[str, Scores]]) -> list[str]:
    """One line for each condition and predictor, below `HEADING`."""
    return [
        f"{bravais:8}{condition:20}{name:10}{s.patterns:6}{s.length_error:8.1%}{s.angle_error_deg:7.1f}{s.nll:8.2f}"
        f"{s.coverage[0]:6.0%}{s.coverage[1]:6.0%}{s.close:7.1%}{s.any_close:6.0%}{s.refined:9.1%}{s.any_refined:6.0%}"
        for condition, rows in found.items()
        for name, s in rows.items()
    ]
