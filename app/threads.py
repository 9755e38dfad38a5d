"""How many threads the numerical libraries take in one process."""

from __future__ import annotations

import os
from typing import Final

ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Variables that the libraries read when they are first imported.

Requests and jobs run side by side, each on a core. More threads within one, for matrices as small as ours, wait for one
another in busy loops: a request of 100 diffraction patterns took twice the CPU time.
"""


def take_one_thread() -> None:
    """Set the variables for this process and its children; what the environment says already goes before."""
    os.environ |= ONE_THREAD | os.environ
