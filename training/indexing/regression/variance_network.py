"""Variance networks: three parallel networks that answer the mean of every cell constant, and the alpha and beta of an
inverse-gamma distribution of its variance.

Section 2.2.2 of the data-driven indexing report, after Detlefsen et al. (NeurIPS 2019), Stirn & Knowles
(arXiv:2006.04910) and Seitzer et al. (arXiv:2203.09168). Training goes in cycles: the mean alone by the beta-NLL, then
alpha and beta alone by the NLL. Compiling anew for each turn leaks a graph every time; here either turn has its own
function with its own variables and its own optimizer, compiled once for all cycles of all networks of one shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import numpy as np
from jaxtyping import Float, Int

from app.indexing.learned.regression import ALPHA, BETA, INPUT, MEAN

CHECKPOINT: Final = "checkpoint.npz"
LOG_TWO_PI: Final = float(np.log(2 * np.pi))
Network = Any
"""A `keras.Model`; Keras is imported only where a network is made."""


@dataclass(frozen=True)
class VarianceArgs:
    """One training run; the defaults are the report's.

    Attributes:
        mean_units: hidden layers of the network of the mean.
        variance_units: hidden layers of those of alpha and beta.
        dropout: after each hidden layer. The report states 0.5, and that a bug made it 0.
        learning_rate, batch_size: of Adam.
        epochs, cycles: epochs of either turn, and turns.
        beta: exponent of the variance in the beta-NLL; 0 is the NLL.
        seed: of the weights and of the order.
    """

    mean_units: tuple[int, ...] = (200, 100, 60)
    variance_units: tuple[int, ...] = (100, 60)
    dropout: float = 0.0
    learning_rate: float = 1e-4
    batch_size: int = 64
    epochs: int = 10
    cycles: int = 5
    beta: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Example:
    """Scaled lines and cells, one epoch's worth."""

    inputs: Float[np.ndarray, "row feature"]
    targets: Float[np.ndarray, "row param"]


Epochs = Callable[[int], Example]
"""Gives the rows of an epoch by its number: the same, or newly disturbed."""


@dataclass(frozen=True)
class Trained:
    """A trained network with its history: one entry for each cycle."""

    network: Network
    history: tuple[dict[str, float], ...]


# The loss


def inverse_gamma_nll(target: Any, mean: Any, alpha: Any, beta: Any) -> Any:
    """-ln of the density of ``target`` where the variance is inverse-gamma distributed: Student's t.

    1/2 ln(2 pi) - alpha ln(beta) - ln Gamma(alpha + 1/2) + ln Gamma(alpha) + (alpha + 1/2) ln(beta + (y - mean)^2 / 2);
    TensorFlow tensors of one shape, term by term (report, 2.2.2).
    """
    import tensorflow as tf

    half = alpha + 0.5
    gammas = tf.math.lgamma(alpha) - tf.math.lgamma(half)
    return 0.5 * LOG_TWO_PI - alpha * tf.math.log(beta) + gammas + half * tf.math.log(beta + 0.5 * (target - mean) ** 2)


def beta_nll(target: Any, mean: Any, alpha: Any, beta: Any, exponent: float) -> Any:
    """The NLL times (beta / (alpha - 1))^exponent, through which no gradient flows (Seitzer et al., eq. 5)."""
    import tensorflow as tf

    weight = tf.stop_gradient((beta / (alpha - 1.0)) ** exponent)
    return weight * inverse_gamma_nll(target, mean, alpha, beta)


# The networks


def build(n_inputs: int, n_outputs: int, args: VarianceArgs) -> Network:
    """Make the three networks as one model: ``lines`` (batch, feature) to ``mean``, ``alpha``, ``beta`` (batch, param).

    Hidden layers are Dense, LayerNormalization, GELU, Dropout; alpha is 1 + softplus, beta softplus.
    """
    import keras

    lines = keras.Input((n_inputs,), name=INPUT)
    seeds = iter(range(100 * args.seed, 100 * args.seed + 100))

    def drawn() -> Any:
        return keras.initializers.GlorotUniform(next(seeds))

    def tower(units: Sequence[int], name: str, activation: str) -> Any:
        x = lines
        for width in units:
            x = keras.layers.Dense(width, kernel_initializer=drawn())(x)
            x = keras.layers.LayerNormalization()(x)
            x = keras.layers.Activation("gelu")(x)
            if args.dropout:
                x = keras.layers.Dropout(args.dropout, seed=next(seeds))(x)
        return keras.layers.Dense(n_outputs, activation, kernel_initializer=drawn(), name=name)(x)

    mean = tower(args.mean_units, MEAN, "linear")
    above_one = keras.layers.Rescaling(1.0, offset=1.0, name=ALPHA)
    alpha = above_one(tower(args.variance_units, "alpha_minus_one", "softplus"))
    beta = tower(args.variance_units, BETA, "softplus")
    return keras.Model(lines, {MEAN: mean, ALPHA: alpha, BETA: beta}, name="variance")


