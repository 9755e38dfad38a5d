"""Inference by the open inference protocol, for any model of the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter_ns
from typing import Any, Final

import anyio
import anyio.to_thread
import numpy as np
from starlette.responses import Response

from app.api.fast_path import FastRequest, FastRoute
from app.api.open_inference import HEADER_LENGTH, Asked, inference_answer, read_inference
from app.api.seams import ModelRegistry
from app.api.v2_statistics import Statistics
from app.api.v2_tensors import checked_inputs, computed
from app.errors import InvalidInput, NotFound
from app.model_registry.aliases import STABLE
from app.model_registry.loading import LoadedModel

INLINE_BYTES: Final = 256 * 1024
"""Bodies up to here are read in the event loop, in well under a millisecond."""
INLINE_S: Final = 1e-3
"""Batches that take longer run in a thread [s]."""
WORKING_THREADS: Final = 4
"""For large batches; others wait, so that the rest of the service always has threads."""
PATHS: Final = ("/v2/models/{name}/infer", "/v2/models/{name}/versions/{version}/infer")


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        rows: most rows of a tensor.
        upload_bytes: largest body [bytes], and most numbers of a tensor.
    """

    rows: int = 10_000
    upload_bytes: int = 64 * 1024 * 1024


@dataclass(frozen=True)
class _Question:
    """A request that was read and fits its model."""

    model: LoadedModel
    asked: Asked
    inputs: dict[str, np.ndarray]
    rows: int
    read_ns: int

    @property
    def key(self) -> tuple[str, int]:
        return self.model.name, self.model.version

    @property
    def is_small(self) -> bool:
        return self.model.tensors.expected_s(self.rows) <= INLINE_S


class Inference:
    """Answers requests of the protocol: small ones where they arrive, large ones in threads of their own."""

    def __init__(self, registry: ModelRegistry, limits: Limits) -> None:
        self.limits = limits
        self.statistics = Statistics()
        self._registry = registry
        self._threads = anyio.CapacityLimiter(WORKING_THREADS)

    def answer(self, name: str, ref: str, length: str | None, body: bytes) -> Response | Awaitable[Response]:
        """Answer one request.

        Args:
            name, ref: the model, and its version or alias.
            length: the header `Inference-Header-Content-Length`, where there is one.

        Raises:
            NotFound, ModelUnavailable: the model.
            HTTPException, RequestValidationError, AppError: as `read_inference` and `checked_inputs`.
            ModelOutputInvalid: the model gave no finite numbers of the declared shape.
        """
        model = self._registry.in_memory(name, ref)
        if model is None or len(body) > INLINE_BYTES:
            return self._in_thread(partial(self._whole, name, ref, length, body))
        question = self._read(model, length, body)
        return self._run(question) if question.is_small else self._in_thread(partial(self._run, question))

    async def _in_thread(self, work: Callable[[int], Response]) -> Response:
        """Do work that is given how long it waited for a thread [ns]."""
        asked = perf_counter_ns()
        return await anyio.to_thread.run_sync(lambda: work(perf_counter_ns() - asked), limiter=self._threads)

    def _whole(self, name: str, ref: str, length: str | None, body: bytes, waited_ns: int) -> Response:
        return self._run(self._read(self._registry.resolve(name, ref), length, body), waited_ns)

    def _read(self, model: LoadedModel, length: str | None, body: bytes) -> _Question:
        started = perf_counter_ns()
        try:
            asked = read_inference(body, length, self.limits.upload_bytes)
            _check_parameters(asked.parameters)
            inputs, rows = checked_inputs(asked.inputs, model.tensors, self.limits.rows)
        except Exception:
            self.statistics.refused((model.name, model.version), perf_counter_ns() - started)
            raise
        return _Question(model, asked, inputs, rows, perf_counter_ns() - started)

    def _run(self, question: _Question, waited_ns: int = 0) -> Response:
        model, started = question.model, perf_counter_ns()
        try:
            outputs = computed(model.tensors, question.inputs, question.rows)
            ran = perf_counter_ns()
            response = inference_answer(model.name, str(model.version), outputs, question.asked)
        except Exception:
            self.statistics.refused(question.key, perf_counter_ns() - started)
            raise
        spent = (waited_ns, question.read_ns, ran - started, perf_counter_ns() - ran)
        self.statistics.answered(question.key, question.rows, spent)
        return response


def _check_parameters(parameters: dict[str, Any]) -> None:
    """Those of scheduling change no answer and are passed over; a sequence would."""
    if parameters.get("sequence_id"):
        raise InvalidInput("parameters: sequence_id is not supported, since no model here keeps a state")


def fast_routes(inference: Inference) -> list[FastRoute]:
    """What is answered in front of FastAPI; it says itself what is wrong with a name that does not exist."""

    def infer(request: FastRequest) -> Response | Awaitable[Response] | None:
        names = request.names
        length = request.header(HEADER_LENGTH.encode())
        try:
            return inference.answer(names["name"], names.get("version", STABLE), length, request.body)
        except NotFound:
            return None

    return [FastRoute(path, infer, inference.limits.upload_bytes) for path in PATHS]
