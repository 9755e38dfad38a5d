"""What can go wrong, as exceptions: one class for each family of problems that the service answers with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

__all__ = [
    "FAMILIES",
    "BeamlineError",
    "Busy",
    "Conflict",
    "FieldError",
    "Forbidden",
    "Gone",
    "InvalidInput",
    "JobCancelled",
    "JobFailed",
    "JobNotFinished",
    "ModelFailed",
    "NotFound",
    "Problem",
    "ProblemError",
    "RequestRefused",
    "ServiceFailed",
    "ServiceUnreachable",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnexpectedAnswer",
    "problem_error",
    "problem_from_answer",
]

PROBLEM_TYPE: Final = "application/problem+json"
MAX_TEXT: Final = 500
_MEMBERS: Final = frozenset({"type", "title", "status", "detail", "errors", "request_id", "instance", "error"})


class BeamlineError(Exception):
    """Base of everything that this package raises by itself."""


class ServiceUnreachable(BeamlineError):
    """No answer: there is no connection, it broke, or the service said nothing for too long."""


class UnexpectedAnswer(BeamlineError):
    """An answer that is none of the service's: a page of a proxy, or of a service that is much older or newer."""


class JobNotFinished(BeamlineError, TimeoutError):
    """The time to wait for a job has passed. The job goes on; its id is in ``job_id``."""

    def __init__(self, job_id: str, waited_s: float) -> None:
        super().__init__(job_id, waited_s)
        self.job_id = job_id

    def __str__(self) -> str:
        return f"the job {self.job_id} has not finished within {self.args[1]:g} s; it goes on"


class JobCancelled(BeamlineError):
    """A job that was cancelled has no result; its id is in ``job_id``."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        self.job_id = job_id

    def __str__(self) -> str:
        return f"the job {self.job_id} was cancelled"


@dataclass(frozen=True)
class FieldError:
    """One field of the request that failed.

    Attributes:
        loc: ``body`` or ``query``, then the keys and indices to the field.
        msg: what was expected.
        type: stable name of the check that failed.
    """

    loc: tuple[str | int, ...]
    msg: str
    type: str


@dataclass(frozen=True)
class Problem:
    """A problem as the service tells it (RFC 9457).

    Attributes:
        kind: stable name, such as ``invalid-input``: branch on this, or on the class of the exception. Empty where
            not the service answered but something before it.
        title: the kind in one line, the same for every occurrence.
        status: HTTP status.
        detail: what was found, what was expected and how to mend it.
        errors: the fields that failed, where the input did.
        request_id: what to look for in the service's logs.
        retry_after_s: when to try again [s], if the service says.
        members: whatever else it tells, such as ``available``.
    """

    kind: str
    title: str
    status: int
    detail: str
    errors: tuple[FieldError, ...] = ()
    request_id: str | None = None
    retry_after_s: float | None = None
    members: Mapping[str, Any] = field(default_factory=dict[str, Any])


class ProblemError(BeamlineError):
    """The service answered with a problem; the attributes are those of `Problem`."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    @property
    def kind(self) -> str:
        return self.problem.kind

    @property
    def title(self) -> str:
        return self.problem.title

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def detail(self) -> str:
        return self.problem.detail

    @property
    def errors(self) -> tuple[FieldError, ...]:
        return self.problem.errors

    @property
    def request_id(self) -> str | None:
        return self.problem.request_id

    @property
    def retry_after_s(self) -> float | None:
        return self.problem.retry_after_s

    @property
    def members(self) -> Mapping[str, Any]:
        return self.problem.members

    def __str__(self) -> str:
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.title}: {self.detail}{request}"


class RequestRefused(ProblemError):
    """The service understood who asks and will not do what is asked: status 4xx."""


class InvalidInput(RequestRefused):
    """Values, a file or a form that make no sense; ``errors`` names the fields."""


class TooLarge(RequestRefused):
    """More than a limit of the service allows; ``detail`` names the limit."""


class Unauthenticated(RequestRefused):
    """A key is needed, or the one given is not known, or no longer."""


class Forbidden(RequestRefused):
    """The key does not allow this."""


class NotFound(RequestRefused):
    """No model, version, alias or job of that name."""


class Gone(NotFound):
    """A job whose result is no longer kept."""


