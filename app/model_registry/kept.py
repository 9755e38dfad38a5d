"""What a domain makes of a loaded version, kept: the same version gives the same object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

from app.model_registry.loading import LoadedModel

MOST_KEPT: Final = 64


class _OfVersion(Protocol):
    @property
    def loaded(self) -> LoadedModel: ...


Model = TypeVar("Model", bound=_OfVersion)


class Kept(Generic[Model]):
    """A domain's models by loaded version; the oldest goes when there are too many."""

    def __init__(self) -> None:
        self._models: dict[int, Model] = {}

    def model(self, loaded: LoadedModel, make: Callable[[LoadedModel], Model]) -> Model:
        """The model of this version, made where there is none yet. What ``make`` raises is not kept."""
        kept = self._models.get(id(loaded))
        if kept is not None and kept.loaded is loaded:
            return kept
        while len(self._models) >= MOST_KEPT:
            self._models.pop(next(iter(self._models)), None)
        self._models[id(loaded)] = model = make(loaded)
        return model
