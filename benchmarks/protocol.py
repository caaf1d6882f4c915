"""Protocol of the comparison: every policy is tuned alike, then scored with other seeds.

For a policy, a workload and a budget:

1. **Tuning.** Every policy is tried at the same number of rates from the same random draw. The
   draw divides three decades into equal intervals on a logarithmic axis and takes one rate from
   each. The centre is 1 for an adaptive method, and the rate of the workload for all other
   policies. At each budget, the rate with the lowest final validation loss is selected; the loss
   is the mean over `tuning_seeds` runs.
2. **Scoring.** Runs with other seeds use that rate. The report states their median on the test
   split, which was not used for any selection, with the interval of order statistics that contains
   the true median with the stated confidence.

Runs with the same seed have the same initial parameters and the same mini-batches under every
policy. A seed determines a trial completely, so a trial is identified by its content: the program
(its jaxpr), the data, the values of the schedules and the seeds (`Bench.digest`).
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
from flax import nnx

import lrsched
from benchmarks.policies import POLICIES, Optimizer, hidden_matrices
from benchmarks.runs import run_of
from benchmarks.workloads.base import Data, Workload
from lrsched import tuning
from lrsched.transforms.composition import leaves_with_path

RECORDS = 40
"""Number of means of the training loss that are stored for each run."""


@dataclass(frozen=True)
class Protocol:
    """Tuning budget and seeds, equal for all policies.

    Attributes:
      rates: Number of rates that are tried.
      decades: Width of the range of the rates, in decades.
      seeds: Number of scored runs.
      tuning_seeds: Number of tuning runs per rate. None for the number of the workload.
      seed: Seed of the draw, from which all other seeds are derived.
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
        """Draw the rates of the tuning, in ascending order; a single rate equals `around`."""
        if self.rates == 1:
            return np.array([around])
        offsets = np.arange(self.rates) + np.random.default_rng(self.seed).uniform(size=self.rates)
        return around * 10 ** (self.decades * (offsets / self.rates - 0.5))

    def tuned_on(self, workload: Workload) -> list[int]:
        """Return the seeds of the tuning runs."""
        return self._seeds(0, self.tuning_seeds or workload.tuning_seeds)

    def scored_on(self) -> list[int]:
        """Return the seeds of the scored runs, which differ from all seeds of the tuning."""
        return self._seeds(_HALF, self.seeds)

    def _seeds(self, first: int, count: int) -> list[int]:
        return [2 * _HALF * self.seed + first + i for i in range(count)]


# Each `seed` owns 1000 consecutive seeds: the first half for tuning, the second for scoring.
_HALF = 500


