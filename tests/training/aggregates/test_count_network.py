"""A tiny run: it goes on where it stopped, learns, and leaves what a publisher needs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.aggregates.models import HEADS, rules_from_json
from training.aggregates.calibration import CalibrationArgs
from training.aggregates.count_commands import trained_rules
from training.aggregates.count_network import CountNetworkArgs, batch, build, lesson_heads, loss, train
from training.aggregates.lessons import lesson_set
from training.aggregates.school import BLOCK, SchoolArgs

ARGS = CountNetworkArgs(
    images=2 * BLOCK, validation_images=2 * BLOCK, filters=(4, 4, 4, 4, 4), hidden=8, profile_hidden=4, epochs=1,
    batch_size=25, seed=11, school=SchoolArgs(misdeclared=0.3),
)  # fmt: skip


def test_a_set_that_was_interrupted_is_that_of_one_go(tmp_path: Path) -> None:
    whole = lesson_set(tmp_path / "whole", ARGS.school, 5, 2 * BLOCK)
    lesson_set(tmp_path / "parts", ARGS.school, 5, 2 * BLOCK)
    (tmp_path / "parts" / "done.txt").write_text("1", "utf-8")
    np.lib.format.open_memmap(tmp_path / "parts" / "maps.npy", "r+")[BLOCK:] = 0
    again = lesson_set(tmp_path / "parts", ARGS.school, 5, 2 * BLOCK)
    np.testing.assert_array_equal(again.maps, whole.maps)
    np.testing.assert_array_equal(again.targets(), whole.targets())


def test_a_set_of_other_arguments_is_refused(tmp_path: Path) -> None:
    lesson_set(tmp_path, ARGS.school, 5, BLOCK)
    with pytest.raises(ValueError, match="other arguments"):
        lesson_set(tmp_path, ARGS.school, 6, BLOCK)


def test_the_loss_falls_with_the_right_answer_and_minds_no_count_where_the_declaration_is_wrong() -> None:
    targets = np.array([[2.0, 0.0, 0.0], [2.0, 1.0, 0.1]], np.float32)
    right, wrong = np.zeros((2, 2, HEADS), np.float32)
    right[:, 2] = 5.0
    for row, worse in ((0, True), (1, False)):
        values = [float(loss(targets[row : row + 1], heads[row : row + 1], ARGS)) for heads in (right, wrong)]
        assert (values[0] < values[1] - 1) == worse


def test_a_run_leaves_what_is_published_and_goes_on(tmp_path: Path) -> None:
    rules = trained_rules(tmp_path, ARGS, CalibrationArgs())
    assert rules_from_json(json.loads((tmp_path / "parameters.json").read_text("utf-8"))) == rules
    record = json.loads((tmp_path / "record.json").read_text("utf-8"))
    assert len(record["epochs"]) == ARGS.epochs
    asked = lesson_set(tmp_path / "lessons-validation", ARGS.school, ARGS.seed + 1, ARGS.validation_images)
    once, again = lesson_heads(build(ARGS), asked), lesson_heads(train(tmp_path, ARGS), asked)
    assert np.abs(once - again).max() > 1e-3
    with pytest.raises(ValueError, match="other arguments"):
        train(tmp_path, replace(ARGS, hidden=9))


def test_a_batch_shows_one_symmetry_of_the_same_patterns(tmp_path: Path) -> None:
    asked = lesson_set(tmp_path, ARGS.school, 5, BLOCK)
    plain, targets = batch(asked, np.arange(5), 0)
    turned, same = batch(asked, np.arange(5), 3)
    np.testing.assert_array_equal(targets, same)
    np.testing.assert_array_equal(plain[2], turned[2])
    assert np.abs(plain[0] - turned[0]).max() > 0
