"""Imperfect data made of good data: impurities, zero shift, noise, missing lines, fewer lines."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields, replace

import numpy as np

from benchmarks.indexing.cases import Case


@dataclass(frozen=True)
class Perturbation:
    """What is done to each case, in the order of the attributes.

    Attributes:
        drop: lines taken out at random.
        n_lines: lines kept, from the lowest angle; 0 keeps all.
        sigma: noise is added until its standard deviation in 2theta is this, degrees; 0 adds none.
        impurities: lines added at random places, uniform in 2theta between the first and the last line, nowhere closer
            than 0.1 deg to another line, with the intensity of a random line of the pattern.
        zero_shift: added to every 2theta, degrees.
        seed: with the case's name it decides everything random.
    """

    drop: int = 0
    n_lines: int = 0
    sigma: float = 0.0
    impurities: int = 0
    zero_shift: float = 0.0
    seed: int = 1

    @property
    def name(self) -> str:
        """The options that differ from the default, as on the command line."""
        changed = {key: value for key, value in _shown(self) if value != getattr(Perturbation(), key)}
        return ",".join(f"{key.replace('_', '-')}={value:g}" for key, value in changed.items()) or "none"


_CLOSEST_DEG = 0.1
_ATTEMPTS = 1000


def parse_perturbation(text: str) -> Perturbation:
    """Read `impurities=2,zero-shift=0.05`; `none` changes nothing.

    Raises:
        ValueError: an unknown name or a value that is no number.
    """
    if text == "none":
        return Perturbation()
    types = {field.name: type(field.default) for field in fields(Perturbation)}
    values = {}
    for part in text.split(","):
        key, _, value = part.partition("=")
        name = key.strip().replace("-", "_")
        if name not in types:
            raise ValueError(f"{key!r} is unknown: expected one of {', '.join(types).replace('_', '-')}, or none")
        values[name] = types[name](value)
    return Perturbation(**values)


def perturb(case: Case, how: Perturbation) -> Case:
    """Return the case with its lines changed; the same case and seed give the same lines."""
    rng = np.random.default_rng([how.seed, zlib.crc32(case.id.encode())])
    for step in (_drop, _shorten, _add_noise, _add_impurities):
        case = step(case, how, rng)
    return replace(case, two_theta_deg=case.two_theta_deg + how.zero_shift)


def _drop(case: Case, how: Perturbation, rng: np.random.Generator) -> Case:
    gone = rng.choice(case.two_theta_deg.size, size=min(how.drop, case.two_theta_deg.size), replace=False)
    return _take(case, np.setdiff1d(np.arange(case.two_theta_deg.size), gone))


def _shorten(case: Case, how: Perturbation, _: np.random.Generator) -> Case:
    return _take(case, np.arange(case.two_theta_deg.size)[: how.n_lines or None])


def _add_noise(case: Case, how: Perturbation, rng: np.random.Generator) -> Case:
    missing = np.sqrt(max(how.sigma**2 - case.sigma_deg**2, 0.0))
    noisy = case.two_theta_deg + rng.normal(0.0, 1.0, case.two_theta_deg.size) * missing
    return _take(replace(case, two_theta_deg=noisy), np.argsort(noisy))


def _add_impurities(case: Case, how: Perturbation, rng: np.random.Generator) -> Case:
    two_theta, low, high = case.two_theta_deg, case.two_theta_deg.min(), case.two_theta_deg.max()
    intensity = case.intensity
    added = 0
    for _ in range(_ATTEMPTS):
        if added == how.impurities:
            break
        place = rng.uniform(low, high)
        if np.min(np.abs(two_theta - place)) >= _CLOSEST_DEG:
            two_theta, added = np.append(two_theta, place), added + 1
            if case.intensity is not None and intensity is not None:
                intensity = np.append(intensity, rng.choice(case.intensity))
    return _take(replace(case, two_theta_deg=two_theta, intensity=intensity), np.argsort(two_theta))


def _take(case: Case, index: np.ndarray) -> Case:
    return replace(
        case,
        two_theta_deg=case.two_theta_deg[index],
        intensity=None if case.intensity is None else case.intensity[index],
    )


def _shown(how: Perturbation) -> list[tuple[str, float]]:
    return [(field.name, getattr(how, field.name)) for field in fields(how)]
