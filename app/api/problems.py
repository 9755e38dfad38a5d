"""Errors at the HTTP edge: every one is an `application/problem+json` (RFC 9457) of a kind in the table below."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app import errors
from app.api.schema import FieldError
from app.logs import request_id

_log = structlog.stdlib.get_logger("app.api")

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "/problems/"
PROTOCOL_PREFIX = "/v2"
"""Routes of the open inference protocol begin with it."""
MAX_ERRORS = 20
MAX_TEXT = 300


Where = Sequence[str | int]
"""Keys and indices that lead to a value: ``("body", "waveforms")``."""


@dataclass(frozen=True)
class Kind:
    """One row of the table of problems.

    Attributes:
        status: HTTP status of every problem of this kind.
        title: short line, the same for every occurrence.
        advice: what the caller can do; the page of the kind and the default detail.
        retry_after_s: when to try again; the Retry-After header.
        challenge: how to say who one is; the WWW-Authenticate header.
    """

    status: int
    title: str
    advice: str
    retry_after_s: int | None = None
    challenge: str | None = None


def _of(
    error: type[errors.AppError],
    status: int,
    advice: str,
    retry_after_s: int | None = None,
    challenge: str | None = None,
) -> tuple[str, Kind]:
    return error.kind, Kind(status, error.title, advice, retry_after_s, challenge)


KINDS: dict[str, Kind] = dict(
    [
        (
            "malformed-request",
            Kind(400, "This is no HTTP request", "Send HTTP/1.1, and https only where TLS is served."),
        ),
        ("malformed-body", Kind(400, "The body cannot be read", "Send a well-formed body in UTF-8 and try again.")),
        _of(
            errors.Unauthenticated,
            401,
            "Send a key of this service in the header Authorization: Apikey SECRET.",
            challenge='Apikey realm="beamline", Bearer realm="beamline"',
        ),
        _of(errors.Forbidden, 403, "Ask whoever runs the service for a key that allows it."),
        _of(
            errors.NotFound,
            404,
            "Check the address and the names in it; /docs lists the endpoints, /models the models.",
        ),
        (
            "method-not-allowed",
            Kind(405, "The method is not allowed", "The Allow header lists the methods of this address."),
        ),
        _of(errors.NotAcceptable, 406, "Ask for one of the media types that /docs lists for the endpoint."),
        (
            "request-timeout",
            Kind(408, "The request came too slowly", "Send it without pauses; how long one may take is a setting."),
        ),
        _of(errors.Conflict, 409, "Read the present state, then decide whether to send the request again."),
        _of(errors.Gone, 410, "Send the request that made it again; how long results are kept is a setting."),
        _of(errors.TooLarge, 413, "Split the request; the limits are settings of the service."),
        ("target-too-long", Kind(414, "The address is too long", "Send what is long in the body, not in the query.")),
        _of(errors.UnsupportedFormat, 415, "Send one of the media types that /docs lists, without Content-Encoding."),
        _of(errors.InvalidInput, 422, "Correct the fields that `errors` or `detail` name and send the request again."),
        _of(
            errors.IdempotencyConflict, 422, "Send a new Idempotency-Key, or the request that this key came with first."
        ),
        _of(errors.ModelRefused, 422, "The model folder fails a check that `detail` names; publish it again."),
        (
            "misdirected-request",
            Kind(
                421,
                "The service is not known by this name",
                "Ask it by its address in numbers, or as localhost; whoever runs it adds names with "
                "BEAMLINE_ALLOWED_HOSTS.",
            ),
        ),
        _of(errors.Busy, 429, "Wait as long as Retry-After says, then send the request again.", 2),
        _of(errors.RateLimited, 429, "Send fewer requests at a time; wait as long as Retry-After says.", 1),
        ("head-too-large", Kind(431, "The head of the request is too large", "Send fewer and shorter headers.")),
        _of(errors.AppError, 500, "Try again; if it happens again, report the request id to whoever runs the service."),
        _of(errors.ModelOutputInvalid, 500, "Ask another model version; report the request id and the model."),
        _of(errors.JobLost, 500, "Report the job's id; its input ended the process that worked on it."),
        _of(errors.JobTimedOut, 500, "Ask for less in one job; how long one may run is a setting of the service."),
        _of(errors.JobsUnavailable, 503, "Wait as long as Retry-After says, then send the request again.", 5),
        _of(errors.AccessUnavailable, 503, "Wait as long as Retry-After says, or send a key of this service.", 5),
        (
            "too-many-connections",
            Kind(503, "Too many connections", "Wait as long as Retry-After says; keep connections open and few.", 5),
        ),
        _of(errors.ModelUnavailable, 503, "Wait for /health/ready, or name another version of the model."),
        (
            "not-ready",
            Kind(503, "The service is not ready", "Wait: `waiting_for` lists the models that are not loaded yet."),
        ),
    ]
)
"""Every kind of problem that the service answers with. Kinds are public: rows are added, never renamed."""

_KIND_OF_STATUS = {400: "malformed-body", 404: "not-found", 405: "method-not-allowed", 406: "not-acceptable",
                   413: "too-large", 415: "unsupported-format", 422: "invalid-input"}  # fmt: skip


def problem(
    kind: str,
    detail: str | None = None,
    *,
    members: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
    of_request: bool = True,
) -> Response:
    """Build the answer for one problem.

    Args:
        kind: a key of `KINDS`.
        detail: what was found, what was expected, how to mend it; the kind's advice when left out.
        members: further JSON-ready members, such as ``errors``; they cannot replace the standard ones.
        headers: further HTTP headers.
        of_request: name the present request as the occurrence.
    """
    row = KINDS[kind]
    current = request_id.get() if of_request else None
    content: dict[str, object] = dict(members or {})
    content |= {"type": TYPE_PREFIX + kind, "title": row.title, "status": row.status}
    content["detail"] = _printable(detail or row.advice, MAX_TEXT * 4)
    if current is not None:
        content |= {"instance": f"urn:beamline:request:{current}", "request_id": current}
    if row.retry_after_s is not None:
        headers = {"Retry-After": str(row.retry_after_s)} | dict(headers or {})
    if row.challenge is not None:
        headers = {"WWW-Authenticate": row.challenge} | dict(headers or {})
    return _ProblemResponse(content, row.status, headers)


class _ProblemResponse(Response):
    """A problem; under `/v2` it has the member `error` too, the only one that clients of that protocol look for."""

    def __init__(self, content: dict[str, object], status: int, headers: Mapping[str, str] | None) -> None:
        super().__init__(orjson.dumps(content), status, headers, MEDIA_TYPE)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].removeprefix(scope.get("root_path", "")).startswith(PROTOCOL_PREFIX):
            self.body = orjson.dumps(self._content | {"error": self._content["detail"]})
            self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def install(app: FastAPI) -> None:
    """Turn every exception that leaves an endpoint of ``app`` into a problem."""
    for kind, answer in (*_ANSWERS.items(), (Exception, _of_unexpected)):
        app.add_exception_handler(kind, _handler(answer))


def from_exception(error: Exception) -> Response:
    """Answer as the handlers that `install` gives to FastAPI.

    Raises:
        Exception: the same one, where it is none that a caller may be told about; the edge logs it and answers.
    """
    for kind in type(error).__mro__:
        if (answer := _ANSWERS.get(kind)) is not None:
            return answer(error)
    raise error


def at(error: errors.AppError, where: Where) -> errors.AppError:
    """The same error with the place that it speaks of, in the form of a problem's ``errors``."""
    kind = error.kind.replace("-", "_")
    return type(error)(error.message, details={"errors": [{"loc": list(where), "msg": error.message, "type": kind}]})


