"""Comparison of learning-rate policies for Flax models on real data, and other benchmarks.

python -m benchmarks                 quick study: two workloads, six policies
python -m benchmarks --list          list the workloads and the policies
python -m benchmarks run WORKLOAD    study one workload: any policies, budgets and seeds
python -m benchmarks full            study all workloads and policies; prints its duration first
python -m benchmarks report          write the results as an HTML page with figures
"""

import importlib
import sys
from collections.abc import Sequence

from rich.console import Console

COMMANDS = {
    "quick": ("benchmarks.study", "quick", "two workloads, six policies, under 3 minutes"),
    "full": ("benchmarks.study", "full", "all workloads, policies and budgets"),
    "run": ("benchmarks.study", "run", "one workload"),
    "report": ("benchmarks.report", "main", "HTML page and figures of a study"),
    "agree": ("benchmarks.agreement", "main", "trials of two studies whose intervals overlap"),
    "which-rate": ("benchmarks.which_rate", "main", "usable rates by optimizer, data and model"),
    "diagnose": ("benchmarks.diagnose", "main", "accuracy of the diagnosis on known faults"),
    "health-cost": ("benchmarks.health_cost", "main", "time that the health record adds to a step"),
    "scaling-rules": ("benchmarks.scaling_rules", "main", "accuracy of published scaling rules"),
    "transfer-rules": ("benchmarks.transfer_rules", "main", "accuracy of lrsched's transfer rules"),
    "bounds": ("benchmarks.bounds", "main", "convergence bounds of schedules, without training"),
    "predict": ("benchmarks.predict", "main", "accuracy of loss laws on schedules not fitted"),
    "refinement": ("benchmarks.refinement", "main", "schedules refined by recorded gradient norms"),
    "sweep-speed": ("benchmarks.sweep_speed", "main", "time of training with 64 rates"),
    "twins": ("benchmarks.twins", "main", "loss curves against those of optax and PyTorch"),
    "schedules": ("benchmarks.schedule_cost", "main", "time and recompilations of schedules"),
    "cost": ("benchmarks.cost", "main", "time and memory of every transform, here or on TPUs"),
    "nonfinite-cost": ("benchmarks.nonfinite_cost", "main", "time of the non-finite policies"),
}
"""Module, function and description of each command."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; `arguments` defaults to `sys.argv[1:]`."""
    name, *others = (sys.argv[1:] if arguments is None else arguments) or ["quick"]
    console = Console()
    if name in ("-h", "--help"):
        console.print(__doc__, highlight=False)
        for command, (_, _, description) in COMMANDS.items():
            console.print(f"  {command:<14} {description}", highlight=False)
        console.print("\nEvery command has --help.")
        return
    if name == "--list":
        from benchmarks import tables

        console.print(tables.workloads(), tables.policies())
        return
    if name not in COMMANDS:
        console.print(f"unknown command {name!r}; choose from {', '.join(COMMANDS)}")
        raise SystemExit(2)
    module, function, _ = COMMANDS[name]
    getattr(importlib.import_module(module), function)(others)


if __name__ == "__main__":
    main()
