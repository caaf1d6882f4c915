"""Batch-size ramps: where a schedule would lower the rate, the batch grows instead."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._schedule import Schedule, schedule
from lrsched.algebra import Inner
from lrsched.arguments import (
    Boundaries,
    FiniteFloats,
    PositiveInt,
    is_traced,
    not_accepted,
    validate_arguments,
    whole_number,
)
from lrsched.numerics import MAX_STEP, count_passed
from lrsched.schedules.constant import piecewise_constant

_CHUNK: Final = 1_000_000


def _check_stages(schedule: Schedule) -> None:
    arguments = (schedule.starts, schedule.positions, schedule.multiples)
    lengths = sorted({np.shape(one)[-1] for one in arguments})
    if len(lengths) > 1:
        raise ValueError(
            f"ramped_rate: starts, positions and multiples of {lengths} values do not match; they "
            "must have one for each stage."
        )
    if is_traced(arguments):
        return
    if np.any(np.asarray(schedule.starts)[..., 0] != 0):
        raise not_accepted("ramped_rate", "starts", schedule.starts, "steps that start at 0")
    if np.any(np.asarray(schedule.multiples) <= 0):
        raise not_accepted("ramped_rate", "multiples", schedule.multiples, "numbers above 0")


@schedule(horizon="steps", check=_check_stages, name="lrsched.ramped_rate")
def ramped_rate(
    step: jax.Array,
    inner: Inner,
    starts: Boundaries,
    positions: Boundaries,
    multiples: FiniteFloats,
    steps: PositiveInt,
) -> ArrayLike:
    """The rate of a batch ramp: ``sqrt(m) inner(position)``, in stages of a batch multiple ``m``.

    Within stage ``i`` the position is ``positions[i] + multiples[i] (t - starts[i])``.

    Args:
      inner: Schedule of the rate at the initial batch size.
      starts: First step of each stage; the first is 0.
      positions: Position in ``inner`` at the start of each stage.
      multiples: Batch size of each stage over the initial one; whole numbers.
      steps: Number of updates.

    References:
      Meterez et al. 2025 (arXiv 2510.14717).

    Example:
      >>> import lrsched
      >>> ramp = lrsched.scaling.batch_ramp(lrsched.linear(1.0, 0.0, steps=8), 32)
      >>> ramp.learning_rate([0, 3, 4, 5]).round(3).tolist()
      [1.0, 0.625, 0.7070000171661377, 0.5]
    """
    step = jnp.minimum(step, steps)
    stage = count_passed(jnp.asarray(starts), step) - 1
    multiple = jnp.asarray(multiples)[stage]
    # Positions are integers, so that the rate is exact at every step of the ramp.
    since = (step - jnp.asarray(starts)[stage]).astype(jnp.int32)
    position = jnp.asarray(positions)[stage] + since * multiple.astype(jnp.int32)
    return jnp.sqrt(multiple) * inner(position)


class BatchRamp(NamedTuple):
    """A learning rate and a batch size as two schedules of the same updates.

    Attributes:
      learning_rate: Schedule of the rate.
      batch_size: Schedule of the batch size, in the unit of the initial one.
      steps: Number of updates.
      base_steps: Number of updates without the ramp.
    """

    learning_rate: Schedule
    batch_size: Schedule
    steps: int
    base_steps: int

    def seen(self, step: int) -> int:
        """Return the examples or tokens that the updates before ``step`` have used."""
        if self.batch_size.horizon == 0:
            return int(self.batch_size(0)) * step
        starts = [0, *np.asarray(self.batch_size.boundaries).tolist()]
        ends = [*starts[1:], step]
        sizes = np.asarray(self.batch_size.values).tolist()
        stages = zip(starts, ends, sizes, strict=True)
        return int(sum(max(min(end, step) - start, 0) * int(size) for start, end, size in stages))


@validate_arguments
def batch_ramp(
    schedule: Inner,
    batch_size: Annotated[int, whole_number(1)],
    *,
    max_batch_size: Annotated[int, whole_number(1)] | None = None,
    factor: Annotated[int, whole_number(2)] = 2,
) -> BatchRamp:
    """Grow the batch instead of lowering the rate, on the same number of examples ("Seesaw").

    Where the schedule has fallen to ``f`` of its largest rate, the batch is the largest of
    ``batch_size factor**k`` that is at most ``batch_size / f``, and the rate is ``peak f
    sqrt(batch / batch_size)``. The ratio of rate to square root of the batch is that of the
    schedule at the same number of examples, at every step. It saves updates only while the batch
    is below the critical one. The batch never shrinks: a schedule that rises again after a fall,
    such as one with restarts, is refused where it would have to.

    Args:
      schedule: Schedule of the rate at the initial batch size. It needs a horizon.
      batch_size: Initial batch size, in examples or tokens.
      max_batch_size: Largest batch size. Defaults to 64 times the initial one.
      factor: Factor from one batch size to the next, at least 2.

    Returns:
      The schedules of the rate and the batch size, which end after the same number of examples as
      the given schedule, up to less than one batch.

    Raises:
      ValueError: If the schedule has no horizon, no rate above 0, one below 0, or rises again so
        far that the batch would have to shrink; if ``factor`` is below 2, ``max_batch_size`` is
        below ``batch_size``, or a number is not whole.

    References:
      Meterez et al. 2025 (arXiv 2510.14717); the largest batch and the whole factors are added
      here, and keep the ratio above.

    Example:
      >>> import lrsched
      >>> ramp = lrsched.scaling.batch_ramp(lrsched.cosine(1e-3, steps=10_000), 256)
      >>> ramp.batch_size([0, 5000, 6000]).tolist()
      [256.0, 512.0, 1024.0]
      >>> ramp.steps, ramp.seen(ramp.steps) / (256 * 10_000)
      (6233, 1.006)
    """
    limit = min(64 * batch_size, MAX_STEP) if max_batch_size is None else max_batch_size
    if limit < batch_size:
        requirement = f"at least {batch_size}, the batch_size"
        raise not_accepted("batch_ramp", "max_batch_size", limit, requirement)
    horizon = schedule.horizon
    if horizon is None or not 1 <= horizon * (limit // batch_size) <= MAX_STEP:
        raise not_accepted(
            "batch_ramp",
            "schedule",
            schedule,
            "one with a horizon of 1 or more, which times the largest multiple of the batch is at "
            "most 2**31 - 1",
        )
    growth = _growth(schedule, int(horizon), limit // batch_size, factor)
    starts, positions, used = [0], [0], [_multiple_at(growth, 0)]
    step = position = 0
    while True:
        end = min((at for at, multiple in growth if multiple > used[-1]), default=horizon)
        updates = -(-(end - position) // used[-1])
        step, position = step + updates, position + updates * used[-1]
        if position >= horizon:
            break
        starts.append(step)
        positions.append(position)
        used.append(_multiple_at(growth, position))
    rate = ramped_rate(schedule, starts, positions, [float(m) for m in used], steps=step)
    sizes = piecewise_constant([float(m * batch_size) for m in used], starts[1:])
    return BatchRamp(rate, sizes, step, horizon)


def _multiple_at(growth: list[tuple[int, int]], position: int) -> int:
    return max((multiple for at, multiple in growth if at <= position), default=1)


def _growth(schedule: Schedule, horizon: int, limit: int, factor: int) -> list[tuple[int, int]]:
    """Return the step of the schedule at which each multiple of the batch is first allowed."""
    peak, top, lowest = 0.0, 0, 0.0
    for start, rates in rates_in_chunks(schedule, 0, horizon):
        if rates.max() > peak:
            peak, top = float(rates.max()), start + int(np.argmax(rates))
        lowest = min(lowest, float(rates.min()))
    if not peak > 0 or lowest < 0:
        fault = "its largest rate must be above 0" if not peak > 0 else "no rate may be below 0"
        raise ValueError(f"batch_ramp: schedule={schedule} is not accepted; {fault}.")
    growth: list[tuple[int, int]] = []
    # The warmup keeps the initial batch.
    for start, rates in rates_in_chunks(schedule, top, horizon):
        # One part in a million is float32's accuracy of a rate such as peak / 2.
        allowed = peak * (1 + 1e-6) / np.maximum(rates, peak / (2.0 * limit))
        multiple = factor if not growth else growth[-1][1] * factor
        while multiple <= limit and (allowed >= multiple).any():
            growth.append((start + int(np.argmax(allowed >= multiple)), multiple))
            multiple *= factor
        for first, multiple in growth:
            later = allowed[max(first - start, 0) :]
            if (later < multiple * (1 - 1e-6)).any():
                at = max(first, start) + int(np.argmax(later < multiple * (1 - 1e-6)))
                raise ValueError(
                    f"batch_ramp: schedule={schedule} is not accepted, as it rises again by step "
                    f"{at}, where the batch would have to shrink; ramp each fall by itself."
                )
    return growth


def rates_in_chunks(schedule: Schedule, first: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the rates of the steps from ``first`` to before ``end``, each chunk with its first one.

    The rates of 2**31 steps at once would take 16 GiB.
    """
    for start in range(first, end, _CHUNK):
        steps = np.arange(start, min(start + _CHUNK, end))
        yield start, np.asarray(schedule(steps), np.float64)
