"""How good a prediction was: figures over the points between the anchors, pooled over experiments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from app.polarization.experiment import Experiment
from training.polarization.methods import Prediction, interior_sigma


@dataclass(frozen=True)
class Outcome:
    """One held-out experiment as it was measured and predicted.

    Attributes:
        experiment: its name.
        time_s, measured, sigma: the points between the anchors, shape ``time``.
        expected_sigma: what counting and anchors alone put between point and curve (`interior_sigma`).
        predicted, predicted_sigma: what the method said without having seen the points.
    """

    experiment: str
    time_s: Float[np.ndarray, "time"]
    measured: Float[np.ndarray, "time"]
    sigma: Float[np.ndarray, "time"]
    expected_sigma: Float[np.ndarray, "time"]
    predicted: Float[np.ndarray, "time"]
    predicted_sigma: Float[np.ndarray, "time"]


def outcome(experiment: Experiment, prediction: Prediction) -> Outcome:
    """Put an experiment and its prediction together."""
    return Outcome(
        experiment.name,
        experiment.time_s[1:-1],
        experiment.polarization[1:-1],
        experiment.sigma[1:-1],
        interior_sigma(experiment),
        prediction.mean,
        prediction.sigma,
    )


@dataclass(frozen=True)
class Scores:
    """Figures of one method. Polarization has no unit.

    Attributes:
        experiments, points: how many they are of.
        rmse, mae: root mean square and mean absolute deviation.
        chi2: mean of (deviation / expected sigma)^2; 1 is what counting and anchors alone give.
        floor: root mean square of the expected sigma: the RMSE of a perfect model.
        over_floor: rmse / floor.
        coverage_1, coverage_2: share of points within 1 and 2 sigma, sigma^2 = predicted^2 + the point's own^2
            (0.683 and 0.954 where sigma is honest and Gaussian).
    """

    experiments: int
    points: int
    rmse: float
    mae: float
    chi2: float
    floor: float
    over_floor: float
    coverage_1: float
    coverage_2: float


def score(outcomes: Sequence[Outcome]) -> Scores:
    """Pool the points of all outcomes. At least one point is needed."""
    deviation = np.concatenate([o.predicted - o.measured for o in outcomes])
    expected = np.concatenate([o.expected_sigma for o in outcomes])
    interval = np.concatenate([np.hypot(o.predicted_sigma, o.sigma) for o in outcomes])
    rmse, floor = (float(np.sqrt(np.mean(x**2))) for x in (deviation, expected))
    return Scores(
        experiments=len(outcomes),
        points=len(deviation),
        rmse=rmse,
        mae=float(np.mean(np.abs(deviation))),
        chi2=float(np.mean((deviation / expected) ** 2)),
        floor=floor,
        over_floor=rmse / floor,
        coverage_1=float(np.mean(np.abs(deviation) <= interval)),
        coverage_2=float(np.mean(np.abs(deviation) <= 2 * interval)),
    )
