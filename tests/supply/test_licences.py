"""What a serving machine installs may be used and passed on without asking anybody."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

LOCK = Path(__file__).resolve().parents[2] / "uv.lock"
SPDX = {
    "0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "LGPL-3.0-only", "LLVM-exception", "MIT",
    "MIT-0", "MIT-CMU", "MPL-2.0", "PSF-2.0", "Unlicense", "Zlib",
}  # fmt: skip
OLD_NAMES = {
    "3-Clause BSD License", "Apache 2.0", "Apache Software License", "BSD", "BSD 3-Clause", "BSD License",
    "ISC License (ISCL)", "MIT License", "Mozilla Public License 2.0 (MPL 2.0)", "Python Software Foundation License",
}  # fmt: skip
"""What packages without an SPDX expression write."""
PERMISSION = "Permission is hereby granted, free of charge, to any person obtaining a copy"
BY_FILE = {"hdf5plugin": PERMISSION, "pysimdjson": PERMISSION}
"""Packages whose metadata name no licence: the text that stands in their licence file."""
OTHER_PLATFORMS = {"colorama"}


def locked() -> dict[str, list[dict[str, Any]]]:
    """The packages of the lock by name; there may be several versions, for several Pythons."""
    found: dict[str, list[dict[str, Any]]] = {}
    for package in tomllib.loads(LOCK.read_text())["package"]:
        found.setdefault(package["name"], []).append(package)
    return found


def installed_by(group: str) -> list[str]:
    """The names of all that a group of the lock brings along."""
    packages = locked()
    (root,) = packages["beamline-model-server"]
    waiting = [(one["name"], one.get("extra", [])) for one in root["dev-dependencies"][group]]
    seen: set[str] = set()
    while waiting:
        name, extras = waiting.pop()
        for package in packages[name]:
            brought = [*package.get("dependencies", [])] if name not in seen else []
            brought += [one for extra in extras for one in package.get("optional-dependencies", {}).get(extra, [])]
            waiting += [(one["name"], one.get("extra", [])) for one in brought]
        seen.add(name)
    return sorted(seen)


def licences(name: str) -> set[str]:
    """Every licence that a package names: those of its SPDX expression, else of its classifiers, else its own words."""
    metadata = distribution(name).metadata
    if expression := metadata.get("License-Expression"):
        return set(re.findall(r"[\w.+-]+", expression)) - {"AND", "OR", "WITH"}
    classified = [one.split(" :: ")[-1] for one in metadata.get_all("Classifier") or () if one.startswith("License")]
    if classified:
        return set(classified)
    return set(re.split(r" (?:AND|OR) ", (metadata.get("License") or "none").splitlines()[0]))


def licence_text(name: str) -> str:
    files = distribution(name).files or ()
    return "".join(" ".join(file.read_text().split()) for file in files if "LICENSE" in file.name)


@pytest.mark.parametrize("name", sorted({*installed_by("service"), *installed_by("cluster")}))
def test_a_package_may_be_used_and_passed_on(name: str) -> None:
    try:
        distribution(name)
    except PackageNotFoundError:
        assert name in OTHER_PLATFORMS, "make setup has not installed it"
        pytest.skip("not for this platform")
    if name in BY_FILE:
        assert BY_FILE[name] in licence_text(name)
    else:
        assert licences(name) <= SPDX | OLD_NAMES


def test_the_lock_is_followed_through() -> None:
    service = installed_by("service")
    assert {"fastapi", "starlette", "numpy", "llvmlite", "psycopg-binary"} <= set(service), "direct, indirect, extra"
    assert not {"tensorflow", "pytest", "dask"} & set(service)
