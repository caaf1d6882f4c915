"""Curves of schedules as numbers: samples, phases, decimation, and a small SVG.

Plots, the command line and notebooks share these functions. They need only NumPy.
"""

from __future__ import annotations

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
"""Number of steps that are shown of a schedule without any length."""
MAX_EXACT_STEPS: Final = 2**22
"""Largest number of updates whose rates are summed exactly. Longer sums are a trapezoid rule."""


class Line(NamedTuple):
    """One curve to draw: increasing positions, and the values there. A NaN is a gap."""

    x: np.ndarray
    y: np.ndarray


class Phase(NamedTuple):
    """Updates ``start ... stop - 1`` of a schedule, under one name."""

    name: str
    start: int
    stop: int


def is_concrete_scalar(schedule: Schedule) -> bool:
    """Return whether a schedule is a single curve: no traced number and no batch axis."""
    return not is_traced(schedule) and jax.eval_shape(schedule, np.int32(0)).shape == ()


def display_steps(schedule: Schedule) -> int:
    """Return the number of steps to show of a schedule.

    This is the horizon, or four times the longest length among the parameters. If the last segment
    begins at the horizon, as in `multistep`, a third is added for it.
    """
    horizon = schedule.horizon
    if isinstance(horizon, int) and horizon > 0:
        longer = min(horizon + -(-horizon // 3), MAX_STEP)
        return longer if _leaps_at(schedule, horizon) else horizon
    return min(4 * _longest(schedule), MAX_STEP) or DEFAULT_LENGTH


def sample(schedule: Schedule, steps: int, count: int = 1000) -> Line:
    """Return steps and the values there, as every renderer draws them.

    Args:
      schedule: Schedule that is a single curve.
      steps: Last step. If a segment or cycle begins there, the samples end before it.
      count: Number of evenly spaced samples. Steps next to a phase boundary are added.

    Returns:
      Increasing steps in int64, and their values in float64.
    """
    starts = np.array([phase.start for phase in phases(schedule, steps)], np.int64)
    near = np.concatenate([starts - 1, starts, starts + 1])
    even = np.linspace(0, steps, min(steps, count) + 1).astype(np.int64)
    last = steps - 1 if _leaps_at(schedule, steps) else steps
    at = np.unique(np.clip(np.concatenate([even, near]), 0, last))
    return Line(at, np.asarray(schedule(at), np.float64))


def is_logarithmic(curves: Sequence[np.ndarray], decades: float = 2.0) -> bool:
    """Return whether the axis of some curves should be logarithmic.

    It should if all values are above 0, span more than ``decades``, and half of the values of a
    curve are below a tenth of the largest value. A single dip does not make the axis logarithmic.

    Args:
      curves: Values of each curve. Non-finite values are ignored.
      decades: Span in decades.

    Returns:
      Whether a linear axis would show most of a curve as zero.
    """
    finite = [values[np.isfinite(values)] for values in curves]
    finite = [values for values in finite if len(values)]
    low = min((values.min() for values in finite), default=0.0)
    if low <= 0:
        return False
    high = max(values.max() for values in finite)
    return bool(high > 10**decades * low and min(map(np.median, finite)) < 0.1 * high)


def decimate(steps: np.ndarray, values: np.ndarray, num_bins: int = 1000) -> Line:
    """Return a shorter curve with the extremes of each bin, so that no spike and no gap is lost.

    Args:
      steps: Steps of the curve, increasing.
      values: Values there. NaN is a gap.
      num_bins: Number of bins, each of which keeps its minimum, its maximum and a NaN.

    Returns:
      Steps and values, at most ``3 * num_bins + 2`` of them.
    """
    if len(values) <= 3 * num_bins:
        return Line(steps, values)
    is_number = ~np.isnan(values)
    indices = [0, len(values) - 1]
    for bin_ in np.array_split(np.arange(len(values)), num_bins):
        indices.append(bin_[np.argmin(is_number[bin_])])
        there = bin_[is_number[bin_]]
        if len(there):
            indices += [there[np.argmin(values[there])], there[np.argmax(values[there])]]
    places = np.unique(indices)
    return Line(steps[places], values[places])


def area(schedule: Schedule, start: int, stop: int) -> float:
    """Return the sum of the values at the steps ``start ... stop - 1``, in float64."""
    if stop - start <= MAX_EXACT_STEPS:
        return float(np.sum(np.asarray(schedule(np.arange(start, stop)), np.float64)))
    at = np.linspace(start, stop - 1, MAX_EXACT_STEPS).astype(np.int64)
    values = np.asarray(schedule(at), np.float64)
    return float(np.trapezoid(values, at) + (values[0] + values[-1]) / 2)


def phases(schedule: Schedule, steps: int | None = None) -> list[Phase]:
    """Return the phases of a schedule in order.

    Args:
      schedule: Schedule; see ``phases`` of `lrsched.schedule`.
      steps: Number of steps to look at. Defaults to `display_steps` of the schedule.

    Returns:
      The phases, without a gap between them.
    """
    steps = display_steps(schedule) if steps is None else steps
    starts = phase_starts(schedule, steps)
    ends = [*(start for _, start in starts[1:]), steps]
    return [Phase(name, start, end) for (name, start), end in zip(starts, ends, strict=True)]


def sparkline(schedule: Schedule, width: int = 240, height: int = 48) -> str | None:
    """Return the picture of a schedule in a notebook: its text above a small SVG.

    Args:
      schedule: Schedule to draw.
      width: Width in pixels.
      height: Height in pixels.

    Returns:
      HTML, or ``None`` if the schedule is not a single curve with a finite value.
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


def svg(
    at: np.ndarray,
    values: np.ndarray,
    label: str,
    width: int = 240,
    height: int = 48,
    from_zero: bool = True,
) -> str:
    """Return a curve as an SVG in the colour of the text.

    Args:
      at: Increasing steps, as `sample` returns them.
      values: Values there, with at least one finite number. Non-finite values are gaps.
      label: Text for screen readers.
      width: Width in pixels; where the page is narrower, the picture shrinks.
      height: Height in pixels.
      from_zero: Whether the vertical axis includes 0.

    Returns:
      The SVG element.
    """
    shown = np.isfinite(values)
    low, high = float(values[shown].min()), float(values[shown].max())
    low = min(0.0, low) if from_zero else low
    span = high - low or 1.0
    x = 1 + (width - 2) * (at - at[0]) / ((at[-1] - at[0]) or 1)
    y = height - 2 - (height - 4) * (np.where(shown, values, low) - low) / span
    pen = np.where(np.concatenate([[False], shown[:-1]]), "L", "M")
    points = zip(pen[shown], x[shown], y[shown], strict=True)
    path = "".join(f"{letter}{across:.1f} {down:.1f}" for letter, across, down in points)
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" '
        f'width="{width}" viewBox="0 0 {width} {height}" style="max-width: 100%"><path d="{path}" '
        'fill="none" stroke="currentColor" stroke-width="1.5" stroke-linejoin="round"/></svg>'
    )


def _leaps_at(schedule: Schedule, step: int) -> bool:
    """Return whether a segment or a cycle begins at ``step``."""
    name, start = phase_starts(schedule, step + 1)[-1]
    return start == step and ("segment" in name or "cycle" in name)


def _longest(schedule: Schedule) -> int:
    kinds = schedule._structure.definition.argument_types
    lengths = [0]
    for name, value in schedule.parameters.items():
        items = value if isinstance(value, tuple) else (value,)
        nested = [item for item in items if isinstance(item, Schedule)]
        lengths += [item.horizon or _longest(item) for item in nested]
        if kinds[name] in (POSITIVE_INT, NON_NEGATIVE_INT, BOUNDARIES) and value is not None:
            lengths.append(int(np.max(value, initial=0)))
    return max(lengths)
