"""What every peer runs: the LiteRT form of a network, one interpreter for each thread, as the project's own runtime."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

FOLDER = Path(os.environ.get("BENCHMARK_NETWORKS", "."))
PORT = int(os.environ.get("BENCHMARK_PORT", "0"))
WORKERS = int(os.environ.get("BENCHMARK_WORKERS", "1"))
NAMES = ("mlp", "cnn1d")


class LiteNetwork:
    """A network by its name; {input name: float32 array} to {output name: float32 array}."""

    def __init__(self, name: str) -> None:
        record = json.loads((FOLDER / f"{name}.json").read_text())
        self.inputs = {spec["name"]: tuple(spec["shape"][1:]) for spec in record["inputs"]}
        self.outputs = {spec["name"]: tuple(spec["shape"][1:]) for spec in record["outputs"]}
        self._file = str(FOLDER / f"{name}.tflite")
        self._threads = threading.local()

    def __call__(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        own = getattr(self._threads, "own", None)
        if own is None:
            own = self._threads.own = _Own(self._file, self.inputs, self.outputs)
        return own.run([np.asarray(arrays[name], np.float32) for name in self.inputs])


class _Own:
    def __init__(self, file: str, inputs: dict, outputs: dict) -> None:
        self._interpreter = Interpreter(model_path=file, num_threads=1)
        runner = self._interpreter.get_signature_runner("serving_default")
        self._inputs = [runner.get_input_details()[name]["index"] for name in inputs]
        self._outputs = {name: runner.get_output_details()[name]["index"] for name in outputs}
        self._shapes: list = []

    def run(self, arrays: list[np.ndarray]) -> dict[str, np.ndarray]:
        shapes = [array.shape for array in arrays]
        if shapes != self._shapes:
            for index, shape in zip(self._inputs, shapes, strict=True):
                self._interpreter.resize_tensor_input(index, shape, strict=True)
            self._interpreter.allocate_tensors()
            self._shapes = shapes
        for index, array in zip(self._inputs, arrays, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}
