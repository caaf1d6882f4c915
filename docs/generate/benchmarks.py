"""Report of the benchmarks, generated from the study in the repository."""

import functools
from pathlib import Path

from benchmarks.report.findings import Findings
from benchmarks.report.page import page
from benchmarks.store import read_study

STUDY = Path(__file__).parent.parent / "benchmarks/full.json.gz"


def link() -> str:
    """Return the line of the benchmarks' page that links to the report."""
    return (
        "**[The report](report.html)** has all results on one page, workload by workload, with the "
        "curves of the losses."
    )


@functools.cache
def report() -> str:
    """Return the report as HTML; cached, as a served site is rebuilt after each change."""
    return page(Findings(*read_study(STUDY), STUDY.name), (), home="benchmarks.html")
