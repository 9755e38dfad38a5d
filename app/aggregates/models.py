"""What a published model says of patterns: how many particles, how sure, and whether they fit what is declared.

The network's output is `HEADS` numbers: a logit for each of `COUNTS`, a logit for each of `VERDICTS`, and the logarithm
of true over declared radius. It is asked about a pattern and its mirror images, and the mean counts: an answer does not
depend on how the detector is turned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from app.aggregates.features import SYMMETRIES, Features, features, symmetric
from app.aggregates.setting import COUNTS, DETECTOR_PX, TRANSFORM_PX, VERDICTS, Setting, Verdict
from app.errors import InvalidInput, ModelRefused
from app.model_registry.kept import Kept
from app.model_registry.registry import LoadedModel

NETWORK_FAMILY: Final = "aggregates/count-network"
HEADS: Final = len(COUNTS) + len(VERDICTS) + 1


@dataclass(frozen=True)
class Rules:
    """When a model abstains, and the temperature of its probabilities; set on patterns unseen in training.

    Attributes:
        temperature: by which the count's logits are divided (Guo et al., ICML 2017).
        least_probability: of the most probable count; below it nothing is said.
        most_unlike: largest probability that radius, particle or object are not what is declared.
        most_dark: largest probability that pixels are dark which are declared to measure. It has a limit of its own:
            a gap where the pattern is dark anyway cannot be ruled out, and does no harm.
        radius_px: range trained on [object pixels].
        stop: range trained on of the beam stop's q r [cycles].
    """

    temperature: float
    least_probability: float
    most_unlike: float
    most_dark: float
    radius_px: tuple[float, float]
    stop: tuple[float, float]


@dataclass(frozen=True)
class Classification:
    """What a model says of patterns.

    Attributes:
        probability: of each of `COUNTS`, calibrated; rows sum to one. Given also where the model abstains.
        unlike: probability that the pattern does not fit what is declared, 0 to 1.
        abstain: nothing should be concluded from the probabilities.
        reasons: why, in words; empty where the model does not abstain.
        radius_px: radius that the pattern itself speaks of [object pixels], drawn towards the declared one: where that
            is wrong, the estimate makes up for about three quarters of the error.
    """

    probability: Float[np.ndarray, "image 5"]
    unlike: Float[np.ndarray, "image"]
    abstain: Bool[np.ndarray, "image"]
    reasons: tuple[tuple[str, ...], ...]
    radius_px: Float[np.ndarray, "image"]

    @property
    def count(self) -> Int[np.ndarray, "image"]:
        """The most probable number of particles."""
        return np.array(COUNTS)[self.probability.argmax(axis=1)]


class AggregateModel(Protocol):
    """What `app.aggregates.predict` needs of a model."""

    @property
    def loaded(self) -> LoadedModel: ...

    def classify(
        self,
        patterns: Float[np.ndarray, "image 64 64"],
        mask: Bool[np.ndarray, "*image 64 64"] | None,
        centre_px: Float[np.ndarray, "image 2"] | None,
        setting: Setting | Sequence[Setting],
    ) -> Classification:
        """Answer for each pattern by itself; arguments as of `app.aggregates.features.features`.

        Raises:
            InvalidInput: the arguments do not fit each other.
        """
        ...


def rules_to_json(rules: Rules) -> dict[str, object]:
    """What `rules_from_json` reads; goes into a manifest."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(rules).items()}


_NUMBERS: Final = ("temperature", "least_probability", "most_unlike", "most_dark")


def rules_from_json(record: Mapping[str, object]) -> Rules:
    """Read `Rules` from a manifest's parameters.

    Raises:
        KeyError, TypeError, ValueError: a value is missing or not of its kind.
    """
    numbers = {name: _number(record[name]) for name in _NUMBERS}
    if not numbers["temperature"] > 0.0:
        raise ValueError("the temperature must be positive")
    return Rules(**numbers, radius_px=_range(record["radius_px"]), stop=_range(record["stop"]))


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError("a number is needed")
    return float(value)


def _range(value: object) -> tuple[float, float]:
    if not isinstance(value, Sequence) or len(value) != 2:
        raise ValueError("a range is a pair")
    return _number(value[0]), _number(value[1])


_kept: Kept[AggregateModel] = Kept()


def aggregate_model(loaded: LoadedModel) -> AggregateModel:
    """Give a loaded version the behaviour of its family. The answer is kept: the same version gives the same object.

    Raises:
        InvalidInput: the version is of another job.
        ModelRefused: its parameters do not fit its family.
    """
    return _kept.model(loaded, _of_family)


def _of_family(loaded: LoadedModel) -> AggregateModel:
    family = loaded.manifest.family
    if family not in _FAMILIES:
        raise InvalidInput(
            f"model {loaded.manifest.name!r} is of family {family!r}; an aggregates model is one of "
            f"{', '.join(sorted(_FAMILIES))}"
        )
    try:
        return _FAMILIES[family](loaded)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelRefused(f"the parameters of model {loaded.manifest.name!r} do not fit {family!r}") from error


