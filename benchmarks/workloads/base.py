"""Definition of a workload: data, model, loss, metric and budget."""

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
"""Function ``(outputs, targets) -> scalar``, the mean over a mini-batch."""


class Split(NamedTuple):
    """Inputs and targets, with a leading axis of examples."""

    inputs: Array
    targets: Array


class Data(NamedTuple):
    """Splits for the training, for the selection of the rate, and for the reported scores."""

    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class Workload:
    """Model with its data and its budget. Only `around` depends on the learning rate.

    Attributes:
      name: Name on the command line.
      title: Name in tables and figures.
      source: Origin and licence of the data, and the command that installs it if pip does not.
      data: Function that loads the data, normalised and split.
      model: Factory of the model, which maps a mini-batch of inputs to outputs.
      loss: Training loss.
      metric: Reported metric. The name of the function is the heading of its column.
      batch_size: Number of examples of a mini-batch.
      steps: Number of updates of budget 1. Other budgets are multiples of it.
      around: Geometric centre of the tuned rates, for policies without a centre of their own.
      target: Validation loss for the number of updates to a target.
      budgets: Multiples of `steps` in the full study.
      tuning_seeds: Number of tuning runs per rate. 1 if a run takes seconds.
      evaluations: Number of evaluations of the held-out splits, at equal distances in a run.
      scan: Whether to train in a loop on the device. False for convolutions: XLA's CPU backend runs
        them 3 to 7 times slower inside a loop (jax issue 12868).
      is_here: Function that returns whether the data can be loaded on this machine.
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
        """Return the number of updates of a budget, at least one per evaluation."""
        return max(self.evaluations, round(budget * self.steps))


def split(inputs: Array, targets: Array, held_out: int, by_class: bool = True) -> Data:
    """Split examples into training, validation and test data, deterministically.

    Args:
      inputs: Inputs, with a leading axis of examples.
      targets: Targets, with a leading axis of examples.
      held_out: Number of examples of the validation split, and of the test split.
      by_class: Whether the splits have the same proportions of classes.

    Returns:
      The three splits.
    """
    remaining, test = hold_out(Split(inputs, targets), held_out, by_class)
    train, validation = hold_out(remaining, held_out, by_class)
    return Data(train, validation, test)


def hold_out(examples: Split, held_out: int, by_class: bool = True) -> tuple[Split, Split]:
    """Return two splits of the examples, the second with `held_out` of them, deterministically."""
    inputs, other_inputs, targets, other_targets = train_test_split(
        *examples,
        test_size=held_out,
        stratify=examples.targets if by_class else None,
        random_state=0,
    )
    return Split(inputs, targets), Split(other_inputs, other_targets)


def cross_entropy(logits: jax.Array, labels: Array) -> jax.Array:
    """Return the mean cross-entropy in nats, at least in float32."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels))


def accuracy(logits: jax.Array, labels: Array) -> jax.Array:
    """Return the fraction of examples whose largest logit is that of the label."""
    return jnp.mean(logits.argmax(-1) == labels, dtype=jnp.float32)
