"""Small training runs on real data, for the tests of tuning."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.preprocessing import StandardScaler

from lrsched import tuning
from lrsched.tuning.batched_runner import cached_runners


def split(x, y, examples):
    order = np.random.default_rng(0).permutation(len(x))
    train, held_out = order[:examples], order[examples:]
    return (x[train], y[train]), (x[held_out], y[held_out])


def logistic(optimizer=optax.adam, **others):
    """Logistic regression on the breast-cancer data: 400 + 169 examples of 30 numbers."""
    x, y = load_breast_cancer(return_X_y=True)
    train, held_out = split(np.float32(StandardScaler().fit_transform(x)), np.float32(y), 400)

    def loss_fn(params, batch):
        x, y = batch
        return optax.sigmoid_binary_cross_entropy(x @ params["w"] + params["b"], y).mean()

    def params(key):
        return {"w": 0.1 * jax.random.normal(key, (30,)), "b": jnp.zeros(())}

    settings = {"batch_size": 32, "validation": held_out} | others
    return tuning.training(loss_fn, params, optimizer, train, **settings)


def digits(optimizer=optax.adam):
    """A small nnx network with dropout and batch statistics."""
    x, y = load_digits(return_X_y=True)
    train, held_out = split(np.float32(x / 16), np.int32(y), 1200)

    class Network(nnx.Module):
        def __init__(self, rngs):
            self.inner = nnx.Linear(64, 32, rngs=rngs)
            self.norm = nnx.BatchNorm(32, rngs=rngs)
            self.dropout = nnx.Dropout(0.1, rngs=rngs)
            self.outer = nnx.Linear(32, 10, rngs=rngs)

        def __call__(self, x):
            return self.outer(self.dropout(nnx.relu(self.norm(self.inner(x)))))

    def loss_fn(model, batch):
        x, y = batch
        return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

    def model(key):
        return Network(nnx.Rngs(key))

    return tuning.training(loss_fn, model, optimizer, train, batch_size=64, validation=held_out)


def runners_of(run):
    """Return the runners that were compiled for a run."""
    return cached_runners(run)
