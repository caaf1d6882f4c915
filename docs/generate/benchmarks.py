"""Report of the benchmarks, generated from the study in the repository."""

import functools
from pathlib import Path

import numpy as np

from benchmarks.report.findings import Findings, rivals
from benchmarks.report.page import page
from benchmarks.store import read_study
from docs.generate.reference import markdown_table

STUDY = Path(__file__).parent.parent / "benchmarks/full.json.gz"


def link() -> str:
    """Return the line of the benchmarks' page that links to the report."""
    return (
        "**[The report](report.html)** has all results on one page, workload by workload, with the "
        "curves of the losses."
    )


@functools.cache
def study() -> Findings:
    """Return the study; cached, as a served site is rebuilt after each change."""
    return Findings(*read_study(STUDY), STUDY.name)


@functools.cache
def report() -> str:
    """Return the report as HTML."""
    return page(study(), (), home="benchmarks.html")


def table() -> str:
    """Return the table of usable decades, mean ranks and median test losses of each policy."""
    findings = study()
    losses = {workload: findings.test_losses(workload) for workload in findings.workloads}
    leading = {workload: rivals(by_policy) for workload, by_policy in losses.items()}

    def loss(policy: str, workload: str) -> str:
        if policy not in losses[workload]:
            return "-"
        best, others = leading[workload]
        text = f"{losses[workload][policy].median:.3g}"
        return f"**{text}**" if policy == best else f"≈ {text}" if policy in others else text

    def rank(policy: str, budget: float) -> str:
        mean = findings.ranks[budget].get(policy, np.nan)
        return f"{mean:.1f}" if np.isfinite(mean) else "-"

    head = ["policy", "usable, decades", *(f"rank x{b:g}" for b in findings.budgets), *losses]
    rows = [
        [
            f"`{policy}`",
            f"{findings.widths[policy]:.1f}",
            *(rank(policy, budget) for budget in findings.budgets),
            *(loss(policy, workload) for workload in losses),
        ]
        for policy in findings.policies
    ]
    return markdown_table(head, rows)
