"""Names of arrays in error messages."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

MOST: Final = 10
LENGTH: Final = 120


def quoted(name: str) -> str:
    """A name from a file, cut to what a line holds and without control characters."""
    return repr(name[:LENGTH])


def listed(names: Iterable[str]) -> str:
    """The first of some names with commas between, or `none`."""
    return ", ".join(map(quoted, islice(names, MOST))) or "none"
