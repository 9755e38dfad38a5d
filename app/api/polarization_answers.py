"""Answers as JSON, text columns or a picture. JSON is written from the arrays, without a list or a model between."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from app.api.negotiation import Format
from app.polarization.case import Case, Solved
from app.polarization.fli import Row
from app.polarization.predict import Answered
from app.polarization.segments import Segment, Survey
from app.polarization.table import iso, table

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY
_UTC_OPTIONS = _OPTIONS | orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z

MAX_LISTED = 1000
"""Most damaged lines, excluded rows and left-out files that one answer lists."""


def written(solved: Sequence[Solved], form: Format) -> bytes:
    """Write the answers in one of the formats.

    Raises:
        TooLarge: more experiments than fit on one picture.
    """
    if form == "json":
        return json_bytes({"experiments": [experiment_json(one) for one in solved]}, utc=_in_utc(solved))
    if form == "csv":
        return table(solved).encode()
    from app.plots.polarization import drawn  # Matplotlib takes memory and a second: not before it is asked for

    return drawn(solved, form)


def json_bytes(content: dict[str, Any], *, utc: bool = False) -> bytes:
    """Serialize with NumPy arrays; what is not finite becomes null: of an `Answered`, flipping ratios alone may be."""
    return orjson.dumps(content, option=_UTC_OPTIONS if utc else _OPTIONS)


def _in_utc(solved: Sequence[Solved]) -> bool:
    """All date-times of a request have a zone, or none has."""
    return any(one.case.utc for one in solved)


def experiment_json(solved: Solved) -> dict[str, Any]:
    """One answer in the form of `ExperimentOut`."""
    case, answered = solved.case, solved.answered
    physics, lifetime = answered.physics, answered.lifetime
    return {
        "name": case.name or None,
        "material": case.ask.material,
        "time_s": case.ask.time_s,
        "time": case.date_times(case.ask.time_s),
        "polarization": answered.curve.mean,
        "polarization_sigma": answered.curve.sigma,
        "flipping_ratio": answered.flipping_ratio,
        "flipping_ratio_sigma": answered.flipping_ratio_sigma,
        "physics_polarization": physics and physics.mean,
        "physics_sigma": physics and physics.sigma,
        "t1_h": lifetime and lifetime.t1_h,
        "t1_sigma_h": lifetime and lifetime.sigma_h,
        "threshold": _threshold(case, answered),
        "anchors": _anchors(case),
        "models": [{"name": m.name, "version": m.version, "alias": m.alias} for m in solved.models],
        "correction": case.ask.correction,
        "warnings": [{"code": note.code, "message": note.message} for note in answered.notes],
    }


def _threshold(case: Case, answered: Answered) -> dict[str, Any] | None:
    crossing = answered.crossing
    if crossing is None:
        return None
    seconds = {"time": crossing.time_s, "earliest": crossing.earliest_s, "latest": crossing.latest_s}
    dates = {name: None if s is None else _date(case, s) for name, s in seconds.items()}
    return {"polarization": case.ask.threshold, **{f"{name}_s": s for name, s in seconds.items()}, **dates}


def _date(case: Case, time_s: float) -> str | None:
    dates = case.date_times(np.array([time_s]))
    return None if dates is None else iso(dates.astype("datetime64[s]"), utc=case.utc)[0]


def _anchors(case: Case) -> list[dict[str, Any]]:
    pairs = (("initial", case.ask.initial), ("final", case.ask.final))
    return [
        {
            "role": role,
            "time_s": c.time_s,
            "time": _date(case, c.time_s),
            "polarization": c.polarization,
            "sigma": c.sigma,
        }
        for role, c in pairs
        if c is not None
    ]


# --- files ------------------------------------------------------------------------------------------------------------


def survey_json(survey: Survey, solved: Sequence[Solved | str | None]) -> dict[str, Any]:
    """What files hold in the form of `FileAnswer`.

    Args:
        solved: for each segment its answer, or why an accepted one could not be predicted; None where rejected.
    """
    left_out = [(file, f"a copy of {other}") for file, other in survey.duplicates]
    return {
        "segments": [_segment(segment, found) for segment, found in zip(survey.segments, solved, strict=True)],
        "damaged": [
            {"file": file, "line": line.line, "text": line.text[:200], "reason": line.reason}
            for file, line in survey.damaged[:MAX_LISTED]
        ],
        "left_out": [{"file": file, "reason": why} for file, why in [*left_out, *survey.skipped][:MAX_LISTED]],
    }


def _segment(segment: Segment, found: Solved | str | None) -> dict[str, Any]:
    experiment, cells = segment.experiment, segment.installation
    polarizer = cells.polarizer if cells else experiment.polarizer if experiment else None
    analyser = cells.analyser or cells.magic_box if cells else experiment.analyser if experiment else None
    return {
        "name": experiment and experiment.name,
        "accepted": segment.accepted,
        "reason": segment.reason,
        "notes": segment.notes,
        "sources": segment.sources,
        "cell_id": polarizer and polarizer.cell_id,
        "analyser_id": analyser and analyser.cell_id,
        "reflection": segment.reflection,
        "rows": len(segment.rows) or (len(experiment.time_s) if experiment else 0),
        "excluded": [_excluded(row, reason) for row, reason in segment.excluded[:MAX_LISTED]],
        "prediction": experiment_json(found) if isinstance(found, Solved) else None,
        "problem": found if isinstance(found, str) else "",
    }


def _excluded(row: Row, reason: str) -> dict[str, Any]:
    polarization = row.polarization if math.isfinite(row.polarization) else None
    return {"line": row.line, "time": row.time.isoformat(), "polarization": polarization, "reason": reason}
