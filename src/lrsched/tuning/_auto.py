"""A schedule without a person: a range test, a few short runs, the budget for the horizon."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from lrsched import scaling
from lrsched._schedule import Schedule
from lrsched.schedules.decay import linear
from lrsched.schedules.multiphase import wsd
from lrsched.schedules.warmup import warmup as rise
from lrsched.tuning._range_test import RangeTest, range_test
from lrsched.tuning._sweep import sweep
from lrsched.tuning._training import Training
from lrsched.tuning.results import Sweep


@dataclasses.dataclass(frozen=True, eq=False)
class Auto:
    """What `auto` chose, and why.

    Attributes:
      schedule: to train with.
      peak: its highest rate.
      range_test: where the probes' peaks come from.
      probes: the short runs that the peak comes from.
    """

    schedule: Schedule
    peak: float
    range_test: RangeTest
    probes: Sweep


def auto(
    training: Training,
    steps: int,
    *,
    shape: str = "linear",
    probes: int = 9,
    part: float = 1 / 8,
    low: float | None = None,
    high: float | None = None,
    seeds: int | Sequence[int] = 2,
) -> Auto:
    """Choose a schedule for a budget of updates, without a person.

    1. A `range_test` with the optimizer that will be used gives the usable range.
    2. ``probes`` peaks across it and three times beyond are tried in short runs of ``part`` of the
       budget, under the shape that will be used: a range test alone knows no horizon. The peak is
       the geometric middle of those that come within a hundredth of the whole fall of the best.
    3. `scaling.horizon` carries it from the short runs to the whole.
    4. The schedule is warmup and linear to zero, or warmup, the peak, and a cooldown to zero
       (``"wsd"``), for a run that may be extended or branched.

    The probes cost ``probes * part * seeds`` budgets. Where examples are held out, add a controller
    to the optimizer (`reduce_on_overfitting`): it lowers the rate if the validation loss rises
    while the training loss falls. A peak found at another batch size, width or depth is carried
    over by `lrsched.scaling`.

    Args:
      training: what is trained.
      steps: the budget in updates.
      shape: "linear" or "wsd".
      probes: how many peaks.
      part: of the budget, for each of them.
      low: the first rate of the range test, by default as there.
      high: its last.
      seeds: of the range test and the probes.

    Raises:
      ValueError: another shape, fewer than 2 probes, a part that is not above 0 and at most 1, or
        no rate that lowers the loss.

    >>> import jax.numpy as jnp, optax
    >>> from lrsched import tuning
    >>> loss_fn = lambda w, batch: jnp.mean((batch[0] * w - batch[1]) ** 2)
    >>> x = jnp.linspace(-1, 1, 64)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, (x, 2 * x), batch_size=16)
    >>> found = tuning.auto(run, steps=200)
    >>> found.schedule.horizon, float(found.schedule(200))
    (200, 0.0)
    """
    if shape not in _SHAPES:
        raise ValueError(
            f"auto: shape={shape!r} is not accepted; shape must be one of "
            f"{', '.join(map(repr, _SHAPES))}."
        )
    if not (isinstance(probes, int) and probes >= 2 and 0 < part <= 1):
        raise ValueError(
            f"auto: probes={probes!r}, part={part!r} are not accepted; at least 2 probes, of a "
            "part above 0 and at most 1."
        )
    tested = range_test(training, low=low, high=high, seeds=seeds)
    peaks, short = np.geomspace(tested.range.low, 3 * tested.range.high, probes), int(part * steps)
    schedules = [_SHAPES[shape](float(peak), max(20, short)) for peak in peaks]
    tried = sweep(training, schedules, seeds=seeds, progress=False)
    losses = tried.mean_losses()
    best, first = np.min(losses), np.nanmedian(tested.losses[:, 0])
    middle = np.exp(np.mean(np.log(peaks[losses <= best + 0.01 * (first - best)])))
    peak = float(scaling.horizon(middle, steps, max(20, short)))
    return Auto(_SHAPES[shape](peak, steps), peak, tested, tried)


def _linear(peak: float, steps: int) -> Schedule:
    rising = max(1, round(_WARMUP * steps))
    return rise(rising) * peak >> linear(peak, 0.0, steps - rising)


_WARMUP: Final = 0.05
_SHAPES: Final[dict[str, Callable[[float, int], Schedule]]] = {
    "linear": _linear,
    "wsd": lambda peak, steps: wsd(peak, steps, warmup=_WARMUP, cooldown=0.2),
}
