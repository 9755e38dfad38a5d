"""What the README claims of the anchored model, on the real decays: some minutes for each set-up."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.polarization.experiment import Material
from training.polarization.anchored import AnchoredMethod
from training.polarization.baselines import BASELINES
from training.polarization.data import read_folder
from training.polarization.evaluate import leave_one_out
from training.polarization.scores import score

LARGEST_OVER_FLOOR: dict[Material, float] = {"crystalline": 1.15, "amorphous": 1.25}


@pytest.mark.slow
# joblib replaces a worker whose memory has grown, as TensorFlow's does, and says so.
@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs:UserWarning")
@pytest.mark.parametrize("material", ["crystalline", "amorphous"])
def test_unseen_decays_are_predicted_no_worse_than_by_the_best_baseline(
    material: Material, shared_data: Path, tmp_path: Path
) -> None:
    survey = read_folder(shared_data / "polarization" / "d3_zips")
    experiments = [e for e in survey.experiments if e.material == material]
    results = leave_one_out([AnchoredMethod(), *BASELINES], experiments, tmp_path, jobs=2, progress=False)
    scores = {name: score(outcomes) for name, outcomes in results.items()}
    ours = scores.pop("anchored-decay")
    assert ours.rmse <= min(s.rmse for s in scores.values())
    assert ours.mae <= min(s.mae for s in scores.values())
    assert ours.chi2 <= min(s.chi2 for s in scores.values())
    assert ours.over_floor <= LARGEST_OVER_FLOOR[material]
    assert ours.coverage_1 == pytest.approx(0.68, abs=0.05)
    assert ours.coverage_2 == pytest.approx(0.95, abs=0.03)
