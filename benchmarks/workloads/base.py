"""What a workload is: data, a model, a loss, a metric and a budget."""

from collections.abc import Callable
from dataclasses import dataclass
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
    """A model, its data and its budget; nothing here depends on the learning rate but `around`.

    Attributes:
      name: the name on the command line.
      title: the name in tables and figures.
      source: where the data is from, its licence, and how to get it where no dependency brings it.
      data: loads the data, already normalised and split.
      model: initialises the model, which maps a batch of inputs to outputs.
      loss: what is minimised.
      metric: what is reported beside the loss; its name heads the column.
      batch_size: examples an update.
      steps: the budget, in updates; other budgets are multiples of it.
      around: the middle of the rates that policies are tuned over, unless they have their own.
      target: the validation loss whose first sight is timed.
      budgets: the multiples that the whole study goes through.
      tuning_seeds: runs of each rate when it is chosen; one where a run takes seconds.
      evaluations: of the held-out splits, at equal distances in a run.
      scan: train in a loop on the device. Off for convolutions: XLA's CPU backend runs them 3 to 7
        times slower inside a loop (jax issue 12868).
      is_here: whether the data can be loaded on this machine.
    """

    name: str
    title: str
    source: str
    data: Callable[[], Data]
    model: Callable[[nnx.Rngs], nnx.Module]
    loss: Score
    metric: Score
    batch_size: int
    steps: int
    around: float
    target: float
    budgets: tuple[float, ...] = (0.25, 1.0, 4.0)
    tuning_seeds: int = 3
    evaluations: int = 20
    scan: bool = True
    is_here: Callable[[], bool] = lambda: True

    def steps_of(self, budget: float) -> int:
        """The updates of a multiple of the budget, one an evaluation at least."""
        return max(self.evaluations, round(budget * self.steps))


def split(inputs: Array, targets: Array, held_out: int, by_class: bool = True) -> Data:
    """Holds out twice `held_out` examples, alike in classes and always the same ones."""
    rest, test = hold_out(Split(inputs, targets), held_out, by_class)
    train, validation = hold_out(rest, held_out, by_class)
    return Data(train, validation, test)


def hold_out(examples: Split, held_out: int, by_class: bool = True) -> tuple[Split, Split]:
    """Cuts examples in two, the second of `held_out`; always the same ones."""
    inputs, other_inputs, targets, other_targets = train_test_split(
        *examples,
        test_size=held_out,
        stratify=examples.targets if by_class else None,
        random_state=0,
    )
    return Split(inputs, targets), Split(other_inputs, other_targets)


def cross_entropy(logits: jax.Array, labels: Array) -> jax.Array:
    """Mean cross-entropy in nats, in float32 at least."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def accuracy(logits: jax.Array, labels: Array) -> jax.Array:
    """Fraction of examples whose largest logit is the label's."""
    return jnp.mean(logits.argmax(-1) == labels, dtype=jnp.float32)
