"""The command line of access: `python -m app keys --help`. It changes the keys file that the settings name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from app.api.access import Scope
from app.api.keys import Key, create_key, read_keys, revoke_key
from app.cli_settings import read_settings
from app.errors import InvalidInput

keys = typer.Typer(name="keys", help="Make, list and revoke the keys of callers.", no_args_is_help=True)

_DAYS: Final = {"h": 1 / 24, "d": 1, "w": 7}
FileOption = Annotated[
    Path | None, typer.Option("--file", help="The keys file; default BEAMLINE_KEYS_FILE or state/keys.json.")
]


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="Who it is for: the owner of its jobs. Keys of one name are one caller.")],
    scope: Annotated[list[Scope], typer.Option(help="What it allows; may be given several times.")],
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="When it ends: 90d, 12h, 4w, or a date as 2027-01-31 (UTC).")
    ] = None,
    file: FileOption = None,
) -> None:
    """Make a key and print its secret, this once: it is kept nowhere.

    Standard output holds the secret alone, so that a script can take it. A service that runs knows the key within
    seconds.
    """
    secret, key = create_key(_file(file), name, scope, expires=None if expires is None else _end(expires))
    typer.echo(f"{_line(key)}\nThe secret, which is not shown again:", err=True)
    typer.echo(secret)


@keys.command("list")
def list_keys(file: FileOption = None) -> None:
    """List the keys, the oldest first: id, state, name, scopes, and when they were made and end."""
    found = read_keys(_file(file))
    for key in found:
        typer.echo(_line(key))
    if not found:
        typer.echo("no keys", err=True)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The first eight characters of the key, as listed.")],
    file: FileOption = None,
) -> None:
    """End a key for good. A service that runs refuses it within seconds."""
    typer.echo(_line(revoke_key(_file(file), key_id)))


def _file(given: Path | None) -> Path:
    return given or read_settings().keys_file


def _line(key: Key) -> str:
    scopes = ",".join(scope.value for scope in key.scopes)
    ends = "never ends" if key.expires is None else f"ends {_time(key.expires)}"
    ends = ends if key.revoked is None else f"revoked {_time(key.revoked)}"
    return f"{key.id}  {key.state(datetime.now(UTC)):7}  {scopes:19}  made {_time(key.created)}  {ends}  {key.name}"


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _end(text: str) -> datetime:
    """Read when a key ends."""
    span = re.fullmatch(r"(\d{1,5})([hdw])", text.strip())
    if span is not None:
        return datetime.now(UTC).replace(microsecond=0) + timedelta(days=int(span[1]) * _DAYS[span[2]])
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(f"--expires: found {text[:40]!r}, expected 90d, 12h, 4w, or a date as 2027-01-31") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when
