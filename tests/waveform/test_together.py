"""Several questions asked as one have the answers that each has alone."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from app.waveform.detector import DETECTORS
from app.waveform.intake import Intake
from app.waveform.models import waveform_model
from app.waveform.predict import Answered, Ask, predict
from app.waveform.pulses import Parts
from app.waveform.together import alike, predict_together
from tests.waveform_fakes import recorded, width_model

MODEL = waveform_model(width_model())
RESAMPLE = Intake(25.0, "resample")


def same(one: Answered | Parts | None, other: Answered | Parts | None) -> None:
    if one is None or other is None:
        assert one is other
        return
    for f in fields(one):
        a: Any = getattr(one, f.name)
        b: Any = getattr(other, f.name)
        if f.name == "parts":
            same(a, b)
        elif isinstance(a, np.ndarray):
            np.testing.assert_allclose(a, b, rtol=1e-6)
        else:
            assert a == b


@pytest.mark.parametrize("with_parts", [False, True])
def test_each_answer_is_that_of_its_question_alone(with_parts: bool) -> None:
    pulses = [recorded(d, n=n, seed=n) for d, n in ((0.0, 1), (3.0, 2), (5.0, 1))]
    asks = [Ask(pulse, with_parts=with_parts) for pulse in (*pulses, np.zeros((1, 5000)), -pulses[0])]
    asks[1] = replace(asks[1], drift_time_us=np.array([400.0, np.nan]))
    asks[2] = replace(asks[2], waveforms=np.round(asks[2].waveforms).astype(">i4"))
    for together, ask in zip(predict_together(asks, MODEL), asks, strict=True):
        same(together, predict(ask, MODEL))


def test_what_differs_in_more_than_the_waveforms_is_not_alike() -> None:
    ask = Ask(recorded(1.0))
    assert alike(ask) == alike(replace(ask, waveforms=recorded(3.0, n=2), drift_time_us=np.array([1.0, 2.0])))
    others = (
        replace(ask, detector=DETECTORS["xenonnt"]),
        replace(ask, prior_two=0.1),
        replace(ask, intake=RESAMPLE),
        replace(ask, with_parts=True),
        replace(ask, waveforms=ask.waveforms[:, :4000]),
    )
    assert len({alike(ask), *map(alike, others)}) == 6
