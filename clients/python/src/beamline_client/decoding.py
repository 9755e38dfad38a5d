"""From JSON to typed answers: dataclasses whose fields have the names that the service gives them.

Fields that a newer service adds are left out; those that may be null may also be missing.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from beamline_client.errors import UnexpectedAnswer

T = TypeVar("T")
Decoder = Callable[[Any], Any]


def decoded_json(kind: type[T], content: bytes) -> T:
    """Read an answer.

    Raises:
        UnexpectedAnswer: it is no JSON, or not of this kind.
    """
    try:
        value = json.loads(content)
    except ValueError:
        begin = content[:80].decode("utf-8", "replace")
        raise UnexpectedAnswer(f"expected JSON, found {begin!r}: is this the address of the service?") from None
    return decoded(kind, value)


def decoded(kind: type[T], value: object) -> T:
    """Turn plain data into a dataclass.

    Raises:
        UnexpectedAnswer: they do not fit it.
    """
    hint: Any = kind
    decode = _decoder(hint)
    try:
        return value if decode is None else decode(value)  # type: ignore[return-value]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{kind.__name__}: {type(error).__name__} {error}"
        raise UnexpectedAnswer(f"the answer does not fit this version of the client ({what})") from None


@cache
def _decoder(hint: Any) -> Decoder | None:
    """What reads a value of this type; None where it is taken as it is."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return _optional(arguments)
    if origin is list:
        return _each(_decoder(arguments[0]))
    if origin is dict:
        return _values(_decoder(arguments[1]))
    if hint is datetime:
        return _datetime
    if dataclasses.is_dataclass(origin or hint):
        return _record(origin or hint)
    return None


def _optional(arguments: tuple[Any, ...]) -> Decoder | None:
    inner = [_decoder(one) for one in arguments if one is not NoneType]
    decode = inner[0] if len(inner) == 1 else None
    return None if decode is None else lambda value: None if value is None else decode(value)


def _each(decode: Decoder | None) -> Decoder | None:
    return None if decode is None else lambda values: [decode(value) for value in values]


def _values(decode: Decoder | None) -> Decoder | None:
    return None if decode is None else lambda values: {name: decode(value) for name, value in values.items()}


def _datetime(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def _record(kind: Any) -> Decoder:
    hints = get_type_hints(kind)
    fields = [(one.name, NoneType in get_args(hints[one.name]), _decoder(hints[one.name])) for one in _fields(kind)]

    def decode(value: Mapping[str, Any]) -> Any:
        return kind(**{name: _member(value, name, optional, inner) for name, optional, inner in fields})

    return decode


def _fields(kind: Any) -> tuple[dataclasses.Field[Any], ...]:
    return dataclasses.fields(kind)


def _member(value: Mapping[str, Any], name: str, optional: bool, decode: Decoder | None) -> Any:
    found = value.get(name) if optional else value[name]
    return found if decode is None else decode(found)
