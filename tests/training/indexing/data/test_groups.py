"""Groups by reflection conditions, and splits that keep near-duplicates together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from training.indexing.data.groups import LEAST_IN_GROUP, choose_sides, make_groups, members_of

ABC, CAB = (5.0, 7.0, 9.0, 90, 90, 90), (9.0, 7.0, 5.0, 90, 90, 90)


def _members(bravais: str, symbol: str, cell: tuple[float, ...], count: int) -> list:
    return members_of(bravais, [symbol] * count, np.array([cell] * count))


def test_different_conditions_are_different_groups_and_equal_ones_one() -> None:
    """P n m a and P n a 21 have the same absences with their axes exchanged; P 21 21 21 has others."""
    members = [
        *_members("oP", "P n m a", ABC, 300),
        *_members("oP", "P n 21 a", ABC, 200),
        *_members("oP", "P 21 21 21", ABC, 400),
    ]
    groups, number = make_groups(members)
    assert [group.level for group in groups] == [0, 0]
    assert number[members[0]] == number[members[300]] == 0
    assert groups[0].members == ("P n m a", "P n 21 a")
    assert groups[1].members == ("P 21 21 21",)


def test_the_order_of_axes_counts() -> None:
    """C m c m with c the longest axis, and with c the shortest one: an A-centred cell by length."""
    members = [*_members("oC", "C m c m", ABC, 200), *_members("oC", "C m c m", (7.0, 9.0, 5.0, 90, 90, 90), 200)]
    groups, number = make_groups(members)
    assert len(groups) == 2
    assert {group.members for group in groups} == {("C m c m",), ("A m m a",)}
    assert number[members[0]] != number[members[-1]]


def test_small_classes_are_merged_with_their_like() -> None:
    """P 2 2 21 and P 2 21 2 have one screw axis each: few of each make one group of their own together."""
    few = 2 * LEAST_IN_GROUP // 3
    members = [
        *_members("oP", "P 2 2 21", ABC, few),
        *_members("oP", "P 2 21 2", ABC, few),
        *_members("oP", "P 21 21 21", ABC, 500),
    ]
    groups, number = make_groups(members)
    assert len(groups) == 2
    assert number[members[0]] == number[members[few]]
    assert groups[number[members[0]]].level == 2


def test_every_pattern_has_a_group_and_none_is_tiny() -> None:
    rng = np.random.default_rng(1)
    symbols = ["P 1 21/c 1", "P 1 21/n 1", "P 1 21 1", "P 1 2/m 1", "P 1 c 1", "P 1 m 1", "P 1 21/m 1"]
    cells = np.column_stack((np.sort(rng.uniform(3, 20, (900, 3)), axis=1), np.full((900, 3), 90.0)))
    cells[:, [0, 1]] = cells[:, [1, 0]] * np.where(rng.random((900, 1)) < 0.5, 1.0, 1.0)
    members = members_of("mP", rng.choice(symbols, 900, p=[0.4, 0.3, 0.1, 0.05, 0.05, 0.05, 0.05]).tolist(), cells)
    groups, number = make_groups(members)
    counts = Counter(number[member] for member in members)
    assert sorted(counts) == list(range(len(groups)))
    assert min(counts.values()) >= LEAST_IN_GROUP


def test_a_lattice_with_few_patterns_is_one_group() -> None:
    groups, number = make_groups(_members("cF", "F m -3 m", (5.0, 5.0, 5.0, 90, 90, 90), 3))
    assert len(groups) == 1
    assert set(number.values()) == {0}


def test_a_fifth_of_each_group_is_held_back_and_clusters_stay_whole() -> None:
    rng = np.random.default_rng(2)
    group = rng.integers(0, 4, 4000)
    cluster = rng.integers(0, 2500, 4000)
    held = choose_sides(group, cluster, np.full(4000, -1), rng)
    for one in range(4):
        assert held[group == one].mean() == pytest.approx(0.2, abs=0.02)
    for one in np.unique(cluster):
        assert len(set(held[cluster == one].tolist())) == 1


def test_sides_that_stand_are_kept() -> None:
    rng = np.random.default_rng(3)
    cluster = np.repeat(np.arange(500), 2)
    fixed = np.full(1000, -1)
    fixed[:100:2], fixed[100:200:2] = 1, 0
    held = choose_sides(np.zeros(1000, int), cluster, fixed, rng)
    assert held[:100].all()
    assert not held[100:200].any()


def test_lone_patterns_of_many_groups_are_held_back_one_in_five() -> None:
    rng = np.random.default_rng(4)
    held = choose_sides(np.arange(3000), np.arange(3000), np.full(3000, -1), rng)
    assert held.mean() == pytest.approx(0.2, abs=0.03)
