"""Train the anchored decay model's network on simulated calibrations, and fit its parameters on measured ones.

The network never sees a measurement: it learns, from decays drawn over the whole range that spin filters cover, what
the linear estimate leaves over and how sure to be. What differs between beam lines and reactor cycles (optics, excess
scatter, lifetimes of the cells) reaches it through its inputs, so that a retraining refits a table of numbers.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from jaxtyping import Float

from app.polarization import decay
from app.polarization.anchored import (
    FEATURES,
    FREEDOM,
    HEADS,
    AnchoredParameters,
    Anchors,
    Heads,
    curve,
    linear_estimate,
    shapes,
    window,
)
from app.polarization.correction import position
from app.polarization.decay import HOUR_S
from app.polarization.experiment import Experiment, Query
from training.polarization.lifetimes import fit_parameters
from training.polarization.methods import Prediction, Predictor
from training.polarization.splits import installations

Network = Any
"""A `keras.Model`; Keras is imported only where a network is made."""

LARGEST_DEPARTURE: Final = 6.0
"""In scales of Student's t; beyond it a simulated decay would be none."""
CALIBRATION_FOLDS: Final = 6
NORMAL_COVERAGE: Final = ((1.0, 0.6827, 0.05), (2.0, 0.9545, 0.03))
"""Sigmas, share of a normal law within them, and how far off the share may be."""
SHIFTS: Final = np.linspace(-1.5, 1.5, 121)


@dataclass(frozen=True)
class AnchoredArgs:
    """How the network is trained.

    Attributes:
        decays: number of simulated decays.
        points: points simulated between the calibrations of each.
        hidden: units of the hidden layers.
        epochs: passes over the simulated decays.
        batch_size: decays in one step.
        learning_rate: of Adam at the start; falls to zero along a cosine.
        seed: of the simulation and of the weights.
    """

    decays: int = 60_000
    points: int = 12
    hidden: tuple[int, ...] = (32, 32)
    epochs: int = 12
    batch_size: int = 1_000
    learning_rate: float = 5e-3
    seed: int = 0


@dataclass(frozen=True)
class DecayRanges:
    """What is simulated, wider than what was measured at D3 (docs/polarization-data.md) on every side.

    Attributes:
        t1_h: range of a cell's usual lifetime, log-uniform.
        spread: range of the spread of ln(T1) between its fillings, log-uniform.
        opacity: range of the initial opacity, uniform.
        opacity_spread: range of the spread of ln(opacity) about what the filling laboratory promises, log-uniform.
        duration_h: time between the calibrations, log-uniform.
        sigma: counting error of the initial calibration, log-uniform.
        sigma_jitter: spread of ln(sigma) among the calibrations of one decay.
        final_sigma_growth: mean of ln(final sigma/initial sigma); fewer neutrons pass an emptier cell.
        amplitude_jitter: relative spread of A among samples, unknown to the model.
        excess_jitter: spread of ln(excess scatter) among decays.
    """

    t1_h: tuple[float, float] = (35.0, 300.0)
    spread: tuple[float, float] = (0.02, 0.6)
    opacity: tuple[float, float] = (0.3, 2.0)
    opacity_spread: tuple[float, float] = (0.02, 0.5)
    duration_h: tuple[float, float] = (0.5, 130.0)
    sigma: tuple[float, float] = (5e-4, 0.1)
    sigma_jitter: float = 0.35
    final_sigma_growth: float = 0.15
    amplitude_jitter: float = 0.02
    excess_jitter: float = 0.7


@dataclass(frozen=True)
class SimulatedDecays:
    """Decays with two calibrations and points between them.

    Attributes:
        anchors: the calibrations as a model sees them.
        u: position of each point, 0 at the initial and 1 at the final calibration.
        polarization: measured at the points.
        sigma: counting error of the points of each decay.
    """

    anchors: Anchors
    u: Float[np.ndarray, "batch time"]
    polarization: Float[np.ndarray, "batch time"]
    sigma: Float[np.ndarray, "batch 1"]


