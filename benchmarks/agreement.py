"""Comparison of two studies: `python -m benchmarks agree ONE.json.gz OTHER.json.gz`.

A study with another `--seed` has other rates, weights and mini-batches. Most of its intervals
should overlap those of the first study.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.analysis import by_key, interval, overlap
from benchmarks.options import read_options
from benchmarks.store import read_study
from benchmarks.tables import format_interval


@dataclass(frozen=True)
class Options:
    """Options of `python -m benchmarks agree`."""

    one: Annotated[Path, tyro.conf.Positional]
    """File of the first study (.json.gz)."""
    other: Annotated[Path, tyro.conf.Positional]
    """File of the second study (.json.gz)."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Count the trials whose intervals of the test loss overlap, and list all others."""
    options = read_options(Options, "agree", arguments)
    one, other = (by_key(read_study(path)[2]) for path in (options.one, options.other))
    both = [key for key in one if key in other]
    headings = ("workload", "policy", "budget", "test loss, first", "test loss, second")
    table = Table(*headings, title="Trials that do not agree")
    for key in both:
        losses = [trials[key].final["test_loss"] for trials in (one, other)]
        if not overlap(*map(interval, losses)):
            table.add_row(key[0], key[1], f"x{key[2]:g}", *map(format_interval, losses))
    console = Console()
    console.print(f"{len(both) - table.row_count} of {len(both)} trials agree.")
    if table.row_count:
        console.print(table)
