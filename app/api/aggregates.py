"""Numbers of particles from diffraction patterns over HTTP: from arrays in a request, and from detector files."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Final

import anyio
import numpy as np
from anyio.to_thread import run_sync
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from app.aggregates.files import read_images, read_mask
from app.aggregates.intake import prepare
from app.aggregates.models import aggregate_model
from app.aggregates.predict import predict
from app.aggregates.stack import FileLimits, ImageStack, check_dtype, check_shape, taken
from app.api.aggregates_answers import Solved, written
from app.api.aggregates_schema import EXAMPLES, AggregatesAnswer, AggregatesOptions, AggregatesQuery, AggregatesRequest
from app.api.arrays import check_finite
from app.api.fast_path import FastRequest, FastRoute
from app.api.fast_query import UsualQuery
from app.api.json_arrays import arrays_from_json, refuse_query
from app.api.negotiation import BINARY, MEDIA_TYPES, VARY, Format, accepted_format, answered_as, content_type, is_json
from app.api.open_inference import (
    HEADER_LENGTH,
    MARK,
    Asked,
    body_or_inference,
    inference_answer,
    read_inference,
)
from app.api.problems import BODY, MODEL_KINDS, at, documented
from app.api.schema import JSON, validated
from app.api.seams import ModelRegistry, RegistryOf
from app.api.uploads import form_body, form_files
from app.array_files import npy
from app.errors import AppError, InvalidInput, UnsupportedFormat

SMALL_PIXELS: Final = 128 * 128
SMALL_BYTES: Final = 256 * 1024
"""One pattern of so many pixels, in a body of so many bytes, is read in the event loop, without FastAPI."""
WORKING_THREADS: Final = 4
"""Requests worked on at a time; others wait, so that the rest of the service always has threads."""
SMALL_AT_A_TIME: Final = 1
"""Small patterns one after another: several at once wait for Python's lock more than they gain (decision 0017)."""
FILE_TYPES: Final = (
    "application/x-npy",
    "image/tiff",
    "image/png",
    "application/x-hdf5",
    "application/octet-stream",
)
"""Media types of bodies that are a file; the file's first bytes say what it is."""
ARRAYS: Final = ("patterns", "mask", "centre_px")

_ANSWERS: Final = answered_as("The answers, in the form that `Accept` asks for.")
_BODY: Final = body_or_inference(AggregatesRequest, EXAMPLES, FILE_TYPES)
_UPLOAD: Final = form_body(
    {
        "file": {**BINARY, "description": "The patterns: .npy, .npz, TIFF, PNG, HDF5 or CXI."},
        "mask": {**BINARY, "description": "A mask in one of the same formats."},
    },
    FILE_TYPES,
)


@dataclass(frozen=True)
class Limits:
    """What one request may hold.

    Attributes:
        images: most patterns.
        upload_bytes: largest body [bytes].
    """

    images: int = 1000
    upload_bytes: int = 64 * 1024 * 1024

    @property
    def file(self) -> FileLimits:
        return FileLimits(images=self.images)


@dataclass(frozen=True)
class Question:
    """Images with all that was said of them.

    Attributes:
        stack: images; its mask, if any, is in the same request or file.
        centre_px: row and column of the beam, for all images or for each.
        where: what holds the options, for errors: `body` or `query`.
        tensors: the request, where it was one of the open inference protocol and is answered so.
    """

    stack: ImageStack
    centre_px: np.ndarray | None
    options: AggregatesOptions
    where: str
    tensors: Asked | None = None

    @property
    def is_small(self) -> bool:
        """Answered within some milliseconds."""
        return len(self.stack.images) == 1 and self.stack.images.size <= SMALL_PIXELS


