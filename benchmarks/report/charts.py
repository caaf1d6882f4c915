"""Charts of the report.

Functions that start with `draw_` draw on given axes: on a single figure (`panel`) for the page,
which arranges its panels by the width of the window, or on a grid of axes (`grid`) for the
documentation. `svg.inline` replaces the colours with variables of the page's theme.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator
from scipy.optimize import isotonic_regression

from benchmarks.analysis import Usable, interval, shares
from benchmarks.figures import band, rate_of
from benchmarks.policies import POLICIES
from benchmarks.protocol import Trial

INK, MUTED, GRID, FAINT = "#1c2430", "#5b6572", "#e3e6ea", "#c3c9d1"
"""Colours of text, of secondary text, of grid lines, and of policies in the background."""
SERIES = ("#006bbf", "#a73600", "#009e71", "#c060a0", "#b88a00", "#252877")
"""Colours of lines. Any two differ by at least 23 CIELAB units, also under protanopia and
deuteranopia; each has a contrast of at least 3 to white."""
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)), (0, (3, 1)))
MARKERS = "os^Dvp"
PANEL: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12.5,
    "axes.titley": 1.0,
    "axes.titleweight": "bold",
    "font.size": 11,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.linewidth": 1.7,
    "lines.markersize": 4,
    "text.color": INK,
    "xtick.color": MUTED,
    "xtick.major.size": 3,
    "ytick.color": MUTED,
    "ytick.major.size": 0,
}
"""Matplotlib parameters of all charts."""


def families(policies: Sequence[str]) -> dict[str, list[str]]:
    """Group policies by family; families and policies are in the order of `POLICIES`."""
    by_family: dict[str, list[str]] = {}
    for name, policy in POLICIES.items():
        if name in policies:
            by_family.setdefault(policy.family, []).append(name)
    return by_family


def groups(policies: Sequence[str]) -> dict[str, list[str]]:
    """Group policies by panel: one per family, and one for all families with a single policy."""
    all_families = families(tuple(POLICIES))
    single = [family for family, names in all_families.items() if len(names) == 1]
    by_panel: dict[str, list[str]] = {}
    for family, names in families(policies).items():
        title = ", ".join(single) if family in single else family
        by_panel.setdefault(title, []).extend(names)
    return by_panel


def style_of(policy: str) -> dict[str, Any]:
    """Return the line style of a policy, unique in its panel and the same in all charts."""
    names = next(names for names in groups(tuple(POLICIES)).values() if policy in names)
    index = names.index(policy)
    return {
        "color": SERIES[index % len(SERIES)],
        "linestyle": DASHES[index % len(DASHES)],
        "marker": MARKERS[index % len(MARKERS)],
    }


def family_colour(policy: str) -> str:
    """Return the colour of the family of a policy."""
    index = list(families(tuple(POLICIES))).index(POLICIES[policy].family)
    return (INK, *SERIES)[index % (1 + len(SERIES))]


def panel(width: float = 340, height: float = 215, **margins: float) -> Figure:
    """Return an empty figure for one chart.

    Args:
      width: Width, in CSS pixels.
      height: Height, in CSS pixels.
      **margins: Margins "left", "right", "top" and "bottom", in CSS pixels.
    """
    figure = Figure(figsize=(width / 72, height / 72))
    edges = {"left": 46.0, "right": 106.0, "top": 26.0, "bottom": 38.0, **margins}
    figure.subplots_adjust(
        left=edges["left"] / width,
        right=1 - edges["right"] / width,
        top=1 - edges["top"] / height,
        bottom=edges["bottom"] / height,
        hspace=0.3,
    )
    return figure


def spread(places: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Move positions apart by least squares, keeping their order.

    Args:
      places: Positions.
      gap: Minimum distance between neighbours.
      low: Minimum of the new positions.
      high: Maximum of the new positions, if there is room for all gaps.

    Returns:
      New positions in the order of ``places``.

    >>> from benchmarks.report.charts import spread
    >>> spread([0.5, 0.5, 0.0], gap=0.2, low=0.0, high=1.0)
    array([0.4, 0.6, 0. ])
    """
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(order))
    # Without the required gaps, the constraint is that positions do not decrease.
    ascending = isotonic_regression(np.asarray(places)[order] - steps).x
    ascending = np.clip(ascending, low, max(low, high - steps[-1])) + steps
    result = np.empty_like(ascending)
    result[order] = ascending
    return result


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, str]], size: float = 10.5) -> None:
    """Write names to the right of the axes, each connected with the end of its line.

    Args:
      ax: Axes with their final limits.
      ends: Height of the end in data coordinates and colour, by name.
      size: Font size, in points.
    """
    if not ends:
        return
    heights = ax.transData.transform([(ax.get_xlim()[1], y) for y, _ in ends.values()])[:, 1]
    box = ax.get_window_extent()
    heights = np.clip((heights - box.y0) / box.height, 0, 1)
    points = 72 / ax.figure.dpi * box.height
    places = spread(heights, 1.15 * size / points, 0.0, 1.0)
    for (name, (_, colour)), height, place in zip(ends.items(), heights, places, strict=True):
        ax.plot(
            [1.0, 1.05],
            [height, place],
            color=colour,
            linewidth=1,
            transform=ax.transAxes,
            clip_on=False,
        )
        ax.text(1.065, place, name, size=size, va="center", transform=ax.transAxes)