def stacked(networks: Sequence[Network]) -> Network:
    """Join the networks of several groups: the same input, outputs (batch, group, ...)."""
    import keras

    lines = keras.Input(networks[0].input_shape[1:], name=INPUT)
    answers = []
    for number, network in enumerate(networks):
        named = keras.Model(network.inputs, network.outputs, name=f"group_{number}")
        answers.append(dict(zip(network.output_names, named(lines), strict=True)))
    outputs = {}
    for name in answers[0]:
        parts = [keras.layers.Reshape((1, -1))(answer[name]) for answer in answers]
        join = keras.layers.Concatenate(axis=1, name=name)
        outputs[name] = join(parts) if len(parts) > 1 else keras.layers.Activation("linear", name=name)(parts[0])
    return keras.Model(lines, outputs, name="groups")


# Training


@dataclass(frozen=True)
class Engine:
    """Both turns, compiled, over one network whose weights are reset for every run.

    Attributes:
        turns: name -> function of (inputs, targets, batches) that trains one epoch and gives the mean loss.
        variables: the weights and both optimizers' state, in one order.
    """

    network: Network
    turns: dict[str, Any]
    variables: tuple[Any, ...]
    pristine: tuple[np.ndarray, ...]

    def reset(self, weights: Sequence[np.ndarray]) -> None:
        """Start anew from these weights."""
        self.load(self.pristine)
        self.network.set_weights(weights)

    def state(self) -> list[np.ndarray]:
        """All that a run has changed."""
        return [variable.numpy() for variable in self.variables]

    def load(self, state: Sequence[np.ndarray]) -> None:
        """Put a state back."""
        for variable, value in zip(self.variables, state, strict=True):
            variable.assign(value)


_SHAPE = {"seed": 0, "cycles": 0, "epochs": 0}
"""What an engine does not depend on."""


def engine_for(n_inputs: int, n_outputs: int, args: VarianceArgs) -> Engine:
    """The engine for networks of one shape; made once in a process."""
    return _engine(n_inputs, n_outputs, replace(args, **_SHAPE))


@lru_cache(maxsize=16)
def _engine(n_inputs: int, n_outputs: int, args: VarianceArgs) -> Engine:
    import keras

    network = build(n_inputs, n_outputs, args)
    means = [v for layer in _tower(network, MEAN) for v in layer.trainable_variables]
    others = [v for v in network.trainable_variables if all(v is not mean for mean in means)]
    turns, optimizers = {}, []
    for name, variables, exponent in (("mean", means, args.beta), ("variance", others, 0.0)):
        optimizer = keras.optimizers.Adam(args.learning_rate)
        optimizer.build(variables)
        optimizers.append(optimizer)
        turns[name] = _turn(network, optimizer, variables, exponent, args.batch_size)
    kept = (*network.variables, *(v for one in optimizers for v in one.variables))
    return Engine(network, turns, kept, tuple(v.numpy() for v in kept))


def _tower(network: Network, output: str) -> list[Any]:
    """The layers behind one output."""
    import keras

    single = keras.Model(network.inputs, network.get_layer(output).output)
    return single.layers


def _turn(network: Network, optimizer: Any, variables: Sequence[Any], exponent: float, batch_size: int) -> Any:
    """One epoch for one set of variables. The signature leaves the number of rows open, so it is traced once."""
    import tensorflow as tf

    n_inputs, n_outputs = network.input_shape[1], network.get_layer(MEAN).output.shape[1]

    @tf.function
    def step(inputs: Any, targets: Any) -> Any:
        with tf.GradientTape() as tape:
            said = network(inputs, training=True)
            value = tf.reduce_mean(
                tf.reduce_sum(beta_nll(targets, said[MEAN], said[ALPHA], said[BETA], exponent), axis=1)
            )
        optimizer.apply(tape.gradient(value, variables), variables)
        return value

    signature = (
        tf.TensorSpec((None, n_inputs), tf.float32),
        tf.TensorSpec((None, n_outputs), tf.float32),
        tf.TensorSpec((None, batch_size), tf.int32),
    )

    @tf.function(input_signature=signature)
    def epoch(inputs: Any, targets: Any, batches: Any) -> Any:
        total = tf.constant(0.0)
        for rows in batches:
            total += step(tf.gather(inputs, rows), tf.gather(targets, rows))
        return total / tf.cast(tf.shape(batches)[0], tf.float32)

    return epoch


