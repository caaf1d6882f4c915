"""Trains Flax models on real data under several learning-rate policies, side by side.

`python -m benchmarks which-rate` finds their usable rates instead.
"""

import math
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

from benchmarks.comparison import Run, compare
from benchmarks.plot import draw
from benchmarks.policies import POLICIES, SIX
from benchmarks.report import table, write_json
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Workload


@dataclass(frozen=True)
class Options:
    """What to run and where to write."""

    workloads: tuple[str, ...] = ("digits-mlp", "mnist-cnn")
    """Names of the workloads."""
    policies: tuple[str, ...] = tuple(SIX)
    """Names of the learning-rate policies."""
    seeds: int | None = None
    """Runs of each policy; by default as many as the workload says."""
    peak: float | None = None
    """Highest learning rate; by default the workload's own, chosen by `benchmarks.peaks`."""
    steps_scale: float = 1.0
    """Multiplies the number of updates."""
    out: Path = Path(__file__).parent / "results" / "main.png"
    """The picture; the numbers go beside it as JSON."""

    def __post_init__(self) -> None:
        for what, names, known in (
            ("workload", self.workloads, WORKLOADS),
            ("policy", self.policies, POLICIES),
        ):
            if not names:
                raise ValueError(f"no {what} given; choose from {', '.join(known)}")
            for name in names:
                if name not in known:
                    raise ValueError(f"unknown {what} {name!r}; choose from {', '.join(known)}")
        for what in ("seeds", "peak", "steps_scale"):
            value = getattr(self, what)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{what} must be positive, not {value:g}")
        if self.out.suffix != ".png":
            raise ValueError(f"out must end in .png, not {self.out}")

    def workload(self, name: str) -> Workload:
        """Returns the workload of that name with the options applied."""
        workload = WORKLOADS[name].scaled(self.steps_scale)
        return replace(
            workload, seeds=self.seeds or workload.seeds, peak=self.peak or workload.peak
        )


def run(options: Options, console: Console) -> None:
    """Trains everything, showing each table as soon as it is known, then writes the files."""
    policies = {name: POLICIES[name] for name in options.policies}
    workloads = [options.workload(name) for name in options.workloads]
    comparisons: dict[Workload, list[Run]] = {}
    columns = (
        SpinnerColumn(),
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks = [progress.add_task(w.title, total=len(policies), start=False) for w in workloads]
        for workload, task in zip(workloads, tasks, strict=True):
            progress.start_task(task)
            runs = progress.track(compare(workload, policies), task_id=task)
            comparisons[workload] = list(runs)
            console.print(table(workload, comparisons[workload]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    numbers = options.out.with_suffix(".json")
    write_json(numbers, comparisons)
    draw(options.out, comparisons)
    console.print(f"Wrote {numbers} and {options.out}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; `arguments` stands for `sys.argv[1:]`."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:1] == ["which-rate"]:
        jax.config.update("jax_num_cpu_devices", os.cpu_count())
        from benchmarks import which_rate

        return which_rate.main(arguments[1:])
    options = tyro.cli(Options, prog="python -m benchmarks", description=__doc__, args=arguments)
    run(options, Console())


if __name__ == "__main__":
    main()
