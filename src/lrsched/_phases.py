"""The phases of a course: what a schedule goes through, and the step at which each begins.

A schedule names its own, as ``phases`` of its decorator, beside its horizon; those of the algebra
ask the schedules within them. What plots and descriptions show comes from here.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

from lrsched._schedule import PhaseStart, Schedule

MAX_PHASES: Final = 12
"""Of pieces or cycles, so many are told apart; the last goes on to the end."""
_STILL: Final = ("constant", "held")


def phase_starts(part: Any, until: int) -> list[PhaseStart]:
    """The name and the first step of each phase that begins before ``until``, in order.

    A schedule that names no phases is one, with its own name; a number is one constant.

    >>> import lrsched
    >>> from lrsched._phases import phase_starts
    >>> phase_starts(lrsched.wsd(1.0, steps=100, warmup=10, cooldown=0.2), until=100)
    [('warmup', 0), ('stable', 10), ('cooldown', 80)]
    """
    if not isinstance(part, Schedule):
        return [("constant", 0)] if until > 0 else []
    definition = part._structure.definition
    named = [] if definition.phases is None else definition.phases(until, **part.parameters)
    (first, _), *others = list(named) or [(definition.name, 0)]
    found = [(first, 0), *((name, max(int(start), 0)) for name, start in others)]
    ends = [*(start for _, start in found[1:]), until]
    return [seam for seam, end in zip(found, ends, strict=True) if seam[1] < min(end, until)]


def numbered_phases(name: str, starts: Iterable[Any], until: int) -> list[PhaseStart]:
    """``piece 1``, ``piece 2`` ... at these steps, the twelfth and all after it as one."""
    begun = list(itertools.islice(itertools.takewhile(lambda x: x < until, starts), MAX_PHASES + 1))
    found = [(f"{name} {i}", int(start)) for i, start in enumerate(begun[:MAX_PHASES], start=1)]
    return (
        [*found[:-1], (f"{name} {MAX_PHASES} on", found[-1][1])]
        if len(begun) > MAX_PHASES
        else found
    )


def segment_phases(boundaries: Any, until: int) -> list[PhaseStart]:
    """The pieces between steps at which something jumps."""
    return numbered_phases("piece", [0, *np.asarray(boundaries).tolist()], until)


def concatenate_phases(
    parts: Sequence[Any], lengths: Iterable[int | None], until: int
) -> list[PhaseStart]:
    """Those of several schedules, each from the end of the one before; None: it has no end."""
    found, start = list[PhaseStart](), 0
    for part, length in zip(parts, lengths, strict=True):
        stop = until if length is None else min(start + length, until)
        found += shift_phases(phase_starts(part, stop - start), start)
        start = stop
    return found


def shift_phases(found: Iterable[PhaseStart], by: Any) -> list[PhaseStart]:
    """The same phases, so many steps later."""
    return [(name, start + int(by)) for name, start in found]


def merge_phases(until: int, operands: Sequence[Any]) -> list[PhaseStart]:
    """Those of courses that run at once: a warmup is one whatever it multiplies.

    What stands still adds no name; the names of the others stand beside one another.
    """
    courses = [phase_starts(operand, until) for operand in operands]
    found = list[PhaseStart]()
    for at in sorted({start for course in courses for _, start in course}):
        names = {[name for name, start in course if start <= at][-1]: None for course in courses}
        moving = [name for name in names if name not in _STILL]
        name = "warmup" if "warmup" in names else " & ".join(moving) or max(names)
        if name != "warmup" or name not in dict(found[-1:]):
            found.append((name, at))
    return found
