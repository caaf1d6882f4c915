"""What a study found, as one page: `python -m benchmarks report`.

The page holds all of itself, opens without a network, and follows the reader's light or dark theme.
Pictures for the docs are written beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console

from benchmarks.report.findings import Findings
from benchmarks.report.measured import read
from benchmarks.report.page import page, pictures
from benchmarks.store import RESULTS, read_study


@dataclass(frozen=True)
class Options:
    """What to report on, and where to."""

    study: Path | None = None
    """The trials; by default those of the full study, or else those of the quick one."""
    costs: Path = RESULTS
    """The folder with the JSON files of what things cost."""
    out: Path = RESULTS / "report.html"
    """The page; pictures go beside it."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".html":
            raise ValueError(f"out must end in .html, not {self.out.name!r}")
        if self.study is not None and not self.study.exists():
            raise ValueError(f"study must be a file that a study wrote; {self.study} is not there")


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the page and its pictures."""
    options = tyro.cli(
        Options, prog="python -m benchmarks report", description=__doc__, args=arguments
    )
    made = [path for name in ("full", "quick") if (path := RESULTS / f"{name}.json.gz").exists()]
    if options.study is None and not made:
        raise SystemExit("There is no study yet: `python -m benchmarks quick` makes one.")
    study = options.study or made[0]
    found = Findings(*read_study(study), study.name)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(found, read(options.costs)), encoding="utf-8")
    written = pictures(found, options.out.parent)
    console = Console()
    console.print(f"Wrote {options.out} and beside it {', '.join(path.name for path in written)}")
