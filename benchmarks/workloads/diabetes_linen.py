"""Linen MLP on scikit-learn's diabetes data: regression on 10 features of 442 patients."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from sklearn.datasets import load_diabetes

from benchmarks.workloads.base import Array, Data, Split, Workload, split


def load() -> Data:
    """Return standardised features and targets: 302 training, 70 + 70 held-out examples."""
    features, targets = load_diabetes(return_X_y=True)
    data = split(features.astype(np.float32), targets.astype(np.float32), 70, by_class=False)
    scale = data.train.inputs.std(axis=0)
    mean, deviation = data.train.targets.mean(), data.train.targets.std()
    return Data(*(Split(each.inputs / scale, (each.targets - mean) / deviation) for each in data))


class Regressor(nn.Module):
    """MLP with two hidden layers of 64 and zero initial output weights: 4,929 parameters."""

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """Return the prediction for each example."""
        hidden = nn.relu(nn.Dense(64)(features))
        hidden = nn.relu(nn.Dense(64)(hidden))
        return nn.Dense(1, kernel_init=nn.initializers.zeros)(hidden)[..., 0]


def regressor(rngs: nnx.Rngs) -> nnx.Module:
    """Return the Linen module through the bridge of nnx."""
    return nnx.bridge.ToNNX(Regressor(), rngs=rngs).lazy_init(jnp.zeros((1, 10)))


def half_squared_error(outputs: jax.Array, targets: Array) -> jax.Array:
    """Return half the mean squared error; the mean of standardised targets scores 0.5."""
    return 0.5 * jnp.mean((outputs - targets) ** 2)


def r2(outputs: jax.Array, targets: Array) -> jax.Array:
    """Return R², the explained fraction of the variance."""
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
