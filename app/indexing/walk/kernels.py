"""The kernel that suits the machine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from app.errors import InvalidInput
from app.indexing.walk.mcmc import Kernel

DRIVER = Path("/proc/driver/nvidia")
"""Exists where an NVIDIA driver runs; looking there costs nothing, importing a framework to ask costs seconds."""
NO_GPU = "The device 'gpu' was asked for and this machine has none; ask for 'auto' or 'cpu'."
"""Said where the GPU is asked for and there is none."""


def gpu_ready() -> bool:
    """Tell whether there is a GPU and a framework to use it; imports neither."""
    return DRIVER.exists() and find_spec("keras") is not None


def _cpu(n_threads: int | None) -> Kernel:
    module = import_module("app.indexing.walk.kernel_numba")
    return module.NumbaKernel() if n_threads is None else module.NumbaKernel(n_threads)


_SHARED_MEMORY = MappingProxyType({"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"})
"""Take of the GPU's memory what is needed: there may be several workers."""


def choose_back_end() -> None:
    """Prepare the environment before Keras is imported; what is set there already stays.

    Keras runs on JAX where TensorFlow is not installed, and no back end takes all of the GPU's memory at once.
    """
    for name, value in _SHARED_MEMORY.items():
        os.environ.setdefault(name, value)
    if find_spec("tensorflow") is None and find_spec("jax") is not None:
        os.environ.setdefault("KERAS_BACKEND", "jax")


def _gpu(n_threads: int | None) -> Kernel:
    if not gpu_ready():
        raise InvalidInput(NO_GPU)
    choose_back_end()
    return import_module("app.indexing.walk.kernel_keras").KerasKernel()


def _auto(n_threads: int | None) -> Kernel:
    return _gpu(n_threads) if gpu_ready() else _cpu(n_threads)


_KERNELS: Mapping[str, Callable[[int | None], Kernel]] = MappingProxyType({"auto": _auto, "cpu": _cpu, "gpu": _gpu})


def kernel_for(device: str, n_threads: int | None = None) -> Kernel:
    """Give the kernel for ``auto``, ``cpu`` or ``gpu``; ``n_threads`` is the CPU's, all of them by default.

    Raises:
        InvalidInput: there is no such device.
    """
    if device not in _KERNELS:
        raise InvalidInput(f"There is no device {device!r}; there are {', '.join(_KERNELS)}.")
    return _KERNELS[device](n_threads)
