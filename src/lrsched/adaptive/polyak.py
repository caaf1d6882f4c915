"""Step sizes out of the loss itself: Polyak's, and those that average or cap it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
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
    tree_mul,
    tree_square,
    tree_zeros_like,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import (
    DecayRate,
    GrowthLimit,
    NonNegativeFloat,
    PositiveFloat,
    validate_arguments,
)


class PolyakMemory(NamedTuple):
    """What `polyak` remembers.

    Attributes:
      latest: float32 scalar, the step before the outer rate; the first is bound by ``max_rate``.
    """

    latest: jax.Array


@validate_arguments
def polyak(
    learning_rate: LearningRate = 1.0,
    *,
    f_min: float = 0.0,
    c: PositiveFloat = 0.5,
    max_rate: PositiveFloat = 1.0,
    growth: GrowthLimit = np.inf,
    eps: NonNegativeFloat = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """The stochastic Polyak step, for losses whose minimum is known: 0 where a model can fit all.

    ``u_t = -rate_t n_t g_t`` with ``n_t = min((f_t - f_min) / (c |g_t|**2 + eps), max_rate,
    growth n_{t-1})``. Needs ``update(..., value=loss)``, of the batch that the gradient is of. A
    loss below ``f_min`` makes no step.

    Args:
      learning_rate: the outer rate, a number or a schedule.
      f_min: the least that the loss can be.
      c: 1/2 in theory, 0.2 for deep networks in the paper, 1 is Polyak's own.
      max_rate: the cap.
      growth: the most that the step grows by; the paper's smoothing is ``2**(batch_size / n)``.
      eps: added below.

    Raises:
      ValueError: an option that is not in its range, or no ``value``.

    Source: Loizou, Vaswani, Laradji & Lacoste-Julien 2021 (arXiv 2002.10542).

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.polyak()
    >>> params = jnp.array([3.0])  # of the loss p**2 / 2
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update(params, state, params, value=4.5)
    >>> updates.tolist()
    [-3.0]
    """

    def init(params: Any) -> PolyakMemory:
        del params
        return PolyakMemory(state_scalar(max_rate))

    def move(step: MethodInputs[PolyakMemory]) -> MethodOutput:
        above = jnp.maximum(step.value - f_min, 0)
        length = jnp.minimum(safe_divide(above, c * step.square + eps), max_rate)
        length = jnp.minimum(length, growth * step.memory.latest)
        is_known = step.square > 0
        latest = jnp.where(is_known & (length > 0), length, step.memory.latest)
        rate = step.rate * jnp.where(is_known, length, 0)
        return MethodOutput(
            lambda _: tree_descent(step.gradients, rate), PolyakMemory(latest), rate
        )

    return adaptive_transform("polyak", learning_rate, init, move, needs_value=True)


class AliGMemory(NamedTuple):
    """What `alig` remembers.

    Attributes:
      velocity: the momentum, or None without one.
    """

    velocity: Any


@validate_arguments
def alig(
    max_learning_rate: LearningRate | None = None,
    *,
    momentum: DecayRate = 0.0,
    adjusted_momentum: bool = False,
    eps: PositiveFloat = 1e-6,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """ALI-G: the Polyak step for a minimum of 0, capped, with momentum.

    ``n_t = min(f_t / (|g_t|**2 + eps), max_t)``; ``v = momentum v - n_t g``, ``u = -n_t g +
    momentum v``; with ``adjusted_momentum``, ``v = momentum v - g``, ``u = -n_t g + n_t momentum
    v``. Needs ``update(..., value=loss)``. A negative loss makes no step.

    Args:
      max_learning_rate: the cap, a number or a schedule; None is none.
      momentum: of the velocity.
      adjusted_momentum: which of the two.
      eps: added to the squared norm.
      state_dtype: of the velocity.

    Raises:
      ValueError: an option that is not in its range, or no ``value``.

    Source: Berrada, Zisserman & Kumar 2020 (arXiv 1906.05661); matches pytorch_optimizer 4.1.0,
    where a negative loss makes a step uphill.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.alig(0.25)
    >>> params = jnp.array([3.0])  # of the loss p**2 / 2
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update(params, state, params, value=4.5)
    >>> updates.tolist()
    [-0.75]
    """
    has_momentum = not (isinstance(momentum, float) and momentum == 0)

    def init(params: Any) -> AliGMemory:
        return AliGMemory(tree_zeros_like(params) if has_momentum else None)

    def move(step: MethodInputs[AliGMemory]) -> MethodOutput:
        length = jnp.maximum(step.value, 0) / (step.square + eps)
        if max_learning_rate is not None:
            length = jnp.minimum(length, step.rate)
        if not has_momentum:
            return MethodOutput(lambda _: tree_descent(step.gradients, length), step.memory, length)
        weight = 1 if adjusted_momentum else length
        velocity = jax.tree.map(
            lambda v, g: momentum * v - weight * g, step.memory.velocity, step.gradients
        )
        back = momentum * (length if adjusted_momentum else 1)

        def updates(kept: AliGMemory) -> Any:
            return tree_add_scaled(tree_descent(step.gradients, length), kept.velocity, back)

        return MethodOutput(updates, AliGMemory(velocity), length)

    cap = 1.0 if max_learning_rate is None else max_learning_rate
    return adaptive_transform("alig", cap, init, move, needs_value=True, state_dtype=state_dtype)


class MomoMemory(NamedTuple):
    """What `momo` and `momo_adam` remember.

    Attributes:
      gradient: the average of the gradients.
      second: of `momo_adam`, the average of their squares; None of `momo`.
      value: float32 scalar, the average of the losses.
      product: float32 scalar, that of the products of the parameters and the gradients.
      bound: float32 scalar, the lower bound of the loss.
      steps: int32 scalar, the updates made.
    """

    gradient: Any
    second: Any
    value: jax.Array
    product: jax.Array
    bound: jax.Array
    steps: jax.Array


def _step_and_bound(
    memory: MomoMemory,
    rate: jax.Array,
    shrink: jax.Array,
    bias: jax.Array,
    dot: jax.Array,
    square: jax.Array,
    lower_bound: float,
    adapts: bool,
) -> tuple[jax.Array, jax.Array]:
    """The model's step, capped by the rate, and the lower bound after it."""
    bound = memory.bound
    model = shrink * memory.value + dot - shrink * memory.product
    if adapts:
        lowered = jnp.maximum(model / (2 * shrink * bias), lower_bound)
        bound = jnp.where(model < shrink * bias * bound, lowered, bound)
    left = jnp.maximum(model - shrink * bias * bound, 0)
    cap = rate / bias
    length = jnp.where(square > 0, jnp.minimum(cap, safe_divide(left, square)), cap)
    if adapts:
        reached = (memory.value + dot - memory.product - length * square / 2) / bias
        bound = jnp.maximum(reached, lower_bound)
    return length, bound


