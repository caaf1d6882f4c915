"""Distance over gradients: step sizes from the distance travelled and the gradients' norms."""

import dataclasses
from typing import TYPE_CHECKING, NamedTuple

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
    tree_add_scaled,
    tree_descent,
    tree_square,
    zero_count,
)
from lrsched.algebra import LearningRate
from lrsched.arguments import Dtype, NonNegativeFloat, PositiveFloat

if TYPE_CHECKING:
    import chex


class DistanceMethodState(NamedTuple):
    """State of `dog`, `ldog` and `dowg`.

    Attributes:
      params0: ``x_0``, the initial parameters.
      max_distance: float32 scalar, ``r``, the largest distance from them so far; for `ldog` a tree
        of scalars, one for each array.
      grad_sq_sum: float32 scalar, ``G`` or ``v``, the sum of the squared gradient norms so far,
        weighted in `dowg`; for `ldog` a tree of scalars.
      num_updates: int32 scalar, the number of updates.
    """

    params0: optax.Params
    max_distance: "chex.ArrayTree"
    grad_sq_sum: "chex.ArrayTree"
    num_updates: jax.Array


Inputs = MethodInputs[DistanceMethodState]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _DistanceMethod(AdaptiveMethod[DistanceMethodState]):
    """What the three have in common: their options and their sums."""

    weight_decay: NonNegativeFloat = 0.0
    state_dtype: Dtype | None = None

    def sums(self, inputs: Inputs) -> tuple[optax.Updates, ...]:
        """Return squares of the distance to the initial parameters and of the gradients."""
        distance = optax.tree.sub(inputs.params, inputs.state.params0)
        return tree_square(distance), tree_square(self._gradients(inputs))

    def _gradients(self, inputs: Inputs) -> optax.Updates:
        return tree_add_scaled(inputs.gradients, inputs.params, self.weight_decay)


@dataclasses.dataclass(frozen=True)
class DoG(_DistanceMethod):
    """DoG, distance over gradients: SGD without a learning rate.

    ``eta_t = rate_t r_t / sqrt(G_t + eps)`` with ``r_t = max_{i<=t} |x_i - x_0|``, at least
    ``reps_rel (1 + |x_0|)``, and ``G_t = sum_{i<=t} |g_i|**2``; the update is ``-eta_t g_t``.

    Evaluate at an average of the iterates; the paper uses `polynomial_average`.

    Args:
      learning_rate: Outer rate, 1 in theory; a number or a schedule.
      reps_rel: Initial distance, relative to ``1 + |x_0|``.
      eps: Term added to the sum of squares once.
      init_eta: Size of the first step, in place of ``reps_rel``. Defaults to ``None``.
      weight_decay: Weight-decay coefficient; ``weight_decay * params`` is added to the gradients.
      state_dtype: Dtype of the copy of the initial parameters. Defaults to the parameter dtype, at
        least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `DistanceMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.dog(reps_rel=0.5)
      >>> params = jnp.array([3.0, 4.0])
      >>> updates, state = optimizer.update(jnp.array([0.0, 2.0]), optimizer.init(params), params)
      >>> updates.tolist(), float(lrsched.learning_rate(state))
      ([-0.0, -3.0], 1.5)

    References:
      Ivgi, Hinder & Carmon 2023 (arXiv 2302.12022). It matches dog-optimizer 1.0.3, in which the
      outer rate does not multiply ``init_eta`` either.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    reps_rel: PositiveFloat = 1e-6
    eps: PositiveFloat = 1e-8
    init_eta: PositiveFloat | None = None

    def init(self, params: optax.Params) -> DistanceMethodState:
        """Return the state at ``x_0``."""
        has_eta = self.init_eta is not None
        distance = 0.0 if has_eta else self.reps_rel * (1 + optax.tree.norm(params))
        return DistanceMethodState(
            params, state_scalar(distance), state_scalar(self.eps), zero_count()
        )

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the step of DoG."""
        state, (distance_sq, grad_sq) = inputs.state, inputs.sums
        max_distance = jnp.maximum(state.max_distance, jnp.sqrt(distance_sq))
        grad_sq_sum = state.grad_sq_sum + grad_sq
        eta = inputs.outer_rate * max_distance / jnp.sqrt(grad_sq_sum)
        if self.init_eta is not None:
            eta = jnp.where(state.num_updates == 0, self.init_eta, eta)
        new_state = DistanceMethodState(
            state.params0, max_distance, grad_sq_sum, state.num_updates + 1
        )
        gradients = self._gradients(inputs)
        return MethodOutput(lambda kept: tree_descent(gradients, eta), new_state, eta)


