"""Answers on aggregates as JSON, text columns or a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from app.aggregates.intake import Prepared
from app.aggregates.predict import Answer
from app.aggregates.setting import COUNTS
from app.api.negotiation import Format

COLUMNS = (
    "pattern",
    "count",
    "most_probable",
    *(f"p{count}" for count in COUNTS),
    "abstained",
    "unlike",
    "seen_radius_px",
    "photons",
    "measured",
    "centre_row_px",
    "centre_column_px",
    "beam_stop_px",
    "warnings",
    "reasons",
)


@dataclass(frozen=True)
class Solved:
    """Answers, and what they are answers to.

    Attributes:
        first: number of the first pattern in its file.
        source: what was read, in words.
        model: name, version and alias of the model that answered.
    """

    prepared: Prepared
    answers: Sequence[Answer]
    first: int
    source: str
    model: tuple[str, int, str | None]


def written(solved: Solved, form: Format) -> bytes:
    """Write the answers in one of the formats.

    Raises:
        TooLarge: more patterns than fit on one picture.
    """
    if form == "json":
        return orjson.dumps(answer_json(solved))
    if form == "csv":
        return _table([COLUMNS, *_rows(solved)])
    return _picture([("", solved)], form)


def files_written(files: Sequence[tuple[str, Solved]], form: Format) -> bytes:
    """Write the answers for several files, each with its name.

    Raises:
        TooLarge: more patterns than fit on one picture.
    """
    if form == "json":
        return orjson.dumps({"files": [{"file": name} | answer_json(solved) for name, solved in files]})
    if form == "csv":
        return _table([("file", *COLUMNS), *((name, *row) for name, solved in files for row in _rows(solved))])
    return _picture(files, form)


def _picture(files: Sequence[tuple[str, Solved]], form: Literal["png", "svg"]) -> bytes:
    from app.plots.aggregates import drawn, panels_of  # Matplotlib takes memory and a second

    panels = []
    for name, solved in files:
        titles = [f"{name[-32:]} pattern {solved.first + i}".strip() for i in range(len(solved.answers))]
        panels += panels_of(solved.prepared, solved.answers, titles)
    return drawn(panels, form)


def answer_json(solved: Solved) -> dict[str, Any]:
    """The answers in the form of `AggregatesAnswer`."""
    setting = solved.prepared.settings[0]
    name, version, alias = solved.model
    return {
        "patterns": [_pattern(solved, i) for i in range(len(solved.answers))],
        "setting": {
            "radius_px": setting.radius_px,
            "particle": setting.particle,
            "binning": solved.prepared.binning,
            "full_well": setting.full_well,
            "background": setting.background,
        },
        "model": {"name": name, "version": version, "alias": alias},
        "source": solved.source,
    }


def _pattern(solved: Solved, number: int) -> dict[str, Any]:
    answer = solved.answers[number]
    return {
        "index": solved.first + number,
        "count": answer.count,
        "most_probable": answer.most_probable,
        "probability": answer.probability,
        "abstained": answer.abstained,
        "reasons": answer.reasons,
        "unlike": answer.unlike,
        "seen_radius_px": answer.seen_radius_px / solved.prepared.binning,
        "photons": answer.photons,
        "measured": answer.measured,
        "centre_px": solved.prepared.beam_px[number].tolist(),
        "beam_stop_px": _stop(solved, number),
        "warnings": [{"code": note.code, "message": note.message} for note in answer.notes],
    }


def _stop(solved: Solved, number: int) -> float:
    return solved.prepared.settings[number].beam_stop_px * solved.prepared.binning


def _rows(solved: Solved) -> Iterator[Sequence[object]]:
    for number, answer in enumerate(solved.answers):
        row, column = solved.prepared.beam_px[number].tolist()
        numbers = [f"{p:.4g}" for p in answer.probability]
        seen_radius = f"{answer.seen_radius_px / solved.prepared.binning:.4g}"
        facts = [f"{answer.unlike:.4g}", seen_radius, f"{answer.photons:.0f}", f"{answer.measured:.4f}"]
        place = [f"{row:.2f}", f"{column:.2f}", f"{_stop(solved, number):.2f}"]
        words = [" ".join(note.code for note in answer.notes), "; ".join(answer.reasons)]
        count = "" if answer.count is None else answer.count
        said = [solved.first + number, count, answer.most_probable]
        yield [*said, *numbers, int(answer.abstained), *facts, *place, *words]


def _table(rows: Iterable[Sequence[object]]) -> bytes:
    content = io.StringIO()
    csv.writer(content, lineterminator="\n").writerows(rows)
    return content.getvalue().encode()
