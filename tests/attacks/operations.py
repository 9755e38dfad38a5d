"""The operations of an OpenAPI document, so that an attack can be tried on every one, also on those yet to come."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

NAMES = {"name": "waveform-s2", "version": "1", "job_id": "0" * 32}
METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        media_types: of the body; none where it takes none.
        example: the first JSON example of the body.
        needs_body: whether it may not be left out.
    """

    method: str
    template: str
    media_types: tuple[str, ...]
    example: Any
    needs_body: bool = True

    @property
    def path(self) -> str:
        """With names of things that may exist."""
        return self.path_with()

    @property
    def names(self) -> list[str]:
        return re.findall(r"{(\w+)}", self.template)

    def path_with(self, **names: str) -> str:
        return self.template.format_map(NAMES | names)


def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        _operation(method, path, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def _operation(method: str, path: str, operation: dict[str, Any]) -> Operation:
    body = operation.get("requestBody", {})
    content = body.get("content", {})
    media = content.get("application/json", {})
    examples = [example["value"] for example in media.get("examples", {}).values()]
    examples += [media["example"]] if "example" in media else media.get("schema", {}).get("examples", [])
    return Operation(
        method.upper(), path, tuple(content), examples[0] if examples else None, body.get("required", False)
    )


Place = tuple[str | int, ...]


def places(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Every object, list and leaf in a JSON value, with the keys that lead there."""
    yield place, value
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, member in members:
        yield from places(member, (*place, key))


def one_of_each(found: list[Place]) -> list[Place]:
    """Of places that differ only in their indices, the first."""
    first: dict[tuple[str, ...], Place] = {}
    for place in found:
        first.setdefault(tuple("*" if isinstance(key, int) else key for key in place), place)
    return list(first.values())


def changed(value: Any, place: Place, new: Any) -> Any:
    """A copy with another value at a place."""
    if not place:
        return new
    made = copy.deepcopy(value)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = new
    return made
