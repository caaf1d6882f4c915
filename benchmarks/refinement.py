"""Schedules refined by the gradient norms of a run: `python -m benchmarks refinement`.

Records the gradient norms of a run of each workload with Adam and a linear decay to zero without
warmup, refines the schedule by them (Defazio et al. 2023, arXiv 2310.07831), and draws
docs/refinement.svg. Then compares the refined schedule with others, each at its best peak.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
from rich.console import Console
from rich.table import Table

import lrsched
from benchmarks.figures import COLOURS, STYLE, legend_below, save
from benchmarks.options import read_options
from benchmarks.platforms import use
from benchmarks.runs import run_of
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Workload
from lrsched import theory, tuning


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    workloads: tuple[str, ...] = ("topics-lm", "mnist-vit")
    """Workloads whose gradient norms are recorded."""
    compared: tuple[str, ...] = ("mnist-vit",)
    """Workloads on which the refined schedules are compared with others."""
    scale: float = 1.0
    """Factor of the number of updates."""
    rates: int = 7
    """Number of peaks of each schedule, in ratios of 10**(1/3) around the rate of the workload."""
    seeds: int = 3
    """Number of runs of each peak."""
    out: Path = Path(__file__).parent.parent / "docs" / "refinement.svg"
    """File of the figure."""


@dataclass(frozen=True)
class Refinement:
    """Gradient norms of a run, and the schedules that they imply.

    Attributes:
      workload: Workload of the run.
      norms: Refinement norms.
      refined: Refined schedules with a peak of 1, by the name of the norm.
    """

    workload: Workload
    norms: lrsched.RecordedNorms
    refined: dict[str, lrsched.Schedule]


def refine(workload: Workload) -> Refinement:
    """Train once with a linear decay and refine the schedule by the recorded norms."""

    def optimizer(rate: lrsched.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            lrsched.record_norms(),
            optax.scale_by_adam(),
            lrsched.scale_by_learning_rate(rate),
        )

    run = run_of(workload, workload.data(), optimizer)
    schedule, key = lrsched.linear(workload.around, 0.0, workload.steps), jax.random.key(0)

    @jax.jit
    def train(schedule: lrsched.Schedule) -> optax.OptState:
        def step(
            state: tuning.TrainingState, i: jax.Array
        ) -> tuple[tuning.TrainingState, jax.Array]:
            return run.step(state, run.batch(run.data, key, i))

        state, _ = jax.lax.scan(step, run.init(schedule, key), np.arange(workload.steps))
        return state.opt_state

    norms = lrsched.recorded_norms(train(schedule))
    refined = {
        norm: theory.refine(
            workload.steps, lrsched.points(norms.steps, getattr(norms, norm)), norm=norm
        )
        for norm in ("l1", "l2")
    }
    return Refinement(workload, norms, refined)


def compare(refinement: Refinement, options: Options) -> dict[str, tuple[float, np.ndarray]]:
    """Sweep the peak of each schedule.

    Returns:
      A dict from schedule to its best peak and the validation losses there, of shape ``(seeds,)``.
    """
    workload, steps = refinement.workload, refinement.workload.steps
    run = run_of(workload, workload.data(), optax.adam)
    shapes = {
        "constant": lrsched.constant(1.0),
        "linear to zero": lrsched.linear(1.0, 0.0, steps),
        "cosine, 5 % warmup": lrsched.warmup(steps // 20) * lrsched.cosine(1.0, steps),
        "WSD, 20 % cooldown": lrsched.wsd(1.0, steps, warmup=0.05, cooldown=0.2),
        "refined, l1": refinement.refined["l1"],
        "refined, l2": refinement.refined["l2"],
    }
    # Tables have the same tree structure, so that one compiled program runs all schedules.
    tables = {name: shape(np.arange(steps + 1)) for name, shape in shapes.items()}
    exponents = (np.arange(options.rates) - options.rates // 2) / 3
    peaks = workload.around * 10**exponents
    schedules = [lrsched.table(peak * values) for values in tables.values() for peak in peaks]
    result = tuning.sweep(run, schedules, steps=steps, seeds=options.seeds)
    losses = result.table["loss"].reshape(len(shapes), len(peaks), options.seeds)
    best = losses.mean(axis=2).argmin(axis=1)
    return {
        name: (float(peaks[i]), of_shape[i])
        for name, of_shape, i in zip(shapes, losses, best, strict=True)
    }


def draw(path: Path, refinements: Sequence[Refinement]) -> None:
    """Draw the gradient norms and the refined schedules, one row per workload."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(refinements),
            2,
            figsize=(12, 3.6 * len(refinements)),
            squeeze=False,
            layout="constrained",
        )
        for (left, right), each in zip(axes, refinements, strict=True):
            steps = np.arange(each.workload.steps + 1)
            for norm, colour in zip(("l1", "l2"), (COLOURS[2], COLOURS[4]), strict=True):
                norms = getattr(each.norms, norm)
                left.plot(each.norms.steps, norms / np.median(norms), color=colour, label=norm)
                values = each.refined[norm](steps)
                right.plot(steps, values, color=colour, label=f"refined, {norm}")
            right.plot(steps, 1 - steps / steps[-1], "--", color="#999999", label="linear")
            left.set(yscale="log", ylabel="norm over its median", title=each.workload.title)
            right.set(ylabel="rate over its peak")
            for ax in (left, right):
                legend_below(ax, columns=3)
        axes[-1, 0].set_xlabel("step")
        axes[-1, 1].set_xlabel("step")
        save(figure, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Refine the schedules, draw the figure, print the results and compare the schedules."""
    options = read_options(Options, "refinement", arguments)
    use("cpu")
    console, workloads = Console(), [WORKLOADS[name] for name in options.workloads]
    refinements = [refine(replace(w, steps=w.steps_of(options.scale))) for w in workloads]
    draw(options.out, refinements)
    for each in refinements:
        name = each.workload.name
        for norm, schedule in each.refined.items():
            rates = np.asarray(schedule(np.arange(each.workload.steps + 1)))
            console.print(
                f"{name}, {norm}: begins at {rates[0]:.2f} of the peak, which is at "
                f"{rates.argmax() / each.workload.steps:.0%} of the run"
            )
        if name in options.compared:
            table = Table("schedule", "best peak", "validation loss", title=each.workload.title)
            for shape, (peak, losses) in compare(each, options).items():
                table.add_row(shape, f"{peak:.2g}", f"{losses.mean():.4f} ± {losses.std():.4f}")
            console.print(table)
