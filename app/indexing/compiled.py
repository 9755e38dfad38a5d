"""The one decorator for functions that Numba compiles: kept on disk, without the interpreter's lock.

Numba recompiles a function when its own file changes, and not when a function or constant that it takes from another
file does. So the kept code lies in a folder named after the digest of all these files: after an upgrade nothing stale
is run. The folder is in NUMBA_CACHE_DIR, else beside the source, else in the user's cache, else (a read-only container
without a home) a private temporary one, where each start compiles anew, and says so.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
from numba import config

_LOG = logging.getLogger(__name__)
_SOURCE = Path(__file__).parent
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def _digest() -> str:
    """Of every file here that holds compiled code or is this one."""
    digest = hashlib.sha256(numba.__version__.encode())
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


def cache_folder() -> Path:
    """Find a folder for this version's compiled code."""
    name = f"compiled-{_digest()}"
    for place in _places():
        if _is_writable(place / name):
            return place / name
    _LOG.warning("compiled code cannot be kept: set NUMBA_CACHE_DIR to a writable folder for a fast first solve")
    return Path(tempfile.mkdtemp(prefix="numba-"))


CACHE = cache_folder()
"""Where the compiled code of this version is kept."""
config.CACHE_DIR = str(CACHE)  # pyright: ignore[reportAttributeAccessIssue]
compiled = numba.njit(**_OPTIONS)
"""Decorate a function of arrays and numbers."""
reassociated = numba.njit(**_OPTIONS, fastmath={"reassoc", "nsz"})
"""The same where a sum may be taken in any order, which lets it use the vector unit."""
