"""Whether two studies agree: `python -m benchmarks agree ONE.json.gz OTHER.json.gz`.

The same study with another `--seed` draws other rates, other weights and other batches; what it
finds should lie within the intervals that the first one states.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.analysis import by_key, interval, overlap
from benchmarks.store import read_study
from benchmarks.tables import shown


@dataclass(frozen=True)
class Options:
    """The two studies."""

    one: Annotated[Path, tyro.conf.Positional]
    """A file of a study."""
    other: Annotated[Path, tyro.conf.Positional]
    """Another."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Counts the trials whose intervals of the test loss overlap, and shows the others."""
    options = tyro.cli(Options, prog="python -m benchmarks agree", args=arguments)
    one, other = (by_key(read_study(path)[2]) for path in (options.one, options.other))
    both = [key for key in one if key in other]
    table = Table("workload", "policy", "budget", "test loss", "and", title="Apart")
    for key in both:
        losses = [trials[key].final["test_loss"] for trials in (one, other)]
        if not overlap(*map(interval, losses)):
            table.add_row(key[0], key[1], f"x{key[2]:g}", *map(shown, losses))
    console = Console()
    console.print(f"{len(both) - table.row_count} of {len(both)} trials agree.")
    if table.row_count:
        console.print(table)


if __name__ == "__main__":
    main()