def from_app_error(error: errors.AppError) -> Response:
    """Answer for an error of a domain or of the registry; of its details ``retry_after_s`` is a header as well."""
    wait_s = error.details.get("retry_after_s")
    headers = None if wait_s is None else {"Retry-After": str(wait_s)}
    return problem(error.kind, error.message, members=error.details, headers=headers)


def _of_app_error(error: Any) -> Response:
    if KINDS[error.kind].status >= 500:
        _log.error("the answer is a failure", kind=error.kind, detail=error.message)
    return from_app_error(error)


def _of_invalid_request(error: Any) -> Response:
    return from_validation_errors(error.errors())


def _of_invalid_answer(error: Any) -> Response:
    """Answer for one of our own models that refused our own values: a NaN from a model, or a programming error."""
    _log.error("an answer of the service was not valid", exc_info=error)
    not_finite = any(item["type"] == "finite_number" for item in error.errors(include_url=False, include_input=False))
    return problem("model-output-invalid" if not_finite else "internal-error")


def _of_http_exception(error: Any) -> Response:
    if error.status_code < 400:
        return Response(status_code=error.status_code, headers=error.headers)
    kind = _KIND_OF_STATUS.get(error.status_code, "malformed-body" if error.status_code < 500 else "internal-error")
    # Of the framework's own texts only those on a body that could not be parsed say more than the advice.
    detail = error.detail if error.status_code == 400 else None
    return problem(kind, detail, headers=error.headers)


