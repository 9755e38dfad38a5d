"""Bases and common parts of the HTTP schemas, and the reading of a body into one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Annotated, Any, Generic, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.responses import Response

from app.api.negotiation import content_type, is_json
from app.errors import UnsupportedFormat
from app.model_registry.manifest import NAME_PATTERN
from app.model_registry.store import REF_PATTERN

REF_TEMPLATE = "#/components/schemas/{model}"
JSON = "application/json"
MOST_ERRORS = 10_000
"""Of more, only the number is told: to write them down would keep everybody else waiting."""


class Input(BaseModel):
    """Base of what callers send: unknown fields, booleans for numbers, NaN and infinities are refused."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


class Output(BaseModel):
    """Base of what the service answers: a NaN or an infinity is an error of ours, never a silent null."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class FieldError(BaseModel):
    """One field of the request that failed validation."""

    loc: Annotated[
        list[int | str], Field(description="Where: `body` or `query`, then the keys and indices to the field.")
    ]
    msg: Annotated[str, Field(description="What was expected.")]
    type: Annotated[str, Field(description="Stable name of the check that failed, as pydantic names it.")]


class Problem(BaseModel):
    """An error as RFC 9457 describes it. `type` is stable; programs should branch on it and on `status` alone."""

    type: Annotated[str, Field(description="Kind of problem: the address of its page on this service.")]
    title: Annotated[str, Field(description="The kind in one line, the same for every occurrence.")]
    status: Annotated[int, Field(description="HTTP status.")]
    detail: Annotated[str, Field(description="What was found, what was expected and how to mend it.")]
    instance: Annotated[str | None, Field(description="URN of this occurrence.")] = None
    request_id: Annotated[
        str | None, Field(description="The same as in the header `X-Request-ID` and in the logs.")
    ] = None
    errors: Annotated[list[FieldError] | None, Field(description="The fields that failed, where the input did.")] = None
    error: Annotated[
        str | None, Field(description="Under `/v2`: `detail` once more, where clients of that protocol look for it.")
    ] = None


ModelName = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64, description="Name of the model.")]
Ref = Annotated[
    str,
    Field(
        pattern=REF_PATTERN,
        max_length=32,
        description="Version number, or an alias such as `stable` or `latest`.",
        examples=["stable"],
    ),
]
FORMAT_FIELD = Field(description="Form of the answer, for clients that cannot set `Accept`; wins over it.")


class UsedModel(Output):
    """A model that answered."""

    name: str
    version: Annotated[int, Field(description="Number of the version that answered.", examples=[1])]
    alias: Annotated[str | None, Field(description="The alias by which it was asked, if it was.", examples=["stable"])]


class WarningOut(Output):
    """Something to know of an answer."""

    model_config = ConfigDict(title="Warning")

    code: Annotated[str, Field(description="Stable; the documentation of the endpoint lists all.")]
    message: Annotated[str, Field(description="The same in words.")]


Model = TypeVar("Model", bound=BaseModel)


class JsonBody(Generic[Model]):
    """Dependency that reads a JSON body straight into a pydantic model.

    FastAPI's own path parses with `json`, then validates Python objects, where a strict model refuses date-times in
    strings; pydantic's parser reads the bytes itself, in half the time, and strictly.

    Use::

        request_body = JsonBody(PredictRequest, examples={"one decay": {"summary": ..., "value": {...}}})

        @router.post("/predict", openapi_extra=request_body.openapi)
        async def predict(asked: Annotated[PredictRequest, Depends(request_body)]) -> ...:
    """

    def __init__(self, model: type[Model], *, examples: dict[str, Any]) -> None:
        self._model = model
        self._examples = examples

    async def __call__(self, request: Request) -> Model:
        """Read and validate the body.

        Raises:
            UnsupportedFormat: the content type is not JSON.
            RequestValidationError: the body is not JSON or does not fit the model.
        """
        _check_json(request.headers.get("content-type"))
        return self.parse(await request.body())

    def read(self, content_type: str | None, body: bytes) -> Model:
        """The same for a body that is at hand, with the same errors."""
        _check_json(content_type)
        return self.parse(body)

    def parse(self, body: bytes) -> Model:
        try:
            return self._model.model_validate_json(body)
        except ValidationError as error:
            raise _placed(error, ("body",)) from None

    @property
    def openapi(self) -> dict[str, Any]:
        """The route's ``openapi_extra``; `app.api.docs` moves ``$defs`` into the components."""
        schema = self._model.model_json_schema(ref_template=REF_TEMPLATE)
        definitions = schema.pop("$defs", {}) | {self._model.__name__: schema}
        reference = {"$ref": REF_TEMPLATE.format(model=self._model.__name__), "$defs": definitions}
        return {"requestBody": {"required": True, "content": {JSON: {"schema": reference, "examples": self._examples}}}}


@lru_cache(maxsize=64)
def _check_json(header: str | None) -> None:
    """Refuse another content type than JSON."""
    if not is_json(content_type(header) or JSON):
        raise UnsupportedFormat(f"the body must be {JSON}; the Content-Type header says something else")


def validated(model: type[Model], values: object, where: Sequence[str]) -> Model:
    """Check values that were read already.

    Args:
        where: keys that lead to the values: ``("body", "parameters")``.

    Raises:
        RequestValidationError: with the places of what is wrong.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _placed(error, where) from None


def _placed(error: ValidationError, where: Sequence[str]) -> RequestValidationError:
    if (count := error.error_count()) > MOST_ERRORS:
        told = f"{count} things are wrong; compare the names and types of the fields with the documentation"
        return RequestValidationError([{"loc": where, "msg": told, "type": "too_many_errors"}])
    found = error.errors(include_url=False, include_input=False)
    return RequestValidationError([{**item, "loc": (*where, *item["loc"])} for item in found])


def json_answer(answer: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Serialize a pydantic model by its own serializer, past FastAPI's second validation of the answer."""
    return Response(answer.__pydantic_serializer__.to_json(answer), status, headers, JSON)
