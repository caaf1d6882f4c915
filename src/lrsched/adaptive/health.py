"""Record of a run's health: sizes and directions of gradients, updates and parameters, by group."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched.adaptive._factory import make_factory, transform_of
from lrsched.adaptive.base import complex_as_real, tree_where, zero_count
from lrsched.adaptive.recording import EvenInt
from lrsched.arguments import POSITIVE_INT, BaseOptimizer, concrete_size
from lrsched.numerics import widen
from lrsched.transforms.composition import compose_rates, leaves_with_path, single_state

if TYPE_CHECKING:
    import chex

Window: TypeAlias = Annotated[int, POSITIVE_INT]
"""A number of updates."""


class HealthState(NamedTuple):
    """State of `record_health`; the groups are in the sorted order of ``sizes``.

    Attributes:
      count: Number of updates recorded, an int32 scalar.
      updates_per_record: Number of updates in each mean, an int32 scalar.
      sizes: Number of parameters of each group by label, float32 scalars.
      run_means: Means of the applied rate and of the loss, a float32 array of shape
        ``(2, max_records)``.
      group_means: Means of the squared norms of the gradient, the update and the parameters, and of
        the products update x parameters and gradient x update, a float32 array of shape ``(5,
        max_records, groups)``.
      window: Norms of the gradients of each group, and the loss, of the latest updates in a ring,
        a float32 array of shape ``(window, groups + 1)``.
      first: Rate and loss of the first update recorded, a float32 array of shape ``(2,)``.
      largest: Largest rate and loss of an update, a float32 array of shape ``(2,)``.
      has: Whether the latest update had a rate and a loss, a bool array of shape ``(2,)``; 0 stands
        for what is absent.
      spike_counts: Number of spikes of the loss and of the gradient norm, an int32 array of shape
        ``(2,)``.
      nonfinite_count: Number of updates that were not recorded because a number was not finite, an
        int32 scalar.
      inner_state: State of the optimizer.
    """

    count: jax.Array  # type: ignore[assignment]
    updates_per_record: jax.Array
    sizes: dict[str, jax.Array]
    run_means: jax.Array
    group_means: jax.Array
    window: jax.Array
    first: jax.Array
    largest: jax.Array
    has: jax.Array
    spike_counts: jax.Array
    nonfinite_count: jax.Array
    inner_state: optax.OptState


class RecordedHealth(NamedTuple):
    """What `record_health` recorded, as NumPy arrays; entries of a dict belong to a group.

    Attributes:
      steps: Middle step of each mean, int64.
      rate: Mean applied rate, float32; NaN if the optimizer's state holds no rate.
      loss: Mean loss, float32; NaN if ``update`` received no loss.
      update_ratio: RMS of the updates over RMS of the parameters; NaN where a parameter is 0.
      cosine: Cosine of the angle between update and parameters; negative where they shrink.
      gradient_rms: RMS of the gradients.
      param_rms: RMS of the parameters.
      descent: Mean inner product of gradient and update: the change of the loss of the same batch
        to first order. Negative.
      gradient_quantiles: The 10 %, 50 %, 90 % and 100 % quantiles of the gradient norm over the
        window.
      first_rate: Rate of the first update.
      largest_rate: Largest rate of an update.
      first_loss: Loss before the first update.
      largest_loss: Largest loss.
      num_updates: Number of updates recorded.
      num_nonfinite: Number of updates that were not finite.
      loss_spikes: Number of spikes of the loss.
      gradient_spikes: Number of spikes of the gradient norm.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.record_health(optax.sgd(0.1))
      >>> w = jnp.ones(2)
      >>> _, state = optimizer.update(w, optimizer.init(w), w, value=3.0)
      >>> health = lrsched.recorded_health(state)
      >>> health.first_loss, health.num_updates
      (3.0, 1)
    """

    steps: np.ndarray
    rate: np.ndarray
    loss: np.ndarray
    update_ratio: dict[str, np.ndarray]
    cosine: dict[str, np.ndarray]
    gradient_rms: dict[str, np.ndarray]
    param_rms: dict[str, np.ndarray]
    descent: np.ndarray
    gradient_quantiles: dict[str, np.ndarray]
    first_rate: float
    largest_rate: float
    first_loss: float
    largest_loss: float
    num_updates: int
    num_nonfinite: int
    loss_spikes: int
    gradient_spikes: int


# A loss or a gradient norm is a spike this many deviations above the mean of the window, which must
# be half full: the one-sided rule of levanter (Stanford).
_SPIKE_DEVIATIONS = 6.0
_MIN_DEVIATION = 1e-6


@dataclasses.dataclass(frozen=True)
class RecordHealth:
    """Record the health of a run beside an optimizer, whose updates are not affected.

    It wraps the optimizer: only a wrapper sees the raw gradients and the final updates. Five sums
    over each group are computed in an update, in float32 or wider; on sharded parameters they are
    one all-reduce of scalars. The state holds means over segments of equal length, in constant
    memory for a run of any length: when all records are used, pairs of them are merged. An update
    that is not finite is counted and not recorded. `recorded_health` reads the record, `diagnose`
    judges it.

    ``update(..., value=loss)`` records the loss as well, without which `diagnose` cannot say
    whether a rate is too low.

    Args:
      optimizer: Optax transform; the whole optimizer, so that its updates are the final ones.
      label_fn: Function from the path of a parameter, such as ``"encoder/layer_3/kernel"``, to the
        label of its group. Defaults to the first component in which paths differ.
      max_records: Largest number of means, even. At least half of them are in use once all were.
      window: Number of latest updates whose gradient norms and losses are kept.

    Returns:
      An ``optax.GradientTransformationExtraArgs`` whose state is a `HealthState`.

    Raises:
      ValueError: If ``max_records`` is not even, or a number is not positive. From ``update``, if
        the parameters are not passed.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> optimizer = lrsched.record_health(lrsched.scale_by_learning_rate(0.1))
      >>> params = {"body": jnp.ones(4), "head": jnp.ones(2)}
      >>> updates, state = optimizer.update(params, optimizer.init(params), params, value=1.0)
      >>> ratios = lrsched.recorded_health(state).update_ratio
      >>> {group: ratio.round(3).tolist() for group, ratio in ratios.items()}
      {'body': [0.1], 'head': [0.1]}

    References:
      Spikes: levanter's rule, 6 deviations above the mean of a window.
    """

    optimizer: BaseOptimizer
    _: dataclasses.KW_ONLY
    label_fn: Callable[[str], str] | None = None
    max_records: EvenInt = 64
    window: Window = 128

    def init(self, params: optax.Params) -> HealthState:
        """Return an empty record and the optimizer's state."""
        labels = self._labels(params)
        sizes = dict.fromkeys(sorted(set(labels)), 0)
        for label, leaf in zip(labels, jax.tree.leaves(params), strict=True):
            sizes[label] += np.size(leaf)
        max_records = concrete_size("max_records", self.max_records)
        window = concrete_size("window", self.window)
        return HealthState(
            zero_count(),
            jnp.ones([], jnp.int32),
            {label: jnp.asarray(size, jnp.float32) for label, size in sizes.items()},
            jnp.zeros((2, max_records), jnp.float32),
            jnp.zeros((5, max_records, len(sizes)), jnp.float32),
            jnp.zeros((window, len(sizes) + 1), jnp.float32),
            jnp.zeros(2, jnp.float32),
            jnp.full(2, -jnp.inf, jnp.float32),
            jnp.zeros(2, bool),
            jnp.zeros(2, jnp.int32),
            zero_count(),
            self.optimizer.init(params),
        )

    def update(
        self,
        updates: optax.Updates,
        state: HealthState,
        params: optax.Params | None = None,
        *,
        value: ArrayLike | None = None,
        **extra_args: Any,
    ) -> tuple[optax.Updates, HealthState]:
        """Return the optimizer's updates, and the record with one update more."""
        if params is None:
            raise ValueError("record_health needs the parameters: update(updates, state, params).")
        if value is not None:
            extra_args["value"] = value
        inner = optax.with_extra_args_support(self.optimizer)
        final, inner_state = inner.update(updates, state.inner_state, params, **extra_args)
        sums = self._sums(updates, final, params)
        rates = compose_rates(inner_state)
        absent = jnp.zeros([], jnp.float32)
        rate = functools.reduce(jnp.maximum, rates.values()) if rates else absent
        loss = absent if value is None else jnp.asarray(value, jnp.float32)
        is_finite = jnp.all(jnp.isfinite(sums)) & jnp.isfinite(loss)
        has = jnp.array([bool(rates), value is not None])
        recorded = _with_record(state._replace(has=has), sums, jnp.stack([rate, loss]))
        skipped = state._replace(nonfinite_count=state.nonfinite_count + 1)
        # The optimizer's state is replaced in both cases: it has its own guard, or none.
        new: HealthState = tree_where(is_finite, recorded, skipped)
        return final, new._replace(inner_state=inner_state)

    def _sums(self, gradients: Any, updates: Any, params: Any) -> jax.Array:
        """Return five sums for each group, a float32 array of shape ``(5, groups)``."""
        labels = self._labels(params)
        groups = sorted(set(labels))
        totals = [[jnp.zeros([], jnp.float32)] * len(groups) for _ in range(5)]
        leaves = [
            map(widen, jax.tree.leaves(complex_as_real(x))) for x in (gradients, updates, params)
        ]
        for label, g, u, p in zip(labels, *leaves, strict=True):
            at = groups.index(label)
            for row, product in zip(totals, (g * g, u * u, p * p, u * p, g * u), strict=True):
                # Add the scalars one by one: XLA merges all-reduces of added scalars into one.
                row[at] = row[at] + jnp.sum(product)
        return jnp.stack([jnp.stack(row) for row in totals]).astype(jnp.float32)

    def _labels(self, params: Any) -> list[str]:
        """Return the label of each array."""
        paths = [path for path, _ in leaves_with_path(params)]
        if self.label_fn is not None:
            return [str(self.label_fn(path)) for path in paths]
        parts = [path.split("/") for path in paths]
        depth = next(
            (i for i in range(min(map(len, parts), default=0)) if len({p[i] for p in parts}) > 1),
            None,
        )
        return ["" if depth is None else part[depth] for part in parts]


