"""Learning the rate by gradient descent on the rate."""

from typing import Annotated, Any, NamedTuple, TypeAlias

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
    tree_mul,
    tree_square,
    tree_where,
    tree_zeros_like,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import (
    BaseOptimizer,
    DecayRate,
    NonNegativeFloat,
    PositiveFloat,
    one_of,
    validate_arguments,
)

Kind: TypeAlias = Annotated[str, one_of("Kind", ("multiplicative", "additive", "normalized"))]
"""How a hypergradient changes the rate."""


class HypergradientMemory(NamedTuple):
    """What `hypergradient` remembers.

    Attributes:
      base: the state of the base optimizer.
      direction: the latest direction.
      rate: float32 scalar, the rate before the outer one.
      outer: float32 scalar, the outer rate of the latest update.
      gradient_square: float32 scalar, the squared norm of the latest gradient.
    """

    base: optax.OptState
    direction: Any
    rate: jax.Array
    outer: jax.Array
    gradient_square: jax.Array


@validate_arguments
def hypergradient(
    base: BaseOptimizer | None = None,
    learning_rate: LearningRate = 1.0,
    *,
    initial_rate: PositiveFloat = 1e-3,
    hypergradient_rate: PositiveFloat = 0.02,
    kind: Kind = "multiplicative",
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Hypergradient descent: raise the rate while gradients agree with the latest direction.

    With ``d_t`` the direction that the base makes of ``g_t`` and ``u_t = -rate_t a_t d_t``, before
    each update::

        h = <g_t, d_{t-1}>
        additive        a_t = a_{t-1} + b rate_{t-1} h
        multiplicative  a_t = a_{t-1} (1 + b h / (|g_t| |d_{t-1}|))
        normalized      a_t = a_{t-1} + b h / |g_{t-1}|**2

    The rate is never below 0. The multiplicative form has no unit: ``b = 0.02`` fits most problems.
    The additive one is Baydin's; its ``b`` is in units of a rate over a squared gradient, 1e-8 to
    1e-3 in the paper. The normalized one is the hypergradient feedback of OSGM, with which the
    regret of the rate is provably small.

    Args:
      base: what makes the direction, without a rate of its own: ``optax.scale_by_adam()``,
        ``optax.trace(0.9)``; plain gradient descent by default.
      learning_rate: the outer rate, a number or a schedule.
      initial_rate: ``a_0``.
      hypergradient_rate: ``b``.
      kind: which of the three.
      state_dtype: of the direction and of the base's state.

    Raises:
      ValueError: an option that is not in its range.

    Source: Baydin, Cornish, Martinez Rubio, Schmidt & Wood 2018 (arXiv 1703.04782); Gao, Chu, Ye &
    Udell 2024 (arXiv 2411.01803). The official AdamHD changes the rate between the arrays of one
    update; as in the paper, all of an update have one here.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.hypergradient(initial_rate=0.1, hypergradient_rate=0.5)
    >>> params = jnp.array([4.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(2):
    ...     updates, state = optimizer.update(params, state, params)
    ...     print(round(float(lrsched.learning_rate(state)), 4))
    0.1
    0.15
    """
    walker = base or optax.identity()

    def init(params: Any) -> HypergradientMemory:
        zero = state_scalar(0)
        return HypergradientMemory(
            walker.init(params), tree_zeros_like(params), state_scalar(initial_rate), zero, zero
        )

    def measure(step: MethodInputs[HypergradientMemory]) -> tuple[Any, ...]:
        return tree_mul(step.gradients, step.memory.direction), tree_square(step.memory.direction)

    def move(step: MethodInputs[HypergradientMemory]) -> MethodOutput:
        memory, (agreement, direction_square) = step.memory, step.sums
        direction, state = step.base_updates(walker, memory.base, step.params)
        if kind == "multiplicative":
            norms = jnp.sqrt(step.square) * jnp.sqrt(direction_square)
            change = memory.rate * safe_divide(agreement, norms)
        elif kind == "additive":
            change = memory.outer * agreement
        else:
            change = safe_divide(agreement, memory.gradient_square)
        rate = jnp.maximum(memory.rate + hypergradient_rate * change, 0)
        applied = step.rate * rate
        return MethodOutput(
            lambda kept: jax.tree.map(lambda d: -applied * d, kept.direction),
            HypergradientMemory(state, direction, rate, step.rate, step.square),
            applied,
        )

    return adaptive_transform(
        "hypergradient",
        learning_rate,
        init,
        move,
        measure,
        state_dtype=state_dtype,
    )


class HDMMemory(NamedTuple):
    """What `hdm` remembers.

    Attributes:
      gradient: at the best parameters so far.
      tried: the latest parameters minus the best.
      before: how far the step before came to the best.
      rates: one rate for each parameter.
      total: the sums of the squared hypergradients of the rates.
      momentum: float32 scalar.
      momentum_total: float32 scalar, the sum of its squared hypergradients.
      value: float32 scalar, the best loss so far.
      square: float32 scalar, the squared norm of ``gradient``.
    """

    gradient: Any
    tried: Any
    before: Any
    rates: Any
    total: Any
    momentum: jax.Array
    momentum_total: jax.Array
    value: jax.Array
    square: jax.Array


@validate_arguments
def hdm(
    learning_rate: LearningRate = 1.0,
    *,
    hypergradient_rate: PositiveFloat = 0.1,
    momentum: DecayRate = 0.95,
    momentum_rate: NonNegativeFloat = 1.0,
    eps: PositiveFloat = 1e-12,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """HDM: hypergradient descent of a rate for each parameter and of a heavy-ball momentum.

    For smooth losses of the whole data, not of mini-batches. With ``x`` the best parameters so far,
    ``y = x - P g(x) + m (x - x_before)`` is tried, and both learn from the gradient there, by
    AdaGrad::

        P += b (g(y) g(x) / |g(x)|**2) / sqrt(sum of its squares)
        m -= b_m (<g(y), x - x_before> / |g(x)|**2) / sqrt(sum of its squares), in [0, 0.9995]

    Where ``f(y)`` is not below ``f(x)``, the next update goes on from ``x`` (a null step): the
    parameters of such an update are a trial. Needs ``update(..., value=loss)``. `learning_rate` is
    the mean of ``P`` times the outer rate.

    Args:
      learning_rate: the outer rate, a number or a schedule.
      hypergradient_rate: ``b``, in units of a rate: some ``1 / L`` of the loss.
      momentum: the first ``m``.
      momentum_rate: ``b_m``.
      eps: added to norms and roots.
      state_dtype: of the five copies of the parameters that are kept.

    Raises:
      ValueError: an option that is not in its range, or no ``value``.

    Source: Chu, Gao, Ye & Udell 2025 (arXiv 2502.11229), with ``P`` from 0 as in their code.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer, curvature = lrsched.hdm(), jnp.array([1.0, 10.0])
    >>> params = jnp.array([3.0, -2.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(100):
    ...     loss, gradient = jnp.sum(curvature * params**2) / 2, curvature * params
    ...     updates, state = optimizer.update(gradient, state, params, value=loss)
    ...     params = optax.apply_updates(params, updates)
    >>> bool(state.memory.value < 1e-6)
    True
    """

    def init(params: Any) -> HDMMemory:
        zeros, zero = tree_zeros_like(params), state_scalar(0)
        return HDMMemory(
            zeros,
            zeros,
            zeros,
            zeros,
            zeros,
            state_scalar(momentum),
            zero,
            state_scalar(jnp.inf),
            zero,
        )

    def prepare(step: MethodInputs[HDMMemory]) -> tuple[Any, Any]:
        """The new rates and the new sums of their squared hypergradients."""
        memory = step.memory
        size = memory.square + eps
        change = jax.tree.map(lambda g, old: g * old / size, step.gradients, memory.gradient)
        total = jax.tree.map(lambda s, h: s + h**2, memory.total, change)
        rates = jax.tree.map(
            lambda p, h, s: jnp.maximum(p + hypergradient_rate * h / (jnp.sqrt(s) + eps), 0),
            memory.rates,
            change,
            total,
        )
        return rates, total

    def measure(step: MethodInputs[HDMMemory]) -> tuple[Any, ...]:
        rates, _ = step.prepared
        return tree_mul(step.gradients, step.memory.before), rates

    def move(step: MethodInputs[HDMMemory]) -> MethodOutput:
        memory, (agreement, total_rate) = step.memory, step.sums
        rates, total = step.prepared
        pull = agreement / (memory.square + eps)
        momentum_total = memory.momentum_total + pull**2
        ball = memory.momentum - momentum_rate * pull / (jnp.sqrt(momentum_total) + eps)
        ball = jnp.clip(ball, 0, 0.9995)

        is_better = step.value < memory.value
        gradient = tree_where(is_better, step.gradients, memory.gradient)
        before = tree_where(is_better, memory.tried, tree_zeros_like(memory.tried))
        tried = jax.tree.map(
            lambda g, p, d: step.rate * (ball * d - p * g), gradient, rates, before
        )
        count = sum(leaf.size for leaf in jax.tree.leaves(rates))
        new = HDMMemory(
            gradient,
            tried,
            before,
            rates,
            total,
            ball,
            momentum_total,
            jnp.where(is_better, step.value, memory.value),
            jnp.where(is_better, step.square, memory.square),
        )

        def updates(kept: HDMMemory) -> Any:
            return jax.tree.map(
                lambda now, old: now - jnp.where(is_better, 0, old), kept.tried, memory.tried
            )

        return MethodOutput(updates, new, step.rate * total_rate / count)

    return adaptive_transform(
        "hdm",
        learning_rate,
        init,
        move,
        measure,
        prepare=prepare,
        needs_value=True,
        state_dtype=state_dtype,
    )
