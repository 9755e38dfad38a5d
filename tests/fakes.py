"""Stand-ins that several tests share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from app.errors import NotFound


@dataclass(frozen=True)
class FakeModel:
    name: str
    version: str
    state: str = "ready"
    aliases: tuple[str, ...] = ("stable",)
    reason: str = ""


@dataclass
class FakeRegistry:
    """A registry that knows only states of models."""

    models: list[FakeModel] = field(default_factory=list)
    running: bool = False

    def start(self) -> None:
        self.running = True

    def stop(self) -> None:
        self.running = False

    def status(self) -> list[FakeModel]:
        return self.models

    def resolve(self, name: str, ref: str) -> Any:
        raise NotFound(f"no model {name} {ref}")

    def describe(self, name: str, ref: str) -> Any:
        raise NotFound(f"no model {name} {ref}")

    def in_memory(self, name: str, ref: str) -> Any:
        return self.resolve(name, ref)

    def load(self, name: str) -> None:
        raise NotFound(f"no model {name}")

    def unload(self, name: str) -> None:
        raise NotFound(f"no model {name}")
