"""Convergence bounds of schedule shapes, without training: `python -m benchmarks bounds`.

Reproduces the comparison of Schaipp et al. 2025 (arXiv 2501.18965); the distance to the optimum
and the gradient norms are 1. Draws docs/bounds.svg, prints the tables of docs/theory.md and
measures the time of the bound. With ``--runs``, only compares the best peaks that the bound
predicts with those of small runs.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

import lrsched
from benchmarks.figures import COLOURS, STYLE, legend_below, save
from benchmarks.options import read_options
from benchmarks.platforms import use
from benchmarks.runs import run_of
from benchmarks.workloads import WORKLOADS
from lrsched import theory, tuning

STEPS, HORIZONS = 400, (400, 1600, 6400)


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    out: Path = Path(__file__).parent.parent / "docs" / "bounds.svg"
    """File of the figure."""
    base: int = 4000
    """Length of the run that is extended, in updates."""
    times: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0, 3.5)
    """Lengths of the extended runs, as multiples of the base."""
    timed: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Lengths of the schedules whose bound is timed, in updates."""
    runs: bool = False
    """Whether to train and compare best peaks, instead of all else."""
    workload: str = "digits-mlp"
    """Name of the workload that is trained."""
    steps: int = 300
    """Number of updates of the short runs. The long ones have twice as many."""
    rates: int = 15
    """Number of peaks of each schedule, from an eighth of the workload's rate to 16 times it."""
    seeds: int = 5
    """Number of runs of each peak."""


def trapezoid(steps: int, cooldown: float) -> lrsched.Schedule:
    """Return a constant rate of 1 with a linear cooldown to zero over a fraction of the steps."""
    cooldown_steps = round(cooldown * steps)
    return lrsched.wsd(1.0, steps, warmup=0, cooldown=cooldown_steps, ramp="linear")


SHAPES: dict[str, Callable[[int], lrsched.Schedule]] = {
    "constant": lambda steps: lrsched.constant(1.0),
    "inverse square root": lambda steps: lrsched.inverse_sqrt(1.0, timescale=1),
    "cosine": lambda steps: lrsched.cosine(1.0, steps),
    "WSD, 20 % cooldown": lambda steps: trapezoid(steps, 0.2),
    "linear to zero": lambda steps: lrsched.linear(1.0, 0.0, steps),
    "1-sqrt to zero": lambda steps: lrsched.wsd(1.0, steps, 0, cooldown=steps, ramp="1-sqrt"),
}
FRACTIONS = tuple(np.linspace(0, 1, 21).tolist())


@dataclass(frozen=True)
class Extension:
    """Extension of a WSD run with a cooldown of 20 % to a longer horizon.

    Attributes:
      times: Ratio of the new to the old length.
      rate: Ratio of the new to the old optimal rate, if the cooldown fraction stays at 20 %.
      cooldown: Cooldown fraction for which the old rate stays optimal.
      factor: Multiplier of the rate, from the start of the old cooldown, for which the old peak
        stays optimal.
      bounds: Final bounds over that of a tuned linear decay, with the old peak: with the old
        cooldown fraction, with ``cooldown``, and with ``factor``.
    """

    times: float
    rate: float
    cooldown: float
    factor: float
    bounds: tuple[float, float, float]


def extended(base: int, times: float) -> Extension:
    """Compute the rate, the cooldown and the bounds of an extended run."""
    steps, short, start = round(times * base), trapezoid(base, 0.2), round(0.8 * base)

    def with_factor(factor: float) -> lrsched.Schedule:
        remaining = trapezoid(steps - start, 0.2 * steps / (steps - start))
        return lrsched.constant(1.0, start) >> factor * remaining

    cooldown = theory.match_optimal_rate(lambda cooldown: trapezoid(steps, cooldown), short)
    factor = theory.match_optimal_rate(with_factor, short, (0.2, 1.0), to_steps=steps)
    rate = theory.optimal_rate(short)
    linear = theory.final_bound(lrsched.linear(1.0, 0.0, steps)).optimal_values
    schedules = trapezoid(steps, 0.2), trapezoid(steps, cooldown), with_factor(factor)
    same, longer, lower = (
        float(theory.final_bound(schedule, steps).at(rate) / linear) for schedule in schedules
    )
    return Extension(
        times,
        float(theory.transfer_rate(1.0, short, trapezoid(steps, 0.2))),
        cooldown,
        factor,
        (same, longer, lower),
    )


