"""pytriton: Triton's C++ server in front of Python functions."""

from __future__ import annotations

import os

import numpy as np
from lite_network import NAMES, PORT, WORKERS, LiteNetwork
from pytriton.decorators import batch
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def _bind(triton: Triton, name: str) -> None:
    network = LiteNetwork(name)
    tensors = [
        [Tensor(name=n, dtype=np.float32, shape=s) for n, s in half.items()]
        for half in (network.inputs, network.outputs)
    ]

    @batch
    def infer(**inputs: np.ndarray) -> dict[str, np.ndarray]:
        return network(inputs)

    triton.bind(
        model_name=name,
        infer_func=[infer] * WORKERS,
        inputs=tensors[0],
        outputs=tensors[1],
        config=ModelConfig(max_batch_size=4096),
        strict=False,
    )


ports = {"grpc_port": int(os.environ["BENCHMARK_PORT_2"]), "metrics_port": int(os.environ["BENCHMARK_PORT_3"])}
with Triton(config=TritonConfig(http_address="127.0.0.1", http_port=PORT, log_verbose=0, **ports)) as triton:
    for one in NAMES:
        _bind(triton, one)
    triton.serve()
