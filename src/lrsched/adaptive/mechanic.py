"""Mechanic: find the scale of any optimizer's updates by betting on them."""

from collections.abc import Sequence
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
    tree_mul,
    tree_square,
    tree_zeros_like,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import (
    BaseOptimizer,
    NonNegativeFloat,
    PositiveFloat,
    validate_arguments,
)


class MechanicMemory(NamedTuple):
    """What `mechanize` remembers.

    Attributes:
      base: the state of the base optimizer.
      delta: the sum of its updates.
      scales: float32 vector, the scale that each ``beta`` finds; they add up.
      rewards: float32 vector, what each has won.
      variance: float32 vector, the decayed sum of squares of what was won or lost.
      largest: float32 vector, the decayed largest of these.
    """

    base: optax.OptState
    delta: Any
    scales: jax.Array
    rewards: jax.Array
    variance: jax.Array
    largest: jax.Array


@validate_arguments
def mechanize(
    base: BaseOptimizer,
    learning_rate: LearningRate = 1.0,
    *,
    betas: Sequence[float] = (0.9, 0.99, 0.999, 0.9999, 0.99999, 0.999999),
    s_decay: NonNegativeFloat = 0.01,
    s_init: PositiveFloat = 1e-8,
    eps: PositiveFloat = 1e-8,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Mechanic: any optimizer, whose schedule needs a shape but no peak.

    The parameters are ``x_0 + s D``, ``D`` the sum of the base optimizer's updates. With
    ``h = <D, g + s_decay s |g| x' / |x'|>``, ``x'`` being where the base alone would go, and for
    each ``beta``::

        m = max(beta m, |h|)           v = beta**2 v + h**2
        r = max(beta r - s_beta h, 0)      s_beta = (m s_init / n + r) / (sqrt(v) + eps)

    and ``s`` the sum of all ``s_beta``. `learning_rate` is ``s`` times the rates of the base.

    Args:
      base: the optimizer with its schedule: warmup and decay work as ever, the peak hardly matters.
      learning_rate: what the base's updates are multiplied by, a number or a schedule.
      betas: how fast each of the bets forgets.
      s_decay: how strongly the scale is held back by the parameters' norm.
      s_init: the first scale is about ``1e-6 s_init / eps``.
      eps: added to the root.
      state_dtype: of ``D`` and of the base's state.

    Raises:
      ValueError: an option that is not in its range.

    Source: Cutkosky, Defazio & Mehta 2023 (arXiv 2306.00144); matches mechanic-pytorch 0.0.1 with
    ``store_delta=True``. Its default computes ``D`` from the parameters, which loses it in float32
    while ``s`` is small, and a part ``eps / s`` of it at every update. optax's has other numbers:
    its ``s`` starts at ``s_init``, and its rewards are clipped where they are used, not kept.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.mechanize(optax.sgd(1.0))
    >>> params = jnp.array([3.0, -2.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(50):
    ...     updates, state = optimizer.update(2 * params, state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> bool(jnp.linalg.norm(params) < 0.5)
    True
    """
    decay = np.asarray(betas, np.float64)
    if decay.ndim != 1 or not decay.size or np.any((decay < 0) | (decay >= 1)):
        raise ValueError(
            f"mechanize: betas={betas!r} is not accepted; betas must be one or more numbers from 0 "
            "to below 1."
        )

    def init(params: Any) -> MechanicMemory:
        none = jnp.zeros(decay.size, jnp.result_type(float, *jax.tree.leaves(params)))
        return MechanicMemory(
            base.init(params), tree_zeros_like(params), none, none, none, jnp.full_like(none, 1e-6)
        )

    def prepare(step: MethodInputs[MechanicMemory]) -> tuple[Any, Any, Any]:
        """The base's updates and its new state, and where it alone would go."""
        updates, state = step.base_updates(base, step.memory.base, step.params)
        updates = jax.tree.map(lambda u: step.rate * u, updates)
        return updates, state, jax.tree.map(jnp.add, step.params, updates)

    def measure(step: MethodInputs[MechanicMemory]) -> tuple[Any, ...]:
        _, _, ahead = step.prepared
        delta = step.memory.delta
        return tree_square(ahead), tree_mul(delta, step.gradients), tree_mul(delta, ahead)

    def move(step: MethodInputs[MechanicMemory]) -> MethodOutput:
        memory, (size, with_gradient, with_ahead) = step.memory, step.sums
        updates, state, _ = step.prepared
        old = jnp.sum(memory.scales)
        hold = s_decay * old * jnp.sqrt(step.square) / (jnp.sqrt(size) + eps)
        lost = with_gradient + hold * with_ahead
        beta = jnp.asarray(decay, lost.dtype)
        largest = jnp.maximum(beta * memory.largest, jnp.abs(lost))
        variance = beta**2 * memory.variance + lost**2
        rewards = jnp.maximum(beta * memory.rewards - memory.scales * lost, 0)
        scales = (largest * s_init / decay.size + rewards) / (jnp.sqrt(variance) + eps)
        new = jnp.sum(scales)
        delta = jax.tree.map(jnp.add, memory.delta, updates)

        def moved(kept: MechanicMemory) -> Any:
            return jax.tree.map(lambda now, d: new * now - old * d, kept.delta, memory.delta)

        after = MechanicMemory(state, delta, scales, rewards, variance, largest)
        return MethodOutput(moved, after, new * step.rate)

    return adaptive_transform(
        "mechanize", learning_rate, init, move, measure, prepare=prepare, state_dtype=state_dtype
    )
