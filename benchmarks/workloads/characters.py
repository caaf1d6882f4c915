"""Character language models: windows of a text, and a small causal transformer."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.workloads.base import Data, Split
from benchmarks.workloads.transformer import Block

LENGTH, WIDTH, HEADS, LAYERS = 64, 32, 4, 2
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
"""Vocabulary: the newline and the printable ASCII characters. Others are dropped."""


def windows(text: str, held_out: int) -> Data:
    """Split a text into windows of 64 characters; the targets are the next characters.

    The last windows are the test split; the windows before them are the validation split.

    Args:
      text: Text to split.
      held_out: Number of windows of the validation split, and of the test split.

    Returns:
      Splits whose inputs and targets are int32 of shape ``(windows, 64)``.
    """
    indices = {character: i for i, character in enumerate(CHARACTERS)}
    codes = np.array([indices[character] for character in text if character in indices], np.int32)
    count = (len(codes) - 1) // LENGTH
    whole = Split(
        codes[: count * LENGTH].reshape(-1, LENGTH),
        codes[1 : count * LENGTH + 1].reshape(-1, LENGTH),
    )
    ends = [0, count - 2 * held_out, count - held_out, count]
    return Data(*(Split(*(array[a:b] for array in whole)) for a, b in pairwise(ends)))


class Transformer(nnx.Module):
    """Causal transformer with two blocks of width 32: 33,760 parameters."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(len(CHARACTERS), WIDTH, rngs=rngs)
        self.place = nnx.Param(0.02 * jax.random.normal(rngs.params(), (LENGTH, WIDTH)))
        self.blocks = nnx.List([Block(WIDTH, HEADS, rngs, is_causal=True) for _ in range(LAYERS)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, len(CHARACTERS), rngs=rngs)

    def __call__(self, characters: jax.Array) -> jax.Array:
        """Return the logits of the next character at each position."""
        x = self.embed(characters) + self.place[: characters.shape[-1]]
        for block in self.blocks:
            x = block(x)
        return jnp.asarray(self.head(self.norm(x)))
