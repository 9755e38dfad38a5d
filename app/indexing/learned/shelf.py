"""The learned parts that a worker has at hand: versions are read from the model store once, and kept.

A version that cannot be had is told in the answer and costs no more than that. Nothing here needs TensorFlow: networks
answer in their compiled form.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog

from app.errors import AppError, ModelOutputInvalid, ModelRefused
from app.indexing.learned import parts
from app.indexing.learned.choice import UNLOADED, default_models, left_out, manifests_in
from app.indexing.learned.models import NOTHING_LEARNED, Learned, Probability
from app.indexing.learned.parts import Part
from app.indexing.problem import SolveResult, UsedModel
from app.model_registry.loading import LoadedModel, load_version
from app.model_registry.runtime import Network
from app.model_registry.store import ModelStore, StoredVersion

MOST_VERSIONS: Final = 64
"""Versions that stay in memory; beyond, those that were asked for longest ago go."""
MOST_SETS: Final = 8
"""Sets of versions whose parts stay made."""
LOOK_EVERY_S: Final = 2.0
"""Between two looks at the files of a version: they are to change never, and the folder may be on a network."""
BROKEN: Final = "it failed on these lines; the service's log says why"
FAILED: Final = "the learned parts failed on these lines and did not take part; the service's log says why"

_log = structlog.stdlib.get_logger("app.indexing")


@dataclass(frozen=True)
class AtHand:
    """What takes part in a search.

    Attributes:
        learned: the parts.
        made_of: the versions that make them, each with the field that it makes.
        warnings: one for each version that was asked for and is not at hand.
    """

    learned: Learned = NOTHING_LEARNED
    made_of: tuple[tuple[UsedModel, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def models(self) -> tuple[UsedModel, ...]:
        """The versions that take part."""
        return tuple(model for model, _ in self.made_of)

    def without(self, field: str) -> AtHand:
        """The same without one part."""
        made_of = tuple((model, of) for model, of in self.made_of if of != field)
        return AtHand(replace(self.learned, **{field: None}), made_of, self.warnings)


NOTHING_AT_HAND: Final = AtHand()


@dataclass(frozen=True)
class _Kept:
    """One version as it was last read: the model, or why there is none."""

    fingerprint: object
    model: LoadedModel | None
    reason: str = ""


@dataclass
class Shelf:
    """Versions of one model store; may be used from several threads.

    Attributes:
        root: folder of the store; None where nobody told.
        clock: seconds, of a clock that nobody sets.
    """

    root: Path | None = None
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._versions: OrderedDict[tuple[str, int], _Kept] = OrderedDict()
        self._sets: OrderedDict[tuple[UsedModel, ...], tuple[Sequence[_Kept], AtHand]] = OrderedDict()
        self._looked_s: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    def take_from(self, root: Path) -> None:
        """Take versions from this store from now on."""
        with self._lock:
            if root != self.root:
                self.root = root
                for table in (self._versions, self._sets, self._looked_s):
                    table.clear()

    def default(self) -> tuple[UsedModel, ...]:
        """What takes part where nothing is said, as the store stands; nothing where it cannot be seen."""
        if self.root is None:
            return ()
        store = ModelStore(self.root)
        try:
            return default_models(store.names(), manifests_in(store))[0]
        except OSError:
            return ()

    def at_hand(self, models: Sequence[UsedModel]) -> AtHand:
        """The parts that these versions make. What cannot be had is left out, with a warning."""
        wanted = tuple(models)
        if not wanted:
            return NOTHING_AT_HAND
        with self._lock:
            kept = [self._version(model.name, model.version) for model in wanted]
            known = _recall(self._sets, wanted)
            if known is None or any(old is not new for old, new in zip(known[0], kept, strict=True)):
                known = (kept, _assembled(wanted, kept))
                _remember(self._sets, wanted, known, MOST_SETS)
            return known[1]

    def _version(self, name: str, version: int) -> _Kept:
        key, now_s = (name, version), self.clock()
        known = _recall(self._versions, key)
        if known is not None and now_s < self._looked_s[key] + LOOK_EVERY_S:
            return known
        fingerprint = self._fingerprint(name, version)
        if known is None or known.fingerprint is None or known.fingerprint != fingerprint:
            known = self._read(name, version, fingerprint)
        for gone in _remember(self._versions, key, known, MOST_VERSIONS):
            del self._looked_s[gone]
        self._looked_s[key] = now_s
        return known

    def _fingerprint(self, name: str, version: int) -> object:
        """Changes when a file of the version does, and when the model is unloaded; None where it cannot be told."""
        if self.root is None or not self.root.is_dir():
            return None
        try:
            store = ModelStore(self.root)
            return store.fingerprint(name, version), store.model(name).unloaded
        except (AppError, OSError):
            return None

    def _read(self, name: str, version: int, fingerprint: object) -> _Kept:
        try:
            return _Kept(fingerprint, self._loaded(name, version))
        except AppError as error:
            reason = error.message
        except Exception as error:  # of the disk, or of a damaged file: one model's trouble must not cost the answer
            _log.exception("a learned part could not be loaded", model=name, version=version)
            fingerprint, reason = None, f"it could not be loaded ({type(error).__name__})"
        _log.warning("a learned part is not at hand", model=name, version=version, reason=reason)
        return _Kept(fingerprint, None, reason)

    def _loaded(self, name: str, version: int) -> LoadedModel:
        if self.root is None:
            raise ModelRefused("this worker was not told where the model store is")
        if not self.root.is_dir():
            raise ModelRefused("the worker does not see the model store")
        store = ModelStore(self.root)
        if store.model(name).unloaded:
            raise ModelRefused(UNLOADED)
        stored = store.read(name, version)
        _check(stored)
        loaded = load_version(stored)
        return replace(loaded, run=_Finite(loaded.run, name))


def tried(solve: Callable[[Learned], SolveResult], at_hand: AtHand) -> SolveResult:
    """Solve with the parts at hand. Where one of them fails, solve once more without any, and say so.

    The probability, which is asked last, costs no second search.

    Raises:
        Exception: whatever the solver raises without learned parts.
    """
    last = _Last(at_hand.learned.probability) if at_hand.learned.probability is not None else None
    try:
        result = solve(replace(at_hand.learned, probability=last))
    except Exception as error:
        if not at_hand.models:
            raise
        result = solve(NOTHING_LEARNED)
        _log.error("the learned parts failed", models=[vars(model) for model in at_hand.models], exc_info=error)
        return replace(result, warnings=(*result.warnings, *at_hand.warnings, FAILED))
    models, warnings = at_hand.models, at_hand.warnings
    if last is not None and last.error is not None:
        models = at_hand.without("probability").models
        failed = [one for one in at_hand.models if one not in models]
        _log.error("the probability failed", models=[vars(one) for one in failed], exc_info=last.error)
        warnings += tuple(left_out(one.name, one.version, BROKEN) for one in failed)
    return replace(result, models=models, warnings=(*result.warnings, *warnings))


@dataclass
class _Last:
    """The probability of one search; without it the answer stays as it is."""

    part: Probability
    error: Exception | None = None

    def answered(self, result: SolveResult) -> SolveResult:
        try:
            return self.part.answered(result)
        except Exception as error:
            self.error = error
            return result


@dataclass(frozen=True)
class _Finite:
    """A network whose answers are numbers: one that says NaN must not rule a search."""

    run: Network
    name: str

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        outputs = self.run(inputs)
        for name, array in outputs.items():
            if not np.isfinite(array).all():
                raise ModelOutputInvalid(f"The model {self.name} gave a {name} that is not finite.")
        return outputs


def _check(stored: StoredVersion) -> None:
    if stored.manifest.family not in parts.PARTS:
        raise ModelRefused("the worker's solver has no such part: it is of another version than the service")
    if stored.manifest.network is not None and stored.manifest.compiled is None:
        raise ModelRefused("it has no compiled form, and workers run nothing else: publish it again")


def _assembled(models: Sequence[UsedModel], kept: Sequence[_Kept]) -> AtHand:
    """Make the parts of those that are there and fit."""
    warnings: list[str] = []
    pieces: dict[Part, dict[UsedModel, Any]] = {}
    for one, it in zip(models, kept, strict=True):
        made = _made(it.model) if it.model else it.reason
        if isinstance(made, str):
            warnings.append(left_out(one.name, one.version, made))
        else:
            pieces.setdefault(made[0], {})[one] = made[1]
    whole: dict[str, Any] = {}
    used: dict[UsedModel, str] = {}
    for part, of in pieces.items():
        try:
            whole[part.field] = part.joined(list(of.values()))
        except Exception as error:
            warnings += [left_out(one.name, one.version, _told(error, one)) for one in of]
        else:
            used |= dict.fromkeys(of, part.field)
    return AtHand(Learned(**whole), tuple((one, used[one]) for one in models if one in used), tuple(warnings))


def _made(model: LoadedModel) -> tuple[Part, Any] | str:
    """What a model makes, or why it makes nothing."""
    part = parts.PARTS[model.manifest.family]
    try:
        return part, part.of_model(model)
    except Exception as error:
        return _told(error, UsedModel(model.name, model.version))


def _told(error: Exception, model: UsedModel) -> str:
    """Why a part could not be made; one that is not sound must not cost the answer."""
    if isinstance(error, AppError):
        return error.message
    _log.error("a learned part could not be made", model=model.name, version=model.version, exc_info=error)
    return f"it does not work ({type(error).__name__})"


def _recall(table: OrderedDict[Any, Any], key: Any) -> Any:
    if key in table:
        table.move_to_end(key)
    return table.get(key)


def _remember(table: OrderedDict[Any, Any], key: Any, value: Any, most: int) -> list[Any]:
    """Keep a value, and give the keys of those that had to go for it."""
    table[key] = value
    table.move_to_end(key)
    return [table.popitem(last=False)[0] for _ in range(len(table) - most)]
