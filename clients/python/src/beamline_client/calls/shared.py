"""What the calls of several parts have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import httpx

from beamline_client.encoding import File, file_content, given, json_bytes, query
from beamline_client.flow import Flow, Request, Service, as_record, asked
from beamline_client.inputs import Picture

MEDIA_TYPES: Final[Mapping[Picture, str]] = {"png": "image/png", "svg": "image/svg+xml"}


def json_request(path: str, body: Mapping[str, Any]) -> Request:
    """A request with a JSON body; what is None is left out."""
    return Request("POST", path, headers={"Content-Type": "application/json"}, content=json_bytes(given(body)))


def file_request(path: str, files: Mapping[str, File | None], options: Mapping[str, Any]) -> Request:
    """A request with a form of files, and options in the query; `filename` names a file without a name."""
    others = dict(options)
    name = others.pop("filename", None)
    form = [(field, file_content(file, name)) for field, file in files.items() if file is not None]
    return Request("POST", path, query(others), files=form)


def in_form(request: Request, picture: Picture | None) -> Request:
    """The same, for a picture where one is asked for."""
    return replace(request, headers={**request.headers, "Accept": accepted(picture)})


def accepted(picture: Picture | None) -> str:
    """The media type to ask for.

    Raises:
        ValueError: there is no such picture.
    """
    if picture is not None and picture not in MEDIA_TYPES:
        raise ValueError(f"picture should be one of {', '.join(MEDIA_TYPES)}, found {picture!r}")
    return "application/json" if picture is None else MEDIA_TYPES[picture]


def predicted(service: Service, request: Request, kind: type[Any], picture: Picture | None) -> Flow[Any]:
    """Ask for an answer, or for its picture."""
    return asked(service, in_form(request, picture), reading(kind, picture))


def reading(kind: type[Any], picture: Picture | None) -> Any:
    """What reads the answer."""
    return as_record(kind) if picture is None else _content


def _content(response: httpx.Response) -> bytes:
    return response.content
