"""S2 waveforms made by formula, and a model that reads the separation off the pulse's width."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from app.model_registry.loading import LoadedModel
from app.model_registry.manifest import Feature, ModelDraft, TensorSpec, manifest_from_draft
from app.waveform.detector import DETECTORS, Detector
from app.waveform.features import NUMBERS, SAMPLE_US, SAMPLES, SHAPE_BINS
from app.waveform.models import FAMILY
from app.waveform.pulses import pulse_shape
from tests.polarization_models import Counting

NAME = "waveform-s2"
CELLS = 40
SEPARATION_MAX_US = 10.0
REFERENCE = DETECTORS["reference"]
DRIFT_US = 400.0


def light(
    separation_us: float = 0.0,
    *,
    share: float = 0.5,
    middle_us: float = 25.0,
    photons: float = 60_000.0,
    samples: int = SAMPLES,
    period_ns: float = 10.0,
    detector: Detector = REFERENCE,
) -> np.ndarray:
    """Expected photons in each sample of one S2 or, at a separation, of two."""
    time = (np.arange(samples) + 0.5) * period_ns * 1e-3
    sigma = float(detector.diffusion_us(DRIFT_US))
    first = middle_us - (1.0 - share) * separation_us
    shape = share * pulse_shape(time - first, sigma, detector.gas_gap_us)
    shape += (1.0 - share) * pulse_shape(time - first - separation_us, sigma, detector.gas_gap_us)
    return photons * shape * period_ns * 1e-3


def recorded(separation_us: float = 0.0, n: int = 1, seed: int = 0, **options: Any) -> np.ndarray:
    """Waveforms with counting statistics and electronic noise, shape ``wave sample``."""
    rng = np.random.default_rng(seed)
    expected = light(separation_us, **options)
    return rng.poisson(expected, (n, len(expected))) + rng.normal(0.0, 0.5, (n, len(expected)))


def _by_width(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of a known diffusion: the variance beyond it is d^2/4 for two equal pulses. Without: that of `DRIFT_US`."""
    numbers = dict(zip(NUMBERS, inputs["numbers"].T.astype(float), strict=True))
    usual = float(REFERENCE.diffusion_us(DRIFT_US))
    diffusion = np.where(numbers["drift_known"] > 0, numbers["diffusion_us"], usual)
    excess = numbers["rms_us"] ** 2 - numbers["gas_gap_us"] ** 2 / 12.0 - diffusion**2
    separation = 2.0 * np.sqrt(np.clip(excess, 0.0, None))
    edges = np.linspace(0.0, SEPARATION_MAX_US, CELLS + 1)
    centres = (edges[1:] + edges[:-1]) / 2.0
    two = np.exp(-0.5 * ((centres - separation[:, None]) / 0.4) ** 2) + 1e-9
    p_two = 1.0 / (1.0 + np.exp(-6.0 * (separation - 1.0)))
    probability = np.concatenate([1.0 - p_two[:, None], p_two[:, None] * two / two.sum(axis=1, keepdims=True)], axis=1)
    return {"probability": probability.astype(np.float32)}


def width_model(name: str = NAME, family: str = FAMILY, version: int = 1) -> LoadedModel:
    """A loaded version whose network is `_by_width`."""
    ranges = {"rms_us": (0.3, 6.0), "gas_gap_us": (0.5, 2.0)}
    draft = ModelDraft(
        name=name,
        family=family,
        description="the separation from the width",
        inputs=(
            TensorSpec(name="shape", shape=(None, SHAPE_BINS)),
            TensorSpec(name="numbers", shape=(None, len(NUMBERS))),
        ),
        outputs=(TensorSpec(name="probability", shape=(None, CELLS + 1)),),
        features=tuple(
            Feature(
                name=number, unit="1", min=ranges.get(number, (-1e6, 1e6))[0], max=ranges.get(number, (-1e6, 1e6))[1]
            )
            for number in NUMBERS
        ),
        parameters={"separation_max_us": SEPARATION_MAX_US, "cells": CELLS},
    )
    files = {name: {"sha256": "0" * 64, "bytes": 1} for name in draft.referenced_files()}
    manifest = manifest_from_draft(draft, version=version, created=datetime(2030, 1, 1, tzinfo=UTC), files=files)
    return LoadedModel(manifest, Counting(_by_width), {})


__all__ = ["DRIFT_US", "NAME", "REFERENCE", "SAMPLE_US", "light", "recorded", "width_model"]
