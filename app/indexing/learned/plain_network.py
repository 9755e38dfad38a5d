"""An index assignment network in plain NumPy: its answer, and exact gradients of it with respect to its input.

The layers are those of the training (dense, layer normalization, GELU; a dense head for each line), the dropout aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from jaxtyping import Float32
from scipy.special import erf

from app.errors import ModelRefused
from app.indexing.learned.indices import INPUT, OUTPUT

NORM_EPSILON: Final = 1e-3
"""Keras' default in layer normalization."""
_ROOT_HALF: Final = np.float32(np.sqrt(0.5))
_ROOT_TWO_PI: Final = np.float32(np.sqrt(2 * np.pi))


@dataclass(frozen=True)
class Hidden:
    """One hidden layer: gelu(gamma normalised(input @ kernel + bias) + beta).

    Attributes:
        kernel: shape (before, unit).
        bias, gamma, beta: shape (unit,).
    """

    kernel: Float32[np.ndarray, "before unit"]
    bias: Float32[np.ndarray, "unit"]
    gamma: Float32[np.ndarray, "unit"]
    beta: Float32[np.ndarray, "unit"]


@dataclass(frozen=True)
class Trace:
    """What the gradient needs of a hidden layer's forward pass.

    Attributes:
        normalised: before gamma and beta.
        deviation: standard deviation that was divided by, shape (row, 1).
        slope: derivative of the GELU.
    """

    normalised: Float32[np.ndarray, "row unit"]
    deviation: Float32[np.ndarray, "row 1"]
    slope: Float32[np.ndarray, "row unit"]


@dataclass(frozen=True)
class PlainNetwork:
    """The network; callable as every network is, by named arrays.

    Attributes:
        hidden: the layers that all lines share.
        heads: one kernel for each line, shape (peak, unit, class).
        head_bias: shape (peak, class).
    """

    hidden: tuple[Hidden, ...]
    heads: Float32[np.ndarray, "peak unit class"]
    head_bias: Float32[np.ndarray, "peak class"]

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{"closeness": (cell, peak, ref)} to {"logits": (cell, peak, class)}."""
        given = np.asarray(inputs[INPUT], np.float32)
        rows = given.reshape(-1, given.shape[-1])
        for layer in self.hidden:
            rows = _gelu(_normalised(rows @ layer.kernel + layer.bias)[0] * layer.gamma + layer.beta)
        return {OUTPUT: self._heads(rows.reshape(*given.shape[:2], -1))}

    def traced(
        self, given: Float32[np.ndarray, "cell peak ref"]
    ) -> tuple[Float32[np.ndarray, "cell peak class"], tuple[Trace, ...]]:
        """Give the logits, and what `pulled_back` needs."""
        rows, traces = given.reshape(-1, given.shape[-1]), []
        for layer in self.hidden:
            normalised, deviation = _normalised(rows @ layer.kernel + layer.bias)
            before = normalised * layer.gamma + layer.beta
            cumulative = _normal_cumulative(before)
            rows = before * cumulative
            slope = cumulative + before * np.exp(-0.5 * before * before) / _ROOT_TWO_PI
            traces.append(Trace(normalised, deviation, slope))
        return self._heads(rows.reshape(*given.shape[:2], -1)), tuple(traces)

    def pulled_back(
        self, d_logits: Float32[np.ndarray, "cell peak class"], traces: tuple[Trace, ...]
    ) -> Float32[np.ndarray, "cell peak ref"]:
        """Take the gradient of a number with respect to the logits back to the one with respect to the input."""
        d_rows = np.matmul(d_logits.swapaxes(0, 1), self.heads.swapaxes(1, 2)).swapaxes(0, 1)
        d_rows = d_rows.reshape(-1, d_rows.shape[-1])
        for layer, trace in zip(reversed(self.hidden), reversed(traces), strict=True):
            d_normalised = d_rows * trace.slope * layer.gamma
            mean = d_normalised.mean(axis=1, keepdims=True)
            along = (d_normalised * trace.normalised).mean(axis=1, keepdims=True)
            d_rows = ((d_normalised - mean - trace.normalised * along) / trace.deviation) @ layer.kernel.T
        return d_rows.reshape(*d_logits.shape[:2], -1)

    def _heads(self, rows: Float32[np.ndarray, "cell peak unit"]) -> Float32[np.ndarray, "cell peak class"]:
        by_peak = np.matmul(rows.swapaxes(0, 1), self.heads) + self.head_bias[:, None, :]
        return by_peak.swapaxes(0, 1)

    def first(self, n_peaks: int) -> PlainNetwork:
        """The same network for patterns of so many lines."""
        return PlainNetwork(self.hidden, self.heads[:n_peaks], self.head_bias[:n_peaks])

    def arrays(self) -> dict[str, np.ndarray]:
        """The weights by name, as `plain_network` reads them."""
        named = {f"{part}_{i}": getattr(layer, part) for i, layer in enumerate(self.hidden) for part in _PARTS}
        return named | {"heads": self.heads, "head_bias": self.head_bias}


_PARTS: Final = ("kernel", "bias", "gamma", "beta")


def plain_network(arrays: Mapping[str, np.ndarray]) -> PlainNetwork:
    """Make the network of named arrays.

    Raises:
        ModelRefused: an array is missing, or shapes do not fit.
    """
    n_hidden = sum(name.startswith("kernel_") for name in arrays)
    try:
        layers = tuple(
            Hidden(*(np.asarray(arrays[f"{part}_{i}"], np.float32) for part in _PARTS)) for i in range(n_hidden)
        )
        heads, bias = (np.asarray(arrays[name], np.float32) for name in ("heads", "head_bias"))
    except KeyError as error:
        raise ModelRefused(f"The array {error.args[0]!r} of the index network is missing.") from error
    widths = [layer.kernel.shape[-1] for layer in layers]
    fits = widths[:-1] == [layer.kernel.shape[0] for layer in layers[1:]]
    if not widths or not fits or heads.shape[1] != widths[-1] or bias.shape != (heads.shape[0], heads.shape[2]):
        raise ModelRefused("The arrays of the index network do not fit each other.")
    return PlainNetwork(layers, heads, bias)


def _normalised(
    rows: Float32[np.ndarray, "row unit"],
) -> tuple[Float32[np.ndarray, "row unit"], Float32[np.ndarray, "row 1"]]:
    centred = rows - rows.mean(axis=1, keepdims=True)
    variance = np.einsum("ru,ru->r", centred, centred)[:, None] / np.float32(rows.shape[1])
    deviation = np.sqrt(variance + np.float32(NORM_EPSILON))
    return centred / deviation, deviation


def _normal_cumulative(rows: Float32[np.ndarray, "row unit"]) -> Float32[np.ndarray, "row unit"]:
    return np.float32(0.5) * (np.float32(1) + erf(rows * _ROOT_HALF))


def _gelu(rows: Float32[np.ndarray, "row unit"]) -> Float32[np.ndarray, "row unit"]:
    """x Phi(x) (D. Hendrycks and K. Gimpel, arXiv:1606.08415)."""
    return rows * _normal_cumulative(rows)
