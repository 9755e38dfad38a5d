"""The model card of an imported D3 network: what can be read from its files, and what its authors must add."""

from __future__ import annotations

from app.model_registry.manifest import Feature, ModelDraft

_TEXT = """\
# {name}

{description}

## Use
Predicts the neutron polarization between two calibrations of one 3He cell at D3. Input: {width} static features and
the time, one row a time; output: mean and log variance of the scaled polarization. The network's own prediction is
meant to be corrected to pass through both calibrations.

## Data sources, cleaning, representation
Trained by its authors on D3 measurements. Which ones, and how they were cleaned, is not recorded in the folder.
The features and the ranges that its scalers saw:

| feature | unit | smallest | largest |
|---|---|---|---|
{features}

## Model choice, training and validation
A network of the D3 pipeline's table, {label}: its architecture and number of augmentations. Seed, command, split
and scores are not recorded in the folder. Compare it with the physics baseline before it is trusted.

## Code and reproducibility
Imported from `{label}`. The compiled form differs from Keras by at most {parity:.1e} on {rows} random inputs.
{notes}
"""


def card(draft: ModelDraft, label: str) -> str:
    """The text of `CARD.md`."""
    return _TEXT.format(
        name=draft.name,
        description=draft.description,
        width=len(draft.features),
        features="\n".join(_row(feature) for feature in draft.features),
        label=label,
        parity=draft.compiled.parity_max_abs if draft.compiled else 0.0,
        rows=draft.compiled.golden_rows if draft.compiled else 0,
        notes="\n".join(f"- {note}" for note in draft.notes),
    )


def _row(feature: Feature) -> str:
    return f"| {feature.name} | {feature.unit} | {feature.min:.6g} | {feature.max:.6g} |"
