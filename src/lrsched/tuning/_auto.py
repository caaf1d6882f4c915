"""Automatic choice of a schedule: a range test, short sweeps, a rule for the horizon."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import numpy as np

from lrsched import scaling
from lrsched._schedule import Schedule
from lrsched.arguments import (
    STEPS_OR_FRACTION,
    ArgumentType,
    in_range,
    not_accepted,
    one_of,
    real_number,
    validate_arguments,
    whole_number,
)
from lrsched.numerics import resolve_steps_on_host
from lrsched.schedules.decay import linear
from lrsched.schedules.multiphase import wsd
from lrsched.schedules.warmup import warmup as linear_warmup
from lrsched.tuning._critical_rate import warmup_steps_at_critical_rate
from lrsched.tuning._range_test import RangeTestResult, range_test
from lrsched.tuning._sweep import sweep
from lrsched.tuning._training import Training
from lrsched.tuning.batched_runner import normalize_seeds
from lrsched.tuning.results import SweepResult, Verdict, repr_with_shapes


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class AutoResult:
    """The choice of `auto` and its evidence. ``print`` shows the choice and the probes.

    Attributes:
      schedule: The schedule to train with.
      peak: Highest rate of the schedule.
      range_test: The range test that gave the peaks of the probes.
      probes: The short runs that gave the peak.
    """

    schedule: Schedule
    peak: float
    range_test: RangeTestResult
    probes: SweepResult

    __repr__ = repr_with_shapes

    def __str__(self) -> str:
        return f"chosen: {self.schedule}, peak {self.peak:.4g}\nprobes: {self.probes}"

    def verdict(self, rate: float) -> Verdict:
        """Say whether a rate is too low, good or too high, by the range test.

        Args:
          rate: The rate in question.

        Returns:
          The verdict, as of `RangeTestResult.verdict`.
        """
        return self.range_test.verdict(rate)


_FRACTION: Final = real_number("a number above 0 and at most 1", in_range(gt=0, le=1))


def _parse_warmup(value: object) -> object:
    return value if value == "auto" else STEPS_OR_FRACTION.parse(value)


_WARMUP_FRACTION: Final = 0.05
_WARMUP: Final = ArgumentType(
    "Warmup", f"{STEPS_OR_FRACTION.description} or 'auto'", _parse_warmup, static=True
)


@validate_arguments
def auto(
    training: Training,
    steps: Annotated[int, whole_number(1)],
    *,
    family: Annotated[str, one_of("Family", ("linear", "wsd"))] = "linear",
    num_probes: Annotated[int, whole_number(2)] = 9,
    probe_fraction: Annotated[float, _FRACTION] = 1 / 8,
    warmup: Annotated[int | float | str, _WARMUP] = _WARMUP_FRACTION,
    low: float | None = None,
    high: float | str | None = None,
    seeds: int | Sequence[int] = 2,
    progress: bool = False,
) -> AutoResult:
    """Choose a schedule for a budget of updates automatically.

    1. A `range_test` with the optimizer that will be used gives the usable range.
    2. ``num_probes`` peaks, from the low end to three times the high end of it, are tried in short
       runs of ``probe_fraction`` of the budget with the schedule family that will be used, because
       a range test does not depend on the horizon. The peak is the geometric mean of those whose
       loss comes within 1 % of the fall of the best one.
    3. `scaling.horizon` transfers it from the short runs to the whole run.
    4. The schedule is a warmup and a linear decay to zero, or a warmup, a constant peak and a
       cooldown to zero (``"wsd"``), for a run that may be extended or branched.

    The probes cost ``num_probes * probe_fraction * seeds`` budgets. With a validation set, add a
    controller to the optimizer (`reduce_on_overfitting`), which lowers the rate if the validation
    loss rises while the training loss falls. `lrsched.scaling` transfers a peak that was found at
    another batch size, width or depth.

    Args:
      training: The training.
      steps: Budget in updates.
      family: ``"linear"`` or ``"wsd"``.
      num_probes: Number of peaks. At least 2.
      probe_fraction: Length of each probe as a fraction of the budget, above 0 and at most 1.
      warmup: Length of the warmup in updates (an ``int``), as a fraction of the run (a ``float``),
        or ``"auto"``: the number of updates that a run with 0.9 of the critical rate of each update
        (`critical_rate`) takes to reach the peak, at most a tenth of the run. It needs a training
        whose state has the field ``params``, and some 10 forward passes for each of these updates.
        The warmup of the probes is the default one if ``"auto"``.
      low: First rate of the range test. Defaults to that of `RANGES` for the optimizer.
      high: Last rate of the range test, or ``"critical"``, as for `range_test`. Defaults to that of
        `RANGES` for the optimizer.
      seeds: Number of seeds, or the seeds, of the range test and of the probes.
      progress: Whether to show a bar for the range test and one for the probes, on stderr, if
        ``rich`` is installed.

    Returns:
      The schedule, its peak, the range test and the probes.

    Raises:
      ValueError: If an argument is out of range, or no rate lowers the loss.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from lrsched import tuning
      >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
      >>> x = jnp.linspace(-1, 1, 64)
      >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, (x, 2 * x), batch_size=16)
      >>> result = tuning.auto(run, steps=200)
      >>> result.schedule.horizon, float(result.schedule(200))
      (200, 0.0)
    """
    if not isinstance(warmup, str) and resolve_steps_on_host(warmup, steps) >= steps:
        raise not_accepted("auto", "warmup", warmup, f"shorter than the {steps} updates of the run")
    tested = range_test(training, low=low, high=high, seeds=seeds, progress=progress)
    # Runs of fewer than 20 updates say nothing about a schedule with a warmup.
    probe_steps = max(20, int(probe_fraction * steps))
    # Up to three times the high end: a decaying schedule endures a higher peak than the growing
    # rate of the range test.
    peaks = np.geomspace(tested.range.low, 3 * tested.range.high, num_probes)
    create = _FAMILIES[family]
    probe_warmup = _WARMUP_FRACTION if isinstance(warmup, str) else _as_fraction(warmup, steps)
    schedules = [create(float(peak), probe_steps, probe_warmup) for peak in peaks]
    probes = sweep(training, schedules, seeds=seeds, progress=progress)
    losses = probes.mean_losses()
    best, initial = np.min(losses), np.nanmedian(tested.losses[:, 0])
    is_nearly_best = losses <= best + 0.01 * (initial - best)
    centre = np.exp(np.mean(np.log(peaks[is_nearly_best])))
    peak = float(np.asarray(scaling.horizon(centre, steps, probe_steps)))
    if isinstance(warmup, str):
        warmup = warmup_steps_at_critical_rate(
            *(training, peak, max(1, steps // 10), tested.range.low),
            normalize_seeds("auto", seeds),
        )
    return AutoResult(create(peak, steps, warmup), peak, tested, probes)


def _as_fraction(warmup: float | int, steps: int) -> float | int:
    # A probe is shorter than the run: the same number of updates would not fit.
    return warmup if warmup == 0 or isinstance(warmup, float) else warmup / steps


def _linear(peak: float, steps: int, warmup: float | int) -> Schedule:
    warmup_steps = int(resolve_steps_on_host(warmup, steps))
    decay = linear(peak, 0.0, steps - warmup_steps)
    return linear_warmup(warmup_steps) * peak >> decay if warmup_steps else decay


def _wsd(peak: float, steps: int, warmup: float | int) -> Schedule:
    return wsd(peak, steps, warmup=warmup, cooldown=0.2)


_FAMILIES: Final[dict[str, Callable[[float, int, float | int], Schedule]]] = {
    "linear": _linear,
    "wsd": _wsd,
}