def train(data: Epochs, held_out: Example, args: VarianceArgs, folder: Path | None = None) -> Trained:
    """Train one network.

    Args:
        data: the rows of each epoch; epochs are counted through.
        held_out: rows of patterns that ``data`` never gives, for the history.
        args: how to train.
        folder: keeps a checkpoint after each cycle; a run that was interrupted goes on there.
    """
    shape = data(0).inputs.shape[1], data(0).targets.shape[1]
    engine, network = engine_for(*shape, args), build(*shape, args)
    engine.reset(network.get_weights())
    history = _resumed(engine, args, folder)
    for cycle in range(len(history), args.cycles):
        history.append(_cycle(engine, data, args, cycle) | {"held_out_nll": held_out_nll(engine.network, held_out)})
        if folder is not None:
            _keep(engine, args, history, folder)
    network.set_weights(engine.network.get_weights())
    return Trained(network, tuple(history))


def _cycle(engine: Engine, data: Epochs, args: VarianceArgs, cycle: int) -> dict[str, float]:
    rng = np.random.default_rng([args.seed, cycle])
    losses = {}
    for place, (name, turn) in enumerate(engine.turns.items()):
        for epoch in range(args.epochs):
            rows = data((cycle * len(engine.turns) + place) * args.epochs + epoch)
            batches = shuffled_batches(len(rows.inputs), args.batch_size, rng)
            loss = turn(rows.inputs.astype(np.float32), rows.targets.astype(np.float32), batches)
            losses[f"{name}_loss"] = float(loss)
    return losses


def shuffled_batches(rows: int, batch_size: int, rng: np.random.Generator) -> Int[np.ndarray, "step batch"]:
    """Shuffle row numbers into full batches; the last one wraps round."""
    steps = -(-rows // batch_size)
    return np.resize(rng.permutation(rows), steps * batch_size).reshape(steps, batch_size).astype(np.int32)


def answers(
    network: Network, inputs: Float[np.ndarray, "row feature"]
) -> dict[str, Float[np.ndarray, "row *group param"]]:
    """Mean, alpha and beta of scaled lines; with an axis for the groups where the network has several as one."""
    return {name: np.asarray(value, np.float64) for name, value in network(inputs.astype(np.float32)).items()}


def held_out_nll(network: Network, rows: Example) -> float:
    """Mean NLL of a pattern, summed over its constants, scaled."""
    said = answers(network, rows.inputs)
    return float(np.mean(np.sum(student_nll(rows.targets, said[MEAN], said[ALPHA], said[BETA]), axis=1)))


def student_nll(
    target: Float[np.ndarray, "row param"],
    mean: Float[np.ndarray, "row param"],
    alpha: Float[np.ndarray, "row param"],
    beta: Float[np.ndarray, "row param"],
) -> Float[np.ndarray, "row param"]:
    """The NLL by SciPy's Student t: 2 alpha degrees of freedom, scale sqrt(beta / alpha)."""
    from scipy.stats import t

    return -t.logpdf(target, 2 * alpha, mean, np.sqrt(beta / alpha))


# Checkpoints


def _keep(engine: Engine, args: VarianceArgs, history: Sequence[dict[str, float]], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    told = json.dumps({"args": asdict(args), "history": list(history)})
    partial = folder / f"partial-{CHECKPOINT}"
    np.savez(partial, *engine.state(), told=np.array(told))
    partial.replace(folder / CHECKPOINT)


def _resumed(engine: Engine, args: VarianceArgs, folder: Path | None) -> list[dict[str, float]]:
    """Load a checkpoint of the same run; the cycles that are behind it."""
    if folder is None or not (folder / CHECKPOINT).is_file():
        return []
    with np.load(folder / CHECKPOINT) as kept:
        told = json.loads(str(kept["told"]))
        if told["args"] != json.loads(json.dumps(asdict(args))):
            return []
        engine.load([kept[f"arr_{number}"] for number in range(len(engine.variables))])
    return told["history"]