def simulate_decays(
    parameters: AnchoredParameters, args: AnchoredArgs, rng: np.random.Generator, ranges: DecayRanges | None = None
) -> SimulatedDecays:
    """Draw decays and measure them, calibrations and points alike, with counting and excess scatter."""
    r, n = ranges or DecayRanges(), args.decays

    def log_uniform(bounds: tuple[float, float]) -> np.ndarray:
        return np.exp(rng.uniform(math.log(bounds[0]), math.log(bounds[1]), n))

    t1_h, spread, duration_h = log_uniform(r.t1_h), log_uniform(r.spread), log_uniform(r.duration_h)
    opacity_spread, opacity = log_uniform(r.opacity_spread), rng.uniform(*r.opacity, n)
    departures = np.clip(rng.standard_t(FREEDOM, (2, n)), -LARGEST_DEPARTURE, LARGEST_DEPARTURE)
    log_t1 = np.log(t1_h) + spread * departures[0]
    sigma = log_uniform(r.sigma)[:, None] * np.exp(r.sigma_jitter * rng.standard_normal((n, 3)))
    sigma[:, 1] *= np.exp(r.final_sigma_growth)
    excess = parameters.excess_sigma * np.exp(r.excess_jitter * rng.standard_normal((n, 1)))
    u = np.concatenate([np.zeros((n, 1)), np.ones((n, 1)), rng.uniform(0, 1, (n, args.points))], axis=1)
    phi = opacity[:, None] * np.exp(-duration_h[:, None] * u * np.exp(-log_t1)[:, None])
    amplitude = 1 + r.amplitude_jitter * rng.standard_normal((n, 1))
    truth = amplitude * decay.neutron_polarization(phi, parameters.optics)
    width = np.concatenate([sigma[:, :2], np.repeat(sigma[:, 2:], args.points, axis=1)], axis=1)
    measured = truth + np.hypot(width, excess) * rng.standard_normal(truth.shape)
    anchors = Anchors(
        duration_s=duration_h * HOUR_S,
        initial=measured[:, 0],
        final=measured[:, 1],
        initial_sigma=sigma[:, 0],
        final_sigma=sigma[:, 1],
        log_t1_h=np.log(t1_h),
        spread=spread,
        log_opacity=np.log(opacity) - opacity_spread * departures[1],
        opacity_spread=opacity_spread,
    )
    return SimulatedDecays(anchors, u[:, 2:], measured[:, 2:], sigma[:, 2:])


def training_arrays(
    decays: SimulatedDecays, parameters: AnchoredParameters
) -> tuple[Float[np.ndarray, "batch feature"], Float[np.ndarray, "batch time 4"]]:
    """Give the network's inputs, and for each point (residual of the linear estimate, u, sigma between the anchors,
    scatter of the point), all but u in units of the calibrations' joint sigma.
    """
    linear = linear_estimate(decays.anchors, parameters)
    scale, u = linear.scale[:, None], decays.u
    phi = linear.initial_opacity[:, None] * (linear.final_opacity / linear.initial_opacity)[:, None] ** u
    bent = window(u) * (linear.mean_even[:, None] + linear.mean_odd[:, None] * (2 * u - 1))
    residual = (decays.polarization - decay.neutron_polarization(phi, parameters.optics)) / scale - bent
    between = (1 - u) * decays.anchors.initial_sigma[:, None] + u * decays.anchors.final_sigma[:, None]
    scatter = np.hypot(decays.sigma, parameters.excess_sigma) * np.ones_like(u)
    targets = np.stack([residual, u, between / scale, scatter / scale], axis=-1)
    return linear.features.astype(np.float32), targets.astype(np.float32)


def negative_log_likelihood(targets: Any, heads: Any) -> Any:
    """Give the NLL of the points under the bent curve, with its sigma and each point's own scatter.

    Args:
        targets: tensor of shape (batch, time, 4), see `training_arrays`.
        heads: tensor of shape (batch, 3), see `HEADS`.
    """
    from keras import ops

    residual, u, between, scatter = (targets[..., i] for i in range(4))
    weight = window(u)
    mean = weight * (heads[:, 0:1] + heads[:, 1:2] * (2 * u - 1))
    variance = (between * ops.exp(weight * heads[:, 2:3])) ** 2 + scatter**2
    return (ops.log(variance) + (residual - mean) ** 2 / variance) / 2


def build_network(features: Float[np.ndarray, "batch feature"], args: AnchoredArgs) -> Network:
    """Build a dense network from `FEATURES` to `HEADS`; it scales its inputs and starts at the linear estimate."""
    keras = _keras()
    scaling = keras.layers.Normalization(name="standardise")
    scaling.adapt(features)
    inputs = keras.Input((len(FEATURES),), name="features")
    hidden = scaling(inputs)
    for i, units in enumerate(args.hidden):
        seed = keras.initializers.GlorotUniform(seed=args.seed + i)
        hidden = keras.layers.Dense(units, "tanh", kernel_initializer=seed, name=f"hidden_{i}")(hidden)
    outputs = keras.layers.Dense(len(HEADS), kernel_initializer="zeros", name="heads")(hidden)
    return keras.Model(inputs, outputs, name="anchored_decay")


