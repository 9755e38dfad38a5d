from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.polarization.fli import parse_fli
from tests.polarization.fli_writer import START, decay_rows, fli, header, row


def test_a_header_gives_the_cell() -> None:
    (found,) = parse_fli(header("ge18012", START, pressure=3.1, lab=0.77)).headers
    assert found.role == "polarizer"
    assert found.cell.cell_id == "ge18012"
    assert (found.cell.pressure_bar, found.cell.lab_polarization) == (3.1, 0.77)
    assert found.cell.lab_time == START


def test_commas_between_the_columns_change_nothing() -> None:
    blanks = "polariser cell info ge18004 pressure/init. polar 2.30 0.78 initial date/time 06 06 25 @ 15:15"
    commas = "polariser cell info, ge18004, pressure/init. polar, 2.30, 0.78, initial date/time, 06/06/25 @ 15:15"
    assert parse_fli(blanks).headers == parse_fli(commas).headers


@pytest.mark.parametrize(
    ("line", "role"),
    [
        ("polariser cell", "polarizer"),
        ("polarizer cell", "polarizer"),
        ("analyser cell", "analyser"),
        ("New cell", "polarizer"),
        ("Magic box", "magic box"),
    ],
)
def test_roles(line: str, role: str) -> None:
    text = f"{line} info ge18006  pressure/init. polar    3.21    0.75 initial date/time  18 03 18  @  10:30"
    (found,) = parse_fli(text).headers
    assert found.role == role
    assert found.cell.lab_time == datetime(2018, 3, 18, 10, 30)  # noqa: DTZ001


def test_a_row_gives_its_values() -> None:
    time = START + timedelta(hours=2)
    (found,) = parse_fli(row(41093, time, 0.5327, 0.002, reflection=(3, -3, 0.5))).rows
    assert (found.number, found.time, found.reflection) == (41093, time, (3.0, -3.0, 0.5))
    assert (found.polarization, found.sigma, found.counting_s) == (0.5327, 0.002, 300.0)
    assert found.direction == ("+z", "+z")


@pytest.mark.parametrize("seconds", ["", "    120.00"])
@pytest.mark.parametrize("directions", ["", "+z", "+x -y"])
def test_directions_and_counting_time_may_be_missing(seconds: str, directions: str) -> None:
    (found,) = parse_fli(row(1, START, 0.6, directions=directions, seconds=seconds)).rows
    assert found.direction == (tuple(directions.split()) or None)
    assert found.counting_s == (float(seconds) if seconds else None)
    assert found.polarization == 0.6


def test_columns_that_touch_are_told_apart_by_their_four_decimals() -> None:
    line = (
        "   37956   2.000   3.500   0.000 29/09/23 02:58:40       0.05  +x +x "
        "    1.0005    0.4418-4407.20584288203.6065     300.00"
    )
    (found,) = parse_fli(line).rows
    assert (found.ratio, found.ratio_sigma, found.counting_s) == (-4407.2058, 4288203.6065, 300.0)


def test_a_remark_behind_the_row_is_kept() -> None:
    (found,) = parse_fli(row(1, START, 0.6, remark=" *Bad value. Strong unbalance")).rows
    assert found.remark == "*Bad value. Strong unbalance"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("polariser cell info 2.3 pressure/init. polar 0.79 11.00 initial date/time 04 24 11 @ 02:100", "no cell id"),
        ("polariser cell info ge18004 pressure/init. polar 2.3 0.79 initial date/time 04 24 11 @ 02:10", "no date"),
        (
            "polariser cell info ge18004 pressure/init. polar 2.3 1.79 initial date/time 04 04 24 @ 02:10",
            "lab polarization",
        ),
        ("polariser cell info ge18004 pressure/init. polar -2.3 0.79 initial date/time 04 04 24 @ 02:10", "pressure"),
        ("polariser cell info ge18004", "a cell header reads"),
        (row(1, START, 0.6)[:70], "of the four values"),
        (row(1, START, 0.6).replace("04/05/30", "34/05/30"), "no date"),
        ("what is this", "neither a header nor a row"),
        ("x" * 1000, "1000 characters"),
    ],
)
def test_a_damaged_line_is_reported_with_its_number_and_reason(line: str, reason: str) -> None:
    parsed = parse_fli(fli(header(), line, decay_rows()))
    (damaged,) = parsed.damaged
    assert damaged.line == 2
    assert reason in damaged.reason
    assert damaged.ends_cell == ("cell info" in line)
    assert len(parsed.rows) == 8


def test_integrated_rows_and_remarks_are_no_damage() -> None:
    parsed = parse_fli(
        fli(
            "!1st sample",
            "***WARNING No centering scan found",
            "   27406   0.000   0.000   6.000   27.03   -9.52    0.35 "
            "   0.9906    0.0033     11.89     9.000  804.77    1440.00 15/04/23 10:29:39",
            "  590808   2.000   1.000   3.000   17.58  -26.41  -13.68 "
            "   1.1722    0.0329      1.79     3.000    -0.03 22-Jun-18 16:23:11",
            "",
        )
    )
    assert not parsed.damaged
    assert [other.kind for other in parsed.others] == ["remark", "remark", "integrated", "integrated"]


lines = st.one_of(
    st.text(max_size=120),
    st.sampled_from([header(), header(role="analyser"), *decay_rows()]),
    st.builds(lambda text, cut: text[:cut], st.sampled_from([header(), *decay_rows()]), st.integers(0, 140)),
    st.builds(lambda text, at, other: text[:at] + other + text[at + 1 :], st.sampled_from([header(), *decay_rows()]),
              st.integers(0, 120), st.characters()),
)  # fmt: skip


@given(st.lists(lines, max_size=12))
def test_no_text_raises_and_no_line_is_dropped(parts: list[str]) -> None:
    text = "\n".join(parts)
    parsed = parse_fli(text)
    seen = [entry.line for group in (parsed.headers, parsed.rows, parsed.damaged, parsed.others) for entry in group]
    written = [
        number
        for number, line in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1)
        if line.replace(",", " ").strip()
    ]
    assert sorted(seen) == written
