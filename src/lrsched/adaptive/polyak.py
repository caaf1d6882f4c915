"""Polyak step sizes: computed from the loss itself, averaged or capped."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.adaptive.base import (
    AdaptiveMethod,
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    safe_divide,
    state_scalar,
    tree_add_scaled,
    tree_decay,
    tree_descent,
    tree_ema,
    tree_square,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import DecayRate, Dtype, GrowthLimit, NonNegativeFloat, PositiveFloat


class PolyakMethodState(NamedTuple):
    """State of `polyak`.

    Attributes:
      prev_step_size: float32 scalar, ``n_{t-1}``, without the outer rate; ``max_rate`` before the
        first update.
    """

    prev_step_size: jax.Array


@dataclasses.dataclass(frozen=True)
class Polyak(AdaptiveMethod[PolyakMethodState]):
    """Stochastic Polyak step size, for losses with a known minimum: 0 if a model can fit all data.

    ``u_t = -rate_t n_t g_t`` with ``n_t = min((f_t - f_min) / (c |g_t|**2 + eps), max_rate,
    max_growth n_{t-1})``. Needs ``update(..., value=loss)``, the loss of the batch of the gradient.
    A loss below ``f_min`` makes no step.

    Args:
      learning_rate: Outer rate; a number or a schedule.
      f_min: Minimum of the loss.
      c: Factor of the squared norm: 1/2 in theory, 0.2 for deep networks in the paper, 1 in
        Polyak's original.
      max_rate: Maximum step size.
      max_growth: Maximum growth of the step size in one update; ``2**(batch_size / n)`` in the
        paper. Defaults to infinity, no limit.
      eps: Term added to the denominator.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `PolyakMethodState`.

    Raises:
      ValueError: If an argument is outside its range, or ``update`` lacks ``value``.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.polyak()
      >>> params = jnp.array([3.0])  # of the loss p**2 / 2
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(params, state, params, value=4.5)
      >>> updates.tolist()
      [-3.0]

    References:
      Loizou, Vaswani, Laradji & Lacoste-Julien 2021 (arXiv 2002.10542).
    """

    needs_value: ClassVar[bool] = True
    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    f_min: float = 0.0
    c: PositiveFloat = 0.5
    max_rate: PositiveFloat = 1.0
    max_growth: GrowthLimit = np.inf
    eps: NonNegativeFloat = 0.0

    def init(self, params: optax.Params) -> PolyakMethodState:
        """Return the state, which does not depend on the parameters."""
        del params
        return PolyakMethodState(state_scalar(self.max_rate))

    def update(self, inputs: MethodInputs[PolyakMethodState]) -> MethodOutput:
        """Return the step of gradient descent at ``rate_t n_t``."""
        prev_step_size, grad_norm_sq = inputs.state.prev_step_size, inputs.grad_norm_sq
        gap = jnp.maximum(inputs.value - self.f_min, 0)
        step_size = safe_divide(gap, self.c * grad_norm_sq + self.eps)
        step_size = jnp.minimum(
            jnp.minimum(step_size, self.max_rate), self.max_growth * prev_step_size
        )

        # A step of 0 is not remembered: no later step could grow from it.
        has_gradients = grad_norm_sq > 0
        is_step = has_gradients & (step_size > 0)
        new_state = PolyakMethodState(jnp.where(is_step, step_size, prev_step_size))
        rate = inputs.outer_rate * jnp.where(has_gradients, step_size, 0)
        return MethodOutput(lambda kept: tree_descent(inputs.gradients, rate), new_state, rate)


class AliGMethodState(NamedTuple):
    """State of `alig`.

    Attributes:
      velocity: ``v``, a tree like the parameters; ``None`` without momentum.
    """

    velocity: optax.Updates | None


@dataclasses.dataclass(frozen=True)
class AliG(AdaptiveMethod[AliGMethodState]):
    """ALI-G: the Polyak step size for a minimum of 0, capped, with momentum.

    ``n_t = min(f_t / (|g_t|**2 + eps), max_t)``; ``v = momentum v - n_t g``, ``u = -n_t g +
    momentum v``; with ``adjusted_momentum``, ``v = momentum v - g``, ``u = -n_t g + n_t momentum
    v``. Needs ``update(..., value=loss)``. A negative loss makes no step.

    Args:
      max_learning_rate: Maximum step size; a number or a schedule. If ``None``, the step size is
        not capped.
      momentum: Decay of the velocity.
      adjusted_momentum: Whether the velocity is in units of the gradients instead of the updates.
      eps: Term added to the squared norm.
      state_dtype: Dtype of the velocity. Defaults to the parameter dtype, at least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of an `AliGMethodState`.

    Raises:
      ValueError: If an argument is outside its range, or ``update`` lacks ``value``.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.alig(0.25)
      >>> params = jnp.array([3.0])  # of the loss p**2 / 2
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(params, state, params, value=4.5)
      >>> updates.tolist()
      [-0.75]

    References:
      Berrada, Zisserman & Kumar 2020 (arXiv 1906.05661). It matches pytorch_optimizer 4.1.0, in
      which a negative loss makes a step uphill.
    """

    needs_value: ClassVar[bool] = True
    max_learning_rate: LearningRate | None = None
    _: dataclasses.KW_ONLY
    momentum: DecayRate = 0.0
    adjusted_momentum: bool = False
    eps: PositiveFloat = 1e-6
    state_dtype: Dtype | None = None

    @property
    def outer_learning_rate(self) -> LearningRate:
        """The cap. Without one it is 1, as a state always holds a schedule."""
        return 1.0 if self.max_learning_rate is None else self.max_learning_rate

    def init(self, params: optax.Params) -> AliGMethodState:
        """Return a velocity of 0."""
        return AliGMethodState(optax.tree.zeros_like(params) if self._has_momentum else None)

    def update(self, inputs: MethodInputs[AliGMethodState]) -> MethodOutput:
        """Return the step of gradient descent at ``n_t``, with momentum."""
        step_size = jnp.maximum(inputs.value, 0) / (inputs.grad_norm_sq + self.eps)
        if self.max_learning_rate is not None:
            step_size = jnp.minimum(step_size, inputs.outer_rate)
        descent = tree_descent(inputs.gradients, step_size)
        if not self._has_momentum:
            return MethodOutput(lambda kept: descent, inputs.state, step_size)

        weight, factor = (1, step_size) if self.adjusted_momentum else (step_size, 1)
        velocity = jax.tree.map(
            lambda v, g: self.momentum * v - weight * g, inputs.state.velocity, inputs.gradients
        )

        def updates(kept: AliGMethodState) -> optax.Updates:
            return tree_add_scaled(descent, kept.velocity, self.momentum * factor)

        return MethodOutput(updates, AliGMethodState(velocity), step_size)

    @property
    def _has_momentum(self) -> bool:
        return not (isinstance(self.momentum, float) and self.momentum == 0)


class MomoMethodState(NamedTuple):
    """State of `momo` and `momo_adam`.

    Attributes:
      mu: ``m``, the average of the gradients, a tree like the parameters.
      nu: ``v``, the average of their squares, for `momo_adam`; ``None`` for `momo`.
      value_avg: float32 scalar, ``F``, the average of the losses.
      param_grad_avg: float32 scalar, ``q``, the average of ``<x, g>``.
      lower_bound: float32 scalar, the lower bound of the loss.
      num_updates: int32 scalar, the number of updates.
    """

    mu: optax.Updates
    nu: optax.Updates | None
    value_avg: jax.Array
    param_grad_avg: jax.Array
    lower_bound: jax.Array
    num_updates: jax.Array


def _init_momo(mu: optax.Updates, nu: optax.Updates | None, lower_bound: float) -> MomoMethodState:
    return MomoMethodState(
        mu, nu, state_scalar(0), state_scalar(0), state_scalar(lower_bound), zero_count()
    )


def _step_and_bound(
    state: MomoMethodState,
    outer_rate: jax.Array,
    shrink: jax.Array,
    bias: jax.Array,
    params_mu: jax.Array,
    mu_norm_sq: jax.Array,
    min_lower_bound: float,
    is_adaptive: bool,
) -> tuple[jax.Array, jax.Array]:
    """Return the step size of the model, capped by the rate, and the new lower bound.

    Args:
      state: State with the new averages and the old bound.
      outer_rate: Outer rate, the cap.
      shrink: ``s``, 1 plus the rate times the weight decay.
      bias: Bias-correction factor of the averages.
      params_mu: ``<x, m>``.
      mu_norm_sq: ``|m|**2``, in the metric of the method.
      min_lower_bound: Smallest value of the bound.
      is_adaptive: Whether the bound adapts.
    """
    bound = state.lower_bound
    model = shrink * state.value_avg + params_mu - shrink * state.param_grad_avg
    if is_adaptive:
        lowered = jnp.maximum(model / (2 * shrink * bias), min_lower_bound)
        bound = jnp.where(model < shrink * bias * bound, lowered, bound)
    gap = jnp.maximum(model - shrink * bias * bound, 0)
    cap = outer_rate / bias
    capped = jnp.minimum(cap, safe_divide(gap, mu_norm_sq))
    step_size = jnp.where(mu_norm_sq > 0, capped, cap)
    if is_adaptive:
        reached = state.value_avg + params_mu - state.param_grad_avg - step_size * mu_norm_sq / 2
        bound = jnp.maximum(reached / bias, min_lower_bound)
    return step_size, bound


@dataclasses.dataclass(frozen=True)
class Momo(AdaptiveMethod[MomoMethodState]):
    """MoMo: SGD with momentum at the capped Polyak step size of a model of the averaged loss.

    With averages ``F`` of the losses, ``m`` of the gradients and ``q`` of ``<x, g>`` that start at
    the first of each, and ``s = 1 + rate_t weight_decay``::

        n = min(rate_t, max(s F + <x, m> - s q - s bound, 0) / |m|**2)
        x = (x - n m) / s

    Needs ``update(..., value=loss)``.

    Args:
      learning_rate: Maximum step size; a number or a schedule. 1 suits most models.
      momentum: Decay of the averages.
      weight_decay: Weight-decay coefficient of the proximal step, which divides the whole by ``s``.
      lower_bound: Lower bound of the loss.
      adapt_lower_bound: Whether to raise the bound to what the steps reach.
      bias_correction: Whether to start the averages at 0 and divide by ``1 - momentum**t``.
      state_dtype: Dtype of the averaged gradient. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `MomoMethodState`.

    Raises:
      ValueError: If an argument is outside its range, or ``update`` lacks ``value``.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.momo()
      >>> params = jnp.array([3.0])  # of the loss p**2 / 2
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(params, state, params, value=4.5)
      >>> updates.tolist()
      [-1.5]

    References:
      Schaipp, Ohana, Eickenberg, Defazio & Gower 2024 (arXiv 2305.07583). It matches momo-opt
      0.1.0; optax's ``momo`` divides ``x`` by ``s`` but not the step.
    """

    needs_value: ClassVar[bool] = True
    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    momentum: DecayRate = 0.9
    weight_decay: NonNegativeFloat = 0.0
    lower_bound: float = 0.0
    adapt_lower_bound: bool = False
    bias_correction: bool = False
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> MomoMethodState:
        """Return averages of 0."""
        return _init_momo(optax.tree.zeros_like(params), None, self.lower_bound)

    def sums(self, inputs: MethodInputs[MomoMethodState]) -> tuple[optax.Updates, ...]:
        """Return ``<x, g>``, ``<x, m>`` and ``|m|**2``, of the new ``m``."""
        params, mu = inputs.params, self._mu(inputs)
        return optax.tree.mul(params, inputs.gradients), optax.tree.mul(params, mu), tree_square(mu)

    def update(self, inputs: MethodInputs[MomoMethodState]) -> MethodOutput:
        """Return the proximal step along ``m``."""
        state, (params_grad, params_mu, mu_norm_sq) = inputs.state, inputs.sums
        weight = self._weight(inputs)

        # Averages of the model.
        averaged = MomoMethodState(
            mu=self._mu(inputs),
            nu=None,
            value_avg=state.value_avg + weight * (inputs.value - state.value_avg),
            param_grad_avg=state.param_grad_avg + weight * (params_grad - state.param_grad_avg),
            lower_bound=state.lower_bound,
            num_updates=state.num_updates + 1,
        )

        # Step size of the model.
        shrink = 1 + inputs.outer_rate * self.weight_decay
        is_corrected = self.bias_correction
        bias = (
            inputs.bias_correction_factor(self.momentum) if is_corrected else jnp.ones_like(shrink)
        )
        step_size, bound = _step_and_bound(
            averaged,
            inputs.outer_rate,
            shrink,
            bias,
            params_mu,
            mu_norm_sq,
            self.lower_bound,
            self.adapt_lower_bound,
        )

        def updates(kept: MomoMethodState) -> optax.Updates:
            return jax.tree.map(
                lambda x, m: (x - step_size * m) / shrink - x, inputs.params, kept.mu
            )

        return MethodOutput(updates, averaged._replace(lower_bound=bound), step_size)

    def _weight(self, inputs: MethodInputs[MomoMethodState]) -> jax.Array:
        """Return the weight of the new values in the averages."""
        weight = jnp.asarray(1 - self.momentum, inputs.value.dtype)
        if self.bias_correction:
            return weight
        return jnp.where(inputs.state.num_updates == 0, 1.0, weight)

    def _mu(self, inputs: MethodInputs[MomoMethodState]) -> optax.Updates:
        """Return the new ``m``."""
        weight = self._weight(inputs)
        return jax.tree.map(lambda m, g: m + weight * (g - m), inputs.state.mu, inputs.gradients)


@dataclasses.dataclass(frozen=True)
class MomoAdam(AdaptiveMethod[MomoMethodState]):
    """MoMo-Adam: `momo` in the metric of Adam, ``D = sqrt(v / (1 - b2**t)) + eps``.

    It is `momo` with ``bias_correction``, with ``<m, m / D>`` in place of ``|m|**2`` and the step
    ``n m / D``.

    Args:
      learning_rate: Maximum step size; a number or a schedule.
      b1: Decay of the averages of gradients and losses.
      b2: Decay of the second moment.
      eps: Term added to the root of the second moment.
      weight_decay: Weight-decay coefficient.
      divide: Whether to use the exact proximal step, which divides by ``1 + rate_t weight_decay``,
        instead of AdamW's factor ``1 - rate_t weight_decay``.
      lower_bound: Lower bound of the loss.
      adapt_lower_bound: Whether to raise the bound to what the steps reach.
      state_dtype: Dtype of the averages of the gradients. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `MomoMethodState`.

    Raises:
      ValueError: If an argument is outside its range, or ``update`` lacks ``value``.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.momo_adam(1.0)
      >>> params = jnp.array([3.0])  # of the loss p**2 / 2
      >>> state = optimizer.init(params)
      >>> updates, state = optimizer.update(params, state, params, value=4.5)
      >>> round(float(updates[0]), 4)
      -1.0

    References:
      Schaipp, Ohana, Eickenberg, Defazio & Gower 2024 (arXiv 2305.07583). It matches momo-opt
      0.1.0.
    """

    needs_value: ClassVar[bool] = True
    learning_rate: LearningRate = 1e-2
    _: dataclasses.KW_ONLY
    b1: DecayRate = 0.9
    b2: DecayRate = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    divide: bool = True
    lower_bound: float = 0.0
    adapt_lower_bound: bool = False
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> MomoMethodState:
        """Return averages of 0."""
        return _init_momo(
            optax.tree.zeros_like(params), optax.tree.zeros_like(params), self.lower_bound
        )

    def sums(self, inputs: MethodInputs[MomoMethodState]) -> tuple[optax.Updates, ...]:
        """Return ``<x, g>``, ``<x, m>`` and ``<m, m / D>``, of the new ``m`` and ``D``."""
        mu, nu = self._moments(inputs)
        direction = self._direction(inputs, mu, nu)
        return (
            optax.tree.mul(inputs.params, inputs.gradients),
            optax.tree.mul(inputs.params, mu),
            optax.tree.mul(mu, direction),
        )

    def update(self, inputs: MethodInputs[MomoMethodState]) -> MethodOutput:
        """Return the step along ``m / D``."""
        state, (params_grad, params_mu, mu_norm_sq) = inputs.state, inputs.sums
        mu, nu = self._moments(inputs)

        # Averages of the model.
        averaged = MomoMethodState(
            mu=mu,
            nu=nu,
            value_avg=self.b1 * state.value_avg + (1 - self.b1) * inputs.value,
            param_grad_avg=self.b1 * state.param_grad_avg + (1 - self.b1) * params_grad,
            lower_bound=state.lower_bound,
            num_updates=state.num_updates + 1,
        )

        # Step size of the model.
        shrink = 1 + inputs.outer_rate * self.weight_decay
        step_size, bound = _step_and_bound(
            averaged,
            inputs.outer_rate,
            shrink,
            inputs.bias_correction_factor(self.b1),
            params_mu,
            mu_norm_sq,
            self.lower_bound,
            self.adapt_lower_bound,
        )

        def updates(kept: MomoMethodState) -> optax.Updates:
            direction = self._direction(inputs, kept.mu, kept.nu)
            if self.divide:
                return jax.tree.map(
                    lambda x, d: (x - step_size * d) / shrink - x, inputs.params, direction
                )
            steps = tree_descent(direction, step_size)
            return tree_decay(steps, inputs.params, self.weight_decay, inputs.outer_rate)

        return MethodOutput(updates, averaged._replace(lower_bound=bound), step_size)

    def _moments(
        self, inputs: MethodInputs[MomoMethodState]
    ) -> tuple[optax.Updates, optax.Updates]:
        """Return the new ``m`` and ``v``."""
        state, gradients = inputs.state, inputs.gradients
        mu = tree_ema(state.mu, gradients, self.b1)
        return mu, tree_ema(state.nu, tree_square(gradients), self.b2)

    def _direction(
        self, inputs: MethodInputs[MomoMethodState], mu: optax.Updates, nu: optax.Updates
    ) -> optax.Updates:
        """Return ``m / D``."""
        # One division of scalars: TPUs take several instructions for the division of each entry.
        inverse = 1 / inputs.bias_correction_factor(self.b2)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v * inverse) + self.eps), mu, nu)


polyak = adaptive_transform(Polyak)
alig = adaptive_transform(AliG)
momo = adaptive_transform(Momo)
momo_adam = adaptive_transform(MomoAdam)
