"""The methods by name, and what may be held out together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from app.polarization.experiment import Experiment
from training.polarization.anchored import AnchoredMethod
from training.polarization.args import DataArgs, TrainArgs
from training.polarization.baselines import BASELINES
from training.polarization.evaluate import Grouping
from training.polarization.methods import Method
from training.polarization.networks import architecture
from training.polarization.splits import campaigns, installations

METHODS: Final[tuple[Method, ...]] = (AnchoredMethod(), *BASELINES)


class HoldOut(StrEnum):
    """What is held out together."""

    installation = "installation"
    campaign = "campaign"


GROUPINGS: Final[Mapping[HoldOut, Grouping]] = {HoldOut.installation: installations, HoldOut.campaign: campaigns}


def method_from_name(name: str) -> Method:
    """Turn ``line`` or ``Naif854_10`` (``-raw``: uncorrected) into a method.

    Raises:
        ValueError: neither a baseline nor ``{complexity}_{augmentations}``.
    """
    for method in METHODS:
        if method.name == name:
            return method
    complexity, _, copies = name.removesuffix("-raw").rpartition("_")
    if not copies.isdecimal():
        known = ", ".join(m.name for m in METHODS)
        raise ValueError(f"no method {name!r}: give one of {known}, or complexity_augmentations such as Naif854_10")
    architecture(complexity)
    from training.polarization.train import NetworkMethod

    return NetworkMethod(TrainArgs(complexity, DataArgs(int(copies))), corrected=not name.endswith("-raw"))


def experiments_to_predict(experiments: Sequence[Experiment], material: str) -> list[Experiment]:
    """Give one material's experiments that have a point between their anchors."""
    return [e for e in experiments if e.material == material and len(e.time_s) > 2]
