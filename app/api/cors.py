"""Web pages of other servers: closed to them, unless their origins are named."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS: Final = ("GET", "POST", "DELETE")
SENT: Final = (
    "Authorization",
    "Idempotency-Key",
    "Inference-Header-Content-Length",
    "Last-Event-ID",
    "Prefer",
    "X-Request-ID",
)
"""Headers of ours that such a page may send."""
SEEN: Final = (
    "Inference-Header-Content-Length",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Request-ID",
)
"""Headers of answers that it may look at."""


def with_cors(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """The application with answers that browsers show to pages of these origins; itself where there are none.

    Credentials of the browser (cookies, certificates) are never allowed: a page sends its key itself.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app, allow_origins=sorted(origins), allow_methods=METHODS, allow_headers=SENT, expose_headers=SEEN
    )
