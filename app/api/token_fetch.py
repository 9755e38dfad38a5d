"""Reading what an identity provider publishes. Imported only where there is one: the service starts without it."""

from __future__ import annotations

import json
from typing import Any, Final
from urllib.request import HTTPRedirectHandler, build_opener

TIMEOUT_S: Final = 5.0
MOST_BYTES: Final = 1024 * 1024


class _NoRedirect(HTTPRedirectHandler):
    """An answer from elsewhere is not the provider's."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        return None


_opener = build_opener(_NoRedirect)


def fetched(address: str) -> Any:
    """The JSON at an address.

    The proxies of the environment are used (``https_proxy``), and so are its certificates (``SSL_CERT_FILE``).

    Raises:
        OSError: nobody answers, or not with 200.
        ValueError: it is no JSON, or more than a megabyte.
    """
    with _opener.open(address, timeout=TIMEOUT_S) as answer:
        content = answer.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"it answers with more than {MOST_BYTES} bytes")
    return json.loads(content)
