"""Patterns of one's own, with the number of particles of each, as samples to train on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from app.aggregates.measurement import Measurement
from app.aggregates.setting import Setting
from app.errors import InvalidInput
from training.aggregates.labels import open_set
from training.aggregates.methods import Question, Sample
from training.aggregates.simulate import Patterns, join

READ_AT_ONCE: Final = 500


def measured_samples(
    path: Path, measurement: Measurement, *, labels: Path | None, validation_share: float, rng: np.random.Generator
) -> tuple[Sample, Sample]:
    """Read a labelled set, shuffle it, and keep a share of it to stop by.

    Args:
        path: a file or a folder, see `labels.open_set`.
        measurement: what is declared of sample and detector.
        labels: file with the numbers, where `path` does not hold them.
        validation_share: of the patterns, at least one.
        rng: shuffles them.

    Raises:
        NotFound, InvalidInput, UnsupportedFormat: as `labels.open_set`; fewer than two patterns.
    """
    found = open_set(path, measurement, labels=labels)
    if len(found) < 2:
        raise InvalidInput(f"{len(found)} pattern is too few; give some to train on and some to stop by")
    patterns = join(list(found.batches(READ_AT_ONCE, rng)))
    kept = min(max(round(validation_share * len(patterns)), 1), len(patterns) - 1)
    return as_sample(patterns[kept:]), as_sample(patterns[:kept])


def as_sample(patterns: Patterns) -> Sample:
    """Declare of patterns what their set states."""
    settings = tuple(
        Setting(radius_px=float(radius), beam_stop_px=float(stop), particle=patterns.particle)
        for radius, stop in zip(patterns.radius_px, patterns.beam_stop_px, strict=True)
    )
    return Sample(Question(patterns.counts, patterns.mask, patterns.centre_px, settings), patterns)
