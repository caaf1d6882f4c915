"""A schedule's course as numbers: where it is sampled, its phases, and a picture of one line.

What plots, the command line and notebooks have in common; NumPy is all that it needs.
"""

import html
from collections.abc import Sequence
from typing import Final, NamedTuple

import jax
import numpy as np

from lrsched._phases import phase_starts
from lrsched._schedule import Schedule
from lrsched.arguments import BOUNDARIES, NON_NEGATIVE_INT, POSITIVE_INT, is_traced
from lrsched.numerics import MAX_STEP

DEFAULT_LENGTH: Final = 1000
"""How far a schedule is shown that names no length at all."""
MAX_EXACT_STEPS: Final = 2**22
"""An area of so many updates is the sum of their rates; of more, a trapezoid of as many samples."""


class Phase(NamedTuple):
    """The updates ``start ... stop - 1`` of a course, and what they are called."""

    name: str
    start: int
    stop: int


def is_concrete_scalar(schedule: Schedule) -> bool:
    """Whether all its numbers are known and it has no batch axis: whether it is one curve."""
    return not is_traced(schedule) and jax.eval_shape(schedule, np.int32(0)).shape == ()


def display_steps(schedule: Schedule) -> int:
    """How many steps to show: the horizon, or four times the longest length that it names.

    Where the last piece begins at the horizon, as after the last cut of several, a third is added
    for it.
    """
    horizon = schedule.horizon
    if isinstance(horizon, int) and horizon > 0:
        longer = min(horizon + -(-horizon // 3), MAX_STEP)
        return longer if _leaps_at(schedule, horizon) else horizon
    return min(4 * _longest(schedule), MAX_STEP) or DEFAULT_LENGTH


def sample(schedule: Schedule, steps: int, count: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Steps from 0 to ``steps``, those next to a seam among them, and the values there.

    Where the next piece or cycle begins at ``steps``, they end before it.
    """
    starts = np.array([phase.start for phase in phases(schedule, steps)], np.int64)
    near = np.concatenate([starts - 1, starts, starts + 1])
    even = np.linspace(0, steps, min(steps, count) + 1).astype(np.int64)
    last = steps - 1 if _leaps_at(schedule, steps) else steps
    at = np.unique(np.clip(np.concatenate([even, near]), 0, last))
    return at, np.asarray(schedule(at), np.float64)


def is_logarithmic(courses: Sequence[np.ndarray], decades: float = 2.0) -> bool:
    """Whether a logarithmic axis helps: most of a course would lie on the floor of a linear one.

    That is so where every value is above 0, they span so many decades, and half of a course is
    below a tenth of the largest of all. A single dip does not make an axis logarithmic.
    """
    finite = [values[np.isfinite(values)] for values in courses]
    finite = [values for values in finite if len(values)]
    low = min((values.min() for values in finite), default=0.0)
    if low <= 0:
        return False
    high = max(values.max() for values in finite)
    return bool(high > 10**decades * low and min(map(np.median, finite)) < 0.1 * high)


def decimate(
    steps: np.ndarray, values: np.ndarray, stretches: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """A long curve for a picture: of each stretch the least and the greatest value, and a NaN.

    So no spike and no gap is lost, as they would be among every thousandth value.
    """
    if len(values) <= 3 * stretches:
        return steps, values
    is_there = ~np.isnan(values)
    kept = [0, len(values) - 1]
    for part in np.array_split(np.arange(len(values)), stretches):
        kept.append(part[np.argmin(is_there[part])])
        there = part[is_there[part]]
        if len(there):
            kept += [there[np.argmin(values[there])], there[np.argmax(values[there])]]
    places = np.unique(kept)
    return steps[places], values[places]


def area(schedule: Schedule, start: int, stop: int) -> float:
    """The sum of the rates of the updates ``start ... stop - 1``, in float64."""
    if stop - start <= MAX_EXACT_STEPS:
        return float(np.sum(np.asarray(schedule(np.arange(start, stop)), np.float64)))
    at = np.linspace(start, stop - 1, MAX_EXACT_STEPS).astype(np.int64)
    values = np.asarray(schedule(at), np.float64)
    return float(np.trapezoid(values, at) + (values[0] + values[-1]) / 2)


def phases(schedule: Schedule, steps: int | None = None) -> list[Phase]:
    """What the course consists of, in order, until ``steps`` (or `length_of` it).

    A schedule names its own: see ``phases`` of `lrsched.schedule`. One that names none is one
    phase with its own name.
    """
    steps = display_steps(schedule) if steps is None else steps
    found = phase_starts(schedule, steps)
    ends = [*(start for _, start in found[1:]), steps]
    return [Phase(name, start, end) for (name, start), end in zip(found, ends, strict=True)]


def sparkline(schedule: Schedule, width: int = 240, height: int = 48) -> str | None:
    """A notebook's picture of a schedule: its text over a small SVG in the text's own colour.

    Args:
      schedule: of one curve and known numbers; of any other it is None.
      width: in pixels.
      height: the same.
    """
    if not is_concrete_scalar(schedule):
        return None
    steps = display_steps(schedule)
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


def _leaps_at(schedule: Schedule, step: int) -> bool:
    """Whether another piece or cycle begins there."""
    name, start = phase_starts(schedule, step + 1)[-1]
    return start == step and ("segment" in name or "cycle" in name)


def _longest(schedule: Schedule) -> int:
    kinds = schedule._structure.definition.argument_types
    found = [0]
    for name, value in schedule.parameters.items():
        items = value if isinstance(value, tuple) else (value,)
        nested = [item for item in items if isinstance(item, Schedule)]
        found += [item.horizon or _longest(item) for item in nested]
        if kinds[name] in (POSITIVE_INT, NON_NEGATIVE_INT, BOUNDARIES) and value is not None:
            found.append(int(np.max(value, initial=0)))
    return max(found)
