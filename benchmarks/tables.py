"""Tables for the terminal."""

from collections.abc import Callable, Sequence

import numpy as np
from rich.table import Table

from benchmarks.analysis import interval, least_loss, median_cost, score, usable
from benchmarks.policies import POLICIES
from benchmarks.protocol import Trial
from benchmarks.workloads import WORKLOADS


def workloads() -> Table:
    """What can be trained."""
    found = Table("workload", "is", "updates", "budgets", "data", "here", title="Workloads")
    for name, workload in WORKLOADS.items():
        found.add_row(
            name,
            workload.title,
            f"{workload.steps} of {workload.batch_size}",
            ", ".join(f"x{budget:g}" for budget in workload.budgets),
            workload.source,
            "yes" if workload.is_here() else "no",
        )
    return found


def policies() -> Table:
    """How its rate can be chosen."""
    found = Table("policy", "kind", "at a rate of 1 over 1000 updates", title="Policies")
    for name, policy in POLICIES.items():
        found.add_row(name, policy.family, repr(policy.schedule(1.0, 1000)))
    return found


def trials(found: Sequence[Trial]) -> Table:
    """One row a policy: medians over the seeds, with their intervals."""
    workload, first = WORKLOADS[found[0].workload], found[0]
    metric = workload.metric.__name__
    confidence = interval(first.final["loss"]).confidence
    table = Table(
        title=f"{workload.title}: {first.steps} updates of {first.batch_size} examples, "
        f"{len(first.seeds)} seeds at the best of {len(first.rates)} rates",
        caption=f"Medians; in brackets {confidence:.0%} intervals. Usable: rates within 95 % of "
        "the greatest fall of the loss.",
        caption_justify="left",
    )
    table.add_column("policy", no_wrap=True)
    for heading in ("rate", "val. loss", "test loss", f"test {metric}", "steps to", "usable"):
        table.add_column(
            f"{heading} {workload.target:g}" if heading == "steps to" else heading, justify="right"
        )
    least = least_loss(found, first.workload, first.budget)
    for trial in found:
        cells = map(shown, (trial.final["loss"], trial.final["test_loss"], score(trial)))
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


def shown(values: np.ndarray, form: Callable[[float], str] = "{:.4g}".format) -> str:
    """A median with its interval."""
    found = interval(values)
    return f"{form(found.median)} [{form(found.low)}, {form(found.high)}]"
