"""Do the papers' rules carry a rate to another size? `python -m benchmarks.scaling_rules`.

The best peak of linear-to-zero is found by brute force at each of several batch sizes, horizons
and widths of an MLP on digits. The exponent of a power law through them, with its 95 % interval,
stands beside the rule's, and the loss at the peak that the rule carries over from the smallest size
beside the best.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.platforms import use
from benchmarks.runs import run_of, swept
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.digits_mlp import mlp
from lrsched import scaling

STEPS, BATCH, WIDTH = 300, 32, 64


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    rates: int = 25
    """Rates of each sweep, over four decades."""
    seeds: int = 4
    """Runs of each rate."""
    out: Path = Path(__file__).parent / "results" / "scaling-rules.json"
    """The numbers."""


@dataclass(frozen=True)
class Case:
    """One rule on one optimizer."""

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


def measured(case: Case, options: Options) -> dict[str, Any]:
    """The best peak at each size, and the loss at the one that the rule carries over."""
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
        found, _ = swept(run, "linear to zero", rates, steps, options.seeds)
        best.append(scaling.best_rate(rates, found))
        losses.append(found.mean(axis=1))
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
    """Sweeps, and prints the table."""
    options = tyro.cli(
        Options, prog="python -m benchmarks.scaling_rules", description=__doc__, args=arguments
    )
    use("cpu")
    console, rows = Console(), []
    table = Table(
        "rule",
        "sizes",
        "best peaks",
        "carried over",
        "exponent",
        "rule's",
        "loss at best",
        "loss carried",
        title="Rules of scaling, MLP on digits",
    )
    for case in CASES:
        found = measured(case, options)
        rows.append(found)
        table.add_row(
            found["title"],
            ", ".join(map(str, found["sizes"])),
            ", ".join(f"{x:.2g}" for x in found["peaks"]),
            ", ".join(f"{x:.2g}" for x in found["carried"]),
            "{:.2f} ({:.2f} to {:.2f})".format(found["exponent"], *found["interval"]),
            f"{found['rule']:g}",
            ", ".join(f"{x:.3f}" for x in found["best loss"]),
            ", ".join(f"{x:.3f}" for x in found["carried loss"]),
        )
    console.print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
