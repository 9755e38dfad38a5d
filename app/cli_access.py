"""Who may call what `serve` starts: checked, and told, before it listens."""

from __future__ import annotations

import os
import secrets
from ipaddress import ip_address

import typer

from app.api.keys import SECRET_BYTES, read_keys
from app.cli_settings import read_settings
from app.settings import Settings

_UNPROTECTED = """\
error: {host} can be reached from other machines, and no key would be asked for. Do one of these:
  python -m app keys create --name NAME --scope predict --scope solve   makes a key
  python -m app serve --single-user                                     makes one key for everything, and prints it
  BEAMLINE_OIDC_ISSUER and BEAMLINE_OIDC_AUDIENCE                       take the tokens of an identity provider
  python -m app serve --allow-anonymous                                 lets everybody predict and solve
docs/access.md has more."""


def settings_to_serve(*, host: str | None, port: int | None, single_user: bool, allow_anonymous: bool) -> Settings:
    """Read the settings, with what the command line says in place of the environment.

    The environment is changed as well: the server processes read it. A key that is made is printed with an address.

    Raises:
        InvalidInput: the keys file is damaged.
        typer.Exit: a setting is wrong, or everybody could reach a service that asks for no key.
    """
    said = {"BEAMLINE_HOST": host, "BEAMLINE_ALLOW_ANONYMOUS": "true" if allow_anonymous else None}
    os.environ |= {name: value for name, value in said.items() if value}
    made = single_user and not os.environ.get("BEAMLINE_SINGLE_USER_KEY")
    if made:
        os.environ["BEAMLINE_SINGLE_USER_KEY"] = secrets.token_hex(SECRET_BYTES)
    settings = read_settings()
    settings = settings if port is None else settings.model_copy(update={"port": port})
    _check(settings)
    if made:
        _tell(settings)
    return settings


def _check(settings: Settings) -> None:
    known = read_keys(settings.keys_file)
    protected = bool(known) or settings.single_user_key is not None or bool(settings.oidc_issuer)
    if not (protected or settings.serves_this_machine_only or settings.allow_anonymous):
        typer.echo(_UNPROTECTED.format(host=settings.host), err=True)
        raise typer.Exit(2)


def _tell(settings: Settings) -> None:
    secret = settings.single_user_key.get_secret_value() if settings.single_user_key is not None else ""
    typer.echo(f"The key of this run, for everything:\n\n    {secret}\n")
    if settings.port:
        # After the # it is for the page alone: a browser sends it to nobody.
        typer.echo(
            f"The page with it:\n\n    http://{_name(settings.host)}:{settings.port}{settings.root_path}/#key={secret}\n"
        )
    typer.echo("A program sends it as Authorization: Apikey KEY.")


def _name(host: str) -> str:
    """What a browser on this machine calls the address."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1"
    return f"[{host}]" if address.version == 6 else host
