"""Workloads as `lrsched.tuning.Training`, and the sweeps over their rates."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

import lrsched
from benchmarks.policies import Optimizer
from benchmarks.workloads.base import Data, Split, Workload
from lrsched import tuning

OPTIMIZERS: dict[str, Optimizer] = {
    "gradient descent": optax.sgd,
    "SGD with momentum": lambda rate: optax.sgd(rate, momentum=0.9),
    "AdaGrad": optax.adagrad,
    "RMSProp": optax.rmsprop,
    "Adam": optax.adam,
}
RANGES = {
    "gradient descent": tuning.RANGES["sgd"],
    "SGD with momentum": tuning.RANGES["sgd"],
    "AdaGrad": tuning.RANGES["adagrad"],
    "RMSProp": tuning.RANGES["rmsprop"],
    "Adam": tuning.RANGES["adam"],
}
SHAPES: dict[str, Callable[[float, int], lrsched.Schedule]] = {
    "constant": lambda rate, steps: lrsched.constant(rate),
    "linear to zero": lambda rate, steps: lrsched.linear(rate, 0.0, steps),
}


def run_of(
    workload: Workload,
    data: Data,
    optimizer: Optimizer,
    model: Callable[[nnx.Rngs], nnx.Module] | None = None,
    batch_size: int | None = None,
) -> tuning.Training:
    """Return the training of a workload with an optimizer.

    Its metrics are "loss" and "metric" on the validation split, "test_loss" and "test_metric" on
    the test split, and "learning_rate", the most recently applied rate.

    Args:
      workload: Workload that provides the loss and the metric.
      data: Splits of the workload.
      optimizer: Factory ``schedule -> transform``.
      model: Factory of another model. Defaults to the model of the workload.
      batch_size: Number of examples of a mini-batch. Defaults to that of the workload.

    Returns:
      A `Training` for `lrsched.tuning.sweep`.
    """

    def loss_fn(model: nnx.Module, batch: Split) -> jax.Array:
        return workload.loss(model(batch.inputs), batch.targets)  # type: ignore[operator]

    def metric(model: nnx.Module, held_out: tuple[Split, Split]) -> dict[str, jax.Array]:
        scores = {}
        for prefix, split in zip(("", "test_"), held_out, strict=True):
            outputs = model(split.inputs)  # type: ignore[operator]
            scores[f"{prefix}loss"] = workload.loss(outputs, split.targets)
            scores[f"{prefix}metric"] = workload.metric(outputs, split.targets)
        return scores

    run = tuning.training(
        loss_fn,
        lambda key: (model or workload.model)(nnx.Rngs(key)),
        optimizer,
        data.train,
        batch_size=batch_size or workload.batch_size,
        validation=(data.validation, data.test),
        metric=metric,
    )
    evaluate_splits = run.evaluate
    assert evaluate_splits is not None

    def evaluate(state: Any, held_out: Any) -> tuple[Any, Any]:
        new_state, scores = evaluate_splits(state, held_out)
        rates = lrsched.learning_rates(state.opt_state)
        # Of two rates, that of the parameters under AdamW: all policies are tuned over it.
        label = next((label for label in ("rest", "adam") if label in rates), "")
        return new_state, {**scores, "learning_rate": rates[label]}

    return dataclasses.replace(run, evaluate=evaluate)


def final_losses(
    run: tuning.Training, shape: str, rates: Any, steps: int, seeds: int, progress: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Train with every rate and return the final losses.

    Returns:
      The validation losses and the training losses, each float64 of shape ``(rates, seeds)``. The
      training loss is the mean over the last 5 % of the run. The loss of a diverged run is inf.
    """
    schedules = [SHAPES[shape](float(rate), steps) for rate in rates]
    result = tuning.sweep(run, schedules, steps=steps, seeds=seeds, progress=progress)
    tail = result.train_loss[:, -max(1, result.train_loss.shape[1] // 20) :].mean(axis=1)
    losses = np.where(np.isfinite(result.table["loss"]), result.table["loss"], np.inf)
    training = np.where(np.isfinite(tail), tail, np.inf)
    return losses.reshape(len(rates), seeds), training.reshape(len(rates), seeds)


def best_and_usable(
    rates: np.ndarray, losses: np.ndarray, first: float, part: float = 0.95
) -> tuple[float, float, float]:
    """Return the best rate, and the lowest and the highest usable rate.

    A rate is usable if the loss decreases from ``first`` by at least the fraction ``part`` of the
    decrease at the best rate.
    """
    mean = losses.mean(axis=1)
    least = mean.min()
    usable = rates[mean <= first - part * (first - least)]
    return float(rates[np.argmin(mean)]), float(usable.min()), float(usable.max())
