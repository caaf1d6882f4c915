"""Figures of a study in matplotlib: rates and losses over a run."""

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


def curves(trials: Sequence[Trial], budget: float = 1.0) -> Figure:
    """Plot the applied rate, the training loss and the validation loss of each policy.

    Each workload has a column. Lines are medians over the seeds; bands are their intervals.
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
            draw_curves(column, chosen)
        for label, first in zip(
            ("learning rate applied", "training loss", "validation loss"), axes[:, 0], strict=True
        ):
            first.set_ylabel(label)
        figure.align_ylabels()
        lines, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside upper center", ncols=min(8, len(labels)))
    return figure


def draw_curves(axes: Sequence[Axes], trials: Sequence[Trial]) -> None:
    """Plot the policies of one workload on three axes: rate, training and validation loss."""
    rate, training, validation = axes
    for trial, colour in zip(trials, np.resize(COLOURS, len(trials)), strict=True):
        steps, rates = rate_of(trial)
        rate.plot(steps, rates, color=colour, label=trial.policy)
        num_bins = trial.curves["train_loss"].shape[1]
        middles = (np.arange(num_bins) + 0.5) * trial.steps / num_bins
        band(training, middles, trial.curves["train_loss"], colour)
        band(validation, trial.evaluated, trial.curves["loss"], colour)
    training.set_yscale("log")
    validation.set(xlabel="update", xlim=(0, trials[0].steps))
    # The initial losses are tens of times the final ones: a range that shows both would hide the
    # differences between the final losses.
    lowest = np.min([np.median(trial.curves["loss"], axis=0) for trial in trials])
    if np.isfinite(lowest) and lowest > 0:
        validation.set_ylim(0.7 * lowest, 2.5 * lowest)


def rate_of(trial: Trial) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and rates of a run: the schedule, or the recorded rates if they depend on data.

    Recorded rates are medians over the seeds, one per evaluation.
    """
    policy = POLICIES[trial.policy]
    if policy.optimizer is not adam:
        return trial.evaluated, np.median(trial.curves["learning_rate"], axis=0)
    steps = np.arange(trial.steps)
    return steps, np.asarray(policy.schedule(trial.rate, trial.steps)(steps))


def band(axes: Axes, x: np.ndarray, curves: np.ndarray, colour: str, **style: Any) -> None:
    """Plot the medians over the seeds with a band of their intervals.

    Args:
      axes: Axes to draw on.
      x: Positions of shape ``(points,)``.
      curves: Values of shape ``(seeds, points)``. The line has a gap at non-finite medians.
      colour: Colour of the line and of the band.
      **style: Further arguments of the line.
    """
    medians, lows, highs = np.array([interval(column)[:3] for column in curves.T]).T
    medians, lows, highs = (np.where(np.isfinite(y), y, np.nan) for y in (medians, lows, highs))
    axes.plot(x, medians, color=colour, **style)
    axes.fill_between(x, lows, highs, color=colour, alpha=0.12, linewidth=0)


def legend_below(axes: Axes, columns: int) -> None:
    """Draw the legend beneath the label of the horizontal axis, where it hides no curve."""
    axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=columns)


def save(figure: Figure, path: Path) -> None:
    """Write the figure to a file of the kind of its suffix and close it.

    An SVG is the same in every byte for the same figure, so that a repository shows what changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with plt.rc_context({"svg.hashsalt": path.stem}):
        figure.savefig(path, dpi=150, metadata=metadata)
    plt.close(figure)
