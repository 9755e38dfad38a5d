"""Polarization models made by hand: the anchored decay without its network, and a D3 network that is a formula."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sklearn.preprocessing import MinMaxScaler

from app.errors import NotFound
from app.model_registry.loading import LoadedModel
from app.model_registry.manifest import Feature, ModelDraft, TensorSpec, manifest_from_draft
from app.polarization import decay
from app.polarization.anchored import FEATURES, HEADS, AnchoredParameters, LifetimePrior
from app.polarization.experiment import Calibration, Cell, Material
from app.polarization.models import ANCHORED_FAMILY, D3_FAMILY, parameters_to_json

PARAMETERS: dict[Material, AnchoredParameters] = {
    "crystalline": AnchoredParameters(
        optics=decay.Optics(0.931),
        excess_sigma=0.003,
        log_sigma_shift=0.1,
        network_gain=1.0,
        log_path_ang_cm=math.log(11.7),
        path_spread=0.08,
        cells={"ge18004": LifetimePrior(math.log(118.0), 0.1), "ge18012": LifetimePrior(math.log(76.0), 0.15)},
        unknown_cell=LifetimePrior(math.log(90.0), 0.4),
    ),
    "amorphous": AnchoredParameters(
        optics=decay.Optics(0.93, 0.3),
        excess_sigma=0.002,
        log_sigma_shift=0.1,
        network_gain=1.0,
        log_path_ang_cm=math.log(7.0),
        path_spread=0.08,
        cells={"ge18012": LifetimePrior(math.log(97.0), 0.1)},
        unknown_cell=LifetimePrior(math.log(90.0), 0.4),
    ),
}
FILLED = datetime(2030, 5, 4, 9, 30)  # noqa: DTZ001 local time of the instrument
POLARIZER = Cell("ge18004", 2.3, 0.78, FILLED)
CELLS: dict[Material, tuple[Cell, Cell | None]] = {
    "crystalline": (POLARIZER, None),
    "amorphous": (Cell("ge18012", 3.1, 0.79, FILLED), Cell("sic1402", 2.5, 0.79, FILLED)),
}
INITIAL = Calibration(0.0, 0.848, 0.0021)
FINAL = Calibration(86_400.0, 0.798, 0.0024)
PAIRS: dict[Material, tuple[Calibration, Calibration]] = {
    "crystalline": (INITIAL, FINAL),
    "amorphous": (Calibration(0.0, 0.55, 0.003), Calibration(72_000.0, 0.41, 0.004)),
}


def _manifest(draft: ModelDraft, version: int) -> Any:
    files = {name: {"sha256": "0" * 64, "bytes": 1} for name in draft.referenced_files()}
    return manifest_from_draft(draft, version=version, created=datetime(2030, 1, 1, tzinfo=UTC), files=files)


@dataclass
class Counting:
    """A network that counts how often it is run."""

    function: Any
    runs: int = 0

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.runs += 1
        return self.function(inputs)


def anchored_model(
    material: Material = "crystalline", *, version: int = 1, heads: Sequence[float] = (0.0, 0.0, 0.0)
) -> LoadedModel:
    """The anchored decay; its network says ``heads`` whatever it is asked."""
    draft = ModelDraft(
        name=f"polarization-{material}",
        family=ANCHORED_FAMILY,
        description="physics through both calibrations",
        inputs=(TensorSpec(name="features", shape=(None, len(FEATURES))),),
        outputs=(TensorSpec(name="heads", shape=(None, len(HEADS))),),
        features=(Feature(name="final_time_s", unit="s", min=3_600.0, max=400_000.0),),
        parameters=parameters_to_json(PARAMETERS[material]),  # type: ignore[arg-type]
    )
    row = np.array(heads, np.float32)
    run = Counting(lambda inputs: {"heads": np.tile(row, (len(inputs["features"]), 1))})
    return LoadedModel(_manifest(draft, version), run, {})


_STATIC: dict[Material, tuple[str, ...]] = {
    "crystalline": ("pressure_bar", "lab_polarization", "lab_time_s", "cell=ge18004", "initial_polarization"),
    "amorphous": ("polarizer_pressure_bar", "analyser_pressure_bar", "cell=ge18012", "analyser=sic1402"),
}


def d3_network(
    material: Material = "crystalline", *, name: str = "d3-one", offset: float = 0.0, log_variance: float = -8.0
) -> LoadedModel:
    """A network of the D3 pipeline that says 0.8 + offset - 0.1 t/1e5 s, scalers of the identity."""
    names = _STATIC[material]

    def run(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        mean = 0.8 + offset - 0.1 * inputs["time_input"][:, 0, 0] / 1e5
        return {"output": np.stack([mean, np.full_like(mean, log_variance)], axis=-1)}

    draft = ModelDraft(
        name=name,
        family=D3_FAMILY,
        description="a straight line",
        scalers={role: f"scaler_{role}.pkl" for role in ("static", "time", "y")},
        inputs=(
            TensorSpec(name="static_input", shape=(None, len(names))),
            TensorSpec(name="time_input", shape=(None, 1, 1)),
        ),
        outputs=(TensorSpec(name="output", shape=(None, 2)),),
        features=tuple(Feature(name=feature, unit="1") for feature in names),
        parameters={"material": material},
    )
    scalers = {"static": _identity(len(names)), "time": _identity(1), "y": _identity(1)}
    return LoadedModel(_manifest(draft, 1), Counting(run), scalers)


def _identity(columns: int) -> MinMaxScaler:
    return MinMaxScaler().fit(np.stack([np.zeros(columns), np.ones(columns)]))


@dataclass(frozen=True)
class _State:
    name: str
    version: str
    aliases: tuple[str, ...] = ("stable",)
    state: str = "ready"
    reason: str = ""


class MemoryRegistry:
    """A registry of models that were made by hand, each under the alias stable."""

    def __init__(self, *models: LoadedModel) -> None:
        self.models = {model.name: model for model in models}

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def status(self) -> list[_State]:
        return [_State(model.name, str(model.version)) for model in self.models.values()]

    def resolve(self, name: str, ref: str) -> LoadedModel:
        model = self.models.get(name)
        if model is None or ref not in ("stable", str(model.version)):
            raise NotFound("There is no model of that name.", details={"available": sorted(self.models)})
        return model

    def describe(self, name: str, ref: str) -> Any:
        raise NotFound(f"no description of {name} {ref}")


def all_models() -> MemoryRegistry:
    return MemoryRegistry(
        anchored_model("crystalline"),
        anchored_model("amorphous"),
        d3_network(name="d3-crystalline-a"),
        d3_network(name="d3-crystalline-b", offset=0.02, log_variance=-7.0),
        d3_network("amorphous", name="d3-amorphous-a"),
    )
