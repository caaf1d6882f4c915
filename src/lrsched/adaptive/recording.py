"""Record of the gradient norms of a run, from which a schedule can be refined."""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Annotated, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.adaptive._factory import make_factory
from lrsched.adaptive.base import tree_where, zero_count
from lrsched.arguments import POSITIVE_INT, ArgumentType, PositiveInt, concrete_size, is_traced
from lrsched.transforms.composition import single_state

if TYPE_CHECKING:
    import chex


def _parse_even(value: object) -> chex.Numeric:
    number = POSITIVE_INT.parse(value)
    if not is_traced(number) and number % 2:
        raise ValueError
    return number


EvenInt: TypeAlias = Annotated[
    int, ArgumentType("EvenInt", "an even whole number of 2 or more", _parse_even)
]
"""An even number of at least 2."""


class RecordNormsState(NamedTuple):
    """State of `record_norms`.

    Attributes:
      count: Number of updates recorded, an int32 scalar.
      updates_per_record: Number of updates in each mean, an int32 scalar.
      means: Means of the squared l2 norm and of the l1 norm, a float32 array of shape
        ``(2, max_records)``.
      nonfinite_count: Number of updates that were skipped because a gradient was not finite, an
        int32 scalar.
    """

    count: jax.Array  # type: ignore[assignment]
    updates_per_record: jax.Array
    means: jax.Array
    nonfinite_count: jax.Array


class RecordedNorms(NamedTuple):
    """Norms that `record_norms` recorded, as NumPy arrays of one length.

    Attributes:
      steps: Middle step of each mean, int64.
      l2: Root of the mean squared l2 norm, float32.
      l1: Mean l1 norm, float32.
    """

    steps: np.ndarray
    l2: np.ndarray
    l1: np.ndarray


@dataclasses.dataclass(frozen=True)
class RecordNorms:
    """Record the norms of the updates that arrive, and pass them on unchanged.

    The state holds means over segments of equal length, in constant memory for a run of any length:
    when all records are used, pairs of them are merged and each covers twice as many updates. At
    the beginning of a chain it records the gradients. An update that is not finite is skipped and
    does not increment the count.

    Args:
      max_records: Largest number of means, even. At least half of them are in use once all were.
      updates_per_record: Number of updates in each mean at first.

    Returns:
      An ``optax.GradientTransformation`` whose state is a `RecordNormsState`.

    Raises:
      ValueError: If ``max_records`` is not even or not positive, or if ``updates_per_record`` is
        not an integer of at least 1. At ``init``, if ``max_records`` is traced.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = optax.chain(lrsched.record_norms(max_records=2), optax.sgd(1.0))
      >>> state = optimizer.init(jnp.zeros(2))
      >>> for size in (1.0, 2.0, 3.0):
      ...     _, state = optimizer.update(jnp.array([3.0, 4.0]) * size, state)
      >>> recorded = lrsched.recorded_norms(state)
      >>> recorded.steps.tolist(), recorded.l1.tolist()
      ([0, 2], [10.5, 21.0])
    """

    max_records: EvenInt = 512
    updates_per_record: PositiveInt = 1

    def init(self, params: optax.Params) -> RecordNormsState:
        """Return an empty record."""
        del params
        means = jnp.zeros((2, concrete_size("max_records", self.max_records)), jnp.float32)
        each = jnp.asarray(self.updates_per_record, jnp.int32)
        return RecordNormsState(zero_count(), each, means, zero_count())

    def update(self, state: RecordNormsState, updates: optax.Updates) -> RecordNormsState:
        """Add the norms of one update, if they are finite."""
        norms = _squared_l2_and_l1(updates)
        max_records = state.means.shape[1]
        is_full = state.count // state.updates_per_record >= max_records
        merged = state.means.reshape(2, -1, 2).mean(axis=2)
        merged = jnp.pad(merged, ((0, 0), (0, max_records // 2)))
        means = jnp.where(is_full, merged, state.means)
        each = jnp.where(is_full, 2 * state.updates_per_record, state.updates_per_record)

        # Update the mean in place of a sum: in float32 a sum over a long segment stops growing.
        index, num_before = state.count // each, state.count % each
        mean = means[:, index] + (norms - means[:, index]) / (num_before + 1)
        count = optax.safe_increment(state.count)
        new_means = means.at[:, index].set(mean)
        recorded = RecordNormsState(count, each, new_means, state.nonfinite_count)
        skipped = state._replace(nonfinite_count=state.nonfinite_count + 1)
        is_finite = jnp.all(jnp.isfinite(norms))
        return tree_where(is_finite, recorded, skipped)


def _squared_l2_and_l1(tree: chex.ArrayTree) -> jax.Array:
    """Return the squared l2 norm and the l1 norm of a tree, a float32 array of shape (2,)."""

    def sums(leaf: jax.Array) -> tuple[jax.Array, jax.Array]:
        size = jnp.abs(leaf)  # The modulus, so that complex gradients have real norms.
        size = size.astype(jnp.promote_types(size.dtype, jnp.float32))
        return jnp.sum(jnp.square(size)), jnp.sum(size)

    # Add the scalars one by one: XLA for GPU and TPU merges all-reduces of added scalars into one
    # scalar per norm. A stack of scalars that is summed afterwards stays one operand per array.
    zero = jnp.zeros([], jnp.float32)
    squares, sizes = zip((zero, zero), *map(sums, jax.tree.leaves(tree)), strict=True)
    l2_sq, l1 = (functools.reduce(jnp.add, numbers) for numbers in (squares, sizes))
    return jnp.stack([l2_sq, l1]).astype(jnp.float32)


def _record_updates(recorder: RecordNorms) -> optax.GradientTransformation:
    def update(
        updates: optax.Updates, state: RecordNormsState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, RecordNormsState]:
        del params
        return updates, recorder.update(state, updates)

    return optax.GradientTransformation(recorder.init, update)


record_norms = make_factory(RecordNorms, _record_updates)


def recorded_norms(opt_state: chex.ArrayTree) -> RecordedNorms:
    """Return the norms that `record_norms` recorded, found by type in any wrapper.

    `lrsched.points` of ``steps`` and one of the norms is the schedule of that norm. It copies the
    record to the host.

    Args:
      opt_state: State of an optimizer, or a container of one such as a ``TrainState``.

    Returns:
      A `RecordedNorms` of NumPy arrays.

    Raises:
      ValueError: If the state holds no record, more than one, or an empty one.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.record_norms()
      >>> _, state = optimizer.update(jnp.array([3.0, 4.0]), optimizer.init(jnp.zeros(2)))
      >>> lrsched.recorded_norms(state).l2.tolist()
      [5.0]
    """
    state = jax.device_get(
        single_state("recorded_norms", RecordNormsState, opt_state, "record_norms")
    )
    count, each = int(state.count), int(state.updates_per_record)
    if count == 0:
        raise ValueError("recorded_norms: the record of norms is empty; read it after an update.")
    begin = np.arange(-(-count // each)) * each
    end = np.minimum(begin + each, count)
    l2_sq, l1 = np.asarray(state.means)[:, : len(begin)]
    return RecordedNorms((begin + end - 1) // 2, np.sqrt(l2_sq), l1)
