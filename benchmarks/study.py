"""Studies: policies on workloads at budgets, with a progress bar; an interrupted study resumes.

`quick` and `full` have preset options; `run` studies one workload. Stored trials with the same
digest are not run again.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import jax
import tyro
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TimeElapsedColumn

from benchmarks import figures, tables
from benchmarks.options import read_options
from benchmarks.platforms import use
from benchmarks.policies import POLICIES, SIX
from benchmarks.protocol import Bench, Protocol, Trial
from benchmarks.store import RESULTS, Store, made_on, write_study
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """Options of every study."""

    rates: int = 9
    """Number of rates that each policy is tuned over. With 1, no policy is tuned."""
    seeds: int = 5
    """Number of scored runs."""
    tuning_seeds: int | None = None
    """Number of tuning runs per rate. Defaults to the number of the workload."""
    seed: int = 0
    """Seed of the draw of the rates, from which all other seeds are derived."""
    platform: Literal["cpu", "gpu"] = "cpu"
    """Platform of the runs."""
    out: Path = RESULTS / "run"
    """Path of the results without extension; .json.gz and .svg are appended."""


@dataclass(frozen=True, kw_only=True)
class Study(Tuning):
    """Options of a study."""

    workloads: tuple[str, ...] = tuple(WORKLOADS)[:7]
    """Names of the workloads. Defaults to those whose data pip installs. A workload without data on
    this machine is skipped with a message."""
    policies: tuple[str, ...] = tuple(POLICIES)
    """Names of the learning-rate policies."""
    budgets: tuple[float, ...] = ()
    """Multiples of each workload's number of updates. Defaults to the budgets of the workload."""

    def __post_init__(self) -> None:
        for what, names, choices in (
            ("workload", self.workloads, WORKLOADS),
            ("policy", self.policies, POLICIES),
        ):
            if not names:
                raise ValueError(f"no {what} given; choose from {', '.join(choices)}")
            for name in names:
                if name not in choices:
                    raise ValueError(f"unknown {what} {name!r}; choose from {', '.join(choices)}")
        for budget in self.budgets:
            if not 0 < budget <= 1000:
                raise ValueError(f"budgets must be above 0 and at most 1000, not {budget:g}")
        _ = self.protocol

    @property
    def protocol(self) -> Protocol:
        """Tuning budget and seeds."""
        return Protocol(
            rates=self.rates, seeds=self.seeds, tuning_seeds=self.tuning_seeds, seed=self.seed
        )


QUICK = Study(
    workloads=("digits-mlp", "mnist-cnn"),
    policies=SIX,
    budgets=(1.0,),
    rates=5,
    tuning_seeds=1,
    out=RESULTS / "quick",
)
FULL = Study(out=RESULTS / "full")


@dataclass(frozen=True, kw_only=True)
class Run(Tuning):
    """Options of a study of one workload."""

    workload: Annotated[str, tyro.conf.Positional]
    """Name of the workload."""
    policy: tuple[str, ...] = tuple(POLICIES)
    """Names of the learning-rate policies."""
    budget: tuple[float, ...] = (1.0,)
    """Multiples of the workload's number of updates."""

    def __post_init__(self) -> None:
        _ = self.study

    @property
    def study(self) -> Study:
        """Equivalent study."""
        options = asdict(self)
        names = {"workload": "workloads", "policy": "policies", "budget": "budgets"}
        options["workload"] = (self.workload,)
        return Study(**{names.get(name, name): value for name, value in options.items()})


