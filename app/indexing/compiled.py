"""The one decorator for functions that Numba compiles: kept on disk, without the interpreter's lock.

Numba recompiles a function when its own file changes, and not when a function or constant that it takes from another
file does. So the kept code lies in a folder named after the digest of all these files, and of what it was compiled for:
after an upgrade nothing stale is run. The folder is in NUMBA_CACHE_DIR, else beside the source, else in the user's
cache, else a private temporary one, where each start compiles anew, and says so. What is kept in a place that cannot be
written to, such as a container image, is read through links.

NUMBA_CPU_NAME=x86-64-v3 compiles for a family of processors instead of this one, so that an image that was built on one
machine runs compiled code on all others of the family.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import llvmlite.binding as llvm
import numba
from numba import config

_LOG = logging.getLogger(__name__)
_SOURCE = Path(__file__).parent
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}

_LEVEL_2: Final = frozenset({"cx16", "popcnt", "sahf", "sse3", "ssse3", "sse4.1", "sse4.2"})
_LEVEL_3: Final = _LEVEL_2 | {"avx", "avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe"}
FAMILIES: Final[Mapping[str, frozenset[str]]] = MappingProxyType({"x86-64-v2": _LEVEL_2, "x86-64-v3": _LEVEL_3})
"""Name of a family of processors -> what its members can do, in LLVM's words; the levels of the x86-64 psABI."""


def _features() -> dict[str, bool]:
    """What this processor can do."""
    try:
        return dict(llvm.get_host_cpu_features())
    except RuntimeError:  # LLVM cannot tell
        return {}


def settle_target(wanted: str | None, features: Mapping[str, bool]) -> tuple[str | None, str | None]:
    """Choose what to compile for.

    Args:
        wanted: NUMBA_CPU_NAME.
        features: what this processor can do.

    Returns:
        Name and features for Numba; None for those of this processor.
    """
    family = FAMILIES.get(wanted or "")
    if family is None:
        return wanted, config.CPU_FEATURES  # pyright: ignore[reportAttributeAccessIssue]
    if all(features.get(name) for name in family):
        return wanted, ""
    _LOG.warning("this processor is not of the family %s: the solver is compiled for it alone", wanted)
    return None, None


def _target() -> str:
    """What code is compiled for, as far as it decides where the code can run."""
    settled: list[str] = [platform.machine(), sys.implementation.cache_tag or "", numba.__version__]
    settled.append(config.CPU_NAME or llvm.get_host_cpu_name())  # pyright: ignore[reportAttributeAccessIssue]
    chosen = config.CPU_FEATURES  # pyright: ignore[reportAttributeAccessIssue]
    settled.append(",".join(sorted(k for k, there in _features().items() if there)) if chosen is None else chosen)
    return " ".join(settled)


def _digest() -> str:
    """Of the target, and of every file here that holds compiled code or is this one."""
    digest = hashlib.sha256(_target().encode())
    for path in sorted(_SOURCE.rglob("*.py")):
        content = path.read_bytes()
        if b"app.indexing.compiled import compiled" in content or path == Path(__file__):
            digest.update(content)
    return digest.hexdigest()[:16]


def _places() -> Iterator[Path]:
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(chosen)
    yield _SOURCE / "__pycache__"
    yield Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "beamline-model-server"


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _link(kept: Path, folder: Path) -> None:
    """Show in a folder what another keeps; what is compiled in addition takes the place of a link."""
    for source in kept.rglob("*"):
        shown = folder / source.relative_to(kept)
        if source.is_dir():
            shown.mkdir(parents=True, exist_ok=True)
        elif not shown.exists():
            with suppress(FileNotFoundError):
                shown.unlink()  # a link to what is no longer there
            with suppress(FileExistsError):  # another process was faster
                shown.parent.mkdir(parents=True, exist_ok=True)
                shown.symlink_to(source)


def cache_folder() -> Path:
    """Find a folder for this version's compiled code; what other places have of it is shown there."""
    name = f"compiled-{_digest()}"
    folders = [place / name for place in _places()]
    chosen = next(filter(_is_writable, folders), None) or Path(tempfile.mkdtemp(prefix="numba-"))
    kept = [folder for folder in folders if folder != chosen and folder.is_dir()]
    if not kept and chosen not in folders:
        _LOG.warning("compiled code cannot be kept: set NUMBA_CACHE_DIR to a writable folder for a fast first solve")
    for folder in kept:
        _link(folder, chosen)
    return chosen


config.CPU_NAME, config.CPU_FEATURES = settle_target(config.CPU_NAME, _features())  # pyright: ignore[reportAttributeAccessIssue]
CACHE = cache_folder()
"""Where the compiled code of this version is kept."""
config.CACHE_DIR = str(CACHE)  # pyright: ignore[reportAttributeAccessIssue]
compiled = numba.njit(**_OPTIONS)
"""Decorate a function of arrays and numbers."""
reassociated = numba.njit(**_OPTIONS, fastmath={"reassoc", "nsz"})
"""The same where a sum may be taken in any order, which lets it use the vector unit."""
