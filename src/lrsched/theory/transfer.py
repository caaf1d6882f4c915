"""Transfer of a good rate to another schedule or a longer run, by the bound."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jax.typing import ArrayLike

from lrsched.theory.bound import Rates, optimal_rate


def transfer_rate(
    rate: ArrayLike,
    from_schedule: Rates,
    to_schedule: Rates,
    steps: int | None = None,
    to_steps: int | None = None,
    grad_norms: Rates = 1.0,
) -> ArrayLike:
    """Transfer a good rate of one schedule to another schedule or another length.

    ``rate * optimal_rate(to_schedule) / optimal_rate(from_schedule)``: the unknown distance to
    the minimum cancels, and so does a constant gradient norm.

    Args:
      rate: A good factor of ``from_schedule``; the peak if the schedule has a peak of 1.
      from_schedule: The schedule with which the rate was found, see `convergence_bound`.
      to_schedule: The schedule for which a rate is wanted.
      steps: Length of the run of ``from_schedule``. Defaults to its horizon.
      to_steps: Length of the run of ``to_schedule``. Defaults to its horizon, or ``steps``.
      grad_norms: See `convergence_bound`.

    Returns:
      The factor of ``to_schedule``.

    Raises:
      ValueError: As in `convergence_bound`.

    References:
      Schaipp et al. 2025 (arXiv 2501.18965).

    >>> import lrsched
    >>> from lrsched import theory
    >>> rate = theory.transfer_rate(
    ...     1e-3, lrsched.constant(1.0, steps=400), lrsched.linear(1.0, 0.0, steps=400))
    >>> round(float(rate), 5)
    0.00273
    """
    known = optimal_rate(from_schedule, steps, grad_norms)
    if to_steps is None and getattr(to_schedule, "horizon", None) is None:
        to_steps = steps
    return rate * (optimal_rate(to_schedule, to_steps, grad_norms) / known)


def match_optimal_rate(
    make: Callable[[float], Rates],
    schedule: Rates,
    between: tuple[float, float] = (0.01, 0.99),
    steps: int | None = None,
    to_steps: int | None = None,
    grad_norms: Rates = 1.0,
) -> float:
    """Find the number at which a longer schedule has the best rate of a shorter one.

    A run that is extended then keeps its rate. The number may be the length of the cooldown, or the
    factor of the rate after the step where the shorter run cooled down. If several numbers match,
    the largest is returned.

    Args:
      make: Function from the number to the longer schedule.
      schedule: The shorter schedule, with the same base rate, see `convergence_bound`.
      between: Least and greatest number to consider.
      steps: Length of the run of ``schedule``. Defaults to its horizon.
      to_steps: Length of the longer run. Defaults to its horizon.
      grad_norms: See `convergence_bound`.

    Returns:
      The number.

    Raises:
      ValueError: If no number in ``between`` matches, or as in `convergence_bound`.

    References:
      Schaipp et al. 2025 (arXiv 2501.18965), who search a grid; this function bisects.

    >>> import lrsched
    >>> from lrsched import theory
    >>> short = lrsched.wsd(1.0, steps=1000, warmup=0, cooldown=0.2, ramp="linear")
    >>> longer = lambda cooldown: lrsched.wsd(1.0, 1500, 0, cooldown, ramp="linear")
    >>> cooldown = theory.match_optimal_rate(longer, short)
    >>> 0.2 < cooldown < 0.99
    True
    >>> rates = theory.optimal_rate(short), theory.optimal_rate(longer(cooldown))
    >>> abs(float(rates[0] / rates[1]) - 1) < 1e-2
    True
    """
    wanted = float(optimal_rate(schedule, steps, grad_norms))

    def excess(number: float) -> float:
        return float(optimal_rate(make(number), to_steps, grad_norms)) / wanted - 1

    places = [float(place) for place in np.linspace(*between, 33)]
    excesses = [excess(place) for place in places]
    turns = [i for i in range(len(excesses) - 1) if excesses[i] * excesses[i + 1] <= 0]
    if not turns:
        ends = " and ".join(f"{1 + excesses[i]:.3g}" for i in (0, -1))
        raise ValueError(
            f"match_optimal_rate: between={between!r} holds no number at which the best rate is "
            f"the same; at its ends it is {ends} times that of the schedule."
        )
    low, high, sign = places[turns[-1]], places[turns[-1] + 1], excesses[turns[-1]]
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) * sign > 0 else (low, middle)
    return (low + high) / 2
