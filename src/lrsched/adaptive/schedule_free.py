"""Schedule-free learning: averaging instead of a decay.

There are three points: ``z``, the iterate of the base optimizer; ``x``, the average of all ``z``,
at which one evaluates; and ``y = b1 x + (1 - b1) z``, at which gradients are computed. The
parameters in training are ``y``; `lrsched.eval_params` returns ``x``.

`ema_nesterov` is of the same family: its gradients are computed ahead of the parameters too.
"""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrsched.adaptive.averaging import ParamAverage, average_of
from lrsched.adaptive.base import (
    AdaptiveMethod,
    AdaptiveState,
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    add_rounding_errors,
    complex_as_real,
    real_as_complex,
    safe_divide,
    state_scalar,
    tree_abs,
    tree_add_scaled,
    tree_ema,
    tree_square,
    zero_count,
)
from lrsched.algebra import LearningRate, as_schedule
from lrsched.arguments import (
    BaseOptimizer,
    DecayRate,
    Dtype,
    NonNegativeFloat,
    NonNegativeInt,
    OpenUnitFloat,
    PositiveFloat,
    check_below,
    not_accepted,
)
from lrsched.schedules.warmup import radam_warmup
from lrsched.transforms.composition import compose_rates, has_rate


class ScheduleFreeMethodState(NamedTuple):
    """State of the schedule-free methods.

    Attributes:
      z: ``z``, the iterate of the base optimizer, a tree like the parameters.
      b1: float32 scalar, the position of the parameters between ``z`` (0) and the average (1).
      max_lr: float32 scalar, the largest rate so far.
      weight_sum: float32 scalar, the sum of the weights of the average.
      num_updates: int32 scalar, the number of updates.
      base_state: State of the base optimizer: for `schedule_free_adamw` and `schedule_free_radam`
        the second moment, for `schedule_free_plus` a `PlusBaseState`, for `schedule_free_sgd`
        ``None``.
    """

    z: optax.Params
    b1: jax.Array
    max_lr: jax.Array
    weight_sum: jax.Array
    num_updates: jax.Array
    base_state: optax.OptState


class PlusBaseState(NamedTuple):
    """State of the base step of `schedule_free_plus`.

    Attributes:
      mu: First moment of the gradients, a tree like the parameters.
      nu: Second moment of the gradients, a tree like the parameters.
      grad_norm_l1: float32 scalar, the average of the gradients' l1 norms, without bias correction.
    """

    mu: optax.Updates
    nu: optax.Updates
    grad_norm_l1: jax.Array


class EmaNesterovState(NamedTuple):
    """State of `ema_nesterov`.

    Attributes:
      params: ``x``, the parameters after the step of the base, at which one evaluates.
      displacement_ema: ``e``, the average of the displacements, a tree like the parameters.
      num_updates: int32 scalar, the number of updates.
      base_state: State of the base optimizer.
    """

    params: optax.Params
    displacement_ema: optax.Params
    num_updates: jax.Array
    base_state: optax.OptState


class BaseStep(NamedTuple):
    """Step of the base optimizer.

    Attributes:
      z: New iterate.
      rate: Scalar, the rate of the step, which the weights of the average depend on.
      rate_factor: Scalar, the factor of that rate that the state of the base does not hold.
      base_state: New state of the base.
    """

    z: optax.Params
    rate: jax.Array
    rate_factor: ArrayLike
    base_state: optax.OptState


Inputs = MethodInputs[ScheduleFreeMethodState]


def _average(state: ScheduleFreeMethodState, params: optax.Params) -> optax.Params:
    """Return ``x``, from ``z`` and ``y``."""
    # One division of scalars: TPUs take several instructions for the division of each entry.
    inverse = 1 / state.b1
    return jax.tree.map(lambda z, y: z + (y - z) * inverse, state.z, params)


