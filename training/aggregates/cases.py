"""What methods are tested on: every named simulation declared as it is, and some that are declared wrongly."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

import numpy as np

from app.aggregates.setting import DETECTOR_PX
from training.aggregates.methods import SEEDS, Question, Sample, declared, simulation_named
from training.aggregates.settings import SIMULATIONS
from training.aggregates.simulate import drawn


@dataclass(frozen=True)
class Case:
    """What is simulated and what is declared of it.

    Attributes:
        simulation: a key of `settings.SIMULATIONS`.
        overrides: fields of `Setting` that are declared otherwise than they are.
        centre: declare the beam centre of each pattern; without, it is taken for the middle of the detector.
        masked_px: the declared mask hides this much around the beam [detector pixels]; None: all that is hidden.
    """

    simulation: str
    overrides: Mapping[str, float | str] = field(default_factory=dict)
    centre: bool = True
    masked_px: float | None = None


CASES: Final = MappingProxyType[str, Case](
    {name: Case(name) for name in SIMULATIONS}
    | {
        "r4.5-told-5": Case("r4.5", {"radius_px": 5.0}),
        "r6-told-5": Case("r6", {"radius_px": 5.0}),
        "beam-stop-8-told-3": Case("beam-stop-8", {"beam_stop_px": 3.0}, masked_px=3.0),
        "spheres-told-discs": Case("spheres-r5", {"particle": "disc"}),
        "jitter-untold": Case("jitter", centre=False),
        "gaps-untold": Case("gaps", masked_px=3.0),
    }
)
"""Those whose names hold `told` are declared wrongly: nothing but the pattern itself can show it."""


def case_named(name: str) -> Case:
    """Look a case up.

    Raises:
        ValueError: no such name; the message lists those there are.
    """
    if name in CASES:
        return CASES[name]
    raise ValueError(f"no case {name!r}: give one of {', '.join(CASES)}")


def unseen_sample(case: Case, images: int, seed: int) -> Sample:
    """Draw the patterns of a case; no pattern of any training or validation set is among them."""
    simulation = simulation_named(case.simulation)
    patterns = drawn(simulation, images, SEEDS["test"] + seed)
    question = declared(patterns, simulation, centre=case.centre, **case.overrides)
    return Sample(_with_mask(question, case.masked_px), patterns)


def _with_mask(question: Question, masked_px: float | None) -> Question:
    if masked_px is None:
        return question
    offset = np.arange(DETECTOR_PX) - DETECTOR_PX // 2
    seen = np.hypot(offset[:, None], offset[None, :]) > masked_px
    return replace(question, mask=np.broadcast_to(seen, question.mask.shape))
