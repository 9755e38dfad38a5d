"""The errors that domains and model registry raise. No HTTP in here: `app.api.problems` maps kinds to statuses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class AppError(Exception):
    """Base of every error that a caller may be told about.

    The message is shown to the caller. It says what was found, what was expected and how to mend it, and it holds no
    path of this machine and no copy of a large or hostile input.

    Attributes:
        kind: stable slug, part of the public interface (the last part of a problem's ``type``).
        title: one short line, the same for every error of this kind.
        details: further JSON-ready members for the answer, e.g. ``{"available": ["stable", "3"]}``.
    """

    kind: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "The service failed"

    def __init__(self, message: str, *, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message)
        self.details: dict[str, object] = dict(details or {})

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidInput(AppError):
    """Values that are well formed and make no sense: a sigma below zero, a final calibration before the initial one."""

    kind = "invalid-input"
    title = "The input is not valid"


class UnsupportedFormat(AppError):
    """A file or a body in a format that nothing here reads."""

    kind = "unsupported-format"
    title = "The format is not supported"


class TooLarge(AppError):
    """An input beyond a limit of this service; the message names the limit."""

    kind = "too-large"
    title = "The input is too large"


class Unauthenticated(AppError):
    """A request without a key, or with one that is not known, where a key is needed."""

    kind = "unauthenticated"
    title = "A key is needed"


class Forbidden(AppError):
    """A request that the caller's key does not allow, or that no key of this service allows."""

    kind = "forbidden"
    title = "This is not allowed"


class AccessUnavailable(AppError):
    """A token that cannot be checked now: the identity provider has not given its keys yet."""

    kind = "access-unavailable"
    title = "Tokens cannot be checked now"


class NotFound(AppError):
    """A model, version or alias that does not exist; the details list those that do."""

    kind = "not-found"
    title = "There is no such thing here"


class NotAcceptable(AppError):
    """No representation that the caller accepts; the details list those that exist."""

    kind = "not-acceptable"
    title = "No acceptable representation"


class Conflict(AppError):
    """The request contradicts the present state: an existing version, a concurrent writer."""

    kind = "conflict"
    title = "The request conflicts with the present state"


class IdempotencyConflict(AppError):
    """An idempotency key that came before with another request."""

    kind = "idempotency-conflict"
    title = "The idempotency key was used for another request"


class ModelRefused(AppError):
    """A model folder that fails a check: digest, manifest, forbidden pickle, unsafe layer, a link or path out of it."""

    kind = "model-refused"
    title = "The model was refused"


class ModelUnavailable(AppError):
    """A model that exists and is not loaded: it is still warming up, or it was refused."""

    kind = "model-unavailable"
    title = "The model is not available"


class ModelOutputInvalid(AppError):
    """A model that answered with NaN, an infinity or the wrong shape."""

    kind = "model-output-invalid"
    title = "The model gave an invalid answer"


class Busy(AppError):
    """More work waits already than the service takes; the same request will do a little later."""

    kind = "too-many-requests"
    title = "Too much work is waiting"


class RateLimited(AppError):
    """More requests in a second than one caller may send; the message says how many those are."""

    kind = "rate-limited"
    title = "Too many requests"


class Gone(AppError):
    """Something that was here and is no longer kept."""

    kind = "gone"
    title = "It is no longer kept"


class JobLost(AppError):
    """A job whose worker process died each time that it was tried."""

    kind = "job-lost"
    title = "The job could not be completed"


class JobTimedOut(AppError):
    """A job that ran longer than the service lets one run."""

    kind = "job-timed-out"
    title = "The job took too long"


class JobsUnavailable(AppError):
    """Long work cannot be taken now: the database of jobs does not answer, or the code of a job cannot be loaded."""

    kind = "jobs-unavailable"
    title = "Jobs are not available"
