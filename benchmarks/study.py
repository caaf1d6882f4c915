"""Studies: policies on workloads at budgets, with progress, resumed where they were stopped.

`quick` and `full` are studies with settings of their own, `run` is any other; what has been run
with the same content is not run again.
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
from benchmarks.platforms import use
from benchmarks.policies import POLICIES, SIX
from benchmarks.protocol import Bench, Protocol, Trial
from benchmarks.store import RESULTS, Store, made_on, write_study
from benchmarks.workloads import WORKLOADS


@dataclass(frozen=True)
class Study:
    """What to compare, how, and where to write it."""

    workloads: tuple[str, ...] = tuple(WORKLOADS)[:7]
    """Names of the workloads, by default those whose data pip brings; one whose data is not here is
    left out, and said."""
    policies: tuple[str, ...] = tuple(POLICIES)
    """Names of the learning-rate policies."""
    budgets: tuple[float, ...] = ()
    """Multiples of each workload's updates; by default the workload's own."""
    rates: int = 9
    """How many rates each policy is tuned over."""
    seeds: int = 5
    """Runs that are scored."""
    tuning_seeds: int | None = None
    """Runs of each rate that choose it; by default the workload's own number."""
    seed: int = 0
    """Decides the draw of the rates and all other seeds."""
    platform: Literal["cpu", "gpu"] = "cpu"
    """Where to run."""
    out: Path = RESULTS / "run"
    """The files: this path with .json.gz and .png."""

    def __post_init__(self) -> None:
        for what, names, known in (
            ("workload", self.workloads, WORKLOADS),
            ("policy", self.policies, POLICIES),
        ):
            if not names:
                raise ValueError(f"no {what} given; choose from {', '.join(known)}")
            for name in names:
                if name not in known:
                    raise ValueError(f"unknown {what} {name!r}; choose from {', '.join(known)}")
        for budget in self.budgets:
            if not 0 < budget <= 1000:
                raise ValueError(f"budgets must be above 0 and at most 1000, not {budget:g}")
        _ = self.protocol

    @property
    def protocol(self) -> Protocol:
        """The tuning budget and the seeds."""
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


@dataclass(frozen=True)
class Run:
    """One workload under some policies."""

    workload: Annotated[str, tyro.conf.Positional]
    """Its name."""
    policy: tuple[str, ...] = tuple(POLICIES)
    """Names of the policies."""
    seeds: int = 5
    """Runs that are scored."""
    budget: tuple[float, ...] = (1.0,)
    """Multiples of the workload's updates."""
    rates: int = 9
    """How many rates each policy is tuned over; with 1, none is tuned."""
    tuning_seeds: int | None = None
    """Runs of each rate that choose it; by default the workload's own number."""
    seed: int = 0
    """Decides the draw of the rates and all other seeds."""
    platform: Literal["cpu", "gpu"] = "cpu"
    """Where to run."""
    out: Path = RESULTS / "run"
    """The files: this path with .json.gz and .png."""

    def __post_init__(self) -> None:
        _ = self.study

    @property
    def study(self) -> Study:
        """The same as a study."""
        given = asdict(self)
        names = {"workload": "workloads", "policy": "policies", "budget": "budgets"}
        given["workload"] = (self.workload,)
        return Study(**{names.get(name, name): value for name, value in given.items()})


def conduct(study: Study, console: Console, *, announce: bool = False) -> list[Trial]:
    """Runs what has not been run, shows each table when it is known, and writes the files."""
    use(study.platform)
    store, facts = Store(), made_on()
    benches = [
        Bench(WORKLOADS[name], study.protocol, study.budgets or None)
        for name in study.workloads
        if _is_here(name, console)
    ]
    if not benches:
        raise SystemExit("The data of none of the workloads is on this machine.")
    if announce:
        _announce(benches, study.policies, store, console)
    found: list[Trial] = []
    columns = (
        SpinnerColumn(),
        *Progress.get_default_columns(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bars = [
            progress.add_task(
                bench.workload.title, total=len(bench.budgets) * len(study.policies), start=False
            )
            for bench in benches
        ]
        for bench, bar in zip(benches, bars, strict=True):
            progress.start_task(bar)
            here = []
            for policy in study.policies:
                for budget in bench.budgets:
                    here.append(_trial(bench, policy, budget, store, facts))
                    progress.advance(bar)
            for budget in bench.budgets:
                console.print(tables.trials([t for t in here if t.budget == budget]))
            found += here
    name = study.out.name
    write_study(study.out.with_suffix(".json.gz"), name, study.protocol, found)
    figures.save(figures.courses(found), study.out.with_suffix(".png"))
    console.print(f"Wrote {study.out.with_suffix('.json.gz')} and {study.out.with_suffix('.png')}")
    return found


def _trial(
    bench: Bench, policy: str, budget: float, store: Store, facts: dict[str, object]
) -> Trial:
    known = store.load(bench.digest(policy, budget))
    if known is not None:
        return known
    trial = bench.trial(policy, budget, facts)
    store.save(trial)
    return trial


def _is_here(name: str, console: Console) -> bool:
    workload = WORKLOADS[name]
    if not workload.is_here():
        console.print(f"Left out: {name}, whose data is not on this machine ({workload.source}).")
        return False
    return True


def _announce(
    benches: Sequence[Bench], policies: Sequence[str], store: Store, console: Console
) -> None:
    """Says how long it will take, by a short look at every workload."""
    began, total = time.perf_counter(), 0.0
    for bench in benches:
        missing = [
            (policy, budget)
            for policy in policies
            for budget in bench.budgets
            if store.load(bench.digest(policy, budget)) is None
        ]
        compiling, updating = bench.probe() if missing else (0.0, 0.0)
        protocol = bench.protocol
        runs = protocol.rates * len(protocol.tuned_on(bench.workload)) + protocol.seeds
        updates = sum(bench.workload.steps_of(budget) for _, budget in missing) * runs
        programs = len({POLICIES[policy].optimizer for policy, _ in missing})
        seconds = programs * compiling + updates * updating
        console.print(f"{bench.workload.title}: {len(missing)} trials, {seconds / 60:.0f} min")
        total += seconds
    console.print(
        f"All of it takes about {total / 60:.0f} minutes on {len(jax.devices())} devices "
        f"(found out in {time.perf_counter() - began:.0f} s)."
    )


def run(arguments: Sequence[str]) -> None:
    """`python -m benchmarks run WORKLOAD`: one workload, tuned and scored."""
    options = tyro.cli(Run, prog="python -m benchmarks run", args=arguments)
    conduct(options.study, Console())


def quick(arguments: Sequence[str]) -> None:
    """`python -m benchmarks quick`: six policies on two workloads, in less than 3 minutes."""
    conduct(
        tyro.cli(Study, prog="python -m benchmarks quick", default=QUICK, args=arguments), Console()
    )


def full(arguments: Sequence[str]) -> None:
    """`python -m benchmarks full`: everything; it says how long it will take."""
    study = tyro.cli(Study, prog="python -m benchmarks full", default=FULL, args=arguments)
    conduct(study, Console(), announce=True)
