"""How many requests in a second one caller may send."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, IPv6Network, ip_address
from time import monotonic
from typing import Final

from starlette.types import Scope

from app.errors import RateLimited

KEPT: Final = 10_000
"""Most callers that are remembered; the one that was silent for longest is forgotten first."""
NETWORK_BITS: Final = 64
"""Of an IPv6 address: who has one of these networks has all its addresses."""


class Rates:
    """A bucket of tokens for each key, or for each address where there is no key.

    A bucket holds what may be sent in two seconds, and at least 10, and fills by ``per_s`` in a second: a short burst
    passes, a stream that is faster for long does not. The counts are those of one server process.

    Args:
        per_s: requests in a second.
        clock: seconds of a clock that nobody sets.
    """

    def __init__(self, per_s: float, *, clock: Callable[[], float] = monotonic) -> None:
        self._per_s = per_s
        self._most = max(2 * per_s, 10.0)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, scope: Scope) -> None:
        """Count a request.

        Args:
            name: of the caller; empty: it is counted for its address.

        Raises:
            RateLimited: it is one too many.
        """
        who = name or _network(scope["client"][0] if scope.get("client") else "")
        now = self._clock()
        left, then = self._buckets.pop(who, (self._most, now))
        left = min(self._most, left + (now - then) * self._per_s)
        passes = left >= 1
        self._buckets[who] = (left - 1 if passes else left, now)
        if len(self._buckets) > KEPT:
            self._buckets.popitem(last=False)
        if not passes:
            raise RateLimited(
                f"More than {self._per_s:g} requests in a second came from this "
                f"{'key' if name else 'address'} for some time.",
                details={"retry_after_s": math.ceil((1 - left) / self._per_s)},
            )


@lru_cache(4096)
def _network(address: str) -> str:
    """What stands for an address; it begins with a slash, as no caller's name does."""
    if ":" not in address or len(address) > 60:
        return f"/{address[:60]}"
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return f"/{address}"
    if not isinstance(parsed, IPv6Address):
        return f"/{address}"
    if parsed.ipv4_mapped is not None:
        return f"/{parsed.ipv4_mapped}"
    return f"/{IPv6Network((int(parsed), NETWORK_BITS), strict=False)}"
