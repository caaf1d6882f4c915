"""Rates that rise at first: factors to multiply any schedule with, or to put before it."""

import jax
from jax.typing import ArrayLike

from lrsched.arguments import Duration, Value
from lrsched.numerics import mix
from lrsched.schedule import schedule
from lrsched.schedules.ramps import Ramp, ramp


@schedule(horizon="steps")
def warmup(
    step: jax.Array, steps: Duration, shape: Ramp = "linear", init: Value = 0.0
) -> ArrayLike:
    """A factor that rises from ``init`` to 1: ``init + (1 - init) ramp(t / steps)``, then 1.

    ``warmup(w) * s`` lets the clock of ``s`` run during the warmup; ``warmup(w) * peak >> s``
    begins ``s`` after it. Step 0 trains with ``init``: ``init=1 / w`` makes the first update count.

    Args:
      steps: the length; 0 is no warmup.
      shape: "linear", "cosine", "1-sqrt", "square" or a function from [0, 1] to [0, 1].
      init: the factor at step 0.

    Source: Goyal et al. 2017 (arXiv 1706.02677).

    >>> import lrsched
    >>> lrsched.warmup(4)([0, 1, 2, 4, 5]).tolist()
    [0.0, 0.25, 0.5, 1.0, 1.0]
    >>> schedule = lrsched.warmup(100) * 0.5 >> lrsched.cosine(0.5, steps=900)
    >>> schedule([50, 100, 550, 1000]).tolist(), schedule.horizon
    ([0.25, 0.5, 0.2499999850988388, 0.0], 1000)
    """
    return mix(init, 1.0, ramp(shape, step, steps))
