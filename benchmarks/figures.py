"""The pictures of a study, drawn by matplotlib."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.analysis import interval
from benchmarks.policies import POLICIES, adam
from benchmarks.protocol import Trial
from benchmarks.workloads import WORKLOADS
from lrsched.pictures.plots import COLOURS

STYLE: dict[str, Any] = {
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


def courses(trials: Sequence[Trial], budget: float = 1.0) -> Figure:
    """The rate that each policy applied, over the losses that it led to: a column a workload.

    Lines are medians over the seeds, in bands of their intervals.
    """
    here = [trial for trial in trials if trial.budget == budget] or list(trials)
    names = list(dict.fromkeys(trial.workload for trial in here))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            3,
            len(names),
            figsize=(1 + 6 * len(names), 9),
            sharex="col",
            squeeze=False,
            layout="constrained",
        )
        for column, name in zip(axes.T, names, strict=True):
            chosen = [trial for trial in here if trial.workload == name]
            column[0].set_title(f"{WORKLOADS[name].title}, {len(chosen[0].seeds)} seeds")
            draw_courses(column, chosen)
        for label, first in zip(
            ("learning rate applied", "training loss", "validation loss"), axes[:, 0], strict=True
        ):
            first.set_ylabel(label)
        figure.align_ylabels()
        lines, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside upper center", ncols=min(8, len(labels)))
    return figure


def draw_courses(axes: Sequence[Axes], trials: Sequence[Trial]) -> None:
    """Rate, training loss and validation loss of one workload's policies, one under another."""
    rate, training, validation = axes
    for trial, colour in zip(trials, np.resize(COLOURS, len(trials)), strict=True):
        steps, rates = rate_of(trial)
        rate.plot(steps, rates, color=colour, label=trial.policy)
        parts = trial.curves["train_loss"].shape[1]
        middles = (np.arange(parts) + 0.5) * trial.steps / parts
        band(training, middles, trial.curves["train_loss"], colour)
        band(validation, trial.evaluated, trial.curves["loss"], colour)
    training.set_yscale("log")
    validation.set(xlabel="update", xlim=(0, trials[0].steps))
    # The first losses are tens of times the last; with them in view the last would look the same.
    lowest = np.min([np.median(trial.curves["loss"], axis=0) for trial in trials])
    if np.isfinite(lowest) and lowest > 0:
        validation.set_ylim(0.7 * lowest, 2.5 * lowest)


def rate_of(trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """The rate over a run: the schedule's, or what an adaptive one was seen at."""
    policy = POLICIES[trial.policy]
    if policy.optimizer is not adam:
        return trial.evaluated, np.median(trial.curves["learning_rate"], axis=0)
    steps = np.arange(trial.steps)
    return steps, np.asarray(policy.schedule(trial.rate, trial.steps)(steps))


def band(axes: Axes, x: np.ndarray, curves: np.ndarray, colour: str, **style: Any) -> None:
    """The medians of curves over the seeds, and their intervals; a gap where they are infinite."""
    found = np.array([interval(column)[:3] for column in curves.T])
    found = np.where(np.isfinite(found), found, np.nan)
    axes.plot(x, found[:, 0], color=colour, **style)
    axes.fill_between(x, found[:, 1], found[:, 2], color=colour, alpha=0.12, linewidth=0)


def save(figure: Figure, path: Path) -> None:
    """Writes it, and lets go of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