def _of_unexpected(_error: Any) -> Response:
    return problem("internal-error")


_ANSWERS: Mapping[type, Callable[[Any], Response]] = {
    errors.AppError: _of_app_error,
    RequestValidationError: _of_invalid_request,
    ValidationError: _of_invalid_answer,
    HTTPException: _of_http_exception,
}
"""Which exceptions a caller is told about, and how."""


def _handler(answer: Callable[[Any], Response]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_request: Request, error: Exception) -> Response:
        return answer(error)

    return handle


def from_validation_errors(found: Sequence[Any]) -> Response:
    """Answer for a request that failed validation: 400 where it is no JSON at all, else 422 with the list of fields.

    Args:
        found: pydantic's list of errors; of each only ``loc``, ``msg`` and ``type`` are shown, never the input.
    """
    if any(item["type"] == "json_invalid" for item in found):
        # Half of a surrogate pair is a well-formed escape of a text that does not exist.
        if any("hex escape" in str(item.get("ctx")) for item in found):
            return problem(
                "invalid-input", "a text in the body holds one half of a surrogate pair; send both, or UTF-8"
            )
        return problem("malformed-body", "The body is not well-formed JSON in UTF-8, or it is nested too deeply.")
    shown = [_field_error(item) for item in found[:MAX_ERRORS]]
    return problem("invalid-input", _summary(shown, len(found)), members={"errors": shown})


def _field_error(item: Mapping[str, Any]) -> dict[str, object]:
    loc = [part if isinstance(part, int) else _printable(str(part), 80) for part in item["loc"]]
    return FieldError(
        loc=loc, msg=_printable(str(item["msg"]).removeprefix("Value error, "), MAX_TEXT), type=str(item["type"])
    ).model_dump()


def _summary(shown: list[dict[str, Any]], count: int) -> str:
    first = f"{'.'.join(str(part) for part in shown[0]['loc'])}: {shown[0]['msg']}" if shown else "no reason was given"
    more = f" (and {count - 1} more)" if count > 1 else ""
    return f"{first}{more}"


def _printable(text: str, limit: int) -> str:
    """Cut a text and escape what cannot be printed or encoded: control characters, lone surrogates."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    if cut.isprintable():
        return cut
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def documented(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """Give the ``responses=`` of a route that may answer with these kinds of problem (and always with a 500).

    Raises:
        KeyError: for a kind that is not in `KINDS`.
    """
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in sorted({*kinds, "internal-error"}, key=lambda kind: (KINDS[kind].status, kind)):
        row = KINDS[kind]
        content = {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}
        response = {"description": row.title, "content": {MEDIA_TYPE: content}}
        entry = by_status.setdefault(row.status, response)
        entry["content"][MEDIA_TYPE]["examples"][kind] = {"summary": row.title, "value": _example(kind)}
    return by_status


def _example(kind: str) -> dict[str, object]:
    row = KINDS[kind]
    example: dict[str, object] = {
        "type": TYPE_PREFIX + kind,
        "title": row.title,
        "status": row.status,
        "detail": row.advice,
        "instance": "urn:beamline:request:7f3c0c9e5b7d4f3c8a52",
        "request_id": "7f3c0c9e5b7d4f3c8a52",
    }
    if kind == "invalid-input":
        example["detail"] = "body.experiments.0.initial.sigma: Input should be greater than 0"
        loc = ["body", "experiments", 0, "initial", "sigma"]
        example["errors"] = [{"loc": loc, "msg": "Input should be greater than 0", "type": "greater_than"}]
    return example


BODY = ("malformed-body", "too-large", "unsupported-format", "invalid-input")
"""Kinds that every endpoint with a body may answer with: ``documented(*BODY, "not-found")``."""
MODEL_KINDS = ("not-found", "not-acceptable", "model-refused", "model-output-invalid", "model-unavailable")
"""Kinds that every endpoint with a model and several forms of the answer may answer with."""
