"""Mechanic: the scale of the updates of any optimizer, found by betting on it."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.adaptive.base import (
    AdaptiveMethod,
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    tree_square,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import BaseOptimizer, Dtype, NonNegativeFloat, PositiveFloat, not_accepted


class MechanicMethodState(NamedTuple):
    """State of `mechanize`.

    Attributes:
      base_state: State of the base optimizer.
      delta: ``D``, the sum of the base's updates, a tree like the parameters.
      scales: float32 vector, ``s_beta`` of each ``beta``; their sum is ``s``.
      rewards: float32 vector, ``r`` of each ``beta``.
      variance: float32 vector, ``v``, the decayed sum of the squared gains and losses.
      max_abs_gain: float32 vector, ``m``, the decayed largest of them.
    """

    base_state: optax.OptState
    delta: optax.Updates
    scales: jax.Array
    rewards: jax.Array
    variance: jax.Array
    max_abs_gain: jax.Array


Inputs = MethodInputs[MechanicMethodState]


@dataclasses.dataclass(frozen=True)
class Mechanize(AdaptiveMethod[MechanicMethodState]):
    """Mechanic: any optimizer, with a schedule of which only the shape matters.

    The parameters are ``x_0 + s D``, ``D`` the sum of the base optimizer's updates. With
    ``h = <D, g + s_decay s |g| x' / |x'|>``, ``x'`` the parameters after the base's update alone,
    and for each ``beta``::

        m = max(beta m, |h|)           v = beta**2 v + h**2
        r = max(beta r - s_beta h, 0)      s_beta = (m s_init / n + r) / (sqrt(v) + eps)

    and ``s`` the sum of all ``s_beta``. `learning_rate` is ``s`` times the rates of the base.

    Args:
      base: Base optimizer with its schedule. Warmup and decay act as usual; the peak hardly
        matters.
      learning_rate: Factor of the base's updates; a number or a schedule.
      betas: Decays of the bets, each from 0 to below 1.
      s_decay: Strength of the decay of the scale by the parameters' norm.
      s_init: Factor of the initial scale, which is about ``1e-6 s_init / eps``.
      eps: Term added to the root of the variance.
      state_dtype: Dtype of ``D`` and of the base's state. Defaults to the parameter dtype, at least
        float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `MechanicMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.mechanize(optax.sgd(1.0))
      >>> params = jnp.array([3.0, -2.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(50):
      ...     updates, state = optimizer.update(2 * params, state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> bool(jnp.linalg.norm(params) < 0.5)
      True

    References:
      Cutkosky, Defazio & Mehta 2023 (arXiv 2306.00144). It matches mechanic-pytorch 0.0.1 with
      ``store_delta=True``; the package's default computes ``D`` from the parameters, which loses
      it in float32 while ``s`` is small, and a fraction ``eps / s`` of it at every update. optax's
      ``mechanize`` starts ``s`` at ``s_init``, and clips rewards where they are used, not in the
      state.
    """

    base: BaseOptimizer
    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    betas: Sequence[float] = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999)
    s_decay: NonNegativeFloat = 0.01
    s_init: PositiveFloat = 1e-8
    eps: PositiveFloat = 1e-8
    state_dtype: Dtype | None = None

    def __post_init__(self) -> None:
        betas = self._betas
        if betas.ndim != 1 or not betas.size or np.any((betas < 0) | (betas >= 1)):
            requirement = "one or more numbers from 0 to below 1"
            raise not_accepted("mechanize", "betas", self.betas, requirement)

    def init(self, params: optax.Params) -> MechanicMethodState:
        """Return the state at ``D = 0``."""
        zeros = jnp.zeros(self._betas.size, jnp.result_type(float, *jax.tree.leaves(params)))
        return MechanicMethodState(
            base_state=self.base.init(params),
            delta=optax.tree.zeros_like(params),
            scales=zeros,
            rewards=zeros,
            variance=zeros,
            max_abs_gain=jnp.full_like(zeros, 1e-6),
        )

    def sums(self, inputs: Inputs) -> tuple[optax.Updates, ...]:
        """Return ``|x'|**2``, ``<D, g>`` and ``<D, x'>``."""
        updates, _ = self._base_updates(inputs)
        ahead = jax.tree.map(jnp.add, inputs.params, updates)
        delta = inputs.state.delta
        return (
            tree_square(ahead),
            optax.tree.mul(delta, inputs.gradients),
            optax.tree.mul(delta, ahead),
        )

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the updates from ``x_0 + s D`` with the old ``s`` and ``D`` to the new ones."""
        state, (ahead_sq, gain, delta_ahead) = inputs.state, inputs.sums
        updates, base_state = self._base_updates(inputs)

        # Loss of the bet, with the decay of the scale.
        scale = jnp.sum(state.scales)
        decay = self.s_decay * scale * jnp.sqrt(inputs.grad_norm_sq)
        h = gain + decay / (jnp.sqrt(ahead_sq) + self.eps) * delta_ahead

        # Tuner: one bet for each beta.
        beta = jnp.asarray(self._betas, h.dtype)
        max_abs_gain = jnp.maximum(beta * state.max_abs_gain, jnp.abs(h))
        variance = beta**2 * state.variance + h**2
        rewards = jnp.maximum(beta * state.rewards - state.scales * h, 0)
        wealth = max_abs_gain * self.s_init / self._betas.size + rewards
        scales = wealth / (jnp.sqrt(variance) + self.eps)
        new_scale = jnp.sum(scales)

        def scaled_updates(kept: MechanicMethodState) -> optax.Updates:
            return jax.tree.map(
                lambda new, old: new_scale * new - scale * old, kept.delta, state.delta
            )

        delta = jax.tree.map(jnp.add, state.delta, updates)
        new_state = MechanicMethodState(base_state, delta, scales, rewards, variance, max_abs_gain)
        return MethodOutput(scaled_updates, new_state, new_scale * inputs.outer_rate)

    @property
    def _betas(self) -> np.ndarray:
        return np.asarray(self.betas, np.float64)

    def _base_updates(self, inputs: Inputs) -> tuple[optax.Updates, optax.OptState]:
        updates, base_state = inputs.update_base(self.base, inputs.state.base_state, inputs.params)
        return jax.tree.map(lambda u: inputs.outer_rate * u, updates), base_state


mechanize = adaptive_transform(Mechanize)
