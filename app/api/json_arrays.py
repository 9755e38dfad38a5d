"""Large arrays of numbers in a JSON object, read without a Python object for each number.

simdjson parses the body and gives the numbers as one buffer. Only a body that it refuses is read a second time, with
care and at leisure, to say what is wrong with it and where.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import numpy as np
import orjson
import simdjson
from jaxtyping import Float, Num
from starlette.exceptions import HTTPException

from app.api.arrays import array_from_base64
from app.api.problems import Where, at
from app.array_files.npy import MAX_DIMENSIONS, checked_shape
from app.errors import AppError, InvalidInput, TooLarge

MAX_VALUES: Final = 2**24 - 1
"""Most values in a body: simdjson counts no further in one list, and each takes 24 bytes while it is read."""
MAX_LISTS: Final = 500_000
"""Most lists in a body; each is a Python object for a moment."""
MAX_OTHER_VALUES: Final = 50_000
"""Most values in a body beside its arrays."""
MAX_QUICK_KEYS: Final = 100
"""Most keys that are looked up one by one, which takes time that grows with their square."""
MAX_CAREFUL_VALUES: Final = 2_000_000
"""Most values in a body that is read with care; each is a Python object there."""

_COUNTED: Final = 1 << 18
"""Bytes counted at a time, which stay in the processor's cache."""
_NOT_JSON: Final = re.compile(rb"(?<=[\[,:\s])[-+]?(?:nan|inf(?:inity)?)(?=[\],}\s])", re.IGNORECASE)


@dataclass(frozen=True)
class JsonArrays:
    """What a JSON object holds.

    Attributes:
        arrays: the named arrays that are there, float64 where they were lists.
        others: every other key with its value.
    """

    arrays: dict[str, Num[np.ndarray, "..."]]
    others: dict[str, Any]


class _Unsure(Exception):
    """The quick way cannot tell; the careful one can."""


def arrays_from_json(
    body: bytes, names: Collection[str], max_items: int, other_form: str | None = None
) -> JsonArrays | None:
    """Read a JSON object some of whose keys hold arrays: nested lists of numbers, or an object with base64.

    Lists are rectangular. Of a key that is given twice the last value counts. An array that is null is left out.

    Args:
        body: JSON in UTF-8.
        names: keys of the arrays.
        max_items: most numbers in an array.
        other_form: key of objects that are of another form, and are left to another reader.

    Returns:
        None where the object has the key of the other form.

    Raises:
        HTTPException: 400 where the body is no JSON.
        InvalidInput: it is no object, or an array is not one: the errors tell where and what was found.
        TooLarge: more numbers, or more other values, than are taken.
    """
    try:
        return _quick(body, frozenset(names), max_items, other_form)
    except _Unsure:
        return _careful(body, frozenset(names), max_items)


def refuse_query(given: Collection[str]) -> None:
    """Refuse options in the query beside a JSON body, which holds them itself: they would be passed over in silence.

    Args:
        given: names of the options in the query; `format` may be there.

    Raises:
        InvalidInput: with the place of the first one.
    """
    extra = sorted(set(given) - {"format"})
    if extra:
        name = extra[0][:40]
        raise at(InvalidInput(f"{name}: beside JSON, options belong in the body, not in the query"), ("query", name))


# --- the quick way ----------------------------------------------------------------------------------------------------


def _quick(body: bytes, names: frozenset[str], max_items: int, other_form: str | None) -> JsonArrays | None:
    commas, opened = checked_counts(body)
    try:
        document = simdjson.Parser().parse(body)
    except (ValueError, RuntimeError):
        raise _Unsure from None
    if not isinstance(document, simdjson.Object):
        raise _Unsure
    keys = list(document.keys())
    if other_form in keys:
        return None
    if len(set(keys)) < len(keys) or len(keys) > MAX_QUICK_KEYS:
        raise _Unsure
    values: dict[str, Any] = {key: document[key] for key in keys}
    arrays = {
        name: _buffered(values[name], name, max_items) for name in names & values.keys() if _is_list(values[name])
    }
    items = sum(array.size for array in arrays.values())
    if commas - items > MAX_OTHER_VALUES:
        raise TooLarge(f"the body holds more than {MAX_OTHER_VALUES} values beside its arrays")
    others = {name: _plain(value) for name, value in values.items() if name not in arrays}
    # A list in the place of a number would not be noticed otherwise.
    lists = sum(_lists_of_shape(array.shape) for array in arrays.values()) + sum(map(_lists, others.values()))
    if opened != lists:
        raise _Unsure
    arrays |= _from_objects(others, names, max_items)
    return JsonArrays(arrays, {name: value for name, value in others.items() if name not in names})


