"""Workloads as runs for `lrsched.tuning`, and what their sweeps say of a rate."""

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
    """A workload's model and loss under an optimizer.

    Its metrics are "loss" and "metric" on the validation split, "test_loss" and "test_metric" on
    the test split, and the "learning_rate" last applied.
    """

    def loss_fn(model: nnx.Module, batch: Split) -> jax.Array:
        return workload.loss(model(batch.inputs), batch.targets)  # type: ignore[operator]

    def metric(model: nnx.Module, held_out: tuple[Split, Split]) -> dict[str, jax.Array]:
        scores = {}
        for prefix, part in zip(("", "test_"), held_out, strict=True):
            outputs = model(part.inputs)  # type: ignore[operator]
            scores[f"{prefix}loss"] = workload.loss(outputs, part.targets)
            scores[f"{prefix}metric"] = workload.metric(outputs, part.targets)
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
    judge = run.evaluate
    assert judge is not None

    def evaluate(state: Any, held_out: Any) -> tuple[Any, Any]:
        told, scores = judge(state, held_out)
        return told, {**scores, "learning_rate": lrsched.learning_rate(state.opt_state)}

    return dataclasses.replace(run, evaluate=evaluate)


def swept(
    run: tuning.Training, shape: str, rates: Any, steps: int, seeds: int, progress: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """The final validation and training loss of every rate, ``(rates, seeds)``."""
    schedules = [SHAPES[shape](float(rate), steps) for rate in rates]
    found = tuning.sweep(run, schedules, steps=steps, seeds=seeds, progress=progress)
    tail = found.train_loss[:, -max(1, found.train_loss.shape[1] // 20) :].mean(axis=1)
    losses = np.where(np.isfinite(found.table["loss"]), found.table["loss"], np.inf)
    training = np.where(np.isfinite(tail), tail, np.inf)
    return losses.reshape(len(rates), seeds), training.reshape(len(rates), seeds)


def best_and_usable(
    rates: np.ndarray, losses: np.ndarray, first: float, part: float = 0.95
) -> tuple[float, float, float]:
    """The rate with the least loss, and the least and greatest of those that are usable.

    Usable is a rate whose loss falls, from ``first``, by 95 % of what the best one's falls.
    """
    mean = losses.mean(axis=1)
    least = mean.min()
    usable = rates[mean <= first - part * (first - least)]
    return float(rates[np.argmin(mean)]), float(usable.min()), float(usable.max())
