"""The representation that a caller accepts (RFC 9110, 12.5.1), and the one that it sends (8.3)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, Literal, TypeVar

from app.errors import NotAcceptable

Format = Literal["json", "csv", "png", "svg"]

MEDIA_TYPES: Final[Mapping[Format, str]] = MappingProxyType(
    {"json": "application/json", "csv": "text/csv", "png": "image/png", "svg": "image/svg+xml"}
)
"""In order of preference where the caller has none."""

MAX_LENGTH: Final = 1000


VARY: Final = {"Vary": "Accept"}
"""Header of every answer whose form depends on `Accept`."""
BINARY: Final[Mapping[str, Any]] = MappingProxyType({"type": "string", "format": "binary"})
"""OpenAPI schema of bytes."""


def answered_as(description: str, csv_example: str | None = None) -> dict[int | str, dict[str, Any]]:
    """The ``responses=`` of a route that answers with JSON, which its model describes, or as CSV, PNG or SVG."""
    text: dict[str, Any] = {"schema": {"type": "string"}}
    table = text if csv_example is None else text | {"example": csv_example}
    content = {"text/csv": table, "image/png": {"schema": dict(BINARY)}, "image/svg+xml": text}
    return {200: {"description": description, "content": content}}


def content_type(header: str | None) -> str:
    """The media type of a `Content-Type` header in lower case, without its parameters; empty without a header."""
    return (header or "").partition(";")[0].strip().lower()


def is_json(media_type: str) -> bool:
    """Whether a media type is JSON or built on it."""
    return media_type == "application/json" or media_type.endswith("+json")


@lru_cache(maxsize=256)
def accepted_format(accept: str | None) -> Format:
    """The format for an ``Accept`` header: highest quality, then the order of `MEDIA_TYPES`.

    Raises:
        NotAcceptable: none of ours; the details list them.
    """
    return accepted(accept, MEDIA_TYPES)


Name = TypeVar("Name", bound=str)


def accepted(accept: str | None, offered: Mapping[Name, str]) -> Name:
    """The one of the offered media types that an ``Accept`` header prefers, by its name.

    Raises:
        NotAcceptable: none of them; the details list them.
    """
    ranges = _ranges(accept or "*/*")
    quality = {form: _quality(media_type, ranges) for form, media_type in offered.items()}
    best = max(quality, key=lambda form: quality[form])
    if quality[best] <= 0:
        raise NotAcceptable(
            f"the Accept header names none of {', '.join(offered.values())}",
            details={"available": list(offered.values())},
        )
    return best


def _ranges(accept: str) -> dict[str, float]:
    """Quality of each media range; other parameters than q are ignored, and so is what cannot be read."""
    ranges: dict[str, float] = {}
    for part in accept[:MAX_LENGTH].split(","):
        media_range, *parameters = (item.strip().lower() for item in part.split(";"))
        quality = next((value[2:] for value in parameters if value.startswith("q=")), "1")
        try:
            ranges[media_range] = min(max(float(quality), 0.0), 1.0)
        except ValueError:
            continue
    return ranges


def _quality(media_type: str, ranges: dict[str, float]) -> float:
    """That of the most specific range that fits."""
    kind = media_type.partition("/")[0]
    return next((ranges[r] for r in (media_type, f"{kind}/*", "*/*") if r in ranges), 0.0)
