"""Prodigy: Adam whose learning rate is an estimate of the distance to the solution."""

import dataclasses
import math
from typing import Annotated, NamedTuple, TypeAlias

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
    tree_abs,
    tree_add_scaled,
    tree_decay,
    tree_ema,
    tree_square,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import (
    DecayRate,
    Dtype,
    GrowthLimit,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    concrete_size,
    one_of,
)

SliceUnit: TypeAlias = Annotated[str, one_of("SliceUnit", ("number", "row"))]
"""What `prodigy` takes every ``slice_p``-th of."""


class ProdigyMethodState(NamedTuple):
    """State of `prodigy`.

    Attributes:
      params0: ``x_0``, the initial parameters, every ``slice_p``-th number or row.
      mu: ``m``, the first moment of ``d g``, a tree like the parameters.
      nu: ``v``, the second moment of ``d g``, a tree like the parameters.
      grad_sum: ``s``, the weighted sum of the gradients, every ``slice_p``-th number or row.
      numerator: float32 scalar, ``r``.
      estimate: float32 scalar, ``d``.
      max_estimate: float32 scalar, the largest ``d_coef r / |s|_1`` so far, which bounds ``d``.
      num_updates: int32 scalar, the number of updates at a rate above 0.
    """

    params0: optax.Params
    mu: optax.Updates
    nu: optax.Updates
    grad_sum: optax.Updates
    numerator: jax.Array
    estimate: jax.Array
    max_estimate: jax.Array
    num_updates: jax.Array


Inputs = MethodInputs[ProdigyMethodState]


@dataclasses.dataclass(frozen=True)
class Prodigy(AdaptiveMethod[ProdigyMethodState]):
    """Prodigy: Adam that estimates its learning rate ``d`` from the distance to ``x_0``.

    With ``n = rate_t`` (times Adam's bias correction if enabled)::

        r = b3 r + (d / d0) d n <g, x_0 - x>       s = b3 s + (d / d0) d n g
        m = b1 m + (1 - b1) d g                    v = b2 v + (1 - b2) d**2 g**2
        d = max(d, d_coef r / |s|_1), growing by at most growth_rate at a time
        x = x - n d m / (sqrt(v) + d eps), with the d before the update

    A rate of 0 and initial gradients of 0 leave parameters and state unchanged, so that a warmup
    from 0 is safe; optax's ``prodigy`` returns NaN from then on. It always corrects the bias of
    Adam's moments, which the authors' package leaves off by default, as here: with
    ``bias_correction=True`` the steps are optax's, from scratch and after `migrate`.

    Args:
      learning_rate: Outer rate, usually 1 with a decay; a number or a schedule.
      b1: Decay of the first moment; 0 disables the average.
      b2: Decay of the second moment.
      b3: Decay of the sums of the estimate. Defaults to ``sqrt(b2)``.
      eps: Term added to the root of the second moment, times ``d``.
      weight_decay: Weight-decay coefficient.
      decoupled: Whether to use decoupled (AdamW) weight decay. If ``False``, adds
        ``weight_decay * params`` to the gradients.
      bias_correction: Whether to use Adam's bias correction.
      safeguard_warmup: Whether to leave the rate out of ``s``, for a warmup.
      d0: Initial estimate.
      d_coef: Factor of the estimate; 0.5 or 2 instead of another rate.
      growth_rate: Maximum growth of ``d`` in one update; infinity disables the limit.
      slice_p: Estimates from every ``slice_p``-th parameter only: 11 saves most of the two copies
        of the parameters that the estimate needs. The last axis of an array should not be sharded.
      slice_by: "number" takes every ``slice_p``-th number of each array, as the authors' package
        does, which a TPU has to gather. "row" takes every ``slice_p``-th index of the last axis but
        one (the rows of a matrix; the input channels of a convolution), and all numbers of a
        vector. With a ``slice_p`` of 8 or 16, that divides the rows of a device, a TPU reads no
        more than the rows. Rows without gradients, such as those of unused tokens, add nothing to
        the estimate.
      state_dtype: Dtype of the per-parameter state. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `ProdigyMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax, jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.prodigy(lrsched.cosine(1.0, steps=200))
      >>> params = jnp.array([3.0, -2.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(200):
      ...     updates, state = optimizer.update(2 * params, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> bool(jnp.linalg.norm(params) < 0.1), bool(state.method_state.estimate > 0.1)
      (True, True)

    References:
      Mishchenko & Defazio 2024 (arXiv 2306.06101). It matches prodigyopt 1.1.2, except for
      ``b1=0``, where that uses the new ``d`` in one factor of the step: this implementation uses
      the old one, as for all ``b1`` and in the paper.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    b1: DecayRate = 0.9
    b2: DecayRate = 0.999
    b3: DecayRate | None = None
    eps: NonNegativeFloat = 1e-8
    weight_decay: NonNegativeFloat = 0.0
    decoupled: bool = True
    bias_correction: bool = False
    safeguard_warmup: bool = False
    d0: PositiveFloat = 1e-6
    d_coef: PositiveFloat = 1.0
    growth_rate: GrowthLimit = np.inf
    slice_p: PositiveInt = 1
    slice_by: SliceUnit = "number"
    state_dtype: Dtype | None = None

    def init(self, params: optax.Params) -> ProdigyMethodState:
        """Return the state at ``x_0``, with ``d = d0``."""
        params0 = self._slice(params)
        return ProdigyMethodState(
            params0=params0,
            mu=optax.tree.zeros_like(params),
            nu=optax.tree.zeros_like(params),
            grad_sum=optax.tree.zeros_like(params0),
            numerator=state_scalar(0),
            estimate=state_scalar(self.d0),
            max_estimate=state_scalar(self.d0),
            num_updates=zero_count(),
        )

    def sums(self, inputs: Inputs) -> tuple[optax.Updates, ...]:
        """Return ``<g, x_0 - x>`` and ``|s|_1``."""
        displacement = optax.tree.sub(inputs.state.params0, self._slice(inputs.params))
        gradients = self._slice(self._gradients(inputs))
        return optax.tree.mul(gradients, displacement), tree_abs(self._grad_sum(inputs))

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the step of Prodigy."""
        state, (progress, grad_sum_norm), d = inputs.state, inputs.sums, inputs.state.estimate
        gradients, rate = self._gradients(inputs), self._rate(inputs)

        # Distance estimate: it never decreases, and grows by at most growth_rate.
        numerator = self._b3 * state.numerator + d / self.d0 * rate * progress
        estimate = self.d_coef * safe_divide(numerator, grad_sum_norm)
        max_estimate = jnp.maximum(state.max_estimate, estimate)
        is_initial = d == state_scalar(self.d0).astype(d.dtype)
        grown = jnp.where(is_initial, jnp.maximum(d, estimate), d) * self.growth_rate
        new_d = jnp.minimum(max_estimate, grown)

        # Adam moments in units of d.
        mu = tree_ema(state.mu, gradients, self.b1, d)
        scaled = jax.tree.map(lambda g: d * g, gradients)
        nu = tree_ema(state.nu, tree_square(scaled), self.b2)

        # Before the first gradient all sums are 0: nothing decays, and no update is counted.
        has_gradients = grad_sum_norm > 0
        applied_rate = jnp.where(has_gradients, rate, 0)

        def updates(kept: ProdigyMethodState) -> optax.Updates:
            steps = jax.tree.map(
                lambda m, v: -applied_rate * safe_divide(m, jnp.sqrt(v) + new_d * self.eps),
                kept.mu,
                kept.nu,
            )
            decay = self.weight_decay if self.decoupled else 0
            return tree_decay(steps, inputs.params, decay, applied_rate)

        new_state = ProdigyMethodState(
            params0=state.params0,
            mu=mu,
            nu=nu,
            grad_sum=self._grad_sum(inputs),
            numerator=numerator,
            estimate=new_d,
            max_estimate=max_estimate,
            num_updates=state.num_updates + has_gradients,
        )
        return MethodOutput(updates, new_state, applied_rate, inputs.outer_rate > 0)

    @property
    def _b3(self) -> float:
        return self.b2**0.5 if self.b3 is None else self.b3

    def _gradients(self, inputs: Inputs) -> optax.Updates:
        decay = 0 if self.decoupled else self.weight_decay
        return tree_add_scaled(inputs.gradients, inputs.params, decay)

    def _rate(self, inputs: Inputs) -> jax.Array:
        """Return ``d n``."""
        rate = inputs.state.estimate * inputs.outer_rate
        if self.bias_correction:
            correction = inputs.bias_correction_factor
            rate *= jnp.sqrt(correction(self.b2)) / correction(self.b1)
        return rate

    def _grad_sum(self, inputs: Inputs) -> optax.Updates:
        """Return the new ``s``."""
        d = inputs.state.estimate
        weight = d / self.d0 * (d if self.safeguard_warmup else self._rate(inputs))
        gradients = self._slice(self._gradients(inputs))
        return jax.tree.map(
            lambda s, g: self._b3 * s + weight * g, inputs.state.grad_sum, gradients
        )

    def _slice(self, tree: optax.Updates) -> optax.Updates:
        stride = concrete_size("slice_p", self.slice_p)
        if stride == 1:
            return tree
        select = _every_row if self.slice_by == "row" else _every_number
        return jax.tree.map(lambda leaf: select(stride, leaf), tree)


