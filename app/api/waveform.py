"""S2 waveforms over HTTP: how many scatters, and how far apart."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Final

import anyio
import anyio.to_thread
import numpy as np
from fastapi import APIRouter, Query, Request
from jaxtyping import Num
from starlette.responses import Response

from app.api.arrays import check_finite
from app.api.draining import Draining
from app.api.fast_path import FastRequest, FastRoute
from app.api.fast_query import UsualQuery
from app.api.json_arrays import arrays_from_json, refuse_query
from app.api.negotiation import MEDIA_TYPES, VARY, Format, accepted_format, content_type, is_json
from app.api.open_inference import HEADER_LENGTH, MARK, Asked, inference_answer, read_inference
from app.api.problems import BODY, MODEL_KINDS, at, documented
from app.api.schema import validated
from app.api.seams import ModelRegistry, RegistryOf, registry_of
from app.api.uploads import one_file
from app.api.waveform_answers import Answer, answer_tensors, written
from app.api.waveform_docs import ANSWERS, FILE_BODY, WAVEFORM_BODY
from app.api.waveform_schema import (
    BodyOptions,
    FileQuery,
    QueryOptions,
    TensorOptions,
    WaveformAnswer,
    detector_of,
    drift_times,
)
from app.array_files.npy import array_from_npy
from app.errors import AppError, InvalidInput, TooLarge, UnsupportedFormat
from app.model_registry.registry import LoadedModel
from app.waveform.features import SAMPLES
from app.waveform.files import array_from_file
from app.waveform.intake import SAMPLE_NS, Intake, check_length
from app.waveform.models import BLOCK, WaveformModel, waveform_model
from app.waveform.predict import Answered, Ask, predict
from app.waveform.together import alike, predict_together

INLINE_BYTES: Final = 256 * 1024
"""Bodies up to here are read in the event loop, in well under a millisecond."""
INLINE_SAMPLES: Final = 4 * SAMPLES
"""Questions of so many samples are answered there too, in about a millisecond; longer ones in a thread."""
INLINE_FORMS: Final[tuple[Format, ...]] = ("json", "csv")
WORKING_THREADS: Final = 4
"""For batches, files and pictures; others wait, so that the rest of the service always has threads."""
TENSOR: Final = "waveforms"
DRIFT_TENSOR: Final = "drift_time_us"
_AXES: Final = ("waveform", "sample")


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        waveforms: most waveforms.
        upload_bytes: largest body [bytes].
    """

    waveforms: int = 10_000
    upload_bytes: int = 64 * 1024 * 1024

    @property
    def samples(self) -> int:
        """Most samples of all waveforms together."""
        return self.waveforms * SAMPLES


@dataclass(frozen=True)
class Question:
    """A request that was read.

    Attributes:
        show: waveforms in a picture.
        tensors: the request, where it was one of the open inference protocol and is answered so.
    """

    ask: Ask
    model: str
    version: str
    show: tuple[int, ...]
    tensors: Asked | None = None

    @property
    def is_quick(self) -> bool:
        """Answered within about a millisecond."""
        return self.ask.waveforms.size <= INLINE_SAMPLES


def create_router(limits: Limits) -> APIRouter:
    """Make the router; the limits come from the settings, which only the application reads."""
    router = APIRouter(prefix="/waveform", tags=["waveform"])
    threads = anyio.CapacityLimiter(WORKING_THREADS)

    @router.post(
        "",
        summary="Count the scatters in S2 waveforms",
        response_model=WaveformAnswer,
        responses={**ANSWERS, **documented(*BODY, *MODEL_KINDS)},
        openapi_extra=WAVEFORM_BODY,
        max_body_size=limits.upload_bytes,
    )
    async def predict_waveforms(query: Annotated[QueryOptions, Query()], request: Request) -> Response:
        """One S2 or two, with the probability, the separation in time and depth with its sigma, and warnings.

        Takes JSON, a `.npy` (options then stand in the query), or a request of the open inference protocol, whose
        answer has its form. `Accept` chooses JSON, CSV or a picture of the waveforms in `show`.
        """
        form = query.format or accepted_format(request.headers.get("accept"))
        body = await request.body()
        sent = _Sent(request.headers.get("content-type"), request.headers.get(HEADER_LENGTH))
        reading = partial(_read, body, sent, query, limits)
        return await _respond(reading, len(body), form, registry_of(request), threads)

    @router.post(
        "/file",
        summary="Count the scatters in a file of S2 waveforms",
        response_model=WaveformAnswer,
        responses={**ANSWERS, **documented(*BODY, *MODEL_KINDS)},
        openapi_extra=FILE_BODY,
        max_body_size=limits.upload_bytes,
    )
    async def predict_file(query: Annotated[FileQuery, Query()], registry: RegistryOf, request: Request) -> Response:
        """The same for a `.npy`, an `.npz` or an HDF5 file, as a form with `file` or as the body itself."""
        form = query.format or accepted_format(request.headers.get("accept"))
        _, content = await one_file(request, query.filename)
        reading = partial(question_from_file, content, query, limits)
        # HDF5 is read by another process, which takes longer than its bytes tell.
        return await _respond(reading, INLINE_BYTES + 1, form, registry, threads)

    return router