def conduct(study: Study, console: Console, *, announce: bool = False) -> list[Trial]:
    """Run the missing trials, print one table per workload and budget, and write the files.

    Args:
      study: Options of the study.
      console: Console for the tables, the progress bar and the messages.
      announce: Whether to measure and print an estimate of the time first.

    Returns:
      All trials of the study, stored ones included.
    """
    use(study.platform)
    store, facts = Store(), made_on()
    benches = [
        Bench(WORKLOADS[name], study.protocol, study.budgets or None)
        for name in study.workloads
        if _is_here(name, console)
    ]
    if not benches:
        raise SystemExit("None of the workloads has its data on this machine.")
    if announce:
        _announce(benches, study, store, console)
    results: list[Trial] = []
    columns = (
        SpinnerColumn(),
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars = [
            progress.add_task(
                bench.workload.title,
                total=len(bench.budgets) * len(_policies(bench, study)),
                start=False,
            )
            for bench in benches
        ]
        for bench, bar in zip(benches, bars, strict=True):
            progress.start_task(bar)
            of_workload = []
            for policy in _policies(bench, study):
                for budget in bench.budgets:
                    of_workload.append(_trial(bench, policy, budget, store, facts))
                    progress.advance(bar)
            for budget in bench.budgets:
                console.print(tables.trials([t for t in of_workload if t.budget == budget]))
            results += of_workload
            # XLA has no room for the programs of all workloads at once: each takes memory maps, of
            # which Linux gives a process 65,530.
            bench.forget_programs()
    name = study.out.name
    write_study(study.out.with_suffix(".json.gz"), name, study.protocol, results)
    figures.save(figures.curves(results), study.out.with_suffix(".svg"))
    console.print(f"Wrote {study.out.with_suffix('.json.gz')} and {study.out.with_suffix('.svg')}")
    return results


def _trial(
    bench: Bench, policy: str, budget: float, store: Store, facts: dict[str, object]
) -> Trial:
    stored = store.load(bench.digest(policy, budget))
    if stored is not None:
        return stored
    trial = bench.trial(policy, budget, facts)
    store.save(trial)
    return trial


def _is_here(name: str, console: Console) -> bool:
    workload = WORKLOADS[name]
    if not workload.is_here():
        console.print(f"Skipped {name}: its data is not on this machine ({workload.source}).")
        return False
    return True


def _policies(bench: Bench, study: Study) -> list[str]:
    """Return the policies of a study that suit a workload."""
    return [policy for policy in study.policies if bench.suits(policy)]


def _announce(benches: Sequence[Bench], study: Study, store: Store, console: Console) -> None:
    """Print an estimate of the time, measured with short runs of every workload."""
    start, total = time.perf_counter(), 0.0
    for bench in benches:
        missing = [
            (policy, budget)
            for policy in _policies(bench, study)
            for budget in bench.budgets
            if store.load(bench.digest(policy, budget)) is None
        ]
        compile_seconds, update_seconds = bench.probe() if missing else (0.0, 0.0)
        protocol = bench.protocol
        runs = protocol.rates * len(protocol.tuned_on(bench.workload)) + protocol.seeds
        updates = sum(bench.workload.steps_of(budget) for _, budget in missing) * runs
        programs = len({POLICIES[policy].optimizer for policy, _ in missing})
        seconds = programs * compile_seconds + updates * update_seconds
        console.print(f"{bench.workload.title}: {len(missing)} trials, {seconds / 60:.0f} min")
        total += seconds
        bench.forget_programs()
    console.print(
        f"The study takes about {total / 60:.0f} minutes on {len(jax.devices())} devices "
        f"(estimated in {time.perf_counter() - start:.0f} s)."
    )


def run(arguments: Sequence[str]) -> None:
    """Run `python -m benchmarks run WORKLOAD`: tune and score policies on one workload."""
    conduct(read_options(Run, "run", arguments).study, Console())


def quick(arguments: Sequence[str]) -> None:
    """Run `python -m benchmarks quick`: six policies on two workloads, under 3 minutes."""
    conduct(read_options(Study, "quick", arguments, QUICK), Console())


def full(arguments: Sequence[str]) -> None:
    """Run `python -m benchmarks full`: print an estimate of the time, then run all policies."""
    conduct(read_options(Study, "full", arguments, FULL), Console(), announce=True)
