"""Which kernel a device gets, and where compiled code is kept."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from numba import config

from app.errors import InvalidInput
from app.indexing import compiled, kernels
from app.indexing.kernel_numba import NumbaKernel


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


def test_choosing_imports_no_framework() -> None:
    code = "import sys, app.indexing.kernels as k; k.gpu_ready(); sys.exit(bool({'keras', 'numba'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_compiled_code_goes_to_a_private_folder_where_no_other_is_writable(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("numba.config.CACHE_DIR", "")
    monkeypatch.setattr(compiled, "_has_cache", lambda: False)
    with caplog.at_level(logging.WARNING):
        folder = compiled.ensure_cache_folder()
    assert folder is not None
    assert folder.stat().st_mode & 0o077 == 0
    assert str(folder) == vars(config)["CACHE_DIR"]
    assert "NUMBA_CACHE_DIR" in caplog.text
    assert str(folder) not in caplog.text
    folder.rmdir()


def test_where_the_code_can_be_kept_nothing_changes() -> None:
    assert compiled.ensure_cache_folder() is None
