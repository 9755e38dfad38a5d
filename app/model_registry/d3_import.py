"""Take in networks as the D3 notebooks leave them: `Model_{Complexity}_{n}/` with a `.keras` and three scalers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import sklearn

from app.errors import AppError, InvalidInput, ModelRefused
from app.model_registry.convert import Conversion, KerasNetwork, convert_all
from app.model_registry.d3_card import card
from app.model_registry.durable import read_regular
from app.model_registry.manifest import CARD_FILE, NAME_PATTERN, Feature, Manifest, ModelDraft, TensorSpec, Training
from app.model_registry.store import ModelStore
from app.model_registry.unpickle import finite_scaler, load_estimator

FAMILY: Final = "polarization/d3-network"
ROLES: Final = ("static", "time", "y")
NETWORK_FILE: Final = "model.keras"
MAX_NETWORK_BYTES: Final = 2**28
MAX_SCALER_BYTES: Final = 2**20
MAX_DEPTH: Final = 4

_ANCHORS: Final = ("initial_time_s", "initial_polarization", "final_time_s", "final_polarization")
STATIC_FEATURES: Final = MappingProxyType(
    {
        "crystalline": (
            *("pressure_bar", "lab_polarization", "lab_time_s"),
            *("cell=ge18004", "cell=ge18006", "cell=ge18012"),
            *_ANCHORS,
        ),
        "amorphous": (
            *("polarizer_pressure_bar", "analyser_pressure_bar", "lab_polarization", "lab_time_s"),
            *("cell=ge18004", "cell=ge18011", "cell=ge18012", "analyser=sic1402", "analyser=sic1403"),
            *_ANCHORS,
        ),
    }
)
"""Material -> the static input's columns in the notebooks' order; their number tells the material."""

_UNITS: Final = (("_bar", "bar"), ("_s", "s"))


@dataclass(frozen=True)
class ImportOutcome:
    """What became of one folder.

    Attributes:
        folder: its name.
        manifest: the version that was written, or was there already with the same files; None if refused.
        reason: why it was refused, or that nothing was new.
    """

    folder: str
    manifest: Manifest | None
    reason: str = ""


@dataclass(frozen=True)
class _Folder:
    """One folder's content after its checks; ``scalers`` by role, as bytes and as objects."""

    label: str
    material: str
    files: dict[str, bytes]
    scalers: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """One row a time: the sequence axis has one element."""
        width = len(STATIC_FEATURES[self.material])
        return (TensorSpec(name="static_input", shape=(None, width)), TensorSpec(name="time_input", shape=(None, 1, 1)))


def import_d3(store: ModelStore, path: Path) -> list[ImportOutcome]:
    """Publish every D3 model folder at or under ``path``, converting all networks in one child process.

    Raises:
        InvalidInput: there is no model folder.
        ModelUnavailable: TensorFlow, which converts, is not installed here.
    """
    folders = model_folders(path)
    if not folders:
        raise InvalidInput("No folder with a .keras file is there. Give a Model_... folder, or one that holds some.")
    read = [_read_or_refused(folder) for folder in folders]
    sound = [item for item in read if isinstance(item, _Folder)]
    conversions = iter(convert_all([KerasNetwork(item.files[NETWORK_FILE], item.inputs) for item in sound]))
    return [_published(store, item, next(conversions)) if isinstance(item, _Folder) else item for item in read]


def model_folders(path: Path) -> list[Path]:
    """Folders at or under ``path``, a few levels deep, that hold a `.keras` file; links are not followed."""
    return sorted(_walk(path.resolve(), MAX_DEPTH))


def _walk(folder: Path, depth: int) -> list[Path]:
    if not folder.is_dir():
        return []
    if any(folder.glob("*.keras")):
        return [folder]
    inner = [p for p in folder.iterdir() if p.is_dir() and not p.is_symlink()] if depth else []
    return [found for p in inner for found in _walk(p, depth - 1)]


def _read_or_refused(folder: Path) -> _Folder | ImportOutcome:
    try:
        return _read(folder)
    except AppError as error:
        return ImportOutcome(folder.name, None, error.message)


