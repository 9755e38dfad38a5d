"""A network that answers the density of whole cells: a mixture of normal distributions with full covariances.

C. M. Bishop, Mixture density networks (1994), with the Cholesky factor of each inverse covariance as in P. M. Williams,
Neural Computation 8 (1996) 843. A variance network takes each constant for itself; but the constants of a cell hang
together, and several cells suit the same first lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from app.indexing.learned.regression import CENTRE, FACTOR, INPUT, LARGEST_LOG_FACTOR, LOG_WEIGHT
from training.indexing.regression.variance_network import Epochs, Example, Network, Trained, shuffled_batches

LOG_TWO_PI: Final = float(np.log(2 * np.pi))


@dataclass(frozen=True)
class MixtureArgs:
    """One training run.

    Attributes:
        units: hidden layers, each Dense, LayerNormalization, GELU.
        components: normal distributions in the mixture.
        learning_rate, batch_size: of Adam; the rate falls to a fifth for the last ``slow_share`` of the epochs.
        epochs: passes.
        seed: of the weights and of the order.
    """

    units: tuple[int, ...] = (256, 128)
    components: int = 16
    learning_rate: float = 1.5e-3
    batch_size: int = 128
    epochs: int = 60
    slow_share: float = 0.3
    seed: int = 0


def build(n_inputs: int, n_outputs: int, args: MixtureArgs) -> Network:
    """Make the network: ``lines`` (batch, feature) to the three outputs of a mixture, each flat."""
    import keras

    keras.utils.set_random_seed(args.seed)
    x = lines = keras.Input((n_inputs,), name=INPUT)
    for width in args.units:
        x = keras.layers.Activation("gelu")(keras.layers.LayerNormalization()(keras.layers.Dense(width)(x)))
    sizes = {LOG_WEIGHT: 1, CENTRE: n_outputs, FACTOR: n_outputs * (n_outputs + 1) // 2}
    outputs = {name: keras.layers.Dense(args.components * size, name=name)(x) for name, size in sizes.items()}
    return keras.Model(lines, outputs, name="mixture")


def mixture_nll(target: Any, log_weight: Any, centre: Any, entries: Any) -> Any:
    """-ln of the density, shape (batch,); TensorFlow tensors, all but the first flat as the network says them."""
    import tensorflow as tf

    n, k = int(target.shape[1]), int(log_weight.shape[1])
    rows, columns = np.tril_indices(n)
    entries = tf.reshape(entries, (-1, k, len(rows)))
    logs = tf.clip_by_value(entries, -LARGEST_LOG_FACTOR, LARGEST_LOG_FACTOR)
    diagonal = tf.constant(rows == columns)
    values = tf.where(diagonal, tf.exp(logs), entries)
    place = np.zeros((n, n), np.int32)
    place[rows, columns] = np.arange(len(rows))
    factor = tf.reshape(tf.gather(values, place.ravel(), axis=-1), (-1, k, n, n)) * np.tril(np.ones((n, n), np.float32))
    off = tf.linalg.matvec(factor, target[:, None] - tf.reshape(centre, (-1, k, n)), transpose_a=True)
    log_det = tf.reduce_sum(tf.where(diagonal, logs, 0.0), axis=-1)
    log_density = log_det - 0.5 * tf.reduce_sum(off**2, axis=-1) - 0.5 * n * LOG_TWO_PI
    return -tf.reduce_logsumexp(tf.nn.log_softmax(log_weight) + log_density, axis=1)


def train(data: Epochs, held_out: Example, args: MixtureArgs) -> Trained:
    """Train one network on the rows of each epoch; the history has the NLL of the held-out rows."""
    import keras

    first = data(0)
    network = build(first.inputs.shape[1], first.targets.shape[1], args)
    optimizer = keras.optimizers.Adam(args.learning_rate)
    optimizer.build(network.trainable_variables)
    turn, rng, history = _turn(network, optimizer, first, args.batch_size), np.random.default_rng(args.seed), []
    for number in range(args.epochs):
        if number == round((1 - args.slow_share) * args.epochs):
            optimizer.learning_rate = args.learning_rate / 5
        rows = data(number)
        batches = shuffled_batches(len(rows.inputs), args.batch_size, rng)
        loss = float(turn(rows.inputs.astype(np.float32), rows.targets.astype(np.float32), batches))
        if (number + 1) % max(1, args.epochs // 6) == 0:
            history.append({"loss": loss, "held_out_nll": held_out_nll(network, held_out)})
    return Trained(network, tuple(history))


def held_out_nll(network: Network, rows: Example) -> float:
    """Mean NLL of a pattern, scaled."""
    said = network(rows.inputs.astype(np.float32))
    return float(np.mean(mixture_nll(rows.targets.astype(np.float32), said[LOG_WEIGHT], said[CENTRE], said[FACTOR])))


def _turn(network: Network, optimizer: Any, shape: Example, batch_size: int) -> Callable[..., Any]:
    import tensorflow as tf

    signature = (
        tf.TensorSpec((None, shape.inputs.shape[1]), tf.float32),
        tf.TensorSpec((None, shape.targets.shape[1]), tf.float32),
        tf.TensorSpec((None, batch_size), tf.int32),
    )

    @tf.function(input_signature=signature)
    def epoch(inputs: Any, targets: Any, batches: Any) -> Any:
        total = tf.constant(0.0)
        for rows in batches:
            with tf.GradientTape() as tape:
                said = network(tf.gather(inputs, rows), training=True)
                loss = mixture_nll(tf.gather(targets, rows), said[LOG_WEIGHT], said[CENTRE], said[FACTOR])
                value = tf.reduce_mean(loss)
            optimizer.apply(tape.gradient(value, network.trainable_variables), network.trainable_variables)
            total += value
        return total / tf.cast(tf.shape(batches)[0], tf.float32)

    return epoch
