"""Which kernel a device gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import InvalidInput
from app.indexing.walk import kernels
from app.indexing.walk.kernel_numba import NumbaKernel


def test_the_cpu_gets_numba_with_as_many_threads_as_asked() -> None:
    assert kernels.kernel_for("cpu", 3) == NumbaKernel(3)
    assert kernels.kernel_for("cpu") == NumbaKernel()


def test_without_a_gpu_auto_is_the_cpu_and_gpu_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(kernels, "DRIVER", tmp_path / "none")
    assert isinstance(kernels.kernel_for("auto"), NumbaKernel)
    with pytest.raises(InvalidInput, match="'auto' or 'cpu'"):
        kernels.kernel_for("gpu")


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InvalidInput, match="auto, cpu, gpu"):
        kernels.kernel_for("tpu")


@pytest.mark.parametrize(
    ("installed", "chosen", "back_end"),
    [({"jax"}, {}, "jax"), ({"jax", "tensorflow"}, {}, None), ({"jax"}, {"KERAS_BACKEND": "torch"}, "torch")],
)
def test_keras_runs_on_what_is_installed(
    installed: set[str], chosen: dict[str, str], back_end: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "find_spec", lambda name: name if name in installed else None)
    monkeypatch.setattr(kernels.os, "environ", chosen)
    kernels.choose_back_end()
    assert chosen.get("KERAS_BACKEND") == back_end
    assert chosen["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"


def test_choosing_imports_no_framework() -> None:
    load = "import sys, app.indexing.walk.kernels as k; k.gpu_ready()"
    code = f"{load}; sys.exit(bool({{'keras', 'numba'}} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[3])