def draw_lines(
    ax: Axes,
    lines: Mapping[str, tuple[np.ndarray, np.ndarray]],
    about: Sequence[str],
    **style: Any,
) -> None:
    """Draw the lines of some policies in their styles, and faint lines of all others behind them.

    Args:
      ax: Axes to draw on.
      lines: Coordinates x and y, by policy.
      about: Policies in the foreground.
      **style: Line properties of all lines.
    """
    for name, (x, y) in lines.items():
        if name not in about:
            ax.plot(x, y, **{"linewidth": 0.7, **style, "color": FAINT, "marker": ""})
    for name in about:
        ax.plot(*lines[name], **style_of(name) | style, zorder=3)


def end_of(y: np.ndarray) -> float:
    """Return the last finite value, or 0 if no value is finite."""
    finite = y[np.isfinite(y)]
    return float(finite[-1]) if finite.size else 0.0


def label_lines(
    ax: Axes, lines: Mapping[str, tuple[np.ndarray, np.ndarray]], about: Sequence[str]
) -> None:
    """Write the names of policies at the ends of their lines."""
    label_ends(ax, {name: (end_of(lines[name][1]), style_of(name)["color"]) for name in about})


def draw_profile(
    ax: Axes, profiles: Mapping[str, np.ndarray], factors: np.ndarray, about: Sequence[str]
) -> None:
    """Draw performance profiles: the fraction of workloads solved within a factor of the best."""
    lines = {}
    for name, fractions in profiles.items():
        changes = np.flatnonzero(np.diff(fractions, prepend=-1.0))
        lines[name] = (
            np.append(factors[changes], factors[-1]),
            np.append(fractions[changes], fractions[-1]),
        )
    draw_lines(ax, lines, about, drawstyle="steps-post", marker="")
    ax.set(xscale="log", xlim=(1, factors[-1]), ylim=(-0.03, 1.03))
    doubles = 2.0 ** np.arange(0, np.log2(factors[-1]) + 1e-9)
    ax.xaxis.set_major_locator(FixedLocator(doubles.tolist()))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    ax.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    label_lines(ax, lines, about)


def draw_budgets(
    ax: Axes, means: Mapping[float, Mapping[str, float]], about: Sequence[str]
) -> None:
    """Draw the mean rank of each policy over the budgets, with the lowest rank on top."""
    order = sorted(means)
    last = means[order[-1]]
    positions = np.arange(len(order))
    lines = {name: (positions, np.array([means[b][name] for b in order])) for name in last}
    draw_lines(ax, lines, about, clip_on=False)
    values = np.array([y for _, y in lines.values()])
    ax.set(xlim=(0, positions[-1]), ylim=(values.max() + 0.3, values.min() - 0.3))
    ax.set_xticks(positions, [f"x{budget:g}" for budget in order])
    ends = {name: (last[name], style_of(name)["color"]) for name in about}
    label_ends(ax, {f"{name} {end[0]:.1f}": end for name, end in ends.items()})


