"""D-Adaptation: optimizers that estimate the distance to the solution, and step by it."""

from collections.abc import Callable
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
    tree_abs,
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


class DAdaptMemory(NamedTuple):
    """What the D-Adaptation methods remember.

    Attributes:
      estimate: float32 scalar, ``d``.
      numerator: float32 scalar, the numerator of the estimate.
      scale: float32 scalar, what else the method keeps: `dadapt_sgd` the norm of its first
        gradient, `dadapt_adagrad` the sum of its weighted squares.
      steps: int32 scalar, the updates with a rate above 0.
      total: the weighted sum of the gradients, ``s``.
      first: the first moment, or the parameters at the beginning.
      second: the second moment, or None.
    """

    estimate: jax.Array
    numerator: jax.Array
    scale: jax.Array
    steps: jax.Array
    total: Any
    first: Any
    second: Any


def _memory(d0: float, total: Any, first: Any, second: Any) -> DAdaptMemory:
    return DAdaptMemory(
        state_scalar(d0), state_scalar(0), state_scalar(0), zero_count(), total, first, second
    )


def _grown(memory: DAdaptMemory, found: jax.Array, growth_rate: float) -> jax.Array:
    return jnp.maximum(memory.estimate, jnp.minimum(found, memory.estimate * growth_rate))


@validate_arguments
def dadapt_adamw(
    learning_rate: LearningRate = 1.0,
    *,
    b1: DecayRate = 0.9,
    b2: DecayRate = 0.999,
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    decoupled: bool = True,
    bias_correction: bool = False,
    d0: PositiveFloat = 1e-6,
    growth_rate: GrowthLimit = np.inf,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """D-Adaptation for Adam.

    With ``n = rate_t d`` (times Adam's bias correction if asked for) and ``q = sqrt(b2)``::

        r = q r + (1 - q) n <g, s / (sqrt(v) + eps)>      s = q s + (1 - q) n g
        m = b1 m + (1 - b1) n g                           v = b2 v + (1 - b2) g**2
        d = max(d, r / ((1 - q) |s|_1)), growing by at most growth_rate at a time
        x = x - m / (sqrt(v) + eps)

    A rate of 0 and gradients of 0 from the start leave everything as it is; optax's
    ``dadapt_adamw`` is NaN for ever after either.

    Args:
      learning_rate: the outer rate, 1 in general; a number or a schedule.
      b1: decay of the first moment.
      b2: decay of the second moment.
      eps: added to the root of the second moment.
      weight_decay: decoupled, times the parameters and the step, or else added to the gradients.
      decoupled: which of the two; the package's own default is not.
      bias_correction: Adam's, which optax's ``dadapt_adamw`` always has.
      d0: the first estimate.
      growth_rate: the most that ``d`` grows by at one update; infinity is no limit.
      state_dtype: of what is kept for each parameter.

    Raises:
      ValueError: an option that is not in its range.

    Source: Defazio & Mishchenko 2023 (arXiv 2301.07733); matches dadaptation 3.2.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.dadapt_adamw(lrsched.warmup(5))
    >>> params = jnp.array([3.0, -2.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(100):
    ...     updates, state = optimizer.update(2 * params, state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> bool(jnp.all(jnp.isfinite(params))), bool(state.memory.estimate > 1e-3)
    (True, True)
    """
    root = b2**0.5

    def init(params: Any) -> DAdaptMemory:
        return _memory(
            d0, tree_zeros_like(params), tree_zeros_like(params), tree_zeros_like(params)
        )

    def prepare(step: MethodInputs[DAdaptMemory]) -> tuple[Any, jax.Array, Any]:
        """The gradients, ``n`` and the new ``s``."""
        memory, gradients = step.memory, step.gradients
        if not decoupled:
            gradients = tree_add_scaled(gradients, step.params, weight_decay)
        length = memory.estimate * step.rate
        if bias_correction:
            length *= jnp.sqrt(step.bias_correction_factor(b2)) / step.bias_correction_factor(b1)
        weight = (1 - root) * length
        total = jax.tree.map(lambda s, g: root * s + weight * g, memory.total, gradients)
        return gradients, length, total

    def measure(step: MethodInputs[DAdaptMemory]) -> tuple[Any, ...]:
        gradients, _, total = step.prepared
        scaled = jax.tree.map(
            lambda s, v: s / (jnp.sqrt(v) + eps), step.memory.total, step.memory.second
        )
        return tree_mul(gradients, scaled), tree_abs(total)

    def move(step: MethodInputs[DAdaptMemory]) -> MethodOutput:
        memory, (progress, size) = step.memory, step.sums
        gradients, length, total = step.prepared
        numerator = root * memory.numerator + (1 - root) * length * progress
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * length * g, memory.first, gradients)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, memory.second, gradients)
        found = safe_divide(numerator, (1 - root) * size)

        def updates(kept: DAdaptMemory) -> Any:
            moved = jax.tree.map(lambda m, v: -m / (jnp.sqrt(v) + eps), kept.first, kept.second)
            return (
                tree_add_scaled(moved, step.params, -weight_decay * length) if decoupled else moved
            )

        new = DAdaptMemory(
            _grown(memory, found, growth_rate),
            numerator,
            memory.scale,
            memory.steps + 1,
            total,
            first,
            second,
        )
        return MethodOutput(updates, new, length, (step.rate > 0) & (size > 0))

    return adaptive_transform(
        "dadapt_adamw",
        learning_rate,
        init,
        move,
        measure,
        prepare=prepare,
        sums_see_all=True,
        state_dtype=state_dtype,
    )


