"""A schedule without a person: a range test gives the peak, the budget the horizon."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from lrsched.schedule import Schedule
from lrsched.schedules.decay import linear
from lrsched.schedules.phases import wsd
from lrsched.schedules.warmup import warmup as rise
from lrsched.tuning.range_test import RangeTest, range_test
from lrsched.tuning.training import Training


@dataclasses.dataclass(frozen=True, eq=False)
class Auto:
    """What `auto` chose, and why.

    Attributes:
      schedule: to train with.
      peak: its highest rate.
      range_test: what the peak comes from.
    """

    schedule: Schedule
    peak: float
    range_test: RangeTest


def auto(
    training: Training,
    steps: int,
    *,
    shape: str = "linear",
    warmup: float = 0.05,
    cooldown: float = 0.2,
    low: float | None = None,
    high: float | None = None,
    seeds: int | Sequence[int] = 3,
) -> Auto:
    """Choose a schedule for a budget: a range test gives the peak, the shape goes to zero.

    The recipe: (1) a `range_test` with the optimizer that will be used; its suggestion is the peak;
    (2) ``"linear"``: a short warmup, then linear to zero at ``steps``; ``"wsd"``: warmup, the peak,
    and a cooldown to zero, for a run that may be extended or branched; (3) where examples are held
    out, a controller in the optimizer, such as `reduce_on_overfitting`, lowers the rate if the
    validation loss rises while the training loss falls: a `sweep` of the schedule tells it. A peak
    found at another size is carried over by `lrsched.scaling`.

    Args:
      training: what is trained.
      steps: the budget in updates.
      shape: "linear" or "wsd".
      warmup: its part of ``steps``.
      cooldown: its part of ``steps``, for "wsd".
      low: the first rate of the range test, by default as there.
      high: its last.
      seeds: of the range test.

    Raises:
      ValueError: another shape, or no rate that lowers the loss.

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
    found = range_test(training, low=low, high=high, seeds=seeds)
    peak = found.suggestion()
    return Auto(_SHAPES[shape](peak, steps, warmup, cooldown), peak, found)


def _linear(peak: float, steps: int, warmup: float, cooldown: float) -> Schedule:
    del cooldown
    rising = max(1, round(warmup * steps))
    return rise(rising) * peak >> linear(peak, 0.0, steps - rising)


_SHAPES: Final[dict[str, Callable[[float, int, float, float], Schedule]]] = {
    "linear": _linear,
    "wsd": lambda peak, steps, warmup, cooldown: wsd(peak, steps, warmup=warmup, cooldown=cooldown),
}