def widths(ranges: Mapping[str, Mapping[str, tuple[Usable, bool]]]) -> Figure:
    """Draw the width of the usable rates of each policy.

    A bar shows the median over the workloads; each marker shows one workload.

    Args:
      ranges: Usable range by policy and workload, with whether both ends are inside the tuned
        rates.

    Returns:
      The figure.
    """
    medians = {
        name: float(np.median([usable.decades for usable, _ in by_workload.values()]))
        for name, by_workload in ranges.items()
    }
    names = sorted(medians, key=medians.__getitem__)
    figure = panel(360, 60 + 17.5 * len(names), left=122, right=34, top=10)
    ax = figure.add_subplot()
    dot = {"color": MUTED, "fillstyle": "none", "markersize": 3.4, "markeredgewidth": 0.9}
    for place, name in enumerate(names):
        colour, median = family_colour(name), medians[name]
        ax.barh(place, median, height=0.62, color=colour, alpha=0.28, linewidth=0)
        ax.plot([median] * 2, [place - 0.31, place + 0.31], color=colour, linewidth=2.4)
        for usable, is_bounded in ranges[name].values():
            ax.plot(usable.decades, place, "o" if is_bounded else ">", clip_on=False, **dot)
        side = ax.get_yaxis_transform()
        ax.text(1.03, place, f"{median:.1f}", va="center", transform=side, size=10.5)
    ax.set_yticks(range(len(names)), names, color=INK)
    ax.set(ylim=(-0.6, len(names) - 0.4), xlim=(0, None), xlabel="decades of usable rates")
    ax.grid(axis="y", visible=False)
    return figure