def _towards(momentum: float) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """The update of a parameter that relaxes to where the method wants it."""
    return lambda target, p: (1 - momentum) * (target - p)


@validate_arguments
def dadapt_sgd(
    learning_rate: LearningRate = 1.0,
    *,
    momentum: DecayRate = 0.0,
    weight_decay: NonNegativeFloat = 0.0,
    d0: PositiveFloat = 1e-6,
    growth_rate: GrowthLimit = np.inf,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """D-Adaptation for SGD.

    With ``n = rate_t d / |g_0|``: ``r += n <g, s>``, ``s += n g``, ``d = max(d, 2 r / |s|)``, and
    the parameters relax to ``x_0 - s``: ``x = momentum x + (1 - momentum) (x_0 - s)``.

    A rate of 0, at which the package fails, and gradients of 0 leave everything as it is.

    Args:
      learning_rate: the outer rate, 1 in general; a number or a schedule.
      momentum: of the averaging.
      weight_decay: times the parameters, added to the gradients.
      d0: the first estimate.
      growth_rate: the most that ``d`` grows by at one update; infinity is no limit.
      state_dtype: of what is kept for each parameter.

    Raises:
      ValueError: an option that is not in its range.

    Source: Defazio & Mishchenko 2023 (arXiv 2301.07733); matches dadaptation 3.2, whose ``|g_0|``
    is without the weight decay.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.dadapt_sgd(d0=0.5)
    >>> params = jnp.array([3.0])
    >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(params), params)
    >>> updates.tolist()
    [-0.5]
    """

    def init(params: Any) -> DAdaptMemory:
        return _memory(d0, tree_zeros_like(params), params, None)

    def prepare(step: MethodInputs[DAdaptMemory]) -> Any:
        return tree_add_scaled(step.gradients, step.params, weight_decay)

    def measure(step: MethodInputs[DAdaptMemory]) -> tuple[Any, ...]:
        total = step.memory.total
        return tree_mul(step.prepared, total), tree_square(step.prepared), tree_square(total)

    def move(step: MethodInputs[DAdaptMemory]) -> MethodOutput:
        memory, (progress, square, known) = step.memory, step.sums
        scale = jnp.where(memory.steps == 0, jnp.sqrt(step.square), memory.scale)
        length = safe_divide(memory.estimate * step.rate, scale)
        numerator = memory.numerator + length * progress
        size = jnp.sqrt(jnp.maximum(known + 2 * length * progress + length**2 * square, 0))
        total = tree_add_scaled(memory.total, step.prepared, length)
        estimate = _grown(memory, safe_divide(2 * numerator, size), growth_rate)

        def updates(kept: DAdaptMemory) -> Any:
            target = jax.tree.map(jnp.subtract, kept.first, kept.total)
            return jax.tree.map(_towards(momentum), target, step.params)

        new = DAdaptMemory(estimate, numerator, scale, memory.steps + 1, total, memory.first, None)
        return MethodOutput(updates, new, length, (step.rate > 0) & (scale > 0))

    return adaptive_transform(
        "dadapt_sgd", learning_rate, init, move, measure, prepare=prepare, state_dtype=state_dtype
    )


@validate_arguments
def dadapt_adagrad(
    learning_rate: LearningRate = 1.0,
    *,
    momentum: DecayRate = 0.0,
    eps: PositiveFloat = 1e-6,
    weight_decay: NonNegativeFloat = 0.0,
    d0: PositiveFloat = 1e-6,
    growth_rate: GrowthLimit = np.inf,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """D-Adaptation for AdaGrad.

    With ``n = rate_t d``: ``a += g**2`` (from 1e-6), ``s += n g``, ``w = sqrt(a) + eps``,
    ``q += n**2 sum(g**2 / w)``, ``d = max(d, (sum(s**2 / w) - q) / |s|_1)``, and the parameters
    relax to ``x_0 - s / w``: ``x = momentum x + (1 - momentum) (x_0 - s / w)``.

    Args:
      learning_rate: the outer rate, 1 in general; a number or a schedule. At 0 the weights ``w``
        still grow.
      momentum: of the averaging.
      eps: added to the root of the sum of squares.
      weight_decay: times the parameters, added to the gradients.
      d0: the first estimate.
      growth_rate: the most that ``d`` grows by at one update; infinity is no limit.
      state_dtype: of what is kept for each parameter.

    Raises:
      ValueError: an option that is not in its range.

    Source: Defazio & Mishchenko 2023 (arXiv 2301.07733); matches dadaptation 3.2.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.dadapt_adagrad(d0=0.5)
    >>> params = jnp.array([3.0])
    >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(params), params)
    >>> round(float(updates[0]), 4)
    -0.5
    """

    def init(params: Any) -> DAdaptMemory:
        second = jax.tree.map(lambda p: jnp.full_like(p, 1e-6), params)
        return _memory(d0, tree_zeros_like(params), params, second)

    def weights_of(second: Any) -> Any:
        """``w``."""
        return jax.tree.map(lambda a: jnp.sqrt(a) + eps, second)

    def prepare(step: MethodInputs[DAdaptMemory]) -> tuple[Any, Any, Any]:
        """The gradients, the new ``a`` and the new ``s``."""
        memory = step.memory
        gradients = tree_add_scaled(step.gradients, step.params, weight_decay)
        second = jax.tree.map(lambda a, g: a + g**2, memory.second, gradients)
        total = tree_add_scaled(memory.total, gradients, memory.estimate * step.rate)
        return gradients, second, total

    def measure(step: MethodInputs[DAdaptMemory]) -> tuple[Any, ...]:
        gradients, second, total = step.prepared
        weights = weights_of(second)
        return (
            jax.tree.map(lambda g, w: g**2 / w, gradients, weights),
            jax.tree.map(lambda s, w: s**2 / w, total, weights),
            tree_abs(total),
        )

    def move(step: MethodInputs[DAdaptMemory]) -> MethodOutput:
        memory, (square, weighted, size) = step.memory, step.sums
        _, second, total = step.prepared
        length = memory.estimate * step.rate
        scale = memory.scale + length**2 * square
        found = _grown(memory, safe_divide(weighted - scale, size), growth_rate)

        def updates(kept: DAdaptMemory) -> Any:
            weights = weights_of(kept.second)
            target = jax.tree.map(lambda x, s, w: x - s / w, kept.first, kept.total, weights)
            towards = jax.tree.map(_towards(momentum), target, step.params)
            return jax.tree.map(lambda u: jnp.where(size > 0, u, 0), towards)

        new = DAdaptMemory(
            jnp.where(step.rate > 0, found, memory.estimate),
            memory.numerator,
            scale,
            memory.steps + (size > 0),
            total,
            memory.first,
            second,
        )
        return MethodOutput(updates, new, jnp.where(size > 0, length, 0))

    return adaptive_transform(
        "dadapt_adagrad",
        learning_rate,
        init,
        move,
        measure,
        prepare=prepare,
        sums_see_all=True,
        state_dtype=state_dtype,
    )


@validate_arguments
def dadapt_lion(
    learning_rate: LearningRate = 1.0,
    *,
    b1: DecayRate = 0.9,
    b2: DecayRate = 0.99,
    weight_decay: NonNegativeFloat = 0.0,
    d0: PositiveFloat = 1e-6,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """D-Adaptation for Lion.

    With ``n = rate_t d``, ``q = sqrt(b2)`` and ``u = sign(b1 m + (1 - b1) g)``::

        x = (1 - n weight_decay) x - n u          m = b2 m + (1 - b2) n g
        r = q r + (1 - q) n <u, s>                s = q s + (1 - q) n u
        d = max(d, r / ((1 - q) |s|_1))

    ``m`` is in units of the step and ``g`` is not, as in the package. At a rate of 1 it is known to
    overshoot; 0.1 to 0.5 is safer.

    Args:
      learning_rate: the outer rate, a number or a schedule.
      b1: of the sign's average.
      b2: decay of the moment.
      weight_decay: decoupled, times the parameters and the step.
      d0: the first estimate.
      state_dtype: of what is kept for each parameter.

    Raises:
      ValueError: an option that is not in its range.

    Source: Defazio & Mishchenko 2023 (arXiv 2301.07733), Chen et al. 2023 (arXiv 2302.06675);
    matches dadaptation 3.2.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.dadapt_lion(d0=0.5)
    >>> params = jnp.array([3.0, 1.0])
    >>> updates, _ = optimizer.update(jnp.array([4.0, 0.0]), optimizer.init(params), params)
    >>> updates.tolist()
    [-0.5, -0.0]
    """
    root = b2**0.5

    def init(params: Any) -> DAdaptMemory:
        return _memory(d0, tree_zeros_like(params), tree_zeros_like(params), None)

    def prepare(step: MethodInputs[DAdaptMemory]) -> tuple[jax.Array, Any, Any]:
        """``n``, the signs and the new ``s``."""
        memory, length = step.memory, step.memory.estimate * step.rate
        signs = jax.tree.map(
            lambda m, g: jnp.sign(b1 * m + (1 - b1) * g), memory.first, step.gradients
        )
        weight = (1 - root) * length
        total = jax.tree.map(lambda s, u: root * s + weight * u, memory.total, signs)
        return length, signs, total

    def measure(step: MethodInputs[DAdaptMemory]) -> tuple[Any, ...]:
        _, signs, total = step.prepared
        return tree_mul(signs, step.memory.total), tree_abs(total)

    def move(step: MethodInputs[DAdaptMemory]) -> MethodOutput:
        memory, (progress, size) = step.memory, step.sums
        length, signs, total = step.prepared
        numerator = root * memory.numerator + (1 - root) * length * progress
        found = jnp.maximum(memory.estimate, safe_divide(numerator, (1 - root) * size))
        first = jax.tree.map(
            lambda m, g: b2 * m + (1 - b2) * length * g, memory.first, step.gradients
        )
        moves = size > 0
        new = DAdaptMemory(
            jnp.where(moves & (step.rate > 0), found, memory.estimate),
            jnp.where(moves, numerator, memory.numerator),
            memory.scale,
            memory.steps + moves,
            total,
            first,
            None,
        )
        return MethodOutput(
            lambda _: tree_descent(tree_add_scaled(signs, step.params, weight_decay), length),
            new,
            length,
        )

    return adaptive_transform(
        "dadapt_lion",
        learning_rate,
        init,
        move,
        measure,
        prepare=prepare,
        state_dtype=state_dtype,
    )
