"""The models that answer: loaded from the store, warmed up, and swapped in one step when the store changes."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, Literal

import structlog

from app.errors import AppError, ModelRefused, ModelUnavailable, NotFound
from app.model_registry.aliases import STABLE
from app.model_registry.loading import LoadedModel, load_version
from app.model_registry.manifest import Manifest
from app.model_registry.store import ModelStore, StoredModel, number_from_ref

__all__ = ["LoadedModel", "Registry", "VersionDetail", "VersionState"]

MAX_ON_DEMAND: Final = 8
"""Versions without an alias that stay in memory after somebody asked for them."""

State = Literal["ready", "refused", "stored", "unloaded"]
Fingerprint = tuple[tuple[str, int, int, int], ...]

_log = structlog.stdlib.get_logger("app.model_registry")


@dataclass(frozen=True)
class VersionState:
    """How one version stands, for probes and lists.

    Attributes:
        aliases: aliases that this version answers for, and those that name it while nothing answers for them.
        state: ``ready`` loaded and warmed up; ``refused`` it failed a check; ``stored`` loaded when asked for;
            ``unloaded`` out of service with the whole model, until somebody loads it.
        reason: why it is not ready, or why its files on disk are no longer what is loaded; empty otherwise.
    """

    name: str
    version: str
    aliases: tuple[str, ...]
    state: State
    reason: str = ""


@dataclass(frozen=True)
class VersionDetail:
    """One version with all that its publisher said of it."""

    manifest: Manifest
    card: str
    state: VersionState


@dataclass(frozen=True)
class _Attempt:
    """One try at loading a version, repeated only after its files have changed."""

    fingerprint: Fingerprint
    model: LoadedModel | None
    reason: str = ""


@dataclass(frozen=True)
class _Entry:
    """One model: what the store says, and what answers.

    Attributes:
        served: alias -> what answers for it; older than what the store says where that was refused.
    """

    stored: StoredModel
    served: Mapping[str, LoadedModel] = field(default_factory=dict)
    attempts: Mapping[int, _Attempt] = field(default_factory=dict)


class Registry:
    """Live models of a store. Reading never waits for loading: it sees one snapshot or the next."""

    def __init__(self, store: ModelStore, *, poll_s: float = 2.0) -> None:
        self.store = store
        self._poll_s = poll_s
        self._entries: Mapping[str, _Entry] = {}
        self._refreshing = threading.Lock()
        self._on_demand: OrderedDict[tuple[str, int], LoadedModel] = OrderedDict()
        self._loading = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    # Life

    def start(self) -> None:
        """Load every version that an alias names, then watch the store for changes."""
        self.refresh()
        self._stopping.clear()
        self._watcher = threading.Thread(target=self._watch, name="model-store-watcher", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """End the watching; what is loaded answers on."""
        self._stopping.set()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None

    def refresh(self) -> None:
        """Look at the store now, load what is new or changed, and swap the snapshot.

        A store that cannot be seen at all, as while a network drive is away, changes nothing.
        """
        if self._entries and not self.store.root.is_dir():
            _log.error("the model store is not there; what is loaded answers on")
            return
        if self._replaced():
            gc.collect()  # a version and what was made of it refer to each other, and networks are large

    def _replaced(self) -> bool:
        """Look at the store and swap the snapshot; whether a version answers no more."""
        with self._refreshing:
            before = self._entries
            entries = {stored.name: self._entry(stored, before.get(stored.name)) for stored in self.store.list()}
            for name in before.keys() - entries.keys():
                _log.warning("model is gone from the store", model=name)
            self._entries = entries
            return not _answering(before) <= _answering(entries)

    def _watch(self) -> None:
        while not self._stopping.wait(self._poll_s):
            try:
                self.refresh()
            except Exception:  # the watcher outlives any trouble with the disk; what is loaded answers on
                _log.exception("the model store could not be read")

    # Asking

    def resolve(self, name: str, ref: str | int | None = None) -> LoadedModel:
        """The model that answers for an alias or a version number; ``stable`` when left out.

        Raises:
            NotFound: no such model, alias or version; the details list those that exist.
            ModelUnavailable: it exists and was refused, or the model is unloaded.
        """
        return self.in_memory(name, ref) or self._loaded_on_demand(
            name, number_from_ref(ref, self._known(name).stored.aliases)
        )

    def in_memory(self, name: str, ref: str | int | None = None) -> LoadedModel | None:
        """As `resolve`, at once: None for a version that has to be loaded first. Raises the same."""
        entry = self._known(name)
        alias = STABLE if ref is None else ref
        if isinstance(alias, str) and alias in entry.served:
            return entry.served[alias]
        number = number_from_ref(ref, entry.stored.aliases)
        for model in entry.served.values():
            if model.version == number:
                return model
        if number not in entry.stored.versions and number not in entry.attempts:
            raise NotFound(f"The model {name} has no such version or alias.", details=_choices(entry))
        if entry.stored.unloaded:
            raise ModelUnavailable(f"The model {name} is unloaded. It answers again when an operator loads it.")
        if attempt := entry.attempts.get(number):
            raise ModelUnavailable(f"Version {number} of {name} was refused: {attempt.reason}")
        return self._on_demand.get((name, number))

    def status(self) -> list[VersionState]:
        """Every version of every model, by name and number."""
        entries = self._entries
        return [state for name in sorted(entries) for state in _states(entries[name])]

    def describe(self, name: str, ref: str | int | None = None) -> VersionDetail:
        """Manifest, card and state of one version, loaded or not. Reads the disk.

        Raises:
            NotFound: no such model, alias or version.
            ModelRefused: its manifest or card is damaged.
        """
        entry = self._known(name)
        number = number_from_ref(STABLE if ref is None else ref, entry.stored.aliases)
        state = next((state for state in _states(entry) if state.version == str(number)), None)
        if state is None:
            raise NotFound(f"The model {name} has no such version or alias.", details=_choices(entry))
        return VersionDetail(self.store.manifest(name, number), self.store.card(name, number), state)

    # Operating

    def load(self, name: str) -> None:
        """Bring an unloaded model back, and look at its versions and aliases now, also at those that were refused.

        Other processes over the same store follow with their next look at it.

        Raises:
            NotFound: no such model.
            ModelRefused: the version that ``stable`` names fails a check.
            Conflict: the store cannot be written.
        """
        self.store.load(name)
        self._forget_refusals(name)
        self.refresh()
        entry = self._known(name)
        refused = entry.attempts.get(entry.stored.aliases.get(STABLE, 0))
        if reason := entry.stored.problem or (refused and refused.reason):
            raise ModelRefused(f"The model {name} cannot be loaded: {reason}")

    def unload(self, name: str) -> None:
        """Take a model out of service and out of memory; requests that it is answering are answered.

        Other processes over the same store follow with their next look at it.

        Raises:
            NotFound: no such model.
            Conflict: the store cannot be written.
        """
        self.store.unload(name)
        self.refresh()

    def _forget_refusals(self, name: str) -> None:
        with self._refreshing:
            if entry := self._entries.get(name):
                kept = {number: attempt for number, attempt in entry.attempts.items() if attempt.model is not None}
                self._entries = {**self._entries, name: replace(entry, attempts=kept)}

    # Parts

    def _known(self, name: str) -> _Entry:
        entries = self._entries
        if name not in entries:
            raise NotFound("There is no model of that name.", details={"available": sorted(entries)})
        return entries[name]

    def _entry(self, stored: StoredModel, before: _Entry | None) -> _Entry:
        before = before or _Entry(stored)
        if stored.unloaded:
            if before.served:
                _log.info("model unloaded", model=stored.name)
            self._forget_on_demand(stored.name)
            return _Entry(stored)
        if stored.problem is not None:
            if before.stored.problem != stored.problem or not before.attempts:
                _log.error("aliases refused", model=stored.name, reason=stored.problem)
            return _Entry(stored, before.served, before.attempts)
        attempts = {v: self._attempt(stored.name, v, before.attempts.get(v)) for v in set(stored.aliases.values())}
        served = {
            alias: attempts[version].model or before.served.get(alias) for alias, version in stored.aliases.items()
        }
        return _Entry(stored, {alias: model for alias, model in served.items() if model is not None}, attempts)

    def _attempt(self, name: str, version: int, before: _Attempt | None) -> _Attempt:
        fingerprint = self.store.fingerprint(name, version)
        if before is not None and before.fingerprint == fingerprint:
            return before
        try:
            model = self._load(name, version)
        except AppError as error:
            _log.error("model refused", model=name, version=version, reason=error.message)
            return _Attempt(fingerprint, None, error.message)
        _log.info("model loaded", model=name, version=version)
        return _Attempt(fingerprint, model)

    def _load(self, name: str, version: int) -> LoadedModel:
        """Load a version; any failure is an ``AppError`` without a path in it."""
        try:
            return load_version(self.store.read(name, version))
        except AppError:
            raise
        except Exception as error:  # one model's trouble must not stop the others
            _log.exception("model could not be loaded", model=name, version=version)
            raise ModelRefused(f"The version could not be loaded ({type(error).__name__}).") from error

    def _loaded_on_demand(self, name: str, version: int) -> LoadedModel:
        key = (name, version)
        with self._loading:
            if key not in self._on_demand:
                try:
                    self._on_demand[key] = self._load(name, version)
                except ModelRefused as error:
                    raise ModelUnavailable(f"Version {version} of {name} was refused: {error.message}") from error
            self._on_demand.move_to_end(key)
            while len(self._on_demand) > MAX_ON_DEMAND:
                self._on_demand.popitem(last=False)
            return self._on_demand[key]

    def _forget_on_demand(self, name: str) -> None:
        with self._loading:
            for key in [key for key in self._on_demand if key[0] == name]:
                del self._on_demand[key]


def _answering(entries: Mapping[str, _Entry]) -> set[tuple[str, int]]:
    return {(name, model.version) for name, entry in entries.items() for model in entry.served.values()}


def _states(entry: _Entry) -> list[VersionState]:
    stored = entry.stored
    loaded = {model.version for model in entry.served.values()}
    versions = sorted({*stored.versions, *stored.aliases.values(), *loaded})
    states = [_state(entry, version, ready=version in loaded) for version in versions]
    if stored.problem and not entry.served and not stored.unloaded:
        # Which versions the aliases name is not known, so the model as a whole is what waits.
        states.append(VersionState(stored.name, "0", (STABLE,), "refused", stored.problem))
    return states


def _state(entry: _Entry, version: int, *, ready: bool) -> VersionState:
    attempt = entry.attempts.get(version)
    reason = attempt.reason if attempt else ""
    answered = [alias for alias, model in entry.served.items() if model.version == version]
    waiting = [a for a, v in entry.stored.aliases.items() if v == version and a not in entry.served]
    state: State = "ready" if ready else "refused" if reason else "stored"
    if entry.stored.unloaded:
        state, reason = "unloaded", "unloaded"
    return VersionState(entry.stored.name, str(version), tuple(sorted({*answered, *waiting})), state, reason)


def _choices(entry: _Entry) -> dict[str, object]:
    return {"versions": list(entry.stored.versions), "aliases": dict(entry.stored.aliases)}