@validate_arguments
def momo(
    learning_rate: LearningRate = 1.0,
    *,
    momentum: DecayRate = 0.9,
    weight_decay: NonNegativeFloat = 0.0,
    lower_bound: float = 0.0,
    adapt_lower_bound: bool = False,
    bias_correction: bool = False,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """MoMo: SGD with momentum whose step is Polyak's for a model of the averaged loss, capped.

    With averages ``F`` of the losses, ``m`` of the gradients and ``q`` of ``<x, g>`` that begin at
    the first of each, and ``s = 1 + rate_t weight_decay``::

        n = min(rate_t, max(s F + <x, m> - s q - s bound, 0) / |m|**2)
        x = (x - n m) / s

    Needs ``update(..., value=loss)``.

    Args:
      learning_rate: the cap, a number or a schedule; 1 is a good one for most models.
      momentum: of the averages.
      weight_decay: by the proximal step, which divides the whole.
      lower_bound: of the loss.
      adapt_lower_bound: raise the bound from what the steps reach.
      bias_correction: begin the averages at 0 and divide by ``1 - momentum**t``.
      state_dtype: of the averaged gradient.

    Raises:
      ValueError: an option that is not in its range, or no ``value``.

    Source: Schaipp, Ohana, Eickenberg, Defazio & Gower 2024 (arXiv 2305.07583); matches momo-opt
    0.1.0. optax's divides ``x`` by ``s`` but not the step.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.momo()
    >>> params = jnp.array([3.0])  # of the loss p**2 / 2
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update(params, state, params, value=4.5)
    >>> updates.tolist()
    [-1.5]
    """

    def init(params: Any) -> MomoMemory:
        bound = state_scalar(lower_bound)
        return MomoMemory(
            tree_zeros_like(params), None, state_scalar(0), state_scalar(0), bound, zero_count()
        )

    def prepare(step: MethodInputs[MomoMemory]) -> tuple[Any, jax.Array]:
        """The new average of the gradients, and the weight of this one."""
        weight = jnp.asarray(1 - momentum, step.value.dtype)
        if not bias_correction:
            weight = jnp.where(step.memory.steps == 0, 1.0, weight)
        old = step.memory.gradient
        return jax.tree.map(lambda m, g: m + weight * (g - m), old, step.gradients), weight

    def measure(step: MethodInputs[MomoMemory]) -> tuple[Any, ...]:
        average, _ = step.prepared
        return (
            tree_mul(step.params, step.gradients),
            tree_mul(step.params, average),
            tree_square(average),
        )

    def move(step: MethodInputs[MomoMemory]) -> MethodOutput:
        memory, (product, dot, square) = step.memory, step.sums
        average, weight = step.prepared
        seen = MomoMemory(
            average,
            None,
            memory.value + weight * (step.value - memory.value),
            memory.product + weight * (product - memory.product),
            memory.bound,
            memory.steps + 1,
        )
        shrink = 1 + step.rate * weight_decay
        bias = step.bias_correction_factor(momentum) if bias_correction else jnp.ones_like(dot)
        length, bound = _step_and_bound(
            seen, step.rate, shrink, bias, dot, square, lower_bound, adapt_lower_bound
        )

        def updates(kept: MomoMemory) -> Any:
            return jax.tree.map(
                lambda p, m: (p - length * m) / shrink - p, step.params, kept.gradient
            )

        return MethodOutput(updates, seen._replace(bound=bound), length)

    return adaptive_transform(
        "momo",
        learning_rate,
        init,
        move,
        measure,
        prepare=prepare,
        needs_value=True,
        sums_see_all=True,
        state_dtype=state_dtype,
    )


@validate_arguments
def momo_adam(
    learning_rate: LearningRate = 1e-2,
    *,
    b1: DecayRate = 0.9,
    b2: DecayRate = 0.999,
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    divide: bool = True,
    lower_bound: float = 0.0,
    adapt_lower_bound: bool = False,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """MoMo-Adam: `momo` in the metric of Adam, ``D = sqrt(v / (1 - b2**t)) + eps``.

    As in `momo` with ``bias_correction``, ``<m, m / D>`` for ``|m|**2`` and the step ``n m / D``.

    Args:
      learning_rate: the cap, a number or a schedule.
      b1: of the averages of gradients and losses.
      b2: decay of the second moment.
      eps: added to its root.
      weight_decay: by the proximal step.
      divide: the exact proximal step, which divides by ``1 + rate_t weight_decay``, rather than
        AdamW's factor ``1 - rate_t weight_decay``.
      lower_bound: of the loss.
      adapt_lower_bound: raise the bound from what the steps reach.
      state_dtype: of the moments.

    Raises:
      ValueError: an option that is not in its range, or no ``value``.

    Source: Schaipp, Ohana, Eickenberg, Defazio & Gower 2024 (arXiv 2305.07583); matches momo-opt
    0.1.0.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.momo_adam(1.0)
    >>> params = jnp.array([3.0])  # of the loss p**2 / 2
    >>> state = optimizer.init(params)
    >>> updates, state = optimizer.update(params, state, params, value=4.5)
    >>> round(float(updates[0]), 4)
    -1.0
    """

    def init(params: Any) -> MomoMemory:
        zeros, bound = tree_zeros_like(params), state_scalar(lower_bound)
        return MomoMemory(zeros, zeros, state_scalar(0), state_scalar(0), bound, zero_count())

    def prepare(step: MethodInputs[MomoMemory]) -> tuple[Any, Any]:
        """The new averages of the gradients and of their squares."""
        memory = step.memory
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, memory.gradient, step.gradients)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, memory.second, step.gradients)
        return first, second

    def direction(step: MethodInputs[MomoMemory], first: Any, second: Any) -> Any:
        """``m / D``."""
        bias = step.bias_correction_factor(b2)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v / bias) + eps), first, second)

    def measure(step: MethodInputs[MomoMemory]) -> tuple[Any, ...]:
        first, second = step.prepared
        return (
            tree_mul(step.params, step.gradients),
            tree_mul(step.params, first),
            tree_mul(first, direction(step, first, second)),
        )

    def move(step: MethodInputs[MomoMemory]) -> MethodOutput:
        memory, (product, dot, square) = step.memory, step.sums
        first, second = step.prepared
        seen = MomoMemory(
            first,
            second,
            b1 * memory.value + (1 - b1) * step.value,
            b1 * memory.product + (1 - b1) * product,
            memory.bound,
            memory.steps + 1,
        )
        shrink = 1 + step.rate * weight_decay
        length, bound = _step_and_bound(
            seen,
            step.rate,
            shrink,
            step.bias_correction_factor(b1),
            dot,
            square,
            lower_bound,
            adapt_lower_bound,
        )

        def updates(kept: MomoMemory) -> Any:
            along = direction(step, kept.gradient, kept.second)
            if divide:
                return jax.tree.map(lambda p, d: (p - length * d) / shrink - p, step.params, along)
            return tree_add_scaled(
                tree_descent(along, length), step.params, -step.rate * weight_decay
            )

        return MethodOutput(updates, seen._replace(bound=bound), length)

    return adaptive_transform(
        "momo_adam",
        learning_rate,
        init,
        move,
        measure,
        prepare=prepare,
        needs_value=True,
        sums_see_all=True,
        state_dtype=state_dtype,
    )
