"""The model card of an anchored decay model: the checklist of Artrith et al., Nature Chemistry 13 (2021) 505."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from app.model_registry.manifest import Feature, ModelDraft
from app.polarization.anchored import AnchoredParameters, LifetimePrior
from app.polarization.experiment import Experiment
from training.polarization.anchored import AnchoredArgs
from training.polarization.scores import Scores

_TEXT = """\
# {name}

{description}

## Use
Give the cell, both calibrations (time, polarization, error) and the times; the answer is the neutron polarization with
its standard deviation. The curve passes through both calibrations. Outside the ranges below the service warns.

{ranges}

## 1. Data sources
{experiments} decays with {points} points, {first} to {last}, measured at D3 (ILL) on {cells}. They are instrument files
of the ILL, read from the `processed` folders of its proposals; they are not part of this project. Data fingerprint
(SHA-256 of the data set): `{fingerprint}`. Bias: one instrument, {campaigns} and a handful of cells; a cell that is not
listed gets what is known of the others.

## 2. Data cleaning
`python -m training.polarization data DIR` reads, cuts, judges and deduplicates; `docs/polarization-data.md` gives every
rule with its reason and its count, `segments.csv` beside the data set the verdict on every segment. Copies of the same
rows under other names are one experiment.

## 3. Data representation
Optics of the set-up, lifetime of each cell and the calibrations with their errors, as ten numbers without unit
(`app/polarization/anchored.py`, `FEATURES`); compared below with the D3 pipeline's features (one-hot cell, pressure,
laboratory values, calibrations), where its networks were evaluated on the same data.

Fitted: amplitude A = {amplitude:.4f}{ratio}, excess scatter {excess:.4f}, L lambda = {path:.2f} A cm.

| cell | usual T1 [h] | spread of ln T1 |
|---|---|---|
{lifetimes}

## 4. Model choice
Physics through both calibrations, bent by the linear Bayes estimate of their errors and by a network of {units} hidden
units that has seen simulated decays only. Held-out experiments decide how much the network's mean counts (here
{gain:.2f}) and how wide sigma is. Baselines: straight line, exponential, physics alone, Gaussian process.

## 5. Training and validation
Nothing of a held-out decay is seen: optics, lifetimes, network, weight and calibration are fitted anew without it.
`rmse/floor` is relative to what counting and the calibrations' errors alone give; `cov` is the share of points within 1
and 2 sigma (normal law: 0.683 and 0.954).

{evidence}

## 6. Code and reproducibility
`{command}` (seed {seed}) after `data` and `evaluate` on the same folder. Libraries: {libraries}.
"""

_HELD_OUT = {
    "installation": "Leaving out one installation of a cell (every experiment on the same filling)",
    "campaign": "Leaving out a whole beam time (what a coming reactor cycle will be like)",
}


def text(
    draft: ModelDraft,
    parameters: AnchoredParameters,
    args: AnchoredArgs,
    experiments: Sequence[Experiment],
    evidence: Mapping[str, Mapping[str, Scores]],
) -> str:
    """Give the text of ``CARD.md``."""
    starts = sorted(e.start for e in experiments)
    ratio = parameters.optics.analyser_ratio
    months = {(start.year, start.month) for start in starts}
    return _TEXT.format(
        name=draft.name,
        description=draft.description,
        ranges=_ranges(draft.features),
        experiments=len(experiments),
        points=sum(len(e.time_s) for e in experiments),
        first=f"{starts[0]:%Y-%m}",
        last=f"{starts[-1]:%Y-%m}",
        campaigns=f"{len(months)} calendar months",
        cells=", ".join(sorted(parameters.cells)),
        fingerprint=draft.training.data_fingerprint,
        amplitude=parameters.optics.amplitude,
        ratio="" if ratio is None else f", analyser/polarizer opacity {ratio:.3f}",
        excess=parameters.excess_sigma,
        path=math.exp(parameters.log_path_ang_cm),
        lifetimes="\n".join(_lifetime_row(*item) for item in _all_lifetimes(parameters)),
        units=" + ".join(str(n) for n in args.hidden),
        gain=parameters.network_gain,
        evidence="\n\n".join(_evidence(how, rows) for how, rows in evidence.items()),
        command=draft.training.command,
        seed=draft.training.seed,
        libraries=", ".join(f"{name} {number}" for name, number in draft.training.libraries.items()),
    )


def _ranges(features: Sequence[Feature]) -> str:
    rows = (f"| {f.name} | {f.unit} | {f.min:.6g} | {f.max:.6g} |" for f in features)
    return "\n".join(["| input | unit | smallest in training | largest |", "|---|---|---|---|", *rows])


def _all_lifetimes(parameters: AnchoredParameters) -> list[tuple[str, LifetimePrior]]:
    return [*sorted(parameters.cells.items()), ("any other", parameters.unknown_cell)]


def _lifetime_row(name: str, prior: LifetimePrior) -> str:
    return f"| {name} | {math.exp(prior.log_t1_h):.0f} | {prior.spread:.2f} |"


def _evidence(how: str, rows: Mapping[str, Scores]) -> str:
    first = next(iter(rows.values()))
    head = f"{_HELD_OUT[how]}: {first.experiments} experiments, {first.points} points between calibrations.\n"
    lines = (
        f"| {name} | {s.rmse:.5f} | {s.mae:.5f} | {s.chi2:.2f} | {s.over_floor:.3f} | {s.coverage_1:.2f} / "
        f"{s.coverage_2:.2f} |"
        for name, s in rows.items()
    )
    return "\n".join(
        [head, "| method | RMSE | MAE | chi2 a point | rmse/floor | cov |", "|---|---|---|---|---|---|", *lines]
    )
