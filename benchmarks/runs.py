"""Workloads as runs for `lrsched.tuning`, and what their sweeps say of a rate."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

import lrsched
from benchmarks.workloads.base import Data, Split, Workload
from lrsched import tuning

OPTIMIZERS: dict[str, Callable[..., optax.GradientTransformation]] = {
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
    optimizer: Callable[..., optax.GradientTransformation],
    model: Callable[[nnx.Rngs], nnx.Module] | None = None,
    batch_size: int | None = None,
) -> tuning.Training:
    """A workload's model and loss under an optimizer."""

    def loss_fn(model: nnx.Module, batch: Split) -> jax.Array:
        return workload.loss(model(batch.inputs), batch.targets)  # type: ignore[operator]

    return tuning.training(
        loss_fn,
        lambda key: (model or workload.model)(nnx.Rngs(key)),
        optimizer,
        data.train,
        batch_size=batch_size or workload.batch_size,
        validation=data.validation,
    )


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
