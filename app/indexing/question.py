"""One question to the solver: lines and options, checked against each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

import numpy as np

from app.indexing.learned.choice import models_content, models_from_content
from app.indexing.peaks import MIN_LINES, Given, KindName, peak_list, refused
from app.indexing.problem import BRAVAIS, PeakList, SolveOptions, UsedModel

DEVICES: Final = ("auto", "cpu", "gpu")
RANGES: Final[Mapping[str, tuple[float, float]]] = {
    "min_length_ang": (1.0, 200.0),
    "max_length_ang": (2.0, 200.0),
    "max_volume_ang3": (5.0, 1e6),
    "max_impurities": (0, 19),
    "zero_shift_deg": (0.0, 1.0),
    "max_peaks": (MIN_LINES, 100),
    "max_seconds": (0.05, 86_400.0),
    "seed": (0, 2**31 - 1),
    "max_solutions": (1, 100),
}
"""Lowest and highest value of each numerical option."""


@dataclass(frozen=True)
class Question:
    """What one solve needs to know.

    Attributes:
        peaks: the lines, in order.
        options: what to search.
        warnings: what the user should know of the lines; goes into the answer.
        name: the user's label.
        models: versions of the learned parts that are to take part.
    """

    peaks: PeakList
    options: SolveOptions
    warnings: tuple[str, ...] = ()
    name: str = ""
    models: tuple[UsedModel, ...] = ()

    def with_models(self, models: Sequence[UsedModel], warnings: Sequence[str] = ()) -> Question:
        """The same question with these learned parts, and what is to know of them."""
        return replace(self, models=tuple(models), warnings=(*self.warnings, *warnings))


def ask(given: Given, changes: Mapping[str, Any], *, name: str = "") -> Question:
    """Check lines and options.

    Args:
        given: the lines.
        changes: the fields of `SolveOptions` that the user set. A zero shift that was not asked for is not looked for
            where no wavelength makes sense of it.
        name: the user's label.

    Raises:
        InvalidInput: as `app.indexing.peaks.peak_list` and `solve_options`; a zero shift without a wavelength; fewer
            than six lines within the longest axis. ``details["field"]`` is the way to the field.
        TooLarge: too many lines.
    """
    peaks, warnings = peak_list(given)
    options = solve_options(changes)
    if peaks.wavelength_ang is None:
        if changes.get("zero_shift_deg"):
            raise refused(["zero_shift_deg"], "a zero shift in 2theta needs the wavelength: give it, or leave this out")
        options = replace(options, zero_shift_deg=0.0)
    return Question(peaks, options, (*warnings, *_within_bounds(given.kind, peaks, options)), name)


def solve_options(changes: Mapping[str, Any]) -> SolveOptions:
    """Give the options with these changes.

    Raises:
        InvalidInput: a value outside `RANGES`, an unknown lattice or device, bounds that exclude each other.
    """
    known = {field.name for field in fields(SolveOptions)}
    for name, value in changes.items():
        if name not in known:
            raise refused([name], f"there is no such option; known are {', '.join(sorted(known))}")
        if name in RANGES and value is not None and not RANGES[name][0] <= value <= RANGES[name][1]:
            raise refused([name], f"found {value:g}, expected {RANGES[name][0]:g} to {RANGES[name][1]:g}")
    options = SolveOptions(**changes)
    if options.device not in DEVICES:
        raise refused(["device"], f"found {options.device[:40]!r}, expected one of {', '.join(DEVICES)}")
    if options.min_length_ang >= options.max_length_ang:
        raise refused(
            ["max_length_ang"],
            f"found {options.max_length_ang:g}, expected more than min_length_ang = {options.min_length_ang:g}",
        )
    return replace(options, lattices=_lattices(options.lattices))


def _lattices(names: Sequence[str]) -> tuple[str, ...]:
    """In the order of `BRAVAIS`, each once."""
    for index, name in enumerate(names):
        if name not in BRAVAIS:
            raise refused(["lattices", index], f"found {name[:40]!r}, expected some of {', '.join(BRAVAIS)}")
    if not names:
        raise refused(["lattices"], "none is named; leave the field out to search all")
    return tuple(name for name in BRAVAIS if name in names)


def _within_bounds(kind: KindName, peaks: PeakList, options: SolveOptions) -> list[str]:
    """A lattice plane's spacing is never longer than the longest axis."""
    spacing = peaks.q2_inv_ang2**-0.5
    beyond = int(np.sum(spacing > options.max_length_ang))
    if len(spacing) - beyond < MIN_LINES:
        raise refused(
            [kind],
            f"{beyond} of {len(spacing)} lines have a d above max_length_ang = {options.max_length_ang:g} Angstrom, "
            f"which no cell within the bounds explains: check the unit, or raise max_length_ang",
        )
    if not beyond:
        return []
    return [
        f"{beyond} lines have a d above max_length_ang = {options.max_length_ang:g} Angstrom and stay unindexed: raise "
        "max_length_ang if they belong to the sample"
    ]


# --- as plain data ----------------------------------------------------------------------------------------------------


def question_content(question: Question) -> dict[str, Any]:
    """Give the question as plain data, arrays as they are (orjson writes them)."""
    return {
        "peaks": {name: value for name, value in vars(question.peaks).items() if value is not None},
        "options": asdict(question.options),
        "warnings": list(question.warnings),
        "name": question.name,
        "models": models_content(question.models),
    }


def question_from_content(content: Mapping[str, Any]) -> Question:
    """Inverse of `question_content`, after a way through JSON."""
    peaks: dict[str, Any] = {
        name: value if name == "wavelength_ang" else np.array(value) for name, value in content["peaks"].items()
    }
    options = SolveOptions(**{**content["options"], "lattices": tuple(content["options"]["lattices"])})
    # Left out by jobs that were queued before there were learned parts.
    models = models_from_content(content.get("models", ()))
    return Question(PeakList(**peaks), options, tuple(content["warnings"]), content["name"], models)
