"""Asks a health page whether its service can answer: exit status 0 for 2xx, else 1.

For the HEALTHCHECK of an image that has neither curl nor wget; run it with `python -IS`, which starts in 40 ms.
"""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

TIMEOUT_S = 4.0


def main(url: str) -> int:
    """Ask once; what is wrong goes to standard error, which the engine keeps beside the state."""
    address = urlsplit(url)
    connection = HTTPConnection(address.hostname or "127.0.0.1", address.port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", address.path or "/")
        answer = connection.getresponse()
        said = answer.read(500).decode(errors="replace")
    except (OSError, HTTPException) as error:
        sys.stderr.write(f"{url} does not answer: {error}\n")
        return 1
    if 200 <= answer.status < 300:
        return 0
    sys.stderr.write(f"{url} answers {answer.status}: {said}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
