"""Optimizers without any rate: each step is a bet on the sign of the next gradient."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import DTypeLike

from lrsched.adaptive.base import (
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    state_scalar,
    tree_add_scaled,
    tree_mul,
    tree_zeros_like,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import NonNegativeFloat, PositiveFloat, validate_arguments


class CocobMemory(NamedTuple):
    """What `cocob` remembers of each parameter.

    Attributes:
      start: its first value.
      total: minus the sum of its gradients.
      magnitude: the sum of their sizes.
      largest: the largest of these.
      reward: what its bets have won.
    """

    start: Any
    total: Any
    magnitude: Any
    largest: Any
    reward: Any


@validate_arguments
def cocob(
    learning_rate: LearningRate = 1.0,
    *,
    alpha: PositiveFloat = 100.0,
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """COCOB-Backprop: coin betting for each parameter, with nothing to tune.

    With ``g`` times the outer rate, and for each parameter ``L = max(L, |g|)``, ``S -= g``,
    ``G += |g|``, ``R = max(R - g (x - x_0), 0)``::

        x = x_0 + S (R + L) / (L max(G + L, alpha L))

    Args:
      learning_rate: what the gradients are multiplied by, a number or a schedule: the steps hardly
        depend on it while it is constant, and a decay makes late gradients count for less.
      alpha: how slowly the first bets grow.
      eps: the first ``L``.
      weight_decay: times the parameters, added to the gradients.
      state_dtype: of the five copies of the parameters that are kept.

    Raises:
      ValueError: an option that is not in its range.

    Source: Orabona & Tommasi 2017 (arXiv 1705.07795), algorithm 2; matches parameterfree 0.0.1.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.cocob()
    >>> params = jnp.array([3.0])
    >>> updates, _ = optimizer.update(jnp.array([2.0]), optimizer.init(params), params)
    >>> round(float(updates[0]), 4)
    -0.01
    """

    def init(params: Any) -> CocobMemory:
        zeros = tree_zeros_like(params)
        largest = jax.tree.map(lambda p: jnp.full_like(p, eps), params)
        return CocobMemory(params, zeros, zeros, largest, zeros)

    def move(step: MethodInputs[CocobMemory]) -> MethodOutput:
        memory = step.memory
        gradients = tree_add_scaled(step.gradients, step.params, weight_decay)
        gradients = jax.tree.map(lambda g: step.rate * g, gradients)
        total = jax.tree.map(jnp.subtract, memory.total, gradients)
        magnitude = jax.tree.map(lambda s, g: s + jnp.abs(g), memory.magnitude, gradients)
        largest = jax.tree.map(lambda s, g: jnp.maximum(s, jnp.abs(g)), memory.largest, gradients)
        reward = jax.tree.map(
            lambda r, g, p, first: jnp.maximum(r - g * (p - first), 0),
            memory.reward,
            gradients,
            step.params,
            memory.start,
        )

        def updates(kept: CocobMemory) -> Any:
            return jax.tree.map(
                lambda p, x, s, g, most, r: (
                    x + s / most * (r + most) / jnp.maximum(g + most, alpha * most) - p
                ),
                step.params,
                *kept,
            )

        new = CocobMemory(memory.start, total, magnitude, largest, reward)
        return MethodOutput(updates, new, step.rate)

    return adaptive_transform("cocob", learning_rate, init, move, state_dtype=state_dtype)


class KTMemory(NamedTuple):
    """What `kt` remembers.

    Attributes:
      start: the parameters at the beginning.
      total: minus the sum of the gradients.
      wealth: float32 scalar, what there is to bet.
      steps: int32 scalar, the updates made.
    """

    start: Any
    total: Any
    wealth: jax.Array
    steps: jax.Array


@validate_arguments
def kt(
    learning_rate: LearningRate = 1.0,
    *,
    wealth: PositiveFloat = 1e-4,
    weight_decay: NonNegativeFloat = 0.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Krichevsky-Trofimov betting: one wealth for all parameters, with nothing to tune.

    With ``g`` times the outer rate: ``W += <x_0 - x, g>``, ``S -= g``, ``x = x_0 + S W / (t + 2)``
    after ``t`` updates. It assumes ``|g| <= 1``: clip before it
    (``optax.clip_by_global_norm(1.0)``).

    Args:
      learning_rate: what the gradients are multiplied by, a number or a schedule.
      wealth: the first one.
      weight_decay: times the parameters, added to the gradients that are summed.
      state_dtype: of the two copies of the parameters that are kept.

    Raises:
      ValueError: an option that is not in its range.

    Source: Orabona & Pal 2016 (arXiv 1602.04128); matches parameterfree 0.0.1.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.kt(wealth=1.0)
    >>> params = jnp.array([3.0])
    >>> updates, _ = optimizer.update(jnp.array([0.5]), optimizer.init(params), params)
    >>> updates.tolist()
    [-0.25]
    """

    def init(params: Any) -> KTMemory:
        return KTMemory(params, tree_zeros_like(params), state_scalar(wealth), zero_count())

    def measure(step: MethodInputs[KTMemory]) -> tuple[Any, ...]:
        back = jax.tree.map(jnp.subtract, step.memory.start, step.params)
        return (tree_mul(back, step.gradients),)

    def move(step: MethodInputs[KTMemory]) -> MethodOutput:
        memory, (won,) = step.memory, step.sums
        gradients = tree_add_scaled(step.gradients, step.params, weight_decay)
        won_so_far = memory.wealth + step.rate * won
        total = tree_add_scaled(memory.total, gradients, -step.rate)
        share = won_so_far / (memory.steps + 2)

        def updates(kept: KTMemory) -> Any:
            return jax.tree.map(
                lambda first, s, p: first + share * s - p, kept.start, kept.total, step.params
            )

        new = KTMemory(memory.start, total, won_so_far, memory.steps + 1)
        return MethodOutput(updates, new, step.rate)

    return adaptive_transform("kt", learning_rate, init, move, measure, state_dtype=state_dtype)
