"""Averages of the parameters, to evaluate in place of the latest ones.

The transforms of this module change no update. Each belongs at the end of a chain, where the
updates are those that will be added to the parameters; `lrsched.eval_params` returns the average.

An average is a frozen dataclass. Its fields are its hyperparameters; ``init`` returns its initial
state, and ``update`` adds the parameters after one more update. `track_average` turns it into an
optax transform.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike

from lrsched.adaptive._factory import make_factory
from lrsched.adaptive.base import bias_correction_factor, safe_divide, wide_dtype, zero_count
from lrsched.algebra import LearningRate, as_schedule
from lrsched.arguments import DecayRate, Dtype, NonNegativeFloat, PositiveInt, concrete_size
from lrsched.transforms.rate import evaluate_scalar, to_state, with_live_leaves

if TYPE_CHECKING:
    import chex

    from lrsched._schedule import Schedule


class AverageState(NamedTuple):
    """State of a running average of the parameters.

    Attributes:
      count: Number of updates, an int32 scalar.
      average: The average, a tree like the parameters, in ``dtype`` or at least float32.
      weight_sum: Sum of the weights, a float32 scalar. 0 for averages that do not need it.
      schedule: Schedule whose decay the weights follow, its numbers as arrays; of
        `annealing_average`, else `None`.
    """

    count: jax.Array  # type: ignore[assignment]
    average: optax.Params
    weight_sum: jax.Array
    schedule: Schedule | None


class LawaState(NamedTuple):
    """State of `lawa`.

    Attributes:
      count: Number of updates, an int32 scalar.
      updates_per_snapshot: Number of updates from one snapshot to the next, an int32 scalar.
      snapshots: Latest snapshots, a tree like the parameters of arrays with a new first axis of
        length ``num_snapshots``, filled in turn. Each is sharded like its parameter.
    """

    count: jax.Array  # type: ignore[assignment]
    updates_per_snapshot: jax.Array
    snapshots: optax.Params


class ParamAverage(NamedTuple):
    """Average that a state holds.

    Attributes:
      template: Tree like the parameters, with ``optax.MaskedNode`` for those that are not averaged.
      evaluate: ``params -> average``, both trees like ``template``.
    """

    template: optax.Params
    evaluate: Callable[[optax.Params], optax.Params]


@functools.singledispatch
def average_of(state: object) -> ParamAverage | None:
    """Return the average that a state of a registered type holds.

    Args:
      state: State of one transform.

    Returns:
      The average, or `None` for a state of any other type.
    """
    del state
    return None


@average_of.register
def _(state: AverageState) -> ParamAverage:
    return ParamAverage(state.average, lambda params: state.average)


@average_of.register
def _(state: LawaState) -> ParamAverage:
    def mean(snapshots: jax.Array, p: jax.Array) -> jax.Array:
        num_snapshots = snapshots.shape[0]
        num_taken = jnp.minimum(state.count // state.updates_per_snapshot, num_snapshots)
        weights = (jnp.arange(num_snapshots) < num_taken) / jnp.maximum(num_taken, 1)
        total = jnp.tensordot(weights, snapshots.astype(wide_dtype(snapshots.dtype)), 1)
        return jnp.where(num_taken > 0, total, p.astype(total.dtype))

    return ParamAverage(state.snapshots, lambda params: jax.tree.map(mean, state.snapshots, params))


class Average(Protocol):
    """Frozen dataclass that averages the parameters, for `track_average`."""

    def init(self, params: optax.Params) -> chex.ArrayTree:
        """Return the state before the first update.

        Args:
          params: The parameters.

        Returns:
          A NamedTuple with an int32 scalar ``count`` of 0.
        """

    def update(self, state: Any, params: optax.Params) -> chex.ArrayTree:
        """Return the state after one update.

        Args:
          state: State of the type that ``init`` returns. Its ``count`` is the number of updates
            before this one.
          params: The parameters after this update, as their own dtype holds them, then cast to
            float32 or wider.

        Returns:
          The new state. `track_average` increments its ``count``.
        """


def track_average(average: Average) -> optax.GradientTransformation:
    """Average the parameters after each update, without changing the updates.

    Args:
      average: The average, see `Average`.

    Returns:
      A transform whose state is that of ``average``. Its ``update`` needs the parameters.
    """

    def update(
        updates: optax.Updates, state: chex.ArrayTree, params: optax.Params | None = None
    ) -> tuple[optax.Updates, chex.ArrayTree]:
        if params is None:
            raise ValueError("an average needs the parameters: update(updates, state, params).")
        # Apply the updates in the parameters' dtype first: the average is of the parameters that
        # the next step reads, after rounding.
        new_params = jax.tree.map(
            lambda p: jnp.asarray(p, wide_dtype(jnp.result_type(p))),
            optax.apply_updates(params, updates),
        )
        new_state = average.update(state, new_params)
        return updates, new_state._replace(count=optax.safe_increment(state.count))

    return optax.GradientTransformation(average.init, update)


@dataclasses.dataclass(frozen=True)
class EmaParams:
    """Exponential moving average of the parameters, with bias correction.

    ``average += (1 - decay) / (1 - decay**t) (x_t - average)`` at the updates ``t = 1, 2, ...``.

    Args:
      decay: Decay of the average, in [0, 1). About ``1 / (1 - decay)`` updates are averaged.
      dtype: Dtype of the average. Defaults to that of the parameters, at least float32.

    Returns:
      An ``optax.GradientTransformation`` whose state is an `AverageState`.

    Raises:
      ValueError: If ``decay`` is out of its range.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = optax.chain(optax.sgd(1.0), lrsched.ema_params(0.5))
      >>> params = jnp.array([3.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(2):  # The parameter is 2, then 1.
      ...     updates, state = optimizer.update(jnp.array([1.0]), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> round(float(lrsched.eval_params(state, params)[0]), 4)
      1.3333
    """

    decay: DecayRate = 0.999
    _: dataclasses.KW_ONLY
    dtype: Dtype | None = None

    def init(self, params: optax.Params) -> AverageState:
        """Return the state before the first update."""
        return _init_average(params, self.dtype)

    def update(self, state: AverageState, params: optax.Params) -> AverageState:
        """Move the average towards the new parameters."""
        if isinstance(self.decay, jax.Array):
            correction = -jnp.expm1((state.count + 1.0) * jnp.log(self.decay))
        else:  # The logarithm of a Python number is known in float64.
            correction = bias_correction_factor(self.decay, state.count)
        fraction = (1 - self.decay) / correction
        return state._replace(average=_move(state.average, params, fraction))


ema_params = make_factory(EmaParams, track_average)


@dataclasses.dataclass(frozen=True)
class PolynomialAverage:
    """Average whose weights grow like ``t**gamma``, as for `dog`; ``gamma=0`` is the plain mean.

    ``average += (gamma + 1) / (gamma + t) (x_t - average)`` at the updates ``t = 1, 2, ...``.

    Args:
      gamma: Exponent of the weights, at least 0. 8 averages about the latest ninth of the run.
      dtype: Dtype of the average. Defaults to that of the parameters, at least float32.

    Returns:
      An ``optax.GradientTransformation`` whose state is an `AverageState`.

    Raises:
      ValueError: If ``gamma`` is negative.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = optax.chain(optax.sgd(1.0), lrsched.polynomial_average(0.0))
      >>> params = jnp.array([3.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(2):  # The parameter is 2, then 1.
      ...     updates, state = optimizer.update(jnp.array([1.0]), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> lrsched.eval_params(state, params).tolist()
      [1.5]

    References:
      Shamir and Zhang (2013), arXiv:1212.1824. The numbers are those of dog-optimizer 1.0.3.
    """

    gamma: NonNegativeFloat = 8.0
    _: dataclasses.KW_ONLY
    dtype: Dtype | None = None

    def init(self, params: optax.Params) -> AverageState:
        """Return the state before the first update."""
        return _init_average(params, self.dtype)

    def update(self, state: AverageState, params: optax.Params) -> AverageState:
        """Move the average towards the new parameters."""
        fraction = (self.gamma + 1) / (self.gamma + 1 + state.count)
        return state._replace(average=_move(state.average, params, fraction))


polynomial_average = make_factory(PolynomialAverage, track_average)


@dataclasses.dataclass(frozen=True)
class AnnealingAverage:
    """Average that has, at a constant rate, the effect of a decay of the rate.

    The parameters after update ``t`` have the weight ``max(s(t) - s(t + 1), 0)`` of a schedule
    ``s``. For gradients that do not depend on the rate, training at the peak of ``s`` with this
    average gives the parameters of training at ``s``: for a `wsd` schedule, those after its
    cooldown, without a cooldown. The average equals the parameters until ``s`` begins to fall.

    Args:
      schedule: Schedule that falls from its peak at some step.
      dtype: Dtype of the average. Defaults to that of the parameters, at least float32.

    Returns:
      An ``optax.GradientTransformation`` whose state is an `AverageState`.

    Raises:
      ValueError: If ``schedule`` is not a schedule, a number or a callable of the step.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = optax.chain(
      ...     optax.sgd(1.0), lrsched.annealing_average(lrsched.linear(1.0, 0.0, steps=4)))
      >>> params = jnp.array([0.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(4):
      ...     updates, state = optimizer.update(jnp.array([-1.0]), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> params.tolist(), lrsched.eval_params(state, params).tolist()  # 1 + 0.75 + 0.5 + 0.25
      ([4.0], [2.5])

    References:
      Sandler et al. (2023), arXiv:2301.02312, for the identity of averaging and annealing; Tian et
      al. (2025), arXiv:2507.17634, for merged checkpoints.
    """

    schedule: LearningRate
    _: dataclasses.KW_ONLY
    dtype: Dtype | None = None

    def init(self, params: optax.Params) -> AverageState:
        """Return the state before the first update."""
        schedule = to_state(as_schedule(self.schedule))
        return _init_average(params, self.dtype)._replace(schedule=schedule)

    def update(self, state: AverageState, params: optax.Params) -> AverageState:
        """Move the average towards the new parameters."""
        assert state.schedule is not None  # `init` keeps one
        schedule = with_live_leaves(state.schedule, as_schedule(self.schedule))
        now, following = (evaluate_scalar(schedule, state.count + ahead) for ahead in (0, 1))
        weight = jnp.maximum(now - following, 0)
        weight_sum = state.weight_sum + weight
        fraction = jnp.where(weight_sum > 0, safe_divide(weight, weight_sum), 1.0)
        average = _move(state.average, params, fraction)
        return state._replace(average=average, weight_sum=weight_sum, schedule=schedule)


annealing_average = make_factory(AnnealingAverage, track_average)


@dataclasses.dataclass(frozen=True)
class Lawa:
    """LAWA: mean of the latest ``num_snapshots`` snapshots, one every ``updates_per_snapshot``.

    Args:
      num_snapshots: Number of snapshots. The state holds that many copies of the parameters.
      updates_per_snapshot: Number of updates from one snapshot to the next.
      dtype: Dtype of the snapshots. Defaults to that of the parameters.

    Returns:
      An ``optax.GradientTransformation`` whose state is a `LawaState`.

    Raises:
      ValueError: If ``num_snapshots`` or ``updates_per_snapshot`` is not an integer of at least 1,
        or if ``num_snapshots`` is traced at ``init``.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = optax.chain(
      ...     optax.sgd(1.0), lrsched.lawa(num_snapshots=2, updates_per_snapshot=2))
      >>> params = jnp.array([0.0])
      >>> state = optimizer.init(params)
      >>> for _ in range(7):
      ...     updates, state = optimizer.update(jnp.array([-1.0]), state, params)
      ...     params = optax.apply_updates(params, updates)
      >>> lrsched.eval_params(state, params).tolist()  # The mean of 4 and 6.
      [5.0]

    References:
      Kaddour (2022), arXiv:2209.14981. The default of 6 is from Sanyal et al. (2023),
      arXiv:2306.03241.
    """

    num_snapshots: PositiveInt = 6
    updates_per_snapshot: PositiveInt = 100
    _: dataclasses.KW_ONLY
    dtype: Dtype | None = None

    def init(self, params: optax.Params) -> LawaState:
        """Return the state before the first update."""
        num_snapshots = concrete_size("num_snapshots", self.num_snapshots)

        def empty(p: jax.Array) -> jax.Array:
            # `zeros_like` keeps the sharding of the parameter, and broadcasting keeps it on the
            # axes after the new one. `jnp.zeros` would put every copy on all devices.
            zeros = jnp.zeros_like(p, self.dtype)
            return jnp.broadcast_to(zeros[None], (num_snapshots, *p.shape))

        every = jnp.asarray(self.updates_per_snapshot, jnp.int32)
        return LawaState(zero_count(), every, jax.tree.map(empty, params))

    def update(self, state: LawaState, params: optax.Params) -> LawaState:
        """Replace the oldest snapshot, if one is due."""
        every = state.updates_per_snapshot
        if isinstance(self.updates_per_snapshot, jax.Array):
            every = self.updates_per_snapshot.astype(jnp.int32)
        count = optax.safe_increment(state.count)
        is_due = count % every == 0

        def store(snapshots: jax.Array, p: jax.Array) -> jax.Array:
            snapshots = jnp.asarray(snapshots)
            index = (count // every - 1) % snapshots.shape[0]
            new = jnp.where(is_due, p.astype(snapshots.dtype), snapshots[index])
            return snapshots.at[index].set(new)

        snapshots = jax.tree.map(store, state.snapshots, params)
        return state._replace(updates_per_snapshot=every, snapshots=snapshots)


lawa = make_factory(Lawa, track_average)


def _init_average(params: optax.Params, dtype: DTypeLike | None) -> AverageState:
    average = jax.tree.map(lambda p: jnp.array(p, dtype or wide_dtype(jnp.result_type(p))), params)
    return AverageState(zero_count(), average, jnp.zeros([], jnp.float32), None)


def _move(average: chex.ArrayTree, params: optax.Params, fraction: ArrayLike) -> chex.ArrayTree:
    """Return ``average + fraction * (params - average)``, without non-finite parameters."""

    def move(old: jax.Array, p: jax.Array) -> jax.Array:
        new = old + fraction * (p - old.astype(wide_dtype(old.dtype)))
        # A non-finite number would stay in the average for all later updates. It comes from a
        # parameter, or from a traced hyperparameter, which passes unchecked.
        return jnp.where(jnp.isfinite(new), new, old).astype(old.dtype)

    return jax.tree.map(move, average, params)
