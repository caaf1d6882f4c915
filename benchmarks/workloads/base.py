"""What a workload is: data, a model, a loss, a metric and a budget."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.model_selection import train_test_split

Array: TypeAlias = jax.Array | np.ndarray
Score: TypeAlias = Callable[[jax.Array, Array], jax.Array]
"""A function of the model's outputs and the targets of a batch, averaged to a scalar."""


class Split(NamedTuple):
    """Examples, leading axis first."""

    inputs: Array
    targets: Array


class Data(NamedTuple):
    """Train on the first, choose on the second, report on the third."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Workload:
    """A model, its data and its budget; nothing here depends on the learning rate but `peak`.

    Attributes:
      name: the name on the command line.
      title: the name in tables and figures.
      data: loads the data, already normalised and split.
      model: initialises the model, which maps a batch of inputs to outputs.
      loss: what is minimised.
      metric: what is reported beside the loss; its name heads the column.
      batch_size: examples an update.
      evaluations: number of evaluations on the validation split.
      steps_per_evaluation: updates before each of them.
      seeds: number of runs, each with its own initial parameters and order of the batches.
      peak: the highest learning rate of every policy, chosen by ``python -m benchmarks.peaks``.
      scan: train in one `jax.lax.scan`, vmapped over the seeds. Off for convolutions: XLA's CPU
        backend runs them 3 to 7 times slower inside a loop (jax issue 12868), and 2 to 4 times
        slower once vmapped over their kernels.
    """

    name: str
    title: str
    data: Callable[[], Data]
    model: Callable[[nnx.Rngs], nnx.Module]
    loss: Score
    metric: Score
    batch_size: int
    evaluations: int
    steps_per_evaluation: int
    seeds: int
    peak: float
    scan: bool = True

    @property
    def steps(self) -> int:
        """The budget in updates."""
        return self.evaluations * self.steps_per_evaluation

    def scaled(self, scale: float) -> "Workload":
        """Returns the same workload with the budget multiplied, at least one update a part."""
        steps = max(1, round(scale * self.steps_per_evaluation))
        return replace(self, steps_per_evaluation=steps)


def split(inputs: Array, targets: Array, held_out: int, by_class: bool = True) -> Data:
    """Holds out twice `held_out` examples, alike in classes and always the same ones."""
    rest, test = _hold_out(Split(inputs, targets), held_out, by_class)
    train, validation = _hold_out(rest, held_out, by_class)
    return Data(train, validation, test)


def _hold_out(examples: Split, held_out: int, by_class: bool) -> tuple[Split, Split]:
    inputs, other_inputs, targets, other_targets = train_test_split(
        *examples,
        test_size=held_out,
        stratify=examples.targets if by_class else None,
        random_state=0,
    )
    return Split(inputs, targets), Split(other_inputs, other_targets)


def cross_entropy(logits: jax.Array, labels: Array) -> jax.Array:
    """Mean cross-entropy in nats."""
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def accuracy(logits: jax.Array, labels: Array) -> jax.Array:
    """Fraction of examples whose largest logit is the label's."""
    return jnp.mean(logits.argmax(-1) == labels, dtype=jnp.float32)