def draw(path: Path, extensions: Sequence[Extension]) -> None:
    """Draw the bounds over the rate, the step, the cooldown fraction and the length of the run."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
        _shapes(axes[0, 0], axes[0, 1])
        _cooldowns(axes[1, 0])
        _extensions(axes[1, 1], extensions)
        lines, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside upper center", ncols=len(names))
        save(figure, path)


def _shapes(over_rate: Axes, along: Axes) -> None:
    rates = np.geomspace(2**-8, 2, 80)
    for (name, shape), colour in zip(SHAPES.items(), COLOURS, strict=False):
        bound = theory.convergence_bound(shape(STEPS), STEPS)
        last = jax.tree.map(lambda x: x[-1], bound)
        over_rate.plot(rates, last.at(rates), color=colour, label=name)
        over_rate.plot(last.optimal_rate, last.optimal_values, "o", color=colour)
        along.plot(np.arange(1, STEPS + 1), bound.at(last.optimal_rate), color=colour)
    over_rate.set(xscale="log", yscale="log", ylim=(0.08, 1.0))
    over_rate.set(xlabel="base rate", ylabel=f"bound after {STEPS} steps")
    along.set(ylim=(0.08, 0.32), xlabel="step", ylabel="bound at the optimal base rate")


def _cooldowns(ax: Axes) -> None:
    for steps, colour in zip(HORIZONS, COLOURS, strict=False):
        constant = theory.final_bound(lrsched.constant(1.0), steps)
        bounds = [theory.final_bound(trapezoid(steps, cooldown), steps) for cooldown in FRACTIONS]
        rates = [float(bound.optimal_rate / constant.optimal_rate) for bound in bounds]
        values = [float(bound.optimal_values / constant.optimal_values) for bound in bounds]
        ax.plot(FRACTIONS, rates, color=colour, label=f"optimal rate, {steps} steps")
        ax.plot(FRACTIONS, values, "--", color=colour, label="bound at the optimal rate")
    ax.set(xlabel="cooldown fraction", ylabel="ratio to a constant rate")
    legend_below(ax, columns=2)


def _extensions(ax: Axes, extensions: Sequence[Extension]) -> None:
    times = [1.0, *(extension.times for extension in extensions)]
    curves = (
        ("optimal rate, 20 % cooldown", 1.0, [each.rate for each in extensions]),
        ("cooldown fraction that keeps the rate", 0.2, [each.cooldown for each in extensions]),
        ("later factor that keeps the peak", 1.0, [each.factor for each in extensions]),
    )
    for (label, first, values), colour in zip(curves, COLOURS, strict=False):
        ax.plot(times, [first, *values], "o-", color=colour, label=label)
    ax.set(xlabel="length, as a multiple of the first run", ylim=(0, 1.05))
    legend_below(ax, columns=2)


def seconds(steps: int) -> tuple[float, float, float]:
    """Measure the bound of all iterates.

    Returns:
      Seconds of the bound, seconds of its gradient, and temporary memory of the bound in MiB.
    """
    rates = lrsched.linear(1.0, 0.0, steps)(np.arange(steps))
    program = jax.jit(lambda rates: theory.convergence_bound(rates).values).lower(rates).compile()
    gradient = jax.jit(jax.grad(lambda rates: theory.convergence_bound(rates).values.sum()))
    gradient = gradient.lower(rates).compile()
    times = []
    for function in (program, gradient):
        times.append(min(_timed(function, rates) for _ in range(5)))
    return times[0], times[1], program.memory_analysis().temp_size_in_bytes / 2**20


def _timed(function: Callable[[jax.Array], jax.Array], rates: jax.Array) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(rates))
    return time.perf_counter() - start


@dataclass(frozen=True)
class BestPeak:
    """Best peak of a schedule over that of the short WSD run.

    Attributes:
      name: Name of the schedule.
      predicted: Ratio by the bound.
      measured: Geometric mean over the seeds of the ratio that minimises the final training loss.
      low: Smallest ratio of a seed.
      high: Largest ratio of a seed.
    """

    name: str
    predicted: float
    measured: float
    low: float
    high: float


def best_peaks(options: Options) -> list[BestPeak]:
    """Sweep the peaks of schedules with Adam and compare the best ones with the bound."""
    workload, short, long = WORKLOADS[options.workload], options.steps, 2 * options.steps
    base = trapezoid(short, 0.2)
    kept = theory.match_optimal_rate(lambda cooldown: trapezoid(long, cooldown), base)
    shapes = {
        "WSD, 20 % cooldown": (base, short),
        "constant": (lrsched.constant(1.0), short),
        "cosine": (lrsched.cosine(1.0, short), short),
        "linear to zero": (lrsched.linear(1.0, 0.0, short), short),
        "WSD, 20 % cooldown, twice as long": (trapezoid(long, 0.2), long),
        f"WSD, {kept:.0%} cooldown, twice as long": (trapezoid(long, kept), long),
        "linear to zero, twice as long": (lrsched.linear(1.0, 0.0, long), long),
    }
    peaks = workload.around * np.geomspace(1 / 8, 16, options.rates)
    run, best = run_of(workload, workload.data(), optax.adam), {}
    for steps in (short, long):
        names = [name for name, (_, length) in shapes.items() if length == steps]
        # Tables have one tree structure, so that one compiled program runs all schedules.
        schedules = [
            lrsched.table(peak * np.asarray(shapes[name][0](np.arange(long))))
            for name in names
            for peak in peaks
        ]
        result = tuning.sweep(
            run, schedules, steps=steps, seeds=options.seeds, num_loss_records=20, progress=False
        )
        ends = result.train_loss[:, -1].reshape(len(names), len(peaks), options.seeds)
        best |= {name: minima(peaks, end) for name, end in zip(names, ends, strict=True)}
    known, rows = float(theory.optimal_rate(base)), []
    for name, (shape, steps) in shapes.items():
        ratios = best[name] / best["WSD, 20 % cooldown"]
        mean = float(np.exp(np.log(ratios).mean()))
        predicted = float(theory.optimal_rate(shape, steps)) / known
        rows.append(BestPeak(name, predicted, mean, float(ratios.min()), float(ratios.max())))
    return rows


def minima(peaks: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """Return the best peak of each seed: the minimum of a parabola in the logarithms.

    Args:
      peaks: Peaks, ``(peaks,)``.
      losses: Final losses, ``(peaks, seeds)``. Those that are not finite count as the largest.

    Returns:
      The best peaks, ``(seeds,)``.
    """
    logs = np.log(np.where(np.isfinite(losses), losses, np.nanmax(losses)))
    result = []
    for column in logs.T:
        # Five points around the smallest: of three, noise would move the minimum.
        middle = int(np.clip(column.argmin(), 2, len(peaks) - 3))
        near = slice(middle - 2, middle + 3)
        curvature, slope, _ = np.polyfit(np.log(peaks[near]), column[near], 2)
        minimum = -slope / (2 * curvature) if curvature > 0 else np.log(peaks[column.argmin()])
        result.append(np.exp(np.clip(minimum, *np.log(peaks[[middle - 2, middle + 2]]))))
    return np.array(result)


def show_best_peaks(options: Options, console: Console) -> None:
    """Print the table of the best peaks."""
    use("cpu")
    title = f"Best peaks over that of WSD of {options.steps} updates; {options.seeds} seeds"
    table = Table("schedule", "bound", "measured", "lowest", "highest", title=title)
    for row in best_peaks(options):
        table.add_row(
            row.name, *(f"{x:.2f}" for x in (row.predicted, row.measured, row.low, row.high))
        )
    console.print(table)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables and draw the figure; `arguments` defaults to `sys.argv[1:]`."""
    options = read_options(Options, "bounds", arguments)
    console = Console(width=110)
    if options.runs:
        show_best_peaks(options, console)
        return
    shapes = Table("shape", "optimal rate", "bound", title=f"{STEPS} steps")
    for name, shape in SHAPES.items():
        bound = theory.final_bound(shape(STEPS), STEPS)
        shapes.add_row(name, f"{bound.optimal_rate:.6f}", f"{bound.optimal_values:.6f}")
    console.print(shapes)
    extensions = [extended(options.base, times) for times in options.times]
    longer = Table(
        *("times", "rate", "cooldown", "factor"),
        *("bound, same rate", "longer cooldown", "lower rate"),
        title=f"WSD with 20 % cooldown, extended from {options.base} steps; bounds over that of a "
        "tuned linear decay",
    )
    for extension in extensions:
        numbers = (extension.rate, extension.cooldown, extension.factor, *extension.bounds)
        longer.add_row(f"{extension.times:g}", *(f"{number:.3f}" for number in numbers))
    console.print(longer)
    speed = Table("steps", "bound, s", "gradient, s", "memory, MiB", title="All iterates")
    for steps in options.timed:
        speed.add_row(f"{steps:,}", *(f"{number:.3g}" for number in seconds(steps)))
    console.print(speed)
    draw(options.out, extensions)
