"""Rates in phases: a rise, a stable stretch, a cooldown."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched.arguments import Length, Phase, Value
from lrsched.numerics import fraction, mix, resolve
from lrsched.schedule import schedule
from lrsched.schedules.ramps import Ramp, ramp


def check_fit(function: str, steps: Any, **phases: Any) -> None:
    """Raise ``ValueError``, with the sum, where the phases are longer than the whole."""
    lengths = [np.asarray(resolve(phase, steps), np.int64) for phase in phases.values()]
    if np.any(sum(lengths) > np.asarray(steps)):
        named = " and ".join(f"{name}={phase!r}" for name, phase in phases.items())
        raise ValueError(
            f"{function}: {named} take {' + '.join(map(str, lengths))} = {sum(lengths)} steps, "
            f"more than steps={steps!r}, the length of the whole."
        )


@schedule(
    horizon="steps",
    check=lambda steps, warmup, cooldown, **_: check_fit(
        "wsd", steps, warmup=warmup, cooldown=cooldown
    ),
)
def wsd(
    step: jax.Array,
    peak: Value,
    steps: Length,
    warmup: Phase,
    cooldown: Phase,
    end: Value = 0.0,
    shape: Ramp = "1-sqrt",
    init: Value = 0.0,
) -> ArrayLike:
    """Warmup, stable, decay (the trapezoid): a linear rise, a plateau, a cooldown to ``end``.

    With ``w`` and ``c`` the two lengths in steps::

        init + (peak - init) t / w                    for t < w
        peak                                          for w <= t <= steps - c
        end + (peak - end) ramp((steps - t) / c)      for t > steps - c

    Args:
      peak: the rate of the stable phase.
      steps: the length of the whole, warmup and cooldown included.
      warmup: steps, or a fraction of ``steps`` (rounded to the nearest step); 0 begins at the peak.
      cooldown: the same; 0 stays at the peak.
      end: the rate from step ``steps`` on.
      shape: of the cooldown: "linear", "cosine", "1-sqrt", "square" or a function from [0, 1] (what
        is left of it) to [0, 1].
      init: the rate at step 0.

    Raises:
      ValueError: ``warmup + cooldown > steps``.

    Source: Hu et al. 2024 (MiniCPM, arXiv 2404.06395); the "1-sqrt" cooldown: Hägele et al. 2024
    (arXiv 2405.18392).

    >>> import lrsched
    >>> schedule = lrsched.wsd(1.0, steps=1000, warmup=100, cooldown=0.2, shape="linear")
    >>> schedule([0, 50, 100, 800, 900, 1000]).tolist()
    [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """
    rise, fall = resolve(warmup, steps), resolve(cooldown, steps)
    up = mix(init, peak, fraction(step, rise))
    down = mix(end, peak, ramp(shape, steps - step, fall))
    return jnp.where(step < rise, up, down)
