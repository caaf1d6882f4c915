"""Convergence bounds of schedule shapes, without training: `python -m benchmarks bounds`.

Reproduces the comparison of Schaipp et al. 2025 (arXiv 2501.18965); the distance to the optimum
and the gradient norms are 1. Draws docs/bounds.png, prints the tables of docs/theory.md and
measures the time of the bound.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro
from matplotlib.axes import Axes
from rich.console import Console
from rich.table import Table

import lrsched
from benchmarks.figures import COLOURS, STYLE
from lrsched import theory

STEPS, HORIZONS = 400, (400, 1600, 6400)


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    out: Path = Path(__file__).parent.parent / "docs" / "bounds.png"
    """File of the figure."""
    base: int = 4000
    """Length of the run that is extended, in updates."""
    times: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0, 3.5)
    """Lengths of the extended runs, as multiples of the base."""
    timed: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """Lengths of the schedules whose bound is timed, in updates."""


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
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
        plt.close(figure)


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
    ax.legend(fontsize=9)


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
    ax.legend(fontsize=9)


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


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables and draw the figure; `arguments` defaults to `sys.argv[1:]`."""
    options = tyro.cli(
        Options, prog="python -m benchmarks bounds", description=__doc__, args=arguments
    )
    console = Console()
    shapes = Table("shape", "optimal rate", "bound", title=f"{STEPS} steps")
    for name, shape in SHAPES.items():
        bound = theory.final_bound(shape(STEPS), STEPS)
        shapes.add_row(name, f"{bound.optimal_rate:.6f}", f"{bound.optimal_values:.6f}")
    console.print(shapes)
    extensions = [extended(options.base, times) for times in options.times]
    longer = Table(
        "times",
        "rate",
        "cooldown",
        "factor",
        "bound, same rate",
        "longer cooldown",
        "lower rate",
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


if __name__ == "__main__":
    main()
