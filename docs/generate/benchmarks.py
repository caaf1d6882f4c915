"""The benchmarks' report, made of the study that is in the repository."""

import functools
from pathlib import Path

from benchmarks.report.findings import Findings
from benchmarks.report.page import page
from benchmarks.store import read_study

STUDY = Path(__file__).parent.parent / "benchmarks/full.json.gz"


def link() -> str:
    """What the page of the benchmarks says of it."""
    return (
        "**[The report](report.html)** has all of it on one page, workload by workload, with the "
        "courses of the losses."
    )


@functools.cache
def report() -> str:
    """The report as HTML; a site that is served and built again has it from the first time."""
    return page(Findings(*read_study(STUDY), STUDY.name), ())
