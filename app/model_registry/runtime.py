"""Run a network: LiteRT where a compiled form is there, a concrete TensorFlow graph otherwise."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from app.errors import InvalidInput, ModelRefused, ModelUnavailable
from app.model_registry.keras_archive import check_keras_archive
from app.model_registry.keras_graph import graph, load_keras, tensorflow
from app.model_registry.manifest import TensorSpec

SIGNATURE = "serving_default"


class Network(Protocol):
    """A network with named inputs and outputs; safe to call from several threads."""

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{input name: array ``batch ...``} to {output name: array ``batch ...``}."""
        ...


class LiteRTModel:
    """A `.tflite` network: one interpreter for each thread, its buffers kept while the batch size stays the same."""

    def __init__(self, content: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        """Parse the network and hold its signature against the declared names.

        Raises:
            ModelUnavailable: the LiteRT runtime is not installed here.
            ModelRefused: the content is no network, or its names are not the declared ones.
        """
        self._content = content
        self._inputs = tuple(inputs)
        self._outputs = tuple(outputs)
        self._threads = threading.local()
        self._threads.interpreter = self._interpreter()

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on a batch of any size.

        Raises:
            InvalidInput: an input is missing or has the wrong shape.
        """
        try:
            arrays = [np.asarray(inputs[spec.name], dtype=spec.dtype) for spec in self._inputs]
        except KeyError as error:
            raise InvalidInput(f"The network needs the input {error.args[0]}.") from error
        batch = len(arrays[0])
        if batch == 0:
            return {spec.name: np.empty((0, *_free_as_one(spec)), dtype=spec.dtype) for spec in self._outputs}
        try:
            return self._own().run(arrays, batch)
        except ValueError as error:
            raise InvalidInput(f"The network's inputs are {_described(self._inputs)}.") from error

    def _own(self) -> _Interpreter:
        interpreter = getattr(self._threads, "interpreter", None)
        if interpreter is None:
            interpreter = self._threads.interpreter = self._interpreter()
        return interpreter

    def _interpreter(self) -> _Interpreter:
        return _Interpreter(self._content, self._inputs, self._outputs)


class _Interpreter:
    """One thread's LiteRT interpreter. Tensors are found by the signature's names: their order is not kept."""

    def __init__(self, content: bytes, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> None:
        try:
            from ai_edge_litert.interpreter import Interpreter
        except ImportError as error:
            raise ModelUnavailable("The LiteRT runtime is not installed here.") from error
        try:
            self._interpreter = Interpreter(model_content=content, num_threads=1)
            runner = self._interpreter.get_signature_runner(SIGNATURE)
            self._inputs = [runner.get_input_details()[spec.name]["index"] for spec in inputs]
            self._outputs = {spec.name: runner.get_output_details()[spec.name]["index"] for spec in outputs}
        except (ValueError, RuntimeError, KeyError) as error:
            raise ModelRefused("The compiled network is damaged, or its names are not the manifest's.") from error
        self._shapes: list[tuple[int, ...]] = []

    def run(self, arrays: Sequence[np.ndarray], batch: int) -> dict[str, np.ndarray]:
        shapes = [array.shape for array in arrays]
        if shapes != self._shapes:
            self._allocate(shapes, batch)
        for index, array in zip(self._inputs, arrays, strict=True):
            self._interpreter.set_tensor(index, array)
        self._interpreter.invoke()
        return {name: self._interpreter.get_tensor(index) for name, index in self._outputs.items()}

    def _allocate(self, shapes: list[tuple[int, ...]], batch: int) -> None:
        self._shapes = []
        if any(shape[0] != batch for shape in shapes):
            raise ValueError("inputs differ in batch size")
        try:
            for index, shape in zip(self._inputs, shapes, strict=True):
                self._interpreter.resize_tensor_input(index, shape, strict=True)
            self._interpreter.allocate_tensors()
        except RuntimeError as error:
            raise ValueError("the network cannot take these shapes") from error
        self._shapes = shapes


class KerasModel:
    """A `.keras` network as a concrete TensorFlow graph, for where no compiled form is at hand."""

    def __init__(self, content: bytes, inputs: Sequence[TensorSpec]) -> None:
        """Build the graph.

        Raises:
            ModelUnavailable: TensorFlow is not installed here.
            ModelRefused: the network holds code of its own, or Keras does not load it.
        """
        check_keras_archive(content)
        self._inputs = tuple(inputs)
        with tempfile.TemporaryDirectory(prefix="keras-") as folder:
            path = Path(folder) / "model.keras"
            path.write_bytes(content)
            # The graph alone keeps no reference to the weights.
            self._model = load_keras(path)
        self._graph = graph(self._model, self._inputs).get_concrete_function()
        self._constant = tensorflow().constant

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run on a batch of any size.

        Raises:
            InvalidInput: an input is missing or has the wrong shape.
        """
        tensors: dict[str, Any] = {}
        for spec in self._inputs:
            array = inputs.get(spec.name)
            if array is None or not _fits(array, spec):
                raise InvalidInput(f"The network's inputs are {_described(self._inputs)}.")
            tensors[spec.name] = self._constant(array, dtype=spec.dtype)
        return {name: value.numpy() for name, value in self._graph(**tensors).items()}


def _fits(array: np.ndarray, spec: TensorSpec) -> bool:
    return array.ndim == len(spec.shape) and all(n in (None, m) for n, m in zip(spec.shape, array.shape, strict=True))


def _free_as_one(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(n or 1 for n in spec.shape[1:])


def _described(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.name} {tuple('batch' if n is None else n for n in spec.shape)}" for spec in specs)
