"""The sweep that chose each workload's peak rate: `python -m benchmarks.peaks`.

All policies of a workload share one peak, so it is chosen for all of them together: the one whose
final validation loss, averaged over policies and seeds, is the lowest. Rates are data to the
compiled programs, so the whole sweep costs two compilations a workload.
"""

from itertools import product

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.comparison import compare
from benchmarks.policies import SIX, Policy
from benchmarks.report import final
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import Workload

PEAKS = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)


def sweep(workload: Workload, console: Console) -> np.ndarray:
    """Returns the final validation loss, one row a peak and one column a policy."""
    policies = {
        f"{name} at {peak:g}": _at(peak, policy)
        for peak, (name, policy) in product(PEAKS, SIX.items())
    }
    runs = track(compare(workload, policies), workload.title, len(policies), console=console)
    losses = [final(run.history)["validation loss"].mean() for run in runs]
    return np.reshape(losses, (len(PEAKS), len(SIX)))


def _at(peak: float, policy: Policy) -> Policy:
    return Policy(lambda _, steps: policy.schedule(peak, steps), policy.optimizer)


def main() -> None:
    """Prints the validation losses of every workload, its best peak in bold."""
    console = Console()
    for workload in WORKLOADS.values():
        losses = sweep(workload, console)
        best = losses.mean(1).argmin()
        table = Table("peak", *SIX, "mean", title=f"{workload.title}: validation loss")
        for row, (peak, values) in enumerate(zip(PEAKS, losses, strict=True)):
            cells = (f"{value:.4f}" for value in (*values, values.mean()))
            table.add_row(f"{peak:g}", *cells, style="bold" if row == best else "")
        console.print(table)


if __name__ == "__main__":
    main()