def create_router(limits: Limits) -> APIRouter:
    """Make the router; the limits come from the settings, which only the application reads."""
    router = APIRouter(tags=["aggregates"])
    threads = anyio.CapacityLimiter(WORKING_THREADS)
    answers = {**_ANSWERS, **documented(*BODY, *MODEL_KINDS)}

    @router.post(
        "/aggregates",
        summary="Count the particles of aggregates",
        response_model=AggregatesAnswer,
        responses=answers,
        openapi_extra=_BODY,
        max_body_size=limits.upload_bytes,
    )
    async def count_particles(
        query: Annotated[AggregatesQuery, Query()], request: Request, registry: RegistryOf
    ) -> Response:
        """From diffraction patterns of aggregates to the number of particles in each, 1 to 5, with probabilities.

        Patterns come as JSON with all options in it, in the open inference form, or as the body itself (`.npy`, `.npz`,
        TIFF, PNG, HDF5, CXI) with options in the query. The particle's radius, or the geometry, must be declared.
        Where a pattern is unlike those of the training, nothing is said, and why.
        """
        form = query.format or accepted_format(request.headers.get("accept"))
        body = await request.body()
        read = _reader(request.headers.get("content-type"), request.headers.get(HEADER_LENGTH))
        work = partial(_answer, partial(read, body, query, limits), registry, form)
        return await run_sync(work, limiter=threads)

    @router.post(
        "/aggregates/file",
        summary="Count the particles in a detector file",
        response_model=AggregatesAnswer,
        responses=answers,
        openapi_extra=_UPLOAD,
        max_body_size=limits.upload_bytes,
    )
    async def count_particles_in_a_file(
        query: Annotated[AggregatesQuery, Query()], request: Request, registry: RegistryOf
    ) -> Response:
        """The same for a file: a form with `file` and, if there is one, `mask`, or the file itself as the body."""
        form = query.format or accepted_format(request.headers.get("accept"))
        files = await form_files(request, "upload", beside=["mask"])
        content = files["file"][0][1]
        mask = files["mask"][0][1] if "mask" in files else None
        read = partial(_question_in_file, content, query, limits, mask)
        work = partial(_answer, read, registry, form)
        return await run_sync(work, limiter=threads)

    return router


def fast_routes(limits: Limits, registry: ModelRegistry) -> list[FastRoute]:
    """What is answered in front of FastAPI: one small pattern as an array, for numbers."""
    options = UsualQuery(AggregatesQuery)
    header_length = HEADER_LENGTH.encode()
    threads = anyio.CapacityLimiter(SMALL_AT_A_TIME)

    def count_particles(request: FastRequest) -> Awaitable[Response] | None:
        query = options(request.query)
        if query is None:
            return None
        form = query.format or accepted_format(request.header(b"accept"))
        read = _reader(request.header(b"content-type"), request.header(header_length))
        is_array = read is not _question_in_file or request.body.startswith(npy.MAGIC)
        if form not in ("json", "csv") or not is_array:
            return None
        question = read(request.body, query, limits)
        # In a thread, so that others are answered meanwhile.
        return run_sync(_response, question, registry, form, limiter=threads) if question.is_small else None

    return [FastRoute("/aggregates", count_particles, min(SMALL_BYTES, limits.upload_bytes))]


def _reader(sent: str | None, header_length: str | None) -> Callable[[bytes, AggregatesQuery, Limits], Question]:
    """What reads a body of this type.

    Raises:
        UnsupportedFormat: nothing does.
    """
    media_type = content_type(sent) or JSON
    if is_json(media_type) or header_length is not None:
        return partial(_question_in_json, header_length)
    if media_type in FILE_TYPES or media_type.startswith("image/"):
        return _question_in_file
    raise UnsupportedFormat(f"the body must be {JSON} or one of {', '.join(FILE_TYPES)}")


# --- files ------------------------------------------------------------------------------------------------------------


def _question_in_file(content: bytes, query: AggregatesQuery, limits: Limits, mask: bytes | None = None) -> Question:
    return question_from_file(content, mask, query, limits.file)


def question_from_file(content: bytes, mask: bytes | None, query: AggregatesQuery, limits: FileLimits) -> Question:
    """The question in a file, and perhaps in another one with the mask.

    Raises:
        AppError: as `read_images`, with the place of what is wrong.
    """
    stack = _of_file("file", read_images, content, query.file_options(), limits)
    seen = stack.mask if mask is None else _of_file("mask", read_mask, mask)
    return Question(replace(stack, mask=_marked(seen, query)), query.centre(), query, "query")


