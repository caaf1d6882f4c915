"""Pictures with matplotlib, in the extra ``plot``: of schedules and of what tuning found."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from lrsched import curve
from lrsched.algebra import as_schedule
from lrsched.schedule import Schedule

if TYPE_CHECKING:
    from lrsched.theory.comparison import Comparison
    from lrsched.tuning.range_test import RangeTest
    from lrsched.tuning.results import Sweep

# Okabe and Ito's palette, whose colours stay apart under the common colour deficiencies.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")

_MOST_NAMES = 40
_LETTER = 0.0145  # of the axes' width, as wide as a letter of a phase's name


def plot_schedule(
    schedule: Schedule,
    ax: Any = None,
    steps: int | None = None,
    beside: Mapping[str, Schedule] | None = None,
) -> Any:
    """The rate over the steps, its phases shaded and named, others on an axis of their own.

    The axis is logarithmic where most of the course would lie on the floor of a linear one: every
    value is above 0, they span more than two decades, and half are below a tenth of the largest.

    Args:
      schedule: of one curve: no traced number, no batch axis.
      ax: matplotlib's axes; by default new ones.
      steps: how far to draw; by default to the horizon, or four times the longest length in it.
      beside: other schedules by their names (momentum, weight decay), on a second axis.

    Returns:
      The axes of the rate.

    Raises:
      ValueError: a schedule is not one curve, or ``steps`` is not above 0.

    >>> import lrsched
    >>> from lrsched import plotting
    >>> rate, momentum = lrsched.one_cycle(0.1, 1000), lrsched.one_cycle_momentum(0.85, 0.95, 1000)
    >>> plotting.plot_schedule(rate, beside={"momentum": momentum}).get_xlabel()
    'step'
    """
    steps = _steps_of("plot_schedule", [schedule, *(beside or {}).values()], steps)
    ax = _axes(ax)
    at, values = curve.sample(schedule, steps)
    (line,) = ax.plot(at, values, color=COLOURS[0], linewidth=1.8, label="learning rate", zorder=3)
    ax.set(xlabel="step", ylabel="learning rate", xlim=(0, steps))
    if curve.is_logarithmic(values):
        ax.set_yscale("log")
    elif values.min() >= 0:
        ax.set_ylim(bottom=0)
    _shade(ax, curve.phases(schedule, steps), steps)
    if beside:
        twin = ax.twinx()
        twin.spines["top"].set_visible(False)
        lines = [line]
        colours = np.resize(COLOURS[1:], len(beside))
        for colour, (name, other) in zip(colours, beside.items(), strict=True):
            at, values = curve.sample(as_schedule(other), steps)
            lines += twin.plot(at, values, "--", color=colour, linewidth=1.5, label=name)
        twin.set_ylabel(", ".join(beside))
        ax.legend(  # above the names of the phases: within the axes it may hide either curve
            handles=lines,
            frameon=False,
            ncols=len(lines),
            loc="lower center",
            bbox_to_anchor=(0.5, 1.04),
        )
    return ax


def plot_schedules(
    schedules: Mapping[str, Schedule], ax: Any = None, steps: int | None = None
) -> Any:
    """Several rates over the same steps, one curve each.

    Args:
      schedules: by their names.
      ax: matplotlib's axes; by default new ones.
      steps: how far to draw; by default to the longest of them.

    Returns:
      The axes.

    Raises:
      ValueError: as for `plot_schedule`.

    >>> import lrsched
    >>> from lrsched import plotting
    >>> ax = plotting.plot_schedules(
    ...     {"cosine": lrsched.cosine(1.0, 100), "linear": lrsched.linear(1.0, 0.0, 100)})
    >>> ax.get_legend_handles_labels()[1]
    ['cosine', 'linear']
    """
    steps = _steps_of("plot_schedules", list(schedules.values()), steps)
    ax, seen = _axes(ax), []
    styles = np.resize(["-", "--", "-.", ":"], len(schedules))
    colours = np.resize(COLOURS, len(schedules))
    for (name, one), colour, style in zip(schedules.items(), colours, styles, strict=True):
        at, values = curve.sample(one, steps)
        ax.plot(at, values, style, color=colour, linewidth=1.6, label=name)
        seen.append(values)
    ax.set(xlabel="step", ylabel="learning rate", xlim=(0, steps))
    if curve.is_logarithmic(np.concatenate(seen)):
        ax.set_yscale("log")
    ax.legend(frameon=False)
    return ax


def plot_range_test(found: "RangeTest", ax: Any = None) -> Any:
    """The smoothed losses over the rates, the usable range shaded, the suggestion marked.

    Args:
      found: what `range_test` returned.
      ax: matplotlib's axes; by default new ones.

    Returns:
      The axes.

    >>> import numpy as np
    >>> from lrsched import plotting, tuning
    >>> rates, losses = np.geomspace(1e-3, 1, 50), np.linspace(2, 1, 50)[None]
    >>> plotting.plot_range_test(tuning.RangeTest(rates, losses, losses)).get_xscale()
    'log'
    """
    ax = _axes(ax)
    for losses, smoothed in zip(found.losses, found.smoothed, strict=True):
        ax.plot(found.rates, losses, color=COLOURS[0], alpha=0.15, linewidth=0.8)
        ax.plot(found.rates, smoothed, color=COLOURS[0], linewidth=1.6)
    usable, suggestion = found.range, found.suggestion()
    ax.axvspan(usable.low, usable.high, color=COLOURS[2], alpha=0.12, label="usable")
    ax.axvline(suggestion, color=COLOURS[1], linestyle="--", label=f"suggested: {suggestion:.2g}")
    seen = found.smoothed[np.isfinite(found.smoothed)]
    ax.set_ylim(seen.min() - 0.1 * np.ptp(seen), np.quantile(seen, 0.98) + 0.1 * np.ptp(seen))
    ax.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    ax.legend(frameon=False)
    return ax


def plot_sweep(found: "Sweep", x: str | None = None, by: str | None = None, ax: Any = None) -> Any:
    """The final loss against a number of the schedules: the mean, in the band of the seeds.

    Where schedules with the same number differ in others, it is the best of them.

    Args:
      found: what `sweep` returned.
      x: the column of its table to go along; by default the first number that varies.
      by: another column: a curve for each of its values.
      ax: matplotlib's axes; by default new ones.

    Returns:
      The axes.

    Raises:
      ValueError: no such column, or no number that varies.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> from lrsched import plotting, tuning
    >>> loss_fn = lambda w, batch: jnp.mean((batch - w) ** 2)
    >>> run = tuning.training(loss_fn, jnp.zeros(()), optax.adam, jnp.ones(8), batch_size=4)
    >>> found = tuning.sweep(
    ...     run, [lrsched.cosine(peak, steps=9) for peak in (1e-3, 1e-1)], progress=False)
    >>> plotting.plot_sweep(found).get_xlabel()
    'peak'
    """
    from lrsched.tuning.results import varying

    table, ax = found.table, _axes(ax)
    numbers = list(varying(found.schedules))
    if x is None and not numbers:
        raise ValueError("plot: the schedules of the sweep differ in no number; give x=.")
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
        gone = np.setdiff1d(rows[x], places)
        ax.plot(
            gone, np.full(len(gone), 0.97), "x", color=colour, transform=ax.get_xaxis_transform()
        )
    spans = np.max(table[x]) / np.min(table[x]) if np.min(table[x]) > 0 else 1.0
    ax.set(xlabel=x, ylabel="final loss", xscale="log" if spans > 10 else "linear")
    if shown and min(shown) > 0 and max(shown) / min(shown) > 10:
        ax.set_yscale("log")
    if by:
        ax.legend(frameon=False)
    return ax


def plot_comparison(found: "Comparison", ax: Any = None) -> Any:
    """The predicted final losses of schedules, each with its interval, the lowest on top.

    Args:
      found: what `compare` returned.
      ax: matplotlib's axes; by default new ones.

    Returns:
      The axes.

    >>> import lrsched
    >>> from lrsched import plotting, theory
    >>> law = theory.LossLaw("power", {"L0": 2.0, "A": 1.0, "alpha": 0.5})
    >>> runs = [lrsched.constant(0.1), lrsched.linear(0.1, 0.0, steps=100)]
    >>> plotting.plot_comparison(theory.compare(runs, law, steps=100)).get_xlabel()
    'predicted final loss'
    """
    table, ax = np.sort(found.table, order="loss")[::-1], _axes(ax)
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
        if isinstance(one, Schedule) and not curve.is_single(one):
            raise ValueError(
                f"{function}: {one!r} is not one curve; it must have no traced numbers and no "
                "batch axis."
            )
    if steps is None:
        return max(curve.length_of(as_schedule(one)) for one in schedules)
    if not (isinstance(steps, int | np.integer) and steps > 0):
        raise ValueError(
            f"{function}: steps={steps!r} is not accepted; steps must be a whole number above 0."
        )
    return int(steps)


def _shade(ax: Any, found: list[curve.Phase], steps: int) -> None:
    """Every other phase in grey, their names above the axes where there is room for them."""
    if len(found) < 2:
        return
    until = 0.0
    for i, phase in enumerate(found):
        if i % 2 == 0:
            ax.axvspan(phase.start, phase.stop, color="0.5", alpha=0.1, linewidth=0, zorder=0)
        at = max(phase.start / steps, until)
        if at < phase.stop / steps:
            ax.text(at, 1.01, phase.name, transform=ax.transAxes, fontsize=8, color="0.35")
            until = at + _LETTER * (len(phase.name) + 1)


def _of_the_best(rows: np.ndarray) -> np.ndarray:
    """The finite losses of the schedule with the lowest mean among these rows."""
    rows = rows[np.isfinite(rows["loss"])]
    means = {i: rows["loss"][rows["schedule"] == i].mean() for i in np.unique(rows["schedule"])}
    losses: np.ndarray = rows["loss"][rows["schedule"] == min(means, key=means.__getitem__)]
    return losses


def _axes(ax: Any) -> Any:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    _, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(alpha=0.3)
    return ax