class Conflict(RequestRefused):
    """The request contradicts the present state, or its Idempotency-Key came before with another request."""


class Busy(RequestRefused):
    """Too much at once; ``retry_after_s`` says when to come back."""


class ServiceFailed(ProblemError):
    """The service failed: status 5xx. Report ``request_id`` to whoever runs it."""


class Unavailable(ServiceFailed):
    """Something that the answer needs is not there now: a model that loads, the database of jobs."""


class ModelFailed(ServiceFailed):
    """A model was refused, or gave an answer that makes no sense; another version may do."""


class JobFailed(ServiceFailed):
    """A job that could not be completed: its worker died, or it took too long."""


FAMILIES: Final[Mapping[str, type[ProblemError]]] = {
    "malformed-body": InvalidInput,
    "invalid-input": InvalidInput,
    "unsupported-format": InvalidInput,
    "not-acceptable": InvalidInput,
    "unauthenticated": Unauthenticated,
    "forbidden": Forbidden,
    "not-found": NotFound,
    "gone": Gone,
    "conflict": Conflict,
    "idempotency-conflict": Conflict,
    "too-large": TooLarge,
    "too-many-requests": Busy,
    "jobs-unavailable": Unavailable,
    "model-unavailable": Unavailable,
    "not-ready": Unavailable,
    "model-refused": ModelFailed,
    "model-output-invalid": ModelFailed,
    "job-lost": JobFailed,
    "job-timed-out": JobFailed,
    "internal-error": ServiceFailed,
}
"""Class of each kind of problem; what is not here goes by its status."""

_OF_STATUS: Final[Mapping[int, type[ProblemError]]] = {
    400: InvalidInput,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    406: InvalidInput,
    409: Conflict,
    410: Gone,
    413: TooLarge,
    415: InvalidInput,
    422: InvalidInput,
    429: Busy,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def problem_error(problem: Problem) -> ProblemError:
    """The exception for a problem."""
    family = FAMILIES.get(problem.kind) or _OF_STATUS.get(problem.status)
    return (family or (ServiceFailed if problem.status >= 500 else RequestRefused))(problem)


def problem_from_answer(status: int, headers: Mapping[str, str], content: bytes) -> Problem:
    """Read the problem in an answer of status 4xx or 5xx; one of a proxy is told by its status and its begin."""
    retry_after_s = _retry_after_s(headers.get("retry-after"))
    if headers.get("content-type", "").partition(";")[0].strip() == PROBLEM_TYPE:
        try:
            told = json.loads(content)
        except ValueError:
            told = None
        if isinstance(told, dict):
            return problem_from_json(cast("dict[str, Any]", told), status=status, retry_after_s=retry_after_s)
    text = content[:MAX_TEXT].decode("utf-8", "replace").strip()
    detail = f"not from the service: {text}" if text else "not from the service, and without a word"
    return Problem("", f"HTTP status {status}", status, detail, (), headers.get("x-request-id"), retry_after_s)


def problem_from_json(told: Mapping[str, Any], *, status: int = 500, retry_after_s: float | None = None) -> Problem:
    """Read the members of an `application/problem+json`; those that are missing get what is known of the answer."""
    return Problem(
        kind=str(told.get("type", "")).rpartition("/")[2],
        title=str(told.get("title", f"HTTP status {status}")),
        status=int(told.get("status", status)),
        detail=str(told.get("detail", "")),
        errors=tuple(
            FieldError(tuple(item.get("loc", ())), str(item.get("msg", "")), str(item.get("type", "")))
            for item in told.get("errors") or ()
        ),
        request_id=told.get("request_id"),
        retry_after_s=retry_after_s,
        members={name: value for name, value in told.items() if name not in _MEMBERS},
    )


def _retry_after_s(header: str | None) -> float | None:
    """Seconds, or an HTTP date (RFC 9110, 10.2.3); what cannot be read is as if it were not there."""
    if header is None:
        return None
    if header.strip().isdecimal():
        return float(header)
    try:
        when = parsedate_to_datetime(header)
    except ValueError:
        return None
    when = when if when.tzinfo is not None else when.replace(tzinfo=timezone.utc)
    return max(0.0, (when - datetime.now(timezone.utc)).total_seconds())
