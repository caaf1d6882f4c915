"""A schedule's course as numbers: where it is sampled, its phases, and a picture of one line.

What plots, the command line and notebooks have in common; NumPy is all that it needs.
"""

import html
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import numpy as np

from lrsched.arguments import BOUNDARIES, DURATION, LENGTH, is_traced
from lrsched.numerics import MAX_STEP
from lrsched.schedule import Schedule

NO_LENGTH: Final = 1000
"""How far a schedule is shown that names no length at all."""
EXACT: Final = 2**22
"""An area of so many updates is the sum of their rates; of more, a trapezoid of as many samples."""
MOST_PIECES: Final = 12


class Phase(NamedTuple):
    """The updates ``start ... stop - 1`` of a course, and what they are called."""

    name: str
    start: int
    stop: int


def is_single(schedule: Schedule) -> bool:
    """Whether all its numbers are known and it has no batch axis: whether it is one curve."""
    return not is_traced(schedule) and jax.eval_shape(schedule, np.int32(0)).shape == ()


def length_of(schedule: Schedule) -> int:
    """How many steps to show: the horizon, or four times the longest length that it names."""
    horizon = schedule.horizon
    if isinstance(horizon, int) and horizon > 0:
        return horizon
    return min(4 * _longest(schedule), MAX_STEP) or NO_LENGTH


