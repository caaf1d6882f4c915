"""Averages of the parameters, kept beside the training: what one evaluates.

The transforms here change no update. Each goes last in a chain, where the updates are those that
will be added to the parameters; `lrsched.eval_params` gives the average.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike, DTypeLike

from lrsched._schedule import Schedule
from lrsched.adaptive.base import bias_correction_factor, safe_divide, zero_count
from lrsched.algebra import LearningRate, as_schedule
from lrsched.arguments import (
    DecayRate,
    NonNegativeFloat,
    PositiveInt,
    validate_arguments,
)
from lrsched.transforms.rate import evaluate_scalar, to_state


class AverageState(NamedTuple):
    """State of a running average of the parameters.

    Attributes:
      count: int32 scalar, the updates seen.
      average: the average, in float32 or wider.
      total: float32 scalar, the sum of its weights, where they are counted.
      schedule: whose fall the weights are, of `matched_average`; None of the others.
    """

    count: jax.Array  # type: ignore[assignment]
    average: Any
    total: jax.Array
    schedule: Any


class LawaState(NamedTuple):
    """State of `lawa`.

    Attributes:
      count: int32 scalar, the updates seen.
      every: int32 scalar, the updates from one snapshot to the next.
      latest: for each parameter its latest snapshots, along a new first axis, in turn.
    """

    count: jax.Array  # type: ignore[assignment]
    every: jax.Array
    latest: Any


class Average(NamedTuple):
    """An average that a state holds.

    Attributes:
      held: a tree as the parameters are, with ``optax.MaskedNode`` for those that are not averaged.
      evaluate: ``params -> average``, both as ``held`` is.
    """

    held: Any
    evaluate: Callable[[Any], Any]


@functools.singledispatch
def average_in(state: Any) -> Average | None:
    """The average that a state of a known type holds; None for all other types."""
    del state
    return None


@average_in.register
def _(state: AverageState) -> Average:
    return Average(state.average, lambda params: state.average)


@average_in.register
def _(state: LawaState) -> Average:
    def mean(kept: jax.Array, p: jax.Array) -> jax.Array:
        size = kept.shape[0]
        filled = jnp.minimum(state.count // state.every, size)
        weights = (jnp.arange(size) < filled) / jnp.maximum(filled, 1)
        total = jnp.tensordot(weights, kept.astype(_wide(kept)), 1)
        return jnp.where(filled > 0, total, p.astype(total.dtype))

    return Average(state.latest, lambda params: jax.tree.map(mean, state.latest, params))


@validate_arguments
def ema_params(
    decay: DecayRate = 0.999, *, dtype: DTypeLike | None = None
) -> optax.GradientTransformation:
    """The exponential average of the parameters, corrected for its beginning.

    Args:
      decay: in [0, 1); about ``1 / (1 - decay)`` updates are averaged.
      dtype: of the average; by default float32 or wider.

    Raises:
      ValueError: ``decay`` is not in its range.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(optax.sgd(1.0), lrsched.ema_params(0.5))
    >>> params = jnp.array([3.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(2):  # 2, then 1
    ...     updates, state = optimizer.update(jnp.array([1.0]), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> round(float(lrsched.eval_params(state, params)[0]), 4)
    1.3333
    """
    return _running(
        lambda state: (1 - decay) / bias_correction_factor(decay, state.count), dtype=dtype
    )


@validate_arguments
def polynomial_average(
    gamma: NonNegativeFloat = 8.0, *, dtype: DTypeLike | None = None
) -> optax.GradientTransformation:
    """The average whose weights grow like ``t**gamma``: that of `dog`; 0 is the plain mean.

    ``average += (gamma + 1) / (gamma + t) (x_t - average)`` at the updates ``t = 1, 2, ...``.

    Args:
      gamma: 0 or more; 8 averages about the latest ninth of the run.
      dtype: of the average; by default float32 or wider.

    Raises:
      ValueError: ``gamma`` is negative.

    Source: Shamir & Zhang 2013 (arXiv 1212.1824); matches dog-optimizer 1.0.3.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(optax.sgd(1.0), lrsched.polynomial_average(0.0))
    >>> params = jnp.array([3.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(2):  # 2, then 1
    ...     updates, state = optimizer.update(jnp.array([1.0]), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> lrsched.eval_params(state, params).tolist()
    [1.5]
    """
    return _running(lambda state: (gamma + 1) / (gamma + 1 + state.count), dtype=dtype)


@validate_arguments
def matched_average(
    schedule: LearningRate, *, dtype: DTypeLike | None = None
) -> optax.GradientTransformation:
    """The average that does, at a constant rate, what a decay of the rate would do.

    The parameters after update ``t`` weigh ``max(s(t) - s(t + 1), 0)``. For gradients that do not
    depend on the rate, training at the plateau of ``s`` and averaging so gives the parameters of
    training at ``s``: for a `wsd` schedule, those after its cooldown, without one. Before ``s``
    begins to fall the average is the parameters themselves.

    Args:
      schedule: any schedule that falls from its plateau at some time.
      dtype: of the average; by default float32 or wider.

    Raises:
      ValueError: ``schedule`` is none.

    Source: the identity behind "averaging as annealing" (Sandler et al. 2023, arXiv 2301.02312) and
    checkpoint merging (Tian et al. 2025, arXiv 2507.17634).

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     optax.sgd(1.0), lrsched.matched_average(lrsched.linear(1.0, 0.0, steps=4)))
    >>> params = jnp.array([0.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(4):
    ...     updates, state = optimizer.update(jnp.array([-1.0]), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> params.tolist(), lrsched.eval_params(state, params).tolist()  # 1 + 0.75 + 0.5 + 0.25
    ([4.0], [2.5])
    """
    followed = as_schedule(schedule)

    def weight(state: AverageState) -> jax.Array:
        now, then = (evaluate_scalar(state.schedule, state.count + ahead) for ahead in (0, 1))
        return jnp.maximum(now - then, 0)

    def share(state: AverageState) -> jax.Array:
        total = state.total + weight(state)
        return jnp.where(total > 0, safe_divide(weight(state), total), 1.0)

    return _running(share, weight, followed, dtype)


@validate_arguments
def lawa(
    size: PositiveInt = 6, every: PositiveInt = 100, *, dtype: DTypeLike | None = None
) -> optax.GradientTransformation:
    """LAWA: the mean of the latest ``size`` snapshots, one taken every ``every`` updates.

    Args:
      size: how many snapshots: so many copies of the parameters are kept.
      every: the updates from one to the next.
      dtype: of the snapshots; by default that of the parameters.

    Raises:
      ValueError: ``size`` or ``every`` is no whole number of 1 or more.

    Source: Kaddour 2022 (arXiv 2209.14981); 6 as in Sanyal et al. 2023 (arXiv 2306.03241).

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(optax.sgd(1.0), lrsched.lawa(size=2, every=2))
    >>> params = jnp.array([0.0])
    >>> state = optimizer.init(params)
    >>> for _ in range(7):
    ...     updates, state = optimizer.update(jnp.array([-1.0]), state, params)
    ...     params = optax.apply_updates(params, updates)
    >>> lrsched.eval_params(state, params).tolist()  # of 4 and 6
    [5.0]
    """

    def init(params: optax.Params) -> LawaState:
        def room(p: Any) -> jax.Array:
            return jnp.zeros((size, *p.shape), dtype or p.dtype)

        return LawaState(zero_count(), jnp.asarray(every, jnp.int32), jax.tree.map(room, params))

    def update(
        updates: optax.Updates, state: LawaState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, LawaState]:
        reached = _reached(params, updates)
        count = optax.safe_increment(state.count)
        place = (count // state.every - 1) % size

        def store(kept: jax.Array, p: jax.Array) -> jax.Array:
            kept = jnp.asarray(kept)
            new = jnp.where(count % state.every == 0, p.astype(kept.dtype), kept[place])
            return kept.at[place].set(new)

        return updates, LawaState(count, state.every, jax.tree.map(store, state.latest, reached))

    return optax.GradientTransformation(init, update)


def _running(
    share: Callable[[AverageState], ArrayLike],
    weight: Callable[[AverageState], ArrayLike] = lambda state: 0.0,
    schedule: Schedule | None = None,
    dtype: DTypeLike | None = None,
) -> optax.GradientTransformation:
    """The average moves by ``share`` of the way to where each update leads."""

    def init(params: optax.Params) -> AverageState:
        average = jax.tree.map(lambda p: jnp.array(p, dtype or _wide(p)), params)
        kept = None if schedule is None else to_state(schedule)
        return AverageState(zero_count(), average, jnp.zeros([], jnp.float32), kept)

    def update(
        updates: optax.Updates, state: AverageState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, AverageState]:
        part = share(state)

        def move(average: jax.Array, p: jax.Array) -> jax.Array:
            new = average + part * (p - average.astype(_wide(average)))
            return jnp.where(jnp.isfinite(p), new, average).astype(average.dtype)

        average = jax.tree.map(move, state.average, _reached(params, updates))
        count = optax.safe_increment(state.count)
        return updates, AverageState(count, average, state.total + weight(state), state.schedule)

    return optax.GradientTransformation(init, update)


def _reached(params: optax.Params | None, updates: optax.Updates) -> Any:
    """Where the updates lead, in the parameters' own dtypes, then in float32 or wider."""
    if params is None:
        raise ValueError("an average needs the parameters: update(updates, state, params).")
    reached = optax.apply_updates(params, updates)
    return jax.tree.map(lambda p: p.astype(_wide(p)), reached)


def _wide(leaf: Any) -> Any:
    return jnp.promote_types(leaf.dtype, jnp.float32)
