"""Files in a request: fields of a form, or the body itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import Request
from starlette.datastructures import UploadFile

from app.api.negotiation import BINARY, content_type, is_json
from app.api.problems import at
from app.errors import InvalidInput, UnsupportedFormat

FIELD = "file"
File = tuple[str, bytes]
"""Name and content."""


def form_body(
    fields: Mapping[str, Mapping[str, Any]], media_types: Sequence[str] = ("application/octet-stream",)
) -> dict[str, Any]:
    """The ``openapi_extra=`` of a route that takes a form, whose first field must be there, or a file as the body.

    Args:
        fields: OpenAPI schemas of the form's fields.
        media_types: of the body as a file.
    """
    properties = {name: dict(schema) for name, schema in fields.items()}
    form = {"type": "object", "required": list(properties)[:1], "properties": properties}
    content = {"multipart/form-data": {"schema": form}, **{name: {"schema": dict(BINARY)} for name in media_types}}
    return {"requestBody": {"required": True, "content": content}}


async def one_file(request: Request, filename: str) -> File:
    """The form's `file`, or the body.

    Args:
        filename: name of the file where the body is the file itself.

    Raises:
        InvalidInput, UnsupportedFormat: as `form_files`.
    """
    return (await form_files(request, filename))[FIELD][0]


async def form_files(
    request: Request, filename: str, *, field: str = FIELD, most: int = 1, beside: Sequence[str] = ()
) -> dict[str, list[File]]:
    """Files of a form by their fields, or the body as the only file of `field`.

    Args:
        filename: name of a file that has none.
        field: the field that must be there.
        most: files in that field.
        beside: fields that may be there too, with one file each.

    Raises:
        InvalidInput: the body is empty, or the form has other fields, or something other than files in them.
        UnsupportedFormat: the body is JSON.
    """
    sent = content_type(request.headers.get("content-type"))
    where = ("body", field)
    if is_json(sent):
        raise UnsupportedFormat(f"send a form (multipart/form-data) with `{field}`, or the file itself as the body")
    if sent != "multipart/form-data":
        body = await request.body()
        if not body:
            raise at(InvalidInput(f"the body is empty: send a form with `{field}`, or the file itself"), where)
        return {field: [(filename, body)]}
    limit = most + len(beside)
    async with request.form(max_files=limit, max_fields=limit) as form:
        found: dict[str, list[File]] = {}
        for name, item in form.multi_items():
            if name not in (field, *beside) or not isinstance(item, UploadFile):
                raise at(InvalidInput(_expected(field, most, beside)), where)
            found.setdefault(name, []).append((item.filename or filename, await item.read()))
    if field not in found or any(len(found.get(name, ())) > 1 for name in beside) or len(found[field]) > most:
        raise at(InvalidInput(_expected(field, most, beside)), where)
    return found


def _expected(field: str, most: int, beside: Sequence[str]) -> str:
    files = "one file" if most == 1 else f"1 to {most} files"
    others = "".join(f", and perhaps one in `{name}`" for name in beside)
    return (
        f"expected a form with {files} in the field `{field}`{others}, each with a filename; options belong in the "
        "query"
    )
