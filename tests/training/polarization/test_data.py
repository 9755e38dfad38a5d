from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app.errors import Conflict, InvalidInput, NotFound
from tests.polarization.fli_writer import Decay, decay_rows, fli, header
from training.polarization.__main__ import cli
from training.polarization.data import (
    EXPERIMENTS_FILE,
    dataset_fingerprint,
    dataset_text,
    load_dataset,
    read_folder,
    write_dataset,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a.fli").write_text(
        fli(header(), decay_rows(), decay_rows(Decay(rows=2), number=9, reflection=(2, 0, 0)))
    )
    two = [header("ge18012"), header("sic1403", role="analyser", pressure=2.0)]
    (source / "b.fli").write_text(fli(two, decay_rows(directions="")))
    (source / "._b.fli").write_bytes(b"\x00\x05\x16\x07")
    return source


def test_a_data_set_is_read_back_as_it_was(folder: Path, tmp_path: Path) -> None:
    found = read_folder(folder)
    fingerprint = write_dataset(found, tmp_path / "set")
    read = load_dataset(tmp_path / "set")
    assert len(read) == 2
    assert dataset_fingerprint(tmp_path / "set") == fingerprint
    for ours, theirs in zip(read, found.experiments, strict=True):
        assert (ours.name, ours.polarizer, ours.analyser, ours.start) == (
            theirs.name, theirs.polarizer, theirs.analyser, theirs.start,
        )  # fmt: skip
        np.testing.assert_array_equal(ours.polarization, theirs.polarization)
        assert ours.reflection == theirs.reflection


def test_the_same_input_gives_the_same_bytes(folder: Path) -> None:
    assert dataset_text(read_folder(folder).experiments) == dataset_text(read_folder(folder).experiments)


def test_another_data_set_is_not_overwritten_unasked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    write_dataset(read_folder(folder), out)
    write_dataset(read_folder(folder), out)
    (folder / "b.fli").unlink()
    with pytest.raises(Conflict):
        write_dataset(read_folder(folder), out)
    write_dataset(read_folder(folder), out, replace=True)
    assert len(load_dataset(out)) == 1


def test_a_changed_or_foreign_file_is_refused(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    write_dataset(read_folder(folder), out)
    file = out / EXPERIMENTS_FILE
    file.write_text(file.read_text().replace("0.79", "0.78"))
    with pytest.raises(InvalidInput, match="changed"):
        load_dataset(out)
    file.write_text("hello\n")
    with pytest.raises(InvalidInput, match="header"):
        load_dataset(out)
    with pytest.raises(NotFound):
        load_dataset(tmp_path / "nothing")


def test_the_command_says_what_was_accepted_and_why_not(folder: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["data", str(folder), "--out", str(tmp_path / "set")])
    assert result.exit_code == 0, result.output
    for part in ("crystalline", "amorphous", "ge18004", "sic1403", "a decay needs #", "sha256"):
        assert part in result.output
    assert "2,0,0" in (tmp_path / "set" / "segments.csv").read_text().replace(" ", ",")


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["data", str(tmp_path)])
    assert result.exit_code == 1
    assert "no .zip or .fli" in result.output
