"""How policies are compared: each is tuned alike, then scored on runs and a split of their own.

For a policy, a workload and a budget:

1. **Tune.** The same number of rates for every policy, from the same draw: one from each of as many
   equal parts of three decades, uniform in the logarithm, around 1 for a method that finds the rate
   itself and around the workload's own rate for all others. The one whose final validation loss,
   the mean over `tuning_seeds` runs, is the lowest is taken, at each budget anew.
2. **Score.** Runs of other seeds at that rate. What is reported is their median, with the interval
   of order statistics that holds the true median with the stated confidence, on the test split,
   which nothing was chosen on.

Members of one seed start from the same parameters and see the same mini-batches under every policy.
A seed decides all of it, so a trial can be run again, and is known by its content: the program (its
jaxpr), the data, the schedules' values and the seeds (`Bench.digest`).
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import lrsched
from benchmarks.policies import POLICIES, Optimizer
from benchmarks.runs import run_of
from benchmarks.workloads.base import Data, Workload
from lrsched import tuning

RECORDS = 40
"""Means of the training loss that are kept of a run."""


@dataclass(frozen=True)
class Protocol:
    """The tuning budget and the seeds, the same for every policy.

    Attributes:
      rates: how many are tried.
      decades: the width of the range that they are drawn from.
      seeds: runs that are scored.
      tuning_seeds: runs of each rate; None for the workload's own number.
      seed: decides the draw and all seeds.
    """

    rates: int = 9
    decades: float = 3.0
    seeds: int = 5
    tuning_seeds: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rates", "seeds", "tuning_seeds"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value}")

    def draw(self, around: float) -> np.ndarray:
        """The rates to try, in rising order; one rate is the middle itself."""
        if self.rates == 1:
            return np.array([around])
        places = np.arange(self.rates) + np.random.default_rng(self.seed).uniform(size=self.rates)
        return around * 10 ** (self.decades * (places / self.rates - 0.5))

    def tuned_on(self, workload: Workload) -> list[int]:
        """The seeds of the runs that choose the rate."""
        return self._seeds(0, self.tuning_seeds or workload.tuning_seeds)

    def scored_on(self) -> list[int]:
        """The seeds of the runs that are reported, none of them tuned on."""
        return self._seeds(_HALF, self.seeds)

    def _seeds(self, first: int, count: int) -> list[int]:
        return [2 * _HALF * self.seed + first + i for i in range(count)]


_HALF = 500


@dataclass(frozen=True)
class Trial:
    """What came of one policy on one workload with one budget.

    Attributes:
      workload: its name.
      policy: its name.
      budget: the multiple of the workload's steps.
      steps: updates of a run.
      batch_size: examples of an update.
      first: the validation loss before the first update, the median over the seeds.
      rates: those that were tried.
      tuning: at the end of those runs, by name, ``(rates, tuning seeds)``.
      rate: the one chosen.
      schedule: in words, at that rate.
      evaluated: the updates done at each evaluation, ``(evaluations,)``.
      curves: of the scored runs, ``(seeds, evaluations)`` by name; of "train_loss" the means over
        equal parts of the run. Infinite after a run has diverged.
      seeds: of the scored runs.
      seconds: "compile"; "update", one update of one run with everything, others running beside it.
      digest: of all that went in.
      made_on: versions and machine.
    """

    workload: str
    policy: str
    budget: float
    steps: int
    batch_size: int
    first: float
    rates: np.ndarray
    tuning: dict[str, np.ndarray]
    rate: float
    schedule: str
    evaluated: np.ndarray
    curves: dict[str, np.ndarray]
    seeds: list[int]
    seconds: dict[str, float]
    digest: str
    made_on: dict[str, Any]

    @property
    def final(self) -> dict[str, np.ndarray]:
        """The last of each curve, one a seed."""
        return {name: curve[:, -1] for name, curve in self.curves.items()}


class Bench:
    """A workload with its data and the programs compiled so far, one an optimizer.

    Every schedule is handed over as a table of its values, of one length for all budgets, so that
    all policies with one optimizer, and all their budgets, are one program.
    """

    def __init__(
        self, workload: Workload, protocol: Protocol, budgets: Sequence[float] | None = None
    ) -> None:
        self.workload, self.protocol = workload, protocol
        self.budgets = tuple(workload.budgets if budgets is None else budgets)
        self._length = max(map(workload.steps_of, (*workload.budgets, *self.budgets)))
        self._runs: dict[Optimizer, tuning.Training] = {}
        self._programs: dict[Optimizer, str] = {}

    @cached_property
    def data(self) -> Data:
        """The splits."""
        return self.workload.data()

    def rates(self, policy: str) -> np.ndarray:
        """Those that the policy is tuned over."""
        return self.protocol.draw(POLICIES[policy].around or self.workload.around)

    def digest(self, policy: str, budget: float) -> str:
        """What a trial is made of, in 64 letters: the same trial is not run twice."""
        found = hashlib.sha256()
        chosen, steps = POLICIES[policy], self.workload.steps_of(budget)
        if chosen.optimizer not in self._programs:
            self._programs[chosen.optimizer] = self._program(chosen.optimizer)
        for rate in self.rates(policy):
            found.update(np.asarray(chosen.schedule(float(rate), steps)(np.arange(steps))))
        seeds = self.protocol.tuned_on(self.workload), self.protocol.scored_on()
        facts = steps, seeds, self.workload.evaluations, chosen.sees_validation, self._data_digest
        found.update(repr((self._programs[chosen.optimizer], facts)).encode())
        return found.hexdigest()

    def trial(self, policy: str, budget: float, made_on: dict[str, Any]) -> Trial:
        """Tunes and scores."""
        workload, protocol = self.workload, self.protocol
        steps, rates = workload.steps_of(budget), self.rates(policy)
        schedule = POLICIES[policy].schedule
        looks = workload.evaluations if POLICIES[policy].sees_validation else 1
        tables = [self._table(schedule(float(rate), steps), steps) for rate in rates]
        tuned = self._sweep(policy, tables, steps, protocol.tuned_on(workload), looks)
        shape = len(rates), -1
        losses = tuned.table["loss"].reshape(shape).astype(np.float64)
        best = int(np.argmin(losses.mean(axis=1)))
        scored = self._sweep(
            policy, tables[best : best + 1], steps, protocol.scored_on(), workload.evaluations
        )
        diverged = scored.table["diverged"][:, None]
        whole = -(-steps // -(-steps // RECORDS))
        curves = {**scored.metrics, "train_loss": scored.train_loss[:, :whole]}
        return Trial(
            workload.name,
            policy,
            budget,
            steps,
            workload.batch_size,
            self._first,
            rates,
            {"loss": losses, "test_metric": tuned.table["test_metric"].reshape(shape)},
            float(rates[best]),
            repr(schedule(float(f"{rates[best]:.4g}"), steps)),
            steps * np.arange(1, workload.evaluations + 1) // workload.evaluations,
            {name: np.where(diverged & np.isnan(x), np.inf, x) for name, x in curves.items()},
            protocol.scored_on(),
            {
                "compile": tuned.compile_seconds,
                "update": tuned.run_seconds / max(1, int(tuned.table["updates"].sum())),
            },
            self.digest(policy, budget),
            made_on,
        )

    def probe(self) -> tuple[float, float]:
        """Seconds of compiling Adam's program, and of one update of one run, by a short look."""
        steps = min(map(self.workload.steps_of, self.budgets))
        tables = [self._table(lrsched.constant(1e-4), steps)] * len(jax.devices())
        found = [self._sweep("constant", tables, steps, [0]) for _ in range(2)]
        return found[0].compile_seconds, found[1].run_seconds / steps / len(tables)

    def run(self, optimizer: Optimizer) -> tuning.Training:
        """The workload under an optimizer."""
        if optimizer not in self._runs:
            self._runs[optimizer] = run_of(self.workload, self.data, optimizer)
        return self._runs[optimizer]

    @cached_property
    def _first(self) -> float:
        run = self.run(POLICIES["constant"].optimizer)
        assert run.evaluate is not None
        judge = run.evaluate

        @jax.jit
        def before(seed: jax.Array) -> jax.Array:
            to_init, _ = jax.random.split(jax.random.key(seed))
            state = run.init(lrsched.constant(0.0), to_init)
            loss: jax.Array = judge(state, run.validation)[1]["loss"]
            return loss

        return float(np.median([before(jnp.uint32(seed)) for seed in self.protocol.scored_on()]))

    def _table(self, schedule: lrsched.Schedule, steps: int) -> lrsched.Schedule:
        values = np.asarray(schedule(np.arange(steps)))
        return lrsched.table(np.pad(values, (0, self._length - steps), mode="edge"))

    def _sweep(
        self,
        policy: str,
        tables: list[lrsched.Schedule],
        steps: int,
        seeds: list[int],
        evaluations: int = 1,
    ) -> tuning.SweepResult:
        return tuning.sweep(
            self.run(POLICIES[policy].optimizer),
            tables,
            steps=steps,
            seeds=seeds,
            num_evaluations=evaluations,
            num_loss_records=RECORDS,
            plan=self._plan,
            progress=False,
        )

    @cached_property
    def _plan(self) -> tuning.ExecutionPlan | None:
        """Always the same on a CPU, so that the bits are; an accelerator's is measured."""
        if jax.default_backend() != "cpu":
            return None
        return (
            tuning.ExecutionPlan(1, 8)
            if self.workload.scan
            else tuning.ExecutionPlan(1, 1, loop="host")
        )

    @cached_property
    def _data_digest(self) -> str:
        found = hashlib.sha256()
        for leaf in jax.tree.leaves(self.data):
            found.update(np.ascontiguousarray(leaf))
        return found.hexdigest()

    def _program(self, optimizer: Optimizer) -> str:
        """Everything that a run computes, as text."""
        run = self.run(optimizer)
        assert run.evaluate is not None

        def all_of_it(schedule: lrsched.Schedule, key: jax.Array, data: Any) -> Any:
            state = run.init(schedule, key)
            state, loss = run.step(state, run.batch(data, key, jnp.int32(0)))
            return run.evaluate(state, run.validation), loss

        example = self._table(lrsched.constant(0.0), 1)
        made = jax.make_jaxpr(all_of_it)(example, jax.random.key(0), run.data)
        consts = [
            hashlib.sha256(np.ascontiguousarray(x)).hexdigest()
            for x in made.consts
            if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        ]
        return re.sub(r" at 0x[0-9a-f]+", "", f"{made} {consts}")