@average_of.register
def _(state: AdaptiveState) -> ParamAverage | None:
    method_state = state.method_state
    if isinstance(method_state, EmaNesterovState):
        return ParamAverage(method_state.params, lambda params: method_state.params)
    if not isinstance(method_state, ScheduleFreeMethodState):
        return None

    def evaluate(params: optax.Params) -> optax.Params:
        exact = add_rounding_errors(complex_as_real(params), state.rounding_errors)
        average = _average(method_state, exact)
        is_complex = any(map(jnp.iscomplexobj, jax.tree.leaves(params)))
        return real_as_complex(average, params) if is_complex else average

    return ParamAverage(method_state.z, evaluate)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _ScheduleFree(AdaptiveMethod[ScheduleFreeMethodState]):
    """Common part of the schedule-free methods; a subclass defines the base optimizer."""

    b1: OpenUnitFloat = 0.9
    r: float = 0.0
    weight_lr_power: NonNegativeFloat = 2.0
    window: PositiveFloat | None = None
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> ScheduleFreeMethodState:
        """Return the state with ``z = y`` and no average yet."""
        return ScheduleFreeMethodState(
            z=params,
            b1=state_scalar(self.b1),
            max_lr=state_scalar(0),
            weight_sum=state_scalar(0),
            num_updates=zero_count(),
            base_state=self._init_base(params),
        )

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the updates of ``y``."""
        step = self._step_base(inputs)
        max_lr = jnp.maximum(inputs.state.max_lr, step.rate)
        weight = (inputs.state.num_updates + 1.0) ** self.r * max_lr**self.weight_lr_power
        fraction = None
        if self.window is not None:
            share = safe_divide(weight, inputs.state.weight_sum + weight)
            fraction = jnp.minimum(share * (1 - self.b1) * self.window, 1.0)
        return _move_average(inputs, step, max_lr, weight, state_scalar(self.b1), fraction)

    def _init_base(self, params: optax.Params) -> optax.OptState:
        return None

    def _step_base(self, inputs: Inputs) -> BaseStep:
        raise NotImplementedError


def _move_average(
    inputs: Inputs,
    step: BaseStep,
    max_lr: jax.Array,
    weight: jax.Array,
    b1: jax.Array,
    fraction: ArrayLike | None = None,
) -> MethodOutput:
    """Move the average ``x`` towards the new ``z`` by a fraction, and ``y`` with both."""
    state, params = inputs.state, inputs.params
    weight_sum = state.weight_sum + weight
    c = safe_divide(weight, weight_sum) if fraction is None else fraction
    b1 = b1.astype(state.b1.dtype)

    def updates(kept: ScheduleFreeMethodState) -> optax.Updates:
        return jax.tree.map(
            lambda x, z, y: b1 * (x + c * (z - x)) + (1 - b1) * z - y,
            _average(state, params),
            kept.z,
            params,
        )

    new_state = ScheduleFreeMethodState(
        step.z, b1, max_lr, weight_sum, state.num_updates + 1, step.base_state
    )
    return MethodOutput(updates, new_state, step.rate_factor)


@dataclasses.dataclass(frozen=True)
class ScheduleFree(_ScheduleFree):
    """Schedule-free learning around any optimizer.

    The base steps from ``z`` with the gradient at ``y``; with ``c_t = w_t / sum w`` and
    ``w_t = (t + 1)**r max(rate)**weight_lr_power``: ``x += c_t (z - x)``. The base should have no
    momentum (``b1=0``), as the averaging acts as one. Its weight decay acts on ``z``.

    Args:
      base: Base optimizer, with a constant rate or a warmup.
      learning_rate: Rate of the base, for the weights only. Defaults to the rate in the base's
        state, which `prodigy` and D-Adaptation have too. optax's optimizers keep no rate: pass it.
      b1: Position of the gradients between ``z`` (0) and ``x`` (1).
      r: Power of the step in the weights.
      weight_lr_power: Power of the largest rate in the weights.
      window: Factor ``C`` of the decoupled averaging window: ``c_t`` becomes
        ``min(1, (1 - b1) C c_t)``, so that the average forgets its start. 200 with ``b1`` of 0.95
        or 0.98 for language models. `None` is ``1 / (1 - b1)``, the method without it.
      weight_decay_at_y: Decoupled weight-decay coefficient, times ``y`` and the rate.
      state_dtype: Dtype of ``z`` and of the base's state. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `ScheduleFreeMethodState`.

    Raises:
      ValueError: If an argument is outside its range, or ``learning_rate`` is ``None`` and the
        state of the base holds no rate.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.schedule_free(lrsched.prodigy(b1=0.0, d0=1e-2))
      >>> params = jnp.array([3.0, -2.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(100):
      ...     updates, state = optimizer.update(2 * params, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> bool(jnp.linalg.norm(lrsched.eval_params(state, params)) < 0.1)
      True

    References:
      Window: Song et al. 2025 (arXiv 2507.09846), read in two implementations.
      Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky 2024 (arXiv 2405.15682). It matches
      schedulefree 1.4.1, whose wrapper weights Prodigy and D-Adaptation by the estimate after the
      update, which is not the one that was applied. optax's reads the schedule of the weights one
      step ahead.
    """

    base: BaseOptimizer
    learning_rate: LearningRate | None = None
    _: dataclasses.KW_ONLY
    weight_decay_at_y: NonNegativeFloat = 0.0

    @property
    def outer_learning_rate(self) -> LearningRate:
        """The rate of the weights; 1 if the base's state holds it."""
        return 1.0 if self.learning_rate is None else self.learning_rate

    @property
    def is_adjustable(self) -> bool:
        """False: the rate describes what the base applies, and multiplies nothing."""
        return False

    def _init_base(self, params: optax.Params) -> optax.OptState:
        base_state = self.base.init(params)
        if self.learning_rate is None and not has_rate(base_state):
            requirement = "the number or schedule that the base was given"
            reason = "the state of the base keeps no rate"
            raise not_accepted("schedule_free", "learning_rate", None, requirement, reason)
        return base_state

    def _step_base(self, inputs: Inputs) -> BaseStep:
        state = inputs.state
        updates, base_state = inputs.update_base(self.base, state.base_state, state.z)
        rate = inputs.outer_rate
        if self.learning_rate is None:
            rate = jnp.max(jnp.stack([*compose_rates(base_state).values()]))
        decay = rate * self.weight_decay_at_y
        z = jax.tree.map(lambda z, u, y: z + u - decay * y, state.z, updates, inputs.params)
        return BaseStep(z, rate, 1.0 if has_rate(base_state) else rate, base_state)


@dataclasses.dataclass(frozen=True)
class ScheduleFreeSgd(_ScheduleFree):
    """Schedule-free SGD: `schedule_free` of gradient descent.

    Args:
      learning_rate: Rate; a number or a schedule. Larger than that of SGD with a decay, 1 to 10 in
        the paper.
      b1: Position of the gradients between ``z`` (0) and ``x`` (1): the momentum.
      weight_decay: Weight-decay coefficient, times ``y``, added to the gradients.
      warmup_steps: Length of a linear warmup, in updates: update ``t`` has
        ``(t + 1) / warmup_steps`` of the rate.
      r: Power of the step in the weights.
      weight_lr_power: Power of the largest rate in the weights.
      window: Factor of the decoupled averaging window, see `schedule_free`.
      state_dtype: Dtype of ``z``. Defaults to the parameter dtype, at least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `ScheduleFreeMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.schedule_free_sgd(0.5)
      >>> params = jnp.array([4.0])
      >>> updates, state = optimizer.update(params, optimizer.init(params), params)
      >>> updates.tolist(), lrsched.eval_params(state, params + updates).tolist()
      ([-2.0], [2.0])

    References:
      Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky 2024 (arXiv 2405.15682). It matches
      schedulefree 1.4.1.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: NonNegativeInt = 0

    def _step_base(self, inputs: Inputs) -> BaseStep:
        rate = inputs.outer_rate * _warmup_factor(inputs.state.num_updates, self.warmup_steps)
        direction = tree_add_scaled(inputs.gradients, inputs.params, self.weight_decay)
        return BaseStep(tree_add_scaled(inputs.state.z, direction, -rate), rate, rate, None)


@dataclasses.dataclass(frozen=True)
class ScheduleFreeAdamW(_ScheduleFree):
    """Schedule-free AdamW: `schedule_free` of Adam without a first moment.

    Args:
      learning_rate: Rate; a number or a schedule. 1 to 10 times that of AdamW with a decay.
      b1: Position of the gradients between ``z`` (0) and ``x`` (1): the momentum.
      b2: Decay of the second moment, which has a bias correction.
      eps: Term added to the root of the second moment.
      weight_decay: Decoupled weight-decay coefficient, times ``y`` and the rate.
      warmup_steps: Length of a linear warmup, in updates: update ``t`` has
        ``(t + 1) / warmup_steps`` of the rate.
      r: Power of the step in the weights.
      weight_lr_power: Power of the largest rate in the weights.
      window: Factor of the decoupled averaging window, see `schedule_free`.
      state_dtype: Dtype of ``z`` and the second moment. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `ScheduleFreeMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.schedule_free_adamw(0.5)
      >>> params = jnp.array([4.0])
      >>> updates, state = optimizer.update(params, optimizer.init(params), params)
      >>> updates.tolist()
      [-0.5]

    References:
      Defazio, Yang, Mehta, Mishchenko, Khaled & Cutkosky 2024 (arXiv 2405.15682). It matches
      schedulefree 1.4.1. optax's warmup starts at 0, and its weight sum stops at 256 in bfloat16.
    """

    learning_rate: LearningRate = 0.0025
    _: dataclasses.KW_ONLY
    b2: DecayRate = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    warmup_steps: NonNegativeInt = 0

    def _init_base(self, params: optax.Params) -> optax.OptState:
        return optax.tree.zeros_like(params)

    def _step_base(self, inputs: Inputs) -> BaseStep:
        rate = inputs.outer_rate * _warmup_factor(inputs.state.num_updates, self.warmup_steps)
        direction, nu = _adam_direction(inputs, self.b2, self.eps)
        direction = tree_add_scaled(direction, inputs.params, self.weight_decay)
        return BaseStep(tree_add_scaled(inputs.state.z, direction, -rate), rate, rate, nu)


@dataclasses.dataclass(frozen=True)
class ScheduleFreeRadam(_ScheduleFree):
    """Schedule-free RAdam: `schedule_free_adamw` with RAdam's rectification as its warmup.

    Args:
      learning_rate: Rate; a number or a schedule.
      b1: Position of the gradients between ``z`` (0) and ``x`` (1): the momentum.
      b2: Decay of the second moment, above 0.6, where a rectification exists.
      eps: Term added to the root of the second moment.
      weight_decay: Decoupled weight-decay coefficient, times ``y`` and the rate.
      silent_sgd_phase: Whether to make no step while the variance of the second moment is infinite.
        If ``False``, these are steps of gradient descent.
      r: Power of the step in the weights.
      weight_lr_power: Power of the largest rate in the weights.
      window: Factor of the decoupled averaging window, see `schedule_free`.
      state_dtype: Dtype of ``z`` and the second moment. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `ScheduleFreeMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.schedule_free_radam(0.5)
      >>> params = jnp.array([4.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(6):
      ...     updates, state = optimizer.update(params, state, params)
      >>> [round(float(u), 5) for u in updates]
      [-0.01528]

    References:
      Liu et al. 2020 (arXiv 1908.03265), Defazio et al. 2024 (arXiv 2405.15682). It matches
      schedulefree 1.4.1.
    """

    learning_rate: LearningRate = 0.0025
    _: dataclasses.KW_ONLY
    b2: DecayRate = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    silent_sgd_phase: bool = True

    def __post_init__(self) -> None:
        radam_warmup(self.b2)  # raises if there is no rectification

    def _init_base(self, params: optax.Params) -> optax.OptState:
        return optax.tree.zeros_like(params)

    def _step_base(self, inputs: Inputs) -> BaseStep:
        # The first update at which the variance of the second moment is finite.
        lengths = [_sma_length(t, self.b2) for t in range(1, 33)]
        first = 1 + jnp.argmax(jnp.stack([length > 4 for length in lengths]))
        elapsed = inputs.state.num_updates + 1 - first
        is_rectified = elapsed >= 0
        factor = radam_warmup(self.b2)(jnp.maximum(elapsed, 0))
        sgd_factor = 0.0 if self.silent_sgd_phase else 1.0
        rate = inputs.outer_rate * jnp.where(is_rectified, factor, sgd_factor)
        adam, nu = _adam_direction(inputs, self.b2, self.eps)
        direction = jax.tree.map(lambda a, g: jnp.where(is_rectified, a, g), adam, inputs.gradients)
        direction = tree_add_scaled(direction, inputs.params, self.weight_decay)
        return BaseStep(tree_add_scaled(inputs.state.z, direction, -rate), rate, rate, nu)


@dataclasses.dataclass(frozen=True)
class ScheduleFreePlus(AdaptiveMethod[ScheduleFreeMethodState]):
    """ScheduleFree+: schedule-free AdamW with a Polyak step size and a separate first moment.

    With ``q = sf_b1``, Adam's corrected moments ``m`` and ``v``, and ``e`` the corrected average of
    ``|g|_1 sqrt(pi / 2)``::

        n = rate_t max(0, f + q <g, z - x>) / e
        z = z - n**2 weight_decay y - n m / (sqrt(v) + eps)

    and ``x`` and ``y`` as in `schedule_free`, with ``q`` for ``b1``. For losses with a minimum near
    0. Needs ``update(..., value=loss)``.

    Args:
      learning_rate: Outer rate, 1 with a warmup; a number or a schedule.
      b1: Decay of the first moment.
      b2: Decay of the second moment.
      sf_b1: ``q``, the position of the gradients between ``z`` (0) and ``x`` (1).
      sf_b1_max: Final ``q``, which it approaches evenly in ``log(1 - q)``.
      sf_b1_steps: Number of updates until the final ``q``; 0 keeps ``sf_b1``.
      polyak_decay: Decay of the average ``e``; 0 uses the norm of the latest gradient.
      eps: Term added to the root of the second moment.
      weight_decay: AdamC's weight-decay coefficient, times the squared rate: 5 to 50.
      average_from: Update before which ``x`` is ``z``.
      r: Power of the step in the weights.
      weight_lr_power: Power of the largest rate in the weights.
      state_dtype: Dtype of ``z`` and the moments. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `ScheduleFreeMethodState`.

    Raises:
      ValueError: If an argument is outside its range, ``sf_b1_max < sf_b1``, or ``update`` lacks
        ``value``.

    Example:
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

    References:
      Defazio 2026 (arXiv 2605.19095), algorithm 1, as in the authors' reference code
      (facebookresearch/schedule_free at 70785b5), which stores ``x`` too, one more copy.
    """

    needs_value: ClassVar[bool] = True
    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    b1: DecayRate = 0.9
    b2: DecayRate = 0.95
    sf_b1: OpenUnitFloat = 0.9
    sf_b1_max: OpenUnitFloat = 0.965
    sf_b1_steps: NonNegativeInt = 0
    polyak_decay: DecayRate = 0.0
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    average_from: NonNegativeInt = 0
    r: float = 0.0
    weight_lr_power: NonNegativeFloat = 2.0
    state_dtype: Dtype | None = None

    def __post_init__(self) -> None:
        bounds = ("sf_b1", self.sf_b1, "sf_b1_max", self.sf_b1_max)
        check_below("schedule_free_plus", *bounds, allow_equal=True)

    def init(self, params: optax.Params) -> ScheduleFreeMethodState:
        """Return the state with ``z = y`` and no average yet."""
        base_state = PlusBaseState(
            optax.tree.zeros_like(params), optax.tree.zeros_like(params), state_scalar(0)
        )
        return ScheduleFreeMethodState(
            z=params,
            b1=state_scalar(self.sf_b1),
            max_lr=state_scalar(self.eps),
            weight_sum=state_scalar(0),
            num_updates=zero_count(),
            base_state=base_state,
        )

    def sums(self, inputs: Inputs) -> tuple[optax.Updates, ...]:
        """Return ``|g|_1`` and ``<g, z - x>``."""
        average = _average(inputs.state, inputs.params)
        offset = optax.tree.sub(inputs.state.z, average)
        return tree_abs(inputs.gradients), optax.tree.mul(inputs.gradients, offset)

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the updates of ``y``."""
        state, (grad_norm_l1, correction) = inputs.state, inputs.sums
        base, num_updates = state.base_state, state.num_updates
        unbiased = inputs.bias_correction_factor

        # Position q of the gradients.
        progress = jnp.minimum(num_updates / jnp.maximum(self.sf_b1_steps, 1), 1.0)
        progress = jnp.where(jnp.asarray(self.sf_b1_steps) > 0, progress, 0.0)
        q = 1 - (1 - self.sf_b1) ** (1 - progress) * (1 - self.sf_b1_max) ** progress

        # Polyak step size.
        scaled = grad_norm_l1 * (jnp.pi / 2) ** 0.5
        norm_avg = self.polyak_decay * base.grad_norm_l1 + (1 - self.polyak_decay) * scaled
        gap = jnp.maximum(inputs.value + q * correction, 0)
        rate = inputs.outer_rate * safe_divide(gap, norm_avg / unbiased(self.polyak_decay))

        # Adam step of z, with the weight decay of AdamC at y.
        mu = tree_ema(base.mu, inputs.gradients, self.b1)
        nu = tree_ema(base.nu, tree_square(inputs.gradients), self.b2)
        mu_factor, nu_factor = unbiased(self.b1), unbiased(self.b2)
        z = jax.tree.map(
            lambda z, y, m, v: (
                z
                - rate**2 * self.weight_decay * y
                - rate * (m / mu_factor) / (jnp.sqrt(v / nu_factor) + self.eps)
            ),
            state.z,
            inputs.params,
            mu,
            nu,
        )

        # Weighted average, which starts at average_from.
        max_lr = jnp.maximum(state.max_lr, rate)
        is_averaged = num_updates >= self.average_from
        weight = (num_updates + 1.0) ** self.r * max_lr**self.weight_lr_power
        weight = jnp.where(is_averaged, weight, 0)
        fraction = jnp.where(is_averaged, safe_divide(weight, state.weight_sum + weight), 1)
        step = BaseStep(z, rate, rate, PlusBaseState(mu, nu, norm_avg))
        return _move_average(inputs, step, max_lr, weight, jnp.asarray(q), fraction)


@dataclasses.dataclass(frozen=True)
class EmaNesterov(AdaptiveMethod[EmaNesterovState]):
    """EMA-Nesterov: gradients ahead of the parameters, along the average of past displacements.

    The parameters in training are ``y``, those of evaluation ``x``; `lrsched.eval_params` returns
    ``x``. The base steps from ``y`` with the gradient at ``y``::

        x' = y + base(g(y))      e' = decay e + (1 - decay) (x' - x)      y' = x' + b_t e'

    ``b_t`` is ``beta`` at the next update, 0 outside of ``start <= t < end``. With ``beta=0`` it is
    the base. Keeps two copies of the parameters, in float32 or wider: ``e`` is a mean of small
    differences.

    Args:
      base: Base optimizer with its schedule.
      beta: Length of the look-ahead, a number or a schedule. The authors multiply it by the rate
        over its peak: ``0.3 * lrsched.wsd(1.0, ...)``.
      decay: Decay of the average, 0.99 to 0.999.
      start: First update with a look-ahead.
      end: First update without a look-ahead. `None` means no end.
      state_dtype: Dtype of ``x`` and ``e``. Defaults to the parameter dtype, at least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of an `EmaNesterovState`.

    Raises:
      ValueError: If an argument is outside its range, or ``end`` is not above ``start``.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.ema_nesterov(optax.sgd(0.1))
      >>> params = jnp.array([-1.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(3):
      ...     updates, state = optimizer.update(3 * params, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> round(float(lrsched.eval_params(state, params)[0]), 4)
      -0.3415

    References:
      arXiv 2605.25395, as in the author's entries 39 and 40 of the optimizer track of
      KellerJordan/modded-nanogpt at f411b3d: beta 0.3 and 0.6, decay 0.99, from update 300 to 1950
      of 2900 and from 500 to 2400 of 3125. There the forward pass precedes the rate of its step, so
      that ``b_t`` lags by one update.
    """

    base: BaseOptimizer
    beta: LearningRate = 0.3
    _: dataclasses.KW_ONLY
    decay: DecayRate = 0.99
    start: NonNegativeInt = 0
    end: NonNegativeInt | None = None
    state_dtype: Dtype | None = None

    def __post_init__(self) -> None:
        if self.end is not None:
            check_below("ema_nesterov", "start", self.start, "end", self.end)

    @property
    def outer_learning_rate(self) -> LearningRate:
        """1: the rates are those of the base."""
        return 1.0

    @property
    def is_adjustable(self) -> bool:
        """False: the rate is in the state of the base."""
        return False

    def init(self, params: optax.Params) -> EmaNesterovState:
        """Return the state with ``x = y`` and no displacement yet."""
        return EmaNesterovState(
            params, optax.tree.zeros_like(params), zero_count(), self.base.init(params)
        )

    def update(self, inputs: MethodInputs[EmaNesterovState]) -> MethodOutput:
        """Return the updates of ``y``."""
        state, decay = inputs.state, self.decay
        updates, base_state = inputs.update_base(self.base, state.base_state, inputs.params)
        params = jax.tree.map(jnp.add, inputs.params, updates)
        moved = optax.tree.sub(params, state.params)
        displacement_ema = tree_ema(state.displacement_ema, moved, decay)

        following = state.num_updates + 1
        beta = as_schedule(self.beta)(following)
        is_ahead = following >= self.start
        if self.end is not None:
            is_ahead &= following < self.end
        beta = jnp.where(is_ahead, beta, 0).astype(inputs.outer_rate.dtype)

        def updates_of(kept: EmaNesterovState) -> optax.Updates:
            # Added to the update of the base, so that it alone is left where beta is 0.
            return jax.tree.map(lambda u, e: u + beta * e, updates, kept.displacement_ema)

        new_state = EmaNesterovState(params, displacement_ema, following, base_state)
        return MethodOutput(updates_of, new_state, 1.0)


def _warmup_factor(num_updates: jax.Array, warmup_steps: ArrayLike) -> jax.Array:
    return jnp.minimum((num_updates + 1) / jnp.maximum(warmup_steps, 1), 1.0)


def _adam_direction(
    inputs: Inputs, b2: float, eps: ArrayLike
) -> tuple[optax.Updates, optax.Updates]:
    """Return ``g / (sqrt(v / (1 - b2**t)) + eps)``, and the new ``v``."""
    nu = tree_ema(inputs.state.base_state, tree_square(inputs.gradients), b2)
    inverse = 1 / inputs.bias_correction_factor(b2)  # one division, see `_average`
    direction = jax.tree.map(lambda g, v: g / (jnp.sqrt(v * inverse) + eps), inputs.gradients, nu)
    return direction, nu


def _sma_length(num_updates: int, b2: float) -> float:
    """Return RAdam's ``rho``, the length of the average, after ``num_updates`` updates."""
    return 2 / (1 - b2) - 1 - 2 * num_updates * b2**num_updates / (1 - b2**num_updates)


schedule_free = adaptive_transform(ScheduleFree)
schedule_free_sgd = adaptive_transform(ScheduleFreeSgd)
schedule_free_adamw = adaptive_transform(ScheduleFreeAdamW)
schedule_free_radam = adaptive_transform(ScheduleFreeRadam)
schedule_free_plus = adaptive_transform(ScheduleFreePlus)
ema_nesterov = adaptive_transform(EmaNesterov)
