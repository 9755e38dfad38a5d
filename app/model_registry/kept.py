"""What a domain makes of a loaded version, kept as long as that is: the same version gives the same object."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from app.model_registry.loading import LoadedModel

Model = TypeVar("Model")


class Kept(Generic[Model]):
    """A domain's models, each kept by the version that it was made of, so that nothing holds what answers no more."""

    def model(self, loaded: LoadedModel, make: Callable[[LoadedModel], Model]) -> Model:
        """The model of this version, made where there is none yet. What ``make`` raises is not kept."""
        made = loaded.made.get(self)
        if made is None:
            made = loaded.made[self] = make(loaded)
        return made
