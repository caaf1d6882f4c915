"""A rate driven by the size of the gradients alone."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrsched.adaptive.base import (
    MethodInputs,
    MethodOutput,
    adaptive_transform,
    state_scalar,
    tree_descent,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import PositiveFloat, validate_arguments


class AdaGradNormMemory(NamedTuple):
    """What `adagrad_norm` remembers.

    Attributes:
      total: float32 scalar, ``b_t**2``.
    """

    total: jax.Array


@validate_arguments
def adagrad_norm(
    learning_rate: LearningRate, *, b0: PositiveFloat = 0.1
) -> optax.GradientTransformationExtraArgs:
    """AdaGrad-Norm: one rate for all parameters that falls as the gradients add up.

    ``u_t = -rate_t g_t / b_t`` with ``b_t**2 = b_{t-1}**2 + |g_t|**2``. It converges for any rate
    and any ``b0``; after a base optimizer such as ``optax.scale_by_adam()`` the norm is that of its
    updates.

    Args:
      learning_rate: the outer rate, a number or a schedule.
      b0: the first norm, above 0.

    Raises:
      ValueError: ``b0`` is not above 0.

    Source: Ward, Wu & Bottou 2019 (arXiv 1806.01811).

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.adagrad_norm(0.5, b0=3.0)
    >>> params = jnp.array([0.0, 4.0])
    >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
    >>> updates.tolist()
    [-0.0, -0.4000000059604645]
    """

    def init(params: Any) -> AdaGradNormMemory:
        del params
        return AdaGradNormMemory(state_scalar(b0) ** 2)

    def move(step: MethodInputs[AdaGradNormMemory]) -> MethodOutput:
        total = step.memory.total + step.square
        rate = step.rate / jnp.sqrt(total)
        return MethodOutput(
            lambda _: tree_descent(step.gradients, rate), AdaGradNormMemory(total), rate
        )

    return adaptive_transform("adagrad_norm", learning_rate, init, move)
