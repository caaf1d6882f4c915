"""A character language model on the help topics that come with Python: 465,000 characters."""

import hashlib
import sys
import warnings
from pydoc_data.topics import topics

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.workloads.base import Data, Split, Workload, accuracy, cross_entropy
from benchmarks.workloads.mnist_vit import Block

LENGTH, WIDTH, HEADS, LAYERS = 64, 32, 4, 2
CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))
DIGESTS = {(3, 11, 7): "b61d082f373f608306b71e4b69c64ac24b650139c6f185e038e420244affbc70"}
"""Of the text, by the version of Python: another text is another workload."""


def load() -> Data:
    """Returns windows of 64 characters and the ones that follow: the last tenths are held out."""
    text = "\n".join(topics[name] for name in sorted(topics))
    text = text.encode("ascii", "ignore").decode()
    known = DIGESTS.get(sys.version_info[:3])
    if hashlib.sha256(text.encode()).hexdigest() != known:
        warnings.warn("another text than the one that the published numbers are of", stacklevel=2)
    places = {character: i for i, character in enumerate(CHARACTERS)}
    codes = np.array([places[character] for character in text if character in places], np.int32)
    windows = codes[: len(codes) // LENGTH * LENGTH + 1]
    inputs = windows[:-1].reshape(-1, LENGTH)
    targets = windows[1:].reshape(-1, LENGTH)
    ends = [0, int(0.9 * len(inputs)), int(0.95 * len(inputs)), len(inputs)]
    size = ends[2] - ends[1]
    return Data(
        Split(inputs[: ends[1]], targets[: ends[1]]),
        Split(inputs[ends[1] : ends[2]], targets[ends[1] : ends[2]]),
        Split(inputs[ends[2] : ends[2] + size], targets[ends[2] : ends[2] + size]),
    )


class Transformer(nnx.Module):
    """Two causal blocks of width 64: 116,576 parameters."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(len(CHARACTERS), WIDTH, rngs=rngs)
        self.place = nnx.Param(0.02 * jax.random.normal(rngs.params(), (LENGTH, WIDTH)))
        self.blocks = nnx.List([Block(WIDTH, HEADS, rngs, is_causal=True) for _ in range(LAYERS)])
        self.norm = nnx.LayerNorm(WIDTH, rngs=rngs)
        self.head = nnx.Linear(WIDTH, len(CHARACTERS), rngs=rngs)

    def __call__(self, characters: jax.Array) -> jax.Array:
        """The logits of the character after each one."""
        x = self.embed(characters) + self.place[: characters.shape[-1]]
        for block in self.blocks:
            x = block(x)
        return jnp.asarray(self.head(self.norm(x)))


WORKLOAD = Workload(
    name="topics-lm",
    title="Character LM on Python's help",
    source="the help topics in Python's standard library, PSF licence",
    data=load,
    model=Transformer,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=16,
    steps=300,
    around=3e-3,
    target=2.5,
    budgets=(0.25, 1.0),
    tuning_seeds=1,
)
