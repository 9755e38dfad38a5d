"""`odds-train`, `odds-steps`, `odds-doubt` and `publish-odds`: the learned order of the search, piece by piece."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from jaxtyping import Float

from app.errors import AppError, InvalidInput
from app.indexing.learned.models import Regression
from app.indexing.learned.odds import FAMILY, INPUT, NAME, NetworkOdds
from app.indexing.learned.shelf import Shelf
from app.indexing.learned.template_features import N_FEATURES
from app.indexing.problem import BRAVAIS
from app.indexing.search.observed import Observed
from app.indexing.search_order import Doubt, Step
from app.indexing.solve import compile_all
from app.model_registry.manifest import Feature, Manifest, ModelDraft, TensorSpec, Training
from app.model_registry.store import ModelStore
from training.indexing.data.commands import RESERVED
from training.indexing.data.pattern_set import read_patterns
from training.indexing.odds.card import card
from training.indexing.odds.data import cached_synthetic, frequencies, joined, made
from training.indexing.odds.patterns import CONDITIONS, known_patterns
from training.publish import publish

DATA, RUN, STORE = Path("runs/indexing/data"), Path("runs/indexing/odds"), Path("model_store")
NETWORK, CALIBRATED, STEPS_FILE, DOUBT_FILE, SCORES_FILE = (
    "network",
    "calibrated.keras",
    "steps.json",
    "doubt.json",
    "scores.json",
)
CATALOGUE: Final = "catalogue.json"
LIBRARIES: Final = ("keras", "numpy", "scikit-learn")

DataOption = Annotated[Path, typer.Option(help="Folder of patterns that `data` made.")]
RunOption = Annotated[Path, typer.Option(help="Folder of the run.")]
SeedOption = Annotated[int, typer.Option(min=0, help="Of all chance.")]
_DB = typer.Option(help="amcsd_cif1.db, from the PyPI package larixite; without it, random molecular crystals alone.")
_STORE = typer.Option(help="Store whose mixtures take part; none without.")


def odds_train_command(
    data: DataOption = DATA,
    run: RunOption = RUN,
    synthetic: Annotated[int, typer.Option(help="Random patterns of each lattice.")] = 2000,
    epochs: Annotated[int, typer.Option(help="Times that each is seen.")] = 14,
    curve: Annotated[bool, typer.Option(help="Train on a tenth and on a third, too.")] = False,
    seed: SeedOption = 1,
) -> None:
    """Train the network that tells the odds of the lattices, and judge it. Goes on where it was stopped."""
    import keras

    from training.indexing.odds.evaluate import by_lattice, compared, forest
    from training.indexing.odds.train import TrainArgs, calibrate, features, log_loss, predicted, train

    args = TrainArgs(epochs=epochs, seed=seed)
    parts = [cached_synthetic(run, synthetic, seed=seed), made(data, real=False), made(data, real=True)]
    examples = joined(parts)
    held = examples.take(examples.validation & examples.real)
    model = train(examples, args, run / NETWORK, typer.echo)
    rng = np.random.default_rng([seed, 5])
    half = rng.random(len(held)) < 0.5
    # The temperature comes from one half of the held-out patterns, the scores from the other.
    fitted, judged = held.take(half), held.take(~half)
    temperature = calibrate(model, features(fitted, args.disturbance, rng), fitted.lattice)
    keras.Model(model.input, model.output).save(run / NETWORK / CALIBRATED)  # without the state of the training
    rows = rng.permutation(len(examples))
    rival = forest(examples.take(rows), args.disturbance, seed=seed)
    scores: dict[str, Any] = {
        "temperature": temperature,
        "learnt_from": int((~examples.validation).sum()),
        "real": int((~examples.validation & examples.real).sum()),
        "held_out": len(judged),
        "conditions": compared(model, rival, judged, CONDITIONS, seed=seed),
        "lattices": by_lattice(model, rival, judged, args.disturbance, seed=seed),
    }
    if curve:
        scores["curve"] = {}
        for share in (0.1, 0.33):
            few = joined([examples.take(rows[: round(share * len(rows))]), held])
            part = train(few, args, run / f"curve-{share:g}", typer.echo)
            given = features(judged, args.disturbance, np.random.default_rng([seed, 6]))
            scores["curve"][f"{share:g}"] = log_loss(predicted(part, given), judged.lattice)
    _write(run / SCORES_FILE, scores)
    typer.echo(json.dumps(scores, indent=1))


def odds_steps_command(
    data: DataOption = DATA,
    run: RunOption = RUN,
    store: Annotated[Path | None, _STORE] = None,
    per_lattice: Annotated[int, typer.Option(help="Structures of each lattice.")] = 10,
    seed: SeedOption = 1,
) -> None:
    """Measure what each step of the search earns and costs, and put the steps in order."""
    from training.indexing.odds.steps import best_order, measure

    patterns = known_patterns(data, per_lattice, validation=False, seed=seed)
    steps = best_order(measure(patterns, typer.echo, mixtures_of(store)))
    _write(run / STEPS_FILE, [asdict(step) for step in steps])


def odds_doubt_command(
    db: Annotated[Path | None, _DB] = None,
    reserved: Annotated[Path | None, RESERVED] = None,
    data: DataOption = DATA,
    run: RunOption = RUN,
    store: Annotated[Path | None, _STORE] = None,
    count: Annotated[int, typer.Option(min=1, help="Patterns to watch.")] = 200,
    most: Annotated[float, typer.Option(help="Probability of a loss below which a search ends.")] = 0.01,
    seed: Annotated[int, typer.Option(min=0, help="Of the patterns.")] = 11,
) -> None:
    """Watch whole searches under drawn conditions and fit when they may end. Goes on where it was stopped."""
    from training.indexing.odds.doubt import compared, fit, read_searches, stages_of, watch
    from training.indexing.outcomes.answers import case_name, drawn_cases
    from training.indexing.outcomes.commands import RUN as OUTCOMES
    from training.indexing.outcomes.commands import catalogue_of

    compile_all()
    kept = run / f"watched-{seed}.jsonl"
    done = {one.name for one in read_searches(kept)}
    left = [number for number in range(count) if case_name(seed, number) not in done]
    # The odds of structures that the network has learnt from are better than they will be.
    held_back = set(read_patterns(data, real=True, validation=True).identifier.tolist())
    catalogue = [one for one in catalogue_of(OUTCOMES / CATALOGUE, db, reserved) if one.amcsd_id in held_back]
    cases = drawn_cases(left, seed, catalogue, db)
    for one in watch(cases, odds_of(run), read_steps(run), kept, mixtures_of(store)):
        typer.echo(f"{one.name} {one.bravais}: {one.ends_right}, {len(one.terms)} looks, {one.whole_s:.2f} s")
    searches = read_searches(kept)
    stages = stages_of(searches)
    found = {f"{share:g}": asdict(one) for share, one in compared(stages).items()}
    _write(run / DOUBT_FILE, {"doubt": asdict(fit(stages, most)), "compared": found, "patterns": len(searches)})
    typer.echo(json.dumps(found, indent=1))


def publish_odds_command(
    run: RunOption = RUN,
    store: Annotated[Path, typer.Option(help="The model store.")] = STORE,
    promote: Annotated[bool, typer.Option(help="Move the alias `stable` to the new version.")] = False,
) -> None:
    """Publish the network with its steps and its doubt."""
    try:
        manifest = publish_run(ModelStore(store), run, promote=promote)
    except AppError as error:
        raise typer.BadParameter(error.message) from error
    typer.echo(f"published {manifest.name} version {manifest.version}")


def publish_run(store: ModelStore, run: Path, *, promote: bool = False) -> Manifest:
    """Publish what lies in a run's folder.

    Raises:
        InvalidInput: a piece is missing.
        ModelRefused: the compiled form answers differently.
    """
    scores, doubt = _read(run / SCORES_FILE), _read(run / DOUBT_FILE)
    steps = _read(run / STEPS_FILE)
    draft = ModelDraft(
        name=NAME,
        family=FAMILY,
        description="Odds of the 14 Bravais lattices from the first lines of a powder pattern, and the order of the "
        "search that follows from them.",
        features=(Feature(name="q2", unit="1/Angstrom^2"),),
        parameters={"lattices": list(BRAVAIS), "steps": steps, "doubt": doubt["doubt"]},
        training=Training(
            command="python -m training.indexing odds-train; odds-steps; odds-doubt; publish-odds",
            seed=1,
            libraries={name: version(name) for name in LIBRARIES},
        ),
        metrics={"odds": scores, "doubt": doubt["compared"]},
    )
    return publish(
        store,
        draft,
        card=card(scores, doubt),
        network=run / NETWORK / CALIBRATED,
        inputs=(TensorSpec(name=INPUT, shape=(None, N_FEATURES)),),
        promote=("stable",) if promote else (),
    )


class _Given:
    """A Keras network as the registry would run it."""

    def __init__(self, path: Path) -> None:
        import keras

        self._model = keras.models.load_model(path)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"probability": np.asarray(self._model(inputs["lines"]))}  # pyright: ignore[reportCallIssue, reportOptionalCall]


def odds_of(run: Path) -> Any:
    """The odds that a run's network gives to lines."""
    return NetworkOdds(_Given(run / NETWORK / CALIBRATED), (), Doubt((), 0.0, 0.0)).probabilities


def mixtures_of(store: Path | None) -> Regression | None:
    """The mixtures that a store's stable versions bring."""
    shelf = Shelf(store)
    return shelf.at_hand(shelf.default()).learned.regression


def frequency_odds(_: Observed) -> Float[np.ndarray, "lattice"]:
    """The same odds whatever the lines: how often each lattice occurs."""
    return frequencies()


def read_steps(run: Path) -> tuple[Step, ...]:
    """The steps of a run, in their order."""
    return tuple(Step(**step) for step in _read(run / STEPS_FILE))


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InvalidInput(f"{path.name} is not there yet: make it with the commands of `python -m training.indexing`")
    return json.loads(path.read_text("utf-8"))


def _write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
