"""Which shape has the least bound, and at which rate? `python -m benchmarks.bounds`.

The comparison of Schaipp et al. 2025 (arXiv 2501.18965), with nothing trained: distance and
gradient norms are 1. It draws docs/bounds.png, prints the tables of docs/theory.md and times
the bound.
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
    """What to draw and to time."""

    out: Path = Path(__file__).parent.parent / "docs" / "bounds.png"
    """The picture."""
    base: int = 4000
    """The length of the run that is extended ..."""
    times: tuple[float, ...] = (1.5, 2.0, 2.5, 3.0, 3.5)
    """... to so many times its length."""
    timed: tuple[int, ...] = (10_000, 100_000, 1_000_000)
    """The lengths that the bound is timed at."""


def trapezoid(steps: int, cooldown: float) -> lrsched.Schedule:
    """A plateau of 1, and a line to zero that takes this part of the whole."""
    fall = round(cooldown * steps)
    return lrsched.wsd(1.0, steps, warmup=0, cooldown=fall, ramp="linear")


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
    """A run of WSD, 20 %, that is made ``times`` as long.

    Attributes:
      times: the new length over the old one.
      rate: the best rate of the same fraction, over that of the shorter run.
      cooldown: the fraction at which the shorter run's rate is best.
      factor: what the rate is multiplied by from where the shorter run cooled down, for the same.
      bounds: at the end, over that of the tuned linear: the shorter run's rate and fraction kept;
        the fraction changed; the rate lowered.
    """

    times: float
    rate: float
    cooldown: float
    factor: float
    bounds: tuple[float, float, float]


def extended(base: int, times: float) -> Extension:
    """What the bound says of it."""
    steps, short, start = round(times * base), trapezoid(base, 0.2), round(0.8 * base)

    def of_factor(factor: float) -> lrsched.Schedule:
        rest = trapezoid(steps - start, 0.2 * steps / (steps - start))
        return lrsched.constant(1.0, start) >> factor * rest

    cooldown = theory.match_optimal_rate(lambda cooldown: trapezoid(steps, cooldown), short)
    factor = theory.match_optimal_rate(of_factor, short, (0.2, 1.0), to_steps=steps)
    rate = theory.optimal_rate(short)
    linear = theory.final_bound(lrsched.linear(1.0, 0.0, steps)).optimal_values
    kept = trapezoid(steps, 0.2), trapezoid(steps, cooldown), of_factor(factor)
    same, longer, lower = (
        float(theory.final_bound(shape, steps).at(rate) / linear) for shape in kept
    )
    return Extension(
        times,
        float(theory.transfer_rate(1.0, short, trapezoid(steps, 0.2))),
        cooldown,
        factor,
        (same, longer, lower),
    )


def draw(path: Path, extensions: Sequence[Extension]) -> None:
    """Four panels: over the rate, along the run, over the cooldown, over the length."""
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
        found = [theory.final_bound(trapezoid(steps, part), steps) for part in FRACTIONS]
        rates = [float(bound.optimal_rate / constant.optimal_rate) for bound in found]
        values = [float(bound.optimal_values / constant.optimal_values) for bound in found]
        ax.plot(FRACTIONS, rates, color=colour, label=f"optimal rate, {steps} steps")
        ax.plot(FRACTIONS, values, "--", color=colour, label="bound at it")
    ax.set(xlabel="cooldown, as a part of the run", ylabel="over that of a constant rate")
    ax.legend(fontsize=9)


def _extensions(ax: Axes, extensions: Sequence[Extension]) -> None:
    times = [1.0, *(found.times for found in extensions)]
    curves = (
        ("optimal rate, WSD with 20 %", 1.0, [found.rate for found in extensions]),
        ("cooldown that keeps the rate", 0.2, [found.cooldown for found in extensions]),
        ("factor that keeps the rate before", 1.0, [found.factor for found in extensions]),
    )
    for (label, first, values), colour in zip(curves, COLOURS, strict=False):
        ax.plot(times, [first, *values], "o-", color=colour, label=label)
    ax.set(xlabel="length, over that of the first run", ylim=(0, 1.05))
    ax.legend(fontsize=9)


def seconds(steps: int) -> tuple[float, float, float]:
    """Of one bound of all iterates, of its gradient, and the megabytes that it works in."""
    rates = lrsched.linear(1.0, 0.0, steps)(np.arange(steps))
    program = jax.jit(lambda rates: theory.convergence_bound(rates).values).lower(rates).compile()
    slope = jax.jit(jax.grad(lambda rates: theory.convergence_bound(rates).values.sum()))
    slope = slope.lower(rates).compile()
    times = []
    for function in (program, slope):
        times.append(min(_timed(function, rates) for _ in range(5)))
    return times[0], times[1], program.memory_analysis().temp_size_in_bytes / 2**20


def _timed(function: Callable[[jax.Array], jax.Array], rates: jax.Array) -> float:
    begin = time.perf_counter()
    jax.block_until_ready(function(rates))
    return time.perf_counter() - begin


def main(arguments: Sequence[str] | None = None) -> None:
    """Draws the picture and prints the tables."""
    options = tyro.cli(
        Options, prog="python -m benchmarks.bounds", description=__doc__, args=arguments
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
        "rate kept",
        "longer cooldown",
        "lower rate",
        title=f"WSD with 20 %, {options.base} steps, extended; bounds over the tuned linear's",
    )
    for found in extensions:
        numbers = (found.rate, found.cooldown, found.factor, *found.bounds)
        longer.add_row(f"{found.times:g}", *(f"{number:.3f}" for number in numbers))
    console.print(longer)
    speed = Table("steps", "bound, s", "gradient, s", "memory, MiB", title="All iterates")
    for steps in options.timed:
        speed.add_row(f"{steps:,}", *(f"{number:.3g}" for number in seconds(steps)))
    console.print(speed)
    draw(options.out, extensions)


if __name__ == "__main__":
    main()