@dataclass(frozen=True)
class Trial:
    """Result of one policy on one workload at one budget.

    Attributes:
      workload: Name of the workload.
      policy: Name of the policy.
      budget: Length of a run, as a multiple of the workload's number of updates.
      steps: Number of updates of a run.
      batch_size: Number of examples of a mini-batch.
      first: Validation loss before the first update, the median over the seeds.
      rates: Tuned rates in ascending order, of shape ``(rates,)``.
      tuning: Final "loss" on the validation split and final "test_metric" of the tuning runs, each
        of shape ``(rates, tuning_seeds)``.
      rate: Selected rate.
      schedule: Representation of the schedule at the selected rate.
      evaluated: Number of updates before each evaluation, of shape ``(evaluations,)``.
      curves: Metrics of the scored runs by name, each of shape ``(seeds, evaluations)``;
        "train_loss" has means over segments of equal length instead. Values after a run has
        diverged are inf.
      seeds: Seeds of the scored runs.
      seconds: Compilation time of the tuning ("compile"), and the time of one update of one run
        while other runs execute beside it ("update"), both in seconds.
      digest: SHA-256 of all inputs, see `Bench.digest`.
      made_on: Versions and machine of the measurement.
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
        """Last value of each curve, of shape ``(seeds,)``."""
        return {name: curve[:, -1] for name, curve in self.curves.items()}


class Bench:
    """Workload with its data and one compiled program per optimizer.

    Every schedule is passed as a table of its values, padded to the same length for all budgets.
    All policies with the same optimizer therefore share one compiled program at all budgets.
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
        """Splits of the workload."""
        return self.workload.data()

    def rates(self, policy: str) -> np.ndarray:
        """Return the rates that a policy is tuned over, in ascending order."""
        return self.protocol.draw(POLICIES[policy].around or self.workload.around)

    def suits(self, policy: str) -> bool:
        """Return whether the model has the hidden matrices that a policy may need."""
        return not POLICIES[policy].needs_matrices or self._has_hidden_matrices

    @cached_property
    def _has_hidden_matrices(self) -> bool:
        params = nnx.state(self.workload.model(nnx.Rngs(0)), nnx.Param)
        return any(hidden_matrices(path, leaf) for path, leaf in leaves_with_path(params))

    def digest(self, policy: str, budget: float) -> str:
        """Return the SHA-256 of everything that a trial depends on, as 64 hexadecimal digits.

        A trial whose digest is stored is not run again.
        """
        sha = hashlib.sha256()
        chosen, steps = POLICIES[policy], self.workload.steps_of(budget)
        if chosen.optimizer not in self._programs:
            self._programs[chosen.optimizer] = self._program(chosen.optimizer)
        for rate in self.rates(policy):
            sha.update(np.asarray(chosen.schedule(float(rate), steps)(np.arange(steps))))
        seeds = self.protocol.tuned_on(self.workload), self.protocol.scored_on()
        facts = steps, seeds, self.workload.evaluations, chosen.sees_validation, self._data_digest
        sha.update(repr((self._programs[chosen.optimizer], facts)).encode())
        return sha.hexdigest()

    def trial(self, policy: str, budget: float, made_on: dict[str, Any]) -> Trial:
        """Tune and score a policy.

        Args:
          policy: Name of the policy.
          budget: Multiple of the workload's number of updates.
          made_on: Versions and machine, as `store.made_on` returns them.

        Returns:
          The trial.
        """
        workload, protocol = self.workload, self.protocol
        steps, rates = workload.steps_of(budget), self.rates(policy)
        schedule = POLICIES[policy].schedule
        # A policy that follows the validation metrics must see them in the tuning as well.
        evaluations = workload.evaluations if POLICIES[policy].sees_validation else 1
        tables = [self._table(schedule(float(rate), steps), steps) for rate in rates]
        tuned = self._sweep(policy, tables, steps, protocol.tuned_on(workload), evaluations)
        shape = len(rates), -1
        losses = tuned.table["loss"].reshape(shape).astype(np.float64)
        best = int(np.argmin(losses.mean(axis=1)))
        scored = self._sweep(
            policy, tables[best : best + 1], steps, protocol.scored_on(), workload.evaluations
        )
        diverged = scored.table["diverged"][:, None]
        # The segments have ceil(steps / RECORDS) updates, so fewer than RECORDS may be filled.
        num_filled = -(-steps // -(-steps // RECORDS))
        curves = {**scored.metrics, "train_loss": scored.train_loss[:, :num_filled]}
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
        """Measure the compilation of Adam's program and one update of one run, in seconds."""
        steps = min(map(self.workload.steps_of, self.budgets))
        tables = [self._table(lrsched.constant(1e-4), steps)] * len(jax.devices())
        # The first sweep compiles; the second one measures the updates alone.
        first, second = (self._sweep("constant", tables, steps, [0]) for _ in range(2))
        return first.compile_seconds, second.run_seconds / steps / len(tables)

    def run(self, optimizer: Optimizer) -> tuning.Training:
        """Return the training of the workload with an optimizer, cached by optimizer."""
        if optimizer not in self._runs:
            self._runs[optimizer] = run_of(self.workload, self.data, optimizer)
        return self._runs[optimizer]

    def forget_programs(self) -> None:
        """Release the compiled programs of this process."""
        self._runs.clear()
        jax.clear_caches()

    @cached_property
    def _first(self) -> float:
        run = self.run(POLICIES["constant"].optimizer)
        assert run.evaluate is not None
        evaluate = run.evaluate

        @jax.jit
        def initial_loss(seed: jax.Array) -> jax.Array:
            init_key, _ = jax.random.split(jax.random.key(seed))
            state = run.init(lrsched.constant(0.0), init_key)
            loss: jax.Array = evaluate(state, run.validation)[1]["loss"]
            return loss

        seeds = self.protocol.scored_on()
        return float(np.median([initial_loss(jnp.uint32(seed)) for seed in seeds]))

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
        """Execution plan of the sweeps; None measures the fastest one."""
        # A fixed plan on the CPU makes the results bitwise reproducible.
        if jax.default_backend() != "cpu":
            return None
        return (
            tuning.ExecutionPlan(1, 8)
            if self.workload.scan
            else tuning.ExecutionPlan(1, 1, loop="host")
        )

    @cached_property
    def _data_digest(self) -> str:
        sha = hashlib.sha256()
        for leaf in jax.tree.leaves(self.data):
            sha.update(np.ascontiguousarray(leaf))
        return sha.hexdigest()

    def _program(self, optimizer: Optimizer) -> str:
        """Return the jaxpr of a whole run as text, with the digests of its constants."""
        run = self.run(optimizer)
        assert run.evaluate is not None

        def whole_run(schedule: lrsched.Schedule, key: jax.Array, data: Any) -> Any:
            state = run.init(schedule, key)
            state, loss = run.step(state, run.batch(data, key, jnp.int32(0)))
            return run.evaluate(state, run.validation), loss

        example = self._table(lrsched.constant(0.0), 1)
        program = jax.make_jaxpr(whole_run)(example, jax.random.key(0), run.data)
        consts = [
            hashlib.sha256(np.ascontiguousarray(x)).hexdigest()
            for x in program.consts
            if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)
        ]
        # Addresses of functions in the text differ between processes.
        return re.sub(r" at 0x[0-9a-f]+", "", f"{program} {consts}")
