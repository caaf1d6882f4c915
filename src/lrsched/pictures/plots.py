"""Plots of schedules, training runs and tuning results with matplotlib (extra ``plot``)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from jax.typing import ArrayLike

from lrsched._schedule import Schedule
from lrsched.algebra import as_schedule
from lrsched.arguments import whole_number
from lrsched.pictures import curves as curve
from lrsched.pictures.curves import Line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from lrsched.theory.comparison import ComparisonResult
    from lrsched.tuning._range_test import RangeTestResult
    from lrsched.tuning.results import SweepResult

Curve: TypeAlias = ArrayLike | Sequence[ArrayLike] | tuple[ArrayLike, ArrayLike]
"""Values at the steps 0, 1, 2, ..., or a pair ``(steps, values)``. Seeds are a leading axis."""

# The palette of Okabe and Ito, whose colours differ under the common colour deficiencies.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_MOST_NAMES = 40
_MOST_MARKS = 30
_MOST_RUNS = 6
_LETTER = 0.0145  # of the axes' width, as wide as a letter of a phase's name


def plot_schedule(
    schedule: Schedule,
    ax: Axes | None = None,
    steps: int | None = None,
    beside: Mapping[str, Schedule] | None = None,
) -> Axes:
    """Plot a schedule with its phases, and other schedules on a second axis.

    The axis is logarithmic if all values are above 0, they span more than two decades, and half of
    them are below a tenth of the largest.

    Args:
      schedule: Schedule without traced numbers and without a batch axis.
      ax: Axes of matplotlib. Defaults to new axes.
      steps: Number of steps to draw. Defaults to the horizon, or four times the longest length
        among the parameters.
      beside: Other schedules by name (momentum, weight decay), drawn on a second axis.

    Returns:
      The axes of the rate.

    Raises:
      ValueError: If a schedule is not a single curve, or ``steps`` is not above 0.

    >>> import lrsched
    >>> from lrsched.pictures import plots
    >>> rate, momentum = lrsched.one_cycle(0.1, 1000), lrsched.one_cycle_momentum(0.85, 0.95, 1000)
    >>> plots.plot_schedule(rate, beside={"momentum": momentum}).get_xlabel()
    'step'
    """
    steps = _steps_of("plot_schedule", [schedule, *(beside or {}).values()], steps)
    ax = _axes(ax)
    at, values = curve.sample(schedule, steps)
    (line,) = ax.plot(at, values, color=COLOURS[0], linewidth=1.8, label="learning rate", zorder=3)
    ax.set(xlabel="step", ylabel="learning rate", xlim=(0, steps))
    _fit(ax, [values])
    _shade(ax, curve.phases(schedule, steps), steps)
    if beside:
        twin = ax.twinx()
        twin.spines["top"].set_visible(False)
        lines = [line]
        colours = np.resize(COLOURS[1:], len(beside))
        for colour, (name, other) in zip(colours, beside.items(), strict=True):
            sampled = curve.sample(as_schedule(other), steps)
            lines += twin.plot(*sampled, "--", color=colour, linewidth=1.5, label=name)
        twin.set_ylabel(", ".join(beside))
        _legend_above(ax, lines)
    return ax


def plot_schedules(
    schedules: Mapping[str, Schedule], ax: Axes | None = None, steps: int | None = None
) -> Axes:
    """Plot several schedules over the same steps.

    Args:
      schedules: Schedules by name.
      ax: Axes of matplotlib. Defaults to new axes.
      steps: Number of steps to draw. Defaults to the longest of them.

    Returns:
      The axes.

    Raises:
      ValueError: If a schedule is not a single curve, or ``steps`` is not above 0.

    >>> import lrsched
    >>> from lrsched.pictures import plots
    >>> ax = plots.plot_schedules(
    ...     {"cosine": lrsched.cosine(1.0, 100), "linear": lrsched.linear(1.0, 0.0, 100)})
    >>> ax.get_legend_handles_labels()[1]
    ['cosine', 'linear']
    """
    steps = _steps_of("plot_schedules", list(schedules.values()), steps)
    ax, lines = _axes(ax), []
    styles = np.resize(["-", "--", "-.", ":"], len(schedules))
    colours = np.resize(COLOURS, len(schedules))
    for (name, one), colour, style in zip(schedules.items(), colours, styles, strict=True):
        lines += ax.plot(*curve.sample(one, steps), style, color=colour, linewidth=1.9, label=name)
    ax.set(xlabel="step", ylabel="learning rate", xlim=(0, steps))
    _fit(ax, [np.asarray(line.get_ydata()) for line in lines], is_rate=True)
    _legend_above(ax, lines)
    return ax


def plot_run(
    losses: Curve | Mapping[str, Curve],
    rates: Schedule | Curve | Mapping[str, Schedule | Curve],
    validation: Curve | Mapping[str, Curve] | None = None,
    axes: Sequence[Axes] | None = None,
) -> tuple[Axes, Axes]:
    """Plot losses over the steps, and the learning rates below them.

    Each run has one colour in both axes. A non-finite loss is a gap with a cross above its start.
    Long curves are drawn by the extremes of their bins, so that no spike is lost. The axis of the
    losses is logarithmic if half of them are below a tenth of the largest; for that of the rates,
    see `plot_schedule`.

    Args:
      losses: Training losses at the steps 0, 1, 2, ..., or a pair ``(steps, values)``, optionally
        with a leading axis of seeds; or a mapping of such values for several runs.
      rates: Learning rates in the same form, or a schedule. A mapping has the names of the losses.
      validation: Validation losses in the same form. Values without steps are evenly spaced, with
        the last one at the end of the losses.
      axes: Two axes of matplotlib, for losses and rates. Defaults to new axes.

    Returns:
      The two axes.

    Raises:
      ValueError: If steps and values differ in length, or a schedule is not a single curve.

    >>> import lrsched
    >>> from lrsched.pictures import plots
    >>> top, bottom = plots.plot_run([2.0, 1.0, float("nan")], lrsched.linear(0.1, 0.0, steps=3))
    >>> top.get_ylabel(), bottom.get_ylabel()
    ('loss', 'learning rate')
    """
    train_lines = {name: _lines("losses", one) for name, one in _by_name(losses).items()}
    stop = max(int(line.x[-1]) + 1 for lines in train_lines.values() for line in lines)
    val_lines = {
        name: _lines("validation", one, stop) for name, one in _by_name(validation).items()
    }
    rate_lines = {name: _rate_lines(one, stop) for name, one in _by_name(rates).items()}
    return _draw_runs(train_lines, val_lines, rate_lines, axes)


def plot_runs(
    result: SweepResult, which: Sequence[int] | None = None, axes: Sequence[Axes] | None = None
) -> tuple[Axes, Axes]:
    """Plot losses and learning rates of the runs of a sweep, as `plot_run` does.

    Args:
      result: Result of `lrsched.tuning.sweep`.
      which: Indices into its ``schedules``. Defaults to the six with the lowest losses.
      axes: Two axes of matplotlib, for losses and rates. Defaults to new axes.

    Returns:
      The two axes.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> from lrsched import tuning
    >>> from lrsched.pictures import plots
    >>> loss_fn = lambda w, batch: jnp.mean((batch - w) ** 2)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, jnp.ones(8), batch_size=4)
    >>> found = tuning.sweep(
    ...     run, [lrsched.cosine(peak, steps=9) for peak in (1e-3, 1e-1)], progress=False)
    >>> top, _ = plots.plot_runs(found)
    >>> [text.get_text() for text in top.get_legend().get_texts()]
    ['peak 0.001', 'peak 0.1']
    """
    from lrsched.tuning.results import varying_parameters

    if which is None:
        which = sorted(np.argsort(result.mean_losses(), kind="stable")[:_MOST_RUNS].tolist())
    numbers = varying_parameters(result.schedules)
    train_lines, val_lines, rate_lines = dict[str, list[Line]](), dict[str, list[Line]](), {}
    for place in which:
        text = ", ".join(
            f"{_caption(name)} {values[place]:.4g}" for name, values in numbers.items()
        )
        name = text or f"schedule {place}"
        runs = np.flatnonzero(result.table["schedule"] == place).tolist()
        train_lines[name] = [_of_training(result, run) for run in runs]
        val_lines[name] = [line for run in runs if len((line := _of_validation(result, run)).x)]
        rate_lines[name] = _rate_lines(result.schedules[place], int(result.lengths[runs[0]]))
    return _draw_runs(
        train_lines, {name: x for name, x in val_lines.items() if x}, rate_lines, axes
    )


def _caption(name: str) -> str:
    """Return the name of a parameter as figures show it: ``0.1 * schedule`` has a factor."""
    return "factor" if re.fullmatch(r"operands\[\d+\]", name) else name


def plot_range_test(
    result: RangeTestResult, ax: Axes | None = None, mine: float | None = None
) -> Axes:
    """Plot smoothed losses over learning rates, with the usable range and the suggestion.

    Args:
      result: Result of `lrsched.tuning.range_test`.
      ax: Axes of matplotlib. Defaults to new axes.
      mine: A rate to mark, with its verdict.

    Returns:
      The axes.

    >>> import numpy as np
    >>> from lrsched import tuning
    >>> from lrsched.pictures import plots
    >>> rates, losses = np.geomspace(1e-3, 1, 50), np.linspace(2, 1, 50)[None]
    >>> plots.plot_range_test(tuning.RangeTestResult(rates, losses, losses)).get_xscale()
    'log'
    """
    ax = _axes(ax)
    for losses, smoothed in zip(result.losses, result.smoothed, strict=True):
        ax.plot(result.rates, losses, color=COLOURS[0], alpha=0.15, linewidth=0.8)
        ax.plot(result.rates, smoothed, color=COLOURS[0], linewidth=1.6)
    usable, suggestion = result.range, result.suggestion()
    ax.axvspan(usable.low, usable.high, color=COLOURS[2], alpha=0.12, label="usable")
    ax.axvline(suggestion, color=COLOURS[1], linestyle="--", label=f"suggested: {suggestion:.2g}")
    finite = result.smoothed[np.isfinite(result.smoothed)]
    margin = 0.1 * np.ptp(finite)
    ax.set_ylim(finite.min() - margin, np.quantile(finite, 0.98) + margin)
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    if mine is not None:
        _mark(ax, mine, result.verdict(mine).verdict)
    ax.legend(frameon=False)
    return ax


def plot_sweep(
    result: SweepResult,
    x: str | None = None,
    by: str | None = None,
    ax: Axes | None = None,
    mine: float | None = None,
) -> Axes:
    """Plot the final loss over a parameter of the schedules: mean and range of the seeds.

    If schedules with the same value differ in other parameters, the best of them is shown.

    Args:
      result: Result of `lrsched.tuning.sweep`.
      x: Column of its table for the horizontal axis. Defaults to the first parameter that varies.
      by: Column with one curve for each of its values. If ``None``, there is one curve.
      ax: Axes of matplotlib. Defaults to new axes.
      mine: A value of ``x`` to mark, a rate, with its verdict.

    Returns:
      The axes.

    Raises:
      ValueError: If there is no such column, or no parameter varies.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> from lrsched import tuning
    >>> from lrsched.pictures import plots
    >>> loss_fn = lambda w, batch: jnp.mean((batch - w) ** 2)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, jnp.ones(8), batch_size=4)
    >>> found = tuning.sweep(
    ...     run, [lrsched.cosine(peak, steps=9) for peak in (1e-3, 1e-1)], progress=False)
    >>> plots.plot_sweep(found).get_xlabel()
    'peak'
    """
    from lrsched.tuning.results import varying_parameters

    table, ax = result.table, _axes(ax)
    numbers = list(varying_parameters(result.schedules))
    verdict = None if mine is None else result.verdict(mine, x).verdict
    if x is None and not numbers:
        raise ValueError(
            "plot: x=None is not accepted, as no parameter of the schedules varies; x must be a "
            "column of the table."
        )
    x = numbers[0] if x is None else x
    for name in filter(None, (x, by)):
        columns = table.dtype.names or ()
        if name not in columns:
            raise ValueError(f"plot: {name!r} is no column; the table has {', '.join(columns)}.")
    values, shown = np.unique(table[by]) if by else [None], list[float]()
    for colour, value in zip(np.resize(COLOURS, len(values)), values, strict=True):
        rows = table if value is None else table[table[by] == value]
        places = np.unique(rows[x][np.isfinite(rows["loss"])])
        losses = [_of_the_best(rows[rows[x] == place]) for place in places]
        label = None if value is None else f"{by} {value:g}"
        ax.plot(places, [some.mean() for some in losses], "o-", color=colour, label=label, ms=3)
        shown += [float(some.mean()) for some in losses]
        ends = [some.min() for some in losses], [some.max() for some in losses]
        ax.fill_between(places, *ends, color=colour, alpha=0.15, linewidth=0)
        missing = np.setdiff1d(rows[x], places)
        _cross(ax, missing, colour)
    spans = np.max(table[x]) / np.min(table[x]) if np.min(table[x]) > 0 else 1.0
    ax.set(xlabel=_caption(x), ylabel="final loss", xscale="log" if spans > 10 else "linear")
    if shown and min(shown) > 0 and max(shown) / min(shown) > 10:
        ax.set_yscale("log")
    if mine is not None and verdict is not None:
        _mark(ax, mine, verdict)
    if by or mine is not None:
        ax.legend(frameon=False)
    return ax


def _mark(ax: Axes, rate: float, verdict: str) -> None:
    ax.axvline(rate, color=COLOURS[-1], linestyle=":", label=f"mine: {rate:.2g}, {verdict}")


def plot_comparison(result: ComparisonResult, ax: Axes | None = None) -> Axes:
    """Plot predicted final losses of schedules with their intervals, the lowest at the top.

    Args:
      result: Result of `lrsched.theory.compare`.
      ax: Axes of matplotlib. Defaults to new axes.

    Returns:
      The axes.

    >>> import lrsched
    >>> from lrsched import theory
    >>> from lrsched.pictures import plots
    >>> law = theory.LossLaw("power", {"L0": 2.0, "A": 1.0, "alpha": 0.5})
    >>> runs = [lrsched.constant(0.1), lrsched.linear(0.1, 0.0, steps=100)]
    >>> plots.plot_comparison(theory.compare(runs, law, steps=100)).get_xlabel()
    'predicted final loss'
    """
    table, ax = np.sort(result.table, order="loss")[::-1], _axes(ax)
    places, losses = np.arange(len(table)), table["loss"]
    known = np.isfinite(table["low"])
    ax.hlines(
        places[known], table["low"][known], table["high"][known], color=COLOURS[0], alpha=0.3, lw=4
    )
    ax.plot(losses, places, "o", color=COLOURS[0], ms=4)
    if len(table) <= _MOST_NAMES:
        ax.set_yticks(places, table["name"])
    ax.set(xlabel="predicted final loss")
    return ax


def _steps_of(function: str, schedules: list[Schedule], steps: int | None) -> int:
    for one in schedules:
        if isinstance(one, Schedule) and not curve.is_concrete_scalar(one):
            raise ValueError(
                f"{function}: {one!r} is not one curve; it must have no traced numbers and no "
                "batch axis."
            )
    if steps is None:
        return max(curve.display_steps(as_schedule(one)) for one in schedules)
    return whole_number().validate(function, "steps", steps)


def _by_name(argument: Any) -> Mapping[str, Any]:
    return {} if argument is None else argument if isinstance(argument, Mapping) else {"": argument}


def _lines(function: str, argument: Any, stop: int | None = None) -> list[Line]:
    """Return one line for each seed. Values without steps are consecutive, or end at ``stop``."""
    has_steps = isinstance(argument, tuple) and len(argument) == 2 and np.ndim(argument[0]) == 1
    values = np.atleast_2d(np.asarray(argument[1] if has_steps else argument, np.float64))
    count = values.shape[-1]
    if has_steps:
        steps = np.asarray(argument[0])
    else:
        steps = np.arange(count) if stop is None else stop * np.arange(1, count + 1) / count - 1
    if values.ndim != 2 or not count or len(steps) != count:
        raise ValueError(
            f"plot_run: {function} of shape {values.shape} at {len(steps)} steps are not accepted; "
            "they must be as many as the steps, with at most one axis before, of seeds."
        )
    return [Line(steps, row) for row in values]


def _rate_lines(argument: Schedule | Curve, stop: int) -> list[Line]:
    if not isinstance(argument, Schedule):
        return _lines("rates", argument)
    return [curve.sample(argument, _steps_of("plot_run", [argument], stop))]


def _of_training(result: SweepResult, run: int) -> Line:
    """Return the mean training losses of a run, each at the middle of its window."""
    losses, done = result.train_loss[run], int(result.table["updates"][run])
    window = -(-int(result.lengths[run]) // len(losses))
    begin = np.arange(0, done, window)
    middle = (begin + np.minimum(begin + window, done) - 1) / 2
    return Line(middle, losses[: len(begin)].astype(np.float64))


def _of_validation(result: SweepResult, run: int) -> Line:
    losses, length = result.validation_loss[run], int(result.lengths[run])
    steps = length * np.arange(1, len(losses) + 1) // len(losses) - 1
    return Line(steps[~np.isnan(losses)], losses[~np.isnan(losses)].astype(np.float64))


def _draw_runs(
    train_lines: Mapping[str, list[Line]],
    val_lines: Mapping[str, list[Line]],
    rate_lines: Mapping[str, list[Line]],
    axes: Sequence[Axes] | None,
) -> tuple[Axes, Axes]:
    if axes is None:
        axes = _new_axes((7, 5.2), nrows=2, sharex=True, height_ratios=(3, 1))
    top, bottom = axes
    names = list(dict.fromkeys([*train_lines, *val_lines, *rate_lines]))
    colours = dict(zip(names, np.resize(COLOURS, len(names)), strict=True))
    quiet: dict[str, Any] = {"lw": 1.0, "alpha": 0.45}
    loud: dict[str, Any] = {"lw": 1.8, "ms": 3}
    for ax, by_name, style in (
        (top, train_lines, quiet if val_lines else {"lw": 1.4}),
        (top, val_lines, loud),
        (bottom, rate_lines, {"lw": 1.6}),
    ):
        for name, lines in by_name.items():
            for line in lines:
                is_short = ax is top and len(line.x) <= _MOST_MARKS
                marks = {"marker": "o", "clip_on": False} if is_short else {}
                _draw(ax, line, color=colours[name], **style, **marks)
    losses = [line.y for by in (train_lines, val_lines) for lines in by.values() for line in lines]
    _fit(top, losses, decades=1.0)
    _fit(bottom, [line.y for lines in rate_lines.values() for line in lines], is_rate=True)
    stop = max(line.x[-1] + 1 for lines in train_lines.values() for line in lines)
    top.set(ylabel="loss")
    bottom.set(xlabel="step", ylabel="learning rate", xlim=(0, stop))
    handles = [top.plot([], [], color=colours[name], label=name)[0] for name in names if name]
    if val_lines:
        handles += top.plot([], [], color="0.4", label="training", **quiet)
        handles += top.plot([], [], color="0.4", label="validation", marker="o", **loud)
    _legend_above(top, handles)
    return top, bottom


def _draw(ax: Axes, line: Line, **style: Any) -> None:
    """Draw a line with gaps where it is not finite, and a cross above the start of each gap."""
    is_there = np.isfinite(line.y)
    ax.plot(*curve.decimate(line.x, np.where(is_there, line.y, np.nan)), **style)
    _cross(ax, line.x[~is_there & np.concatenate([[True], is_there[:-1]])], style["color"])


def _cross(ax: Axes, places: np.ndarray, colour: str) -> None:
    """Draw a cross at the top of the axes for what has no finite value."""
    heights = np.full(len(places), 0.97)
    ax.plot(places, heights, "x", color=colour, transform=ax.get_xaxis_transform())


def _fit(
    ax: Axes, curves: Sequence[np.ndarray], decades: float = 2.0, is_rate: bool = False
) -> None:
    """Set a logarithmic axis where it helps, else one from 0 with short numbers.

    It also helps if the peak of one rate is far below that of another. Both may end at 0.
    """
    finite = [values[np.isfinite(values)] for values in curves]
    peaks = [float(values.max()) for values in finite if len(values)]
    if not peaks:
        return
    low, high = min(values.min() for values in finite if len(values)), max(peaks)
    if curve.is_logarithmic(curves, decades):
        ax.set_yscale("log")
        return
    if is_rate and high > 10 * min(peaks) > 0:
        ax.set_yscale("log")
        ax.set_ylim(bottom=max(low, min(peaks) / 100))
        return
    if low >= 0:
        ax.set_ylim(bottom=0)
    exponent = int(np.floor(np.log10(high))) if high > 0 else 0
    if not -3 < exponent < 5:
        ax.yaxis.set_major_formatter(
            lambda x, _: f"{x / 10.0**exponent:.3g}e{exponent}" if x else "0"
        )


def _legend_above(ax: Axes, handles: Sequence[Line2D]) -> None:
    """Draw the legend above the axes and the names of the phases, where it hides no curve."""
    if not handles:
        return
    longest = max(len(str(handle.get_label())) for handle in handles) + 5
    ax.legend(
        handles=handles,
        frameon=False,
        ncols=max(1, min(len(handles), int(1 / _LETTER / longest))),
        loc="lower center",
        bbox_to_anchor=(0.5, 1.04),
        fontsize=9,
    )


def _shade(ax: Axes, phases: list[curve.Phase], steps: int) -> None:
    """Shade every other phase, and name the phases above the axes if there is room."""
    if len(phases) < 2:
        return
    until = 0.0
    for i, phase in enumerate(phases):
        if i % 2 == 0:
            ax.axvspan(phase.start, phase.stop, color="0.5", alpha=0.1, linewidth=0, zorder=0)
        at = max(phase.start / steps, until)
        width = _LETTER * (len(phase.name) + 1)
        at = max(min(at, 1 + _LETTER - width), until)
        if at < phase.stop / steps and at + width <= 1 + 2 * _LETTER:
            ax.text(at, 1.01, phase.name, transform=ax.transAxes, fontsize=8, color="0.35")
            until = at + width


def _of_the_best(rows: np.ndarray) -> np.ndarray:
    """Return the finite losses of the schedule with the lowest mean among these rows."""
    rows = rows[np.isfinite(rows["loss"])]
    means = {i: rows["loss"][rows["schedule"] == i].mean() for i in np.unique(rows["schedule"])}
    return rows["loss"][rows["schedule"] == min(means, key=means.__getitem__)]


def _axes(ax: Axes | None) -> Axes:
    return _new_axes((7, 4.2))[0] if ax is None else ax


def _new_axes(size: tuple[float, float], **how: Any) -> Sequence[Axes]:
    import matplotlib.pyplot as plt

    _, grid = plt.subplots(figsize=size, layout="constrained", squeeze=False, **how)
    axes: Sequence[Axes] = grid[:, 0]
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.3)
    return axes
