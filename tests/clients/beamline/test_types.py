"""The client's types say what the OpenAPI document says: the same fields, the same choices, null in the same places."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from app.main import create_app
from app.settings import Settings
from beamline_client import inputs
from beamline_client.answers import aggregates, indexing, jobs, polarization, shared, store, waveform
from beamline_client.calls.jobs import RESULTS
from tests.fakes import FakeRegistry

OFTEN: Final = {shared.UsedModel: "UsedModel", shared.Remark: "WarningOut", shared.FieldProblem: "FieldError"}
ANSWERS: Final[Mapping[type, str]] = OFTEN | {
    polarization.Anchor: "AnchorOut",
    polarization.Threshold: "ThresholdOut",
    polarization.Decay: "ExperimentOut",
    polarization.PolarizationAnswer: "PredictAnswer",
    polarization.ExcludedRow: "ExcludedOut",
    polarization.Segment: "SegmentOut",
    polarization.DamagedLine: "DamagedOut",
    polarization.FileRemark: "FileRemark",
    polarization.PolarizationFileAnswer: "FileAnswer",
    indexing.Cell: "CellOut",
    indexing.Line: "LineOut",
    indexing.Extinction: "ExtinctionOut",
    indexing.Solution: "SolutionOut",
    indexing.Search: "SearchOut",
    indexing.SolveAnswer: "SolveAnswer",
    indexing.Background: "BackgroundOut",
    indexing.PeaksAnswer: "PeaksAnswer",
    indexing.PatternProblem: "BatchError",
    indexing.BatchEntry: "BatchEntry",
    indexing.BatchAnswer: "BatchAnswer",
    indexing.FileEntry: "app__api__indexing_schema__FileEntry",
    indexing.SkippedFile: "SkippedFile",
    indexing.FilesAnswer: "FilesAnswer",
    waveform.Pulse: "PulseOut",
    waveform.Waveform: "WaveformOut",
    waveform.Detector: "DetectorOut",
    waveform.WaveformAnswer: "WaveformAnswer",
    aggregates.Pattern: "PatternOut",
    aggregates.Setting: "SettingOut",
    aggregates.AggregatesAnswer: "AggregatesAnswer",
    jobs.JobSummary: "JobSummary",
    jobs.Job: "Job",
    jobs.JobList: "JobList",
    store.VersionSummary: "VersionSummary",
    store.Model: "ModelSummary",
    store.ModelList: "ModelList",
    store.ModelVersion: "VersionFull",
    store.Feature: "Feature",
    store.Tensor: "TensorSpec",
    store.Training: "Training",
    store.Compiled: "Compiled",
    store.PlainForm: "PlainForm",
    store.FileOfModel: "app__model_registry__manifest__FileEntry",
    store.JobsHealth: "JobsReady",
    store.AccessHealth: "AccessReady",
    store.Health: "Ready",
}
BODIES: Final[Mapping[Any, tuple[str, set[str]]]] = {
    inputs.Polarizer: ("PolarizerIn", set()),
    inputs.Analyser: ("AnalyserIn", set()),
    inputs.Calibration: ("LaterIn", set()),
    inputs.PredictAt: ("PredictAtIn", set()),
    inputs.Experiment: ("ExperimentIn", set()),
    inputs.PolarizationOptions: ("PredictRequest", {"experiments"}),
    inputs.Lines: ("LinesIn", set()),
    inputs.Question: ("SolveRequest", set()),
    inputs.SearchOptions: ("BatchRequest", {"patterns"}),
    inputs.DetectorSettings: ("DetectorIn", set()),
    inputs.WaveformOptions: ("WaveformRequest", {"waveforms"}),
    inputs.AggregatesOptions: ("AggregatesRequest", {"patterns", "mask"}),
}
"""What is sent as JSON: its schema, and the fields that are arguments of their own."""
QUERIES: Final[Mapping[Any, str]] = {
    inputs.PolarizationFileOptions: "/polarization/predict/file",
    inputs.PeaksOptions: "/indexing/peaks",
    inputs.SolveFileOptions: "/indexing/solve/file",
    inputs.WaveformFileOptions: "/waveform/file",
    inputs.AggregatesFileOptions: "/aggregates/file",
}
ARGUMENTS: Final = {"format", "rows"}
"""Of every query: `picture=` says the form."""
JSON_TYPES: Final = {
    str: "string",
    datetime: "string",
    int: "integer",
    float: "number",
    bool: "boolean",
    dict: "object",
    list: "array",
    NoneType: "null",
}


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder: Path = tmp_path_factory.mktemp("openapi")
    settings = Settings(job_workers=0, jobs_database=f"sqlite:///{folder}/jobs.sqlite3")
    return create_app(settings, registry=FakeRegistry()).openapi()


@pytest.fixture
def schemas(openapi: dict[str, Any]) -> dict[str, Any]:
    return openapi["components"]["schemas"]


def types_told(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> set[str]:
    """JSON types that a schema allows; empty: any."""
    if "$ref" in schema:
        return types_told(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        return set().union(*(types_told(one, schemas) for one in schema["anyOf"]))
    if "const" in schema or "enum" in schema:
        return {"string"}
    found = schema.get("type", [])
    return {found} if isinstance(found, str) else set(found)


def types_written(hint: Any) -> set[str]:
    """The same of a type of the client."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return set().union(*(types_written(one) for one in get_args(hint)))
    if origin is Literal:
        return {"string"}
    if dataclasses.is_dataclass(hint):
        return {"object"}
    name = JSON_TYPES.get(origin or hint)
    return {name} if name else set()


