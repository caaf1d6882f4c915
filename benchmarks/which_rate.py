"""Best and usable rates against common advice: `python -m benchmarks which-rate`.

Sweeps the rate of several optimizers on real workloads, and for data sets and models of several
sizes. Compares the best rate of each sweep, by its final validation loss, with common advice, with
the suggestions of a range test and with `tuning.auto`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import matplotlib.pyplot as plt
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.figures import COLOURS, STYLE, legend_below, save
from benchmarks.options import read_options
from benchmarks.platforms import use
from benchmarks.runs import OPTIMIZERS, RANGES, SHAPES, best_and_usable, final_losses, run_of
from benchmarks.store import RESULTS, write_json
from benchmarks.tables import of_rows
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Data, Split
from benchmarks.workloads.digits_mlp import mlp
from lrsched import tuning

ADVICE = {
    "gradient descent": (1e-3, 1e-1),
    "Adam": (1e-4, 1e-2),
    "RMSProp": (1e-3, 5e-2),
}
"""Lowest and highest rate that guides commonly recommend."""


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    steps: int = 600
    """Number of updates of every run. Half of them for the convolutional network."""
    rates: int = 25
    """Number of rates of a sweep. Half of them for the convolutional network."""
    seeds: int = 3
    """Number of runs of each rate. At most two for the convolutional network."""
    workloads: tuple[str, ...] = ("digits-mlp", "mnist-cnn")
    """Workloads on which optimizers are compared. Sizes are compared on the first one."""
    out: Path = RESULTS / "which-rate.svg"
    """File of the figure. The numbers are written next to it as JSON."""


def optimizers(options: Options, console: Console) -> list[dict[str, Any]]:
    """Measure best, usable and suggested rates of each optimizer on each workload."""
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
                losses, training = final_losses(run, shape, rates, steps, seeds)
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
    """Measure best and usable rates of Adam and gradient descent by data and model size."""
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
        for what, size, splits, model in cases:
            low, high = RANGES[optimizer]
            rates = np.geomspace(low * 30, high, options.rates)
            run = run_of(workload, splits, OPTIMIZERS[optimizer], model)
            seeds = 1 if size >= 1024 and what == "width" else options.seeds
            steps = options.steps // 2 if what == "width" else options.steps
            losses, training = final_losses(run, "linear to zero", rates, steps, seeds)
            best, least, most = best_and_usable(rates, losses, np.log(10))
            index = int(np.argmin(losses.mean(axis=1)))
            rows.append(
                {
                    "optimizer": optimizer,
                    "what": what,
                    "size": size,
                    "best": best,
                    "usable": [least, most],
                    "validation at best": float(losses.mean(axis=1)[index]),
                    "training at best": float(training.mean(axis=1)[index]),
                    "rates": rates.tolist(),
                    "validation": losses.mean(axis=1).tolist(),
                }
            )
            console.print(f"{optimizer}, {size} {what}: best {best:.2g}")
    return rows


def right_verdicts(
    tested: tuning.RangeTestResult, rates: np.ndarray, least: float, most: float
) -> list[int]:
    """Return the number of rates with a correct verdict, and the number of rates.

    The reference is the usable range by final losses. The verdict comes from a range test, which
    trains for 200 updates and does not know the schedule.
    """
    right = sum(
        tested.verdict(float(rate)).verdict
        == ("too low" if rate < least else "too high" if rate > most else "good")
        for rate in rates
    )
    return [right, len(rates)]


def _fewer(data: Data, examples: int) -> Data:
    indices = np.random.default_rng(0).permutation(len(data.train.targets))[:examples]
    return data._replace(train=Split(*(array[indices] for array in data.train)))


def tables(results: dict[str, Any]) -> list[Table]:
    """Return the tables by optimizer, of the suggestions and by size."""
    by_optimizer, suggested = [], []
    for row in results["optimizers"]:
        advice = ADVICE.get(row["optimizer"])
        names = {"workload": row["workload"], "optimizer": row["optimizer"]}
        by_optimizer.append(
            names
            | {"shape": row["shape"], **_best_and_usable(row)}
            | {
                "common advice": f"{advice[0]:g} to {advice[1]:g}" if advice else "",
                "contains the best": ("yes" if advice[0] <= row["best"] <= advice[1] else "no")
                if advice
                else "",
            }
        )
        if row["shape"] == "linear to zero":
            peaks = {"auto": row["auto"], **row["range test"]}
            suggested.append(
                names
                | {"best": f"{row['best']:.2g}"}
                | {method: f"{peak / row['best']:.2f}" for method, peak in peaks.items()}
                | {"verdicts right": "{} of {}".format(*row["verdicts right"])}
            )
    by_size = [
        {
            "optimizer": row["optimizer"],
            "varied": row["what"],
            "size": str(row["size"]),
            **_best_and_usable(row),
            "validation loss": f"{row['validation at best']:.3f}",
            "training loss": f"{row['training at best']:.3f}",
        }
        for row in results["sizes"]
    ]
    return [
        of_rows("Usable rates", by_optimizer),
        of_rows("Suggested peaks over the best peak of a sweep, linear to zero", suggested),
        of_rows("By data set and model size", by_size),
    ]


def _best_and_usable(row: Mapping[str, Any]) -> dict[str, str]:
    low, high = row["usable"]
    return {"best": f"{row['best']:.2g}", "usable": f"{low:.2g} to {high:.2g}"}


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw final losses over rates, by optimizer (with the common advice) and by size."""
    titles = list(dict.fromkeys(row["workload"] for row in results["optimizers"]))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(13, 10), layout="constrained")
        for ax, title in zip(axes[0], titles, strict=False):
            chosen = [
                row
                for row in results["optimizers"]
                if row["workload"] == title and row["shape"] == "linear to zero"
            ]
            for colour, row in zip(COLOURS, chosen, strict=False):
                _curve(ax, row, row["optimizer"], colour)
                if advice := ADVICE.get(row["optimizer"]):
                    ax.plot(advice, [row["first"]] * 2, color=colour, linewidth=6, alpha=0.4)
            ax.set_title(f"{title}: optimizers; bars: common advice")
        for ax, what in zip(axes[1], ("examples", "width"), strict=True):
            for optimizer, style in (("gradient descent", "--"), ("Adam", "-")):
                chosen = [
                    row
                    for row in results["sizes"]
                    if row["what"] == what and row["optimizer"] == optimizer
                ]
                for colour, row in zip(COLOURS, chosen, strict=False):
                    _curve(ax, row, f"{optimizer}, {row['size']}", colour, linestyle=style)
            ax.set_title(f"MLP on digits: by {what}")
        for ax in axes.flat:
            ax.set(xscale="log", yscale="log", xlabel="peak learning rate", ylim=(None, 3))
            ax.set_ylabel("final validation loss")
            if ax.lines:
                legend_below(ax, columns=4)
        save(figure, path)


def _curve(ax: Any, row: dict[str, Any], label: str, colour: str, **style: Any) -> None:
    losses = np.array(row["validation"])
    finite = np.isfinite(losses)
    ax.plot(np.array(row["rates"])[finite], losses[finite], label=label, color=colour, **style)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweeps, print the tables, draw the figure and write the numbers."""
    options = read_options(Options, "which-rate", arguments)
    use("cpu")
    console = Console()
    results = {
        "optimizers": optimizers(options, console),
        "sizes": sizes(options, console),
        "devices": len(jax.devices()),
    }
    for table in tables(results):
        console.print(table)
    draw(results, options.out)
    write_json(options.out.with_suffix(".json"), results)
    console.print(f"Wrote {options.out} and its numbers as JSON next to it")
