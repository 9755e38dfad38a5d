"""Bearer tokens of an identity provider (OpenID Connect): who sent one, and what that allows.

A token is checked in the event loop, in a tenth of a millisecond the first time and by a look into a table afterwards.
The provider is asked for its keys beside that, in a thread: at the start, every few minutes, and when a token names a
key that is not known. While it does not answer, the keys that it gave before stay.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlsplit

import structlog

from app.api.access import Caller, Scope, caller_with, digest_of
from app.errors import AccessUnavailable, Unauthenticated

REFRESH_S: Final = 600.0
RETRY_S: Final = 10.0
"""Between two questions while the provider does not answer."""
ASKED_FOR_S: Final = 10.0
"""A token with an unknown key makes us ask the provider no more often than this."""
ANSWER_TIMEOUT_S: Final = 5.0
"""How long a request waits for the provider."""
STOP_TIMEOUT_S: Final = 2.0
MOST_TOKEN_BYTES: Final = 16 * 1024
REMEMBERED: Final = 10_000
LEEWAY_S: Final = 30.0
"""By how much the provider's clock may differ from ours."""
ALGORITHMS: Final[Mapping[str, Sequence[str]]] = {
    "RSA": ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
}
"""By the type of a public key. Those of shared secrets are not among them: everybody knows a public key."""
LEAST_RSA_BITS: Final = 2048
_PLAIN_SUBJECT: Final = re.compile(r"[A-Za-z0-9._@:|/+-]{1,150}")

_log = structlog.stdlib.get_logger("app.access")


@dataclass(frozen=True)
class Provider:
    """An identity provider, and what its tokens allow.

    Attributes:
        issuer: as its tokens name it; its configuration is below this address.
        audience: what its tokens for this service are for.
        claim: where a token says what its owner may do: ``scope``, ``groups``, ``realm_access.roles``.
        scopes: what each value of the claim allows here; empty: the values are the scopes' own names.
    """

    issuer: str
    audience: str
    claim: str = "scope"
    scopes: Mapping[str, frozenset[Scope]] = field(default_factory=dict)

    def caller(self, claims: Mapping[str, Any]) -> Caller:
        """Who a token with these claims is of."""
        known = self.scopes or {scope.value: frozenset({scope}) for scope in Scope}
        allowed = {scope for value in _values(claims, self.claim) for scope in known.get(value, ())}
        return caller_with(_name(str(claims["sub"])), allowed)


@dataclass(frozen=True)
class _Key:
    key: Any
    algorithms: Sequence[str]


