"""`.keras` to LiteRT in a child process, accepted only where it answers as Keras does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.errors import AppError, ModelRefused, ModelUnavailable
from app.model_registry.keras_archive import check_keras_archive
from app.model_registry.manifest import Compiled, TensorSpec
from app.model_registry.runtime import LiteRTModel

MAX_PARITY: Final = 1e-5
"""Largest difference from Keras, relative to the largest answer where that is above 1."""
TIMEOUT_S: Final = 600.0
COMPILED_FILE: Final = "model.tflite"
_KEPT_ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "OMP_NUM_THREADS", "SYSTEMROOT")


@dataclass(frozen=True)
class KerasNetwork:
    """A network to convert.

    Attributes:
        content: the `.keras` file.
        inputs: shapes to convert for, None for the batch axis; the network's own when left out.
    """

    content: bytes
    inputs: tuple[TensorSpec, ...] | None = None


@dataclass(frozen=True)
class Conversion:
    """A network's LiteRT form.

    Attributes:
        tflite: the flat buffer.
        libraries: versions of TensorFlow and Keras in the child process.
        record: what the manifest says of it.
    """

    tflite: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    libraries: dict[str, str]
    record: Compiled


def convert(network: KerasNetwork) -> Conversion:
    """Convert one network.

    Raises:
        ModelRefused: it holds code of its own, cannot be converted, or the LiteRT form answers differently.
        ModelUnavailable: TensorFlow is not installed here, or the conversion took too long.
    """
    outcome = convert_all([network])[0]
    if isinstance(outcome, AppError):
        raise outcome
    return outcome


def convert_all(networks: Sequence[KerasNetwork]) -> list[Conversion | AppError]:
    """Convert several networks in one child process; each one's outcome or its error, in order.

    Raises:
        ModelUnavailable: the child process failed as a whole or took too long.
    """
    outcomes: list[Conversion | AppError | None] = [_inspected(network) for network in networks]
    sound = [number for number, outcome in enumerate(outcomes) if outcome is None]
    with tempfile.TemporaryDirectory(prefix="convert-") as name:
        folder = Path(name)
        _write_jobs(folder, [networks[number] for number in sound])
        if sound:
            _run_child(folder, len(sound))
        for job, number in enumerate(sound):
            outcomes[number] = _outcome(folder, job, networks[number])
    return [outcome for outcome in outcomes if outcome is not None]


def _inspected(network: KerasNetwork) -> ModelRefused | None:
    try:
        check_keras_archive(network.content)
    except ModelRefused as error:
        return error
    return None


def _write_jobs(folder: Path, networks: Sequence[KerasNetwork]) -> None:
    for job, network in enumerate(networks):
        (folder / f"{job}.keras").write_bytes(network.content)
    declared = [n.inputs and [spec.model_dump() for spec in n.inputs] for n in networks]
    (folder / "jobs.json").write_text(json.dumps(declared))


def _run_child(folder: Path, jobs: int) -> None:
    environment = {key: os.environ[key] for key in _KEPT_ENVIRONMENT if key in os.environ}
    environment |= {
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
    }
    command = [sys.executable, "-m", "app.model_registry.convert_worker", str(folder)]
    try:
        subprocess.run(  # noqa: S603  our own module; the folder's name is ours too
            command, env=environment, capture_output=True, check=True, timeout=TIMEOUT_S + 10 * jobs
        )
    except subprocess.TimeoutExpired as error:
        raise ModelUnavailable("The conversion took too long and was stopped.") from error
    except subprocess.CalledProcessError as error:
        raise ModelUnavailable(f"The conversion process failed with exit status {error.returncode}.") from error


def _outcome(folder: Path, job: int, network: KerasNetwork) -> Conversion | AppError:
    report = json.loads((folder / f"{job}.json").read_text())
    if "error" in report:
        kind = ModelUnavailable if report["kind"] == ModelUnavailable.kind else ModelRefused
        return kind(report["error"])
    try:
        return _conversion(folder, job, network, report)
    except AppError as error:
        return error


def _conversion(folder: Path, job: int, network: KerasNetwork, report: dict[str, Any]) -> Conversion:
    tflite = (folder / f"{job}.tflite").read_bytes()
    inputs = tuple(TensorSpec.model_validate(spec) for spec in report["inputs"])
    outputs = tuple(TensorSpec.model_validate(spec) for spec in report["outputs"])
    with np.load(folder / f"{job}.npz", allow_pickle=False) as golden:
        asked = {spec.name: golden[f"in:{spec.name}"] for spec in inputs}
        expected = {spec.name: golden[f"out:{spec.name}"] for spec in outputs}
    parity, scale = _parity(LiteRTModel(tflite, inputs, outputs)(asked), expected)
    if not parity <= MAX_PARITY * scale:
        raise ModelRefused(f"The compiled form differs from Keras by {parity:.2g}; at most {MAX_PARITY:g} is accepted.")
    record = Compiled(
        file=COMPILED_FILE,
        converter_version=report["libraries"]["tensorflow"],
        source_sha256=hashlib.sha256(network.content).hexdigest(),
        parity_max_abs=parity,
        golden_rows=len(next(iter(asked.values()))),
    )
    return Conversion(tflite, inputs, outputs, report["libraries"], record)


def _parity(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> tuple[float, float]:
    """Largest absolute difference, and the scale that it is held against."""
    difference = max(float(np.max(np.abs(found[name] - expected[name]))) for name in expected)
    scale = max(1.0, *(float(np.max(np.abs(answer))) for answer in expected.values()))
    return difference, scale
