"""Decay of the neutron polarization over HTTP: predictions from numbers and from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, NamedTuple

import anyio
import anyio.to_thread
from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from app.api.fast_path import FastRequest, FastRoute
from app.api.negotiation import BINARY, MEDIA_TYPES, VARY, Format, accepted_format, answered_as
from app.api.polarization_answers import json_bytes, survey_json, written
from app.api.polarization_cases import cases_from_experiments
from app.api.polarization_models import Choice, solved
from app.api.polarization_schema import (
    EXAMPLES,
    TEN_YEARS_S,
    Correction,
    FileAnswer,
    PredictAnswer,
    PredictRequest,
)
from app.api.problems import BODY, MODEL_KINDS, documented
from app.api.schema import JsonBody
from app.api.seams import ModelRegistry, RegistryOf, registry_of
from app.api.uploads import form_body, form_files
from app.errors import InvalidInput, TooLarge
from app.model_registry.manifest import NAME_PATTERN
from app.model_registry.store import REF_PATTERN
from app.polarization.case import Case, Solved, case_from_experiment
from app.polarization.segments import Segment, Survey
from app.polarization.upload import MAX_FILES, read_upload

INLINE_TIMES: Final = 5_000
INLINE_EXPERIMENTS: Final = 20
"""Requests up to here are computed in the event loop, in about a millisecond; larger ones in a thread."""

INLINE_BYTES: Final = 64 * 1024
"""Longer bodies are left to FastAPI without a look: they are no small requests, and would be parsed twice."""

WORKING_THREADS: Final = 4
"""For files, pictures and large requests; others wait, so that the rest of the service always has threads."""

_NAME: Final = NAME_PATTERN.strip("^$")
NAMES_PATTERN: Final = rf"^{_NAME}(,{_NAME}){{0,63}}$"


@dataclass(frozen=True)
class Limits:
    """What one request may ask for.

    Attributes:
        experiments: most experiments.
        times: most times to predict at, all experiments together.
        body_bytes: longest JSON body [bytes].
        upload_bytes: largest upload [bytes].
    """

    experiments: int = 1000
    times: int = 100_000
    body_bytes: int = 4 * 1024 * 1024
    upload_bytes: int = 64 * 1024 * 1024


class FileOptions(BaseModel):
    """What may be said beside a file, in the query."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_s: Annotated[
        float | None,
        Field(
            gt=0,
            le=TEN_YEARS_S,
            allow_inf_nan=False,
            description="Step of the grid [s]. Left out: 101 equally spaced times.",
            examples=[600.0],
        ),
    ] = None
    correction: Annotated[
        Correction, Field(description="`sloped`: the curve passes through the first and the last row. `none`: not.")
    ] = "sloped"
    model: Annotated[
        str | None,
        Field(
            pattern=NAMES_PATTERN,
            max_length=2000,
            description="A name, names with commas between, or `ensemble`. Left out: `polarization-<material>`.",
        ),
    ] = None
    version: Annotated[
        str, Field(pattern=REF_PATTERN, max_length=32, description="Version number, or an alias such as `stable`.")
    ] = "stable"
    threshold_polarization: Annotated[
        float | None,
        Field(gt=0, lt=1, allow_inf_nan=False, description="Say when the polarization falls under this value."),
    ] = None
    format: Annotated[
        Format | None, Field(description="Form of the answer, for clients that cannot set `Accept`; wins over it.")
    ] = None
    filename: Annotated[
        str, Field(max_length=200, description="Name of the file, where the body is the file itself.")
    ] = "upload.fli"

    @property
    def choice(self) -> Choice:
        names = self.model.split(",") if self.model else None
        return Choice(names[0] if names and len(names) == 1 else names, self.version)


_ANSWERS: Final = answered_as(
    "The answers, in the form that `Accept` asks for.",
    "GridTime,Time,PredictedPolarizationD3,ErrPredictedPolarizationD3\n0.0,2025-06-06T15:48:00,0.848,0.0021\n",
)
_UPLOAD: Final = form_body(
    {
        "files": {
            "type": "array",
            "items": dict(BINARY),
            "maxItems": MAX_FILES,
            "description": "A `.fli`, a zip of a `processed` folder, or D3's two text files.",
        }
    }
)
_BODY: Final = JsonBody(PredictRequest, examples=EXAMPLES)


def create_router(limits: Limits) -> APIRouter:
    """Make the router; the limits come from the settings, which only the application reads."""
    router = APIRouter(prefix="/polarization", tags=["polarization"])
    threads = anyio.CapacityLimiter(WORKING_THREADS)

    @router.post(
        "/predict",
        summary="Predict the decay between calibrations",
        response_model=PredictAnswer,
        responses={**_ANSWERS, **documented(*BODY, *MODEL_KINDS)},
        openapi_extra=_BODY.openapi,
    )
    async def predict_experiments(request: Request) -> Response:
        """The neutron polarization with its standard deviation at the times asked, for one experiment or many.

        Times are ISO date-times or seconds since the initial calibration. D3 writes local time without a zone; with a
        zone, answers are in UTC. `Accept` chooses JSON, CSV in D3's columns, or a picture.
        """
        work = _work(await _BODY(request), request.headers.get("accept"), registry_of(request), limits)
        return work.done() if work.is_small else await anyio.to_thread.run_sync(work.done, limiter=threads)

    @router.post(
        "/predict/file",
        summary="Predict the decays in a file",
        response_model=FileAnswer,
        responses={**_ANSWERS, **documented(*BODY, *MODEL_KINDS)},
        openapi_extra=_UPLOAD,
        max_body_size=limits.upload_bytes,
    )
    async def predict_file(
        options: Annotated[FileOptions, Query()], registry: RegistryOf, request: Request
    ) -> Response:
        """The decay between the first and the last row of every cell segment in a `.fli`, a zip, or D3's text pair.

        JSON also lists the segments that were rejected and why, and damaged lines; CSV and pictures hold the accepted
        ones. Send a form with `files`, or the file itself as the body with its name in `filename`.
        """
        form = options.format or accepted_format(request.headers.get("accept"))
        files = (await form_files(request, options.filename, field="files", most=MAX_FILES))["files"]
        work = partial(file_answer, files, registry, options, form, limits)
        content = await anyio.to_thread.run_sync(work, limiter=threads)
        return Response(content, headers=VARY, media_type=MEDIA_TYPES[form])

    return router