def draw_shares(
    ax: Axes, relative: np.ndarray, medians: Mapping[str, np.ndarray], about: Sequence[str]
) -> None:
    """Draw the decrease of the loss at each rate, as a fraction of the best decrease.

    Args:
      ax: Axes to draw on.
      relative: Rates over the centre of their range, of shape ``(rates,)``.
      medians: Median fractions over the workloads by policy, of shape ``(rates,)``.
      about: Policies in the foreground.
    """
    lines = {name: (relative, values) for name, values in medians.items()}
    ax.axhline(0.95, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    draw_lines(ax, lines, about)
    ax.set(xscale="log", ylim=(-0.03, 1.03))
    ax.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    _decades(ax)
    label_lines(ax, lines, about)


def median_shares(trials: Sequence[Trial], least: Mapping[str, float]) -> dict[str, np.ndarray]:
    """Return the median over the workloads of `analysis.shares`, by policy.

    Args:
      trials: Trials at one budget, with the same draw of rates.
      least: Lowest loss of any policy, by workload.

    Returns:
      A dict from policy to fractions of shape ``(rates,)``.
    """
    by_policy: dict[str, list[np.ndarray]] = {}
    for trial in trials:
        by_policy.setdefault(trial.policy, []).append(shares(trial, least[trial.workload]))
    return {name: np.median(values, axis=0) for name, values in by_policy.items()}


def draw_sensitivity(
    ax: Axes, relative: np.ndarray, trials: Sequence[Trial], about: Sequence[str]
) -> None:
    """Draw the final validation loss over the rate on one workload; crosses mark divergence."""
    lines, first = {}, max(trial.first for trial in trials)
    for trial in trials:
        losses = trial.tuning["loss"].mean(axis=1)
        lines[trial.policy] = relative, np.where(np.isfinite(losses), losses, np.nan)
    lowest = min(
        (float(np.nanmin(y)) for _, y in lines.values() if np.isfinite(y).any()), default=first
    )
    draw_lines(ax, lines, about)
    ax.set_xscale("log")
    _losses(ax, lowest, 1.6 * max(first, lowest))
    for name in about:
        gone = relative[np.isnan(lines[name][1])]
        style = {"color": style_of(name)["color"], "markersize": 6}
        ax.plot(gone, [0.97] * len(gone), "x", transform=ax.get_xaxis_transform(), **style)
    _decades(ax)
    label_lines(ax, lines, about)


def draw_curves(
    losses: Axes, rates: Axes, trials: Sequence[Trial], about: Sequence[str], *, points: int = 120
) -> None:
    """Draw the validation losses on one workload, and the applied rates below them.

    Lines are medians over the seeds; bands are their intervals.

    Args:
      losses: Axes of the losses.
      rates: Axes of the rates.
      trials: Trials of all policies on the workload.
      about: Policies in the foreground.
      points: Maximum number of points of a line of rates.
    """
    lines = {}
    for trial in trials:
        median = np.array([interval(column).median for column in trial.curves["loss"].T])
        lines[trial.policy] = trial.evaluated, np.where(np.isfinite(median), median, np.nan)
    draw_lines(losses, lines, about, marker="")
    highest = []
    for trial in (trial for trial in trials if trial.policy in about):
        style = style_of(trial.policy) | {"marker": ""}
        band(losses, trial.evaluated, trial.curves["loss"], style["color"], linewidth=0)
        steps, applied = rate_of(trial)
        indices = np.unique(np.linspace(0, len(steps) - 1, points).round().astype(int))
        rates.plot(steps[indices], applied[indices], **style)
        highest.append(float(np.nanmax(np.where(np.isfinite(applied), applied, 0))))
    lowest = [float(np.nanmin(y)) for _, y in lines.values() if np.isfinite(y).any()]
    first = max(trial.first for trial in trials)
    _losses(losses, min(lowest, default=first), first)
    # Adaptive methods apply rates of different magnitudes; a linear axis would hide most of them.
    if min(highest) > 0 and max(highest) / min(highest) > 20:
        rates.set_yscale("log")
        rates.set_ylim(1e-3 * min(highest), 2 * max(highest))
        rates.yaxis.set_major_locator(LogLocator(numticks=4))
        rates.yaxis.set_minor_locator(NullLocator())
    else:
        rates.set_ylim(0, 1.08 * max([*highest, np.finfo(float).tiny]))
        rates.yaxis.get_major_locator().set_params(nbins=3)
    rates.yaxis.set_major_formatter(FuncFormatter(short))
    last = max(trial.steps for trial in trials)
    losses.set_xlim(0, last)
    rates.set_xlim(0, last)
    rates.xaxis.get_major_locator().set_params(nbins=4)
    losses.tick_params(labelbottom=False)
    label_lines(losses, lines, about)


def _losses(ax: Axes, low: float, high: float) -> None:
    """Set the limits and ticks of an axis of losses, logarithmic for ratios above 3."""
    if not (0 < low < high and high / low > 3):
        margin = 0.06 * max(abs(high - low), 1e-3 * abs(high), np.finfo(float).tiny)
        ax.set_ylim(low - margin, high + margin)
        ax.yaxis.get_major_locator().set_params(nbins=5)
        return
    ax.set_yscale("log")
    ax.set_ylim(low / 1.12, high * 1.05)
    multiples = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(subs=multiples, numticks=8))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(short))


def _decades(ax: Axes) -> None:
    ax.xaxis.set_major_locator(LogLocator(numticks=6))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"x{short(x)}"))


def short(value: float, _: object = None) -> str:
    """Format a number with few characters, such as 0.05 or 1e-4."""
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.3g}"


def family_grid(
    policies: Sequence[str], draw: Callable[..., None], xlabel: str, ylabel: str
) -> Figure:
    """Return a figure with one chart for each family, which is in its foreground.

    Args:
      policies: Policies to draw.
      draw: Function that draws on axes, with the policies in the foreground as ``about``.
      xlabel: Common label of the horizontal axes.
      ylabel: Common label of the vertical axes.
    """
    by_family = groups(policies)
    columns = min(3, len(by_family))
    rows = -(-len(by_family) // columns)
    with plt.rc_context(PANEL):
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(4.6 * columns, 2.9 * rows + 0.2),
            squeeze=False,
            layout="constrained",
        )
        for ax, (family, about) in zip(axes.flat, by_family.items(), strict=False):
            draw(ax, about=about)
            ax.set_title(family)
        for ax in axes.flat[len(by_family) :]:
            ax.set_visible(False)
        figure.supxlabel(xlabel, size=11)
        figure.supylabel(ylabel, size=11)
    return figure
