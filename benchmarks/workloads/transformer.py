"""The block of the small transformers, of images and of characters."""

import jax
from flax import nnx


class Block(nnx.Module):
    """Attention and an MLP, each behind a normalisation and beside a residual.

    It has ``12 width**2 + 13 width`` parameters.
    """

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
