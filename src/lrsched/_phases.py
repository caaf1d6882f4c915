"""The phases of a schedule: their names, and the step at which each begins.

A schedule names its own phases with ``phases=`` of its decorator; the schedules of the algebra ask
the schedules within them. Plots and descriptions read the phases from here.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from jax.typing import ArrayLike

from lrsched._schedule import PhaseStart, Schedule

if TYPE_CHECKING:
    import chex

MAX_PHASES: Final = 12
"""Largest number of segments or cycles that are labelled separately. The last one has no end."""
FINAL: Final = "final"
"""Name of the phase after the horizon, in which the value is constant."""
_STILL: Final = ("constant", FINAL)


def phase_starts(operand: Schedule | ArrayLike, until: int) -> list[PhaseStart]:
    """Return the phases that begin before a step, in order.

    Args:
      operand: Schedule, or number. A number is a single phase called ``constant``.
      until: Number of steps to look at.

    Returns:
      A list of names and first steps. A schedule without ``phases=`` is a single phase with its own
      name.

    >>> import lrsched
    >>> from lrsched._phases import phase_starts
    >>> phase_starts(lrsched.wsd(1.0, steps=100, warmup=10, cooldown=0.2), until=100)
    [('warmup', 0), ('stable', 10), ('cooldown', 80)]
    """
    if not isinstance(operand, Schedule):
        return [("constant", 0)] if until > 0 else []
    definition = operand._structure.definition
    named = [] if definition.phases is None else definition.phases(operand, until)
    (first, _), *others = list(named) or [(definition.name, 0)]
    starts = [(first, 0), *((name, max(int(start), 0)) for name, start in others)]
    stops = [*(start for _, start in starts[1:]), until]
    return [phase for phase, stop in zip(starts, stops, strict=True) if phase[1] < min(stop, until)]


def numbered_phases(name: str, starts: Iterable["chex.Numeric"], until: int) -> list[PhaseStart]:
    """Return phases called ``name 1``, ``name 2``, ..., the last of which includes all later ones.

    Args:
      name: Common part of the names.
      starts: First steps in increasing order; may be infinite.
      until: Number of steps to look at.

    Returns:
      At most `MAX_PHASES` names and first steps.
    """
    begun = list(itertools.islice(itertools.takewhile(lambda x: x < until, starts), MAX_PHASES + 1))
    result = [(f"{name} {i}", int(start)) for i, start in enumerate(begun[:MAX_PHASES], start=1)]
    if len(begun) <= MAX_PHASES:
        return result
    return [*result[:-1], (f"{name} {MAX_PHASES} on", result[-1][1])]


def segment_phases(boundaries: ArrayLike, until: int) -> list[PhaseStart]:
    """Return the phases between boundaries at which the value jumps."""
    return numbered_phases("segment", [0, *np.asarray(boundaries).tolist()], until)


def concatenate_phases(
    operands: Sequence[Schedule | ArrayLike], lengths: Iterable[int | None], until: int
) -> list[PhaseStart]:
    """Return the phases of several schedules, one after another.

    Args:
      operands: Schedules or numbers.
      lengths: Number of steps of each. ``None`` means that it has no end.
      until: Number of steps to look at.

    Returns:
      Names and first steps.
    """
    result, start = list[PhaseStart](), 0
    for operand, length in zip(operands, lengths, strict=True):
        stop = until if length is None else min(start + length, until)
        result += shift_phases(phase_starts(operand, stop - start), start)
        start = stop
    return result


def shift_phases(starts: Iterable[PhaseStart], by: "chex.Numeric") -> list[PhaseStart]:
    """Return the same phases ``by`` steps later."""
    return [(name, start + int(by)) for name, start in starts]


def merge_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    """Return the phases of a schedule whose ``operands`` run at the same time.

    A warmup remains a warmup regardless of what it multiplies. Constant phases add no name. The
    names of all other phases are joined.
    """
    curves = [phase_starts(operand, until) for operand in schedule.operands]
    result = list[PhaseStart]()
    for at in sorted({start for curve in curves for _, start in curve}):
        names = {[name for name, start in curve if start <= at][-1]: None for curve in curves}
        moving = [name for name in names if name not in _STILL]
        name = "warmup" if "warmup" in names else " & ".join(moving) or max(names)
        if name != "warmup" or name not in dict(result[-1:]):
            result.append((name, at))
    return result
