"""What schedule do the gradients of a run ask for? `python -m benchmarks.refinement`.

The norms of the gradients are recorded over a run of each workload with Adam at a rate that goes to
zero in a line, without a warmup, and the schedule is refined by them (arXiv 2310.07831). It draws
docs/refinement.png. The refined schedule is then run beside others, each at its own best peak.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

import lrsched
from benchmarks.figures import COLOURS, STYLE
from benchmarks.platforms import use
from benchmarks.runs import run_of
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Workload
from lrsched import theory, tuning


@dataclass(frozen=True)
class Options:
    """What to run."""

    workloads: tuple[str, ...] = ("topics-lm", "mnist-vit")
    """The runs whose gradients are recorded."""
    compared: tuple[str, ...] = ("mnist-vit",)
    """Those whose refined schedule is run."""
    scale: float = 1.0
    """What the budgets are multiplied by."""
    rates: int = 7
    """Peaks of each schedule, a factor of 10**(1/3) apart, around the workload's own."""
    seeds: int = 3
    """Runs of each peak."""
    out: Path = Path(__file__).parent.parent / "docs" / "refinement.png"
    """The picture."""


@dataclass(frozen=True)
class Recorded:
    """A run's norms, and the schedules that they ask for, of a peak of 1."""

    workload: Workload
    norms: lrsched.RecordedNorms
    refined: dict[str, lrsched.Schedule]


def recorded(workload: Workload) -> Recorded:
    """Trains once, and refines by the norms seen."""

    def optimizer(rate: lrsched.Schedule) -> optax.GradientTransformation:
        return optax.chain(
            lrsched.record_norms(),
            optax.scale_by_adam(),
            lrsched.scale_by_learning_rate(rate),
        )

    run = run_of(workload, workload.data(), optimizer)
    schedule, key = lrsched.linear(workload.around, 0.0, workload.steps), jax.random.key(0)

    @jax.jit
    def trained(schedule: lrsched.Schedule) -> optax.OptState:
        def step(
            state: tuning.TrainingState, i: jax.Array
        ) -> tuple[tuning.TrainingState, jax.Array]:
            return run.step(state, run.batch(run.data, key, i))

        state, _ = jax.lax.scan(step, run.init(schedule, key), np.arange(workload.steps))
        return state.opt_state

    norms = lrsched.recorded_norms(trained(schedule))
    refined = {
        norm: theory.refine(
            workload.steps, lrsched.points(norms.steps, getattr(norms, norm)), norm=norm
        )
        for norm in ("l1", "l2")
    }
    return Recorded(workload, norms, refined)


def compared(found: Recorded, options: Options) -> dict[str, tuple[float, np.ndarray]]:
    """The best peak of each schedule, and its validation losses, one a seed."""
    workload, steps = found.workload, found.workload.steps
    run = run_of(workload, workload.data(), optax.adam)
    shapes = {
        "constant": lrsched.constant(1.0),
        "linear to zero": lrsched.linear(1.0, 0.0, steps),
        "cosine, 5 % warmup": lrsched.warmup(steps // 20) * lrsched.cosine(1.0, steps),
        "WSD, 20 % cooldown": lrsched.wsd(1.0, steps, warmup=0.05, cooldown=0.2),
        "refined, l1": found.refined["l1"],
        "refined, l2": found.refined["l2"],
    }
    # As tables, which are of one structure, all schedules are one program.
    tables = {name: shape(np.arange(steps + 1)) for name, shape in shapes.items()}
    third = np.arange(options.rates) - options.rates // 2
    peaks = workload.around * 10 ** (third / 3)
    schedules = [lrsched.table(peak * values) for values in tables.values() for peak in peaks]
    swept = tuning.sweep(run, schedules, steps=steps, seeds=options.seeds)
    losses = swept.table["loss"].reshape(len(shapes), len(peaks), options.seeds)
    best = losses.mean(axis=2).argmin(axis=1)
    return {
        name: (float(peaks[i]), of_shape[i])
        for name, of_shape, i in zip(shapes, losses, best, strict=True)
    }


def draw(path: Path, all_found: Sequence[Recorded]) -> None:
    """A row a workload: the norms, and the schedules that they ask for."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            len(all_found),
            2,
            figsize=(12, 3.6 * len(all_found)),
            squeeze=False,
            layout="constrained",
        )
        for (left, right), found in zip(axes, all_found, strict=True):
            steps = np.arange(found.workload.steps + 1)
            for norm, colour in zip(("l1", "l2"), (COLOURS[2], COLOURS[4]), strict=True):
                sizes = getattr(found.norms, norm)
                left.plot(found.norms.steps, sizes / np.median(sizes), color=colour, label=norm)
                values = found.refined[norm](steps)
                right.plot(steps, values, color=colour, label=f"refined, {norm}")
            right.plot(steps, 1 - steps / steps[-1], "--", color="#999999", label="linear")
            left.set(yscale="log", ylabel="norm over its median", title=found.workload.title)
            right.set(ylabel="rate over its peak")
            left.legend(fontsize=10)
            right.legend(fontsize=10)
        axes[-1, 0].set_xlabel("step")
        axes[-1, 1].set_xlabel("step")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)
        plt.close(figure)


def main(arguments: Sequence[str] | None = None) -> None:
    """Records, refines, draws, and compares."""
    options = tyro.cli(
        Options, prog="python -m benchmarks.refinement", description=__doc__, args=arguments
    )
    use("cpu")
    console, chosen = Console(), [WORKLOADS[name] for name in options.workloads]
    all_found = [recorded(replace(w, steps=w.steps_of(options.scale))) for w in chosen]
    draw(options.out, all_found)
    for found in all_found:
        name = found.workload.name
        for norm, schedule in found.refined.items():
            rates = np.asarray(schedule(np.arange(found.workload.steps + 1)))
            console.print(
                f"{name}, {norm}: begins at {rates[0]:.2f} of the peak, which is at "
                f"{rates.argmax() / found.workload.steps:.0%} of the run"
            )
        if name in options.compared:
            table = Table("schedule", "best peak", "validation loss", title=found.workload.title)
            for shape, (peak, losses) in compared(found, options).items():
                table.add_row(shape, f"{peak:.2g}", f"{losses.mean():.4f} ± {losses.std():.4f}")
            console.print(table)


if __name__ == "__main__":
    main()
