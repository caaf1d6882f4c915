"""A linen MLP on scikit-learn's diabetes data: regression on 10 numbers of 442 patients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_diabetes

from benchmarks.workloads.base import Array, Data, Split, Workload, split


def load() -> Data:
    """Returns standardised numbers and targets: 302 to train on, 70 + 70 held out."""
    numbers, targets = load_diabetes(return_X_y=True)
    data = split(numbers.astype(np.float32), targets.astype(np.float32), 70, by_class=False)
    scale = data.train.inputs.std(axis=0)
    mean, deviation = data.train.targets.mean(), data.train.targets.std()
    return Data(*(Split(part.inputs / scale, (part.targets - mean) / deviation) for part in data))


class Regressor(nn.Module):
    """Two hidden layers of 64, and an output that begins at zero: 4,929 parameters."""

    @nn.compact
    def __call__(self, numbers: jax.Array) -> jax.Array:
        """The number of each row."""
        hidden = nn.relu(nn.Dense(64)(numbers))
        hidden = nn.relu(nn.Dense(64)(hidden))
        return nn.Dense(1, kernel_init=nn.initializers.zeros)(hidden)[..., 0]


def regressor(rngs: nnx.Rngs) -> nnx.Module:
    """The linen module under nnx's bridge."""
    return nnx.bridge.ToNNX(Regressor(), rngs=rngs).lazy_init(jnp.zeros((1, 10)))


def half_squared_error(outputs: jax.Array, targets: Array) -> jax.Array:
    """Half the mean squared error; of standardised targets it is 0.5 for a constant."""
    return 0.5 * jnp.mean((outputs - targets) ** 2)


def r2(outputs: jax.Array, targets: Array) -> jax.Array:
    """The part of the variance that is explained, R²."""
    return 1 - jnp.mean((outputs - targets) ** 2) / jnp.var(jnp.asarray(targets))


WORKLOAD = Workload(
    name="diabetes-linen",
    title="linen MLP on diabetes",
    source="scikit-learn's diabetes, BSD-3",
    data=load,
    model=regressor,
    loss=half_squared_error,
    metric=r2,
    batch_size=32,
    steps=200,
    around=3e-3,
    target=0.23,
)
