"""LitServe: one LitAPI for each network, each with its worker process."""

from __future__ import annotations

import litserve
from lite_network import NAMES, PORT, WORKERS, LiteNetwork


class Api(litserve.LitAPI):
    """A network behind `api_path`."""

    def __init__(self, name: str) -> None:
        super().__init__(api_path=f"/{name}")
        self._name = name

    def setup(self, device: str) -> None:
        self.network = LiteNetwork(self._name)

    def predict(self, request: dict) -> dict:
        return {name: array.tolist() for name, array in self.network(request).items()}


if __name__ == "__main__":
    server = litserve.LitServer([Api(name) for name in NAMES], accelerator="cpu", workers_per_device=WORKERS)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning", access_log=False)