def train_network(parameters: AnchoredParameters, args: AnchoredArgs) -> Network:
    """Train the network on simulated decays of this set-up's optics and excess scatter."""
    keras = _keras()
    rng = np.random.default_rng(args.seed)
    features, targets = training_arrays(simulate_decays(parameters, args, rng), parameters)
    network = build_network(features, args)
    steps = args.epochs * (args.decays // args.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(args.learning_rate, steps)
    network.compile(keras.optimizers.Adam(rate), loss=negative_log_likelihood)
    order = rng.permutation(len(features))
    network.fit(
        features[order], targets[order], batch_size=args.batch_size, epochs=args.epochs, shuffle=False, verbose=0
    )
    return network


def heads_of(network: Network) -> Heads:
    """The network as a plain function of arrays."""
    return lambda features: np.asarray(network(features.astype(np.float32)))


def fit_anchored(experiments: Sequence[Experiment], args: AnchoredArgs) -> tuple[AnchoredParameters, Network]:
    """Fit the parameters on measured decays, train the network on simulated ones, weigh and calibrate it out of sample.

    Args:
        experiments: of one material.
        args: how the network is trained.
    """
    parameters = fit_parameters(experiments)
    network = train_network(parameters, args)
    pulls = held_out_pulls(experiments, heads_of(network))
    gain = network_gain(pulls)
    shift = calibration_shift(pulls, gain)
    return dataclasses.replace(parameters, network_gain=gain, log_sigma_shift=shift), network


@dataclass(frozen=True)
class AnchoredMethod:
    """The anchored decay model among the methods that `evaluate` compares."""

    args: AnchoredArgs = AnchoredArgs()

    @property
    def name(self) -> str:
        """Short and unique in a table."""
        return "anchored-decay"

    def fit(self, experiments: Sequence[Experiment], seed: int) -> Predictor:
        """Fit, train and calibrate without the experiments that are held out."""
        parameters, network = fit_anchored(experiments, dataclasses.replace(self.args, seed=seed))
        heads = heads_of(network)

        def predictor(query: Query) -> Prediction:
            (shape,) = shapes([query], parameters, heads)
            answer = curve(shape, shape.physics.course(query.time_s))
            return Prediction(answer.mean, answer.sigma)

        return predictor


@dataclass(frozen=True)
class Pulls:
    """What weighing and calibration need of points that were predicted unseen, each field of shape ``sample``.

    Attributes:
        residual: measured polarization minus the linear estimate.
        correction: what the network adds to the linear estimate.
        sigma: predicted standard deviation, before calibration.
        weight: the window between the calibrations, by which a shift of log sigma acts.
        scatter: the measured point's own counting error.
    """

    residual: Float[np.ndarray, "sample"]
    correction: Float[np.ndarray, "sample"]
    sigma: Float[np.ndarray, "sample"]
    weight: Float[np.ndarray, "sample"]
    scatter: Float[np.ndarray, "sample"]

    def coverage(self, gain: float, shift: float, sigmas: float) -> float:
        """Share of points within so many standard deviations, the network weighed by gain and log sigma shifted."""
        width = np.hypot(self.sigma * np.exp(self.weight * shift), self.scatter)
        return float((np.abs(self.residual - gain * self.correction) <= sigmas * width).mean())


def held_out_pulls(experiments: Sequence[Experiment], heads: Heads) -> Pulls:
    """Predict every installation with parameters fitted on the other folds, and compare."""
    groups, columns = installations(experiments), []
    for fold in range(CALIBRATION_FOLDS):
        out = {index for group in groups[fold::CALIBRATION_FOLDS] for index in group}
        kept = [e for i, e in enumerate(experiments) if i not in out]
        asked = [e for i, e in enumerate(experiments) if i in out and len(e.time_s) > 2]
        if kept and asked:
            columns += _pulls_of(asked, fit_parameters(kept), heads)
    return Pulls(*np.concatenate(columns, axis=1))


def _pulls_of(experiments: Sequence[Experiment], parameters: AnchoredParameters, heads: Heads) -> list[np.ndarray]:
    queries = [e.query() for e in experiments]
    with_network = shapes(queries, dataclasses.replace(parameters, network_gain=1.0), heads)
    without = shapes(queries, dataclasses.replace(parameters, network_gain=0.0), heads)
    columns = []
    for e, query, bent, linear in zip(experiments, queries, with_network, without, strict=True):
        course = bent.physics.course(query.time_s)
        predicted, estimate = curve(bent, course), curve(linear, course)
        weight = window(position(query.time_s, query.initial, query.final))
        residual = e.polarization[1:-1] - estimate.mean
        columns.append(np.stack([residual, predicted.mean - estimate.mean, predicted.sigma, weight, e.sigma[1:-1]]))
    return columns


def network_gain(pulls: Pulls) -> float:
    """Find the share of the network's corrections that the residuals bear out: weighted least squares, in 0 to 1."""
    weight = 1 / (pulls.sigma**2 + pulls.scatter**2)
    power = float((weight * pulls.correction**2).sum())
    borne_out = float((weight * pulls.correction * pulls.residual).sum())
    return float(np.clip(borne_out / power, 0.0, 1.0)) if power > 0 else 0.0


def calibration_shift(pulls: Pulls, gain: float) -> float:
    """Find the shift of log sigma that brings the shares within 1 and 2 sigma nearest to those of a normal law."""

    def miss(shift: float) -> float:
        return sum(
            (pulls.coverage(gain, shift, k) - share) ** 2 / tolerance**2 for k, share, tolerance in NORMAL_COVERAGE
        )

    return float(min(SHIFTS, key=lambda shift: (miss(shift), abs(shift))))


def _keras() -> Any:
    import keras

    return keras
