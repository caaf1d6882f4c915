"""Distance over gradients: the step is how far the parameters have come, over all gradients."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from lrsched.adaptive.base import (
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    safe_divide,
    state_scalar,
    tree_add_scaled,
    tree_descent,
    tree_square,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import NonNegativeFloat, PositiveFloat, validate_arguments


class DistanceMemory(NamedTuple):
    """What `dog`, `ldog` and `dowg` remember.

    Attributes:
      start: the parameters at the beginning.
      distance: float32, the largest distance from them so far; of `ldog` one for each array.
      total: float32, the sum of the squared gradients so far, weighted in `dowg`; the same.
      steps: int32 scalar, the updates made.
    """

    start: Any
    distance: Any
    total: Any
    steps: jax.Array


def _moved(step: MethodInputs[Any]) -> Any:
    """How far each parameter has come."""
    return jax.tree.map(jnp.subtract, step.params, step.memory.start)


@validate_arguments
def dog(
    learning_rate: LearningRate = 1.0,
    *,
    reps_rel: PositiveFloat = 1e-6,
    eps: PositiveFloat = 1e-8,
    init_eta: PositiveFloat | None = None,
    weight_decay: NonNegativeFloat = 0.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """DoG, distance over gradients: SGD without a learning rate.

    ``eta_t = rate_t r_t / sqrt(G_t + eps)`` with ``r_t = max_{i<=t} |x_i - x_0|``, at least
    ``reps_rel (1 + |x_0|)``, and ``G_t = sum_{i<=t} |g_i|**2``; the update is ``-eta_t g_t``.

    Its iterates are meant to be averaged; the paper weights late ones by a polynomial.

    Args:
      learning_rate: the outer rate, 1 in theory; a number or a schedule.
      reps_rel: the first distance, relative to the parameters' norm.
      eps: added to the sum of squares once.
      init_eta: the first step instead of ``reps_rel``.
      weight_decay: times the parameters, added to the gradients.
      state_dtype: of the copy of the first parameters.

    Raises:
      ValueError: an option that is not in its range.

    Source: Ivgi, Hinder & Carmon 2023 (arXiv 2302.12022); matches dog-optimizer 1.0.3, where the
    first step of ``init_eta`` is not times the rate either.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.dog(reps_rel=0.5)
    >>> params = jnp.array([3.0, 4.0])
    >>> updates, state = optimizer.update(jnp.array([0.0, 2.0]), optimizer.init(params), params)
    >>> updates.tolist(), float(lrsched.learning_rate(state))
    ([-0.0, -3.0], 1.5)
    """

    def init(params: Any) -> DistanceMemory:
        first = 0.0 if init_eta is not None else reps_rel * (1 + optax.tree.norm(params))
        return DistanceMemory(params, state_scalar(first), state_scalar(eps), zero_count())

    def prepare(step: MethodInputs[DistanceMemory]) -> Any:
        return tree_add_scaled(step.gradients, step.params, weight_decay)

    def measure(step: MethodInputs[DistanceMemory]) -> tuple[Any, ...]:
        return tree_square(_moved(step)), tree_square(step.prepared)

    def move(step: MethodInputs[DistanceMemory]) -> MethodOutput:
        memory, (moved, square) = step.memory, step.sums
        distance = jnp.maximum(memory.distance, jnp.sqrt(moved))
        total = memory.total + square
        eta = step.rate * distance / jnp.sqrt(total)
        if init_eta is not None:
            eta = jnp.where(memory.steps == 0, init_eta, eta)
        new = DistanceMemory(memory.start, distance, total, memory.steps + 1)
        return MethodOutput(lambda _: tree_descent(step.prepared, eta), new, eta)

    return adaptive_transform(
        "dog", learning_rate, init, move, measure, prepare=prepare, state_dtype=state_dtype
    )


@validate_arguments
def ldog(
    learning_rate: LearningRate = 1.0,
    *,
    reps_rel: PositiveFloat = 1e-6,
    eps: PositiveFloat = 1e-8,
    init_eta: PositiveFloat | None = None,
    weight_decay: NonNegativeFloat = 0.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """LDoG: `dog` for each array of the parameters by itself.

    Args:
      learning_rate: the outer rate, a number or a schedule.
      reps_rel: the first distance, relative to each array's norm.
      eps: added to each sum of squares once.
      init_eta: the first step instead of ``reps_rel``.
      weight_decay: times the parameters, added to the gradients.
      state_dtype: of the copy of the first parameters.

    Raises:
      ValueError: an option that is not in its range.

    Source: Ivgi, Hinder & Carmon 2023 (arXiv 2302.12022); matches dog-optimizer 1.0.3. Its
    `learning_rate` in the state is the mean over the arrays.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.ldog(reps_rel=0.5)
    >>> params = {"a": jnp.array([1.0]), "b": jnp.array([3.0])}
    >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
    >>> updates["a"].tolist(), updates["b"].tolist()
    ([-1.0], [-2.0])
    """

    def init(params: Any) -> DistanceMemory:
        def first(leaf: jax.Array) -> jax.Array:
            is_given = init_eta is not None
            return state_scalar(0.0 if is_given else reps_rel * (1 + jnp.linalg.norm(leaf.ravel())))

        total = jax.tree.map(lambda leaf: state_scalar(eps), params)
        return DistanceMemory(params, jax.tree.map(first, params), total, zero_count())

    def prepare(step: MethodInputs[DistanceMemory]) -> Any:
        return tree_add_scaled(step.gradients, step.params, weight_decay)

    def measure(step: MethodInputs[DistanceMemory]) -> tuple[Any, ...]:
        return tree_square(_moved(step)), tree_square(step.prepared)

    def move(step: MethodInputs[DistanceMemory]) -> MethodOutput:
        memory, (moved, square) = step.memory, step.sums_by_array
        distance = jax.tree.map(
            lambda known, far: jnp.maximum(known, jnp.sqrt(far)), memory.distance, moved
        )
        total = jax.tree.map(jnp.add, memory.total, square)
        etas = jax.tree.map(lambda far, seen: step.rate * far / jnp.sqrt(seen), distance, total)
        if init_eta is not None:
            etas = jax.tree.map(lambda eta: jnp.where(memory.steps == 0, init_eta, eta), etas)
        mean = jnp.mean(jnp.stack(jax.tree.leaves(etas)))
        new = DistanceMemory(memory.start, distance, total, memory.steps + 1)
        return MethodOutput(
            lambda _: jax.tree.map(lambda g, eta: -eta * g, step.prepared, etas), new, mean
        )

    return adaptive_transform(
        "ldog", learning_rate, init, move, measure, prepare=prepare, state_dtype=state_dtype
    )


@validate_arguments
def dowg(
    learning_rate: LearningRate = 1.0,
    *,
    reps_rel: PositiveFloat = 1e-6,
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """DoWG, distance over weighted gradients: `dog` whose gradients are weighted by the distance.

    ``eta_t = rate_t r_t**2 / sqrt(v_t + eps)`` with ``v_t = sum_{i<=t} r_i**2 |g_i|**2``.

    Args:
      learning_rate: the outer rate, a number or a schedule.
      reps_rel: the first distance, relative to the parameters' norm.
      eps: added to the sum of squares once, times the first distance's square.
      weight_decay: times the parameters, added to the gradients.
      state_dtype: of the copy of the first parameters.

    Raises:
      ValueError: an option that is not in its range.

    Source: Khaled, Mishchenko & Jin 2023 (arXiv 2305.16284), algorithm 1. The ``dowg`` package does
    nothing without a closure, and clips gradients, which the paper does not.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.dowg(reps_rel=0.5)
    >>> params = jnp.array([3.0, 4.0])
    >>> updates, _ = optimizer.update(jnp.array([0.0, 2.0]), optimizer.init(params), params)
    >>> updates.tolist()
    [-0.0, -3.0]
    """

    def init(params: Any) -> DistanceMemory:
        distance = state_scalar(reps_rel * (1 + optax.tree.norm(params)))
        return DistanceMemory(params, distance, distance**2 * eps, zero_count())

    def prepare(step: MethodInputs[DistanceMemory]) -> Any:
        return tree_add_scaled(step.gradients, step.params, weight_decay)

    def measure(step: MethodInputs[DistanceMemory]) -> tuple[Any, ...]:
        return tree_square(_moved(step)), tree_square(step.prepared)

    def move(step: MethodInputs[DistanceMemory]) -> MethodOutput:
        memory, (moved, square) = step.memory, step.sums
        distance = jnp.maximum(memory.distance, jnp.sqrt(moved))
        total = memory.total + distance**2 * square
        eta = step.rate * safe_divide(distance**2, jnp.sqrt(total))
        new = DistanceMemory(memory.start, distance, total, memory.steps + 1)
        return MethodOutput(lambda _: tree_descent(step.prepared, eta), new, eta)

    return adaptive_transform(
        "dowg", learning_rate, init, move, measure, prepare=prepare, state_dtype=state_dtype
    )
