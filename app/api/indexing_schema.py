"""What callers send to and get from the indexing endpoints.

Every way to give positions has its own name with its unit, so that none can be taken for another.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)

from app.api.indexing_examples import BATCH_EXAMPLES, EXAMPLES
from app.api.schema import FieldError, Input, Output, UsedModel
from app.crystallography import bragg
from app.indexing.learned.choice import CHOICE_PATTERN
from app.indexing.peaks import KINDS, MAX_LINES, Given, KindName
from app.indexing.problem import SolveOptions
from app.indexing.question import RANGES

__all__ = ["BATCH_EXAMPLES", "EXAMPLES", "BatchRequest", "SolveRequest"]

LABEL_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
DEFAULTS: Final = SolveOptions()

Bravais = Literal["cF", "cI", "cP", "hR", "hP", "tI", "tP", "oF", "oI", "oC", "oP", "mC", "mP", "aP"]
Device = Literal["auto", "cpu", "gpu"]
Stopped = Literal["certain", "settled", "complete", "deadline", "cancelled"]

Positive = Annotated[float, Field(gt=0)]
Positions = Annotated[list[Positive], Field(max_length=MAX_LINES)]


def _listed(value: Any) -> Any:
    """A number is a list of one, so that what is wrong is told by the field's name and place alone."""
    return [value] if isinstance(value, int | float) and not isinstance(value, bool) else value


_POSITIVE: Final = {"type": "number", "exclusiveMinimum": 0}
Sigma = Annotated[
    Positions,
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [_POSITIVE, {"type": "array", "items": _POSITIVE, "maxItems": MAX_LINES}]}),
]


def _sigma_field(of: str) -> Any:
    return Field(description=f"Standard deviation of `{of}`, one for all lines or one for each, in the same unit.")


class LinesIn(Input):
    """Lines of one powder pattern, in any order: exactly one kind of position, at least 6 lines, better 20."""

    name: Annotated[
        str | None, Field(max_length=200, pattern=LABEL_PATTERN, description="Your label; it comes back in the answer.")
    ] = None
    d_ang: Annotated[Positions | None, Field(description="Spacings d [Angstrom].")] = None
    q_inv_ang: Annotated[Positions | None, Field(description="q = 1/d [1/Angstrom], without 2 pi.")] = None
    q_2pi_inv_ang: Annotated[Positions | None, Field(description="Q = 2 pi/d [1/Angstrom].")] = None
    q2_inv_ang2: Annotated[Positions | None, Field(description="q^2 = 1/d^2 [1/Angstrom^2].")] = None
    two_theta_deg: Annotated[
        list[Annotated[float, Field(gt=0, lt=180)]] | None,
        Field(max_length=MAX_LINES, description="2theta [deg]; needs the wavelength or the energy."),
    ] = None
    sigma_d_ang: Annotated[Sigma | None, _sigma_field("d_ang")] = None
    sigma_q_inv_ang: Annotated[Sigma | None, _sigma_field("q_inv_ang")] = None
    sigma_q_2pi_inv_ang: Annotated[Sigma | None, _sigma_field("q_2pi_inv_ang")] = None
    sigma_q2_inv_ang2: Annotated[Sigma | None, _sigma_field("q2_inv_ang2")] = None
    sigma_two_theta_deg: Annotated[Sigma | None, _sigma_field("two_theta_deg")] = None
    intensity: Annotated[
        list[Annotated[float, Field(ge=0)]] | None,
        Field(max_length=MAX_LINES, description="Integrated intensity of each line on any scale."),
    ] = None
    wavelength_ang: Annotated[
        float | None,
        Field(
            gt=0,
            le=20,
            description="Wavelength [Angstrom]. With d or q it is not needed, but a zero shift and F20 are.",
            examples=[1.540593],
        ),
    ] = None
    xray_energy_kev: Annotated[
        float | None, Field(gt=0, le=1000, description="Energy of X-rays [keV], in place of the wavelength.")
    ] = None
    neutron_energy_mev: Annotated[
        float | None, Field(gt=0, le=1e6, description="Energy of neutrons [meV], in place of the wavelength.")
    ] = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given: list[KindName] = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise ValueError(f"give the lines as exactly one of {', '.join(KINDS)}; found {found}")
        for name, kind in KINDS.items():
            if name != given[0] and getattr(self, kind.sigma_field) is not None:
                raise ValueError(
                    f"{kind.sigma_field} goes with {name}; with {given[0]} give {KINDS[given[0]].sigma_field}"
                )
        return self

    @model_validator(mode="after")
    def _one_radiation(self) -> Self:
        names = ("wavelength_ang", "xray_energy_kev", "neutron_energy_mev")
        given = [name for name in names if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(names)}; found {' and '.join(given)}")
        return self

    def lines(self) -> Given:
        """The lines as the domain takes them."""
        kind: KindName = next(name for name in get_args(KindName) if getattr(self, name) is not None)
        sigma: list[float] | float | None = getattr(self, KINDS[kind].sigma_field)
        if isinstance(sigma, list) and len(sigma) == 1:
            sigma = sigma[0]
        return Given(kind, getattr(self, kind), sigma, self.intensity, self._wavelength())

    def _wavelength(self) -> float | None:
        if self.xray_energy_kev is not None:
            return float(bragg.wavelength_from_energy(energy_kev=self.xray_energy_kev))
        if self.neutron_energy_mev is not None:
            return float(bragg.wavelength_from_neutron_energy(energy_mev=self.neutron_energy_mev))
        return self.wavelength_ang


