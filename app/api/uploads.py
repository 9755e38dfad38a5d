"""One file from a request: the only field of a form, or the body itself."""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import UploadFile

from app.api.arrays import at
from app.errors import InvalidInput, UnsupportedFormat

FIELD = "file"


async def one_file(request: Request, filename: str) -> tuple[str, bytes]:
    """Name and content of the form's file, or of the body as a file.

    Args:
        filename: name of the file where the body is the file itself.

    Raises:
        InvalidInput: the body is empty, or the form has other fields than one file in `file`.
        UnsupportedFormat: the body is JSON.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        raise UnsupportedFormat(f"send a form (multipart/form-data) with `{FIELD}`, or the file itself as the body")
    if content_type != "multipart/form-data":
        body = await request.body()
        if not body:
            raise at(
                InvalidInput(f"the body is empty: send a form with `{FIELD}`, or the file itself"), ("body", FIELD)
            )
        return filename, body
    async with request.form(max_files=1, max_fields=1) as form:
        upload = form.get(FIELD)
        if list(form) != [FIELD] or not isinstance(upload, UploadFile):
            raise at(
                InvalidInput(f"expected a form with one file in the field `{FIELD}`; options belong in the query"),
                ("body", FIELD),
            )
        return upload.filename or filename, await upload.read()