class ProviderTokens:
    """The tokens of one provider.

    Args:
        fetch: gives the JSON at an address; raises OSError or ValueError.
    """

    def __init__(self, provider: Provider, fetch: Callable[[str], Any]) -> None:
        self._provider = provider
        self._fetch = fetch
        self._keys: Mapping[str, _Key] = {}
        self._given: Any = None
        self._verified: OrderedDict[bytes, tuple[Caller, float]] = OrderedDict()
        self._trouble = ""
        self._stopping = threading.Event()
        self._asking = threading.Lock()
        self._asked_s = -ASKED_FOR_S
        self._pending: asyncio.Future[None] | None = None

    @property
    def trouble(self) -> str:
        return self._trouble

    def start(self) -> None:
        """Begin to ask the provider, in a thread of its own."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._watch, name="tokens", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)  # it may be waiting for the provider, and holds nothing up

    def is_one(self, secret: bytes) -> bool:
        """Whether this has the form of a token."""
        return secret.count(b".") == 2

    def caller(self, token: bytes) -> Caller | Awaitable[Caller]:
        """Who sent a token.

        Raises:
            Unauthenticated: it is not valid here, or no longer.
        """
        found = self._verified.get(digest_of(token))
        if found is not None and found[1] > time.time():
            return found[0]
        if len(token) > MOST_TOKEN_BYTES:
            raise Unauthenticated(f"The token is longer than {MOST_TOKEN_BYTES} bytes.")
        key = self._key(token) if self._keys else None
        return self._later(token) if key is None else self._checked(token, key)

    async def _later(self, token: bytes) -> Caller:
        """Check a token whose key is not known, after a look for new ones."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._refreshed(), ANSWER_TIMEOUT_S)
        if not self._keys:
            raise AccessUnavailable("The identity provider has not given its keys yet; no token can be checked.")
        key = self._key(token)
        if key is None:
            raise Unauthenticated("The token is signed with a key that its provider does not have.")
        return self._checked(token, key)

    async def _refreshed(self) -> None:
        """Wait for one question that all callers share; none where the last one was a moment ago."""
        if self._pending is None or self._pending.done():
            if time.monotonic() - self._asked_s < ASKED_FOR_S:
                return
            self._asked_s = time.monotonic()
            self._pending = asyncio.get_running_loop().run_in_executor(None, self.refresh)
        await asyncio.shield(self._pending)

    def _key(self, token: bytes) -> _Key | None:
        import jwt

        try:
            kid = jwt.get_unverified_header(token).get("kid", "")
        except Exception:  # whatever a token makes the library raise: one of its errors, or a RecursionError
            raise Unauthenticated(_NOT_VALID) from None
        if not kid and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid)

    def _checked(self, token: bytes, key: _Key) -> Caller:
        import jwt

        try:
            claims = jwt.decode(
                token,
                key.key,
                algorithms=list(key.algorithms),
                audience=self._provider.audience,
                issuer=self._provider.issuer,
                leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The token has expired; get a new one.") from None
        except (jwt.InvalidAudienceError, jwt.InvalidIssuerError):
            raise Unauthenticated("The token is of another provider, or for another service.") from None
        except Exception:
            raise Unauthenticated(_NOT_VALID) from None
        caller = self._provider.caller(claims)
        self._verified[digest_of(token)] = (caller, float(claims["exp"]) + LEEWAY_S)
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return caller

    # --- the provider's keys ------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Ask the provider for its keys; blocks for as long as that takes."""
        with self._asking:
            try:
                given = self._ask()
                keys = _keys(given)
            except Exception as error:  # whatever it is that answers there
                self._failed(error)
                return
            if given != self._given:
                # What was signed with a key that is gone is no longer valid.
                self._keys, self._given, self._verified = keys, given, OrderedDict()
                _log.info("the identity provider's keys read", keys=len(keys))
            elif self._trouble:
                _log.info("the identity provider answers again")
            self._trouble = ""

    def _ask(self) -> Any:
        issuer = self._provider.issuer
        configuration = self._fetch(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if configuration["issuer"] != issuer:
            raise ValueError("its configuration is that of another issuer")
        address = str(configuration["jwks_uri"])
        if not is_safe(address):
            raise ValueError("the address of its keys is not https")
        return self._fetch(address)["keys"]

    def _failed(self, error: Exception) -> None:
        reason = str(error) if isinstance(error, ValueError) else type(error).__name__
        kept = "the keys that it gave before are kept" if self._keys else "no token can be checked"
        trouble = f"The identity provider cannot be used ({reason[:100]}); {kept}."
        if trouble != self._trouble:
            _log.error("the identity provider cannot be used", reason=reason, kept=len(self._keys))
        self._trouble = trouble

    def _watch(self) -> None:
        import jwt  # noqa: F401  here, so that no request waits for it

        while not self._stopping.is_set():
            self.refresh()
            self._stopping.wait(RETRY_S if self._trouble else REFRESH_S)


_NOT_VALID: Final = "The token is not valid."


def is_safe(address: str) -> bool:
    """Whether nobody on the way can change what is read at an address: https, or this machine."""
    parts = urlsplit(address)
    here = parts.scheme == "http" and parts.hostname in ("localhost", "127.0.0.1", "::1")
    return bool(parts.hostname) and (parts.scheme == "https" or here)


def scopes_from(text: str) -> dict[str, frozenset[Scope]]:
    """Read what values of a claim allow: ``staff=predict,staff=solve,operators=admin``.

    Raises:
        ValueError: a part has no ``=``, or names a scope that does not exist.
    """
    found: dict[str, frozenset[Scope]] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        value, equals, scope = part.rpartition("=")
        if not equals or not value:
            raise ValueError(f"found {part[:60]!r}, expected VALUE=SCOPE")
        found[value] = found.get(value, frozenset()) | {Scope(scope)}
    return found


def _values(claims: Mapping[str, Any], claim: str) -> list[str]:
    """What a claim says, as one text with spaces or a list; a dot leads into a claim, unless it is part of a name."""
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for name in claim.split("."):
            found = found.get(name) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return found.split()
    return [value for value in found if isinstance(value, str)] if isinstance(found, list) else []


def _name(subject: str) -> str:
    """The owner of jobs, from what may be any text."""
    plain = _PLAIN_SUBJECT.fullmatch(subject) is not None
    return f"oidc:{subject}" if plain else f"oidc-sha256:{sha256(subject.encode(errors='replace')).hexdigest()}"


def _keys(given: Any) -> dict[str, _Key]:
    """The keys for signatures among those that a provider has; of others nothing is said.

    Raises:
        ValueError: there are none.
    """
    from jwt import PyJWK
    from jwt.exceptions import PyJWTError

    found: dict[str, _Key] = {}
    for one in given:
        algorithms = ALGORITHMS.get(one.get("kty"), ())
        if "alg" in one:
            algorithms = [name for name in algorithms if name == one["alg"]]
        if not algorithms or one.get("use", "sig") != "sig":
            continue
        try:
            key = PyJWK.from_dict(one).key
        except (PyJWTError, NotImplementedError):
            continue
        if one["kty"] != "RSA" or key.key_size >= LEAST_RSA_BITS:
            found[str(one.get("kid", ""))] = _Key(key, algorithms)
    if not found:
        raise ValueError("it has no public key that is known here")
    return found
