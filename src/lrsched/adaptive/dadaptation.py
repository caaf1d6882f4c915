"""D-Adaptation: optimizers that scale their steps by an estimate of the distance."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched.adaptive.base import (
    AdaptiveMethod,
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    safe_divide,
    state_scalar,
    tree_abs,
    tree_add_scaled,
    tree_decay,
    tree_descent,
    tree_ema,
    tree_square,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import DecayRate, Dtype, GrowthLimit, NonNegativeFloat, PositiveFloat


class DAdaptMethodState(NamedTuple):
    """State of the D-Adaptation methods.

    Attributes:
      estimate: float32 scalar, ``d``.
      numerator: float32 scalar, ``r``, the numerator of the estimate.
      normalizer: float32 scalar: ``|g_0|`` for `dadapt_sgd`, ``q`` for `dadapt_adagrad`, else 0.
      num_updates: int32 scalar, the number of updates at a rate above 0.
      grad_sum: ``s``, the weighted sum of the gradients (of `dadapt_lion`, of their signs), a tree
        like the parameters.
      params0: ``x_0``, the initial parameters, for `dadapt_sgd` and `dadapt_adagrad`, else
        ``None``.
      mu: ``m``, the first moment, for `dadapt_adamw` and `dadapt_lion`, else ``None``.
      nu: ``v``, the second moment, for `dadapt_adamw`; ``a``, the sum of squares, for
        `dadapt_adagrad`; else ``None``.
    """

    estimate: jax.Array
    numerator: jax.Array
    normalizer: jax.Array
    num_updates: jax.Array
    grad_sum: optax.Updates
    params0: optax.Params | None = None
    mu: optax.Updates | None = None
    nu: optax.Updates | None = None


Inputs = MethodInputs[DAdaptMethodState]


def _init(d0: ArrayLike, params: optax.Params, **trees: optax.Updates) -> DAdaptMethodState:
    return DAdaptMethodState(
        estimate=state_scalar(d0),
        numerator=state_scalar(0),
        normalizer=state_scalar(0),
        num_updates=zero_count(),
        grad_sum=optax.tree.zeros_like(params),
        **trees,
    )


def _grow(d: jax.Array, estimate: jax.Array, growth_rate: ArrayLike) -> jax.Array:
    """Return the new ``d``: it never decreases, and grows by at most ``growth_rate``."""
    return jnp.maximum(d, jnp.minimum(estimate, d * growth_rate))


def _relax(target: optax.Updates, params: optax.Params, momentum: float) -> optax.Updates:
    """Return the updates to ``momentum * params + (1 - momentum) * target``."""
    return jax.tree.map(lambda z, p: (1 - momentum) * (z - p), target, params)


@dataclasses.dataclass(frozen=True)
class DAdaptAdamW(AdaptiveMethod[DAdaptMethodState]):
    """D-Adaptation for Adam.

    With ``n = rate_t d`` (times Adam's bias correction if enabled) and ``q = sqrt(b2)``::

        r = q r + (1 - q) n <g, s / (sqrt(v) + eps)>      s = q s + (1 - q) n g
        m = b1 m + (1 - b1) n g                           v = b2 v + (1 - b2) g**2
        d = max(d, r / ((1 - q) |s|_1)), growing by at most growth_rate at a time
        x = x - m / (sqrt(v) + eps)

    A rate of 0 and initial gradients of 0 leave parameters and state unchanged; optax's
    ``dadapt_adamw`` returns NaN after either. It always corrects the bias of Adam's moments, which
    the authors' package leaves off by default, as here: with ``bias_correction=True`` the steps are
    optax's, from scratch and after `migrate`.

    Args:
      learning_rate: Outer rate, usually 1; a number or a schedule.
      b1: Decay of the first moment.
      b2: Decay of the second moment.
      eps: Term added to the root of the second moment.
      weight_decay: Weight-decay coefficient.
      decoupled: Whether to use decoupled (AdamW) weight decay. If ``False``, adds
        ``weight_decay * params`` to the gradients, the default of the original package.
      bias_correction: Whether to use Adam's bias correction.
      d0: Initial estimate.
      growth_rate: Maximum growth of ``d`` in one update; infinity disables the limit.
      state_dtype: Dtype of the per-parameter state. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `DAdaptMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.dadapt_adamw(lrsched.warmup(5))
      >>> params = jnp.array([3.0, -2.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(100):
      ...     updates, state = optimizer.update(2 * params, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> bool(jnp.all(jnp.isfinite(params))), bool(state.method_state.estimate > 1e-3)
      (True, True)

    References:
      Defazio & Mishchenko 2023 (arXiv 2301.07733). It matches dadaptation 3.2.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    b1: DecayRate = 0.9
    b2: DecayRate = 0.999
    eps: PositiveFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    decoupled: bool = True
    bias_correction: bool = False
    d0: PositiveFloat = 1e-6
    growth_rate: GrowthLimit = np.inf
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> DAdaptMethodState:
        """Return the state at ``x_0``, with ``d = d0``."""
        return _init(
            self.d0, params, mu=optax.tree.zeros_like(params), nu=optax.tree.zeros_like(params)
        )

    def sums(self, inputs: Inputs) -> tuple[optax.Updates, ...]:
        """Return ``<g, s / (sqrt(v) + eps)>`` and ``|s|_1``."""
        scaled = jax.tree.map(
            lambda s, v: s / (jnp.sqrt(v) + self.eps), inputs.state.grad_sum, inputs.state.nu
        )
        return optax.tree.mul(self._gradients(inputs), scaled), tree_abs(self._grad_sum(inputs))

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the step of Adam in units of ``d``."""
        state, (progress, grad_sum_norm) = inputs.state, inputs.sums
        gradients, rate, q = self._gradients(inputs), self._rate(inputs), self.b2**0.5

        # Distance estimate.
        numerator = q * state.numerator + (1 - q) * rate * progress
        estimate = safe_divide(numerator, (1 - q) * grad_sum_norm)
        new_d = _grow(state.estimate, estimate, self.growth_rate)

        # Adam moments, the first in units of the step.
        mu = tree_ema(state.mu, gradients, self.b1, rate)
        nu = tree_ema(state.nu, tree_square(gradients), self.b2)

        # Before the first gradient all sums are 0: nothing decays, and no update is counted.
        has_gradients = grad_sum_norm > 0
        applied_rate = jnp.where(has_gradients, rate, 0)

        def updates(kept: DAdaptMethodState) -> optax.Updates:
            steps = jax.tree.map(lambda m, v: -m / (jnp.sqrt(v) + self.eps), kept.mu, kept.nu)
            decay = self.weight_decay if self.decoupled else 0
            return tree_decay(steps, inputs.params, decay, applied_rate)

        new_state = state._replace(
            estimate=new_d,
            numerator=numerator,
            num_updates=state.num_updates + has_gradients,
            grad_sum=self._grad_sum(inputs),
            mu=mu,
            nu=nu,
        )
        return MethodOutput(updates, new_state, applied_rate, inputs.outer_rate > 0)

    def _gradients(self, inputs: Inputs) -> optax.Updates:
        decay = 0 if self.decoupled else self.weight_decay
        return tree_add_scaled(inputs.gradients, inputs.params, decay)

    def _rate(self, inputs: Inputs) -> jax.Array:
        """Return ``n``."""
        rate = inputs.state.estimate * inputs.outer_rate
        if self.bias_correction:
            correction = inputs.bias_correction_factor
            rate *= jnp.sqrt(correction(self.b2)) / correction(self.b1)
        return rate

    def _grad_sum(self, inputs: Inputs) -> optax.Updates:
        """Return the new ``s``."""
        return tree_ema(
            inputs.state.grad_sum, self._gradients(inputs), self.b2**0.5, self._rate(inputs)
        )


@dataclasses.dataclass(frozen=True)
class DAdaptSgd(AdaptiveMethod[DAdaptMethodState]):
    """D-Adaptation for SGD.

    With ``n = rate_t d / |g_0|``: ``r += n <g, s>``, ``s += n g``, ``d = max(d, 2 r / |s|)``, and
    the parameters relax to ``x_0 - s``: ``x = momentum x + (1 - momentum) (x_0 - s)``.

    A rate of 0, at which the original package fails, and gradients of 0 leave parameters and state
    unchanged.

    Args:
      learning_rate: Outer rate, usually 1; a number or a schedule.
      momentum: Decay of the relaxation, from 0 to below 1.
      weight_decay: Weight-decay coefficient; ``weight_decay * params`` is added to the gradients.
      d0: Initial estimate.
      growth_rate: Maximum growth of ``d`` in one update; infinity disables the limit.
      state_dtype: Dtype of the per-parameter state. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `DAdaptMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.dadapt_sgd(d0=0.5)
      >>> params = jnp.array([3.0])
      >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(params), params)
      >>> updates.tolist()
      [-0.5]

    References:
      Defazio & Mishchenko 2023 (arXiv 2301.07733). It matches dadaptation 3.2, whose ``|g_0|``
      excludes the weight decay.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    momentum: DecayRate = 0.0
    weight_decay: NonNegativeFloat = 0.0
    d0: PositiveFloat = 1e-6
    growth_rate: GrowthLimit = np.inf
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> DAdaptMethodState:
        """Return the state at ``x_0``, with ``d = d0``."""
        return _init(self.d0, params, params0=params)

    def sums(self, inputs: Inputs) -> tuple[optax.Updates, ...]:
        """Return ``<g, s>``, ``|g|**2`` and ``|s|**2``, of the ``s`` before the update."""
        gradients, grad_sum = self._gradients(inputs), inputs.state.grad_sum
        return optax.tree.mul(gradients, grad_sum), tree_square(gradients), tree_square(grad_sum)

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the relaxation to ``x_0 - s``."""
        state, (progress, grad_norm_sq, grad_sum_norm_sq) = inputs.state, inputs.sums

        # Step size, relative to the norm of the first gradient.
        is_first = state.num_updates == 0
        normalizer = jnp.where(is_first, jnp.sqrt(inputs.grad_norm_sq), state.normalizer)
        rate = safe_divide(state.estimate * inputs.outer_rate, normalizer)

        # Distance estimate. |s + n g|**2 is expanded, so that all sums come from one reduction.
        numerator = state.numerator + rate * progress
        new_norm_sq = grad_sum_norm_sq + 2 * rate * progress + rate**2 * grad_norm_sq
        norm = jnp.sqrt(jnp.maximum(new_norm_sq, 0))
        new_d = _grow(state.estimate, safe_divide(2 * numerator, norm), self.growth_rate)

        def updates(kept: DAdaptMethodState) -> optax.Updates:
            return _relax(optax.tree.sub(kept.params0, kept.grad_sum), inputs.params, self.momentum)

        new_state = state._replace(
            estimate=new_d,
            numerator=numerator,
            normalizer=normalizer,
            num_updates=state.num_updates + 1,
            grad_sum=tree_add_scaled(state.grad_sum, self._gradients(inputs), rate),
        )
        should_update = (inputs.outer_rate > 0) & (normalizer > 0)
        return MethodOutput(updates, new_state, rate, should_update)

    def _gradients(self, inputs: Inputs) -> optax.Updates:
        return tree_add_scaled(inputs.gradients, inputs.params, self.weight_decay)


@dataclasses.dataclass(frozen=True)
class DAdaptAdagrad(AdaptiveMethod[DAdaptMethodState]):
    """D-Adaptation for AdaGrad.

    With ``n = rate_t d``: ``a += g**2`` (from 1e-6), ``s += n g``, ``w = sqrt(a) + eps``,
    ``q += n**2 sum(g**2 / w)``, ``d = max(d, (sum(s**2 / w) - q) / |s|_1)``, and the parameters
    relax to ``x_0 - s / w``: ``x = momentum x + (1 - momentum) (x_0 - s / w)``.

    Args:
      learning_rate: Outer rate, usually 1; a number or a schedule. At a rate of 0 the weights ``w``
        still grow.
      momentum: Decay of the relaxation, from 0 to below 1.
      eps: Term added to the root of the sum of squares.
      weight_decay: Weight-decay coefficient; ``weight_decay * params`` is added to the gradients.
      d0: Initial estimate.
      growth_rate: Maximum growth of ``d`` in one update; infinity disables the limit.
      state_dtype: Dtype of the per-parameter state. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `DAdaptMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.dadapt_adagrad(d0=0.5)
      >>> params = jnp.array([3.0])
      >>> updates, _ = optimizer.update(jnp.array([4.0]), optimizer.init(params), params)
      >>> round(float(updates[0]), 4)
      -0.5

    References:
      Defazio & Mishchenko 2023 (arXiv 2301.07733). It matches dadaptation 3.2.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    momentum: DecayRate = 0.0
    eps: PositiveFloat = 1e-6
    weight_decay: NonNegativeFloat = 0.0
    d0: PositiveFloat = 1e-6
    growth_rate: GrowthLimit = np.inf
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> DAdaptMethodState:
        """Return the state at ``x_0``, with ``d = d0`` and ``a = 1e-6``."""
        nu = jax.tree.map(lambda p: jnp.full_like(p, 1e-6), params)
        return _init(self.d0, params, params0=params, nu=nu)

    def sums(self, inputs: Inputs) -> tuple[optax.Updates, ...]:
        """Return ``sum(g**2 / w)``, ``sum(s**2 / w)`` and ``|s|_1``, of the new ``s`` and ``w``."""
        grad_sum, weights = self._grad_sum(inputs), self._weights(self._nu(inputs))
        over_weights = [
            jax.tree.map(lambda x, w: x**2 / w, tree, weights)
            for tree in (self._gradients(inputs), grad_sum)
        ]
        return (*over_weights, tree_abs(grad_sum))

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the relaxation to ``x_0 - s / w``."""
        state, (grad_sq, grad_sum_sq, grad_sum_norm) = inputs.state, inputs.sums
        rate, has_gradients = self._rate(inputs), grad_sum_norm > 0

        # Distance estimate.
        normalizer = state.normalizer + rate**2 * grad_sq
        estimate = safe_divide(grad_sum_sq - normalizer, grad_sum_norm)
        new_d = _grow(state.estimate, estimate, self.growth_rate)

        def updates(kept: DAdaptMethodState) -> optax.Updates:
            target = jax.tree.map(
                lambda x, s, w: x - s / w, kept.params0, kept.grad_sum, self._weights(kept.nu)
            )
            relaxed = _relax(target, inputs.params, self.momentum)
            return jax.tree.map(lambda u: jnp.where(has_gradients, u, 0), relaxed)

        new_state = state._replace(
            estimate=jnp.where(inputs.outer_rate > 0, new_d, state.estimate),
            normalizer=normalizer,
            num_updates=state.num_updates + has_gradients,
            grad_sum=self._grad_sum(inputs),
            nu=self._nu(inputs),
        )
        return MethodOutput(updates, new_state, jnp.where(has_gradients, rate, 0))

    def _gradients(self, inputs: Inputs) -> optax.Updates:
        return tree_add_scaled(inputs.gradients, inputs.params, self.weight_decay)

    def _rate(self, inputs: Inputs) -> jax.Array:
        """Return ``n``."""
        return inputs.state.estimate * inputs.outer_rate

    def _grad_sum(self, inputs: Inputs) -> optax.Updates:
        """Return the new ``s``."""
        return tree_add_scaled(inputs.state.grad_sum, self._gradients(inputs), self._rate(inputs))

    def _nu(self, inputs: Inputs) -> optax.Updates:
        """Return the new ``a``."""
        return jax.tree.map(lambda a, g: a + g**2, inputs.state.nu, self._gradients(inputs))

    def _weights(self, nu: optax.Updates) -> optax.Updates:
        """Return ``w``."""
        return jax.tree.map(lambda a: jnp.sqrt(a) + self.eps, nu)


@dataclasses.dataclass(frozen=True)
class DAdaptLion(AdaptiveMethod[DAdaptMethodState]):
    """D-Adaptation for Lion.

    With ``n = rate_t d``, ``q = sqrt(b2)`` and ``u = sign(b1 m + (1 - b1) g)``::

        x = (1 - n weight_decay) x - n u          m = b2 m + (1 - b2) n g
        r = q r + (1 - q) n <u, s>                s = q s + (1 - q) n u
        d = max(d, r / ((1 - q) |s|_1))

    ``m`` is in units of the step and ``g`` is not, as in the original package. The estimate is
    known to overshoot at an outer rate of 1; use 0.1 to 0.5.

    Args:
      learning_rate: Outer rate; a number or a schedule.
      b1: Weight of the moment in the sign.
      b2: Decay of the moment.
      weight_decay: Decoupled weight-decay coefficient, times the step size.
      d0: Initial estimate.
      state_dtype: Dtype of the per-parameter state. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `DAdaptMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.dadapt_lion(d0=0.5)
      >>> params = jnp.array([3.0, 1.0])
      >>> updates, _ = optimizer.update(jnp.array([4.0, 0.0]), optimizer.init(params), params)
      >>> updates.tolist()
      [-0.5, -0.0]

    References:
      Defazio & Mishchenko 2023 (arXiv 2301.07733), Chen et al. 2023 (arXiv 2302.06675). It matches
      dadaptation 3.2.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    b1: DecayRate = 0.9
    b2: DecayRate = 0.99
    weight_decay: NonNegativeFloat = 0.0
    d0: PositiveFloat = 1e-6
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> DAdaptMethodState:
        """Return the state at ``x_0``, with ``d = d0``."""
        return _init(self.d0, params, mu=optax.tree.zeros_like(params))

    def sums(self, inputs: Inputs) -> tuple[optax.Updates, ...]:
        """Return ``<u, s>`` of the old ``s`` and ``|s|_1`` of the new one."""
        return (
            optax.tree.mul(self._signs(inputs), inputs.state.grad_sum),
            tree_abs(self._grad_sum(inputs)),
        )

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the step of Lion."""
        state, (progress, grad_sum_norm) = inputs.state, inputs.sums
        rate, q = self._rate(inputs), self.b2**0.5

        # Distance estimate.
        has_gradients = grad_sum_norm > 0
        numerator = q * state.numerator + (1 - q) * rate * progress
        estimate = safe_divide(numerator, (1 - q) * grad_sum_norm)
        new_d = jnp.maximum(state.estimate, estimate)

        def updates(kept: DAdaptMethodState) -> optax.Updates:
            del kept
            steps = tree_add_scaled(self._signs(inputs), inputs.params, self.weight_decay)
            return tree_descent(steps, rate)

        should_grow = has_gradients & (inputs.outer_rate > 0)
        new_state = state._replace(
            estimate=jnp.where(should_grow, new_d, state.estimate),
            numerator=jnp.where(has_gradients, numerator, state.numerator),
            num_updates=state.num_updates + has_gradients,
            grad_sum=self._grad_sum(inputs),
            mu=tree_ema(state.mu, inputs.gradients, self.b2, rate),
        )
        return MethodOutput(updates, new_state, rate)

    def _rate(self, inputs: Inputs) -> jax.Array:
        """Return ``n``."""
        return inputs.state.estimate * inputs.outer_rate

    def _signs(self, inputs: Inputs) -> optax.Updates:
        """Return ``u``."""
        return jax.tree.map(
            lambda m, g: jnp.sign(self.b1 * m + (1 - self.b1) * g),
            inputs.state.mu,
            inputs.gradients,
        )

    def _grad_sum(self, inputs: Inputs) -> optax.Updates:
        """Return the new ``s``."""
        return tree_ema(
            inputs.state.grad_sum, self._signs(inputs), self.b2**0.5, self._rate(inputs)
        )


dadapt_adamw = adaptive_transform(DAdaptAdamW)
dadapt_sgd = adaptive_transform(DAdaptSgd)
dadapt_adagrad = adaptive_transform(DAdaptAdagrad)
dadapt_lion = adaptive_transform(DAdaptLion)