record_health = make_factory(RecordHealth, transform_of)


def _with_record(state: HealthState, sums: jax.Array, run: jax.Array) -> HealthState:
    """Return the state with the sums, the rate and the loss of one update."""
    max_records = state.run_means.shape[1]
    is_full = state.count // state.updates_per_record >= max_records

    def merged(means: jax.Array) -> jax.Array:
        pairs = means.reshape(means.shape[0], -1, 2, *means.shape[2:]).mean(axis=2)
        padding = [(0, 0), (0, max_records // 2)] + [(0, 0)] * (means.ndim - 2)
        return jnp.where(is_full, jnp.pad(pairs, padding), means)

    each = jnp.where(is_full, 2 * state.updates_per_record, state.updates_per_record)
    index, num_before = state.count // each, state.count % each

    def with_sample(means: jax.Array, sample: jax.Array) -> jax.Array:
        means = merged(jnp.asarray(means))
        # Update the mean in place of a sum: in float32 a sum over a long segment stops growing.
        mean = means[:, index] + (sample - means[:, index]) / (num_before + 1)
        return means.at[:, index].set(mean)

    norms = jnp.sqrt(sums[0])
    sample = jnp.concatenate([norms, run[1:]])
    spikes = _spikes(state, jnp.stack([run[1], jnp.sqrt(jnp.sum(sums[0]))]))
    return state._replace(
        count=optax.safe_increment(state.count),
        updates_per_record=each,
        run_means=with_sample(state.run_means, run),
        group_means=with_sample(state.group_means, sums),
        window=jnp.asarray(state.window).at[state.count % state.window.shape[0]].set(sample),
        first=jnp.where(state.count == 0, run, state.first),
        largest=jnp.maximum(state.largest, run),
        spike_counts=state.spike_counts + spikes,
    )


def _spikes(state: HealthState, values: jax.Array) -> jax.Array:
    """Return whether the loss and the gradient norm are spikes, a boolean array of shape (2,)."""
    size = state.window.shape[0]
    num = jnp.minimum(state.count, size)
    losses, norms = state.window[:, -1], jnp.sqrt(jnp.sum(state.window[:, :-1] ** 2, axis=1))
    past, is_past = jnp.stack([losses, norms]), jnp.arange(size) < num
    # Written with `where`, as entries that are not used yet are 0.
    mean = jnp.sum(jnp.where(is_past, past, 0), axis=1) / jnp.maximum(num, 1)
    square = jnp.sum(jnp.where(is_past, (past - mean[:, None]) ** 2, 0), axis=1)
    deviation = jnp.maximum(jnp.sqrt(square / jnp.maximum(num, 1)), _MIN_DEVIATION)
    is_active = num >= max(2, size // 2)
    return is_active & (values > mean + _SPIKE_DEVIATIONS * deviation)


def recorded_health(opt_state: chex.ArrayTree) -> RecordedHealth:
    """Return what `record_health` recorded, found by type in any wrapper.

    Args:
      opt_state: State of an optimizer, or a container of one such as a ``TrainState``.

    Returns:
      A `RecordedHealth` of NumPy arrays, copied to the host.

    Raises:
      ValueError: If the state holds no record, more than one, or an empty one.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> optimizer = lrsched.record_health(lrsched.scale_by_learning_rate(0.5))
      >>> _, state = optimizer.update(jnp.ones(1), optimizer.init(jnp.ones(1)), jnp.ones(1))
      >>> lrsched.recorded_health(state).rate.tolist()
      [0.5]
    """
    held = single_state("recorded_health", HealthState, opt_state, "record_health")
    state: HealthState = jax.device_get(held._replace(inner_state=None))
    count, each = int(state.count), int(state.updates_per_record)
    if count == 0 and state.nonfinite_count == 0:
        raise ValueError("recorded_health: the record is empty; read it after an update.")
    begin = np.arange(-(-count // each)) * each
    end = np.minimum(begin + each, count)
    # Where there is no rate or no loss, all numbers of it are NaN.
    rate, loss = np.where(state.has[:, None], state.run_means, np.nan)[:, : len(begin)]
    first, largest = (np.where(state.has, x, np.nan) for x in (state.first, state.largest))
    means = np.asarray(state.group_means, np.float64)[:, : len(begin)]
    labels = sorted(state.sizes)
    sizes = np.array([float(state.sizes[label]) for label in labels])
    grad_sq, update_sq, param_sq, product, descent = means
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(param_sq > 0, np.sqrt(update_sq / param_sq), np.nan)
        cosine = product / np.sqrt(update_sq * param_sq)
        quantiles = np.quantile(
            state.window[: np.clip(count, 1, len(state.window)), :-1], _QUANTILES, 0
        )

    def by_group(values: np.ndarray) -> dict[str, np.ndarray]:
        return {label: values[..., i] for i, label in enumerate(labels)}

    return RecordedHealth(
        steps=(begin + end - 1) // 2,
        rate=rate,
        loss=loss,
        update_ratio=by_group(ratio),
        cosine=by_group(np.where(np.isfinite(cosine), cosine, np.nan)),
        gradient_rms=by_group(np.sqrt(grad_sq / sizes)),
        param_rms=by_group(np.sqrt(param_sq / sizes)),
        descent=descent.sum(axis=1),
        gradient_quantiles=by_group(quantiles),
        first_rate=float(first[0]),
        largest_rate=float(largest[0]),
        first_loss=float(first[1]),
        largest_loss=float(largest[1]),
        num_updates=count,
        num_nonfinite=int(state.nonfinite_count),
        loss_spikes=int(state.spike_counts[0]),
        gradient_spikes=int(state.spike_counts[1]),
    )


_QUANTILES = (0.1, 0.5, 0.9, 1.0)
