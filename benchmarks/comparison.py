"""Trains one workload under several policies: same data, same batches a seed, same budget."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

import lrsched
from benchmarks.policies import Optimizer, Policy
from benchmarks.training import History, Program, compile_program
from benchmarks.workloads.base import Workload


@dataclass(frozen=True)
class Run:
    """What one policy did on one workload.

    Attributes:
      policy: its name.
      optimizer: the name of its optimizer.
      schedule: the schedule it followed.
      history: NumPy arrays with a leading axis for the seeds.
      compile_seconds: next to nothing where the program of an earlier policy was used again.
      run_seconds: all seeds together.
    """

    policy: str
    optimizer: str
    schedule: lrsched.Schedule
    history: History
    compile_seconds: float
    run_seconds: float


def compare(workload: Workload, policies: Mapping[str, Policy]) -> Iterator[Run]:
    """Yields one run a policy, in their order, with one compilation an optimizer."""
    data = jax.device_put(workload.data())
    seeds = jnp.arange(workload.seeds)
    programs: dict[Optimizer, Program] = {}
    for name, policy in policies.items():
        schedule = policy.schedule(workload.peak, workload.steps)
        # As a table every schedule has the same tree structure, hence the same program.
        table = lrsched.table(schedule(np.arange(workload.steps)))
        started = time.perf_counter()
        if policy.optimizer not in programs:
            programs[policy.optimizer] = compile_program(
                workload, policy.optimizer, table, data, seeds
            )
        compiled = time.perf_counter()
        history = jax.device_get(programs[policy.optimizer](table, data, seeds))
        finished = time.perf_counter()
        yield Run(
            policy=name,
            optimizer=policy.optimizer.__name__,
            schedule=schedule,
            history=history,
            compile_seconds=compiled - started,
            run_seconds=finished - compiled,
        )
