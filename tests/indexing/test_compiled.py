"""Where compiled code is kept, and for which processors it is made."""

from __future__ import annotations

import logging
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from app.indexing import compiled

REPOSITORY = Path(__file__).resolve().parents[2]
SOLVE = """
import numpy as np
from numba.core.registry import cpu_target
from app.indexing.compiled import CACHE
from app.indexing.search.linear import solve
x = np.zeros(2)
assert solve(np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([3.0, 4.0]), 2, x) and np.allclose(x, 1.0)
print(CACHE, sum(solve.stats.cache_hits.values()), cpu_target.target_context.codegen().magic_tuple()[1])
"""


def can_do_everything() -> dict[str, bool]:
    return {name: True for family in compiled.FAMILIES.values() for name in family}


def test_a_member_of_the_family_gets_its_code(caplog: pytest.LogCaptureFixture) -> None:
    assert compiled.settle_target("x86-64-v3", can_do_everything()) == ("x86-64-v3", "")
    assert not caplog.records


def test_another_processor_gets_its_own_and_is_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert compiled.settle_target("x86-64-v3", can_do_everything() | {"avx2": False}) == (None, None)
    assert "x86-64-v3" in caplog.text


def test_what_is_no_family_is_left_to_numba() -> None:
    assert compiled.settle_target(None, {}) == (None, None)
    assert compiled.settle_target("znver4", {})[0] == "znver4"


def test_code_for_a_family_and_for_one_processor_lie_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    of_this = compiled._digest()
    monkeypatch.setattr(compiled.config, "CPU_NAME", "x86-64-v3")
    monkeypatch.setattr(compiled.config, "CPU_FEATURES", "")
    assert compiled._digest() != of_this


def test_the_folder_that_the_environment_names_comes_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert compiled.cache_folder().parent == tmp_path


def test_changed_code_gets_another_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "one.py").write_text("from app.indexing.compiled import compiled\nCONSTANT = 1\n")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(compiled, "_SOURCE", source)
    before = compiled.cache_folder()
    assert compiled.cache_folder() == before
    (source / "one.py").write_text("from app.indexing.compiled import compiled\nCONSTANT = 2\n")
    assert compiled.cache_folder() != before


def test_compiled_code_goes_to_a_private_folder_where_no_other_is_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(compiled, "_places", lambda: iter([tmp_path / "none"]))
    monkeypatch.setattr(compiled, "_is_writable", lambda folder: False)
    with caplog.at_level(logging.WARNING):
        folder = compiled.cache_folder()
    assert folder.stat().st_mode & 0o077 == 0
    assert "NUMBA_CACHE_DIR" in caplog.text


def test_what_a_folder_keeps_that_cannot_be_written_to_is_shown_in_one_that_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    image, mine = tmp_path / "image", tmp_path / "mine"
    kept = image / f"compiled-{compiled._digest()}" / "walk_1"
    kept.mkdir(parents=True)
    (kept / "step.nbi").write_text("index")
    (kept / "step.1.nbc").write_text("code")
    monkeypatch.setattr(compiled, "_places", lambda: iter([image, mine]))
    writable = compiled._is_writable
    monkeypatch.setattr(compiled, "_is_writable", lambda folder: image not in folder.parents and writable(folder))

    with caplog.at_level(logging.WARNING):
        folder = compiled.cache_folder()
    assert folder.parent == mine
    assert (folder / "walk_1" / "step.1.nbc").read_text() == "code"
    assert not caplog.records

    # As Numba writes: a new file takes the place of the link, and the image keeps its own.
    (folder / "new").write_text("index of two")
    (folder / "new").replace(folder / "walk_1" / "step.nbi")
    (kept / "step.1.nbc").unlink()  # another image
    (kept / "step.2.nbc").write_text("other code")
    assert compiled.cache_folder() == folder
    assert (folder / "walk_1" / "step.nbi").read_text() == "index of two"
    assert (folder / "walk_1" / "step.2.nbc").read_text() == "other code"
    assert (kept / "step.nbi").read_text() == "index"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the family is one of x86-64")
def test_what_is_kept_elsewhere_is_not_compiled_again(tmp_path: Path) -> None:
    """With Numba itself: one process fills a folder, the next sees it from a folder of its own."""
    # A family that nothing else is compiled for, so that this repository keeps none of it.
    cache = tmp_path / "cache"

    def solved_in(folder: Path) -> tuple[Path, int, str]:
        variables = {"NUMBA_CACHE_DIR": str(folder), "XDG_CACHE_HOME": str(cache), "NUMBA_CPU_NAME": "x86-64-v2"}
        done = subprocess.run(
            [sys.executable, "-c", SOLVE], cwd=REPOSITORY, env=os.environ | variables, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        place, hits, processor = done.stdout.split()
        return Path(place).parent, int(hits), processor

    kept = cache / "beamline-model-server"
    assert solved_in(kept) == (kept, 0, "x86-64-v2")
    assert solved_in(tmp_path / "mine") == (tmp_path / "mine", 1, "x86-64-v2")
