"""The model card of the posterior network: the checklist of Artrith et al., Nature Chemistry 13 (2021) 505."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.model_registry.manifest import Feature, ModelDraft
from training.waveform.evaluate import Result
from training.waveform.tables import by_separation, table, two_by_separation

_TEXT = """\
# {name}

{description}

## Use
Give waveforms of an S2 (5,000 samples of 10 ns, positive pulses on any baseline, in any unit), the detector's settings
and, where it is known, the drift time of the first scatter. The answer is the probability of two scatters, where one
and two are equally probable beforehand, and a posterior of their separation from 0 to 8 us under a flat prior.
Separations under about 0.1 x 8 us are not resolved without the drift time: ask for the probability and sigma, not for
the mean alone. Three scatters, afterpulses, pile-up and clipped pulses are not in the training set.

Ranges of what the network takes, in training; outside of them the service warns.

{ranges}

## 1. Data sources
Simulated only: {events:,} pulses, {reference:.0%} from the reference detector and the others from detectors, light and
electronics drawn anew for every 256 pulses (`training/waveform/mixed.py`). No public set of measured S2 waveforms with
true separations is known. `docs/waveform-simulation.md` gives every constant with its source. Bias: what the simulation
leaves out. Settings drawn around public values of LZ, XENON1T and XENONnT.

## 2. Data cleaning
Nothing is removed. {two:.0%} of the pulses have two scatters, separations uniform from 0 to 8 us; weights make one and
two scatters equally probable.

## 3. Data representation
Area-normalised shape around the centroid and numbers about it (`app/waveform/features.py`), the same function in
training and service; free of baseline, gain and position. Compared below with RMS width, moments, templates and
nineteen pulse-shape features.

## 4. Model choice
Dense layers of {layers} units (Keras) and a softmax over one scatter and {cells} cells of separation: its
cross-entropy makes the answer a posterior. Baselines: mean, widths, template matching, gradient boosting.

## 5. Training and validation
Tests are simulated with seeds that no training uses. All but the reference setting are detectors that the baselines
were not trained on ({baseline}); the network has seen detectors drawn around them. Errors in units of 8 us; `cov` is
the share of true separations within the central intervals; AUC of two scatters against one; efficiency at 5 % of single
scatters taken for two; Brier score of the probability.

{scores}

Reference setting, RMSE by separation:

{rmse}

RMSE over the Cramer-Rao bound (below 1 towards d = 0, where every estimate with a prior is biased):

{ratio}

Recognition of two scatters: AUC and efficiency.

{two_scores}

## 6. Code and reproducibility
`python -m training.waveform train-posterior --seed {seed}`, then `{command}`. Libraries: {libraries}.
"""


def text(draft: ModelDraft, arguments: dict[str, Any], results: Sequence[Result]) -> str:
    """Give the text of ``CARD.md``.

    Args:
        draft: what is published.
        arguments: of the training run.
        results: of the network and of what it is compared with.
    """
    reference = [result for result in results if result.questions.setting == "reference"]
    learned = next((r.training for r in results if r.training is not None), None)
    return _TEXT.format(
        name=draft.name,
        description=draft.description,
        ranges=_ranges(draft.features),
        events=arguments["events"],
        reference=arguments["reference_share"],
        two=arguments["two_share"],
        layers=" + ".join(str(units) for units in arguments["layers"]),
        cells=draft.parameters["cells"],
        baseline="none" if learned is None else f"{learned.events:,} pulses of the setting `{learned.setting}`",
        scores=table(results),
        rmse=by_separation(reference, "rmse"),
        ratio=by_separation(reference, "over_bound"),
        two_scores=two_by_separation(reference),
        seed=arguments["seed"],
        command=draft.training.command,
        libraries=", ".join(f"{name} {number}" for name, number in draft.training.libraries.items()),
    )


def _ranges(features: Sequence[Feature]) -> str:
    rows = (f"| {f.name} | {f.unit} | {f.min:.6g} | {f.max:.6g} |" for f in features)
    return "\n".join(["| input | unit | smallest in training | largest |", "|---|---|---|---|", *rows])
