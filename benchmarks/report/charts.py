"""The charts of the page.

What begins with `draw_` draws on axes that are given: alone (`panel`) for the page, whose panels
flow with the window, or beside each other (`grid`) for the docs. Colours are names here: the page
turns each into one of its theme.
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
"""Of text; of what is beside the point; of the grid; of the policies that a panel is not about."""
SERIES = ("#006bbf", "#a73600", "#009e71", "#c060a0", "#b88a00", "#252877")
"""Any two differ by 23 of CIELAB's units or more, also under protanopia and deuteranopia, and
each from white by a contrast of 3 or more."""
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
"""Of every chart."""


def families(policies: Sequence[str]) -> dict[str, list[str]]:
    """The policies by family, both in the order of `POLICIES`."""
    found: dict[str, list[str]] = {}
    for name, policy in POLICIES.items():
        if name in policies:
            found.setdefault(policy.family, []).append(name)
    return found


def groups(policies: Sequence[str]) -> dict[str, list[str]]:
    """The same for panels: families that have but one policy share one."""
    whole = families(tuple(POLICIES))
    lone = [family for family, names in whole.items() if len(names) == 1]
    found: dict[str, list[str]] = {}
    for family, names in families(policies).items():
        title = ", ".join(lone) if family in lone else family
        found.setdefault(title, []).extend(names)
    return found


def style_of(policy: str) -> dict[str, Any]:
    """The line of a policy among those of its panel, the same in all charts."""
    names = next(names for names in groups(tuple(POLICIES)).values() if policy in names)
    place = names.index(policy)
    return {
        "color": SERIES[place % len(SERIES)],
        "linestyle": DASHES[place % len(DASHES)],
        "marker": MARKERS[place % len(MARKERS)],
    }


def family_colour(policy: str) -> str:
    """The colour of a policy among those of all families."""
    place = list(families(tuple(POLICIES))).index(POLICIES[policy].family)
    return (INK, *SERIES)[place % (1 + len(SERIES))]


def panel(width: float = 340, height: float = 215, **margins: float) -> Figure:
    """An empty chart of so many CSS pixels, with margins in them: left, right, top, bottom."""
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
    """The nearest places (least squares) that keep order and gap, inside of the ends if they can.

    >>> from benchmarks.report.charts import spread
    >>> spread([0.5, 0.5, 0.0], gap=0.2, low=0.0, high=1.0)
    array([0.4, 0.6, 0. ])
    """
    order = np.argsort(places, kind="stable")
    steps = gap * np.arange(len(order))
    found = isotonic_regression(np.asarray(places)[order] - steps).x
    found = np.clip(found, low, max(low, high - steps[-1])) + steps
    back = np.empty_like(found)
    back[order] = found
    return back


def label_ends(ax: Axes, ends: Mapping[str, tuple[float, str]], size: float = 10.5) -> None:
    """Names to the right of the axes, each led to the height where its line ends.

    Args:
      ax: whose limits are set.
      ends: a height in data and a colour by name.
      size: of the letters.
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
    """The lines of some policies in their styles, before faint ones of all others.

    Args:
      ax: where.
      lines: x and y by policy.
      about: the policies.
      style: of all lines.
    """
    for name, (x, y) in lines.items():
        if name not in about:
            ax.plot(x, y, **{"linewidth": 0.7, **style, "color": FAINT, "marker": ""})
    for name in about:
        ax.plot(*lines[name], **style_of(name) | style, zorder=3)


def end_of(y: np.ndarray) -> float:
    """The last finite value, or 0."""
    finite = y[np.isfinite(y)]
    return float(finite[-1]) if finite.size else 0.0


def label_lines(
    ax: Axes, lines: Mapping[str, tuple[np.ndarray, np.ndarray]], about: Sequence[str]
) -> None:
    """The names of these policies, where their lines end."""
    label_ends(ax, {name: (end_of(lines[name][1]), style_of(name)["color"]) for name in about})


