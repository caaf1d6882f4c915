"""Schedule-free learning: averaging in place of a decay.

Three points: ``z``, where the base optimizer is; ``x``, the average of all ``z``, which is what one
evaluates; and ``y = b1 x + (1 - b1) z`` between them, at which gradients are taken. The parameters
in training are ``y``; `lrsched.eval_params` gives ``x``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike

from lrsched.adaptive.averaging import ParamAverage, average_of
from lrsched.adaptive.base import (
    AdaptiveState,
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    add_rounding_errors,
    safe_divide,
    state_scalar,
    tree_abs,
    tree_add_scaled,
    tree_mul,
    tree_zeros_like,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import (
    BaseOptimizer,
    DecayRate,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveFloat,
    validate_arguments,
)
from lrsched.schedules.warmup import radam_warmup
from lrsched.transforms.composition import compose_rates, has_rate


class ScheduleFreeMemory(NamedTuple):
    """What the schedule-free methods remember.

    Attributes:
      iterate: ``z``.
      b1: float32 scalar, where the parameters lie between ``z`` and the average.
      largest: float32 scalar, the largest rate so far.
      total: float32 scalar, the sum of the weights of the average.
      steps: int32 scalar, the updates made.
      base: what the base optimizer remembers.
    """

    iterate: Any
    b1: jax.Array
    largest: jax.Array
    total: jax.Array
    steps: jax.Array
    base: Any


class Walk(NamedTuple):
    """Where the base optimizer goes.

    Attributes:
      iterate: its new point.
      rate: of that step, for the weights of the average.
      factor: what of that rate is not kept by the base's own state.
      base: what the base remembers.
    """

    iterate: Any
    rate: jax.Array
    factor: ArrayLike
    base: Any


def _average(memory: ScheduleFreeMemory, params: Any) -> Any:
    """``x``, from ``z`` and ``y``."""
    return jax.tree.map(lambda z, y: z + (y - z) / memory.b1, memory.iterate, params)


@average_of.register
def _(state: AdaptiveState) -> ParamAverage | None:
    memory = state.memory
    if not isinstance(memory, ScheduleFreeMemory):
        return None
    return ParamAverage(
        memory.iterate,
        lambda params: _average(memory, add_rounding_errors(params, state.remainders)),
    )


def _method(
    name: str,
    learning_rate: LearningRate,
    b1: float,
    r: float,
    weight_lr_power: float,
    init_base: Callable[[Any], Any],
    walk: Callable[[MethodInputs[ScheduleFreeMemory]], Walk],
    state_dtype: DTypeLike | None,
    is_applied: bool = True,
) -> optax.GradientTransformationExtraArgs:
    def init(params: Any) -> ScheduleFreeMemory:
        return ScheduleFreeMemory(
            params,
            state_scalar(b1),
            state_scalar(0),
            state_scalar(0),
            zero_count(),
            init_base(params),
        )

    def move(step: MethodInputs[ScheduleFreeMemory]) -> MethodOutput:
        memory, walked = step.memory, walk(step)
        largest = jnp.maximum(memory.largest, walked.rate)
        weight = (memory.steps + 1.0) ** r * largest**weight_lr_power
        return _averaged(step, walked, largest, weight, state_scalar(b1))

    return adaptive_transform(
        name, learning_rate, init, move, is_applied=is_applied, state_dtype=state_dtype
    )


def _averaged(
    step: MethodInputs[ScheduleFreeMemory],
    walked: Walk,
    largest: jax.Array,
    weight: jax.Array,
    b1: jax.Array,
    share: ArrayLike | None = None,
) -> MethodOutput:
    """The average goes on by this weight, or by a given share, and the parameters with it."""
    memory = step.memory
    total = memory.total + weight
    part = safe_divide(weight, total) if share is None else share
    b1 = b1.astype(memory.b1.dtype)

    def updates(kept: ScheduleFreeMemory) -> Any:
        return jax.tree.map(
            lambda x, z, y: b1 * (x + part * (z - x)) + (1 - b1) * z - y,
            _average(memory, step.params),
            kept.iterate,
            step.params,
        )

    new = ScheduleFreeMemory(walked.iterate, b1, largest, total, memory.steps + 1, walked.base)
    return MethodOutput(updates, new, walked.factor)


@validate_arguments
def schedule_free(
    base: BaseOptimizer,
    learning_rate: LearningRate | None = None,
    *,
    b1: OpenUnitFloat = 0.9,
    r: float = 0.0,
    weight_lr_power: NonNegativeFloat = 2.0,
    weight_decay_at_y: NonNegativeFloat = 0.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-free learning around any optimizer.

    The base steps from ``z`` with the gradient at ``y``; with ``c_t = w_t / sum w`` and
    ``w_t = (t + 1)**r max(rate)**weight_lr_power``: ``x += c_t (z - x)``. The base should have no
    momentum (``b1=0``): the averaging is one. Its weight decay is that of ``z``.

    Args:
      base: the optimizer, with a constant rate or a warmup.
      learning_rate: the rate of the base, for the weights only; by default what the base's state
        says that it applied, `prodigy` and D-Adaptation included. Optax's own optimizers say
        nothing: give it here too.
      b1: where gradients are taken between ``z`` (0) and ``x`` (1).
      r: power of the step in the weights.
      weight_lr_power: power of the largest rate in them.
      weight_decay_at_y: decoupled, times ``y`` and the rate.
      state_dtype: of ``z`` and of the base's state.

    Raises:
      ValueError: an option that is not in its range, or no rate to be found.

    Source: Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky 2024 (arXiv 2405.15682); matches
    schedulefree 1.4.1, whose wrapper weights Prodigy and D-Adaptation by the estimate after the
    update, which is not the one that was applied. optax's reads the schedule of the weights one
    step ahead.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.schedule_free(lrsched.prodigy(b1=0.0, d0=1e-2))
    >>> params = jnp.array([3.0, -2.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(100):
    ...     updates, state = optimizer.update(2 * params, state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> bool(jnp.linalg.norm(lrsched.eval_params(state, params)) < 0.1)
    True
    """

    def init_base(params: Any) -> Any:
        state = base.init(params)
        if learning_rate is None and not has_rate(state):
            raise ValueError(
                "schedule_free: learning_rate=None is not accepted for a base whose state keeps no "
                "rate; learning_rate must be the number or schedule that the base was given."
            )
        return state

    def walk(step: MethodInputs[ScheduleFreeMemory]) -> Walk:
        memory = step.memory
        updates, state = step.base_updates(base, memory.base, memory.iterate)
        is_known = has_rate(state)
        rate = (
            jnp.max(jnp.stack([*compose_rates(state).values()]))
            if learning_rate is None
            else step.rate
        )
        hold = rate * weight_decay_at_y
        iterate = jax.tree.map(
            lambda z, u, y: z + u - hold * y, memory.iterate, updates, step.params
        )
        return Walk(iterate, rate, 1.0 if is_known else rate, state)

    return _method(
        "schedule_free",
        1.0 if learning_rate is None else learning_rate,
        b1,
        r,
        weight_lr_power,
        init_base,
        walk,
        state_dtype,
        is_applied=False,
    )


