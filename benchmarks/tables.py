"""Tables for the terminal."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from rich.table import Table

from benchmarks.analysis import interval, least_loss, median_cost, score, usable
from benchmarks.policies import POLICIES
from benchmarks.protocol import Trial
from benchmarks.workloads import WORKLOADS


def of_rows(title: str, rows: Sequence[Mapping[str, str]]) -> Table:
    """Return a table of rows with the same keys, which are the headings."""
    table = Table(*(rows[0] if rows else ()), title=title)
    for row in rows:
        table.add_row(*row.values())
    return table


def workloads() -> Table:
    """Return the table of the workloads."""
    rows = [
        {
            "workload": name,
            "model and data": workload.title,
            "updates": f"{workload.steps} of {workload.batch_size}",
            "budgets": ", ".join(f"x{budget:g}" for budget in workload.budgets),
            "source": workload.source,
            "available": "yes" if workload.is_here() else "no",
        }
        for name, workload in WORKLOADS.items()
    ]
    return of_rows("Workloads", rows)


def policies() -> Table:
    """Return the table of the policies."""
    table = Table("policy", "family", "schedule for rate 1 and 1000 updates", title="Policies")
    for name, policy in POLICIES.items():
        table.add_row(name, policy.family, repr(policy.schedule(1.0, 1000)))
    return table


def trials(results: Sequence[Trial]) -> Table:
    """Return a table with one row per policy: medians over the seeds, with their intervals."""
    workload, first = WORKLOADS[results[0].workload], results[0]
    metric = workload.metric.__name__
    confidence = interval(first.final["loss"]).confidence
    table = Table(
        title=f"{workload.title}: {first.steps} updates of {first.batch_size} examples, "
        f"{len(first.seeds)} seeds at the best of {len(first.rates)} rates",
        caption=f"Medians; {confidence:.0%} intervals in brackets. Usable: rates whose decrease of "
        "the loss is at least 95 % of the best one.",
        caption_justify="left",
    )
    table.add_column("policy", no_wrap=True)
    for heading in ("rate", "val. loss", "test loss", f"test {metric}", "steps to", "usable"):
        table.add_column(
            f"{heading} {workload.target:g}" if heading == "steps to" else heading, justify="right"
        )
    least = least_loss(results, first.workload, first.budget)
    for trial in results:
        cells = map(format_interval, (trial.final["loss"], trial.final["test_loss"], score(trial)))
        reached = median_cost(trial, workload.target)
        width = usable(trial, least)
        table.add_row(
            trial.policy,
            f"{trial.rate:.2g}",
            *cells,
            f"{reached:.0f}" if np.isfinite(reached) else "-",
            f"{width.low:.1g} to {width.high:.1g}" if width.decades else "-",
        )
    return table


def format_interval(values: np.ndarray, form: Callable[[float], str] = "{:.4g}".format) -> str:
    """Return the median of values with its interval in brackets."""
    result = interval(values)
    return f"{form(result.median)} [{form(result.low)}, {form(result.high)}]"
