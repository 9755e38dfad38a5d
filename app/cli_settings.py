"""The settings as the command line reads them."""

from __future__ import annotations

import typer
from pydantic import ValidationError

from app.settings import Settings


def read_settings() -> Settings:
    """Read the settings from the environment, or leave with one line for each thing that is wrong with them."""
    try:
        return Settings()
    except ValidationError as error:
        for item in error.errors(include_url=False):
            where = "".join(f"BEAMLINE_{part}: ".upper() for part in item["loc"])
            typer.echo(f"error: {where}{item['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(2) from None