def _every_row(stride: int, leaf: jax.Array) -> jax.Array:
    """Return every ``stride``-th row of a matrix, and other arrays whole.

    A matrix whose rows are sharded explicitly keeps its shape, with zeros in between.
    """
    if leaf.ndim < 2:
        return leaf
    *batch, rows, columns = leaf.shape
    if jax.typeof(leaf).sharding.spec[-2] is not None:
        return jnp.where(jnp.arange(rows)[:, None] % stride == 0, leaf, 0)
    if rows % stride:
        return leaf[..., ::stride, :]
    # A strided slice of a sharded axis would move rows between devices. The first row of each
    # group of rows stays where it is, as long as no group is split.
    return leaf.reshape(*batch, rows // stride, stride, columns)[..., 0, :]


def _every_number(stride: int, leaf: jax.Array) -> jax.Array:
    """Return every ``stride``-th number of the flattened array, with 0 for rows that lack one.

    Rows stay on their devices, which ``leaf.ravel()[::stride]`` would not keep. A vector, and an
    array whose last axis is sharded explicitly, keep their shape, with zeros in between.
    """
    *rows, columns = leaf.shape or (1,)
    row = jnp.arange(math.prod(rows)).reshape(rows)[..., None]
    first = -(row % stride) * (columns % stride) % stride  # column of the first number of each row
    if leaf.ndim < 2 or jax.typeof(leaf).sharding.spec[-1] is not None:
        is_selected = jnp.arange(columns) % stride == first
        return jnp.where(is_selected.reshape(leaf.shape), leaf, 0)
    groups = -(-columns // stride)
    padding = [(0, 0)] * len(rows) + [(0, groups * stride - columns)]
    grouped = jnp.pad(leaf, padding).reshape(*rows, groups, stride)
    return jnp.sum(jnp.where(jnp.arange(stride) == first[..., None], grouped, 0), axis=-1)


prodigy = adaptive_transform(Prodigy)