class CountNetwork:
    """The network with its rules."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded = loaded
        self.rules = rules_from_json(loaded.parameters)

    def classify(
        self,
        patterns: Float[np.ndarray, "image 64 64"],
        mask: Bool[np.ndarray, "*image 64 64"] | None,
        centre_px: Float[np.ndarray, "image 2"] | None,
        setting: Setting | Sequence[Setting],
    ) -> Classification:
        settings = [setting] * len(patterns) if isinstance(setting, Setting) else list(setting)
        seen = features(patterns, mask, centre_px, settings)
        return classification(mean_heads(self._heads, seen), settings, self.rules)

    def _heads(self, seen: Features) -> Float32[np.ndarray, "image head"]:
        return self.loaded.run({"maps": seen.maps, "numbers": seen.numbers, "profiles": seen.profiles})["heads"]


def mean_heads(
    heads: Callable[[Features], Float32[np.ndarray, "image head"]], seen: Features
) -> Float[np.ndarray, "image head"]:
    """The network's answers to each pattern, averaged over its symmetries."""
    if not len(seen):
        return np.empty((0, HEADS))
    turned = (Features(symmetric(seen.maps, k), seen.numbers, seen.profiles) for k in range(SYMMETRIES))
    return np.mean([heads(each) for each in turned], axis=0, dtype=float)


def softmax(logits: Float[np.ndarray, "image class"]) -> Float[np.ndarray, "image class"]:
    """exp(z) / sum exp(z), row by row."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def count_probability(heads: Float[np.ndarray, "image head"], temperature: float) -> Float[np.ndarray, "image 5"]:
    """Probability of each of `COUNTS`."""
    return softmax(heads[:, : len(COUNTS)] / temperature)


def verdict_probability(heads: Float[np.ndarray, "image head"]) -> Float[np.ndarray, "image verdict"]:
    """Probability of each of `VERDICTS`."""
    return softmax(heads[:, len(COUNTS) : len(COUNTS) + len(VERDICTS)])


def unlike_probability(verdicts: Float[np.ndarray, "*image verdict"]) -> Float[np.ndarray, "*image"]:
    """Probability that radius, particle or object are not what is declared."""
    return 1.0 - verdicts[..., VERDICTS.index("fits")] - verdicts[..., VERDICTS.index("mask")]


def classification(heads: Float[np.ndarray, "image head"], settings: Sequence[Setting], rules: Rules) -> Classification:
    """Turn the network's mean answers into probabilities and abstentions."""
    probability = count_probability(heads, rules.temperature)
    verdicts = verdict_probability(heads)
    radius = np.array([each.radius_px for each in settings]) * np.exp(heads[:, -1])
    reasons = tuple(_reasons(*row, rules) for row in zip(probability, verdicts, radius.tolist(), settings, strict=True))
    abstain = np.array([bool(each) for each in reasons], dtype=bool)
    return Classification(probability, 1.0 - verdicts[:, 0], abstain, reasons, radius)


# --- reasons ----------------------------------------------------------------------------------------------------------


def _reasons(
    probability: Float[np.ndarray, "5"],
    verdicts: Float[np.ndarray, "verdict"],
    radius_px: float,
    setting: Setting,
    rules: Rules,
) -> tuple[str, ...]:
    """Why nothing should be concluded; empty where something may."""
    found = list(_outside(setting, rules))
    if unlike_probability(verdicts) > rules.most_unlike:
        worst = max(_UNLIKE, key=lambda each: verdicts[VERDICTS.index(each)])
        found.append(_UNLIKE[worst](setting, radius_px))
    if verdicts[VERDICTS.index("mask")] > rules.most_dark:
        found.append(_dark(setting))
    best = int(probability.argmax())
    if probability[best] < rules.least_probability:
        found.append(
            f"the most probable number, {COUNTS[best]}, has a probability of {probability[best]:.2f}; "
            f"at least {rules.least_probability:.2f} is asked for"
        )
    return tuple(found)


def _outside(setting: Setting, rules: Rules) -> Sequence[str]:
    found = []
    least, most = rules.radius_px
    if not least <= setting.radius_px <= most:
        found.append(
            f"the radius of {setting.radius_px:.3g} px is outside the {least:g} to {most:g} px "
            "that the model was trained on"
        )
    stop = setting.beam_stop_px * setting.radius_px / TRANSFORM_PX
    if stop > rules.stop[1]:
        allowed = rules.stop[1] * TRANSFORM_PX / setting.radius_px
        found.append(
            f"the beam stop of {setting.beam_stop_px:.3g} px hides too much for particles of this size; "
            f"up to {min(allowed, DETECTOR_PX / 2):.1f} px is known to it"
        )
    return found


def _wrong_radius(setting: Setting, radius_px: float) -> str:
    side, beyond = ("smaller", "less") if radius_px < setting.radius_px else ("larger", "more")
    return (
        f"the rings do not fit a radius of {setting.radius_px:.2f} px; they fit a {side} one, about {radius_px:.1f} px "
        f"or {beyond}"
    )


def _wrong_particle(setting: Setting, radius_px: float) -> str:
    other = "spheres" if setting.particle == "disc" else "discs"
    return f"the rings do not fit {setting.particle}s of {setting.radius_px:.2f} px; they look like those of {other}"


def _dark(setting: Setting) -> str:
    return (
        f"pixels that should measure are dark: the beam stop is larger than {setting.beam_stop_px:.1f} px, or gaps are "
        "not in the mask"
    )


def _wrong_object(setting: Setting, radius_px: float) -> str:
    return f"the pattern does not look like one of an aggregate of equal {setting.particle}s"


_UNLIKE: Final[Mapping[Verdict, Callable[[Setting, float], str]]] = MappingProxyType(
    {"radius": _wrong_radius, "particle": _wrong_particle, "object": _wrong_object}
)

_FAMILIES: Final[Mapping[str, Callable[[LoadedModel], AggregateModel]]] = MappingProxyType(
    {NETWORK_FAMILY: CountNetwork}
)
