"""Which versions of which models take part in a search: aliases are resolved once, when the question is asked."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from app.errors import AppError, InvalidInput, ModelUnavailable
from app.indexing.learned import parts
from app.indexing.learned.parts import Part
from app.indexing.peaks import refused
from app.indexing.problem import UsedModel
from app.model_registry.aliases import STABLE
from app.model_registry.manifest import NAME_PATTERN, Manifest
from app.model_registry.store import REF_PATTERN, ModelStore

FIELD: Final = "models"
"""The option that names them, in errors."""
CHOICE_PATTERN: Final = f"{NAME_PATTERN.removesuffix('$')}(:{REF_PATTERN.strip('^$')})?$"
"""A name, or a name with a version or an alias behind a colon."""
UNLOADED: Final = "it is unloaded, and answers again when an operator loads it"

ManifestOf = Callable[[str, str], Manifest]
"""The manifest of a version, by the model's name and a version number or alias. Raises `NotFound` where there is none,
and `ModelUnavailable` or `ModelRefused` where it cannot answer."""


def default_models(names: Iterable[str], manifest_of: ManifestOf) -> tuple[tuple[UsedModel, ...], tuple[str, ...]]:
    """What takes part where nothing is said: of every part, what ``stable`` names.

    Args:
        names: of all models in the store.

    Returns:
        The versions, and a warning for each model that should take part and cannot.
    """
    found: list[UsedModel] = []
    warnings: list[str] = []
    for name in sorted(name for name in names if any(part.takes(name) for part in parts.PARTS.values())):
        try:
            manifest = manifest_of(name, STABLE)
            _part_of(name, manifest)
        except AppError as error:
            warnings.append(left_out(name, None, error.message))
        else:
            found.append(UsedModel(name, manifest.version, STABLE))
    return tuple(found), tuple(warnings)


def named_models(asked: Sequence[str], manifest_of: ManifestOf) -> tuple[UsedModel, ...]:
    """The versions that a caller names, each as ``name``, ``name:version`` or ``name:alias``.

    Raises:
        InvalidInput: a text of another form, a model of another job, a name given twice, or two models for a part
            that one makes.
        NotFound: no such model, version or alias.
        ModelUnavailable: it was refused or unloaded.
    """
    found: list[UsedModel] = []
    made: list[Part] = []
    for place, text in enumerate(asked):
        if not re.fullmatch(CHOICE_PATTERN, text):
            raise refused([FIELD, place], f"found {text[:80]!r}, expected a name, name:version or name:alias")
        name, _, ref = text.partition(":")
        if any(one.name == name for one in found):
            raise refused([FIELD, place], f"{name} is named twice")
        manifest = manifest_of(name, ref or STABLE)
        try:
            made.append(_part_of(name, manifest))
        except InvalidInput as error:
            raise refused([FIELD, place], error.message) from None
        found.append(UsedModel(name, manifest.version, None if ref.isdigit() else ref or STABLE))
    _check_one_each(made)
    return tuple(found)


def manifests_in(store: ModelStore) -> ManifestOf:
    """Manifests of a store on disk, for where no registry has them in memory. Nothing is loaded."""

    def manifest_of(name: str, ref: str) -> Manifest:
        if store.model(name).unloaded:
            raise ModelUnavailable(UNLOADED)
        return store.manifest(name, store.version_number(name, ref))

    return manifest_of


def left_out(name: str, version: int | None, reason: str) -> str:
    """The warning of an answer in which a model did not take part."""
    of = name if version is None else f"{name} version {version}"
    return f"the learned part {of} did not take part: {reason.rstrip('.')}"


def _part_of(name: str, manifest: Manifest) -> Part:
    part = parts.PARTS.get(manifest.family)
    if part is None or not part.earns:
        known = ", ".join(sorted(family for family, one in parts.PARTS.items() if one.earns))
        raise InvalidInput(f"the model {name} is of family {manifest.family!r}; the solver takes {known}")
    return part


def _check_one_each(made: Sequence[Part]) -> None:
    for part, count in Counter(made).items():
        if count > 1 and not part.join:
            raise refused([FIELD], f"{count} models for {part.field}, which one makes: name one of them")


# --- as plain data ----------------------------------------------------------------------------------------------------


def models_content(models: Sequence[UsedModel]) -> list[dict[str, Any]]:
    """Give versions as plain data."""
    return [vars(model) for model in models]


def models_from_content(content: Sequence[Mapping[str, Any]]) -> tuple[UsedModel, ...]:
    """Inverse of `models_content`."""
    return tuple(UsedModel(**one) for one in content)
