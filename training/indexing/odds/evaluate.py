"""How good the odds of the lattices are, beside the frequencies of the lattices and a forest on the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import keras
import numpy as np
from jaxtyping import Float, Int
from sklearn.ensemble import RandomForestClassifier

from app.indexing.problem import BRAVAIS
from training.indexing.odds.data import Disturbance, Examples, frequencies
from training.indexing.odds.train import features, log_loss, predicted

TREES, LEAF, SHARE = 100, 3, 0.5
"""Of the forest: trees, least patterns in a leaf, and the share of the patterns that each tree sees."""
_BINS = 10


@dataclass(frozen=True)
class Scores:
    """What probabilities of lattices are worth.

    Attributes:
        log_loss: mean -ln of the probability of the true lattice, nats.
        top: share of the patterns whose lattice is among the first 1, 2, 3 and 5.
        calibration: mean difference between the probability of the first lattice and how often it is true (10 bins).
        searched: mean share of the lattices that come before the true one.
    """

    log_loss: float
    top: Mapping[int, float]
    calibration: float
    searched: float


def scores(probability: Float[np.ndarray, "pattern lattice"], lattice: Int[np.ndarray, "pattern"]) -> Scores:
    """Hold probabilities against the true lattices."""
    own = probability[np.arange(len(lattice)), lattice]
    place = (probability > own[:, None]).sum(axis=1)
    first, is_first = probability.max(axis=1), probability.argmax(axis=1) == lattice
    bins = np.minimum((first * _BINS).astype(int), _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    told, true = (np.bincount(bins, weights=values, minlength=_BINS) for values in (first, is_first))
    return Scores(
        log_loss(probability, lattice),
        {k: float(np.mean(place < k)) for k in (1, 2, 3, 5)},
        float(np.abs(told - true).sum() / counts.sum()),
        float(np.mean(place) / (len(BRAVAIS) - 1)),
    )


def forest(examples: Examples, how: Disturbance, *, seed: int) -> RandomForestClassifier:
    """Grow a forest on the patterns that may be learnt from, each measured once."""
    learnt = examples.take(~examples.validation)
    seen = features(learnt, how, np.random.default_rng([seed, 3]))
    grown = RandomForestClassifier(
        TREES,
        min_samples_leaf=LEAF,
        max_samples=round(SHARE * len(learnt)),
        max_features="sqrt",
        random_state=seed,
        n_jobs=1,
    )
    return grown.fit(seen, learnt.lattice, sample_weight=learnt.weight)


def compared(
    model: keras.Model,
    rival: RandomForestClassifier,
    held: Examples,
    conditions: Mapping[str, Disturbance],
    *,
    seed: int,
) -> dict[str, dict[str, dict]]:
    """Scores by condition and method on patterns that neither has seen."""
    return {
        name: {method: asdict(scores(p, held.lattice)) for method, p in _told(model, rival, held, how, seed).items()}
        for name, how in conditions.items()
    }


def by_lattice(
    model: keras.Model, rival: RandomForestClassifier, held: Examples, how: Disturbance, *, seed: int
) -> dict[str, dict[str, dict]]:
    """Scores by Bravais lattice and method on patterns that neither has seen; ``n`` patterns of each."""
    told = _told(model, rival, held, how, seed)
    found: dict[str, dict[str, dict]] = {}
    for number, bravais in enumerate(BRAVAIS):
        own = held.lattice == number
        if own.any():
            found[bravais] = {
                method: {"n": int(own.sum()), **asdict(scores(p[own], held.lattice[own]))} for method, p in told.items()
            }
    return found


def _told(
    model: keras.Model, rival: RandomForestClassifier, held: Examples, how: Disturbance, seed: int
) -> dict[str, Float[np.ndarray, "pattern lattice"]]:
    """What each method says of patterns that are disturbed once."""
    given = features(held, how, np.random.default_rng([seed, 4]))
    known = np.isin(np.arange(len(BRAVAIS)), rival.classes_)
    of_forest = np.full((len(held), len(BRAVAIS)), 1e-4)
    of_forest[:, known] += rival.predict_proba(given)
    return {
        "frequencies": np.tile(frequencies(), (len(held), 1)),
        "forest": of_forest / of_forest.sum(axis=1, keepdims=True),
        "network": predicted(model, given),
    }
