"""Powder indexing from files over HTTP: a measured pattern to its lines, and on to the cell."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Final

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request
from pydantic import ConfigDict, Field, field_validator
from starlette.responses import Response

from app.api.indexing import (
    ANSWERS,
    JOB_KINDS,
    WORKING_THREADS,
    Limits,
    PreferHeader,
    Work,
    check_options,
    finished,
    learned,
)
from app.api.indexing_answers import (
    MEDIA_TYPES,
    PEAK_MEDIA_TYPES,
    Format,
    PeakFormat,
    Rows,
    peaks_written,
    written,
)
from app.api.indexing_models import LearnedParts
from app.api.indexing_schema import LearnedIn, OptionsIn, PeaksAnswer, SolveAnswer
from app.api.jobs import IdempotencyKey
from app.api.negotiation import BINARY, VARY, accepted, answered_as
from app.api.problems import BODY, at, documented
from app.api.schema import FORMAT_FIELD, Input
from app.api.seams import JobsOf
from app.api.uploads import FIELD, form_body, one_file
from app.errors import AppError
from app.indexing import job
from app.indexing.patterns.pattern import Axis
from app.indexing.patterns.peak_search import KAlpha2, PeakOptions
from app.indexing.question import Question
from app.indexing.upload import Content, FileOptions, Upload, question_from_upload, read_upload, search_file

DEFAULTS: Final = PeakOptions()

_UPLOAD: Final = form_body({"file": {**BINARY, "description": "A measured pattern, or a list of lines."}})
_PEAK_ANSWERS: Final = answered_as("The lines, in the form that `Accept` asks for.")


class PatternQuery(Input):
    """What may be said of a pattern, in the query."""

    model_config = ConfigDict(strict=False)

    filename: Annotated[
        str, Field(max_length=200, description="Name of the file, where the body is the file itself.")
    ] = "upload"
    axis: Annotated[
        Axis | None,
        Field(description="What the first column of a text file holds. Left out: what its header says, else 2theta."),
    ] = None
    wavelength_ang: Annotated[
        float | None, Field(gt=0, le=20, description="Wavelength [Angstrom]; goes before the file's own.")
    ] = None
    min_snr: Annotated[float, Field(ge=2, le=1000, description="Least area of a line over its standard deviation.")] = (
        DEFAULTS.min_snr
    )
    two_theta_min_deg: Annotated[float | None, Field(ge=0, lt=180, description="Search from here [deg].")] = None
    two_theta_max_deg: Annotated[float | None, Field(gt=0, le=180, description="Search to here [deg].")] = None
    k_alpha2: Annotated[
        KAlpha2, Field(description="Is the tube's second line in the beam? Positions are always those of the first.")
    ] = DEFAULTS.k_alpha2

    def search(self, max_peaks: int = DEFAULTS.max_peaks) -> PeakOptions:
        """How to search the lines."""
        return PeakOptions(
            min_snr=self.min_snr,
            max_peaks=max_peaks,
            two_theta_min_deg=self.two_theta_min_deg,
            two_theta_max_deg=self.two_theta_max_deg,
            k_alpha2=self.k_alpha2,
        )


class PeaksQuery(PatternQuery):
    """What may be said beside a pattern whose lines are asked for."""

    max_peaks: Annotated[int, Field(ge=1, le=1000, description="Most lines; the most significant are kept.")] = (
        DEFAULTS.max_peaks
    )
    format: Annotated[PeakFormat | None, FORMAT_FIELD] = None

    def options(self) -> FileOptions:
        """The options as the domain takes them."""
        return FileOptions("pattern", self.axis, self.wavelength_ang, self.search(self.max_peaks))


class SolveQuery(PatternQuery, OptionsIn, LearnedIn):
    """What may be said beside files whose cells are asked for."""

    model_config = ConfigDict(strict=False)

    content: Annotated[
        Content, Field(description="`pattern`, `lines`, or `auto`: fewer than 50 rows of numbers are a list of lines.")
    ] = "auto"

    @field_validator("lattices", "models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """Names with commas between, or the parameter several times."""
        if isinstance(value, list):
            return [name for item in value for name in str(item).split(",")]
        return value

    def options(self) -> FileOptions:
        """The options of the file as the domain takes them."""
        return FileOptions(self.content, self.axis, self.wavelength_ang, self.search())


class SolveFileQuery(SolveQuery):
    """The same of one file."""

    format: Annotated[Format | None, FORMAT_FIELD] = None
    rows: Annotated[Rows, Field(description="Rows of the CSV: one for each cell, or for each line of each cell.")] = (
        "cells"
    )


def create_router(limits: Limits, parts: LearnedParts) -> APIRouter:
    """Make the router; the limits come from the settings, which only the application reads."""
    router = APIRouter(prefix="/indexing", tags=["indexing"])
    threads = anyio.CapacityLimiter(WORKING_THREADS)

    @router.post(
        "/peaks",
        summary="Find the lines of a pattern",
        response_model=PeaksAnswer,
        responses={**_PEAK_ANSWERS, **documented(*BODY, "not-acceptable")},
        openapi_extra=_UPLOAD,
        max_body_size=limits.upload_bytes,
    )
    async def find_peaks(query: Annotated[PeaksQuery, Query()], request: Request) -> Response:
        """Positions with standard deviations, widths and intensities of the lines in a measured pattern.

        Reads columns (`.xy`, `.xye`, `.csv`, `.dat`, `.txt`, `.chi`), GSAS files, `.xrdml`, `.uxd`, `.ras`, `.raw`. The
        columns of the answer have the names that `/indexing/solve` takes. A picture shows what was found.
        """
        form = query.format or accepted(request.headers.get("accept"), PEAK_MEDIA_TYPES)
        name, body = await one_file(request, query.filename)
        try:
            found = await anyio.to_thread.run_sync(partial(search_file, body, name, query.options()), limiter=threads)
        except AppError as error:
            raise of_file(error) from None
        content = await anyio.to_thread.run_sync(partial(peaks_written, found, form), limiter=threads)
        return Response(content, headers=VARY, media_type=PEAK_MEDIA_TYPES[form])

    @router.post(
        "/solve/file",
        summary="Index a measured pattern",
        response_model=SolveAnswer,
        responses={**ANSWERS, **documented(*BODY, *JOB_KINDS)},
        openapi_extra=_UPLOAD,
        max_body_size=limits.upload_bytes,
    )
    async def solve_file(
        query: Annotated[SolveFileQuery, Query()],
        request: Request,
        jobs: JobsOf,
        prefer: PreferHeader = None,
        idempotency_key: IdempotencyKey = None,
    ) -> Response:
        """From a measured pattern, or a list of lines in a text file, to ranked unit cells in one call.

        The same answers, and the same use of `Prefer` and `Accept`, as `/indexing/solve`; a picture shows the
        pattern and the tick marks of the best cell.
        """
        form = query.format or accepted(request.headers.get("accept"), MEDIA_TYPES)
        name, body = await one_file(request, query.filename)
        asking = partial(_asked, body, name, query, limits)
        upload, question = await anyio.to_thread.run_sync(asking, limiter=threads)
        chosen = await learned(parts, query, "query")
        result = await finished(request, jobs, Work.of(question, chosen), idempotency_key)
        if isinstance(result, Response):
            return result
        writing = partial(written, result, form, question.peaks, upload.search, rows=query.rows)
        content = result if form == "json" else await anyio.to_thread.run_sync(writing, limiter=threads)
        return Response(content, headers=VARY, media_type=MEDIA_TYPES[form])

    return router


def _asked(body: bytes, name: str, query: SolveFileQuery, limits: Limits) -> tuple[Upload, Question]:
    try:
        check_options(query, limits)
        upload = read_upload(body, name, query.options())
        return upload, question_from_upload(upload, query.changes())
    except AppError as error:
        raise of_file(error) from None


def of_file(error: AppError, name: str = FIELD) -> AppError:
    """The same error, with its field: an option of the query, else the file."""
    field = error.details.get("field")
    option = isinstance(field, list) and field[0] in SolveFileQuery.model_fields
    content = job.error_content(error, "query") if option else None
    if not content:
        return at(error, ("body", name))
    return type(error)(error.message, details={"errors": content["errors"]})