def fast_routes(limits: Limits, registry: ModelRegistry) -> list[FastRoute]:
    """What is answered in front of FastAPI: few waveforms, as numbers."""
    options = UsualQuery(QueryOptions)
    header_length = HEADER_LENGTH.encode()
    drained = Draining(_alike, _asked_together, most=BLOCK)

    def predict_waveforms(request: FastRequest) -> Awaitable[Response] | None:
        query = options(request.query)
        if query is None:
            return None
        form = query.format or accepted_format(request.header(b"accept"))
        if form not in INLINE_FORMS:
            return None
        sent = _Sent(request.header(b"content-type"), request.header(header_length))
        question = _read(request.body, sent, query, limits)
        return answer(question, registry.resolve(question.model, question.version), form) if question.is_quick else None

    async def answer(question: Question, loaded: LoadedModel, form: Format) -> Response:
        found = await drained((question.ask, waveform_model(loaded)))
        return _written(question, _answer_of(question, found, loaded), form)

    return [FastRoute("/waveform", predict_waveforms, min(INLINE_BYTES, limits.upload_bytes))]


async def _respond(
    read: Callable[[], Question], size: int, form: Format, registry: ModelRegistry, threads: anyio.CapacityLimiter
) -> Response:
    """Read and answer, in the event loop where that is quick and in threads otherwise."""
    question = read() if size <= INLINE_BYTES else await anyio.to_thread.run_sync(read, limiter=threads)
    work = partial(_response, question, registry, form)
    quick = question.is_quick and form in INLINE_FORMS
    return work() if quick else await anyio.to_thread.run_sync(work, limiter=threads)


# --- reading ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sent:
    """What the headers say of a body.

    Attributes:
        content_type: the header, if any.
        json_bytes: the header of the open inference protocol with the length of the JSON before its tensors, if any.
    """

    content_type: str | None
    json_bytes: str | None


def _read(body: bytes, headers: _Sent, query: QueryOptions, limits: Limits) -> Question:
    """The question in a body of any form.

    Raises:
        AppError: what is wrong with it, and where.
    """
    sent = content_type(headers.content_type)
    if headers.json_bytes is not None:
        refuse_query(query.model_fields_set)
        return _from_tensors(read_inference(body, headers.json_bytes, limits.samples), limits)
    if is_json(sent):
        refuse_query(query.model_fields_set)
        return _from_json(body, limits)
    if sent not in ("application/x-npy", "application/octet-stream"):
        raise UnsupportedFormat(
            "the body should be application/json, a .npy as application/x-npy, or a request of the open inference "
            "protocol; the Content-Type header says something else (/waveform/file takes forms)"
        )
    if not body:
        raise at(InvalidInput("the body is empty: send a .npy file"), ("body",))
    return _from_query(array_from_npy(body, limits.samples), query, limits)


def _from_json(body: bytes, limits: Limits) -> Question:
    found = arrays_from_json(body, ("waveforms",), limits.samples, other_form=MARK)
    if found is None:
        return _from_tensors(read_inference(body, None, limits.samples), limits)
    if "waveforms" not in found.arrays:
        raise at(
            InvalidInput("waveforms is missing: a list of numbers, or a list of such lists"), ("body", "waveforms")
        )
    options = validated(BodyOptions, found.others, ("body",))
    waveforms = _checked(found.arrays["waveforms"], ("body", "waveforms"), options.intake(), limits)
    drift = drift_times(options.drift_time_us, len(waveforms))
    ask = Ask(waveforms, detector_of(options), drift, options.prior_two, options.intake(), options.pulses)
    return Question(ask, options.model, options.version, tuple(options.show))


def _from_query(array: Num[np.ndarray, "..."], query: QueryOptions, limits: Limits) -> Question:
    waveforms = _checked(array, ("body",), query.intake(), limits)
    drift = drift_times(query.drift_time_us, len(waveforms))
    ask = Ask(waveforms, detector_of(query), drift, query.prior_two, query.intake(), query.pulses)
    return Question(ask, query.model, query.version, tuple(query.show))


def question_from_file(content: bytes, query: FileQuery, limits: Limits) -> Question:
    """The question in a file.

    Raises:
        AppError: as `array_from_file`, and what is wrong with the waveforms.
    """
    try:
        array = array_from_file(content, query.dataset, limits.samples)
    except AppError as error:
        raise at(error, ("body", "file")) from None
    return _from_query(array, query, limits)


