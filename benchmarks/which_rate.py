"""Which learning rate? Measured, beside the guides' advice: `python -m benchmarks which-rate`.

Every number is a final validation loss of a sweep on a real workload: of each optimizer, of data
sets and of models of several sizes. Then what a range test and `tuning.auto` suggest, beside the
best rate by brute force.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.figures import COLOURS, STYLE
from benchmarks.platforms import use
from benchmarks.runs import OPTIMIZERS, RANGES, SHAPES, best_and_usable, run_of, swept
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Data, Split
from benchmarks.workloads.digits_mlp import mlp
from lrsched import tuning

ADVICE = {
    "gradient descent": (1e-3, 1e-1),
    "Adam": (1e-4, 1e-2),
    "RMSProp": (1e-3, 5e-2),
}
"""What guides commonly say."""


@dataclass(frozen=True)
class Options:
    """What to sweep."""

    steps: int = 600
    """Updates of every run; of the convolutional network, half of them."""
    rates: int = 25
    """Rates of a sweep; of the convolutional network, half of them."""
    seeds: int = 3
    """Runs of each rate; of the convolutional network, two at most."""
    workloads: tuple[str, ...] = ("digits-mlp", "mnist-cnn")
    """Where optimizers are compared; sizes are compared on the first."""
    out: Path = Path(__file__).parent / "results" / "which-rate.png"
    """The picture; the numbers go beside it as JSON."""


def optimizers(options: Options, console: Console) -> list[dict[str, Any]]:
    """The usable range of each optimizer, and what is suggested, on each workload."""
    rows = []
    for name in options.workloads:
        workload, heavy = WORKLOADS[name], not WORKLOADS[name].scan
        data = workload.data()
        steps = options.steps // 2 if heavy else options.steps
        count = options.rates // 2 if heavy else options.rates
        seeds = min(2, options.seeds) if heavy else options.seeds
        for optimizer, factory in OPTIMIZERS.items():
            low, high = RANGES[optimizer]
            rates = np.geomspace(low * 30, high, count)
            run = run_of(workload, data, factory)
            tested = tuning.range_test(run, low=low, high=high)
            first = float(np.nanmean(tested.losses[:, 0]))
            chosen = tuning.auto(run, steps, low=low, high=high)
            for shape in SHAPES:
                losses, training = swept(run, shape, rates, steps, seeds)
                best, least, most = best_and_usable(rates, losses, first)
                rows.append(
                    {
                        "workload": workload.title,
                        "optimizer": optimizer,
                        "shape": shape,
                        "steps": steps,
                        "best": best,
                        "usable": [least, most],
                        "range test": {
                            method: tested.suggestion(method)
                            for method in ("90%", "steepest", "minimum/10", "valley", "slide")
                        },
                        "auto": chosen.peak,
                        "verdicts right": right_verdicts(tested, rates, least, most),
                        "rates": rates.tolist(),
                        "validation": losses.mean(axis=1).tolist(),
                        "training": training.mean(axis=1).tolist(),
                        "first": first,
                    }
                )
                console.print(
                    f"{workload.title}, {optimizer}, {shape}: best {best:.2g}, usable "
                    f"{least:.2g} to {most:.2g}"
                )
    return rows


def sizes(options: Options, console: Console) -> list[dict[str, Any]]:
    """The best and the usable rates of Adam and gradient descent by data and by model size."""
    workload = WORKLOADS[options.workloads[0]]
    data, rows = workload.data(), []
    examples = len(data.train.targets)
    cases: list[tuple[str, int, Data, Any]] = [
        *(
            ("examples", size, _fewer(data, size), None)
            for size in (examples // 12, examples // 4, examples)
        ),
        *(("width", width, data, partial(mlp, width=width)) for width in (16, 64, 256, 1024)),
    ]
    for optimizer in ("gradient descent", "Adam"):
        for what, size, some, model in cases:
            low, high = RANGES[optimizer]
            rates = np.geomspace(low * 30, high, options.rates)
            run = run_of(workload, some, OPTIMIZERS[optimizer], model)
            seeds = 1 if size >= 1024 and what == "width" else options.seeds
            steps = options.steps // 2 if what == "width" else options.steps
            losses, training = swept(run, "linear to zero", rates, steps, seeds)
            best, least, most = best_and_usable(rates, losses, np.log(10))
            place = int(np.argmin(losses.mean(axis=1)))
            rows.append(
                {
                    "optimizer": optimizer,
                    "what": what,
                    "size": size,
                    "best": best,
                    "usable": [least, most],
                    "validation at best": float(losses.mean(axis=1)[place]),
                    "training at best": float(training.mean(axis=1)[place]),
                    "rates": rates.tolist(),
                    "validation": losses.mean(axis=1).tolist(),
                }
            )
            console.print(f"{optimizer}, {size} {what}: best {best:.2g}")
    return rows


def right_verdicts(
    tested: tuning.RangeTestResult, rates: np.ndarray, least: float, most: float
) -> list[int]:
    """Return how often the verdict on a rate is right, and the number of rates.

    The truth is the usable range by final losses. A verdict is of a range test, which trains for
    200 updates and does not know the schedule.
    """
    right = sum(
        tested.verdict(float(rate)).verdict
        == ("too low" if rate < least else "too high" if rate > most else "good")
        for rate in rates
    )
    return [right, len(rates)]


def _fewer(data: Data, examples: int) -> Data:
    chosen = np.random.default_rng(0).permutation(len(data.train.targets))[:examples]
    return data._replace(train=Split(*(array[chosen] for array in data.train)))


def tables(found: dict[str, Any]) -> list[Table]:
    """The three tables."""
    by_optimizer = Table(
        "workload",
        "optimizer",
        "shape",
        "best",
        "usable",
        "guides say",
        "best is in it",
        title="Usable rates",
    )
    suggested = Table(
        "workload",
        "optimizer",
        "best",
        "auto",
        "90%",
        "steepest",
        "minimum/10",
        "valley",
        "slide",
        "verdicts right",
        title="Suggested peaks over the best of linear to zero, by brute force",
    )
    for row in found["optimizers"]:
        advice = ADVICE.get(row["optimizer"])
        by_optimizer.add_row(
            row["workload"],
            row["optimizer"],
            row["shape"],
            f"{row['best']:.2g}",
            f"{row['usable'][0]:.2g} to {row['usable'][1]:.2g}",
            f"{advice[0]:g} to {advice[1]:g}" if advice else "",
            ("yes" if advice[0] <= row["best"] <= advice[1] else "no") if advice else "",
        )
        if row["shape"] == "linear to zero":
            ratios = {"auto": row["auto"], **row["range test"]}
            suggested.add_row(
                row["workload"],
                row["optimizer"],
                f"{row['best']:.2g}",
                *(f"{value / row['best']:.2f}" for value in ratios.values()),
                "{} of {}".format(*row["verdicts right"]),
            )
    by_size = Table(
        "optimizer",
        "of",
        "size",
        "best",
        "usable",
        "validation loss",
        "training loss",
        title="By data set and model size",
    )
    for row in found["sizes"]:
        by_size.add_row(
            row["optimizer"],
            row["what"],
            str(row["size"]),
            f"{row['best']:.2g}",
            f"{row['usable'][0]:.2g} to {row['usable'][1]:.2g}",
            f"{row['validation at best']:.3f}",
            f"{row['training at best']:.3f}",
        )
    return [by_optimizer, suggested, by_size]


def draw(found: dict[str, Any], path: Path) -> None:
    """Losses over rates: by optimizer, with the guides' advice; by data set and model size."""
    titles = list(dict.fromkeys(row["workload"] for row in found["optimizers"]))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(13, 9), layout="constrained")
        for ax, title in zip(axes[0], titles, strict=False):
            chosen = [
                row
                for row in found["optimizers"]
                if row["workload"] == title and row["shape"] == "linear to zero"
            ]
            for colour, row in zip(COLOURS, chosen, strict=False):
                _curve(ax, row, row["optimizer"], colour)
                if advice := ADVICE.get(row["optimizer"]):
                    ax.plot(advice, [row["first"]] * 2, color=colour, linewidth=6, alpha=0.4)
            ax.set_title(f"{title}: optimizers; bars: what guides say")
        for ax, what in zip(axes[1], ("examples", "width"), strict=True):
            for optimizer, style in (("gradient descent", "--"), ("Adam", "-")):
                chosen = [
                    row
                    for row in found["sizes"]
                    if row["what"] == what and row["optimizer"] == optimizer
                ]
                for colour, row in zip(COLOURS, chosen, strict=False):
                    _curve(ax, row, f"{optimizer}, {row['size']}", colour, linestyle=style)
            ax.set_title(f"MLP on digits: by {what}")
        for ax in axes.flat:
            ax.set(xscale="log", yscale="log", xlabel="peak learning rate", ylim=(None, 3))
            ax.set_ylabel("final validation loss")
            if ax.lines:
                ax.legend(frameon=False, fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=110)


def _curve(ax: Any, row: dict[str, Any], label: str, colour: str, **style: Any) -> None:
    losses = np.array(row["validation"])
    there = np.isfinite(losses)
    ax.plot(np.array(row["rates"])[there], losses[there], label=label, color=colour, **style)


def main(arguments: Sequence[str] | None = None) -> None:
    """Sweeps, prints the tables, draws the picture."""
    options = tyro.cli(
        Options, prog="python -m benchmarks which-rate", description=__doc__, args=arguments
    )
    use("cpu")
    console = Console()
    found = {
        "optimizers": optimizers(options, console),
        "sizes": sizes(options, console),
        "devices": len(jax.devices()),
    }
    for table in tables(found):
        console.print(table)
    draw(found, options.out)
    options.out.with_suffix(".json").write_text(json.dumps(found, indent=1))
    console.print(f"Wrote {options.out} and its numbers beside it")
