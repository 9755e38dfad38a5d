"""Two views of a waveform for networks that look at samples: the school's, and one centred on the pulse.

Both are computed waveform by waveform, so a request of one and a training set of thousands see the same.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from jaxtyping import Float, Float32

from app.waveform.features import find_pulses

CENTRED_BINS: Final = 256
CENTRED_BIN_SAMPLES: Final = 10
"""25.6 us around the centroid: two scatters 8 us apart after a full drift (sigma 1.5 us) fit in."""
BLOCK: Final = 256


def min_max(waveforms: Float[np.ndarray, "wave sample"]) -> Float32[np.ndarray, "wave sample"]:
    """Scale each waveform to 0 at its smallest and 1 at its largest sample; a constant one becomes zeros.

    The school's notebook takes both extremes over the whole set, which an answer to a single waveform cannot repeat.
    """
    low = waveforms.min(axis=1, keepdims=True)
    span = waveforms.max(axis=1, keepdims=True) - low
    return np.where(span > 0, (waveforms - low) / np.where(span > 0, span, 1.0), 0.0).astype(np.float32)


def centred(waveforms: Float[np.ndarray, "wave sample"]) -> Float32[np.ndarray, "wave bin"]:
    """Give the share of the pulse's area in bins of 0.1 us around its centroid, times 256; no pulse gives zeros."""
    parts = [_centred(waveforms[start : start + BLOCK]) for start in range(0, len(waveforms), BLOCK)]
    return np.concatenate(parts) if parts else np.zeros((0, CENTRED_BINS), np.float32)


def _centred(waveforms: Float[np.ndarray, "wave sample"]) -> Float32[np.ndarray, "wave bin"]:
    pulses = find_pulses(waveforms)
    n = pulses.signal.shape[1]
    summed = np.concatenate([np.zeros((len(pulses.area), 1)), np.cumsum(pulses.signal, axis=1)], axis=1)
    edges = pulses.centroid[:, None] + (np.arange(CENTRED_BINS + 1) - CENTRED_BINS / 2) * CENTRED_BIN_SAMPLES
    edges = np.clip(edges, pulses.window[:, :1], np.maximum(pulses.window[:, 1:], pulses.window[:, :1]))
    left = np.minimum(edges.astype(int), n - 1)
    below = np.take_along_axis(summed, left, axis=1)
    at = below + (edges - left) * (np.take_along_axis(summed, left + 1, axis=1) - below)
    area = np.where(pulses.found, pulses.area, np.inf)
    return (np.diff(at, axis=1) * CENTRED_BINS / area[:, None]).astype(np.float32)
