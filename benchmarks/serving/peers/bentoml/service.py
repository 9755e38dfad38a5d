"""BentoML: one service with an API for each network.

They are asynchronous although they compute: a thread for each call costs more than these networks. Adaptive batching
takes one input alone, and a call of either network costs less than the batcher.
"""

from __future__ import annotations

import bentoml
import numpy as np
from lite_network import WORKERS, LiteNetwork


@bentoml.service(workers=WORKERS, logging={"access": {"enabled": False}}, metrics={"enabled": False})
class Networks:
    """Both networks."""

    def __init__(self) -> None:
        self.networks = {name: LiteNetwork(name) for name in ("mlp", "cnn1d")}

    @bentoml.api
    async def mlp(self, static: np.ndarray, time: np.ndarray) -> dict:
        """Ask the first network."""
        return {name: array.tolist() for name, array in self.networks["mlp"]({"static": static, "time": time}).items()}

    @bentoml.api
    async def cnn1d(self, samples: np.ndarray) -> dict:
        """Ask the second network."""
        return {name: array.tolist() for name, array in self.networks["cnn1d"]({"samples": samples}).items()}
