"""What is asked in the soak, and what of an answer must always be the same."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.api.indexing_examples import EXAMPLES
from benchmarks.serving_arrays import npy, pattern, waveforms
from benchmarks.serving_polarization import PAYLOAD

JSON: Final = {"Content-Type": "application/json"}
NPY: Final = {"Content-Type": "application/x-npy"}
BUDGET_S: Final = 120.0
"""Longest time of one search: none of the patterns needs it, so that no answer depends on how busy the machine is."""
DIAMOND: Final = (3, 8, 11, 16, 19, 24, 27, 32, 35, 40)
VOLATILE: Final = frozenset({"seconds", "version", "model_version", "request_id", "id"})
"""Members of an answer that differ from one time to the next: durations, and which of the equal versions answered."""
ROUNDING: Final = 1e-5
"""By so much may a number differ, relative or absolute."""
SWAPPED: Final = ("polarization-crystalline", "waveform-s2", "aggregates-count")
"""Models of which new versions are published."""


@dataclass(frozen=True)
class Question:
    """A request that has one right answer.

    Attributes:
        is_job: whether it is answered by a job.
    """

    name: str
    path: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: JSON)
    is_job: bool = False


def difference(found: Any, right: Any, place: str = "answer") -> str:
    """The first place where an answer is another one, and how; empty where there is none.

    Numbers may differ by rounding: a network gives other last digits in a batch of another size.
    """
    if isinstance(found, dict) and isinstance(right, dict):
        if found.keys() != right.keys():
            return f"{place} has {sorted(found)}, not {sorted(right)}"
        pairs = [(f"{place}.{key}", found[key], right[key]) for key in found if key not in VOLATILE]
    elif isinstance(found, list) and isinstance(right, list):
        if len(found) != len(right):
            return f"{place} has {len(found)} items, not {len(right)}"
        pairs = [(f"{place}[{n}]", *both) for n, both in enumerate(zip(found, right, strict=True))]
    elif _is_number(found) and _is_number(right):
        return (
            "" if math.isclose(found, right, rel_tol=ROUNDING, abs_tol=ROUNDING) else f"{place}: {found}, not {right}"
        )
    else:
        return "" if found == right else f"{place}: {found!r}, not {right!r}"
    return next(filter(None, (difference(a, b, where) for where, a, b in pairs)), "")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def predictions(repository: Path) -> list[Question]:
    """One question for each of the endpoints that answer at once, and for an open-inference model."""
    decay = (repository / "docs" / "examples" / "decay.fli").read_bytes()
    rows = np.random.default_rng(3).normal(size=(4, 10)).round(3)
    tensor = {"name": "features", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    octets = {"Content-Type": "application/octet-stream"}
    return [
        Question("polarization", "/polarization/predict", json.dumps(PAYLOAD).encode()),
        Question("polarization, file", "/polarization/predict/file?filename=decay.fli", decay, octets),
        Question("waveform", "/waveform", npy(waveforms(2)), NPY),
        Question("aggregates", "/aggregates?radius_px=5", npy(pattern()), NPY),
        Question(
            "open inference",
            "/v2/models/polarization-crystalline/infer",
            json.dumps({"inputs": [tensor]}).encode(),
        ),
    ]


def jobs() -> list[Question]:
    """Patterns to index: alone, several in a batch, and as files."""
    single = [_solve(name, _example(name)) for name in ("2theta", "d", "imperfect")]
    single += [_solve(f"cube of {edge_ang} angstrom", _cube(edge_ang)) for edge_ang in (5.0, 5.2, 5.43, 5.7, 6.1)]
    batches = [
        _batch("batch of cubes", [_cube(5.0 + 0.1 * number) for number in range(6)]),
        _batch("batch of examples", [_lines(_example("2theta")), _lines(_example("d"))]),
    ]
    return single + batches + [_files()]


def _example(name: str) -> dict[str, Any]:
    return {**EXAMPLES[name]["value"], "max_seconds": BUDGET_S}


def _lines(question: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in question.items() if name != "max_seconds"}


def _cube(edge_ang: float) -> dict[str, Any]:
    """Lines of a crystal of diamond's structure."""
    return {"d_ang": [round(edge_ang / n**0.5, 5) for n in DIAMOND]}


def _solve(name: str, asked: Mapping[str, Any]) -> Question:
    return Question(name, "/indexing/solve", json.dumps({"max_seconds": BUDGET_S} | dict(asked)).encode(), is_job=True)


def _batch(name: str, patterns: list[dict[str, Any]]) -> Question:
    body = json.dumps({"patterns": patterns, "max_seconds": BUDGET_S}).encode()
    return Question(name, "/indexing/solve/batch", body, is_job=True)


def _files() -> Question:
    """Two lists of lines as a form."""
    boundary = "soak"
    two_theta = EXAMPLES["2theta"]["value"]["two_theta_deg"]
    content = "\n".join(f"{angle:.4f} {100 - number}" for number, angle in enumerate(two_theta))
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n{content}\r\n'
        for name in ("first.txt", "second.txt")
    ]
    body = ("".join(parts) + f"--{boundary}--\r\n").encode()
    path = f"/indexing/solve/files?wavelength_ang=1.540593&max_seconds={BUDGET_S}"
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return Question("files", path, body, headers, is_job=True)
