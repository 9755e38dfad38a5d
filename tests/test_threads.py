"""What NumPy is left with in a process of `python -m app`."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.served import REPOSITORY

COUNT = """
import runpy, sys
sys.argv = ["app", "version"]
try:
    runpy.run_module("app", run_name="__main__")
except SystemExit:
    pass
import numpy, threadpoolctl
print(max(library["num_threads"] for library in threadpoolctl.threadpool_info()))
"""


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core: one thread in any case")
@pytest.mark.parametrize(("given", "expected"), [({}, "1"), ({"OPENBLAS_NUM_THREADS": "2"}, "2")])
def test_one_blas_thread_unless_told_otherwise(given: dict[str, str], expected: str) -> None:
    inherited = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    said = subprocess.run(
        [sys.executable, "-c", COUNT], cwd=REPOSITORY, env=inherited | given, capture_output=True, text=True, check=True
    )
    assert said.stdout.split()[-1] == expected
