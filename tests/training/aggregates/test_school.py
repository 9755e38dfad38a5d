"""What the count network learns from: the truth, and declarations that are wrong in one known way."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.aggregates.setting import VERDICTS, Verdict
from training.aggregates import school
from training.aggregates.school import BLOCK, SchoolArgs, foreign_objects, lesson, misdeclared

SPARSE = SchoolArgs(misdeclared=0.0)


def lesson_of(verdict: Verdict, monkeypatch: pytest.MonkeyPatch) -> school.Lesson:
    monkeypatch.setattr(school, "draw_verdict", lambda args, rng: verdict)
    return lesson(SchoolArgs(), 3, 0)


def test_a_block_is_the_same_again_and_differs_from_its_neighbour() -> None:
    first, again, next_one = lesson(SPARSE, 7, 0), lesson(SPARSE, 7, 0), lesson(SPARSE, 7, 1)
    np.testing.assert_array_equal(again.features.maps, first.features.maps)
    assert np.abs(next_one.features.maps - first.features.maps).max() > 0


def test_every_number_is_as_frequent() -> None:
    assert np.bincount(lesson(SPARSE, 7, 2).number, minlength=6)[1:].tolist() == [BLOCK // 5] * 5


def test_what_is_declared_rightly_is_the_truth(monkeypatch: pytest.MonkeyPatch) -> None:
    taught = lesson_of("fits", monkeypatch)
    assert (taught.verdict == 0).all()
    np.testing.assert_allclose(taught.log_ratio, 0.0, atol=1e-12)
    np.testing.assert_allclose([each.radius_px for each in taught.settings], taught.patterns.radius_px)
    assert {each.particle for each in taught.settings} == {taught.patterns.particle}


def test_a_wrong_radius_is_off_by_a_known_factor_either_way(monkeypatch: pytest.MonkeyPatch) -> None:
    taught = lesson_of("radius", monkeypatch)
    declared_px = np.array([each.radius_px for each in taught.settings])
    np.testing.assert_allclose(declared_px * np.exp(taught.log_ratio), taught.patterns.radius_px)
    least, most = np.log(SchoolArgs().wrong_radius)
    assert (np.abs(taught.log_ratio) >= least - 1e-9).all()
    assert (np.abs(taught.log_ratio) <= most + 1e-9).all()
    assert (taught.log_ratio > 0).any()
    assert (taught.log_ratio < 0).any()


def test_a_wrong_particle_is_the_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    taught = lesson_of("particle", monkeypatch)
    assert all(each.particle != taught.patterns.particle for each in taught.settings)


def test_behind_a_larger_beam_stop_than_declared_is_darkness_that_counts_as_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taught = lesson_of("mask", monkeypatch)
    for setting, true_px in zip(taught.settings, taught.patterns.beam_stop_px, strict=True):
        assert setting.beam_stop_px < true_px
    np.testing.assert_array_equal(taught.patterns.counts[:, 32, 32], 0)


def test_other_objects_are_lit_like_aggregates(monkeypatch: pytest.MonkeyPatch) -> None:
    taught, fitting = lesson_of("object", monkeypatch), lesson_of("fits", monkeypatch)
    assert (taught.verdict == VERDICTS.index("object")).all()
    light = np.median(taught.patterns.counts.sum((1, 2))) / np.median(fitting.patterns.counts.sum((1, 2)))
    assert 0.2 < light < 5


def test_other_objects_are_whole_and_of_many_sizes() -> None:
    objects = foreign_objects(200, np.random.default_rng(0))
    assert objects.min() >= 0
    assert objects.max() <= 1
    areas = objects.sum((1, 2))
    assert areas.min() > 1
    assert areas.max() > 20 * areas.min()


def test_a_fitting_declaration_is_left_alone() -> None:
    settings = lesson(SPARSE, 7, 0).settings
    assert misdeclared(settings[0], "fits", SPARSE, np.random.default_rng(0)) == settings[0]


def test_shares_of_zero_leave_a_plain_school() -> None:
    plain = replace(SPARSE, spheres=0.0, pairwise=0.0, apart=0.0, dim=0.0, usual_stop=1.0, uneven=0.0, gaps=0.0)
    for index in range(3):
        taught = lesson(plain, 1, index)
        assert taught.patterns.particle == "disc"
        assert (taught.patterns.beam_stop_px == 3.0).all()
        assert taught.patterns.photons.min() >= plain.photons[0]
