"""Who may do what: the keys and tokens in the `Authorization` header, and the scopes that they allow.

Nothing here waits: the check runs in the event loop in front of every request. What it needs is read beforehand, by a
thread that looks for changes.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Awaitable, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

import structlog

from app.errors import Forbidden, Unauthenticated

SCHEMES: Final = (b"apikey", b"bearer")
"""`Authorization: Apikey SECRET`, as the field's own clients send it, or `Bearer SECRET`."""
CALLER: Final = "beamline.caller"
"""Where the gate leaves the caller in the scope of a request."""
POLL_S: Final = 1.0
"""Seconds between two looks at the keys file: a revoked key ends to work as fast."""


class Scope(Enum):
    """What a key may allow."""

    PREDICT = "predict"
    """To ask models: polarization, waveform, aggregates, open inference."""
    SOLVE = "solve"
    """To index patterns, and to look at one's own jobs and cancel them."""
    ADMIN = "admin"
    """To change what the service serves, and to see and cancel the jobs of all; allows the other two as well."""


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        name: the owner of the jobs that it submits, such as ``key:d3-control``; empty: anybody.
        scopes: what it may do.
    """

    name: str
    scopes: frozenset[Scope]

    @property
    def reads(self) -> str | None:
        """Whose jobs it may look at beside those of nobody; None: those of all."""
        return None if Scope.ADMIN in self.scopes else self.name


def caller_with(name: str, scopes: Iterable[Scope]) -> Caller:
    """Make a caller; who may administrate may do everything."""
    given = frozenset(scopes)
    return Caller(name, frozenset(Scope) if Scope.ADMIN in given else given)


@dataclass(frozen=True)
class Grant:
    """What one key gives.

    Attributes:
        until_s: Unix time of its end.
    """

    caller: Caller
    until_s: float = math.inf
    revoked: bool = False


class Keys(Protocol):
    """Keys that may change while the service runs."""

    @property
    def grants(self) -> Mapping[bytes, Grant]:
        """By the SHA-256 of their secrets; revoked and expired ones too."""
        ...

    @property
    def trouble(self) -> str:
        """Why the keys are not the present ones, in words for the operator; empty where they are."""
        ...

    def refresh(self) -> bool:
        """Look for changes; whether there were any."""
        ...


class Tokens(Protocol):
    """Tokens of an identity provider."""

    @property
    def trouble(self) -> str: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def is_one(self, secret: bytes) -> bool: ...
    def caller(self, token: bytes) -> Caller | Awaitable[Caller]:
        """Who sent a token, at once where the provider's keys are known.

        Raises:
            Unauthenticated: it is none of this provider for this service, or has expired.
            AccessUnavailable: the provider's keys are not known yet.
        """
        ...


@dataclass(frozen=True)
class Anonymous:
    """Whether callers without a key may predict and solve.

    Attributes:
        always: whatever keys there are.
        without_keys: as long as there has been no key and no identity provider.
    """

    always: bool = False
    without_keys: bool = True


_log = structlog.stdlib.get_logger("app.access")
_NOBODY: Final = Caller("", frozenset())
_ANYBODY: Final = Caller("", frozenset({Scope.PREDICT, Scope.SOLVE}))


class Access:
    """The keys of a service.

    Only digests are kept, so that no log and no dump can hold a key. A digest is looked up as a whole: the time that
    takes tells nothing of the secret, since nobody can choose what a secret's digest begins with.

    Args:
        fixed: keys of the environment, by their secrets.
        operator: a further one of the environment; alone it does not close the service for others.
        keys: keys that may change.
        tokens: an identity provider.
    """

    def __init__(
        self,
        *,
        fixed: Mapping[str, Caller] | None = None,
        operator: str | None = None,
        keys: Keys | None = None,
        tokens: Tokens | None = None,
        anonymous: Anonymous | None = None,
    ) -> None:
        self._anonymous = anonymous or Anonymous()
        self._keys = keys
        self._tokens = tokens
        self._closes = bool(fixed) or tokens is not None
        self._fixed = {digest_of(secret.encode()): Grant(caller) for secret, caller in (fixed or {}).items()}
        if operator is not None:
            self._fixed[digest_of(operator.encode())] = Grant(caller_with("admin", {Scope.ADMIN}))
        self._stopping = threading.Event()
        self._without_key = _NOBODY
        self._grants: Mapping[bytes, Grant] = {}
        if keys is not None:
            keys.refresh()
        self._take()

    def start(self) -> None:
        """Begin to look for changes, in a thread of its own."""
        self._stopping.clear()
        if self._tokens is not None:
            self._tokens.start()
        if self._keys is not None:
            self._thread = threading.Thread(target=self._watch, name="keys", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._tokens is not None:
            self._tokens.stop()
        if self._keys is not None:
            self._thread.join()

    @property
    def open(self) -> bool:
        """Whether callers without a key may predict and solve."""
        return self._without_key is _ANYBODY

    @property
    def open_here_alone(self) -> bool:
        """Whether callers without a key get in only where they ask an address of this machine that no other reaches."""
        return self.open and not self._anonymous.always

    @property
    def with_tokens(self) -> bool:
        """Whether an identity provider is asked."""
        return self._tokens is not None

    @property
    def trouble(self) -> str:
        """What keeps the keys or tokens from being the present ones; empty where nothing does."""
        return " ".join(filter(None, (source.trouble for source in (self._keys, self._tokens) if source is not None)))

    def caller(self, authorization: bytes | None) -> Caller | Awaitable[Caller]:
        """Who sends a request.

        Args:
            authorization: value of the header `Authorization`, if there is one.

        Raises:
            Unauthenticated: the key is not known, has expired or was revoked.
            AccessUnavailable: the identity provider's keys are not known yet.
        """
        if authorization is None:
            return self._without_key
        scheme, _, secret = authorization.strip().partition(b" ")
        secret, scheme = secret.strip(), scheme.lower()
        if scheme in SCHEMES and secret:
            grant = self._grants.get(digest_of(secret))
            if grant is not None:
                return _of_grant(grant)
        return self._of_other(scheme, secret)

    def _of_other(self, scheme: bytes, secret: bytes) -> Caller | Awaitable[Caller]:
        """Who sends what is no key of ours."""
        if scheme not in SCHEMES:
            if self.open:  # it is meant for a proxy in front of the service
                return self._without_key
            raise Unauthenticated("The Authorization header should be Apikey SECRET, or Bearer SECRET.")
        if self.open and not self._grants and self._tokens is None:
            return self._without_key
        if not secret:
            raise Unauthenticated("The Authorization header should be Apikey SECRET, or Bearer SECRET.")
        if self._tokens is None or not self._tokens.is_one(secret):
            raise Unauthenticated("The key is not known here. Send the header Authorization: Apikey SECRET.")
        if scheme != b"bearer":
            raise Unauthenticated("A token of an identity provider is sent as Authorization: Bearer TOKEN.")
        return self._tokens.caller(secret)

    def refusal(self, caller: Caller, needed: frozenset[Scope]) -> Unauthenticated | Forbidden:
        """Why a caller may not do what needs one of these scopes."""
        names = " or ".join(repr(scope.value) for scope in Scope if scope in needed)
        if caller.name:
            return Forbidden(f"The key, or the token, does not allow the scope {names}.")
        if self._tokens is None and not any(grant.caller.scopes & needed for grant in self._grants.values()):
            return Forbidden(
                f"This service has no key for the scope {names}: whoever runs it makes one with "
                "`python -m app keys create`, or sets BEAMLINE_ADMIN_KEY and starts it again."
            )
        return Unauthenticated("A key is needed here. Send the header Authorization: Apikey SECRET.")

    def refresh(self) -> None:
        """Look for changes of the keys now."""
        if self._keys is not None and self._keys.refresh():
            self._take()

    def _watch(self) -> None:
        while not self._stopping.wait(POLL_S):
            try:
                self.refresh()
            except Exception:  # the next look may go well, and without one no key could be revoked any more
                _log.exception("looking for changes of the keys failed")

    def _take(self) -> None:
        """Take the keys as they are now."""
        changing = self._keys.grants if self._keys is not None else {}
        # Keys that cannot be read are no reason to let everybody in.
        self._closes = self._closes or bool(changing) or bool(self._keys is not None and self._keys.trouble)
        let_in = self._anonymous.always or (self._anonymous.without_keys and not self._closes)
        self._without_key = _ANYBODY if let_in else _NOBODY
        self._grants = {**changing, **self._fixed}


def _of_grant(grant: Grant) -> Caller:
    if grant.revoked:
        raise Unauthenticated("The key has been revoked. Ask whoever runs the service for another one.")
    if grant.until_s <= time.time():
        raise Unauthenticated("The key has expired. Ask whoever runs the service for another one.")
    return grant.caller


def digest_of(secret: bytes) -> bytes:
    """What is kept of a secret. Keys are random, so that a slow hash would protect nothing more."""
    return hashlib.sha256(secret).digest()
