"""Which models answer a question, and the answers: one network call a model for all experiments of a material."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.api.polarization_cases import located
from app.api.seams import ModelRegistry
from app.errors import InvalidInput, NotFound
from app.polarization.case import Case, Solved, UsedModel
from app.polarization.experiment import Material
from app.polarization.models import D3_FAMILY, PolarizationModel, polarization_model
from app.polarization.predict import predict

ENSEMBLE = "ensemble"
"""In place of a model's name: all networks of the D3 pipeline for the material."""


@dataclass(frozen=True)
class Choice:
    """What the caller said of the model.

    Attributes:
        model: name, names, `ENSEMBLE`, or None for the material's own model.
        version: number or alias.
    """

    model: str | Sequence[str] | None = None
    version: str = "stable"

    @property
    def alias(self) -> str | None:
        return None if self.version.isdigit() else self.version


def default_name(material: Material) -> str:
    """Name of the model that answers where none is named."""
    return f"polarization-{material}"


def chosen(registry: ModelRegistry, material: Material, choice: Choice) -> list[PolarizationModel]:
    """Find the models that answer for a material.

    Raises:
        InvalidInput: a number as the version of several models; a model of another job; a name given twice.
        NotFound: no such model or version; no network for an ensemble.
        ModelUnavailable: it was refused.
    """
    if choice.model is None:
        return [_resolved(registry, default_name(material), choice.version)]
    if choice.model == ENSEMBLE:
        return _ensemble(registry, material, choice)
    names = [choice.model] if isinstance(choice.model, str) else list(choice.model)
    if len(set(names)) < len(names):
        raise InvalidInput("model: a name is given twice; each member of an ensemble counts once")
    if len(names) > 1:
        _check_alias(choice)
    return [_resolved(registry, name, choice.version) for name in names]


def _resolved(registry: ModelRegistry, name: str, version: str) -> PolarizationModel:
    return polarization_model(registry.resolve(name, version))


def _check_alias(choice: Choice) -> None:
    if choice.alias is None:
        raise InvalidInput("version: several models have no version number in common; name an alias such as 'stable'")


def _ensemble(registry: ModelRegistry, material: Material, choice: Choice) -> list[PolarizationModel]:
    _check_alias(choice)
    ready = [state.name for state in registry.status() if choice.alias in state.aliases and state.state == "ready"]
    loaded = [registry.resolve(name, choice.version) for name in ready]
    networks = [polarization_model(model) for model in loaded if model.manifest.family == D3_FAMILY]
    members = [network for network in networks if network.material == material]
    if not members:
        raise NotFound(
            f"there is no network of the D3 pipeline for {material} set-ups with the alias {choice.version!r} in the "
            "store; import some with `python -m app models import`"
        )
    return members


def solved(cases: Sequence[Case], registry: ModelRegistry, choice: Choice) -> list[Solved]:
    """Answer all cases, in their order.

    Raises:
        AppError: as `chosen`, and as `app.polarization.predict.predict` with the index of the experiment.
    """
    answers: dict[int, Solved] = {}
    materials: dict[Material, None] = dict.fromkeys(case.ask.material for case in cases)
    for material in materials:
        models = chosen(registry, material, choice)
        used = tuple(UsedModel(m.loaded.name, m.loaded.version, choice.alias) for m in models)
        indices = [i for i, case in enumerate(cases) if case.ask.material == material]
        try:
            found = predict([cases[i].ask for i in indices], models)
        except InvalidInput as error:
            index = error.details.get("index")
            raise located(error, indices[index]) if isinstance(index, int) else error from None
        answers |= {i: Solved(cases[i], answer, used) for i, answer in zip(indices, found, strict=True)}
    return [answers[i] for i in range(len(cases))]
