"""Which learned parts answer a question: resolved to version numbers when it is asked, so that a job never changes."""

from __future__ import annotations

from dataclasses import dataclass

import anyio.to_thread
import orjson

from app.api.indexing_schema import LearnedIn
from app.api.seams import ModelRegistry
from app.indexing.learned.choice import default_models, named_models
from app.indexing.problem import UsedModel
from app.model_registry.manifest import Manifest


@dataclass(frozen=True)
class Chosen:
    """What a request comes to.

    Attributes:
        models: versions that are to take part.
        warnings: what should take part and cannot.
        words: what the caller said of them, which stays the same while aliases move.
    """

    models: tuple[UsedModel, ...]
    warnings: tuple[str, ...]
    words: bytes


@dataclass(frozen=True)
class LearnedParts:
    """The models of the store, as the solver sees them.

    Attributes:
        registry: of all models.
        on: whether they take part where a request does not say.
    """

    registry: ModelRegistry
    on: bool = True

    async def chosen(self, asked: LearnedIn) -> Chosen:
        """Resolve what a request says.

        Raises:
            InvalidInput: models that cannot take part, or not together.
            NotFound, ModelUnavailable: a model or version that was named.
        """
        if asked.models is None:
            return self._chosen(asked)
        return await anyio.to_thread.run_sync(self._chosen, asked)  # a version may have to be loaded first

    def _chosen(self, asked: LearnedIn) -> Chosen:
        words = orjson.dumps([asked.learned, asked.models])
        if asked.models is not None:
            return Chosen(named_models(asked.models, self._manifest), (), words)
        if not (self.on if asked.learned is None else asked.learned):
            return Chosen((), (), words)
        names = {state.name for state in self.registry.status()}
        return Chosen(*default_models(names, self._manifest), words)

    def _manifest(self, name: str, ref: str) -> Manifest:
        return self.registry.resolve(name, ref).manifest
