"""Small MLP on scikit-learn's 8x8 digits: 1,797 images, a few milliseconds per epoch."""

from functools import partial

import numpy as np
from flax import nnx
from jax.typing import DTypeLike
from sklearn.datasets import load_digits

from benchmarks.workloads.base import Data, Workload, accuracy, cross_entropy, split


def load() -> Data:
    """Return the digits scaled to [0, 1]: 1,197 training, 300 + 300 held-out examples."""
    pixels, labels = load_digits(return_X_y=True)
    return split((pixels / 16).astype(np.float32), labels.astype(np.int32), held_out=300)


def mlp(rngs: nnx.Rngs, width: int = 64, dtype: DTypeLike | None = None) -> nnx.Module:
    """Return an MLP with two hidden layers that compute in ``dtype``; 8,970 parameters at 64."""
    linear = partial(nnx.Linear, dtype=dtype, rngs=rngs)
    return nnx.Sequential(
        linear(64, width), nnx.relu, linear(width, width), nnx.relu, linear(width, 10)
    )


WORKLOAD = Workload(
    name="digits-mlp",
    title="MLP on digits",
    source="scikit-learn's digits, BSD-3",
    data=load,
    model=mlp,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=32,
    steps=800,
    around=3e-3,
    target=0.1,
)
