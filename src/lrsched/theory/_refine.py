"""A schedule from the gradient norms of a run."""

from __future__ import annotations

import functools
from typing import Annotated, Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from lrsched._schedule import Schedule
from lrsched.algebra import as_schedule
from lrsched.arguments import (
    ArgumentType,
    PositiveFloat,
    UnitFloat,
    is_traced,
    not_accepted,
    one_of,
    validate_arguments,
    whole_number,
)
from lrsched.schedules.constant import table
from lrsched.theory.bound import Rates, run_length

_POINTS: Final = 2048


_STEPS: Final = whole_number()


def _parse_run(value: object) -> object:
    return value if isinstance(value, Schedule) else _STEPS.parse(value)


Run: TypeAlias = Annotated[
    Schedule | int, ArgumentType("Run", f"a Schedule, or {_STEPS.description}", _parse_run)
]
"""The schedule of a finished run, or the length of a new one."""
Norm: TypeAlias = Annotated[str, one_of("Norm", ("l2", "l1"))]
"""The gradient norm in the analysis of an optimizer."""


@validate_arguments
def refine(
    schedule_or_steps: Run,
    grad_norms: Rates,
    peak: PositiveFloat | None = None,
    norm: Norm = "l2",
    width: UnitFloat = 0.1,
) -> Schedule:
    """Compute the rates that minimise a bound for the gradient norms of a run.

    With the norms ``G_t`` smoothed, weights ``w_t = G_t**-2`` ("l2") or ``1 / G_t`` ("l1"), the
    rates are ``w_t (w_{t+1} + ... + w_T)``, scaled to the peak. Constant norms give linear decay
    to zero. Norms that shrink at first give a warmup, and norms that grow at the end a faster
    decay.

    Norms are smoothed as in the paper, by the median in a window that is reflected at the end and
    repeats the first norm before the beginning. More than 2048 norms are first averaged to 2048.

    Args:
      schedule_or_steps: Schedule of the measured run, whose length and peak are kept, or the length
        of the new schedule in updates.
      grad_norms: Gradient norms of the run, ``(records,)``, at equal distances from its first to
        its last update; or a callable of the step, such as `lrsched.points` of
        `lrsched.recorded_norms`.
      peak: Largest rate. Defaults to that of the schedule, or to 1.
      norm: The norm: "l2" for SGD, "l1" for Adam and other methods with a step size per parameter.
      width: Width of the window as a fraction of the run. 0 disables smoothing.

    Returns:
      A `lrsched.table` of ``steps + 1`` rates, the last of them 0.

    Raises:
      ValueError: If a norm is not finite or not above 0, the schedule has no horizon, or another
        argument is outside its range.

    References:
      Defazio, Cutkosky, Mehta & Mishchenko 2023 (arXiv 2310.07831), algorithm 1. The
      window and the weights of "l1" follow its code, facebookresearch/adaptive_scheduling.

    >>> import lrsched
    >>> from lrsched import theory
    >>> theory.refine(4, grad_norms=[3.0, 3.0, 3.0, 3.0])([0, 1, 2, 3, 4]).tolist()
    [1.0, 0.75, 0.5, 0.25, 0.0]
    >>> shrinking = lrsched.points([0, 20, 100], [4.0, 1.0, 1.0])
    >>> refined = theory.refine(lrsched.cosine(0.1, steps=100), shrinking)
    >>> [round(float(rate), 3) for rate in refined([0, 10, 20, 60, 100])]
    [0.007, 0.017, 0.1, 0.05, 0.0]
    """
    run = schedule_or_steps
    steps = run_length("refine", run) if isinstance(run, Schedule) else run
    if peak is None:
        peak = jnp.max(run(np.arange(steps + 1))) if isinstance(run, Schedule) else 1.0
    norms = _along(grad_norms, steps)
    return table(peak * _shape(norms, steps, float(np.asarray(width)), 1 if norm == "l1" else 2))


@functools.partial(jax.jit, static_argnums=(1, 2, 3))
def _shape(norms: jax.Array, steps: int, width: float, power: int) -> jax.Array:
    """Compute the rates at the steps ``0, ..., steps``, with a peak of 1."""
    norms, each = _averaged(norms, steps)
    smooth = _median(norms, int(width * len(norms)) // 2)
    places = (jnp.arange(len(norms)) + 0.5) * each - 0.5
    along = jnp.interp(jnp.arange(steps + 1, dtype=places.dtype), places, smooth)
    weights = (jnp.min(along) / along) ** power
    to_come = jnp.cumsum(weights[:0:-1])[::-1]
    rates = jnp.append(weights[:-1] * to_come, 0.0)
    # XLA may multiply by the reciprocal, and most * (1 / most) is not always exactly 1.
    most = jnp.max(rates)
    return jnp.where(rates == most, 1.0, rates / most)


def _along(grad_norms: Rates, steps: int) -> jax.Array:
    is_list = np.ndim(grad_norms) == 1  # type: ignore[arg-type]
    norms = jnp.asarray(grad_norms) if is_list else as_schedule(grad_norms)(np.arange(steps))
    if len(norms) == 0 or (
        not is_traced(norms) and not np.all(np.isfinite(norms) & (np.asarray(norms) > 0))
    ):
        raise not_accepted("refine", "grad_norms", grad_norms, "finite and above 0 at every step")
    return norms.astype(jnp.promote_types(norms.dtype, jnp.float32))


def _averaged(norms: jax.Array, steps: int) -> tuple[jax.Array, float]:
    """Return at most `_POINTS` means of equal blocks, and the length of a block in steps."""
    block = -(-len(norms) // _POINTS)
    padded = jnp.pad(norms, (0, -len(norms) % block), mode="edge")
    return padded.reshape(-1, block).mean(axis=1), block * steps / len(norms)


def _median(norms: jax.Array, half: int) -> jax.Array:
    """Compute the median of the ``2 half + 1`` norms around each."""
    padded = jnp.pad(jnp.pad(norms, (half, 0), mode="edge"), (0, half), mode="reflect")
    around = jnp.arange(len(norms))[:, None] + jnp.arange(2 * half + 1)
    return jnp.median(padded[around], axis=1)
