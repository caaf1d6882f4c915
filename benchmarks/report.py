"""The numbers of a comparison: a table to read and a JSON file to compute with."""

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from rich.table import Table
from rich.text import Text

from benchmarks.comparison import Run
from benchmarks.training import History
from benchmarks.workloads.base import Array, Workload

PACKAGES = ("lrsched-jax", "jax", "jaxlib", "flax", "optax", "numpy", "scikit-learn", "mlxtend")


def final(history: History) -> dict[str, Array]:
    """Returns the last numbers of a run, one a seed.

    A mini-batch's loss is noisy, so the training loss is the mean since the last evaluation but
    one.
    """
    return {
        "train loss": history.updates.loss[:, -1].mean(-1),
        "validation loss": history.validation.loss[:, -1],
        "validation metric": history.validation.metric[:, -1],
        "test metric": history.test.metric,
        "rate": history.updates.rate[:, -1, -1],
    }


def table(workload: Workload, runs: Sequence[Run]) -> Table:
    """Returns one row a policy, each number the mean and deviation over the seeds."""
    metric = workload.metric.__name__
    result = Table(
        title=f"{workload.title}: {workload.steps} updates of {workload.batch_size} examples, "
        f"{workload.seeds} seeds, peak {workload.peak:g}",
        caption=Text("\n".join(f"{run.policy}: {run.optimizer} at {run.schedule}" for run in runs)),
        caption_justify="left",
    )
    headings = ("train loss", "val. loss", f"val. {metric}", f"test {metric}")
    result.add_column("policy", no_wrap=True)
    for heading in (*headings, "last rate", "compile", "run"):
        result.add_column(heading, justify="right")
    for run in runs:
        *scores, rate = final(run.history).values()
        result.add_row(
            run.policy,
            *(f"{score.mean():.4f} ± {score.std():.4f}" for score in scores),
            f"{rate.mean():.1e}",
            f"{run.compile_seconds:.1f} s",
            f"{run.run_seconds:.1f} s",
        )
    return result


def write_json(path: Path, comparisons: Mapping[Workload, Sequence[Run]]) -> None:
    """Writes everything that was measured, and on what."""
    record = {
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in PACKAGES},
        "machine": {
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "device": jax.devices()[0].device_kind,
        },
        "workloads": {
            workload.name: _settings(workload) | {"runs": {run.policy: _run(run) for run in runs}}
            for workload, runs in comparisons.items()
        },
    }
    path.write_text(json.dumps(record))


def _settings(workload: Workload) -> dict[str, Any]:
    return {
        "steps": workload.steps,
        "steps_per_evaluation": workload.steps_per_evaluation,
        "batch_size": workload.batch_size,
        "seeds": list(range(workload.seeds)),
        "peak": workload.peak,
        "metric": workload.metric.__name__,
    }


def _run(run: Run) -> dict[str, Any]:
    updates, validation = run.history.updates, run.history.validation
    return {
        "optimizer": run.optimizer,
        "schedule": repr(run.schedule),
        "compile_seconds": run.compile_seconds,
        "run_seconds": run.run_seconds,
        "final": {name: values.tolist() for name, values in final(run.history).items()},
        "history": {
            "rate": per_update(updates.rate).tolist(),
            "train loss": per_update(updates.loss).tolist(),
            "validation loss": validation.loss.tolist(),
            "validation metric": validation.metric.tolist(),
        },
    }


def per_update(values: Array) -> Array:
    """Joins the evaluations: one row a seed, one column an update."""
    return values.reshape(len(values), -1)
