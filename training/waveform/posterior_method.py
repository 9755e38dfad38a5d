"""A posterior network, published or fresh from training, as a `Method`. What is evaluated is what is served."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np

from app.errors import NotFound
from app.model_registry.loading import load_version
from app.model_registry.manifest import CARD_FILE, MANIFEST_FILE, ModelDraft
from app.model_registry.store import ModelStore
from app.waveform.features import find_pulses
from app.waveform.models import BLOCK, WaveformModel, waveform_model
from app.waveform.posterior import Posterior
from training.waveform.draft import INPUTS, MODEL_FILE, RECORD_FILE, draft_from_run, network_of
from training.waveform.methods import Answer, Labelled, Predictor, Question, answer_from_posterior

DEFAULT_STORE: Final = Path("model_store")


@dataclass(frozen=True)
class PosteriorMethod:
    """A trained posterior network.

    Attributes:
        model: ``name`` or ``name/version`` in the store, the folder of a version, or the folder of a training run.
        drift: the drift time is given.
        digest: of the weights, so that one training's results are not taken for another's.
        store: the model store.
    """

    model: str = field(repr=False)
    drift: bool
    digest: str
    store: Path = field(default=DEFAULT_STORE, repr=False)
    learns: bool = False

    @property
    def name(self) -> str:
        return f"posterior network{' + drift time' if self.drift else ''}"

    def fit(self, training: Sequence[Labelled], rng: np.random.Generator) -> Predictor:
        """Take the model as it is; nothing is learned."""
        model = load_model(self.model, self.store)

        def predict(question: Question) -> Answer:
            return answer_from_posterior(posterior(model, question, drift=self.drift))

        return predict


def posterior_methods(model: str, store: Path = DEFAULT_STORE) -> tuple[PosteriorMethod, PosteriorMethod]:
    """Give the methods of one model, without and with the drift time.

    Raises:
        NotFound: no such model, version or folder.
    """
    loaded = load_model(model, store).loaded
    digest = loaded.manifest.files[str(loaded.manifest.network)].sha256[:16]
    return PosteriorMethod(model, False, digest, store), PosteriorMethod(model, True, digest, store)


def posterior(model: WaveformModel, question: Question, *, drift: bool) -> Posterior:
    """Ask a model about many waveforms, some at a time as the service does."""
    blocks = [slice(start, start + BLOCK) for start in range(0, len(question.waveforms), BLOCK)]
    parts = [
        model.posterior(
            find_pulses(question.waveforms[rows]), question.detector, question.drift_time_us[rows] if drift else None
        )
        for rows in blocks
    ]
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in ("p_two", "density"))
    p_two, density = joined
    return Posterior(p_two, parts[0].edges_us, density)


@lru_cache(maxsize=4)
def load_model(model: str, store: Path = DEFAULT_STORE) -> WaveformModel:
    """Load a published version, or the network of a training run as it would be published.

    Raises:
        NotFound: no such model, version or folder.
    """
    folder = Path(model)
    if (folder / MANIFEST_FILE).is_file():
        return _stored(ModelStore(folder.resolve().parents[1]), folder.resolve().parent.name, folder.resolve().name)
    if (folder / RECORD_FILE).is_file():
        with tempfile.TemporaryDirectory() as scratch:
            store_of_one = ModelStore(Path(scratch))
            made = store_of_one.publish(*_uncompiled(folder))
            return _stored(store_of_one, made.name, str(made.version))
    name, _, ref = model.partition("/")
    if name not in ModelStore(store).names():
        raise NotFound(f"{model!r} is no model in the store, no version's folder and no training run's folder")
    return _stored(ModelStore(store), name, ref or None)


def _uncompiled(folder: Path) -> tuple[ModelDraft, dict[str, bytes]]:
    """Describe a run's network as it comes from training; publishing adds the compiled form and compares the two."""
    draft = draft_from_run(folder).model_copy(update={"network": MODEL_FILE, "inputs": INPUTS})
    return draft, {CARD_FILE: b"", MODEL_FILE: network_of(folder).read_bytes()}


def _stored(store: ModelStore, name: str, ref: str | None) -> WaveformModel:
    return waveform_model(load_version(store.read(name, store.version_number(name, ref))))
