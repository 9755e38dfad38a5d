from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from app.polarization.installations import KNOWN_CELL_IDS, repaired_cell_id, repaired_lab_time
from app.polarization.segments import Segment, survey
from tests.polarization.fli_writer import START, Decay, decay_rows, fli, header, row

HOUR = timedelta(hours=1)
SLOW = Decay()
JUMPS = (0.8, -0.3, 0.1, 0.78, 0.5, -0.6, 0.3, 0.2)


def only(text: str) -> Segment:
    (segment,) = survey({"a.fli": text}).segments
    return segment


def test_one_cell_is_crystalline_and_its_rows_come_back() -> None:
    segment = only(fli(header(), decay_rows()))
    assert segment.accepted, segment.reason
    experiment = segment.experiment
    assert experiment is not None
    assert (experiment.material, experiment.analyser) == ("crystalline", None)
    assert experiment.lab_time_s == -300
    np.testing.assert_allclose(experiment.time_s, 3 * 3600 * np.arange(8))
    np.testing.assert_allclose(experiment.polarization, [SLOW.at(3 * n) for n in range(8)], atol=5e-5)


def test_two_cells_are_amorphous_in_either_order_of_the_headers() -> None:
    rows = decay_rows(directions="")
    headers = [header("ge18012"), header("sic1403", role="analyser", pressure=2.0)]
    for order in (headers, headers[::-1]):
        experiment = only(fli(order, rows)).experiment
        assert experiment is not None
        assert experiment.material == "amorphous"
        assert experiment.analyser is not None
        assert (experiment.polarizer.cell_id, experiment.analyser.cell_id) == ("ge18012", "sic1403")


def test_a_new_cell_begins_a_new_experiment() -> None:
    second = START + timedelta(hours=30)
    found = survey({"a.fli": fli(header(), decay_rows(), header("ge18012", second), decay_rows(first=second + HOUR))})
    assert [e.polarizer.cell_id for e in found.experiments] == ["ge18004", "ge18012"]


def test_only_up_up_rows_count() -> None:
    other = [row(900 + n, START + n * HOUR, 0.01, directions="+x +x") for n in range(1, 5)]
    assert len(only(fli(header(), decay_rows(), other)).rows) == 8
    assert only(fli(header(), other)).reason == "no (+z, +z) row"


def test_copies_count_once() -> None:
    text = fli(header(), decay_rows())
    found = survey({"a.fli": text, "b.fli": text})
    assert len(found.experiments) == 1
    assert found.duplicates == (("b.fli", "a.fli"),)


def test_rows_copied_into_the_next_file_are_united() -> None:
    rows = decay_rows()
    found = survey({"a.fli": fli(header(), rows[:5]), "b.fli": fli(header(), rows[2:])})
    (experiment,) = found.experiments
    assert experiment.time_s.size == 8


def test_rows_before_any_header_are_rejected() -> None:
    segment = only(fli(decay_rows()))
    assert not segment.accepted
    assert "no header" in segment.reason
    assert len(segment.excluded) == 8


def test_rows_before_the_first_header_belong_to_the_cell_of_another_file() -> None:
    later = START + timedelta(hours=26)
    found = survey(
        {"a.fli": fli(header()), "b.fli": fli(decay_rows(), header("ge18012", later), decay_rows(first=later))}
    )
    assert [e.polarizer.cell_id for e in found.experiments] == ["ge18004", "ge18012"]


def test_rows_behind_an_unreadable_header_go_to_no_cell() -> None:
    broken = "polariser cell info 2.3 pressure/init. polar 0.79 11.00 initial date/time 04 24 11 @ 02:100"
    found = survey({"a.fli": fli(header(), decay_rows(), broken, decay_rows(first=START + 30 * HOUR, number=500))})
    assert [segment.accepted for segment in found.segments] == [True, False]
    assert "cannot be read" in found.segments[1].reason
    assert [line.line for _, line in found.damaged] == [10]


def test_the_magic_box_is_another_set_up() -> None:
    segment = only(
        fli(header(role="new").replace("new", "New"), header(role="x").replace("x cell", "Magic box"), decay_rows())
    )
    assert not segment.accepted
    assert "magic box" in segment.reason
    assert segment.experiment is not None


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (decay_rows(Decay(rows=2)), "a decay needs 3"),
        (decay_rows(Decay(lifetime_h=-60)), "rises"),
        (decay_rows(Decay(amplitude=0.1)), "sample reflection"),
        (decay_rows(Decay(lifetime_h=4, step_h=1)), "scan of the sample"),
        (decay_rows(Decay(sigma=0.09)), "too weak"),
        (decay_rows(Decay(step_h=0.02)), "minutes"),
        ([row(n, START + n * HOUR, p) for n, p in enumerate(JUMPS, 1)], "no smooth decay"),
        ([row(n, START + n * HOUR, -0.8) for n in range(1, 8)], "positive"),
        (decay_rows(first=START + timedelta(days=20)), "lab date"),
    ],
)  # fmt: skip
def test_what_is_no_decay_is_rejected_with_the_reason(lines: list[str], reason: str) -> None:
    segment = only(fli(header(), lines))
    assert not segment.accepted
    assert reason in segment.reason


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(50, START + 10 * HOUR, 1.24, 1.54), "above 0.1"),
        (row(50, START + 10 * HOUR, 1.0, 0.0), "expected above 0"),
        (row(50, START + 10 * HOUR, 1.03, 0.01), "above 1"),
        (row(50, START + 10 * HOUR, 0.4, 0.002), "off the decay"),
        (row(50, START + 10 * HOUR, -SLOW.at(10), 0.002), "wrong sign"),
        (row(50, START + 10 * HOUR, 0.8, 0.002, remark=" *Bad value"), "marked in the file: Bad value"),
        (row(500, START + timedelta(minutes=5), 0.8, 0.002), "same time"),
        (row(50, START - 5 * HOUR, 0.8, 0.002), "before the cell was filled"),
    ],
)
def test_a_bad_row_is_left_out_with_the_reason(bad: str, reason: str) -> None:
    rows = decay_rows()
    segment = only(fli(header(), rows[:4], bad, rows[4:]))
    assert segment.accepted, segment.reason
    assert len(segment.rows) == 8
    ((_, why),) = segment.excluded
    assert reason in why


