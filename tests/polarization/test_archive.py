from __future__ import annotations

import io
import zipfile

import pytest

from app.errors import InvalidInput, TooLarge, UnsupportedFormat
from app.polarization.archive import read_archive, read_archives, unpack
from app.zip_files import Limits
from tests.polarization.fli_writer import decay_rows, fli, header

TEXT = fli(header(), decay_rows())


def packed(members: dict[str, bytes | str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()


def test_a_zip_and_its_only_file_give_the_same_experiment() -> None:
    (single,) = read_archive(TEXT.encode(), "polar.fli").experiments
    (zipped,) = read_archive(packed({"processed/a/polar.fli": TEXT})).experiments
    assert single.name == zipped.name
    assert single.polarization.tolist() == zipped.polarization.tolist()


def test_other_members_are_skipped_with_the_reason() -> None:
    content = packed(
        {
            "processed/polar.fli": TEXT,
            "processed/._polar.fli": b"\x00\x05\x16\x07rest",
            "__MACOSX/processed/polar.fli": b"x",
            "processed/notes.txt": "no",
            "processed/binary.fli": b"\x00\x01\x02",
            "processed/.ipynb_checkpoints/polar-checkpoint.fli": TEXT,
        }
    )
    found = read_archive(content)
    assert len(found.experiments) == 1
    assert len(found.skipped) == 4
    assert len(found.duplicates) == 1


@pytest.mark.parametrize(
    "name", ["../../etc/polar.fli", "/etc/polar.fli", "..\\..\\polar.fli", "a/\x1b[31m/../polar.fli"]
)
def test_paths_in_a_zip_are_names_only(name: str) -> None:
    (shown,) = unpack(packed({name: TEXT})).texts
    assert ".." not in shown
    assert not shown.startswith("/")
    assert shown.isprintable()


def test_a_bomb_is_refused() -> None:
    bomb = packed({"polar.fli": b" " * 4_000_000})
    with pytest.raises(TooLarge, match="compressed more than"):
        read_archive(bomb)


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(members=1), "files in the zip"),
        (Limits(file_bytes=100), "a .fli may have"),
        (Limits(total_bytes=700), "at most 700"),
    ],
)
def test_limits_are_named(limits: Limits, what: str) -> None:
    with pytest.raises(TooLarge, match=what):
        read_archive(packed({"a.fli": TEXT, "b.fli": TEXT + "\n"}), limits=limits)


def test_a_directory_that_understates_a_size_is_refused() -> None:
    content = packed({"polar.fli": TEXT})
    size = len(TEXT.encode()).to_bytes(4, "little")
    with pytest.raises((InvalidInput, TooLarge)):
        read_archive(content.replace(size, (10).to_bytes(4, "little")))


@pytest.mark.parametrize("cut", [4, 30, 200, -30])
def test_a_truncated_zip_is_refused(cut: int) -> None:
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_archive(packed({"polar.fli": TEXT})[:cut])


def test_what_is_neither_zip_nor_text_is_refused() -> None:
    with pytest.raises(UnsupportedFormat):
        read_archive(b"\x89PNG\r\n\x1a\n\x00\x00")
    with pytest.raises(UnsupportedFormat, match="AppleDouble"):
        read_archive(b"\x00\x05\x16\x07\x00")
    with pytest.raises(TooLarge):
        read_archive(TEXT.encode(), limits=Limits(file_bytes=10))


def test_a_zip_without_fli_is_refused_alone_and_reported_among_others() -> None:
    empty = packed({})
    with pytest.raises(InvalidInput, match=r"no \.fli"):
        read_archive(empty)
    found = read_archives([("empty.zip", empty), ("full.zip", packed({"polar.fli": TEXT}))])
    assert len(found.experiments) == 1
    assert [name for name, _ in found.skipped] == ["empty.zip"]
