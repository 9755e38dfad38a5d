"""The D3 pipeline's networks as a table: `COMPLEXITIES[name]` is an architecture, `build` makes it.

All have two inputs, ``static_input`` (feature) and ``time_input`` (time, 1), and one output of two columns: mean and
log-variance, scaled. The table was read from the configurations of the 20 models that D3 uses. A name's digits are:

    Naif{filters}{kernel}{units}                    one hidden layer, ReLU
    NaifTwiceDense{first}{dropout x 10}{second}     two hidden layers, tanh, dropout between
    SimpleNoDropout{n}{filters}{second}             two hidden layers, tanh; n does nothing: the first has 8 units

The time branch sees sequences of length 1, where a convolution with padding ``same`` trains its middle tap only: the
kernel size makes no difference. It is kept so that a name means what it means to D3.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from itertools import product
from types import MappingProxyType
from typing import Any, Final

Network = Any
"""A `keras.Model`; Keras is imported only where a network is made."""

L2: Final = 1e-3
"""Regularisation of the first hidden layer of the tanh families."""


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Attributes:
        filters, kernel: of the convolution over time.
        hidden: units of the dense layers.
        activation: theirs.
        dropout: between the first and the second of them.
        l2: weight of the first one's squared kernel in the loss.
    """

    filters: int
    kernel: int
    hidden: tuple[int, ...]
    activation: str
    dropout: float = 0.0
    l2: float = 0.0


def _naif() -> dict[str, Architecture]:
    grid = product((4, 8, 16), (3, 5, 10), (4, 8, 16, 32))
    return {"Naif": Architecture(8, 3, (8,), "relu")} | {
        f"Naif{filters}{kernel}{units}": Architecture(filters, kernel, (units,), "relu")
        for filters, kernel, units in grid
    }


def _naif_twice_dense() -> dict[str, Architecture]:
    grid = product((4, 8, 16, 24), (1, 2, 3), (4, 8, 16, 24))
    return {
        f"NaifTwiceDense{first}{tenths}{second}": Architecture(8, 3, (first, second), "tanh", tenths / 10, L2)
        for first, tenths, second in grid
    }


def _simple_no_dropout() -> dict[str, Architecture]:
    grid = product((4, 8, 16), (4, 8, 16), (4, 8, 16))
    return {
        f"SimpleNoDropout{unused}{filters}{second}": Architecture(filters, 3, (8, second), "tanh", l2=L2)
        for unused, filters, second in grid
    }


COMPLEXITIES: Final = MappingProxyType[str, Architecture](_naif() | _naif_twice_dense() | _simple_no_dropout())


def architecture(complexity: str) -> Architecture:
    """Look a name up.

    Raises:
        ValueError: no such name; the message lists names that look alike.
    """
    if complexity in COMPLEXITIES:
        return COMPLEXITIES[complexity]
    alike = get_close_matches(complexity, COMPLEXITIES, n=5, cutoff=0.0)
    raise ValueError(f"no architecture {complexity!r}; among the {len(COMPLEXITIES)} are {', '.join(alike)}")


def build(row: Architecture, features: int, seed: int, *, mask_input: bool = False) -> Network:
    """Make a network with weights drawn from a seed.

    Args:
        row: what to build.
        features: length of the static input.
        seed: of the weights and of the dropout.
        mask_input: for training, a third input ``mask`` (first hidden units) multiplies where Dropout stands: masks
            drawn beforehand train about 15 times faster than Keras' generator inside a compiled loop. Same weights.
    """
    import keras

    seeds = iter(range(seed * 1000, seed * 1000 + 1000))

    def drawn() -> Any:
        return keras.initializers.GlorotUniform(seed=next(seeds))

    time = keras.Input((None, 1), name="time_input")
    static = keras.Input((features,), name="static_input")
    mask = keras.Input((row.hidden[0],), name="mask")
    x = keras.layers.Conv1D(row.filters, row.kernel, padding="same", activation="relu", kernel_initializer=drawn())(
        time
    )
    x = keras.layers.Concatenate()([static, keras.layers.GlobalAveragePooling1D()(x)])
    for depth, units in enumerate(row.hidden):
        penalty = keras.regularizers.L2(row.l2) if row.l2 and depth == 0 else None
        if row.dropout and depth == 1:
            x = keras.layers.Multiply()([x, mask]) if mask_input else keras.layers.Dropout(row.dropout, seed=seed)(x)
        x = keras.layers.Dense(units, row.activation, kernel_initializer=drawn(), kernel_regularizer=penalty)(x)
    heads = [keras.layers.Dense(1, name=name, kernel_initializer=drawn())(x) for name in ("mean", "log_variance")]
    inputs = [static, time, mask] if mask_input and row.dropout else [static, time]
    return keras.Model(inputs, keras.layers.Concatenate(name="mean_log_variance")(heads), name="decay")
