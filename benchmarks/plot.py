"""The picture: the rate that each policy applied, over the losses that it led to."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from benchmarks.comparison import Run
from benchmarks.report import per_update
from benchmarks.workloads.base import Array, Workload

# Okabe and Ito's palette, whose colours stay apart under the common colour deficiencies.
COLOURS = ("#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#F0E442")

STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.formatter.limits": (-2, 4),
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 13,
    "axes.titleweight": "bold",
    "font.size": 11,
    "grid.alpha": 0.3,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}


def draw(path: Path, comparisons: Mapping[Workload, Sequence[Run]]) -> None:
    """Draws a column a workload and a colour a policy.

    Lines are means over the seeds, in bands from the lowest seed to the highest.
    """
    columns = len(comparisons)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            3,
            columns,
            figsize=(1 + 6 * columns, 9),
            sharex="col",
            squeeze=False,
            layout="constrained",
        )
        for column, (workload, runs) in zip(axes.T, comparisons.items(), strict=True):
            column[0].set_title(f"{workload.title}, {workload.seeds} seeds")
            _draw_workload(column, workload, runs)
        for label, first in zip(
            ("learning rate applied", "training loss", "validation loss"), axes[:, 0], strict=True
        ):
            first.set_ylabel(label)
        figure.align_ylabels()
        lines, names = axes[0, 0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside upper center", ncols=len(names))
        figure.savefig(path, dpi=150)
        plt.close(figure)


def _draw_workload(column: Iterable[Axes], workload: Workload, runs: Sequence[Run]) -> None:
    rate, training, validation = column
    updates = np.arange(workload.steps)
    evaluated = workload.steps_per_evaluation * np.arange(1, workload.evaluations + 1)
    # The mean of the training loss between two evaluations belongs halfway.
    between = evaluated - workload.steps_per_evaluation / 2
    for run, colour in zip(runs, cycle(COLOURS)):
        history = run.history
        _draw_seeds(rate, updates, per_update(history.updates.rate), colour, run.policy)
        _draw_seeds(training, between, history.updates.loss.mean(-1), colour)
        _draw_seeds(validation, evaluated, history.validation.loss, colour)
    training.set_yscale("log")
    validation.set(xlabel="update", xlim=(0, workload.steps))
    # The first losses are tens of times the last; with them in view the last would look the same.
    losses = np.array([run.history.validation.loss.mean(0) for run in runs])
    lowest = losses.min(initial=np.inf, where=np.isfinite(losses))
    if np.isfinite(lowest):
        validation.set_ylim(0.7 * lowest, 2.5 * lowest)


def _draw_seeds(
    axes: Axes, steps: np.ndarray, values: Array, colour: str, label: str | None = None
) -> None:
    axes.plot(steps, values.mean(0), color=colour, label=label)
    axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.1, linewidth=0)
