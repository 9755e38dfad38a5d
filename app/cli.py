"""The command line: `python -m app --help`."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Annotated, Any

import typer

from app import __version__
from app.cli_access import settings_to_serve
from app.cli_aggregates import aggregates
from app.cli_jobs import jobs
from app.cli_keys import keys
from app.cli_models import models
from app.cli_predict import predict
from app.cli_solve import solve
from app.cli_waveform import waveform
from app.errors import AppError
from app.logs import configure_logs

FURTHER_FILES = 256
"""Files of one process beside its connections: models, databases, logs, pipes to workers."""

cli = typer.Typer(
    name="python -m app",
    help="Model server for beamlines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # it would take units in brackets for its own
)
cli.add_typer(models)
cli.add_typer(jobs)
cli.add_typer(keys)
cli.command()(predict)
cli.command()(solve)
cli.command()(waveform)
cli.command()(aggregates)


def main() -> None:
    """Run a command; an error that the user can mend is one line, not a traceback."""
    try:
        cli()
    except AppError as error:
        typer.echo(f"error: {error.message}", err=True)
        sys.exit(1)


@cli.callback()
def _root() -> None:
    """Keep `serve` a named command even while it is the only one."""


@cli.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@cli.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on; default BEAMLINE_HOST or 127.0.0.1.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default BEAMLINE_PORT or 8000.")] = None,
    workers: Annotated[int | None, typer.Option(help="Server processes; default BEAMLINE_WORKERS or 1.")] = None,
    single_user: Annotated[
        bool, typer.Option("--single-user", help="Make a key for everything and print it; without it nothing works.")
    ] = False,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Let everybody predict and solve, from other machines too.")
    ] = False,
) -> None:
    """Serve over HTTP. Everything else is set by environment variables, see docs/settings.md."""
    import uvicorn

    from app.listening import allow_open_files, inherited, serve_on, shared_port

    held = inherited()
    if held is not None:
        host, port = held.getsockname()[:2]
    settings = settings_to_serve(host=host, port=port, single_user=single_user, allow_anonymous=allow_anonymous)
    configure_logs(level=settings.log_level, form=settings.log_format)
    allow_open_files(2 * settings.max_connections + FURTHER_FILES)
    count = workers or settings.workers
    if count > 1:
        # The workers share their counters through files; the variable must be set before they import the client.
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="beamline-metrics-"))
    options: dict[str, Any] = {
        "app": "app.main:service",
        "factory": True,
        "host": settings.host,
        "port": settings.port,
        "workers": count,
        # asyncio, not uvloop: uvloop starves new connections under load.
        "loop": "asyncio",
        "http": "app.http_protocol:HttpProtocol",
        "ws": "none",
        "root_path": settings.root_path,
        "proxy_headers": bool(settings.trusted_proxies),
        "forwarded_allow_ips": settings.trusted_proxies,
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "timeout_graceful_shutdown": 10,
    }
    if held is None and count == 1:
        uvicorn.run(**options)
    else:
        config = uvicorn.Config(**options)
        serve_on(held or shared_port(config), config)