def _range(option: str, description: str, **more: Any) -> Any:
    low, high = RANGES[option]
    return Field(ge=low, le=high, description=description, **more)


class OptionsIn(Input):
    """What to search. A good pattern needs none of these."""

    lattices: Annotated[
        list[Bravais] | None,
        Field(
            min_length=1,
            max_length=14,
            description="Bravais lattices to search; left out: all 14.",
            examples=[["cF", "tI"]],
        ),
    ] = None
    min_length_ang: Annotated[float, _range("min_length_ang", "Shortest axis of the conventional cell [Angstrom].")] = (
        DEFAULTS.min_length_ang
    )
    max_length_ang: Annotated[float, _range("max_length_ang", "Longest axis of the conventional cell [Angstrom].")] = (
        DEFAULTS.max_length_ang
    )
    max_volume_ang3: Annotated[
        float | None,
        _range("max_volume_ang3", "Largest volume of the primitive cell [Angstrom^3]; left out: what the lines allow."),
    ] = DEFAULTS.max_volume_ang3
    max_impurities: Annotated[
        int | None,
        _range("max_impurities", "Lines among the first 20 that may stay unindexed; left out: the solver finds out."),
    ] = DEFAULTS.max_impurities
    zero_shift_deg: Annotated[
        float | None,
        _range(
            "zero_shift_deg",
            "Largest zero shift in 2theta to look for, either way [deg]; 0: positions are taken as they are. "
            f"Left out: {DEFAULTS.zero_shift_deg:g} where the wavelength is known, else 0.",
        ),
    ] = None
    max_peaks: Annotated[int, _range("max_peaks", "Lines to use, from the largest d.")] = DEFAULTS.max_peaks
    max_seconds: Annotated[
        float,
        _range(
            "max_seconds",
            "Deadline of the search [s]: the best so far is the answer. It ends earlier where one cell is beyond "
            "doubt. The service has a limit of its own.",
        ),
    ] = DEFAULTS.max_seconds
    seed: Annotated[
        int, _range("seed", "Of all randomness: the same question with the same seed has the same answer.")
    ] = DEFAULTS.seed
    device: Annotated[Device, Field(description="`gpu` needs one; `auto` takes it where it helps.")] = "auto"
    max_solutions: Annotated[int, _range("max_solutions", "Most cells in the answer.")] = DEFAULTS.max_solutions

    def changes(self) -> dict[str, Any]:
        """The options that were given, as `app.indexing.question.ask` takes them."""
        given = {name: getattr(self, name) for name in OptionsIn.model_fields if name in self.model_fields_set}
        return {name: value for name, value in given.items() if value is not None}


