"""Tensors of a request held against what a model declares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Final

import numpy as np
from jaxtyping import Num

from app.api.problems import at
from app.errors import AppError, InvalidInput, ModelOutputInvalid, TooLarge
from app.model_registry.manifest import TensorSpec
from app.model_registry.tensors import Tensors

DATATYPE_OF: Final[Mapping[str, str]] = MappingProxyType(
    {"float32": "FP32", "float64": "FP64", "int32": "INT32", "int64": "INT64"}
)
"""The protocol's name of a manifest's."""
MAX_SHOWN: Final = 40
SMALL: Final = 4096
"""Up to so many numbers a mask is quicker than to silence NumPy's warnings."""
BLOCK: Final = 128
"""Rows that run at a time: what lies between a network's layers takes memory for each row."""

Arrays = Mapping[str, Num[np.ndarray, "row ..."]]


def datatype(spec: TensorSpec) -> str:
    """Of the protocol: ``FP32``."""
    return DATATYPE_OF[spec.dtype]


def dimensions(spec: TensorSpec) -> list[int]:
    """The shape with -1 for what is free."""
    return [-1 if size is None else size for size in spec.shape]


# --- inputs -----------------------------------------------------------------------------------------------------------


def checked_inputs(given: Arrays, tensors: Tensors, max_rows: int) -> tuple[dict[str, np.ndarray], int]:
    """The inputs in the types that a model takes, and how many rows they have.

    Whole numbers are taken for floating point, and floating point of another width; a whole-number input takes whole
    numbers alone, as far as they fit. An array that has the type already is not copied.

    Raises:
        InvalidInput: an input is missing, unknown, of a wrong type or shape, or holds numbers that do not fit.
        TooLarge: more than ``max_rows`` rows.
    """
    if not tensors.inputs:
        raise at(InvalidInput("the version has no tensors of its own: ask the endpoint of its job"), ("body", "inputs"))
    if given.keys() != {spec.name for spec in tensors.inputs}:
        raise _wrong_names(given, tensors.inputs)
    arrays = {
        spec.name: _checked(given[spec.name], spec, given, missing=tensors.takes_missing) for spec in tensors.inputs
    }
    rows = {name: len(array) for name, array in arrays.items()}
    first, most = next(iter(rows)), max(rows.values())
    for name, count in rows.items():
        if count != rows[first]:
            raise _at(given, name, InvalidInput(f"{count} rows were found where {first!r} has {rows[first]}"), "shape")
    if most > max_rows:
        error = TooLarge(f"{most} rows were found, at most {max_rows} are answered: split the request")
        raise _at(given, first, error, "shape")
    return arrays, most


def _wrong_names(given: Arrays, specs: Sequence[TensorSpec]) -> AppError:
    expected = "; ".join(_described(spec) for spec in specs)
    known = {spec.name for spec in specs}
    for index, name in enumerate(given):
        if name not in known:
            error = InvalidInput(f"there is no input {name[:MAX_SHOWN]!r}; the model takes {expected}")
            return at(error, ("body", "inputs", index, "name"))
    missing = next(spec.name for spec in specs if spec.name not in given)
    return at(InvalidInput(f"the input {missing!r} is missing; the model takes {expected}"), ("body", "inputs"))


def _described(spec: TensorSpec) -> str:
    return f"{spec.name} {datatype(spec)} {dimensions(spec)}"


def _checked(array: Num[np.ndarray, "..."], spec: TensorSpec, given: Arrays, *, missing: bool) -> np.ndarray:
    shape = array.shape
    if len(shape) != len(spec.shape) or any(n is not None and n != m for n, m in zip(spec.shape, shape, strict=True)):
        raise _at(given, spec.name, InvalidInput(f"the shape is {list(shape)}, expected {dimensions(spec)}"), "shape")
    expected = _dtype(spec.dtype)
    if array.dtype != expected:
        array = _converted(array, expected, spec, given)
    if expected.kind == "f":
        _check_finite(array, spec, given, missing=missing)
    return array


@lru_cache(maxsize=8)
def _dtype(name: str) -> np.dtype[np.generic]:
    return np.dtype(name)