def test_noisy_rows_stay() -> None:
    noise = np.random.default_rng(3).normal(0, 0.03, 12)
    rows = [row(n, START + 2 * n * HOUR, SLOW.at(2 * n) + noise[n], 0.03) for n in range(12)]
    segment = only(fli(header(), rows))
    assert segment.accepted
    assert not segment.excluded


def test_a_reflection_below_a_more_precise_one_is_a_sample_reflection() -> None:
    nuclear = decay_rows(reflection=(0, 0, 2))
    magnetic = decay_rows(replace(SLOW, amplitude=0.7, sigma=0.004), number=300, reflection=(1, 0, 0))
    found = survey({"a.fli": fli(header(), nuclear, magnetic)})
    verdicts = {segment.reflection: segment for segment in found.segments}
    assert verdicts[0.0, 0.0, 2.0].accepted
    assert "below the reference (0, 0, 2)" in verdicts[1.0, 0.0, 0.0].reason


def test_a_precise_reflection_is_not_rejected_for_lying_above_a_weak_one() -> None:
    weak = decay_rows(replace(SLOW, amplitude=0.7, sigma=0.015), reflection=(1, 0, 0))
    strong = decay_rows(number=300, reflection=(0, 0, 2))
    found = survey({"a.fli": fli(header(), weak, strong)})
    assert [segment.reflection for segment in found.accepted] == [(0.0, 0.0, 2.0)]


def test_a_second_reflection_must_follow_the_reference_row_by_row() -> None:
    nuclear = decay_rows(reflection=(0, 0, 2))
    times = [START + n * 3 * HOUR for n in range(1, 5)]
    shifts = (0.0, 0.025, 0.0, 0.0)
    other = [
        row(300 + n, time, SLOW.at(3 * (n + 1)) + shift, 0.003, reflection=(2, 0, 1))
        for n, (time, shift) in enumerate(zip(times, shifts, strict=True))
    ]
    found = survey({"a.fli": fli(header(), nuclear, other)})
    verdicts = {segment.reflection: segment for segment in found.segments}
    assert verdicts[0.0, 0.0, 2.0].accepted
    assert "off the reference (0, 0, 2)" in verdicts[2.0, 0.0, 1.0].reason


def test_many_headers_and_rows_stay_cheap() -> None:
    """Quadratic work over these 20,000 lines would take minutes, and the suite would be stopped."""
    lines = [line for n in range(10_000) for line in (header(), row(n, START + n * timedelta(seconds=40), 0.8))]
    assert len(survey({"a.fli": fli(lines)}).segments) == 1
    distinct = [
        line
        for n in range(10_000)
        for line in (header(filled=START + n * timedelta(minutes=1)), row(n, START + n * timedelta(minutes=1), 0.8))
    ]
    assert len(survey({"a.fli": fli(distinct)}).segments) == 10_000


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("g218008", "ge18008"),
        ("ge80012", "ge18012"),
        ("ge180012", "ge18012"),
        ("ge18099", "ge18099"),
        ("xenon77", "xenon77"),
    ],
)
def test_mistyped_cell_ids(written: str, meant: str) -> None:
    cell_id, note = repaired_cell_id(written)
    assert cell_id == meant
    assert note


@pytest.mark.parametrize("known", KNOWN_CELL_IDS)
def test_known_cell_ids_are_left_alone(known: str) -> None:
    assert repaired_cell_id(known) == (known, "")


@pytest.mark.parametrize("wrong", [START.replace(year=2029), START.replace(year=2035), START.replace(month=4, day=5)])
def test_a_slip_in_the_lab_date_is_mended_with_a_note(wrong: object) -> None:
    segment = only(fli(header(filled=wrong), decay_rows()))  # type: ignore[arg-type]
    assert segment.accepted, segment.reason
    assert segment.experiment is not None
    assert segment.experiment.polarizer.lab_time == START
    assert any("lab date" in note for note in segment.notes)


def test_a_lab_date_that_no_slip_explains_is_left() -> None:
    far = START - timedelta(days=40)
    assert repaired_lab_time(far, [START]) == (far, "")


def test_every_row_is_accounted_for() -> None:
    rows = decay_rows()
    text = fli(
        header(),
        rows[:4],
        row(50, START + 10 * HOUR, 0.3),
        rows[4:],
        decay_rows(Decay(rows=2), number=700, reflection=(2, 2, 2)),
    )
    found = survey({"a.fli": text})
    lines = [r.line for s in found.segments for r in (*s.rows, *(row for row, _ in s.excluded))]
    assert sorted(lines) == list(range(2, 13))
