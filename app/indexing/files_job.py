"""Many files as one job made of parts: each part reads one file, searches its lines and solves it.

A file that cannot be read or solved is told in its place. Payloads and results are JSON, see `app.indexing.job`.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import orjson

from app.errors import AppError, InvalidInput, TooLarge
from app.indexing.batch_job import failed, in_place
from app.indexing.job import Report, error_content, to_json, use_store
from app.indexing.learned.choice import models_content, models_from_content
from app.indexing.patterns.pattern_files import MAX_BYTES
from app.indexing.patterns.peak_search import PeakOptions
from app.indexing.problem import ShouldStop, SolveOptions, UsedModel
from app.indexing.upload import FileOptions, question_from_upload, read_upload
from app.zip_files import MAGICS, Limits, display_name, unzip

HIDDEN: Final = "hidden file"

warm_up = use_store
"""What is compiled is warmed up by `app.indexing.job`."""


@dataclass(frozen=True)
class Unpacked:
    """Name and content of each file, and the members of zips that were left, each with the reason."""

    files: tuple[tuple[str, bytes], ...]
    skipped: tuple[tuple[str, str], ...]


def unpacked(sent: Sequence[tuple[str, bytes]], *, most: int, total_bytes: int) -> Unpacked:
    """Give the files that were sent, those of a zip in the place of the zip.

    Args:
        sent: name and content of each.
        most: files, after unpacking.
        total_bytes: of all files together, after unpacking.

    Raises:
        InvalidInput: there is no file, or a zip is damaged.
        TooLarge: too many files, or too large.
    """
    files: list[tuple[str, bytes]] = []
    skipped: list[tuple[str, str]] = []
    for name, content in sent:
        if content.startswith(MAGICS):
            left = total_bytes - sum(len(data) for _, data in files)
            found = unzip(content, Limits(2 * most, MAX_BYTES, left), _skip_reason, what="pattern")
            files += found.files
            skipped += found.skipped
        else:
            files.append((display_name(name), content))
    if not files:
        raise InvalidInput("no file among what was sent: send measured patterns, lists of lines, or a zip of them")
    if len(files) > most:
        raise TooLarge(f"{len(files)} files, at most {most} are taken: split the request")
    return Unpacked(tuple(files), tuple(skipped))


def _skip_reason(name: str) -> str:
    return HIDDEN if name.replace("\\", "/").rpartition("/")[2].startswith(".") else ""


def payload(found: Unpacked) -> bytes:
    """Write what `join` needs to know."""
    return to_json({"skipped": [{"file": name, "reason": reason} for name, reason in found.skipped]})


def parts(
    found: Unpacked,
    options: FileOptions,
    changes: Mapping[str, Any],
    models: Sequence[UsedModel] = (),
    warnings: Sequence[str] = (),
) -> list[bytes]:
    """Write each file as a part of the job.

    Args:
        found: the files.
        options: how to read them.
        changes: as `app.indexing.question.ask` takes them.
        models: learned parts that are to take part.
        warnings: what is to know of them; goes into every answer.
    """
    told = {"options": asdict(options), "changes": dict(changes)}
    told |= {"models": models_content(models), "warnings": list(warnings)}
    return [to_json({"file": name, "content": b64encode(data).decode(), **told}) for name, data in found.files]


def run(payload: bytes, report: Report, cancelled: ShouldStop) -> bytes:
    """Read, search and solve one file; gives ``file`` and either ``result`` or ``error``."""
    part = orjson.loads(payload)
    name = part["file"]
    search = PeakOptions(**part["options"]["search"])
    try:
        upload = read_upload(b64decode(part["content"]), name, FileOptions(**{**part["options"], "search": search}))
        question = question_from_upload(upload, part["changes"])
        models = models_from_content(part.get("models", ()))
        answer = in_place(question.with_models(models, part.get("warnings", ())), report, cancelled)
    except AppError as error:
        answer = {"result": None, "error": _error_content(error)}
    except Exception as error:
        answer = {"result": None, "error": failed(error)}
    return to_json({"file": name, **answer})


def join(payload: bytes, results: Sequence[bytes]) -> bytes:
    """Put the answers for all files together."""
    return to_json({"answers": [orjson.Fragment(result) for result in results], **orjson.loads(payload)})


def _error_content(error: AppError) -> dict[str, Any]:
    """An option that does not go with this file is told with its place; any other error is the file's."""
    field = error.details.get("field")
    option = isinstance(field, list) and field[0] in (*SolveOptions.__dataclass_fields__, "axis", "wavelength_ang")
    return error_content(error, "query") if option else {"kind": error.kind, "detail": error.message, "errors": []}
