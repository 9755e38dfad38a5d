"""Several models' curves combined into one, as the D3 pipeline does it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from app.polarization.correction import Curve


def inverse_variance_mean(means: Float[np.ndarray, "model time"], sigmas: Float[np.ndarray, "model time"]) -> Curve:
    """Give the inverse-variance weighted mean of the members at each time, and its sigma 1/sqrt(sum 1/sigma^2).

    All sigmas must be positive. The members were trained on the same data, so their errors are not independent and
    this sigma is too small by up to sqrt(number of members): calibrate it before it is believed.
    """
    weights = sigmas**-2.0
    total = weights.sum(axis=0)
    return Curve((weights * means).sum(axis=0) / total, total**-0.5)
