"""Coin betting: optimizers without a learning rate, which bet on the sign of the next gradient."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrsched.adaptive.base import (
    AdaptiveMethod,
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    state_scalar,
    tree_add_scaled,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import Dtype, NonNegativeFloat, PositiveFloat


class CocobMethodState(NamedTuple):
    """State of `cocob`: trees like the parameters.

    Attributes:
      params0: ``x_0``, the initial parameters.
      neg_grad_sum: ``S``, minus the sum of the gradients.
      abs_grad_sum: ``G``, the sum of the absolute gradients.
      max_abs_grad: ``L``, the largest absolute gradient.
      reward: ``R``, the reward of the bets so far.
    """

    params0: optax.Params
    neg_grad_sum: optax.Updates
    abs_grad_sum: optax.Updates
    max_abs_grad: optax.Updates
    reward: optax.Updates


@dataclasses.dataclass(frozen=True)
class Cocob(AdaptiveMethod[CocobMethodState]):
    """COCOB-Backprop: coin betting for each parameter, without a parameter to tune.

    With ``g`` times the outer rate, and for each parameter ``L = max(L, |g|)``, ``S -= g``,
    ``G += |g|``, ``R = max(R - g (x - x_0), 0)``::

        x = x_0 + S (R + L) / (L max(G + L, alpha L))

    Args:
      learning_rate: Factor of the gradients; a number or a schedule. A constant factor cancels in
        the steps, but for ``eps``: only its changes over time act. A decay gives later gradients
        less weight and at 0 the parameters stay, so that a cooldown works, but
        `scale_learning_rate` does not halve the steps.
      alpha: Ratio that limits the first bets; larger values slow down the start.
      eps: Initial ``L``.
      weight_decay: Weight-decay coefficient; ``weight_decay * params`` is added to the gradients.
      state_dtype: Dtype of the five copies of the parameters in the state. Defaults to the
        parameter dtype, at least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `CocobMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.cocob()
      >>> params = jnp.array([3.0])
      >>> updates, _ = optimizer.update(jnp.array([2.0]), optimizer.init(params), params)
      >>> round(float(updates[0]), 4)
      -0.01

    References:
      Orabona & Tommasi 2017 (arXiv 1705.07795), algorithm 2. It matches parameterfree 0.0.1.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    alpha: PositiveFloat = 100.0
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> CocobMethodState:
        """Return the state at ``x_0``."""
        return CocobMethodState(
            params0=params,
            neg_grad_sum=optax.tree.zeros_like(params),
            abs_grad_sum=optax.tree.zeros_like(params),
            max_abs_grad=jax.tree.map(lambda p: jnp.full_like(p, self.eps), params),
            reward=optax.tree.zeros_like(params),
        )

    def update(self, inputs: MethodInputs[CocobMethodState]) -> MethodOutput:
        """Return the bets."""
        state, params = inputs.state, inputs.params
        gradients = tree_add_scaled(inputs.gradients, params, self.weight_decay)
        gradients = jax.tree.map(lambda g: inputs.outer_rate * g, gradients)
        abs_grads = jax.tree.map(jnp.abs, gradients)
        new_state = CocobMethodState(
            params0=state.params0,
            neg_grad_sum=optax.tree.sub(state.neg_grad_sum, gradients),
            abs_grad_sum=jax.tree.map(jnp.add, state.abs_grad_sum, abs_grads),
            max_abs_grad=jax.tree.map(jnp.maximum, state.max_abs_grad, abs_grads),
            reward=jax.tree.map(
                lambda r, g, x, x0: jnp.maximum(r - g * (x - x0), 0),
                state.reward,
                gradients,
                params,
                state.params0,
            ),
        )

        def updates(kept: CocobMethodState) -> optax.Updates:
            return jax.tree.map(
                lambda x, x0, s, g, most, r: (
                    x0 + s / most * (r + most) / jnp.maximum(g + most, self.alpha * most) - x
                ),
                params,
                *kept,
            )

        return MethodOutput(updates, new_state, inputs.outer_rate)


class KTMethodState(NamedTuple):
    """State of `kt`.

    Attributes:
      params0: ``x_0``, the initial parameters.
      neg_grad_sum: ``S``, minus the sum of the gradients, a tree like the parameters.
      wealth: float32 scalar, ``W``.
      num_updates: int32 scalar, the number of updates.
    """

    params0: optax.Params
    neg_grad_sum: optax.Updates
    wealth: jax.Array
    num_updates: jax.Array


@dataclasses.dataclass(frozen=True)
class KT(AdaptiveMethod[KTMethodState]):
    """Krichevsky-Trofimov betting: one wealth for all parameters, without a parameter to tune.

    With ``g`` times the outer rate: ``W += <x_0 - x, g>``, ``S -= g``, ``x = x_0 + S W / (t + 2)``
    after ``t`` updates. It assumes ``|g| <= 1``: clip the gradients first
    (``optax.clip_by_global_norm(1.0)``).

    Args:
      learning_rate: Factor of the gradients; a number or a schedule.
      wealth: Initial ``W``.
      weight_decay: Weight-decay coefficient; ``weight_decay * params`` is added to the gradients in
        ``S``.
      state_dtype: Dtype of the two copies of the parameters in the state. Defaults to the parameter
        dtype, at least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `KTMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.kt(wealth=1.0)
      >>> params = jnp.array([3.0])
      >>> updates, _ = optimizer.update(jnp.array([0.5]), optimizer.init(params), params)
      >>> updates.tolist()
      [-0.25]

    References:
      Orabona & Pal 2016 (arXiv 1602.04128). It matches parameterfree 0.0.1.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    wealth: PositiveFloat = 1e-4
    weight_decay: NonNegativeFloat = 0.0
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> KTMethodState:
        """Return the state at ``x_0``."""
        return KTMethodState(
            params, optax.tree.zeros_like(params), state_scalar(self.wealth), zero_count()
        )

    def sums(self, inputs: MethodInputs[KTMethodState]) -> tuple[optax.Updates, ...]:
        """Return ``<x_0 - x, g>``."""
        return (
            optax.tree.mul(optax.tree.sub(inputs.state.params0, inputs.params), inputs.gradients),
        )

    def update(self, inputs: MethodInputs[KTMethodState]) -> MethodOutput:
        """Return the bets."""
        state, (gain,) = inputs.state, inputs.sums
        gradients = tree_add_scaled(inputs.gradients, inputs.params, self.weight_decay)
        wealth = state.wealth + inputs.outer_rate * gain
        neg_grad_sum = tree_add_scaled(state.neg_grad_sum, gradients, -inputs.outer_rate)
        bet_fraction = wealth / (state.num_updates + 2)

        def updates(kept: KTMethodState) -> optax.Updates:
            return jax.tree.map(
                lambda x0, s, x: x0 + bet_fraction * s - x,
                kept.params0,
                kept.neg_grad_sum,
                inputs.params,
            )

        new_state = KTMethodState(state.params0, neg_grad_sum, wealth, state.num_updates + 1)
        return MethodOutput(updates, new_state, inputs.outer_rate)


cocob = adaptive_transform(Cocob)
kt = adaptive_transform(KT)
