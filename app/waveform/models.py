"""Published waveform models: what the service asks for a posterior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from jaxtyping import Bool, Float

from app.errors import InvalidInput, ModelRefused
from app.model_registry.kept import Kept
from app.model_registry.registry import LoadedModel
from app.waveform.detector import Detector
from app.waveform.features import NUMBERS, SAMPLE_US, SETTINGS, Features, Pulses, features_from_pulses
from app.waveform.posterior import Posterior

FAMILY: Final = "waveform/posterior-network"
BLOCK: Final = 16
"""Waveforms worked on at a time: their samples stay in the processor's cache."""
JUDGED: Final = ("rms_us", "log10_photons", "log10_noise_share", *SETTINGS)
"""Features whose range is checked: width and size of the pulse, and the detector; the others follow from these."""
_JUDGED: Final = np.array([name in JUDGED for name in NUMBERS])


class WaveformModel(Protocol):
    """What `app.waveform.predict` needs of a model."""

    @property
    def loaded(self) -> LoadedModel: ...

    def posterior(
        self,
        pulses: Pulses,
        detector: Detector,
        drift_time_us: Float[np.ndarray, "wave"] | None = None,
    ) -> Posterior:
        """What is known of each pulse's scatters; see `Posterior`. Unknown drift times are nan."""
        ...

    def judged(
        self,
        pulses: Pulses,
        detector: Detector,
        drift_time_us: Float[np.ndarray, "wave"] | None = None,
    ) -> tuple[Posterior, list[tuple[str, ...]]]:
        """The posterior, and for each pulse the names of the features and settings outside the range of training."""
        ...


@dataclass(frozen=True)
class PosteriorNetwork:
    """A network whose softmax has a cell for a single scatter and then one for each range of separations.

    Attributes:
        edges_us: edges of the cells of separation [us].
        lowest, highest: range of each feature in training.
    """

    loaded: LoadedModel
    edges_us: Float[np.ndarray, "cell+1"]
    lowest: Float[np.ndarray, "feature"]
    highest: Float[np.ndarray, "feature"]

    def posterior(
        self, pulses: Pulses, detector: Detector, drift_time_us: Float[np.ndarray, "wave"] | None = None
    ) -> Posterior:
        return self.posterior_from_features(features_from_pulses(pulses, detector, drift_time_us))

    def posterior_from_features(self, seen: Features) -> Posterior:
        """The same where the features are known already."""
        inside = np.minimum(np.maximum(seen.numbers, self.lowest), self.highest).astype(np.float32)
        probability = self.loaded.run({"shape": seen.shape, "numbers": inside})["probability"].astype(float)
        return posterior_from_probability(probability, self.edges_us)

    def judged(
        self, pulses: Pulses, detector: Detector, drift_time_us: Float[np.ndarray, "wave"] | None = None
    ) -> tuple[Posterior, list[tuple[str, ...]]]:
        seen = features_from_pulses(pulses, detector, drift_time_us)
        return self.posterior_from_features(seen), self._outside(seen)

    def _outside(self, seen: Features) -> list[tuple[str, ...]]:
        numbers = seen.numbers
        beyond: Bool[np.ndarray, "wave feature"] = ((numbers < self.lowest) | (numbers > self.highest)) & _JUDGED
        if not beyond.any():
            return [()] * len(beyond)
        return [tuple(np.array(NUMBERS)[row].tolist()) for row in beyond]


def posterior_from_probability(
    probability: Float[np.ndarray, "wave cell+1"], edges_us: Float[np.ndarray, "cell+1"]
) -> Posterior:
    """Split a softmax whose first cell is the single scatter."""
    two = probability[:, 1:]
    total = two.sum(axis=1)
    # Where a second scatter is out of the question, nothing is known of its place.
    density = np.where(total[:, None] > 0.0, two / np.where(total > 0.0, total, 1.0)[:, None], 1.0 / two.shape[1])
    return Posterior(total / probability.sum(axis=1), edges_us, density)


def cell_edges_us(largest_us: float, cells: int) -> Float[np.ndarray, "cell+1"]:
    """Edges of equal cells of separation, which hold whole numbers of samples and so end half a sample before one."""
    return np.maximum(np.linspace(0.0, largest_us, cells + 1) - SAMPLE_US / 2.0, 0.0)


_kept: Kept[WaveformModel] = Kept()


def waveform_model(loaded: LoadedModel) -> WaveformModel:
    """Give a loaded version the behaviour of its family. The answer is kept: the same version gives the same object.

    Raises:
        InvalidInput: the version is of another job.
        ModelRefused: its parameters do not fit its family.
    """
    return _kept.model(loaded, _of_family)


def _of_family(loaded: LoadedModel) -> WaveformModel:
    manifest = loaded.manifest
    if manifest.family != FAMILY:
        raise InvalidInput(
            f"model {manifest.name!r} is of family {manifest.family!r}; a waveform model is of {FAMILY!r}"
        )
    try:
        edges = cell_edges_us(float(loaded.parameters["separation_max_us"]), int(loaded.parameters["cells"]))
        ranges = {feature.name: (feature.min, feature.max) for feature in manifest.features}
        lowest, highest = np.array([ranges[name] for name in NUMBERS], dtype=float).T
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"the parameters of model {manifest.name!r} do not fit {FAMILY!r}") from error
    return PosteriorNetwork(loaded, edges, lowest, highest)