def occurrences(body: bytes, byte: bytes) -> int:
    """How often a byte is there; NumPy counts ten times as fast as Python."""
    values = np.frombuffer(body, np.uint8)
    parts = (values[start : start + _COUNTED] for start in range(0, len(values), _COUNTED))
    return sum(int(np.count_nonzero(part == byte[0])) for part in parts)


def checked_counts(body: bytes) -> tuple[int, int]:
    """The commas and the opening brackets in a body, before anything is made of it.

    Raises:
        TooLarge: more than `MAX_VALUES` values, or than `MAX_LISTS` lists.
    """
    commas, opened = occurrences(body, b","), occurrences(body, b"[")
    if commas >= MAX_VALUES:
        raise TooLarge(f"the body holds more than {MAX_VALUES} values; send numbers as .npy or base64, or split them")
    if opened > MAX_LISTS:
        raise TooLarge(f"the body holds more than {MAX_LISTS} lists; send numbers as .npy or base64, or split them")
    return commas, opened


def _is_list(value: object) -> bool:
    return isinstance(value, simdjson.Array)


def _buffered(element: Any, name: str, max_items: int) -> Float[np.ndarray, "..."]:
    shape = checked_shape(_rectangle(element), max_items) if len(element) else ()
    if not shape:
        raise at(InvalidInput(f"{name} is an empty list"), ("body", name))
    try:
        numbers = np.frombuffer(element.as_buffer(of_type="d"), np.float64)
    except (TypeError, ValueError):
        raise _Unsure from None
    if numbers.size != math.prod(shape):
        raise _Unsure
    return numbers.reshape(shape)


def _rectangle(element: Any) -> list[int]:
    """Lengths of a list, of the lists in it, and so on; all lists at one depth have one length."""
    shape: list[int] = []
    level: list[Any] = [element]
    while True:
        shape.append(len(level[0]))
        if any(len(one) != shape[-1] for one in level) or len(shape) > MAX_DIMENSIONS or not shape[-1]:
            raise _Unsure
        if not _is_list(level[0][0]):
            return shape
        level = [inner for one in level for inner in one]
        if not all(map(_is_list, level)):
            raise _Unsure


def _plain(value: Any) -> Any:
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if _is_list(value) else value


def _lists_of_shape(shape: Sequence[int]) -> int:
    return sum(math.prod(shape[:depth]) for depth in range(len(shape)))