def draw_profile(
    ax: Axes, profiles: Mapping[str, np.ndarray], factors: np.ndarray, about: Sequence[str]
) -> None:
    """Performance profiles: the part of the workloads that is solved within a factor."""
    lines = {}
    for name, parts in profiles.items():
        changes = np.flatnonzero(np.diff(parts, prepend=-1.0))
        lines[name] = (
            np.append(factors[changes], factors[-1]),
            np.append(parts[changes], parts[-1]),
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
    """Slopes: the mean rank of each policy at each budget, the lowest on top."""
    order = sorted(means)
    last = means[order[-1]]
    places = np.arange(len(order))
    lines = {name: (places, np.array([means[b][name] for b in order])) for name in last}
    draw_lines(ax, lines, about, clip_on=False)
    everything = np.array([y for _, y in lines.values()])
    ax.set(xlim=(0, places[-1]), ylim=(everything.max() + 0.3, everything.min() - 0.3))
    ax.set_xticks(places, [f"x{budget:g}" for budget in order])
    ends = {name: (last[name], style_of(name)["color"]) for name in about}
    label_ends(ax, {f"{name} {end[0]:.1f}": end for name, end in ends.items()})


def widths(ranges: Mapping[str, Mapping[str, tuple[Usable, bool]]]) -> Figure:
    """The decades of rates that a policy is usable in: a dot a workload, a bar to their median.

    Args:
      ranges: by policy and workload, each with whether it is bounded by what was tried.
    """
    medians = {
        name: float(np.median([found.decades for found, _ in by_workload.values()]))
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
        for found, is_bounded in ranges[name].values():
            ax.plot(found.decades, place, "o" if is_bounded else ">", clip_on=False, **dot)
        side = ax.get_yaxis_transform()
        ax.text(1.03, place, f"{median:.1f}", va="center", transform=side, size=10.5)
    ax.set_yticks(range(len(names)), names, color=INK)
    ax.set(ylim=(-0.6, len(names) - 0.4), xlim=(0, None), xlabel="decades of usable rates")
    ax.grid(axis="y", visible=False)
    return figure


def draw_shares(
    ax: Axes, relative: np.ndarray, found: Mapping[str, np.ndarray], about: Sequence[str]
) -> None:
    """How much of the best fall of the loss each rate brings: the median over the workloads."""
    lines = {name: (relative, values) for name, values in found.items()}
    ax.axhline(0.95, color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)))
    draw_lines(ax, lines, about)
    ax.set(xscale="log", ylim=(-0.03, 1.03))
    ax.yaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:.0%}"))
    _decades(ax)
    label_lines(ax, lines, about)


def median_shares(trials: Sequence[Trial], least: Mapping[str, float]) -> dict[str, np.ndarray]:
    """The medians over the workloads of the shares of each rate, by policy.

    Args:
      trials: of one budget, all with the same draw of rates.
      least: the lowest loss of any policy, by workload.
    """
    found: dict[str, list[np.ndarray]] = {}
    for trial in trials:
        found.setdefault(trial.policy, []).append(shares(trial, least[trial.workload]))
    return {name: np.median(values, axis=0) for name, values in found.items()}


def draw_sensitivity(
    ax: Axes, relative: np.ndarray, trials: Sequence[Trial], about: Sequence[str]
) -> None:
    """The final validation loss against the rate, for one workload; a cross where it diverged."""
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


def draw_course(
    losses: Axes, rates: Axes, trials: Sequence[Trial], about: Sequence[str], *, points: int = 120
) -> None:
    """The validation loss of one workload's policies, over the rate that each applied.

    Medians over the seeds, in bands of their intervals; the rate at so many points at most.
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
        some = np.unique(np.linspace(0, len(steps) - 1, points).round().astype(int))
        rates.plot(steps[some], applied[some], **style)
        highest.append(float(np.nanmax(np.where(np.isfinite(applied), applied, 0))))
    seen = [float(np.nanmin(y)) for _, y in lines.values() if np.isfinite(y).any()]
    first = max(trial.first for trial in trials)
    _losses(losses, min(seen, default=first), first)
    # Methods apply rates of their own orders of magnitude; one linear axis would hide most.
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
    """Limits and marks of losses: logarithmic where they span much."""
    if not (0 < low < high and high / low > 3):
        margin = 0.06 * max(abs(high - low), 1e-3 * abs(high), np.finfo(float).tiny)
        ax.set_ylim(low - margin, high + margin)
        ax.yaxis.get_major_locator().set_params(nbins=5)
        return
    ax.set_yscale("log")
    ax.set_ylim(low / 1.12, high * 1.05)
    parts = (1.0, 2.0, 5.0) if high / low < 100 else (1.0,)
    ax.yaxis.set_major_locator(LogLocator(subs=parts, numticks=8))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(short))


def _decades(ax: Axes) -> None:
    ax.xaxis.set_major_locator(LogLocator(numticks=6))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"x{short(x)}"))


def short(value: float, _: object = None) -> str:
    """A few letters: 0.05, 1e-4."""
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        return f"{value:.0e}".replace("e-0", "e-").replace("e+0", "e")
    return f"{value:.3g}"


def grid(
    panels: Mapping[str, Callable[[Axes], None]],
    columns: int = 3,
    xlabel: str = "",
    ylabel: str = "",
) -> Figure:
    """Charts beside each other as one picture, each with its title."""
    rows = -(-len(panels) // columns)
    columns = min(columns, len(panels))
    with plt.rc_context(PANEL):
        figure, axes = plt.subplots(
            rows,
            columns,
            figsize=(4.6 * columns, 2.9 * rows + 0.2),
            squeeze=False,
            layout="constrained",
        )
        for ax, (title, draw) in zip(axes.flat, panels.items(), strict=False):
            draw(ax)
            ax.set_title(title)
        for ax in axes.flat[len(panels) :]:
            ax.set_visible(False)
        figure.supxlabel(xlabel, size=11)
        figure.supylabel(ylabel, size=11)
    return figure
