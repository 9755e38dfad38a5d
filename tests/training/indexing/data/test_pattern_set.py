"""Sets of patterns keep their shapes and types on disk, and are read by lattice and by side."""

from pathlib import Path

import numpy as np
import pytest

from app.errors import InvalidInput
from app.indexing.problem import BRAVAIS
from training.indexing.data.pattern_set import NAMES, PatternSet, joined, pattern_set, read_patterns, write_patterns


def some_patterns(count: int, seed: int = 1) -> PatternSet:
    rng = np.random.default_rng(seed)
    return pattern_set(
        {
            "bravais": np.sort(rng.integers(0, len(BRAVAIS), count)),
            "group": rng.integers(0, 5, count),
            "cell": rng.uniform(2, 50, (count, 6)),
            "niggli": rng.uniform(2, 50, (count, 6)),
            "setting": ["P n m a"] * count,
            "real": rng.random(count) < 0.5,
            "identifier": np.arange(count),
            "validation": rng.random(count) < 0.2,
            "q2_all": rng.random((count, 60)),
            "hkl_all": rng.integers(-20, 20, (count, 60, 3)),
            "q2": rng.random((count, 60)),
            "hkl": rng.integers(-20, 20, (count, 60, 3)),
            "intensity": rng.random((count, 60)),
        }
    )


def test_what_is_written_is_read_and_the_same_patterns_make_the_same_bytes(tmp_path: Path) -> None:
    patterns = some_patterns(60)
    for folder in (tmp_path / "one", tmp_path / "other"):
        write_patterns(folder, patterns)
    read = read_patterns(tmp_path / "one")
    for name in NAMES:
        np.testing.assert_array_equal(getattr(read, name), getattr(patterns, name))
        assert getattr(read, name).dtype == getattr(patterns, name).dtype
    files = sorted((tmp_path / "one").iterdir())
    assert [file.read_bytes() for file in files] == [(tmp_path / "other" / file.name).read_bytes() for file in files]


def test_lattices_and_sides_are_read_alone(tmp_path: Path) -> None:
    patterns = some_patterns(80)
    write_patterns(tmp_path, patterns)
    tetragonal = read_patterns(tmp_path, bravais="tP", validation=False)
    expected = (patterns.bravais == BRAVAIS.index("tP")) & ~patterns.validation
    np.testing.assert_array_equal(tetragonal.identifier, patterns.identifier[expected])
    assert len(read_patterns(tmp_path, real=True)) + len(read_patterns(tmp_path, real=False)) == len(patterns)


def test_a_folder_without_patterns_is_told(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="make them with"):
        read_patterns(tmp_path)
    write_patterns(tmp_path, some_patterns(5).take(np.array([0])))
    with pytest.raises(InvalidInput, match="aP"):
        read_patterns(tmp_path, bravais="aP")


def test_joining_nothing_makes_an_empty_set() -> None:
    empty = joined([])
    assert len(empty) == 0
    assert empty.q2.shape == (0, 60)
    assert len(joined([empty, some_patterns(3)])) == 3