def _lists(value: object) -> int:
    count, waiting = 0, [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            count += 1
            waiting += one
        elif isinstance(one, dict):
            waiting += one.values()
    return count


def _from_objects(values: dict[str, Any], names: frozenset[str], max_items: int) -> dict[str, Num[np.ndarray, "..."]]:
    """The arrays that are written as base64."""
    found: dict[str, Num[np.ndarray, "..."]] = {}
    for name in names & values.keys():
        value = values[name]
        if value is None:
            continue
        if not isinstance(value, dict):
            raise _not_a_number(value, ("body", name), "a list of numbers, or an object with data_base64")
        try:
            found[name] = array_from_base64(value, max_items)
        except AppError as error:
            raise at(error, ("body", name)) from None
    return found


# --- the careful way --------------------------------------------------------------------------------------------------


def _careful(body: bytes, names: frozenset[str], max_items: int) -> JsonArrays:
    if occurrences(body, b",") > MAX_CAREFUL_VALUES:
        raise InvalidInput(
            "the body is not well-formed JSON, or one of its lists holds something other than numbers or is not "
            "rectangular; send a smaller part of it to learn where"
        )
    values = loaded(body)
    if not isinstance(values, dict):
        raise at(InvalidInput("the body should be a JSON object"), ("body",))
    lists = {name: values[name] for name in names & values.keys() if isinstance(values[name], list)}
    arrays: dict[str, Num[np.ndarray, "..."]] = {
        name: _checked_list(value, ("body", name), max_items) for name, value in lists.items()
    }
    others = {name: value for name, value in values.items() if name not in arrays}
    arrays |= _from_objects(others, names, max_items)
    return JsonArrays(arrays, {name: value for name, value in others.items() if name not in names})


def loaded(body: bytes) -> Any:
    """Read JSON; each value is a Python object.

    Raises:
        HTTPException: 400 where it is no JSON.
        InvalidInput: it holds NaN, an infinity, or half of a surrogate pair.
    """
    try:
        return orjson.loads(body.removeprefix(b"\xef\xbb\xbf"))
    except orjson.JSONDecodeError as error:
        _refuse(body, error)


def _refuse(body: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    place = f"line {error.lineno} column {error.colno}"
    if "infinity" in error.msg:
        raise at(InvalidInput(f"{place}: a number is too large for a double"), ("body",)) from None
    if "surrogate" in error.msg and "UTF-8" not in error.msg:
        raise at(InvalidInput(f"{place}: a text holds one half of a surrogate pair"), ("body",)) from None
    changed, count = _NOT_JSON.subn(b"null", body)
    if count:
        try:
            document = orjson.loads(changed)
        except orjson.JSONDecodeError:
            document = None
        where = ("body", *(_first_null(document) or ()))
        raise at(
            InvalidInput(f"{_named(where)} is NaN or infinite, which JSON has no numbers for: send finite numbers"),
            where,
        ) from None
    raise HTTPException(400, f"The body is not well-formed JSON: {place}: {error.msg[:120]}") from None


def _first_null(value: object) -> tuple[str | int, ...] | None:
    """Keys and indices to the first null, one level after the other so that no depth is too deep."""
    level: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while level:
        for where, one in level:
            if one is None:
                return where
        level = [
            ((*where, key), inner)
            for where, one in level
            for key, inner in (
                one.items() if isinstance(one, dict) else enumerate(one) if isinstance(one, list) else ()
            )
        ]
    return None


def _checked_list(value: list[Any], where: Where, max_items: int) -> Float[np.ndarray, "..."]:
    shape = _shape_by_first(value, where)
    try:
        checked_shape(shape, max_items)
    except AppError as error:
        raise at(error, where) from None
    numbers: list[float] = []
    _collect(value, shape, where, numbers)
    return np.array(numbers, np.float64).reshape(shape)


def _shape_by_first(value: Any, where: Where) -> list[int]:
    shape: list[int] = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            raise at(InvalidInput(f"{_named(where)} is an empty list"), where)
        value, where = value[0], (*where, 0)
        if len(shape) > MAX_DIMENSIONS:
            raise at(InvalidInput(f"{_named(where)}: lists are nested more than {MAX_DIMENSIONS} deep"), where)
    return shape


def _collect(value: list[Any], shape: Sequence[int], where: Where, numbers: list[float]) -> None:
    if len(value) != shape[0]:
        raise at(
            InvalidInput(
                f"{_named(where)} has {len(value)} values and the first list beside it has {shape[0]}: "
                "send lists of one length together"
            ),
            where,
        )
    for index, one in enumerate(value):
        here = (*where, index)
        if len(shape) > 1:
            if not isinstance(one, list):
                raise _not_a_number(one, here, "a list of numbers")
            _collect(one, shape[1:], here, numbers)
        elif type(one) not in (int, float):
            raise _not_a_number(one, here, "a number")
        else:
            numbers.append(float(one))


_TYPES: Final = {bool: "true or false", str: "a text", list: "a list", dict: "an object", type(None): "null"}


def _not_a_number(value: object, where: Where, expected: str) -> AppError:
    found = _TYPES.get(type(value), "a single number")
    return at(InvalidInput(f"{_named(where)} is {found}, expected {expected}"), where)


def _named(where: Where) -> str:
    return ".".join(str(part) for part in where)