@validate_arguments
def schedule_free_sgd(
    learning_rate: LearningRate = 1.0,
    *,
    b1: OpenUnitFloat = 0.9,
    weight_decay: NonNegativeFloat = 0.0,
    warmup_steps: NonNegativeInt = 0,
    r: float = 0.0,
    weight_lr_power: NonNegativeFloat = 2.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-free SGD: `schedule_free` of gradient descent.

    Args:
      learning_rate: a number or a schedule; larger than SGD's with a decay, 1 to 10 in the paper.
      b1: where gradients are taken between ``z`` (0) and ``x`` (1): the momentum.
      weight_decay: times ``y``, added to the gradients.
      warmup_steps: update ``t`` has ``(t + 1) / warmup_steps`` of the rate before it is full.
      r: power of the step in the weights.
      weight_lr_power: power of the largest rate in them.
      state_dtype: of ``z``.

    Raises:
      ValueError: an option that is not in its range.

    Source: Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky 2024 (arXiv 2405.15682); matches
    schedulefree 1.4.1.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.schedule_free_sgd(0.5)
    >>> params = jnp.array([4.0])
    >>> updates, state = optimizer.update(params, optimizer.init(params), params)
    >>> updates.tolist(), lrsched.eval_params(state, params + updates).tolist()
    ([-2.0], [2.0])
    """

    def walk(step: MethodInputs[ScheduleFreeMemory]) -> Walk:
        rate = step.rate * _warmed(step.memory.steps, warmup_steps)
        direction = tree_add_scaled(step.gradients, step.params, weight_decay)
        return Walk(tree_add_scaled(step.memory.iterate, direction, -rate), rate, rate, None)

    return _method(
        "schedule_free_sgd",
        learning_rate,
        b1,
        r,
        weight_lr_power,
        lambda params: None,
        walk,
        state_dtype,
    )


@validate_arguments
def schedule_free_adamw(
    learning_rate: LearningRate = 0.0025,
    *,
    b1: OpenUnitFloat = 0.9,
    b2: DecayRate = 0.999,
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    warmup_steps: NonNegativeInt = 0,
    r: float = 0.0,
    weight_lr_power: NonNegativeFloat = 2.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-free AdamW: `schedule_free` of Adam without a first moment.

    Args:
      learning_rate: a number or a schedule; 1 to 10 times that of AdamW with a decay.
      b1: where gradients are taken between ``z`` (0) and ``x`` (1): the momentum.
      b2: decay of the second moment, with its bias correction.
      eps: added to its root.
      weight_decay: decoupled, times ``y`` and the rate.
      warmup_steps: update ``t`` has ``(t + 1) / warmup_steps`` of the rate before it is full.
      r: power of the step in the weights.
      weight_lr_power: power of the largest rate in them.
      state_dtype: of ``z`` and the second moment.

    Raises:
      ValueError: an option that is not in its range.

    Source: Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky 2024 (arXiv 2405.15682); matches
    schedulefree 1.4.1. optax's warmup begins at 0, and its weight sum stops at 256 in bfloat16.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.schedule_free_adamw(0.5)
    >>> params = jnp.array([4.0])
    >>> updates, state = optimizer.update(params, optimizer.init(params), params)
    >>> updates.tolist()
    [-0.5]
    """

    def walk(step: MethodInputs[ScheduleFreeMemory]) -> Walk:
        memory = step.memory
        rate = step.rate * _warmed(memory.steps, warmup_steps)
        direction, second = _adam_direction(step, b2, eps)
        direction = tree_add_scaled(direction, step.params, weight_decay)
        return Walk(tree_add_scaled(memory.iterate, direction, -rate), rate, rate, second)

    return _method(
        "schedule_free_adamw",
        learning_rate,
        b1,
        r,
        weight_lr_power,
        tree_zeros_like,
        walk,
        state_dtype,
    )


@validate_arguments
def schedule_free_radam(
    learning_rate: LearningRate = 0.0025,
    *,
    b1: OpenUnitFloat = 0.9,
    b2: DecayRate = 0.999,
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    silent_sgd_phase: bool = True,
    r: float = 0.0,
    weight_lr_power: NonNegativeFloat = 2.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Schedule-free RAdam: `schedule_free_adamw` warmed up by RAdam's rectification.

    Args:
      learning_rate: a number or a schedule.
      b1: where gradients are taken between ``z`` (0) and ``x`` (1): the momentum.
      b2: decay of the second moment, above 0.6 for a rectification to exist.
      eps: added to its root.
      weight_decay: decoupled, times ``y`` and the rate.
      silent_sgd_phase: make no step while the variance of the second moment is infinite, rather
        than one of plain gradient descent.
      r: power of the step in the weights.
      weight_lr_power: power of the largest rate in them.
      state_dtype: of ``z`` and the second moment.

    Raises:
      ValueError: an option that is not in its range.

    Source: Liu et al. 2020 (arXiv 1908.03265), Defazio et al. 2024 (arXiv 2405.15682); matches
    schedulefree 1.4.1.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.schedule_free_radam(0.5)
    >>> params = jnp.array([4.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(6):
    ...     updates, state = optimizer.update(params, state, params)
    >>> [round(float(u), 5) for u in updates]
    [-0.01528]
    """
    rectification = radam_warmup(b2)
    first = next(step for step in range(1, 33) if _sma_length(step, b2) > 4)

    def walk(step: MethodInputs[ScheduleFreeMemory]) -> Walk:
        memory = step.memory
        since = memory.steps + 1 - first
        factor = rectification(jnp.maximum(since, 0))
        rate = step.rate * jnp.where(since >= 0, factor, 0.0 if silent_sgd_phase else 1.0)
        adam, second = _adam_direction(step, b2, eps)
        direction = jax.tree.map(lambda a, g: jnp.where(since >= 0, a, g), adam, step.gradients)
        direction = tree_add_scaled(direction, step.params, weight_decay)
        return Walk(tree_add_scaled(memory.iterate, direction, -rate), rate, rate, second)

    return _method(
        "schedule_free_radam",
        learning_rate,
        b1,
        r,
        weight_lr_power,
        tree_zeros_like,
        walk,
        state_dtype,
    )


class PlusBase(NamedTuple):
    """What `schedule_free_plus` remembers besides.

    Attributes:
      first: the first moment.
      second: the second moment.
      size: float32 scalar, the average of the gradients' l1 norms, not corrected for its bias.
    """

    first: Any
    second: Any
    size: jax.Array


@validate_arguments
def schedule_free_plus(
    learning_rate: LearningRate = 1.0,
    *,
    b1: DecayRate = 0.9,
    b2: DecayRate = 0.95,
    sf_b1: OpenUnitFloat = 0.9,
    sf_b1_max: OpenUnitFloat = 0.965,
    sf_b1_steps: NonNegativeInt = 0,
    polyak_decay: DecayRate = 0.0,
    eps: PositiveFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    average_from: NonNegativeInt = 0,
    r: float = 0.0,
    weight_lr_power: NonNegativeFloat = 2.0,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """ScheduleFree+: schedule-free AdamW with a Polyak step and a first moment of its own.

    With ``q = sf_b1``, Adam's corrected moments ``m`` and ``v``, and ``e`` the corrected average of
    ``|g|_1 sqrt(pi / 2)``::

        n = rate_t max(0, f + q <g, z - x>) / e
        z = z - n**2 weight_decay y - n m / (sqrt(v) + eps)

    and ``x`` and ``y`` as in `schedule_free`, with ``q`` for ``b1``. For losses whose minimum is
    near 0. Needs ``update(..., value=loss)``.

    Args:
      learning_rate: the outer rate, 1 with a warmup; a number or a schedule.
      b1: decay of the first moment.
      b2: decay of the second moment.
      sf_b1: ``q``, where gradients are taken between ``z`` (0) and ``x`` (1).
      sf_b1_max: what ``q`` goes to, evenly in ``log(1 - q)``.
      sf_b1_steps: in how many updates; 0 keeps ``sf_b1``.
      polyak_decay: of the average ``e``; 0 is the norm of the latest gradient.
      eps: added to the root.
      weight_decay: AdamC's, times the rate squared: values such as 5 to 50.
      average_from: the update before which ``x`` is ``z``.
      r: power of the step in the weights.
      weight_lr_power: power of the largest rate in them.
      state_dtype: of ``z`` and the moments.

    Raises:
      ValueError: an option that is not in its range, or no ``value``.

    Source: Defazio 2026 (arXiv 2605.19095), algorithm 1, as in the authors' reference code
    (facebookresearch/schedule_free at 70785b5), which keeps ``x`` too: one copy more.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.schedule_free_plus(lrsched.warmup(5))
    >>> params = jnp.array([3.0, -2.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(200):
    ...     updates, state = optimizer.update(
    ...         params, state, params, value=jnp.sum(params**2) / 2)
    ...     params = optax.apply_updates(params, updates)
    >>> bool(jnp.linalg.norm(lrsched.eval_params(state, params)) < 0.3)
    True
    """
    if sf_b1_max < sf_b1:
        raise ValueError(
            f"schedule_free_plus: sf_b1_max={sf_b1_max!r} is not accepted; sf_b1_max must be at "
            f"least sf_b1={sf_b1!r}."
        )

    def init(params: Any) -> ScheduleFreeMemory:
        base = PlusBase(tree_zeros_like(params), tree_zeros_like(params), state_scalar(0))
        none = state_scalar(0)
        return ScheduleFreeMemory(
            params, state_scalar(sf_b1), state_scalar(eps), none, zero_count(), base
        )

    def measure(step: MethodInputs[ScheduleFreeMemory]) -> tuple[Any, ...]:
        average = _average(step.memory, step.params)
        apart = jax.tree.map(jnp.subtract, step.memory.iterate, average)
        return tree_abs(step.gradients), tree_mul(step.gradients, apart)

    def move(step: MethodInputs[ScheduleFreeMemory]) -> MethodOutput:
        memory, (size, correction) = step.memory, step.sums
        base, steps = memory.base, memory.steps
        done = jnp.minimum(steps / jnp.maximum(sf_b1_steps, 1), 1.0) if sf_b1_steps else 0.0
        between = 1 - (1 - sf_b1) ** (1 - done) * (1 - sf_b1_max) ** done
        weighted = polyak_decay * base.size + (1 - polyak_decay) * size * (jnp.pi / 2) ** 0.5
        above = jnp.maximum(step.value + between * correction, 0)
        rate = step.rate * safe_divide(above, weighted / step.bias_correction_factor(polyak_decay))

        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, base.first, step.gradients)
        second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, base.second, step.gradients)
        first_bias, second_bias = step.bias_correction_factor(b1), step.bias_correction_factor(b2)
        iterate = jax.tree.map(
            lambda z, y, m, v: (
                z
                - rate**2 * weight_decay * y
                - rate * (m / first_bias) / (jnp.sqrt(v / second_bias) + eps)
            ),
            memory.iterate,
            step.params,
            first,
            second,
        )
        largest = jnp.maximum(memory.largest, rate)
        is_averaged = steps >= average_from
        weight = jnp.where(is_averaged, (steps + 1.0) ** r * largest**weight_lr_power, 0)
        share = jnp.where(is_averaged, safe_divide(weight, memory.total + weight), 1)
        walked = Walk(iterate, rate, rate, PlusBase(first, second, weighted))
        return _averaged(step, walked, largest, weight, jnp.asarray(between), share)

    return adaptive_transform(
        "schedule_free_plus",
        learning_rate,
        init,
        move,
        measure,
        needs_value=True,
        state_dtype=state_dtype,
    )


def _warmed(steps: jax.Array, warmup_steps: int) -> jax.Array:
    return jnp.minimum((steps + 1) / jnp.maximum(warmup_steps, 1), 1.0)


def _adam_direction(
    step: MethodInputs[ScheduleFreeMemory], b2: float, eps: float
) -> tuple[Any, Any]:
    """The gradients over the root of their corrected second moment, and the new moment."""
    second = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g**2, step.memory.base, step.gradients)
    bias = step.bias_correction_factor(b2)
    direction = jax.tree.map(lambda g, v: g / (jnp.sqrt(v / bias) + eps), step.gradients, second)
    return direction, second


def _sma_length(count: int, b2: float) -> float:
    """RAdam's ``rho`` after ``count`` updates."""
    return 2 / (1 - b2) - 1 - 2 * count * b2**count / (1 - b2**count)
