"""`probability` compares the ways to a probability and evaluates the chosen one; `publish-probability` publishes it."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import typer

from app.errors import AppError, InvalidInput
from app.indexing.learned.probability import FAMILY, NAME, ScoredProbability
from app.indexing.learned.probability_features import FEATURES
from app.indexing.problem import BRAVAIS
from app.model_registry.manifest import Feature, Manifest, ModelDraft, Training
from app.model_registry.store import ModelStore
from training.indexing.data.quality import resembles
from training.indexing.outcomes.answers import Outcome, read_outcomes
from training.indexing.outcomes.commands import RUN
from training.indexing.probability.breakdown import by_kind, curve_table, kinds_table, learning_curve
from training.indexing.probability.card import comparison_table, evidence_table, text
from training.indexing.probability.data import Answers, answers_from
from training.indexing.probability.fit import (
    Judged,
    chosen_method,
    compared,
    cross_validated,
    fit_published,
    gained,
    judged,
)
from training.indexing.probability.methods import METHODS, SCORED, shared
from training.indexing.probability.picture import draw_reliability
from training.publish import publish

DESCRIPTION: Final = "Probability of each ranked cell of a powder pattern that it is the true lattice."
LIBRARIES: Final = ("numpy", "scikit-learn", "scipy")
HELD_OUT: Final = "held-out structures"

_DRAWN = typer.Option(help="Folders of outcomes to fit on. May be repeated.")
_EVALUATE = typer.Option(help="NAME=FOLDER of outcomes to evaluate on, which nothing is fitted on. May be repeated.")
_METHOD = typer.Option(help="Method instead of the one of the smallest log loss.")
_PICTURE = typer.Option(help="Where to draw the reliability diagram.")
_REPORT = typer.Option(help="Where to write all figures as JSON.")
_REORDERS = typer.Option(help="Order the cells by their probability; left out: where that is right more often.")
SeedOption = Annotated[int, typer.Option(min=0, help="Of folds and fits.")]


@dataclass(frozen=True)
class _Fit:
    """All that a run finds out; ``orders``: first cells that the order of the probability makes right, and wrong."""

    outcomes: Sequence[Outcome]
    answers: Answers
    comparison: Sequence[Judged]
    method: str
    part: ScoredProbability
    evidence: dict[str, Judged]
    baseline: dict[str, Judged]
    orders: tuple[int, int]


def probability_command(
    drawn: Annotated[list[Path] | None, _DRAWN] = None,
    evaluate: Annotated[list[str] | None, _EVALUATE] = None,
    method: Annotated[str | None, _METHOD] = None,
    picture: Annotated[Path | None, _PICTURE] = None,
    report: Annotated[Path | None, _REPORT] = None,
    seed: SeedOption = 0,
) -> None:
    """Compare the methods on held-out structures, and evaluate the chosen one on other sets."""
    try:
        fit = _fitted(drawn or [RUN / "drawn"], evaluate or [], method, reorders=None, seed=seed)
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
        raise typer.Exit(1) from None
    _tell(fit, picture, report)


def _tell(fit: _Fit, picture: Path | None, report: Path | None) -> None:
    typer.echo(comparison_table(fit.comparison) + "\n")
    typer.echo(evidence_table({**fit.evidence, **{f"{name}, as before": one for name, one in fit.baseline.items()}}))
    won, lost = fit.orders
    typer.echo(f"\nordered by probability on {HELD_OUT}: {won} answers become right, {lost} become wrong")
    if picture is not None:
        draw_reliability(_panels(fit), picture)
    if report is not None:
        tables = {"comparison": fit.comparison, "evidence": fit.evidence.values(), "before": fit.baseline.values()}
        content = {name: [one.content() for one in rows] for name, rows in tables.items()}
        facts = {"method": fit.method, "sets": list(fit.evidence), "orders": fit.orders}
        report.write_text(json.dumps({**facts, **content}, indent=1))


def probability_details_command(
    drawn: Annotated[list[Path] | None, _DRAWN] = None,
    method: Annotated[str, typer.Option(help="Method to look into.")] = "stacked softmax",
    seed: SeedOption = 0,
) -> None:
    """Tell how a method does on held-out structures by lattice, by how the search ended, and by how much it learnt."""
    outcomes = sorted(read_outcomes(*(drawn or [RUN / "drawn"])), key=_by_symmetry)
    if not outcomes or method not in METHODS:
        raise typer.BadParameter(f"expected outcomes, and a method of {', '.join(METHODS)}")
    answers = answers_from(outcomes)
    p = cross_validated(METHODS[method], answers, seed=seed)
    for title, kinds in (
        ("lattice", [one.case.truth.bravais for one in outcomes]),
        ("search ended as", [one.result.stopped for one in outcomes]),
    ):
        typer.echo(kinds_table(title, by_kind(p, answers, kinds)) + "\n")
    typer.echo(curve_table(learning_curve(method, METHODS[method], answers, seed=seed)))


def _by_symmetry(outcome: Outcome) -> int:
    return BRAVAIS.index(outcome.case.truth.bravais)


def publish_probability_command(
    drawn: Annotated[list[Path] | None, _DRAWN] = None,
    evaluate: Annotated[list[str] | None, _EVALUATE] = None,
    method: Annotated[str | None, _METHOD] = None,
    reorders: Annotated[bool | None, _REORDERS] = None,
    store: Annotated[Path, typer.Option(help="the model store")] = Path("model_store"),
    picture: Annotated[Path | None, _PICTURE] = None,
    report: Annotated[Path | None, _REPORT] = None,
    seed: SeedOption = 0,
    promote: Annotated[bool, typer.Option(help="move the alias `stable` to the new version")] = False,
) -> None:
    """Fit on all outcomes and publish with what was found."""
    try:
        fit = _fitted(drawn or [RUN / "drawn"], evaluate or [], method, reorders=reorders, seed=seed)
        manifest = publish_fit(ModelStore(store), fit, seed=seed, promote=promote)
    except AppError as error:
        typer.echo(f"{error.title}: {error.message}", err=True)
        raise typer.Exit(1) from None
    _tell(fit, picture, report)
    typer.echo(f"published {manifest.name} version {manifest.version}")


def _fitted(
    drawn: Sequence[Path], evaluate: Sequence[str], method: str | None, *, reorders: bool | None, seed: int
) -> _Fit:
    sets = _sets(evaluate)
    outcomes = unlike(read_outcomes(*drawn), [one for _, others in sets for one in others])
    if not outcomes:
        raise InvalidInput("there are no outcomes yet: run `outcomes` first")
    if method is not None and method not in SCORED:
        raise InvalidInput(f"{method!r} is no method that can be published; choose from {', '.join(SCORED)}")
    answers = answers_from(outcomes)
    comparison = compared(answers, seed=seed)
    chosen = method or chosen_method(comparison)
    orders = _orders(chosen, answers, seed)
    part = fit_published(answers, chosen, reorders=orders[0] > orders[1] if reorders is None else reorders, seed=seed)
    evidence = {HELD_OUT: next(one for one in comparison if one.method == chosen)}
    baseline = {HELD_OUT: next(one for one in comparison if one.method == "evidence / 3")}
    for name, found in sets:
        others = answers_from(found)
        evidence[name] = judged(chosen, shared(part, others), others, seed)
        before = METHODS["evidence / 3"](answers, np.random.default_rng(seed))
        baseline[name] = judged("evidence / 3", before(others), others, seed)
    return _Fit(outcomes, answers, comparison, chosen, part, evidence, baseline, orders)


def unlike(outcomes: Sequence[Outcome], evaluated: Sequence[Outcome]) -> list[Outcome]:
    """Leave out what comes from a structure whose lattice is that of an evaluated one, or within 3 % of it."""
    if not outcomes or not evaluated:
        return list(outcomes)
    own, cases = (np.array([one.case.truth.niggli for one in several]) for several in (outcomes, evaluated))
    return [one for one, alike in zip(outcomes, resembles(own, cases), strict=True) if not alike]


def _sets(named: Sequence[str]) -> list[tuple[str, list[Outcome]]]:
    found = []
    for one in named:
        name, _, folder = one.partition("=")
        outcomes = read_outcomes(Path(folder))
        if not outcomes:
            raise InvalidInput(f"{one!r} names no outcomes: expected NAME=FOLDER as `outcomes` leaves it")
        found.append((name, outcomes))
    return found


def _orders(method: str, answers: Answers, seed: int) -> tuple[int, int]:
    """How many first cells become right, and wrong, in the order of the probability."""
    p = cross_validated(SCORED[method], answers, seed=seed)
    return gained(answers.first(answers.log_odds), answers.first(p), answers)


def _panels(fit: _Fit) -> dict[str, dict]:
    return {
        name: {"calibrated": one.most_probable, "evidence / 3": fit.baseline[name].most_probable}
        for name, one in fit.evidence.items()
    }


def publish_fit(store: ModelStore, fit: _Fit, *, seed: int, promote: bool) -> Manifest:
    """Publish a fit with its card.

    Raises:
        ModelRefused: the plain arrays answer otherwise than scikit-learn.
    """
    roles = tuple(SCORED[fit.method].estimates)
    part, crystals = fit.part, sum(one.case.truth.group.startswith("crystal") for one in fit.outcomes)
    solvers = sorted({one.solver for one in fit.outcomes})
    draft = ModelDraft(
        name=NAME,
        family=FAMILY,
        description=DESCRIPTION,
        features=tuple(
            Feature(name=name, unit="1", min=float(low), max=float(high))
            for name, low, high in zip(FEATURES, part.low, part.high, strict=True)
        ),
        parameters={
            "weights": dict(zip(roles, part.weights, strict=True)),
            "none": part.none,
            "reorders": part.reorders,
            "competing": part.competing,
            "method": fit.method,
            "solver": list(solvers),
        },
        training=Training(
            command=" ".join(["python -m training.indexing", *sys.argv[1:]]),
            seed=seed,
            data_fingerprint=fingerprint(fit.outcomes),
            libraries={name: version(name) for name in LIBRARIES},
        ),
        metrics={name: one.content() for name, one in fit.evidence.items()},
    )
    facts = {
        "answers": len(fit.outcomes),
        "structures": len(fit.outcomes) - crystals,
        "crystals": crystals,
        "solver": ", ".join(solvers),
    }
    card = text(draft, method=fit.method, comparison=fit.comparison, evidence=fit.evidence, facts=facts)
    estimators = dict(zip(roles, part.estimators, strict=True))
    return publish(store, draft, card=card, scalers=estimators, promote=("stable",) if promote else ())


def fingerprint(outcomes: Sequence[Outcome]) -> str:
    """SHA-256 of what was asked and which cells were right."""
    rows = sorted((one.case.name, one.solver, one.right) for one in outcomes)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()