def fast_routes(limits: Limits, registry: ModelRegistry) -> list[FastRoute]:
    """What is answered in front of FastAPI: small requests for numbers."""

    def predict_experiments(request: FastRequest) -> Response | None:
        asked = _BODY.read(request.header(b"content-type"), request.body)
        work = _work(asked, request.header(b"accept"), registry, limits)
        return work.done() if work.is_small else None

    return [FastRoute("/polarization/predict", predict_experiments, min(INLINE_BYTES, limits.body_bytes))]


class _Work(NamedTuple):
    """What a request asks for, checked; the rest is computing."""

    cases: Sequence[Case]
    choice: Choice
    form: Format
    registry: ModelRegistry

    @property
    def is_small(self) -> bool:
        times = sum(len(case.ask.time_s) for case in self.cases)
        return self.form in ("json", "csv") and times <= INLINE_TIMES and len(self.cases) <= INLINE_EXPERIMENTS

    def done(self) -> Response:
        content = written(solved(self.cases, self.registry, self.choice), self.form)
        return Response(content, headers=VARY, media_type=MEDIA_TYPES[self.form])


def _work(asked: PredictRequest, accept: str | None, registry: ModelRegistry, limits: Limits) -> _Work:
    form = accepted_format(accept)
    return _Work(_cases(asked, limits), Choice(asked.model, asked.version), form, registry)


def _cases(asked: PredictRequest, limits: Limits) -> list[Case]:
    if len(asked.experiments) > limits.experiments:
        raise TooLarge(
            f"{len(asked.experiments)} experiments, at most {limits.experiments} are answered: split the request"
        )
    return cases_from_experiments(asked.experiments, asked.correction, limits.times)


# --- files ------------------------------------------------------------------------------------------------------------


def file_answer(
    files: Sequence[tuple[str, bytes]], registry: ModelRegistry, options: FileOptions, form: Format, limits: Limits
) -> bytes:
    """Read files, predict every accepted segment, and write the answer.

    Raises:
        AppError: as `read_upload` and `app.api.polarization_models.chosen`; InvalidInput where no segment was
            accepted and the format can show nothing else.
    """
    survey = read_upload(files)
    found = _solved_segments(survey, registry, options, limits)
    if form == "json":
        return json_bytes(survey_json(survey, found))
    done = [one for one in found if isinstance(one, Solved)]
    if not done:
        reasons = [one for one in found if isinstance(one, str)] + [s.reason for s in survey.segments if s.reason]
        first = f" ({reasons[0]})" if reasons else ""
        raise InvalidInput(f"the files hold no calibration series that could be predicted{first}; JSON says more")
    return written(done, form)


def _solved_segments(
    survey: Survey, registry: ModelRegistry, options: FileOptions, limits: Limits
) -> list[Solved | str | None]:
    """For each segment its answer, why it could not be predicted, or None where it was rejected."""
    accepted = [i for i, segment in enumerate(survey.segments) if segment.accepted]
    if len(accepted) > limits.experiments:
        raise TooLarge(f"{len(accepted)} accepted segments, at most {limits.experiments} are answered: split the zip")
    cases = _file_cases([survey.segments[i] for i in accepted], options, limits)
    found: list[Solved | str | None] = [None] * len(survey.segments)
    for material in ("crystalline", "amorphous"):
        mine = [(i, case) for i, case in zip(accepted, cases, strict=True) if case.ask.material == material]
        for i, answer in zip(
            (i for i, _ in mine), _of_one_material([c for _, c in mine], registry, options), strict=True
        ):
            found[i] = answer
    return found


def _file_cases(segments: Sequence[Segment], options: FileOptions, limits: Limits) -> list[Case]:
    cases: list[Case] = []
    left = limits.times
    for segment in segments:
        assert segment.experiment is not None  # noqa: S101 - an accepted segment has one
        case = case_from_experiment(
            segment.experiment,
            dated=segment.installation is not None,
            step_s=options.step_s,
            correction=options.correction,
            threshold=options.threshold_polarization,
            max_times=left,
        )
        cases.append(case)
        left -= len(case.ask.time_s)
        if left < 0:
            raise TooLarge(f"more than {limits.times} times in all segments: take a larger step")
    return cases


def _of_one_material(cases: Sequence[Case], registry: ModelRegistry, options: FileOptions) -> Sequence[Solved | str]:
    """Segments that the named model does not fit are told so: a zip may hold both materials."""
    if not cases:
        return []
    try:
        return solved(cases, registry, options.choice)
    except InvalidInput as error:
        return [error.message] * len(cases)
