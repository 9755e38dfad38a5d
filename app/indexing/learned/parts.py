"""Which family of models makes which learned part, and how the parts of several models become one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from app.model_registry.loading import LoadedModel


@dataclass(frozen=True)
class Part:
    """One field of `app.indexing.learned.models.Learned`, and the models that make it.

    Attributes:
        field: the name there.
        name: of the model that takes part where none is named; of several, how their names begin.
        module: has ``from_model(LoadedModel)``, which gives the part or refuses the model.
        join: its function that makes one part of several; empty where there is only ever one model.
        earns: whether the search asks it. A part that did not pay for itself is there for comparisons: no job takes it.
    """

    field: str
    name: str
    module: str
    join: str = ""
    earns: bool = True

    def takes(self, name: str) -> bool:
        """Whether a model of this name takes part where none is named."""
        return self.earns and (name == self.name or (bool(self.join) and name.startswith(f"{self.name}-")))

    def of_model(self, model: LoadedModel) -> Any:
        """What one model makes: the part, or of several models a piece of it.

        Raises:
            ModelRefused: its parameters do not fit its family.
        """
        return import_module(self.module).from_model(model)

    def joined(self, pieces: Sequence[Any]) -> Any:
        """The part of what its models make, at least one."""
        return getattr(import_module(self.module), self.join)(pieces) if self.join else pieces[0]


_HERE: Final = "app.indexing.learned"
PARTS: Final[Mapping[str, Part]] = MappingProxyType(
    {
        "indexing/index-assignment": Part(
            "indices", "indexing-indices", f"{_HERE}.indices", join="together", earns=False
        ),
        "indexing/low-order": Part("templates", "indexing-templates", f"{_HERE}.templates"),
        "indexing/odds": Part("odds", "indexing-odds", f"{_HERE}.odds"),
        "indexing/regression": Part("regression", "indexing-regression", f"{_HERE}.regression", join="joined"),
        "indexing/probability": Part("probability", "indexing-probability", f"{_HERE}.probability"),
    }
)
"""Family of models -> the part that they make. Light to import: the service resolves versions by it, and no more."""
