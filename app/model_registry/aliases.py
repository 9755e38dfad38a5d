"""Which version an alias names, and which it named before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from app.errors import Conflict, ModelRefused
from app.model_registry.durable import read_regular, replace_durably

ALIASES_FILE: Final = "aliases.json"
HISTORY_FILE: Final = "history.json"
ALIAS_PATTERN: Final = r"^[a-z][a-z0-9-]{0,31}$"
STABLE: Final = "stable"
LATEST: Final = "latest"
MAX_BYTES: Final = 2**18
MAX_HISTORY: Final = 100

_ALIASES: TypeAdapter[dict[str, int]] = TypeAdapter(dict[str, int])
_HISTORY: TypeAdapter[dict[str, list[int]]] = TypeAdapter(dict[str, list[int]])


def read_aliases(folder: Path) -> dict[str, int]:
    """Alias -> version of one model's folder; empty where nothing was published.

    Raises:
        ModelRefused: the file is damaged.
    """
    return _read(folder / ALIASES_FILE, _ALIASES)


def read_history(folder: Path) -> dict[str, list[int]]:
    """Alias -> the versions it named, oldest first. Entries after the present one were never completed."""
    return _read(folder / HISTORY_FILE, _HISTORY)


def _read(path: Path, adapter: TypeAdapter[Any]) -> Any:
    if not path.is_symlink() and not path.exists():
        return {}
    try:
        return adapter.validate_json(read_regular(path, max_bytes=MAX_BYTES), strict=True)
    except ValidationError as error:
        raise ModelRefused(f"{path.name} is not a table of aliases and version numbers.") from error


def move_aliases(folder: Path, moves: Mapping[str, int]) -> None:
    """Let aliases name other versions, and remember what they named.

    The history is written first and the aliases last: replacing ``aliases.json`` is the one step that counts, and a
    crash before it leaves a history whose tail is ignored.
    """
    aliases, history = read_aliases(folder), read_history(folder)
    for alias, version in moves.items():
        if alias in aliases and aliases[alias] != version:
            history[alias] = [*_past(history.get(alias, []), aliases[alias]), version][-MAX_HISTORY:]
        elif alias not in aliases:
            history[alias] = [version]
    replace_durably(folder / HISTORY_FILE, _json(history))
    replace_durably(folder / ALIASES_FILE, _json({**aliases, **moves}))


def step_back(folder: Path, alias: str) -> int:
    """Let an alias name what it named before; return that version.

    Raises:
        Conflict: it never named another one.
    """
    aliases = read_aliases(folder)
    past = _past(read_history(folder).get(alias, []), aliases.get(alias, 0))
    if alias not in aliases or len(past) < 2:
        raise Conflict(f"The alias {alias} has no earlier version to return to.")
    replace_durably(folder / ALIASES_FILE, _json({**aliases, alias: past[-2]}))
    return past[-2]


def _past(history: list[int], current: int) -> list[int]:
    """The history up to and with the version that is named now."""
    if current not in history:
        return [current]
    last = len(history) - 1 - history[::-1].index(current)
    return history[: last + 1]


def _json(table: Mapping[str, Any]) -> bytes:
    return (json.dumps(table, indent=2, sort_keys=True) + "\n").encode()