def choices_told(schema: Mapping[str, Any] | list[Any]) -> set[str]:
    """Every text that a schema allows by name, in it or in its items."""
    if isinstance(schema, list):
        return set().union(*map(choices_told, schema))
    own = {schema["const"]} if "const" in schema else set(schema.get("enum", ()))
    inner = [value for name, value in schema.items() if name in ("items", "anyOf", "oneOf", "schema")]
    return own.union(*map(choices_told, inner))


def choices_written(hint: Any) -> set[str]:
    """The same of a type of the client; those of dictionaries in it are looked at by themselves."""
    if get_origin(hint) is Literal:
        return set(get_args(hint))
    return set().union(*map(choices_written, get_args(hint)))


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
def test_an_answer_has_the_fields_of_its_schema(kind: type, schemas: dict[str, Any]) -> None:
    properties, hints = schemas[ANSWERS[kind]]["properties"], get_type_hints(kind)
    assert set(hints) == set(properties)
    for name, hint in hints.items():
        told, written = types_told(properties[name], schemas), types_written(hint)
        assert told <= written or not told or not written, f"{name}: the service tells {told}, the client has {written}"
        assert choices_told(properties[name]) == choices_written(hint), name


def test_every_answer_is_looked_at() -> None:
    modules = (polarization, indexing, waveform, aggregates, jobs, store, shared)
    made = {one for module in modules for one in vars(module).values() if dataclasses.is_dataclass(one)}
    assert made - {indexing.CellSummary} == set(ANSWERS)  # the begin of a Solution


@pytest.mark.parametrize("kind", BODIES, ids=lambda kind: kind.__name__)
def test_a_body_has_the_fields_of_its_schema(kind: Any, schemas: dict[str, Any]) -> None:
    name, arguments = BODIES[kind]
    properties = schemas[name]["properties"]
    assert set(kind.__annotations__) == set(properties) - arguments
    assert set(kind.__required_keys__) == set(schemas[name].get("required", ())) - arguments
    for field, hint in get_type_hints(kind).items():
        assert choices_told(properties[field]) == choices_written(hint), field


@pytest.mark.parametrize("kind", QUERIES, ids=lambda kind: kind.__name__)
def test_a_query_has_the_parameters_of_its_path(kind: Any, openapi: dict[str, Any]) -> None:
    parameters = openapi["paths"][QUERIES[kind]]["post"]["parameters"]
    told = {one["name"]: one for one in parameters if one["in"] == "query" and one["name"] not in ARGUMENTS}
    # Of aggregates the name of the file says nothing.
    assert set(kind.__annotations__) == set(told)
    for field, hint in get_type_hints(kind).items():
        assert choices_told(told[field]) == choices_written(hint), field


def test_every_kind_of_job_that_answers_a_request_has_its_answer(openapi: dict[str, Any]) -> None:
    accepting = {
        path for path, routes in openapi["paths"].items() if "202" in routes.get("post", {}).get("responses", {})
    }
    assert accepting == {"/indexing/solve", "/indexing/solve/file", "/indexing/solve/batch", "/indexing/solve/files"}
    assert {kind.__name__ for kind in RESULTS.values()} == {"SolveAnswer", "BatchAnswer", "FilesAnswer"}


def test_every_path_that_answers_a_measurement_has_a_method(openapi: dict[str, Any]) -> None:
    source = "".join(path.read_text() for path in Path(jobs.__file__).parents[1].glob("calls/*.py"))
    paths = [path for path, routes in openapi["paths"].items() if "post" in routes and not path.startswith("/v2")]
    assert len(paths) >= 11
    for path in paths:
        assert f'"{path}"' in source, f"no call of the client asks {path}"
