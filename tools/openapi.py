"""The OpenAPI document of this version, kept in the repository: `make openapi` writes it, a test compares.

A program that was written for the interface of yesterday must be able to know that it is another one today. So the
document is not written where the interface has changed and its version has not; texts and examples may change freely.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

DOCUMENT: Final = REPOSITORY / "docs" / "openapi.json"
VERSION_FILE: Final = "app/api/version.py"

TEXTS: Final = frozenset({"description", "summary", "title", "example", "examples", "tags", "info", "externalDocs"})
"""Members of an OpenAPI document that say nothing of what may be sent or will come."""
NAMES: Final = frozenset({"properties", "schemas", "paths", "responses", "parameters", "headers", "content"})
"""Members whose own members are names, of which any may be called like one of `TEXTS`."""


def present_document() -> dict[str, Any]:
    """The document of the service as it is now, with its default settings."""
    # Settings of whoever runs this must not change it.
    for name in [name for name in os.environ if name.startswith("BEAMLINE_")]:
        del os.environ[name]
    from app.main import create_app
    from app.settings import Settings

    with TemporaryDirectory() as folder:
        database, keys = f"sqlite:///{folder}/jobs.sqlite3", {"keys_file": Path(folder) / "keys.json"}
        known = {name: value for name, value in keys.items() if name in Settings.model_fields}
        document = create_app(Settings(job_workers=0, jobs_database=database, **known)).openapi()  # pyright: ignore[reportArgumentType]
    return json.loads(json.dumps(document))


def kept_document() -> dict[str, Any]:
    """The document in the repository; empty where there is none yet."""
    return json.loads(DOCUMENT.read_text("utf-8")) if DOCUMENT.is_file() else {}


def version(document: dict[str, Any]) -> str:
    """The version of the interface that a document is of."""
    return document.get("info", {}).get("version", "")


def interface(value: Any, *, names: bool = False) -> Any:
    """A document without its texts.

    Args:
        names: the members of ``value`` are names, which all stay.
    """
    if isinstance(value, list):
        return [interface(one) for one in value]
    if not isinstance(value, dict):
        return value
    kept = {name: inner for name, inner in value.items() if names or name not in TEXTS}
    return {name: interface(inner, names=not names and name in NAMES) for name, inner in kept.items()}


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Where two interfaces differ, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        yield from (f"{place}/{name} is gone" for name in old.keys() - new.keys())
        yield from (f"{place}/{name} is new" for name in new.keys() - old.keys())
        for name in sorted(old.keys() & new.keys()):
            yield from differences(old[name], new[name], f"{place}/{name}")
    elif old != new:
        yield f"{place} is another"


def complaint(kept: dict[str, Any], present: dict[str, Any]) -> str | None:
    """Why the document may not be written as it is, if so."""
    changes = sorted(differences(interface(kept), interface(present)))
    if not kept or not changes or version(kept) != version(present):
        return None
    shown = "\n  ".join(changes[:20] + ([f"and {len(changes) - 20} more"] if len(changes) > 20 else []))
    return (
        f"the HTTP interface has changed, and its version is {version(kept)} still:\n  {shown}\n"
        f"Raise API_VERSION in {VERSION_FILE} (the second number where older clients go on working, else the first), "
        "then run `make openapi`."
    )


def main() -> None:
    """Write the document.

    Raises:
        SystemExit: the interface has changed, and its version has not.
    """
    kept, present = kept_document(), present_document()
    if (found := complaint(kept, present)) is not None:
        raise SystemExit(found)
    DOCUMENT.write_text(json.dumps(present, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


if __name__ == "__main__":
    main()
