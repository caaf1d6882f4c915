"""Flax models on real data under every learning-rate policy: tuned alike, scored, reported.

python -m benchmarks                 the quick study: two workloads, six policies
python -m benchmarks --list          the workloads and the policies
python -m benchmarks run WORKLOAD    one workload, any policies, budgets and seeds
python -m benchmarks full            everything; it says first how long it takes
python -m benchmarks report          a page of all that was found, with pictures
"""

import importlib
import sys
from collections.abc import Sequence

from rich.console import Console

COMMANDS = {
    "quick": ("benchmarks.study", "quick", "two workloads, six policies, under 3 minutes"),
    "full": ("benchmarks.study", "full", "all workloads, policies and budgets"),
    "run": ("benchmarks.study", "run", "one workload"),
    "report": ("benchmarks.report", "main", "the page and its pictures, from what was found"),
    "agree": ("benchmarks.agreement", "main", "whether two studies found the same"),
    "which-rate": ("benchmarks.which_rate", "main", "usable rates by optimizer, data and model"),
    "diagnose": ("benchmarks.diagnose", "main", "how often the diagnosis of a run is right"),
    "health-cost": ("benchmarks.health_cost", "main", "what a record of a run's health costs"),
    "scaling-rules": ("benchmarks.scaling_rules", "main", "how far the papers' rules carry"),
    "transfer-rules": ("benchmarks.transfer_rules", "main", "which rules keep the best rate"),
    "bounds": ("benchmarks.bounds", "main", "what theory says of schedules before a run"),
    "predict": ("benchmarks.predict", "main", "loss laws fitted to a few runs, asked for others"),
    "refinement": ("benchmarks.refinement", "main", "a schedule made of the gradients of a run"),
    "sweep-speed": ("benchmarks.sweep_speed", "main", "64 rates in every way there is"),
    "twins": ("benchmarks.twins", "main", "ours beside optax and PyTorch: the curves overlay"),
    "schedules": ("benchmarks.schedule_cost", "main", "what a schedule costs, and a change of one"),
    "cost": ("benchmarks.cost", "main", "what every transform costs, here or on TPUs"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; `arguments` stands for `sys.argv[1:]`."""
    name, *others = (sys.argv[1:] if arguments is None else arguments) or ["quick"]
    console = Console()
    if name in ("-h", "--help"):
        console.print(__doc__, highlight=False)
        for command, (_, _, what) in COMMANDS.items():
            console.print(f"  {command:<14} {what}", highlight=False)
        console.print("\nEach has its own --help.")
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
