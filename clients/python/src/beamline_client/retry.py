"""When a request is sent again, and after which pause."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

import httpx

from beamline_client.errors import ProblemError

__all__ = ["Retry"]

LATER: Final = frozenset({429, 502, 503, 504})
"""Statuses that say "later"."""

NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""Errors before anything was sent."""

OURS: Final = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)
"""Errors that the same request would make again."""

_random = random.SystemRandom()


@dataclass(frozen=True)
class Retry:
    """How often and how patiently a request is sent again, where that can do no harm.

    Attributes:
        attempts: how often it is sent in all; 1: never again.
        first_pause_s: pause after the first attempt [s]; each later one is twice as long.
        longest_pause_s: longest pause [s]. Where the service asks for a longer one (Retry-After), its problem is
            raised at once.
        away_s: for how long a service may be away while a job is followed [s].
    """

    attempts: int = 5
    first_pause_s: float = 0.2
    longest_pause_s: float = 30.0
    away_s: float = 300.0

    def pause_s(self, attempt: int, asked_s: float | None = None) -> float | None:
        """How long to wait after an attempt [s], from 1; None: do not try again.

        Half of a pause of our own is drawn at random, and a tenth is added to one that the service asks for, so that
        many clients do not come back in the same moment.

        Args:
            asked_s: what the service asks for, if it does.
        """
        if attempt >= self.attempts or (asked_s is not None and asked_s > self.longest_pause_s):
            return None
        if asked_s is not None:
            return asked_s * _random.uniform(1.0, 1.1)
        return min(self.longest_pause_s, self.first_pause_s * 2.0 ** min(attempt - 1, 30)) * _random.uniform(0.5, 1.0)


def may_resend(error: httpx.TransportError, *, repeatable: bool) -> bool:
    """Whether a request that got no answer may be sent again.

    Args:
        repeatable: doing it twice is as good as once.
    """
    return isinstance(error, NOT_SENT) or (repeatable and not isinstance(error, OURS))


def is_later(error: ProblemError, *, repeatable: bool) -> bool:
    """Whether a problem may be over soon: the service says when, or something before it has lost it for a moment."""
    if error.status not in LATER:
        return False
    return error.retry_after_s is not None or (not error.kind and repeatable)