def _from_tensors(asked: Asked, limits: Limits) -> Question:
    unknown = sorted(asked.inputs.keys() - {TENSOR, DRIFT_TENSOR})
    if unknown or TENSOR not in asked.inputs:
        raise at(
            InvalidInput(f"inputs: expected {TENSOR!r}, and {DRIFT_TENSOR!r} where drift times are known"),
            ("body", "inputs"),
        )
    options = validated(TensorOptions, asked.parameters, ("body", "parameters")) if asked.parameters else _NO_OPTIONS
    question = _from_query(asked.inputs[TENSOR], options, limits)
    if DRIFT_TENSOR in asked.inputs:
        drift = _checked_drift(asked.inputs[DRIFT_TENSOR], len(question.ask.waveforms))
        question = replace(question, ask=replace(question.ask, drift_time_us=drift))
    return replace(question, tensors=asked)


_NO_OPTIONS: Final = TensorOptions()


def _checked_drift(array: Num[np.ndarray, "..."], n: int) -> np.ndarray:
    drift = array.astype(float).ravel()
    if len(drift) != n or (drift <= 0.0).any() or np.isinf(drift).any():
        raise at(
            InvalidInput(f"{DRIFT_TENSOR}: expected {n} times above 0 us, one for each waveform, nan where unknown"),
            ("body", "inputs"),
        )
    return drift


def _checked(
    array: Num[np.ndarray, "..."], where: Sequence[str], intake: Intake, limits: Limits
) -> Num[np.ndarray, "wave sample"]:
    if array.ndim not in (1, 2):
        raise at(
            InvalidInput(f"waveforms: the shape is {array.shape}, expected (samples) or (waveforms, samples)"), where
        )
    try:
        check_length(array.shape[-1], intake)
    except AppError as error:
        raise at(error, where) from None
    check_finite(array, "waveforms", _AXES, where)
    waveforms = array[None] if array.ndim == 1 else array
    if len(waveforms) > limits.waveforms:
        raise at(
            TooLarge(f"{len(waveforms)} waveforms, at most {limits.waveforms} are answered: split the request"), where
        )
    if (samples := waveforms.size * intake.sample_period_ns / SAMPLE_NS) > limits.samples:
        raise at(
            TooLarge(
                f"{samples:.0f} samples of {SAMPLE_NS:g} ns in all, at most {limits.samples} are answered: split the "
                "request"
            ),
            where,
        )
    return waveforms


# --- answering --------------------------------------------------------------------------------------------------------


def _response(question: Question, registry: ModelRegistry, form: Format) -> Response:
    if question.tensors is not None or form in INLINE_FORMS:
        return _written(question, answered(question, registry), form)
    return Response(question_answer(question, registry, form), headers=VARY, media_type=MEDIA_TYPES[form])


def _written(question: Question, found: Answer, form: Format) -> Response:
    if question.tensors is not None:
        return inference_answer(found.model, str(found.version), answer_tensors(found), question.tensors)
    return Response(written(found, form), headers=VARY, media_type=MEDIA_TYPES[form])


def question_answer(question: Question, registry: ModelRegistry, form: Format) -> bytes:
    """Answer a question in one of the formats; a picture answers the shown waveforms alone.

    Raises:
        AppError: as `answered`; InvalidInput where a waveform to show does not exist.
    """
    if form in ("json", "csv"):
        return written(answered(question, registry), form)
    n = len(question.ask.waveforms)
    if max(question.show) >= n:
        raise at(InvalidInput(f"show: waveform {max(question.show)} does not exist; there are 0 to {n - 1}"), ("show",))
    rows = list(question.show)
    drift = question.ask.drift_time_us
    ask = replace(
        question.ask,
        waveforms=question.ask.waveforms[rows],
        drift_time_us=None if drift is None else drift[rows],
        with_parts=True,
    )
    return written(replace(answered(replace(question, ask=ask), registry), shown=question.show), form)


def answered(question: Question, registry: ModelRegistry) -> Answer:
    """Ask the model.

    Raises:
        NotFound, ModelUnavailable: the model.
        InvalidInput: it is of another job; the waveforms have a wrong length.
        ModelOutputInvalid: it gave no probability.
    """
    loaded = registry.resolve(question.model, question.version)
    return _answer_of(question, predict(question.ask, waveform_model(loaded)), loaded)


def _answer_of(question: Question, found: Answered, loaded: LoadedModel) -> Answer:
    alias = None if question.version.isdigit() else question.version
    return Answer(question.ask, found, loaded.name, loaded.version, alias)


Asking = tuple[Ask, WaveformModel]


def _alike(asking: Asking) -> Hashable:
    ask, model = asking
    return id(model), alike(ask)


def _asked_together(asking: Sequence[Asking]) -> list[Answered]:
    return predict_together([ask for ask, _ in asking], asking[0][1])
