"""The command line of the model store: `python -m app models --help`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.errors import AppError
from app.model_registry.aliases import LATEST, STABLE
from app.model_registry.loading import load_version
from app.model_registry.manifest import Manifest
from app.model_registry.store import ModelStore, StoredModel

if TYPE_CHECKING:
    from app.model_registry.d3_import import ImportOutcome

models = typer.Typer(name="models", help="List, import, check and promote models of the store.", no_args_is_help=True)

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="BEAMLINE_MODEL_STORE", help="Folder of the published models.")
]
DEFAULT_STORE = Path("model_store")


@models.command("list")
def list_models(store: StoreOption = DEFAULT_STORE) -> None:
    """List every model with its versions and aliases."""
    found = ModelStore(store).list()
    if not found:
        typer.echo("no models")
    width = max((len(model.name) for model in found), default=0)
    for model in found:
        typer.echo(f"{model.name:<{width}}  {_summary(model)}")


def _summary(model: StoredModel) -> str:
    aliases = ", ".join(f"{alias} -> {version}" for alias, version in sorted(model.aliases.items()))
    versions = ", ".join(str(version) for version in model.versions) or "none"
    unloaded = " (unloaded)" if model.unloaded else ""
    return f"versions {versions}; {model.problem or aliases or 'no alias'}{unloaded}"


@models.command()
def show(
    name: str,
    version: Annotated[str, typer.Argument(help="Number or alias.")] = STABLE,
    card: Annotated[bool, typer.Option("--card", help="Print the model card instead.")] = False,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Show what a version says of itself."""
    opened = ModelStore(store)
    number = opened.version_number(name, version)
    typer.echo(opened.card(name, number) if card else _described(opened.manifest(name, number)))


def _described(manifest: Manifest) -> str:
    return manifest.to_json().rstrip()


@models.command("import")
def import_folder(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A Model_... folder, or one that holds some.")],
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Import networks as the D3 notebooks leave them. Exit status 1 if any was refused."""
    from app.model_registry.d3_import import import_d3  # brings scikit-learn, which `serve` starts without

    outcomes = import_d3(ModelStore(store), folder)
    for outcome in outcomes:
        typer.echo(_outcome(outcome))
    refused = sum(outcome.manifest is None for outcome in outcomes)
    typer.echo(f"{len(outcomes) - refused} accepted, {refused} refused")
    if refused:
        raise typer.Exit(1)


def _outcome(outcome: ImportOutcome) -> str:
    if outcome.manifest is None:
        return f"refused   {outcome.folder}: {outcome.reason}"
    reason = f" ({outcome.reason})" if outcome.reason else ""
    return f"accepted  {outcome.folder} -> {outcome.manifest.name} version {outcome.manifest.version}{reason}"


@models.command()
def promote(
    name: str,
    version: Annotated[str, typer.Argument(help="Number, or an alias such as 'latest'.")] = LATEST,
    alias: Annotated[str, typer.Option(help="The alias to move.")] = STABLE,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Let an alias name a version; running services pick it up."""
    opened = ModelStore(store)
    number = opened.version_number(name, version)
    opened.promote(name, number, alias=alias)
    typer.echo(f"{name}: {alias} -> {number}")


@models.command()
def rollback(
    name: str,
    alias: Annotated[str, typer.Option(help="The alias to move.")] = STABLE,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Let an alias name what it named before."""
    typer.echo(f"{name}: {alias} -> {ModelStore(store).rollback(name, alias=alias)}")


@models.command()
def unload(name: str, store: StoreOption = DEFAULT_STORE) -> None:
    """Take a model out of service; running services follow."""
    ModelStore(store).unload(name)
    typer.echo(f"{name}: unloaded")


@models.command()
def load(name: str, store: StoreOption = DEFAULT_STORE) -> None:
    """Bring an unloaded model back; running services follow."""
    ModelStore(store).load(name)
    typer.echo(f"{name}: loaded")


@models.command()
def verify(
    name: Annotated[str | None, typer.Argument(help="One model; all of them when left out.")] = None,
    store: StoreOption = DEFAULT_STORE,
) -> None:
    """Check digests, load and warm up every version. Exit status 1 if any fails."""
    opened = ModelStore(store)
    found = opened.list() if name is None else (opened.model(name),)
    problems = sum(_verified(opened, model) for model in found)
    if problems:
        raise typer.Exit(1)


def _verified(store: ModelStore, model: StoredModel) -> int:
    """Print one line a version; return how many failed."""
    problems = _dangling(model)
    for version in model.versions:
        try:
            load_version(store.read(model.name, version))
        except AppError as error:
            problems.append(f"version {version}: {error.message}")
        else:
            typer.echo(f"ok      {model.name} version {version}")
    for problem in problems:
        typer.echo(f"failed  {model.name} {problem}")
    return len(problems)


def _dangling(model: StoredModel) -> list[str]:
    missing = [f"alias {a}: there is no version {v}" for a, v in model.aliases.items() if v not in model.versions]
    return [model.problem, *missing] if model.problem else missing
