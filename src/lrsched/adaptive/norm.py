"""AdaGrad-Norm: a learning rate that depends on the norm of the gradients alone."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrsched.adaptive.base import (
    AdaptiveMethod,
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    state_scalar,
    tree_descent,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import PositiveFloat


class AdagradNormMethodState(NamedTuple):
    """State of `adagrad_norm`.

    Attributes:
      grad_sq_sum: float32 scalar, ``b_t**2``, the sum of the squared gradient norms.
    """

    grad_sq_sum: jax.Array


@dataclasses.dataclass(frozen=True)
class AdagradNorm(AdaptiveMethod[AdagradNormMethodState]):
    """AdaGrad-Norm: one rate for all parameters, which decreases as the gradients accumulate.

    ``u_t = -rate_t g_t / b_t`` with ``b_t**2 = b_{t-1}**2 + |g_t|**2``. It converges for any rate
    and any ``b0``. After a base optimizer such as ``optax.scale_by_adam()``, the norm is that of
    the base's updates.

    Args:
      learning_rate: Outer rate; a number or a schedule.
      b0: Initial norm.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of an `AdagradNormMethodState`.

    Raises:
      ValueError: If ``b0`` is not above 0.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.adagrad_norm(0.5, b0=3.0)
      >>> params = jnp.array([0.0, 4.0])
      >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
      >>> updates.tolist()
      [-0.0, -0.4000000059604645]

    References:
      Ward, Wu & Bottou 2019 (arXiv 1806.01811).
    """

    learning_rate: LearningRate
    _: dataclasses.KW_ONLY
    b0: PositiveFloat = 0.1

    def init(self, params: optax.Params) -> AdagradNormMethodState:
        """Return ``b_0**2``; the state does not depend on the parameters."""
        del params
        return AdagradNormMethodState(state_scalar(self.b0) ** 2)

    def update(self, inputs: MethodInputs[AdagradNormMethodState]) -> MethodOutput:
        """Return the step of gradient descent at ``rate_t / b_t``."""
        grad_sq_sum = inputs.state.grad_sq_sum + inputs.grad_norm_sq
        rate = inputs.outer_rate / jnp.sqrt(grad_sq_sum)
        return MethodOutput(
            lambda kept: tree_descent(inputs.gradients, rate),
            AdagradNormMethodState(grad_sq_sum),
            rate,
        )


adagrad_norm = adaptive_transform(AdagradNorm)
