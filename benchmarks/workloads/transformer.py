"""Transformer block of the image and character models."""

import jax
from flax import nnx


class Block(nnx.Module):
    """Pre-norm transformer block: attention and an MLP, each with a residual connection.

    The block has ``12 width**2 + 13 width`` parameters.
    """

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs, is_causal: bool = False) -> None:
        self.is_causal = is_causal
        self.before_attention = nnx.LayerNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(heads, width, decode=False, rngs=rngs)
        self.before_mlp = nnx.LayerNorm(width, rngs=rngs)
        self.up = nnx.Linear(width, 4 * width, rngs=rngs)
        self.down = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return tokens of the same shape, ``(batch, length, width)``."""
        mask = nnx.make_causal_mask(x[..., 0]) if self.is_causal else None
        x = x + self.attention(self.before_attention(x), mask=mask)
        return x + self.down(nnx.gelu(self.up(self.before_mlp(x))))
