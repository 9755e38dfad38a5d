"""The caller's patience: the ``Prefer`` header (RFC 7240), ``respond-async`` and ``wait``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

MAX_LENGTH: Final = 1000


@dataclass(frozen=True)
class Preference:
    """What a request says of its patience.

    Attributes:
        respond_async: a 202 is welcome.
        wait_s: how long the caller will wait; None where it does not say.
    """

    respond_async: bool = False
    wait_s: int | None = None

    def patience_s(self, most_s: float) -> float:
        """How long to wait for the answer: as asked, else not at all if a 202 is welcome, else ``most_s``."""
        if self.wait_s is not None:
            return min(float(self.wait_s), most_s)
        return 0.0 if self.respond_async else most_s

    @property
    def applied(self) -> str:
        """The header ``Preference-Applied`` of an answer that followed it; empty where there was none."""
        wait = [] if self.wait_s is None else [f"wait={self.wait_s}"]
        return ", ".join((["respond-async"] if self.respond_async else []) + wait)


def preference(headers: Sequence[str]) -> Preference:
    """Read the ``Prefer`` headers of a request; the first of equal names counts, and what cannot be read is ignored."""
    found: dict[str, str] = {}
    for part in ",".join(headers)[:MAX_LENGTH].split(","):
        name, _, value = part.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    return Preference("respond-async" in found, _seconds(found.get("wait", "")))


def _seconds(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= math.ceil(math.log10(2**31)) else None
