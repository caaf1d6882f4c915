"""What the bound says of a rate that is known: for another schedule, for a longer run."""

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
    """A good rate of one schedule, carried to another schedule or another length.

    ``rate * optimal_rate(to_schedule) / optimal_rate(from_schedule)``: the distance to the minimum,
    which nobody knows, cancels, as do gradient norms that are one number.

    Args:
      rate: what is good to multiply ``from_schedule`` by: its peak, where that has a peak of 1.
      from_schedule: the schedule that it was found with; as in `convergence_bound`.
      to_schedule: the one that a rate is wanted for.
      steps: the length of the run of ``from_schedule``; by default its horizon.
      to_steps: that of ``to_schedule``; by default its horizon, or ``steps`` where it has none.
      grad_norms: as in `convergence_bound`.

    Returns:
      What to multiply ``to_schedule`` by.

    Raises:
      ValueError: as in `convergence_bound`.

    Source: Schaipp et al. 2025 (arXiv 2501.18965).

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
    """The number that makes a longer schedule one whose best rate is that of a shorter one.

    So a run that is extended keeps the rate that it has. The number may be the length of the
    cooldown, or what the rate is multiplied by after the point where the shorter run cooled down.
    Where there are several, it is the largest.

    Args:
      make: ``number -> schedule``: the longer one.
      schedule: the shorter one, with the base rate of ``make``'s; as in `convergence_bound`.
      between: the least and the greatest number to consider.
      steps: the length of the run of ``schedule``; by default its horizon.
      to_steps: that of the longer one; by default its horizon.
      grad_norms: as in `convergence_bound`.

    Raises:
      ValueError: no number of that range does; or as in `convergence_bound`.

    Source: Schaipp et al. 2025 (arXiv 2501.18965), who search a grid; here by bisection.

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
    found = [excess(place) for place in places]
    turns = [i for i in range(len(found) - 1) if found[i] * found[i + 1] <= 0]
    if not turns:
        ends = " and ".join(f"{1 + found[i]:.3g}" for i in (0, -1))
        raise ValueError(
            f"match_optimal_rate: between={between!r} holds no number at which the best rate is "
            f"the same; at its ends it is {ends} times that of the schedule."
        )
    low, high, sign = places[turns[-1]], places[turns[-1] + 1], found[turns[-1]]
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) * sign > 0 else (low, middle)
    return (low + high) / 2
