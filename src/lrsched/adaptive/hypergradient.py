"""Hypergradient descent: learning the rate by gradient descent on the rate."""

import dataclasses
from typing import Annotated, ClassVar, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax

from lrsched.adaptive.base import (
    AdaptiveMethod,
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    safe_divide,
    state_scalar,
    tree_descent,
    tree_square,
    tree_where,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import (
    BaseOptimizer,
    DecayRate,
    Dtype,
    NonNegativeFloat,
    PositiveFloat,
    one_of,
)

UpdateRule: TypeAlias = Annotated[
    str, one_of("UpdateRule", ("multiplicative", "additive", "normalized"))
]
"""How a hypergradient changes the rate."""


class HypergradientMethodState(NamedTuple):
    """State of `hypergradient`.

    Attributes:
      base_state: State of the base optimizer.
      prev_direction: ``d_{t-1}``, the previous direction, a tree like the parameters.
      rate: float32 scalar, ``a_t``, the rate without the outer rate.
      outer_rate: float32 scalar, the outer rate of the previous update.
      grad_norm_sq: float32 scalar, ``|g_{t-1}|**2``.
    """

    base_state: optax.OptState
    prev_direction: optax.Updates
    rate: jax.Array
    outer_rate: jax.Array
    grad_norm_sq: jax.Array


@dataclasses.dataclass(frozen=True)
class Hypergradient(AdaptiveMethod[HypergradientMethodState]):
    """Hypergradient descent: raise the rate while gradients agree with the previous direction.

    With ``d_t`` the direction that the base makes of ``g_t`` and ``u_t = -rate_t a_t d_t``, before
    each update::

        h = <g_t, d_{t-1}>
        additive        a_t = a_{t-1} + b rate_{t-1} h
        multiplicative  a_t = a_{t-1} (1 + b h / (|g_t| |d_{t-1}|))
        normalized      a_t = a_{t-1} + b h / |g_{t-1}|**2

    The rate is never below 0. The multiplicative rule has no unit: ``b = 0.02`` suits most
    problems. The additive rule is Baydin's; its ``b`` is in units of a rate over a squared
    gradient, 1e-8 to 1e-3 in the paper. The normalized rule is the hypergradient feedback of OSGM,
    whose regret is provably small.

    Args:
      base: Transform that makes the direction, without a rate: ``optax.scale_by_adam()``,
        ``optax.trace(0.9)``. If ``None``, the direction is the gradient.
      learning_rate: Outer rate; a number or a schedule.
      initial_rate: ``a_0``.
      hypergradient_rate: ``b``.
      update_rule: Rule: "multiplicative", "additive" or "normalized".
      state_dtype: Dtype of the direction and of the base's state. Defaults to the parameter dtype,
        at least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `HypergradientMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.hypergradient(initial_rate=0.1, hypergradient_rate=0.5)
      >>> params = jnp.array([4.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(2):
      ...     updates, state = optimizer.update(params, state, params)
      ...     print(round(float(lrsched.learning_rate(state)), 4))
      0.1
      0.15

    References:
      Baydin, Cornish, Martinez Rubio, Schmidt & Wood 2018 (arXiv 1703.04782); Gao, Chu, Ye & Udell
      2024 (arXiv 2411.01803). The official AdamHD changes the rate between the arrays of one
      update; here, as in the paper, all arrays of an update have the same rate.
    """

    base: BaseOptimizer | None = None
    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    initial_rate: PositiveFloat = 1e-3
    hypergradient_rate: PositiveFloat = 0.02
    update_rule: UpdateRule = "multiplicative"
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> HypergradientMethodState:
        """Return the state at ``a_0``."""
        return HypergradientMethodState(
            base_state=self._base.init(params),
            prev_direction=optax.tree.zeros_like(params),
            rate=state_scalar(self.initial_rate),
            outer_rate=state_scalar(0),
            grad_norm_sq=state_scalar(0),
        )

    def sums(self, inputs: MethodInputs[HypergradientMethodState]) -> tuple[optax.Updates, ...]:
        """Return ``<g_t, d_{t-1}>`` and ``|d_{t-1}|**2``."""
        prev_direction = inputs.state.prev_direction
        return optax.tree.mul(inputs.gradients, prev_direction), tree_square(prev_direction)

    def update(self, inputs: MethodInputs[HypergradientMethodState]) -> MethodOutput:
        """Return the step of the base at the new rate."""
        state, (h, direction_norm_sq) = inputs.state, inputs.sums
        direction, base_state = inputs.update_base(self._base, state.base_state, inputs.params)

        # Hypergradient step of the rate.
        if self.update_rule == "multiplicative":
            norms = jnp.sqrt(inputs.grad_norm_sq) * jnp.sqrt(direction_norm_sq)
            change = state.rate * safe_divide(h, norms)
        elif self.update_rule == "additive":
            change = state.outer_rate * h
        else:
            change = safe_divide(h, state.grad_norm_sq)
        rate = jnp.maximum(state.rate + self.hypergradient_rate * change, 0)

        applied_rate = inputs.outer_rate * rate
        new_state = HypergradientMethodState(
            base_state, direction, rate, inputs.outer_rate, inputs.grad_norm_sq
        )
        return MethodOutput(
            lambda kept: tree_descent(kept.prev_direction, applied_rate), new_state, applied_rate
        )

    @property
    def _base(self) -> optax.GradientTransformation:
        return optax.identity() if self.base is None else self.base


class HDMMethodState(NamedTuple):
    """State of `hdm`.

    Attributes:
      best_grad: ``g(x)``, the gradient at the best parameters so far.
      param_offset: The parameters minus the best ones, ``y - x``.
      prev_step: ``x - x_before``, the step that led to the best parameters.
      param_rates: ``P``, one rate for each parameter.
      grad_sq_sum: The sums of the squared hypergradients of the rates.
      momentum: float32 scalar, ``m``.
      momentum_grad_sq_sum: float32 scalar, the sum of the squared hypergradients of the momentum.
      best_value: float32 scalar, ``f(x)``, the best loss so far.
      best_grad_norm_sq: float32 scalar, ``|g(x)|**2``.
    """

    best_grad: optax.Updates
    param_offset: optax.Updates
    prev_step: optax.Updates
    param_rates: optax.Updates
    grad_sq_sum: optax.Updates
    momentum: jax.Array
    momentum_grad_sq_sum: jax.Array
    best_value: jax.Array
    best_grad_norm_sq: jax.Array


@dataclasses.dataclass(frozen=True)
class HDM(AdaptiveMethod[HDMMethodState]):
    """HDM: hypergradient descent on a rate for each parameter and on a heavy-ball momentum.

    For smooth losses of all data, not of mini-batches. With ``x`` the best parameters so far,
    ``y = x - P g(x) + m (x - x_before)`` is tried, and both learn from the gradient there, by
    AdaGrad::

        P += b (g(y) g(x) / |g(x)|**2) / sqrt(sum of its squares)
        m -= b_m (<g(y), x - x_before> / |g(x)|**2) / sqrt(sum of its squares), in [0, 0.9995]

    If ``f(y)`` is not below ``f(x)``, the next update starts from ``x`` again (a null step): the
    parameters after such an update are a trial. Needs ``update(..., value=loss)``. `learning_rate`
    is the mean of ``P`` times the outer rate.

    Args:
      learning_rate: Outer rate; a number or a schedule.
      hypergradient_rate: ``b``, in units of a rate: about ``1 / L`` for an ``L``-smooth loss.
      momentum: Initial ``m``.
      momentum_rate: ``b_m``.
      eps: Term added to norms and roots.
      state_dtype: Dtype of the five copies of the parameters in the state. Defaults to the
        parameter dtype, at least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of an `HDMMethodState`.

    Raises:
      ValueError: If an argument is outside its range, or ``update`` lacks ``value``.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer, curvature = lrsched.hdm(), jnp.array([1.0, 10.0])
      >>> params = jnp.array([3.0, -2.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(100):
      ...     loss, gradient = jnp.sum(curvature * params**2) / 2, curvature * params
      ...     updates, state = optimizer.update(gradient, state, params, value=loss)
      ...     params = optax.apply_updates(params, updates)
      >>> bool(state.method_state.best_value < 1e-6)
      True

    References:
      Chu, Gao, Ye & Udell 2025 (arXiv 2502.11229), with ``P`` from 0 as in their code.
    """

    needs_value: ClassVar[bool] = True
    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    hypergradient_rate: PositiveFloat = 0.1
    momentum: DecayRate = 0.95
    momentum_rate: NonNegativeFloat = 1.0
    eps: PositiveFloat = 1e-12
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> HDMMethodState:
        """Return the state with ``P = 0`` and no best loss yet."""
        zeros = optax.tree.zeros_like(params)
        return HDMMethodState(
            best_grad=zeros,
            param_offset=zeros,
            prev_step=zeros,
            param_rates=zeros,
            grad_sq_sum=zeros,
            momentum=state_scalar(self.momentum),
            momentum_grad_sq_sum=state_scalar(0),
            best_value=state_scalar(jnp.inf),
            best_grad_norm_sq=state_scalar(0),
        )

    def sums(self, inputs: MethodInputs[HDMMethodState]) -> tuple[optax.Updates, ...]:
        """Return ``<g(y), x - x_before>`` and the sum of ``P``."""
        param_rates, _ = self._param_rates(inputs)
        return optax.tree.mul(inputs.gradients, inputs.state.prev_step), param_rates

    def update(self, inputs: MethodInputs[HDMMethodState]) -> MethodOutput:
        """Return the updates from ``y`` to the next trial."""
        state, (agreement, rate_sum) = inputs.state, inputs.sums
        param_rates, grad_sq_sum = self._param_rates(inputs)

        # AdaGrad on the momentum.
        hypergrad = agreement / (state.best_grad_norm_sq + self.eps)
        momentum_grad_sq_sum = state.momentum_grad_sq_sum + hypergrad**2
        step = self.momentum_rate * hypergrad / (jnp.sqrt(momentum_grad_sq_sum) + self.eps)
        momentum = jnp.clip(state.momentum - step, 0, 0.9995)

        # Null step: unless the trial is better, the best parameters stay.
        is_better = inputs.value < state.best_value
        best_grad = tree_where(is_better, inputs.gradients, state.best_grad)
        prev_step = tree_where(
            is_better, state.param_offset, optax.tree.zeros_like(state.prev_step)
        )
        param_offset = jax.tree.map(
            lambda g, p, d: inputs.outer_rate * (momentum * d - p * g),
            best_grad,
            param_rates,
            prev_step,
        )
        new_state = HDMMethodState(
            best_grad=best_grad,
            param_offset=param_offset,
            prev_step=prev_step,
            param_rates=param_rates,
            grad_sq_sum=grad_sq_sum,
            momentum=momentum,
            momentum_grad_sq_sum=momentum_grad_sq_sum,
            best_value=jnp.where(is_better, inputs.value, state.best_value),
            best_grad_norm_sq=jnp.where(is_better, inputs.grad_norm_sq, state.best_grad_norm_sq),
        )

        def updates(kept: HDMMethodState) -> optax.Updates:
            return jax.tree.map(
                lambda new, old: new - jnp.where(is_better, 0, old),
                kept.param_offset,
                state.param_offset,
            )

        size = max(sum(leaf.size for leaf in jax.tree.leaves(param_rates)), 1)
        return MethodOutput(updates, new_state, inputs.outer_rate * rate_sum / size)

    def _param_rates(
        self, inputs: MethodInputs[HDMMethodState]
    ) -> tuple[optax.Updates, optax.Updates]:
        """Return the new ``P`` and the new sums of its squared hypergradients."""
        state, b = inputs.state, self.hypergradient_rate
        best_norm_sq = state.best_grad_norm_sq + self.eps
        hypergrads = jax.tree.map(
            lambda g, best: g * best / best_norm_sq, inputs.gradients, state.best_grad
        )
        grad_sq_sum = jax.tree.map(lambda s, h: s + h**2, state.grad_sq_sum, hypergrads)
        param_rates = jax.tree.map(
            lambda p, h, s: jnp.maximum(p + b * h / (jnp.sqrt(s) + self.eps), 0),
            state.param_rates,
            hypergrads,
            grad_sq_sum,
        )
        return param_rates, grad_sq_sum


hypergradient = adaptive_transform(Hypergradient)
hdm = adaptive_transform(HDM)