class LearnedIn(Input):
    """Which learned parts take part. Nothing need be said."""

    learned: Annotated[
        bool | None,
        Field(
            description="Whether models from the store take part in the search and give the probability. Left out: as "
            "the service is set, normally true."
        ),
    ] = None
    models: Annotated[
        list[Annotated[str, Field(pattern=CHOICE_PATTERN, max_length=100)]] | None,
        Field(
            min_length=1,
            max_length=64,
            description="The models that take part, and no others: `name`, `name:version` or `name:alias`. Left out: "
            "of every learned part what `stable` names.",
            examples=[["indexing-odds:1"]],
        ),
    ] = None

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.models is not None and self.learned is False:
            raise ValueError("models names what takes part, and learned is false: leave one of them out")
        return self


class SolveRequest(LinesIn, OptionsIn, LearnedIn):
    """Lines of one pattern, and what to search."""


class RefusedPattern(Output):
    """A pattern of a batch that is not valid; reported in its place."""

    errors: list[FieldError]

    def content(self, *way: str | int) -> dict[str, Any]:
        """The form of `app.indexing.job.error_content`."""
        errors = [{**error.model_dump(), "loc": [*way, *error.loc]} for error in self.errors]
        first = self.errors[0]
        where = ".".join(map(str, first.loc))
        return {"kind": "invalid-input", "detail": f"{where}: {first.msg}" if where else first.msg, "errors": errors}


