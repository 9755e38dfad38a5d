"""Numbers of particles from diffraction patterns over HTTP: from arrays in a request, and from detector files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Final

import anyio
import anyio.to_thread
import numpy as np
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
from app.errors import AppError, InvalidInput, UnsupportedFormat

WORKING_THREADS: Final = 4
"""Requests worked on at a time; others wait, so that the rest of the service always has threads."""
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
    """

    stack: ImageStack
    centre_px: np.ndarray | None
    options: AggregatesOptions


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
        sent = content_type(request.headers.get("content-type")) or JSON
        if is_json(sent) or HEADER_LENGTH in request.headers:
            work = partial(_answer_json, body, request.headers.get(HEADER_LENGTH), query, registry, form, limits)
        elif sent in FILE_TYPES or sent.startswith("image/"):
            work = partial(_answer_file, body, None, query, registry, form, limits)
        else:
            raise UnsupportedFormat(f"the body must be {JSON} or one of {', '.join(FILE_TYPES)}")
        return await anyio.to_thread.run_sync(work, limiter=threads)

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
        work = partial(_answer_file, content, mask, query, registry, form, limits)
        return await anyio.to_thread.run_sync(work, limiter=threads)

    return router


# --- files ------------------------------------------------------------------------------------------------------------


def _answer_file(
    content: bytes, mask: bytes | None, query: AggregatesQuery, registry: ModelRegistry, form: Format, limits: Limits
) -> Response:
    found = solved_file(content, mask, query, registry, limits.file)
    return Response(written(found, form), headers=VARY, media_type=MEDIA_TYPES[form])


def solved_file(
    content: bytes, mask: bytes | None, query: AggregatesQuery, registry: ModelRegistry, limits: FileLimits
) -> Solved:
    """Read a file, and a mask, and answer for every image.

    Raises:
        AppError: as `read_images` and `solved`, with the place of what is wrong.
    """
    stack = _of_file("file", read_images, content, query.file_options(), limits)
    seen = stack.mask if mask is None else _of_file("mask", read_mask, mask)
    stack = replace(stack, mask=_marked(seen, query))
    return solved(Question(stack, query.centre(), query), registry, "query")


def _of_file(name: str, reader: Any, *arguments: Any) -> Any:
    try:
        return reader(*arguments)
    except AppError as error:
        raise at(error, ("body", name)) from None


def _marked(measures: np.ndarray | None, options: AggregatesOptions) -> np.ndarray | None:
    """Readers take what is not 0 for bad; turned round where the caller says it is good."""
    return ~measures if measures is not None and options.mask_marks == "good" else measures


# --- JSON and open inference ------------------------------------------------------------------------------------------


def _answer_json(
    body: bytes, header: str | None, query: AggregatesQuery, registry: ModelRegistry, form: Format, limits: Limits
) -> Response:
    refuse_query(query.model_fields_set)
    read = arrays_from_json(body, ARRAYS, limits.file.values, other_form=MARK) if header is None else None
    if read is None:
        return _inferred(read_inference(body, header, limits.file.values), registry, limits)
    question = _question(read.arrays, read.others, ("body",), limits)
    return Response(written(solved(question, registry, "body"), form), headers=VARY, media_type=MEDIA_TYPES[form])


def _inferred(asked: Asked, registry: ModelRegistry, limits: Limits) -> Response:
    question = _question(asked.inputs, asked.parameters, ("body", "parameters"), limits)
    found = solved(question, registry, "body")
    answers = found.answers
    outputs = {
        "probability": np.array([answer.probability for answer in answers], np.float64),
        "count": np.array([answer.count or 0 for answer in answers], np.int64),
        "abstained": np.array([answer.abstained for answer in answers], bool),
        "unlike": np.array([answer.unlike for answer in answers], np.float64),
    }
    return inference_answer(found.model[0], str(found.model[1]), outputs, asked)


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
    return Question(ImageStack(images, seen, "request"), arrays.get("centre_px"), options)


_ALL: Final = AggregatesQuery().file_options()


# --- the answer -------------------------------------------------------------------------------------------------------


def solved(question: Question, registry: ModelRegistry, where: str) -> Solved:
    """Prepare the images, ask the model, and keep both together.

    Args:
        where: what holds the options, for errors: `body` or `query`.

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
        raise (at(error, (where, str(field))) if field else error) from None
    alias = None if options.version.isdigit() else options.version
    used = model.loaded
    return Solved(prepared, predict(prepared, model), stack.first, stack.source, (used.name, used.version, alias))
