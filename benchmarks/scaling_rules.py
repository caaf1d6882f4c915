"""Transfer of the rate to other sizes by published rules: `python -m benchmarks scaling-rules`.

Sweeps the peak of a linear decay to zero at several batch sizes, horizons and widths of an MLP on
digits. Compares the exponent of a power law through the best peaks, with its 95 % interval, with
the exponent of the rule. Compares the loss at the peak that the rule predicts from the smallest
size with the best loss.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
from rich.console import Console

from benchmarks.options import read_options
from benchmarks.platforms import use
from benchmarks.runs import final_losses, run_of
from benchmarks.store import RESULTS, write_json
from benchmarks.tables import of_rows
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.digits_mlp import mlp
from lrsched import scaling

STEPS, BATCH, WIDTH = 300, 32, 64


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    rates: int = 25
    """Number of rates of each sweep, over four decades."""
    seeds: int = 4
    """Number of runs of each rate."""
    out: Path = RESULTS / "scaling-rules.json"
    """JSON file of the numbers."""


@dataclass(frozen=True)
class Case:
    """Scaling rule and the experiment that tests it.

    Attributes:
      title: Title of the row.
      optimizer: Factory of the optimizer.
      around: Geometric centre of the rates of the sweeps.
      sizes: Sizes, in ascending order.
      size: Varied quantity, "batch", "steps" or "width".
      rule: Function ``(rate, new_size, old_size) -> new_rate``.
      exponent: Exponent of the rule.
    """

    title: str
    optimizer: Callable[..., optax.GradientTransformation]
    around: float
    sizes: tuple[int, ...]
    size: str
    rule: Callable[[float, int, int], float]
    exponent: float


CASES = (
    Case(
        "batch size, linear (gradient descent)",
        optax.sgd,
        0.3,
        (8, 32, 128),
        "batch",
        scaling.batch_size,
        1.0,
    ),
    Case(
        "batch size, square root (Adam)",
        optax.adam,
        0.01,
        (8, 32, 128),
        "batch",
        partial(scaling.batch_size, rule="sqrt"),
        0.5,
    ),
    Case(
        "horizon, -0.32 (Adam)",
        optax.adam,
        0.01,
        (75, 300, 1200),
        "steps",
        scaling.horizon,
        -0.32,
    ),
    Case(
        "width, -1 (Adam, standard parametrisation)",
        optax.adam,
        0.01,
        (32, 128, 512),
        "width",
        scaling.mup_width,
        -1.0,
    ),
)


def measure(case: Case, options: Options) -> dict[str, Any]:
    """Measure the best peak and loss at each size, and the loss at the peak of the rule."""
    workload = WORKLOADS["digits-mlp"]
    data = workload.data()
    rates = np.geomspace(case.around / 100, case.around * 100, options.rates)
    best, losses = [], []
    for size in case.sizes:
        run = run_of(
            workload,
            data,
            case.optimizer,
            partial(mlp, width=size if case.size == "width" else WIDTH),
            size if case.size == "batch" else BATCH,
        )
        steps = size if case.size == "steps" else STEPS
        validation, _ = final_losses(run, "linear to zero", rates, steps, options.seeds)
        best.append(scaling.best_rate(rates, validation))
        losses.append(validation.mean(axis=1))
    law = scaling.fit_power_law(case.sizes, best)
    peaks = np.exp(np.mean(np.log(best), axis=1)).tolist()
    carried = [case.rule(peaks[0], size, case.sizes[0]) for size in case.sizes]
    return {
        "title": case.title,
        "sizes": case.sizes,
        "peaks": peaks,
        "carried": carried,
        "exponent": law.exponent,
        "interval": law.interval,
        "rule": case.exponent,
        "best loss": [float(x.min()) for x in losses],
        "carried loss": [
            float(np.interp(np.log(rate), np.log(rates), np.minimum(x, 10.0)))
            for rate, x in zip(carried, losses, strict=True)
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweeps, print the table and write the numbers."""
    options = read_options(Options, "scaling-rules", arguments)
    use("cpu")
    results = [measure(case, options) for case in CASES]
    rows = [
        {
            "rule": result["title"],
            "sizes": ", ".join(map(str, result["sizes"])),
            "best peaks": ", ".join(f"{x:.2g}" for x in result["peaks"]),
            "peaks of the rule": ", ".join(f"{x:.2g}" for x in result["carried"]),
            "exponent": "{:.2f} ({:.2f} to {:.2f})".format(result["exponent"], *result["interval"]),
            "exponent of the rule": f"{result['rule']:g}",
            "best loss": ", ".join(f"{x:.3f}" for x in result["best loss"]),
            "loss of the rule": ", ".join(f"{x:.3f}" for x in result["carried loss"]),
        }
        for result in results
    ]
    Console().print(of_rows("Scaling rules, MLP on digits", rows))
    write_json(options.out, results)
