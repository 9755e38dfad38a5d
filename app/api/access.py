"""Who may do what: keys in the `Authorization` header, and the scopes that a route requires."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader, HTTPBearer

from app.errors import Forbidden, Unauthenticated

SCHEMES: Final = ("apikey", "bearer")
"""`Authorization: Apikey SECRET`, as the field's own clients send it, or `Bearer SECRET`."""


class Scope(Enum):
    """What a key may allow."""

    ADMIN = "admin"
    """To change what the service serves (load and unload models), and to list the jobs of all."""


class Access:
    """The keys of a service.

    Only digests are kept: they have one length, so that comparing them tells nothing, and no log can hold a key.
    """

    def __init__(self, admin_key: str | None = None) -> None:
        self._digests = {} if admin_key is None else {_digest(admin_key.encode()): frozenset({Scope.ADMIN})}

    def check(self, authorization: str | None, scope: Scope) -> None:
        """Let a caller pass who has a key for a scope.

        Args:
            authorization: value of the header `Authorization`, if there is one.

        Raises:
            Forbidden: no key of this service allows the scope, or this one does not.
            Unauthenticated: there is no key, or an unknown one.
        """
        if not any(scope in scopes for scopes in self._digests.values()):
            raise Forbidden(
                f"This service has no key for the scope {scope.value!r}: whoever runs it sets "
                f"BEAMLINE_{scope.name}_KEY and starts it again."
            )
        given = _digest(_secret(authorization))
        found = [scopes for digest, scopes in self._digests.items() if hmac.compare_digest(digest, given)]
        if not found:
            raise Unauthenticated("The key is not known here. Send the header Authorization: Apikey SECRET.")
        if scope not in found[0]:
            raise Forbidden(f"The key does not allow the scope {scope.value!r}.")


def _secret(authorization: str | None) -> bytes:
    """The key in the header. Texts of headers are Latin-1; a key of other characters arrives as its UTF-8 bytes."""
    if authorization is None:
        raise Unauthenticated("A key is needed here. Send the header Authorization: Apikey SECRET.")
    scheme, _, secret = authorization.partition(" ")
    if scheme.lower() not in SCHEMES or not secret.strip():
        raise Unauthenticated("The Authorization header should be Apikey SECRET, or Bearer SECRET.")
    return secret.strip().encode("latin-1")


def _digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


# For the documentation alone: Swagger UI shows a button for each. The header is read by `Access`.
_APIKEY = APIKeyHeader(
    name="Authorization", scheme_name="Apikey", description="`Apikey SECRET`, both words.", auto_error=False
)
_BEARER = HTTPBearer(scheme_name="Bearer", description="The secret alone.", auto_error=False)


def requires(scope: Scope) -> Callable[..., Awaitable[None]]:
    """The dependency of a route that needs a scope: ``dependencies=[Depends(requires(Scope.ADMIN))]``.

    The route documents the kinds of problem in `ACCESS_KINDS`.
    """

    async def check(
        request: Request, _apikey: Annotated[object, Depends(_APIKEY)], _bearer: Annotated[object, Depends(_BEARER)]
    ) -> None:
        access: Access = request.app.state.access
        access.check(request.headers.get("authorization"), scope)

    return check


ACCESS_KINDS: Final = (Unauthenticated.kind, Forbidden.kind)
"""Kinds of problem that a route with `requires` may answer with."""
