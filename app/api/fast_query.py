"""Query strings of fast routes."""

from __future__ import annotations

from functools import lru_cache
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.datastructures import QueryParams

MAX_BYTES = 500
"""Longer query strings are left to FastAPI."""

Model = TypeVar("Model", bound=BaseModel)


class UsualQuery(Generic[Model]):
    """Reads the options in a query string into the model by which FastAPI reads them.

    What was read is kept, since a client sends the same options again and again.
    """

    def __init__(self, model: type[Model]) -> None:
        self._model = model
        self._read = lru_cache(maxsize=256)(self._validated)

    def __call__(self, raw: bytes) -> Model | None:
        """The options; None where FastAPI must look: an option that is wrong, or given twice."""
        return self._read(raw) if len(raw) <= MAX_BYTES else None

    def _validated(self, raw: bytes) -> Model | None:
        given = QueryParams(raw.decode("latin-1"))
        if len(given) != len(given.multi_items()):
            return None
        try:
            return self._model.model_validate(dict(given))
        except ValidationError:
            return None
