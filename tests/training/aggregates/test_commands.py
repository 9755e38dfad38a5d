"""The commands as a person types them, on a handful of patterns."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from training.aggregates.__main__ import cli
from training.aggregates.commands import method_from_name
from training.aggregates.settings import SIMULATIONS
from training.aggregates.simulate import batches
from training.aggregates.stacks import write_set
from training.aggregates.train import NetworkMethod


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def test_a_simulated_set_comes_from_its_seed(tmp_path: Path) -> None:
    sets = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        told = ("simulate", tmp_path / f"{name}.npz", "--setting", "spheres", "--images", 12, "--seed", seed)
        assert invoke(*told).exit_code == 0
        with np.load(tmp_path / f"{name}.npz") as stored:
            sets.append({key: stored[key] for key in stored.files})
    assert sets[0]["counts"].shape == (12, 64, 64)
    assert str(sets[0]["particle"]) == "sphere"
    np.testing.assert_array_equal(sets[0]["counts"], sets[1]["counts"])
    assert (sets[0]["counts"] != sets[2]["counts"]).any()


def test_a_network_is_trained_epoch_by_epoch_and_goes_on(tmp_path: Path) -> None:
    told = ("train", "--network", "strided", "--images", 40, "--validation-images", 20, "--runs", tmp_path)
    first = invoke(*told, "--epochs", 1)
    assert first.exit_code == 0, first.output
    assert "validation accuracy" in first.output
    second = invoke(*told, "--epochs", 2)
    assert "epoch   2:" in second.output
    assert "epoch   1:" not in second.output
    record = json.loads(next(tmp_path.rglob("record.json")).read_text("utf-8"))
    assert len(record["history"]["validation_accuracy"]) == 2


def test_a_network_is_trained_on_patterns_of_ones_own(tmp_path: Path) -> None:
    """Of a file in the layout of CXI that tells its numbers; one pattern of five is kept to stop by."""
    write_set(tmp_path / "mine.cxi", batches(SIMULATIONS["reference-r5"], 50, 7), title="test")
    told = ("train", "--network", "strided", "--epochs", 1, "--runs", tmp_path, "--data", tmp_path / "mine.cxi")
    found = invoke(*told, "--particle", "disc")
    assert found.exit_code == 0, found.output
    record = json.loads(next(tmp_path.rglob("record.json")).read_text("utf-8"))
    assert (record["images"], record["validation_images"]) == (40, 10)
    assert invoke(*told, "--particle", "cube").exit_code == 2
    assert invoke(*told[:-1], tmp_path / "none.h5").exit_code == 2


def test_evaluating_and_ranking_show_the_same_table(tmp_path: Path) -> None:
    told = ("--methods", "majority", "--methods", "total-intensity", "--images", 60, "--test-images", 250)
    shown = invoke("evaluate", *told, "--runs", tmp_path, "--cases", "reference-r5", "--cases", "r6")
    assert shown.exit_code == 0, shown.output
    table = [line for line in shown.output.splitlines() if line.startswith("| majority")]
    ranked = invoke("rank", "--runs", tmp_path)
    assert all(line in ranked.output for line in table)
    picture = tmp_path / "report.svg"
    closely = invoke("rank", "--runs", tmp_path, "--case", "r6", "--picture", picture)
    assert "Accuracy by photons" in closely.output
    assert "<svg" in picture.read_text("utf-8")


def test_ranking_nothing_says_what_to_do(tmp_path: Path) -> None:
    found = invoke("rank", "--runs", tmp_path)
    assert found.exit_code == 1
    assert "run `evaluate` first" in found.output


def test_a_learning_curve_is_drawn_and_printed(tmp_path: Path) -> None:
    sizes = ("--sizes", 30, "--sizes", 15)
    out = tmp_path / "curve.svg"
    found = invoke("curves", "--methods", "majority", *sizes, "--test-images", 20, "--runs", tmp_path, "--out", out)
    assert found.exit_code == 0, found.output
    assert "| method | 15 | 30 |" in found.output
    assert "<svg" in out.read_text("utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "--methods", "majorty"), "majority"),
        (("evaluate", "--methods", "majority", "--cases", "r7"), "r4.5"),
        (("evaluate", "--methods", "model:none"), "no model"),
        (("train", "--network", "sauce"), "strided"),
        (("simulate", "x.npz", "--setting", "spheres-r4"), "spheres-r5"),
    ],
)
def test_a_misspelt_name_is_answered_with_those_there_are(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    told = ("--runs", tmp_path) if words[0] != "simulate" else ()
    found = invoke(*words, *told)
    assert found.exit_code == 2
    assert message in found.output


def test_every_listed_method_has_its_name() -> None:
    listed = invoke("methods").output.split("cases:")[0].split()[1:]
    names = listed[: listed.index("count-network")]
    assert "majority" in names
    for name in names:
        method = method_from_name(name, Path("runs"), Path("store"), 3)
        assert method.name == name
        assert not isinstance(method, NetworkMethod) or method.args.epochs == 3