def _of_file(name: str, reader: Any, *arguments: Any) -> Any:
    try:
        return reader(*arguments)
    except AppError as error:
        raise at(error, ("body", name)) from None


def _marked(measures: np.ndarray | None, options: AggregatesOptions) -> np.ndarray | None:
    """Readers take what is not 0 for bad; turned round where the caller says it is good."""
    return ~measures if measures is not None and options.mask_marks == "good" else measures


# --- JSON and open inference ------------------------------------------------------------------------------------------


def _question_in_json(header: str | None, body: bytes, query: AggregatesQuery, limits: Limits) -> Question:
    refuse_query(query.model_fields_set)
    read = arrays_from_json(body, ARRAYS, limits.file.values, other_form=MARK) if header is None else None
    if read is not None:
        return _question(read.arrays, read.others, ("body",), limits)
    asked = read_inference(body, header, limits.file.values)
    return replace(_question(asked.inputs, asked.parameters, ("body", "parameters"), limits), tensors=asked)


def _question(arrays: dict[str, np.ndarray], others: dict[str, Any], where: Sequence[str], limits: Limits) -> Question:
    """Check arrays and options of a body.

    Raises:
        RequestValidationError: options that are unknown or out of range.
        InvalidInput, TooLarge: arrays of the wrong shape or type, too many images.
    """
    extra = sorted(arrays.keys() - set(ARRAYS))
    if extra or "patterns" not in arrays:
        told = f"there is no input {extra[0][:40]!r}" if extra else "patterns is missing"
        raise at(
            InvalidInput(f"{told}; the arrays are patterns and, if wanted, mask and centre_px"), ("body", "patterns")
        )
    options = validated(AggregatesOptions, others, where)
    patterns = arrays["patterns"]
    try:
        check_dtype(patterns.dtype, "patterns")
        check_shape(patterns.shape, "patterns", limits.file)
        images = patterns[None] if patterns.ndim == 2 else patterns
        taken(len(images), images[0].size, _ALL, limits.file)
    except AppError as error:
        raise at(error, ("body", "patterns")) from None
    check_finite(images, "patterns", ("image", "row", "column"), ("body", "patterns"))
    mask = arrays.get("mask")
    seen = None if mask is None else _marked(mask == 0, options)
    return Question(ImageStack(images, seen, "request"), arrays.get("centre_px"), options, "body")


_ALL: Final = AggregatesQuery().file_options()


# --- the answer -------------------------------------------------------------------------------------------------------


def _answer(read: Callable[[], Question], registry: ModelRegistry, form: Format) -> Response:
    return _response(read(), registry, form)


def _response(question: Question, registry: ModelRegistry, form: Format) -> Response:
    found = solved(question, registry)
    if question.tensors is not None:
        return inference_answer(found.model[0], str(found.model[1]), _tensors(found), question.tensors)
    return Response(written(found, form), headers=VARY, media_type=MEDIA_TYPES[form])


def _tensors(found: Solved) -> dict[str, np.ndarray]:
    """Outputs of the open inference protocol; 0 where no number of particles is said."""
    answers = found.answers
    return {
        "probability": np.array([answer.probability for answer in answers], np.float64),
        "count": np.array([answer.count or 0 for answer in answers], np.int64),
        "abstained": np.array([answer.abstained for answer in answers], bool),
        "unlike": np.array([answer.unlike for answer in answers], np.float64),
    }


def solved(question: Question, registry: ModelRegistry) -> Solved:
    """Prepare the images, ask the model, and keep both together.

    Raises:
        InvalidInput: see `prepare`; the model is of another job.
        NotFound, ModelUnavailable: see the registry.
        ModelOutputInvalid: see `predict`.
    """
    options, stack = question.options, question.stack
    model = aggregate_model(registry.resolve(options.model, options.version))
    try:
        prepared = prepare(stack.images, stack.mask, question.centre_px, options.measurement())
    except AppError as error:
        field = error.details.get("field")
        raise (at(error, (question.where, str(field))) if field else error) from None
    alias = None if options.version.isdigit() else options.version
    used = model.loaded
    return Solved(prepared, predict(prepared, model), stack.first, stack.source, (used.name, used.version, alias))
