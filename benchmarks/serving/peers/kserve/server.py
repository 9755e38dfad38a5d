"""KServe's SDK: one `kserve.Model` for each network, in its own HTTP server."""

from __future__ import annotations

import logging

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer
from kserve.utils.utils import generate_uuid
from lite_network import NAMES, PORT, WORKERS, LiteNetwork


class LiteModel(Model):
    """One network."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.load()

    def load(self) -> bool:
        self.network = LiteNetwork(self.name)
        self.ready = True
        return True

    async def predict(
        self, payload: InferRequest, headers: dict | None = None, response_headers: dict | None = None
    ) -> InferResponse:
        found = self.network({one.name: one.as_numpy() for one in payload.inputs})
        return InferResponse(
            payload.id or generate_uuid(),
            self.name,
            [InferOutput(name, list(array.shape), "FP32", data=array) for name, array in found.items()],
            use_binary_outputs=payload.use_binary_outputs,
            requested_outputs=payload.request_outputs,
        )


if __name__ == "__main__":
    server = ModelServer(http_port=PORT, enable_grpc=False, workers=WORKERS, enable_latency_logging=False)
    for logger in ("kserve.trace", "uvicorn.access"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    server.start([LiteModel(name) for name in NAMES])
