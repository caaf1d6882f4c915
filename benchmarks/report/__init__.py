"""Report of a study as one HTML page: `python -m benchmarks report`.

The page is self-contained, opens without a network, and follows the light or dark theme of the
browser. The figures of the documentation are written next to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.options import read_options
from benchmarks.report.findings import Findings
from benchmarks.report.measured import read
from benchmarks.report.page import page, pictures
from benchmarks.store import RESULTS, read_study


@dataclass(frozen=True)
class Options:
    """Options of the report."""

    study: Path | None = None
    """File of the study (.json.gz). Defaults to the full study, or to the quick one."""
    costs: Path = RESULTS
    """Folder of the JSON files that the cost benchmarks wrote."""
    out: Path = RESULTS / "report.html"
    """File of the page. The figures are written next to it."""

    def __post_init__(self) -> None:
        if self.out.suffix != ".html":
            raise ValueError(f"out must end in .html, not {self.out.name!r}")
        if self.study is not None and not self.study.exists():
            raise ValueError(f"study must be a file that a study wrote; {self.study} is missing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page and the figures."""
    options = read_options(Options, "report", arguments)
    files = [path for name in ("full", "quick") if (path := RESULTS / f"{name}.json.gz").exists()]
    if options.study is None and not files:
        raise SystemExit("There is no study yet: `python -m benchmarks quick` runs one.")
    study = options.study or files[0]
    findings = Findings(*read_study(study), study.name)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page(findings, read(options.costs)), encoding="utf-8")
    written = pictures(findings, options.out.parent)
    console = Console()
    names = ", ".join(path.name for path in written)
    console.print(f"Wrote {options.out} and, next to it, {names}")