def sample(schedule: Schedule, steps: int, count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Steps from 0 to ``steps``, those next to a seam among them, and the values there."""
    seams = np.array([phase.start for phase in phases(schedule, steps)], np.int64)
    near = np.concatenate([seams - 1, seams, seams + 1])
    even = np.linspace(0, steps, min(steps, count) + 1).astype(np.int64)
    at = np.unique(np.clip(np.concatenate([even, near]), 0, steps))
    return at, np.asarray(schedule(at), np.float64)


def is_logarithmic(values: np.ndarray) -> bool:
    """Whether a logarithmic axis helps: most of the course would lie on the floor of a linear one.

    That is so where every value is above 0, they span more than two decades, and half of them are
    below a tenth of the largest. A single dip does not make an axis logarithmic.
    """
    values = values[np.isfinite(values)]
    if not len(values) or values.min() <= 0:
        return False
    top = values.max()
    return bool(top > 100 * values.min() and np.median(values) < 0.1 * top)


def area(schedule: Schedule, start: int, stop: int) -> float:
    """The sum of the rates of the updates ``start ... stop - 1``, in float64."""
    if stop - start <= EXACT:
        return float(np.sum(np.asarray(schedule(np.arange(start, stop)), np.float64)))
    at = np.linspace(start, stop - 1, EXACT).astype(np.int64)
    values = np.asarray(schedule(at), np.float64)
    return float(np.trapezoid(values, at) + (values[0] + values[-1]) / 2)


def phases(schedule: Schedule, steps: int | None = None) -> list[Phase]:
    """What the course consists of, in order, until ``steps`` (or `length_of` it).

    `join` has its parts, `wsd` its three phases, `one_cycle` its rise and falls, a factor of
    `warmup` the steps until it is 1, `cooldown` the fall, steps of a constant each of its pieces.
    Everything else is one phase with its own name.
    """
    steps = length_of(schedule) if steps is None else steps
    name, of = schedule._structure.definition.name, schedule.parameters
    found = _SPLIT[name](of, steps) if name in _SPLIT else [Phase(name, 0, steps)]
    return [
        Phase(part.name, part.start, min(part.stop, steps))
        for part in found
        if part.start < min(part.stop, steps)
    ]


def sparkline(schedule: Schedule, width: int = 240, height: int = 48) -> str | None:
    """A notebook's picture of a schedule: its text over a small SVG in the text's own colour.

    Args:
      schedule: of one curve and known numbers; of any other it is None.
      width: in pixels.
      height: the same.
    """
    if not is_single(schedule):
        return None
    steps = length_of(schedule)
    at, values = sample(schedule, steps, count=width)
    shown = values[np.isfinite(values)]
    if not len(shown):
        return None
    end = "" if schedule.horizon is None else f" at step {steps}"
    text = repr(schedule)
    return (
        f"<div><code>{html.escape(text)}</code><br/>{svg(at, values, text, width, height)}<br/>"
        f"<small>from {values[0]:.4g}, at most {shown.max():.4g}, then "
        f"{values[-1]:.4g}{end}</small></div>"
    )


def svg(at: np.ndarray, values: np.ndarray, label: str, width: int = 240, height: int = 48) -> str:
    """A curve as an SVG in the text's own colour, 0 in sight; gaps where it is not finite.

    Args:
      at: the steps, from 0 on, as `sample` gives them.
      values: the rates there, one of them finite at least.
      label: what a reader that shows no pictures says.
      width: in pixels.
      height: the same.
    """
    shown = np.isfinite(values)
    low, high = min(0.0, float(values[shown].min())), float(values[shown].max())
    span = high - low or 1.0
    x = 1 + (width - 2) * at / (at[-1] or 1)
    y = height - 2 - (height - 4) * (np.where(shown, values, low) - low) / span
    pen = np.where(np.concatenate([[False], shown[:-1]]), "L", "M")
    points = zip(pen[shown], x[shown], y[shown], strict=True)
    path = "".join(f"{letter}{across:.1f} {down:.1f}" for letter, across, down in points)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-label="{html.escape(label)}" '
        f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"><path d="{path}" '
        'fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/></svg>'
    )


def _longest(schedule: Schedule) -> int:
    kinds = schedule._structure.definition.kinds
    found = [0]
    for name, value in schedule.parameters.items():
        items = value if isinstance(value, tuple) else (value,)
        nested = [item for item in items if isinstance(item, Schedule)]
        found += [item.horizon or _longest(item) for item in nested]
        if kinds[name] in (LENGTH, DURATION, BOUNDARIES) and value is not None:
            found.append(int(np.max(value, initial=0)))
    return max(found)


def _resolved(length: Any, steps: int) -> int:
    return int(length) if isinstance(length, int | np.integer) else round(float(length) * steps)


def _of_join(of: dict[str, Any], steps: int) -> list[Phase]:
    found, start = list[Phase](), 0
    for part in of["parts"]:
        if not isinstance(part, Schedule):
            found.append(Phase("constant", start, steps))
            break
        length = steps - start if part.horizon is None else min(part.horizon, steps - start)
        if length > 0:
            found += _moved(phases(part, length), start)
        start += max(length, 0)
    return found


def _moved(found: list[Phase], by: int) -> list[Phase]:
    return [Phase(part.name, part.start + by, part.stop + by) for part in found]


def _of_fold(of: dict[str, Any], steps: int) -> list[Phase]:
    """Warmups first, then what they multiply; several courses at once are one phase."""
    parts = [part for part in of["parts"] if isinstance(part, Schedule)]
    rising = [part for part in parts if _name(part) in _WARMUPS]
    others = [part for part in parts if part not in rising]
    rise = min(max((part.horizon or 0 for part in rising), default=0), steps)
    if len(others) == 1:
        rest = phases(others[0], steps)
    else:
        rest = [Phase(" & ".join(dict.fromkeys(map(_name, others))) or "constant", 0, steps)]
    cut = [Phase(part.name, max(part.start, rise), part.stop) for part in rest]
    return [Phase("warmup", 0, rise), *cut] if rise else rest


def _name(schedule: Schedule) -> str:
    return schedule._structure.definition.name


def _of_wsd(of: dict[str, Any], steps: int) -> list[Phase]:
    whole = int(of["steps"])
    rise, fall = _resolved(of["warmup"], whole), _resolved(of["cooldown"], whole)
    return [
        Phase("warmup", 0, rise),
        Phase("stable", rise, whole - fall),
        Phase("cooldown", whole - fall, whole),
        Phase("held", whole, steps),
    ]


def _of_cooldown(of: dict[str, Any], steps: int) -> list[Phase]:
    start, stop = int(of["start"]), int(of["start"]) + int(of["steps"])
    before = phases(of["inner"], start) if start else []
    return [*before, Phase("cooldown", start, stop), Phase("held", stop, steps)]


def _of_one_cycle(of: dict[str, Any], steps: int) -> list[Phase]:
    whole = int(of["steps"])
    rise = _resolved(of["warmup"], whole)
    back = 2 * rise if of.get("three_phase") else whole
    return [Phase("rise", 0, rise), Phase("fall", rise, back), Phase("tail", back, steps)]


def _of_pieces(boundaries: str) -> Callable[[dict[str, Any], int], list[Phase]]:
    def split(of: dict[str, Any], steps: int) -> list[Phase]:
        starts = [0, *map(int, of[boundaries])]
        if len(starts) > MOST_PIECES:
            return [Phase("pieces", 0, steps)]
        ends = [*starts[1:], max(steps, starts[-1] + 1)]
        pieces = zip(starts, ends, strict=True)
        return [Phase(f"piece {i}", *ends) for i, ends in enumerate(pieces, start=1)]

    return split


def _of_inner(of: dict[str, Any], steps: int) -> list[Phase]:
    return phases(of["inner"], steps)


_WARMUPS: Final = ("warmup", "log_warmup", "exponential_warmup", "untuned_warmup", "radam_warmup")
_SPLIT: Final[dict[str, Callable[[dict[str, Any], int], list[Phase]]]] = {
    "join": _of_join,
    "multiply": _of_fold,
    "add": _of_fold,
    "minimum": _of_fold,
    "maximum": _of_fold,
    "wsd": _of_wsd,
    "cooldown": _of_cooldown,
    "one_cycle": _of_one_cycle,
    "piecewise_constant": _of_pieces("boundaries"),
    "multistep": _of_pieces("milestones"),
    "by_hand": _of_inner,
    "clip": _of_inner,
    "noise": _of_inner,
}