def _refused_in_place(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """One bad pattern of a series does not fail the others."""
    try:
        return handler(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        return RefusedPattern(
            errors=[
                FieldError(loc=list(item["loc"]), msg=item["msg"].removeprefix("Value error, "), type=item["type"])
                for item in found[:5]
            ]
        )


class BatchRequest(OptionsIn, LearnedIn):
    """Many patterns with the same options; `max_seconds` is for each."""

    patterns: Annotated[
        list[Annotated[LinesIn, WrapValidator(_refused_in_place)]],
        Field(min_length=1, description="The patterns; the answers come in the same order."),
    ]


# --- answers ----------------------------------------------------------------------------------------------------------


class CellOut(Output):
    """Six cell constants; rhombohedral lattices in hexagonal axes."""

    a_ang: Annotated[float, Field(description="[Angstrom]")]
    b_ang: Annotated[float, Field(description="[Angstrom]")]
    c_ang: Annotated[float, Field(description="[Angstrom]")]
    alpha_deg: Annotated[float, Field(description="[deg]")]
    beta_deg: Annotated[float, Field(description="[deg]")]
    gamma_deg: Annotated[float, Field(description="[deg]")]


class CellSummary(Output):
    """A cell in short."""

    bravais: Annotated[Bravais, Field(description="Bravais lattice, as in `lattices`.")]
    cell: Annotated[CellOut, Field(description="Conventional cell.")]
    niggli: Annotated[CellOut, Field(description="Niggli-reduced primitive cell: compare cells by this one.")]
    volume_ang3: Annotated[float, Field(description="Volume of the conventional cell [Angstrom^3].")]
    m20: Annotated[float | None, Field(description="De Wolff's figure of merit over the first 20 lines used, or all.")]
    f20: Annotated[float | None, Field(description="Smith and Snyder's F_N; null without a wavelength.")]
    log_odds: Annotated[
        float,
        Field(
            description="Natural logarithm of the evidence for this cell against chance: the order of the answer, "
            "where no model for the probability has another."
        ),
    ]
    n_indexed: Annotated[int, Field(description="Lines that the cell explains.")]
    n_lines: Annotated[int, Field(description="Lines used.")]


class LineOut(Output):
    """One line in the light of one cell; nulls where the cell does not explain it, or no wavelength was given."""

    hkl: Annotated[list[int] | None, Field(description="Indices h, k, l of the conventional cell; null: unindexed.")]
    q2_observed_inv_ang2: Annotated[float, Field(description="1/d^2 as given [1/Angstrom^2].")]
    q2_calculated_inv_ang2: Annotated[float | None, Field(description="1/d^2 of the cell [1/Angstrom^2].")]
    d_observed_ang: Annotated[float, Field(description="d as given [Angstrom].")]
    d_calculated_ang: Annotated[float | None, Field(description="d of the cell [Angstrom].")]
    two_theta_observed_deg: Annotated[float | None, Field(description="2theta as given [deg].")]
    two_theta_calculated_deg: Annotated[
        float | None, Field(description="2theta where the cell puts it, with the zero shift [deg].")
    ]
    delta_two_theta_deg: Annotated[float | None, Field(description="Observed less calculated 2theta [deg].")]


class ExtinctionOut(Output):
    """One extinction symbol that the indexed lines allow."""

    symbol: Annotated[str, Field(examples=["P 1 21/c 1"])]
    space_groups: Annotated[list[str], Field(description="Hermann-Mauguin symbols of the space groups that have it.")]
    n_forbidden: Annotated[int, Field(description="Indexed lines that it forbids.")]
    n_absent: Annotated[int, Field(description="Predicted lines that it explains as absent.")]


class SolutionOut(CellSummary):
    """One ranked cell."""

    cell_sigma: Annotated[
        CellOut, Field(description="Standard deviation of each constant of `cell`; 0 where symmetry fixes it.")
    ]
    f20_mean_delta_deg: Annotated[float | None, Field(description="Mean |delta 2theta| behind F_N [deg].")]
    f20_n_possible: Annotated[int | None, Field(description="Possible lines behind F_N.")]
    weight: Annotated[float, Field(description="Share of the evidence among the answered cells, 0 to 1.")]
    probability: Annotated[
        float | None,
        Field(
            description="Calibrated probability that this cell is the lattice, 0 to 1; those of an answer sum to at "
            "most 1. Null where no model for it took part."
        ),
    ]
    zero_shift_deg: Annotated[float, Field(description="Observed 2theta = true 2theta + zero shift [deg].")]
    n_possible: Annotated[int, Field(description="Distinct lines that the cell predicts up to the last used one.")]
    relatives: Annotated[
        list[int],
        Field(description="Places in `solutions`, from 0, of its sub- and superlattices and geometrical ambiguities."),
    ]
    found_by: Annotated[str, Field(description="The generator that proposed it.")]
    extinctions: Annotated[list[ExtinctionOut], Field(description="Compatible extinction symbols, best first.")]
    lines: Annotated[list[LineOut], Field(description="Every used line, from the largest d.")]


class SearchOut(Output):
    """What one generator did on one lattice."""

    lattice: Annotated[str, Field(description="Bravais lattice.")]
    generator: Annotated[str, Field(description="Name of the generator.")]
    n_candidates: Annotated[int, Field(description="Cells tried.")]
    complete: Annotated[bool, Field(description="No cell within the bounds and the error window was left out.")]
    seconds: Annotated[float, Field(description="Time it took [s].")]
    best_log_odds: Annotated[float | None, Field(description="Of its best cell; null where it found none.")]


class SolveAnswer(Output):
    """Ranked cells of one pattern."""

    name: Annotated[str | None, Field(description="The label of the request.")]
    solutions: Annotated[list[SolutionOut], Field(description="Best first; empty where nothing explains the lines.")]
    stopped: Annotated[
        Stopped,
        Field(
            description="`certain`: one cell is beyond doubt. `settled`: by what was learned, the rest of the search "
            "would not change the first cell. `complete`: all was searched. `deadline`: `max_seconds` passed. "
            "`cancelled`: it was told to stop."
        ),
    ]
    confidence: Annotated[
        float,
        Field(
            description="Probability that the first cell is the lattice, 0 to 1: calibrated where a model for it took "
            "part, else its share of the evidence, which is too sure of itself."
        ),
    ]
    probability: Annotated[
        float | None,
        Field(description="Calibrated probability that the lattice is among the cells; null without a model for it."),
    ]
    warnings: Annotated[
        list[str], Field(description="What to know of the lines, and of learned parts that did not take part.")
    ]
    models: Annotated[list[UsedModel], Field(description="Learned parts that took part, with their versions.")]
    searches: Annotated[list[SearchOut], Field(description="What was searched, and whether completely.")]
    n_candidates: Annotated[int, Field(description="Cells tried in all.")]
    seconds: Annotated[float, Field(description="Time of the search [s].")]
    seed: Annotated[int, Field(description="The seed used.")]
    device: Annotated[str, Field(description="The device used.")]
    wavelength_ang: Annotated[float | None, Field(description="The wavelength used [Angstrom].")]


class BackgroundOut(Output):
    """Counts under the lines."""

    smallest: Annotated[float, Field(description="[counts]")]
    median: Annotated[float, Field(description="[counts]")]
    largest: Annotated[float, Field(description="[counts]")]


class PeaksAnswer(Output):
    """Lines of a pattern by columns, from the largest d; the names are those that `/indexing/solve` takes."""

    name: Annotated[str | None, Field(description="Name of the file.")]
    n_lines: Annotated[int, Field(description="Lines found.")]
    wavelength_ang: Annotated[float | None, Field(description="What the positions belong to; null: not known.")]
    k_alpha2: Annotated[bool, Field(description="Whether the lines were fitted as K-alpha doublets.")]
    two_theta_deg: Annotated[
        list[float] | None, Field(description="Positions [deg]; null where the file was over d or q.")
    ]
    sigma_two_theta_deg: Annotated[list[float] | None, Field(description="Their standard deviations [deg].")]
    d_ang: Annotated[list[float] | None, Field(description="Spacings [Angstrom]; null without a wavelength.")]
    sigma_d_ang: Annotated[list[float] | None, Field(description="Their standard deviations [Angstrom].")]
    intensity: Annotated[list[float], Field(description="Areas [counts deg].")]
    sigma_intensity: Annotated[list[float], Field(description="Their standard deviations.")]
    height: Annotated[list[float], Field(description="Heights above the background [counts].")]
    fwhm_deg: Annotated[list[float] | None, Field(description="Full widths at half maximum [deg].")]
    snr: Annotated[list[float], Field(description="Area over its standard deviation.")]
    overlapped: Annotated[
        list[bool], Field(description="A neighbour stands so near that the position leans on the line shape.")
    ]
    background: BackgroundOut
    n_points: Annotated[int, Field(description="Points of the pattern that were searched.")]
    warnings: Annotated[list[str], Field(description="What to know of the file and its lines.")]


class BatchError(Output):
    """Why one pattern of a batch has no answer."""

    kind: Annotated[str, Field(description="Kind of problem, as in /problems/{kind}.", examples=["invalid-input"])]
    detail: Annotated[str, Field(description="What was found, what was expected and how to mend it.")]
    errors: Annotated[list[FieldError], Field(description="The fields that failed.")]


class BatchEntry(Output):
    """One pattern of a batch: its answer, or why it has none."""

    result: SolveAnswer | None
    error: BatchError | None


class BatchAnswer(Output):
    """Answers in the order of the patterns."""

    answers: list[BatchEntry]


class FileEntry(BatchEntry):
    """One file of many: its answer, or why it has none."""

    file: Annotated[str, Field(description="Its name, with its folders in a zip.")]


class SkippedFile(Output):
    """A file of a zip that was not read."""

    file: Annotated[str, Field(description="Its name.")]
    reason: Annotated[str, Field(description="Why.")]


class FilesAnswer(Output):
    """Answers in the order of the files."""

    answers: Annotated[list[FileEntry], Field(description="One for each file.")]
    skipped: Annotated[list[SkippedFile], Field(description="What was left out of zips.")]


class SolveProgress(Output):
    """`progress` of a running solve, in `/jobs/{id}`."""

    lattices_done: Annotated[list[str], Field(description="Lattices whose search has ended.")]
    lattices: Annotated[list[str], Field(description="Lattices to search.")]
    n_candidates: Annotated[int, Field(description="Cells tried so far.")]
    seconds: Annotated[float, Field(description="Time since the search began [s].")]
    best: Annotated[CellSummary | None, Field(description="The best cell so far.")]
