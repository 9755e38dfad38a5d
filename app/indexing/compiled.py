"""The one decorator for functions that Numba compiles: kept on disk, without the interpreter's lock.

Numba keeps compiled code in NUMBA_CACHE_DIR, else beside the source, else in the user's cache folder, and refuses to
import a function where it may write to none of them, as in a container with a read-only file system and no home. There
the code goes to a private temporary folder: each start compiles anew, and says so.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numba
from numba import config

_LOG = logging.getLogger(__name__)
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}


def _probe() -> None:
    """Stand in for any function: all are kept in the same place."""


def _has_cache() -> bool:
    try:
        numba.njit(**_OPTIONS)(_probe)
    except (RuntimeError, OSError):
        return False
    return True


def ensure_cache_folder() -> Path | None:
    """Give Numba a temporary folder if it has nowhere else to write; the folder, or None where it needs none."""
    if _has_cache():
        return None
    folder = Path(tempfile.mkdtemp(prefix="numba-"))
    config.CACHE_DIR = str(folder)  # pyright: ignore[reportAttributeAccessIssue]
    _LOG.warning("compiled code cannot be kept: set NUMBA_CACHE_DIR to a writable folder for a fast first solve")
    return folder


ensure_cache_folder()
compiled = numba.njit(**_OPTIONS)
"""Decorate a function of arrays and numbers; constants of other modules are frozen into the code that is kept."""
reassociated = numba.njit(**_OPTIONS, fastmath={"reassoc", "nsz"})
"""The same where a sum may be taken in any order, which lets it use the vector unit."""
