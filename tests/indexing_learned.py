"""Learned parts of the solver that are a few numbers, in a store of their own."""

from __future__ import annotations

import numpy as np

from app.indexing.learned.probability import FAMILY, NAME
from app.indexing.learned.probability_features import FEATURES
from app.model_registry.manifest import CARD_FILE, Feature, ModelDraft, PlainForm
from app.model_registry.plain import About, plain_bytes
from app.model_registry.store import ModelStore

RECORD = PlainForm(source="LogisticRegression", library_version="1", parity_max_abs=0.0, golden_rows=1)
N = len(FEATURES)
EVEN = plain_bytes(
    About(score="linear", link="sigmoid", n_features=N, classes=(0, 1)),
    {"coefficient": np.zeros((1, N)), "intercept": np.zeros(1)},
)
"""Says of every cell that it is as probable as not."""
NUMBER = plain_bytes(
    About(score="linear", link="identity", n_features=N),
    {"coefficient": np.zeros((1, N)), "intercept": np.zeros(1)},
)
"""Gives a number, where a probability is asked for."""


def publish_probability(
    store: ModelStore,
    share_of_none: float,
    *,
    name: str = NAME,
    family: str = FAMILY,
    estimator: bytes = EVEN,
    promote: bool = True,
) -> int:
    """Publish a model that finds all cells of an answer equally probable, and give its version.

    Args:
        share_of_none: probability that it gives to none of them beside one cell: of two cells each has
            (1 - share) / (2 - share).
    """
    draft = ModelDraft(
        name=name,
        family=family,
        description="Every cell is as probable as any other.",
        scalers={"even": "even.npz"},
        plain={"even": RECORD},
        features=tuple(Feature(name=feature, unit="1", min=-1.0, max=1.0) for feature in FEATURES),
        parameters={
            "weights": {"even": 1.0},
            "none": float(np.log(share_of_none) - np.log1p(-share_of_none)),
            "reorders": False,
        },
    )
    files = {"even.npz": estimator, CARD_FILE: b"# Even\n"}
    return store.publish(draft, files, promote=("stable",) if promote else ()).version


def probability_of_each(share_of_none: float, cells: int = 2) -> float:
    """What such a model answers for each of so many cells: they and none share one."""
    odds = share_of_none / (1.0 - share_of_none)
    return 1.0 / (cells + odds)