@dataclasses.dataclass(frozen=True)
class LDoG(_DistanceMethod):
    """LDoG: `dog` for each array of the parameters separately.

    ``learning_rate`` in the state is the mean of the step sizes of the arrays.

    Args:
      learning_rate: Outer rate; a number or a schedule.
      reps_rel: Initial distance of each array, relative to 1 plus its norm.
      eps: Term added to each sum of squares once.
      init_eta: Size of the first step, in place of ``reps_rel``. Defaults to ``None``.
      weight_decay: Weight-decay coefficient; ``weight_decay * params`` is added to the gradients.
      state_dtype: Dtype of the copy of the initial parameters. Defaults to the parameter dtype, at
        least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `DistanceMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.ldog(reps_rel=0.5)
      >>> params = {"a": jnp.array([1.0]), "b": jnp.array([3.0])}
      >>> updates, _ = optimizer.update(params, optimizer.init(params), params)
      >>> updates["a"].tolist(), updates["b"].tolist()
      ([-1.0], [-2.0])

    References:
      Ivgi, Hinder & Carmon 2023 (arXiv 2302.12022). It matches dog-optimizer 1.0.3.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    reps_rel: PositiveFloat = 1e-6
    eps: PositiveFloat = 1e-8
    init_eta: PositiveFloat | None = None

    def init(self, params: optax.Params) -> DistanceMethodState:
        """Return the state at ``x_0``."""

        def distance(leaf: jax.Array) -> jax.Array:
            has_eta = self.init_eta is not None
            return state_scalar(0 if has_eta else self.reps_rel * (1 + optax.tree.norm(leaf)))

        grad_sq_sum = jax.tree.map(lambda leaf: state_scalar(self.eps), params)
        return DistanceMethodState(
            params, jax.tree.map(distance, params), grad_sq_sum, zero_count()
        )

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the step of DoG for each array."""
        state, (distance_sq, grad_sq) = inputs.state, inputs.leaf_sums
        max_distance = jax.tree.map(
            lambda r, now: jnp.maximum(r, jnp.sqrt(now)), state.max_distance, distance_sq
        )
        grad_sq_sum = jax.tree.map(jnp.add, state.grad_sq_sum, grad_sq)
        etas = jax.tree.map(
            lambda r, total: inputs.outer_rate * r / jnp.sqrt(total), max_distance, grad_sq_sum
        )
        if (first := self.init_eta) is not None:
            is_first = state.num_updates == 0
            etas = jax.tree.map(lambda eta: jnp.where(is_first, first, eta), etas)
        mean = optax.tree.sum(etas) / max(len(jax.tree.leaves(etas)), 1)
        new_state = DistanceMethodState(
            state.params0, max_distance, grad_sq_sum, state.num_updates + 1
        )
        gradients = self._gradients(inputs)
        return MethodOutput(
            lambda kept: jax.tree.map(lambda g, eta: -eta * g, gradients, etas), new_state, mean
        )


@dataclasses.dataclass(frozen=True)
class DoWG(_DistanceMethod):
    """DoWG, distance over weighted gradients: `dog` with gradients weighted by the distance.

    ``eta_t = rate_t r_t**2 / sqrt(v_t + eps)`` with ``v_t = sum_{i<=t} r_i**2 |g_i|**2``.

    Args:
      learning_rate: Outer rate; a number or a schedule.
      reps_rel: Initial distance, relative to ``1 + |x_0|``.
      eps: Term added to the sum of squares once, times the square of the initial distance.
      weight_decay: Weight-decay coefficient; ``weight_decay * params`` is added to the gradients.
      state_dtype: Dtype of the copy of the initial parameters. Defaults to the parameter dtype, at
        least float32.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".

    Returns:
      An optax transform whose state is an `AdaptiveState` of a `DistanceMethodState`.

    Raises:
      ValueError: If an argument is outside its range.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.dowg(reps_rel=0.5)
      >>> params = jnp.array([3.0, 4.0])
      >>> updates, _ = optimizer.update(jnp.array([0.0, 2.0]), optimizer.init(params), params)
      >>> updates.tolist()
      [-0.0, -3.0]

    References:
      Khaled, Mishchenko & Jin 2023 (arXiv 2305.16284), algorithm 1. The ``dowg`` package makes no
      step without a closure, and clips gradients, which the paper does not.
    """

    learning_rate: LearningRate = 1.0
    _: dataclasses.KW_ONLY
    reps_rel: PositiveFloat = 1e-6
    eps: PositiveFloat = 1e-8

    def init(self, params: optax.Params) -> DistanceMethodState:
        """Return the state at ``x_0``."""
        distance = state_scalar(self.reps_rel * (1 + optax.tree.norm(params)))
        return DistanceMethodState(params, distance, distance**2 * self.eps, zero_count())

    def update(self, inputs: Inputs) -> MethodOutput:
        """Return the step of DoWG."""
        state, (distance_sq, grad_sq) = inputs.state, inputs.sums
        max_distance = jnp.maximum(state.max_distance, jnp.sqrt(distance_sq))
        grad_sq_sum = state.grad_sq_sum + max_distance**2 * grad_sq
        # At tiny distances the weighted sum underflows to 0.
        eta = inputs.outer_rate * safe_divide(max_distance**2, jnp.sqrt(grad_sq_sum))
        new_state = DistanceMethodState(
            state.params0, max_distance, grad_sq_sum, state.num_updates + 1
        )
        gradients = self._gradients(inputs)
        return MethodOutput(lambda kept: tree_descent(gradients, eta), new_state, eta)


dog = adaptive_transform(DoG)
ldog = adaptive_transform(LDoG)
dowg = adaptive_transform(DoWG)
