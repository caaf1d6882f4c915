"""Prodigy: Adam whose learning rate is an estimate of the distance to the solution."""

import math
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
    DecayRate,
    GrowthLimit,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    validate_arguments,
)


class ProdigyMemory(NamedTuple):
    """What `prodigy` remembers.

    Attributes:
      start: the parameters at the beginning, every ``slice_p``-th.
      first: the first moment.
      second: the second moment.
      total: the weighted sum of the gradients, every ``slice_p``-th.
      numerator: float32 scalar, the numerator of the estimate.
      estimate: float32 scalar, ``d``.
      largest: float32 scalar, the largest estimate so far, which ``d`` grows to.
      steps: int32 scalar, the updates with a rate above 0.
    """

    start: Any
    first: Any
    second: Any
    total: Any
    numerator: jax.Array
    estimate: jax.Array
    largest: jax.Array
    steps: jax.Array


def _every(stride: int, leaf: jax.Array) -> jax.Array:
    """Every so-manyth number of the flattened array, row by row, with 0 where a row has one less.

    Rows stay on their devices, which a slice of ``leaf.ravel()`` would not leave them on. A vector
    keeps its length, with 0 between.
    """
    if leaf.ndim < 2:
        return jnp.where(jnp.arange(leaf.size).reshape(leaf.shape) % stride == 0, leaf, 0)
    *rows, columns = leaf.shape
    row = jnp.arange(math.prod(rows)).reshape(rows)[..., None, None]
    first = -(row % stride) * (columns % stride) % stride
    groups = -(-columns // stride)
    padding = [(0, 0)] * len(rows) + [(0, groups * stride - columns)]
    grouped = jnp.pad(leaf, padding).reshape(*rows, groups, stride)
    return jnp.sum(jnp.where(jnp.arange(stride) == first, grouped, 0), axis=-1)


@validate_arguments
def prodigy(
    learning_rate: LearningRate = 1.0,
    *,
    b1: DecayRate = 0.9,
    b2: DecayRate = 0.999,
    b3: DecayRate | None = None,
    eps: NonNegativeFloat = 1e-8,
    weight_decay: NonNegativeFloat = 0.0,
    decoupled: bool = True,
    bias_correction: bool = False,
    safeguard_warmup: bool = False,
    d0: PositiveFloat = 1e-6,
    d_coef: PositiveFloat = 1.0,
    growth_rate: GrowthLimit = np.inf,
    slice_p: PositiveInt = 1,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Prodigy: Adam that estimates its rate, ``d``, from how far the parameters have come.

    With the rate ``n = rate_t`` (times Adam's bias correction if asked for)::

        r = b3 r + (d / d0) d n <g, x_0 - x>       s = b3 s + (d / d0) d n g
        m = b1 m + (1 - b1) d g                    v = b2 v + (1 - b2) d**2 g**2
        d = max(d, d_coef r / |s|_1), growing by at most growth_rate at a time
        x = x - n d m / (sqrt(v) + d eps), with the d of before

    A rate of 0 and gradients of 0 from the start leave everything as it is, so that a warmup from 0
    is safe: optax's is NaN for ever after it.

    Args:
      learning_rate: the outer rate, 1 in general; a number or a schedule. A decay is worth it.
      b1: decay of the first moment; 0 keeps none in use.
      b2: decay of the second moment.
      b3: decay of the estimate's sums, ``sqrt(b2)`` by default.
      eps: added to the root of the second moment, times ``d``.
      weight_decay: decoupled, times the parameters and the step, or else added to the gradients.
      decoupled: which of the two.
      bias_correction: Adam's, which optax's ``prodigy`` always has.
      safeguard_warmup: leave the rate out of ``s``, for a warmup.
      d0: the first estimate.
      d_coef: times the estimate; 0.5 or 2 rather than another rate.
      growth_rate: the most that ``d`` grows by at one update; infinity is no limit.
      slice_p: estimate from every ``slice_p``-th parameter only: 11 saves most of the two copies.
        Cheap only where the last axis of an array is not cut over devices.
      state_dtype: of what is kept for each parameter.

    Raises:
      ValueError: an option that is not in its range.

    Source: Mishchenko & Defazio 2024 (arXiv 2306.06101); matches prodigyopt 1.1.2, but for
    ``b1=0``, where that takes the new ``d`` for one factor of the step: here it is the old one, as
    for all ``b1`` and in the paper.

    >>> import jax, jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.prodigy(lrsched.cosine(1.0, steps=200))
    >>> params = jnp.array([3.0, -2.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(200):
    ...     updates, state = optimizer.update(2 * params, state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> bool(jnp.linalg.norm(params) < 0.1), bool(state.memory.estimate > 0.1)
    (True, True)
    """
    decay = b2**0.5 if b3 is None else b3

    def sliced(tree: Any) -> Any:
        if slice_p == 1:
            return tree
        return jax.tree.map(lambda leaf: _every(slice_p, leaf), tree)

    def init(params: Any) -> ProdigyMemory:
        start = sliced(params)
        return ProdigyMemory(
            start,
            tree_zeros_like(params),
            tree_zeros_like(params),
            tree_zeros_like(start),
            state_scalar(0),
            state_scalar(d0),
            state_scalar(d0),
            zero_count(),
        )

    def prepare(step: MethodInputs[ProdigyMemory]) -> tuple[Any, jax.Array, Any]:
        """The gradients, ``d n`` and the new ``s``."""
        memory, gradients = step.memory, step.gradients
        if not decoupled:
            gradients = tree_add_scaled(gradients, step.params, weight_decay)
        length = memory.estimate * step.rate
        if bias_correction:
            length *= jnp.sqrt(step.bias_correction_factor(b2)) / step.bias_correction_factor(b1)
        weight = memory.estimate / d0 * (memory.estimate if safeguard_warmup else length)
        total = jax.tree.map(lambda s, g: decay * s + weight * g, memory.total, sliced(gradients))
        return gradients, length, total

    def measure(step: MethodInputs[ProdigyMemory]) -> tuple[Any, ...]:
        gradients, _, total = step.prepared
        back = jax.tree.map(jnp.subtract, step.memory.start, sliced(step.params))
        return tree_mul(sliced(gradients), back), tree_abs(total)

    def move(step: MethodInputs[ProdigyMemory]) -> MethodOutput:
        memory, (progress, size) = step.memory, step.sums
        gradients, length, total = step.prepared
        old = memory.estimate
        numerator = decay * memory.numerator + old / d0 * length * progress
        first = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * old * g, memory.first, gradients)
        second = jax.tree.map(
            lambda v, g: b2 * v + (1 - b2) * (old * g) ** 2, memory.second, gradients
        )
        found = d_coef * safe_divide(numerator, size)
        largest = jnp.maximum(memory.largest, found)
        grown = jnp.where(old == state_scalar(d0).astype(old.dtype), jnp.maximum(old, found), old)
        new = jnp.minimum(largest, grown * growth_rate)

        def updates(kept: ProdigyMemory) -> Any:
            moved = jax.tree.map(
                lambda m, v: -length * safe_divide(m, jnp.sqrt(v) + new * eps),
                kept.first,
                kept.second,
            )
            return (
                tree_add_scaled(moved, step.params, -weight_decay * length) if decoupled else moved
            )

        after = ProdigyMemory(
            memory.start, first, second, total, numerator, new, largest, memory.steps + 1
        )
        return MethodOutput(updates, after, length, (step.rate > 0) & (size > 0))

    return adaptive_transform(
        "prodigy",
        learning_rate,
        init,
        move,
        measure,
        prepare=prepare,
        sums_see_all=slice_p == 1,
        state_dtype=state_dtype,
    )