def _read(folder: Path) -> _Folder:
    files = {NETWORK_FILE: read_regular(_only(folder, "*.keras"), max_bytes=MAX_NETWORK_BYTES)}
    scalers: dict[str, Any] = {}
    notes: dict[str, None] = {}
    for role in ROLES:
        path = _only(folder, f"scaler_{role}_*.pkl")
        content = files[f"scaler_{role}.pkl"] = read_regular(path, max_bytes=MAX_SCALER_BYTES)
        try:
            found = load_estimator(content)
        except AppError as error:
            raise ModelRefused(f"{path.name}: {error.message}") from error
        scalers[role] = found.value
        notes |= dict.fromkeys(found.notes)
    material = _material(scalers["static"])
    for role, columns in (("static", len(STATIC_FEATURES[material])), ("time", 1), ("y", 1)):
        finite_scaler(scalers[role], n_features=columns)
    return _Folder(folder.name, material, files, scalers, tuple(notes))


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ModelRefused(f"One file {pattern} was expected, {len(found)} were found.")
    return found[0]


def _material(scaler: Any) -> str:
    columns = getattr(scaler, "n_features_in_", None)
    for material, names in STATIC_FEATURES.items():
        if columns == len(names):
            return material
    known = ", ".join(f"{len(names)} ({material})" for material, names in STATIC_FEATURES.items())
    raise ModelRefused(f"The static scaler takes {columns} columns; the D3 pipeline has {known}.")


def _published(store: ModelStore, folder: _Folder, conversion: Conversion | AppError) -> ImportOutcome:
    if isinstance(conversion, AppError):
        return ImportOutcome(folder.label, None, conversion.message)
    try:
        return _publish(store, folder, conversion)
    except ModelRefused as error:
        return ImportOutcome(folder.label, None, error.message)


def _publish(store: ModelStore, folder: _Folder, conversion: Conversion) -> ImportOutcome:
    if [spec.shape for spec in conversion.outputs] != [(None, 2)]:
        raise ModelRefused("The network's output is not one pair (mean, log variance).")
    draft = _draft(folder, conversion)
    files = {
        **folder.files,
        conversion.record.file: conversion.tflite,
        CARD_FILE: card(draft, folder.label).encode(),
    }
    if present := _already_there(store, draft.name, files):
        return ImportOutcome(folder.label, present, "already in the store")
    return ImportOutcome(folder.label, store.publish(draft, files, promote=("stable",)))


def _already_there(store: ModelStore, name: str, files: dict[str, bytes]) -> Manifest | None:
    """The latest version, if its network and scalers are the same; the compiled form may differ by converter."""
    if name not in store.names():
        return None
    try:
        stored = store.read(name, store.version_number(name, "latest"))
    except AppError:
        return None
    source = [file for file in files if file.endswith((".keras", ".pkl"))]
    same = all(
        file in stored.manifest.files and stored.manifest.files[file].sha256 == hashlib.sha256(files[file]).hexdigest()
        for file in source
    )
    return stored.manifest if same else None


def _draft(folder: _Folder, conversion: Conversion) -> ModelDraft:
    return ModelDraft(
        name=derived_name(folder.label, folder.material),
        family=FAMILY,
        description=f"Network of the D3 pipeline for {folder.material} samples, imported from {folder.label}.",
        network=NETWORK_FILE,
        scalers={role: f"scaler_{role}.pkl" for role in ROLES},
        inputs=conversion.inputs,
        outputs=conversion.outputs,
        features=features(STATIC_FEATURES[folder.material], folder.scalers["static"]),
        parameters={
            "material": folder.material,
            "output": "mean, log variance of the scaled polarization",
            "time_range_s": [float(x[0]) for x in (folder.scalers["time"].data_min_, folder.scalers["time"].data_max_)],
        },
        training=Training(libraries={"scikit-learn (reader)": sklearn.__version__, **conversion.libraries}),
        compiled=conversion.record,
        origin=f"imported from {folder.label}, as the D3 notebooks left it",
        notes=folder.notes,
    )


def derived_name(label: str, material: str) -> str:
    """``Model_Naif16532_6`` of a crystalline network becomes ``d3-crystalline-naif16532-6``.

    Raises:
        ModelRefused: nothing usable is left of the label.
    """
    rest = re.sub(r"[^a-z0-9]+", "-", label.lower().removeprefix("model_")).strip("-")
    name = f"d3-{material}-{rest}"
    if not rest or not re.fullmatch(NAME_PATTERN, name):
        raise ModelRefused("The folder's name does not give a model name: letters, digits, '_' and '-', at most 45.")
    return name


def features(names: Sequence[str], static: Any) -> tuple[Feature, ...]:
    """The static columns in order, with the ranges that the scaler saw."""
    return tuple(_feature(n, low, high) for n, low, high in zip(names, static.data_min_, static.data_max_, strict=True))


def _feature(name: str, low: float, high: float) -> Feature:
    unit = next((unit for ending, unit in _UNITS if name.endswith(ending)), "1")
    return Feature(name=name, unit=unit, min=float(low), max=float(high))
