"""From Python values to what is sent: JSON, queries, arrays, files."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Protocol, TypeAlias, Union, cast

__all__ = ["Array", "File", "Numbers", "columns"]


class SupportsArray(Protocol):
    """A NumPy array, or whatever can become one."""

    def __array__(self) -> Any: ...


Numbers: TypeAlias = SupportsArray | Sequence[float]
"""A column of numbers: a list, or a NumPy array."""

Array: TypeAlias = SupportsArray | Sequence[float] | Sequence[Any]
"""Numbers: a NumPy array, or lists in lists."""

File: TypeAlias = Union[str, "os.PathLike[str]", bytes, IO[bytes]]
"""A path, the content, or an open file."""


def json_bytes(value: object) -> bytes:
    """Write JSON. Date-times become ISO 8601, NumPy arrays and numbers lists and numbers.

    Raises:
        ValueError: a number is NaN or infinite, or a text holds half of a surrogate pair.
        TypeError: something that JSON cannot say.
    """
    try:
        text = json.dumps(value, default=_plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    except ValueError as error:
        raise ValueError(f"this cannot be sent, numbers must be finite: {error}") from None
    return text.encode()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(cast("Mapping[str, object]", value))
    to_list = getattr(value, "tolist", None)
    if to_list is not None:
        return to_list()
    if isinstance(value, Sequence):
        return list(cast("Sequence[object]", value))
    raise TypeError(f"{type(value).__name__} cannot be sent as JSON")


def array_json(values: Array) -> object:
    """An array as the service reads it fastest: base64 of its bytes; lists stay lists."""
    if not hasattr(values, "__array__"):
        return values
    array = cast("Any", values)
    if not hasattr(array, "tobytes"):
        array = array.__array__()
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    content = b64encode(array.tobytes()).decode("ascii")
    return {"data_base64": content, "dtype": array.dtype.name, "shape": list(array.shape)}


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def query(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as they stand in a query: lists with commas between."""
    return {name: _in_query(value) for name, value in given(options).items()}


def _in_query(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    to_list = getattr(value, "tolist", None)
    items = to_list() if to_list is not None else value
    if isinstance(items, Sequence):
        return ",".join(map(str, cast("Sequence[object]", items)))
    return str(items)


def file_content(file: File, name: str | None = None) -> tuple[str, bytes]:
    """Name and content of a file.

    Args:
        name: in place of the file's own.
    """
    if isinstance(file, bytes):
        return name or "upload", file
    if isinstance(file, (str, os.PathLike)):
        path = Path(file)
        return name or path.name, path.read_bytes()
    own = getattr(file, "name", None)
    return name or (Path(own).name if isinstance(own, str) else "upload"), file.read()


def columns(*values: Numbers) -> bytes:
    """A text file with one column for each sequence, as `Client.solve_file` and `find_peaks` read patterns.

    Args:
        values: positions, intensities and, if wanted, their standard deviations, all of one length. NumPy arrays too.

    Raises:
        ValueError: they differ in length.
    """
    rows = zip(*(_numbers(column) for column in values), strict=True)
    return "".join(" ".join(map(repr, row)) + "\n" for row in rows).encode("ascii")


def _numbers(column: Numbers) -> list[float]:
    return [float(value) for value in cast("Sequence[float]", column)]