def _converted(array: np.ndarray, expected: np.dtype[np.generic], spec: TensorSpec, given: Arrays) -> np.ndarray:
    if array.dtype.kind not in ("fiu" if expected.kind == "f" else "iu"):
        found = f"{'BOOL' if array.dtype.kind == 'b' else 'FP' + str(array.dtype.itemsize * 8)}"
        error = InvalidInput(f"the datatype is {found}, expected {datatype(spec)}")
        raise _at(given, spec.name, error, "datatype")
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        converted = array.astype(expected)
    if expected.kind == "i":
        _check_range(array, expected, spec, given)
    return converted


def _check_range(array: np.ndarray, expected: np.dtype[np.generic], spec: TensorSpec, given: Arrays) -> None:
    limits = np.iinfo(expected.name)
    low, high = int(array.min()), int(array.max())
    if low < limits.min or high > limits.max:
        found = low if low < limits.min else high
        error = InvalidInput(f"{found} was found; an {datatype(spec)} is from {limits.min} to {limits.max}")
        raise _at(given, spec.name, error, "data")


def _check_finite(array: np.ndarray, spec: TensorSpec, given: Arrays, *, missing: bool) -> None:
    if (index := _first_bad(array, missing=missing)) is None:
        return
    error = InvalidInput(
        f"the number at {index} is {array[tuple(index)]} as {datatype(spec)}; finite numbers are expected"
        + (", or nan where a feature is missing" if missing else "")
    )
    raise _at(given, spec.name, error, "data")


def _first_bad(array: np.ndarray, *, missing: bool = False) -> list[int] | None:
    """Indices of the first number that is not finite."""
    if _all_finite(array):
        return None
    bad = np.isinf(array) if missing else ~np.isfinite(array)
    return [int(i) for i in np.unravel_index(int(bad.argmax()), array.shape)] if bad.any() else None


def _all_finite(array: np.ndarray) -> bool:
    """False also where only the sum overflows."""
    if array.size <= SMALL:
        return bool(np.isfinite(array).all())
    # A sum is finite only where each number is, and takes no memory.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.add.reduce(array, axis=None)))


def _at(given: Arrays, name: str, error: AppError, key: str) -> AppError:
    """The error with the name of the input and its place in the request."""
    named = type(error)(f"input {name!r}: {error.message}")
    return at(named, ("body", "inputs", list(given).index(name), key))


# --- running ----------------------------------------------------------------------------------------------------------


def computed(tensors: Tensors, inputs: Mapping[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """What a model answers, by the declared names and in their order; large batches a block at a time.

    Raises:
        ModelOutputInvalid: an output is missing, has another shape than declared, or holds NaN or an infinity.
    """
    if rows <= BLOCK:
        return _checked_outputs(tensors.run(inputs), tensors.outputs, rows)
    parts = [_block(tensors, inputs, start, min(BLOCK, rows - start)) for start in range(0, rows, BLOCK)]
    return {spec.name: np.concatenate([part[spec.name] for part in parts]) for spec in tensors.outputs}


def _block(tensors: Tensors, inputs: Mapping[str, np.ndarray], start: int, rows: int) -> dict[str, np.ndarray]:
    part = {name: array[start : start + rows] for name, array in inputs.items()}
    return _checked_outputs(tensors.run(part), tensors.outputs, rows, start)


def _checked_outputs(found: Arrays, specs: Sequence[TensorSpec], rows: int, start: int = 0) -> dict[str, np.ndarray]:
    """The outputs of a block of rows, the first of which is row ``start`` of the request."""
    outputs: dict[str, np.ndarray] = {}
    for spec in specs:
        array = outputs[spec.name] = _output(found, spec.name)
        if len(array.shape) != len(spec.shape) or array.shape[0] != rows:
            shape = [rows, *dimensions(spec)[1:]]
            raise ModelOutputInvalid(f"The output {spec.name!r} has the shape {list(array.shape)}, expected {shape}.")
        if (index := _first_bad(array)) is not None:
            place = [start + index[0], *index[1:]]
            raise ModelOutputInvalid(f"The number at {place} of the output {spec.name!r} is {array[tuple(index)]}.")
    return outputs


def _output(found: Arrays, name: str) -> np.ndarray:
    try:
        return found[name]
    except KeyError:
        raise ModelOutputInvalid(f"The model gave no output {name!r}.") from None
