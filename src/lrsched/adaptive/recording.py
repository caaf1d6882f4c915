"""The norms of a run's gradients, recorded as it goes: what a schedule is refined by."""

from typing import Annotated, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.adaptive.base import tree_abs, tree_square, tree_sums, zero_count
from lrsched.arguments import POSITIVE_INT, ArgumentType, PositiveInt, validate_arguments


def _even(given: Any) -> Any:
    slots = POSITIVE_INT.parse(given)
    if slots % 2:
        raise ValueError
    return slots


Slots: TypeAlias = Annotated[int, ArgumentType("Slots", "an even whole number of 2 or more", _even)]
"""How many means."""


class RecordNormsState(NamedTuple):
    """State of `record_norms`.

    Attributes:
      count: int32 scalar, the updates recorded.
      every: int32 scalar, how many of them a mean is of.
      means: float32, ``(2, slots)``: of the squared l2 norm, and of the l1 norm.
      ignored: int32 scalar, the updates left out because a gradient was not finite.
    """

    count: jax.Array  # type: ignore[assignment]
    every: jax.Array
    means: jax.Array
    ignored: jax.Array


class RecordedNorms(NamedTuple):
    """What `record_norms` has recorded, on the host.

    Attributes:
      steps: the middle of the updates that each mean is of, whole numbers from 0.
      l2: the root of the mean squared l2 norm.
      l1: the mean l1 norm.
    """

    steps: np.ndarray
    l2: np.ndarray
    l1: np.ndarray


@validate_arguments
def record_norms(slots: Slots = 512, every: PositiveInt = 1) -> optax.GradientTransformation:
    """Record the norms of what comes in, and pass it on as it is.

    Means over equal stretches of updates are kept, in memory of one size whatever the length of the
    run: when all slots are taken, two by two they become one, and each is then of twice as many
      updates. First in a chain it sees the gradients. An update that is not finite is not recorded,
      and does not advance the count.

    Args:
      slots: the most means, an even number; there are at least half as many once they were full.
      every: how many updates a mean is of at first.

    Raises:
      ValueError: ``slots`` is not even, or ``every`` no whole number of 1 or more.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(lrsched.record_norms(slots=2), optax.sgd(1.0))
    >>> state = optimizer.init(jnp.zeros(2))
    >>> for size in (1.0, 2.0, 3.0):
    ...     _, state = optimizer.update(jnp.array([3.0, 4.0]) * size, state)
    >>> recorded = lrsched.recorded_norms(state)
    >>> recorded.steps.tolist(), recorded.l1.tolist()
    ([0, 2], [10.5, 21.0])
    """

    def init(params: optax.Params) -> RecordNormsState:
        del params
        means = jnp.zeros((2, slots), jnp.float32)
        return RecordNormsState(zero_count(), jnp.asarray(every, jnp.int32), means, zero_count())

    def update(
        updates: optax.Updates, state: RecordNormsState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RecordNormsState]:
        del params
        wide = jax.tree.map(lambda u: u.astype(jnp.promote_types(u.dtype, jnp.float32)), updates)
        sizes = jnp.stack(tree_sums(tree_square(wide), tree_abs(wide))).astype(jnp.float32)
        is_full = state.count // state.every >= slots
        halved = jnp.pad(state.means.reshape(2, -1, 2).mean(axis=2), ((0, 0), (0, slots // 2)))
        means = jnp.where(is_full, halved, state.means)
        each = jnp.where(is_full, 2 * state.every, state.every)
        slot, before = state.count // each, state.count % each
        mean = means[:, slot] + (sizes - means[:, slot]) / (before + 1)
        seen = RecordNormsState(
            optax.safe_increment(state.count), each, means.at[:, slot].set(mean), state.ignored
        )
        is_finite = jnp.all(jnp.isfinite(sizes))
        left = state._replace(ignored=state.ignored + 1)
        return updates, jax.tree.map(lambda a, b: jnp.where(is_finite, a, b), seen, left)

    return optax.GradientTransformation(init, update)


def recorded_norms(opt_state: Any) -> RecordedNorms:
    """What `record_norms` has recorded, found by its type through any wrapper.

    `lrsched.points` of ``steps`` and one of the norms is the schedule of that norm.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).

    Raises:
      ValueError: the state holds no record, an empty one, or several.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.record_norms()
    >>> _, state = optimizer.update(jnp.array([3.0, 4.0]), optimizer.init(jnp.zeros(2)))
    >>> lrsched.recorded_norms(state).l2.tolist()
    [5.0]
    """
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_record)
    found = [node for node in nodes if _is_record(node)]
    if len(found) != 1:
        raise ValueError(
            f"the state holds {len(found)} records of norms; it must hold one, of record_norms: "
            "pass the part of the state that does."
        )
    state: RecordNormsState = jax.device_get(found[0])
    count, every = int(state.count), int(state.every)
    if count == 0:
        raise ValueError("the record of norms is empty; it must be read after an update.")
    begin = np.arange(-(-count // every)) * every
    end = np.minimum(begin + every, count)
    square, magnitude = np.asarray(state.means)[:, : len(begin)]
    return RecordedNorms((begin + end - 1) // 2, np.sqrt(square), magnitude)


def _is_record(node: Any) -> bool:
    return isinstance(node, RecordNormsState)
