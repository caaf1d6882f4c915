"""Cost of schedules, and traces after a change of the rate: `python -m benchmarks schedules`.

Compares each schedule with its counterpart in optax: one value outside of jit, one value of a
compiled function, one update of a compiled step, and the size of the program. The two are timed
alternately in one process. Then counts the traces of a train step after a change of the rate.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import lrsched
from benchmarks.costs import CostTable
from benchmarks.options import read_options
from benchmarks.store import RESULTS, versions

STEPS, UPDATES, PEAKS = 10_000, 1000, 8

Schedule: TypeAlias = Callable[[Any], Any]


def cycles(count: int) -> list[dict[str, Any]]:
    """Return the arguments of `count` equal cycles of `optax.sgdr_schedule`."""
    cycle = {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 10, "decay_steps": 100}
    return [cycle] * count


PAIRS: dict[str, tuple[Schedule, Schedule]] = {
    "cosine": (lrsched.cosine(1.0, STEPS), optax.cosine_decay_schedule(1.0, STEPS)),
    "warmup and cosine": (
        lrsched.warmup(500) * 1.0 >> lrsched.cosine(1.0, STEPS - 500),
        optax.warmup_cosine_decay_schedule(0.0, 1.0, 500, STEPS),
    ),
    "warmup-stable-decay": (
        lrsched.wsd(1.0, STEPS, warmup=500, cooldown=2000, ramp="linear"),
        optax.join_schedules(
            [
                optax.linear_schedule(0.0, 1.0, 500),
                optax.constant_schedule(1.0),
                optax.linear_schedule(1.0, 0.0, 2000),
            ],
            [500, STEPS - 2000],
        ),
    ),
    "one cycle": (lrsched.one_cycle(1.0, STEPS), optax.cosine_onecycle_schedule(STEPS, 1.0)),
    "step decay, 3 stages": (
        lrsched.multistep(1.0, [3000, 6000, 9000], factor=0.1),
        optax.piecewise_constant_schedule(1.0, {3000: 0.1, 6000: 0.1, 9000: 0.1}),
    ),
    **{
        f"cosine restarts, {count} cycles": (
            lrsched.cosine_restarts(1.0, 100, warmup=10),
            optax.sgdr_schedule(cycles(count)),
        )
        for count in (10, 400)
    },
}


def program_size(schedule: Schedule) -> int:
    """Return the number of lines of StableHLO that compute one value."""
    return len(jax.jit(lambda step: schedule(step)).lower(jnp.int32(3)).as_text().splitlines())


def eager(schedule: Schedule) -> Callable[[], Any]:
    """Return a call that evaluates the schedule at a Python int outside of jit, as loggers do."""
    return lambda: float(schedule(1234))


def jitted(schedule: Schedule) -> Callable[[], Any]:
    """Return a call that evaluates the schedule in a compiled function."""
    function, step = jax.jit(lambda step: schedule(step)), jnp.int32(1234)
    return lambda: jax.block_until_ready(function(step))


def in_step(schedule: Schedule) -> Callable[[], Any]:
    """Return a call of a compiled loop of `UPDATES` updates of 64 parameters by SGD."""
    if isinstance(schedule, lrsched.Schedule):
        transform = lrsched.scale_by_learning_rate(schedule)
    else:
        transform = optax.scale_by_learning_rate(schedule)
    params = jnp.ones(64)

    def update(carry: Any, _: None) -> tuple[Any, None]:
        params, state = carry
        updates, state = transform.update(params, state, params)
        return (optax.apply_updates(params, updates), state), None

    loop = jax.jit(lambda carry: jax.lax.scan(update, carry, None, UPDATES)[0])
    carry = params, transform.init(params)
    return lambda: jax.block_until_ready(loop(carry))


def interleaved_calls(
    calls: Sequence[Callable[[], Any]], rounds: int, seconds: float
) -> np.ndarray:
    """Measure the time of each call in each round.

    Unlike `costs.interleaved_seconds`, repeats each call within a round, as one evaluation of a
    schedule is too short for the clock.

    Args:
      calls: Functions without arguments.
      rounds: Number of rounds.
      seconds: Approximate time of each call's repetitions in a round, in seconds.

    Returns:
      Seconds per call, float64 of shape ``(rounds, calls)``.
    """
    counts = []
    for call in calls:
        # The first call compiles and is not timed.
        call()
        start = time.perf_counter()
        call()
        counts.append(max(1, min(1000, int(seconds / (time.perf_counter() - start)))))
    times = np.empty((rounds, len(calls)))
    for row in times:
        for index in np.random.default_rng(0).permutation(len(calls)):
            start = time.perf_counter()
            for _ in range(counts[index]):
                calls[index]()
            row[index] = (time.perf_counter() - start) / counts[index]
    return times


def evaluation(rounds: int, seconds: float) -> CostTable:
    """Measure each pair of schedules outside of jit, in a compiled function and in a step."""
    modes: dict[str, tuple[Callable[[Schedule], Callable[[], Any]], float]] = {
        "eager, µs": (eager, 1e6),
        "jitted, µs": (jitted, 1e6),
        "in a step, ns": (in_step, 1e9 / UPDATES),
    }
    rows = []
    for name, pair in PAIRS.items():
        row = [name]
        for create_call, scale in modes.values():
            calls = [create_call(schedule) for schedule in pair]
            times = interleaved_calls(calls, rounds, seconds) * scale
            lrsched_time, optax_time = np.median(times, axis=0)
            ratio = np.median(times[:, 1] / times[:, 0])
            row.append(f"{lrsched_time:.3g} : {optax_time:.3g} ({ratio:.2g}x)")
        rows.append([*row, " : ".join(f"{program_size(schedule):,}" for schedule in pair)])
    return CostTable(
        title="One value of a schedule, lrsched : optax",
        command="python -m benchmarks schedules",
        caption="Medians of interleaved times; optax's time over lrsched's in brackets. Eager: one "
        "value as a float, outside of jit. In a step: a whole update of 64 parameters by SGD in a "
        "compiled loop. Program: lines of StableHLO.",
        columns=["schedule", *modes, "program, lines"],
        rows=rows,
        versions=versions("jax", "optax"),
    )


def traces() -> CostTable:
    """Count the traces of a train step after each change of its rate."""
    rows = []
    for name, change in CHANGES.items():
        rows.append([name, str(lrsched_traces(change)), *optax_traces(name)])
    return CostTable(
        title="Traces of a train step after a change",
        command="python -m benchmarks schedules",
        caption="Number of further traces of a jitted step; each trace compiles. "
        "optax.adam(schedule): a new schedule needs a new step. inject_hyperparams: a number can "
        "be set, but a new schedule needs a new step.",
        columns=["change", "lrsched", "optax.adam(schedule)", "inject_hyperparams"],
        rows=rows,
        versions=versions("jax", "optax"),
    )


Change: TypeAlias = Callable[[Any], Any]
CHANGES: dict[str, Change] = {
    "another peak": lambda state: lrsched.set_schedule(state, lrsched.cosine(0.2, STEPS)),
    "another horizon": lambda state: lrsched.set_schedule(state, lrsched.cosine(0.1, 2 * STEPS)),
    "the rate overridden manually": lambda state: lrsched.set_learning_rate(state, 0.01),
    "the rate halved manually": lambda state: lrsched.scale_learning_rate(state, 0.5),
    f"{PEAKS} peaks, one after another": lambda state: [
        lrsched.set_schedule(state, lrsched.cosine(float(peak), STEPS))
        for peak in np.geomspace(1e-4, 1e-1, PEAKS)
    ],
}


class TraceCounter:
    """Jitted train step that counts its traces in `count`."""

    def __init__(self, transform: optax.GradientTransformation) -> None:
        self.count = 0
        self.params = jnp.ones(4)
        self.state = transform.init(self.params)

        def step(params: Any, state: Any) -> tuple[Any, Any]:
            self.count += 1
            updates, state = transform.update(params, state, params)
            return optax.apply_updates(params, updates), state

        self._step = jax.jit(step)

    def run(self, state: Any) -> Any:
        """Run one step and return the new state."""
        return self._step(self.params, state)[1]


def lrsched_traces(change: Change) -> int:
    """Return the number of further traces of a step that has its schedule in the state."""
    step = TraceCounter(
        optax.chain(
            optax.scale_by_adam(), lrsched.scale_by_learning_rate(lrsched.cosine(0.1, STEPS))
        )
    )
    state = step.run(step.state)
    changed = change(state)
    for new in changed if isinstance(changed, list) else [changed]:
        step.run(new)
    return step.count - 1


def optax_traces(change: str) -> tuple[str, str]:
    """Return the numbers of further traces of `optax.adam(schedule)` and `inject_hyperparams`.

    A change of the schedule needs a new step in both. A change of the rate sets an injected
    hyperparameter in the latter.
    """
    peaks = np.geomspace(1e-4, 1e-1, PEAKS if change.startswith(str(PEAKS)) else 1)
    closures = 0
    for peak in peaks:
        step = TraceCounter(optax.adam(optax.cosine_decay_schedule(float(peak), STEPS)))
        step.run(step.state)
        closures += step.count
    injected = partial(optax.inject_hyperparams(optax.adam))
    if change in ("another peak", "another horizon") or change.startswith(str(PEAKS)):
        count = 0
        for peak in peaks:
            step = TraceCounter(injected(optax.cosine_decay_schedule(float(peak), STEPS)))
            step.run(step.state)
            count += step.count
        return str(closures), str(count)
    step = TraceCounter(injected(0.1))
    state = step.run(step.state)
    rates = {**state.hyperparams, "learning_rate": jnp.float32(0.05)}
    step.run(state._replace(hyperparams=rates))
    return str(closures), str(step.count - 1)


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    rounds: int = 11
    """Number of timings of each schedule."""
    seconds: float = 0.02
    """Approximate time of each schedule in a round, in seconds."""
    out: Path = RESULTS
    """Folder of the JSON files with the tables."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables and write them; `arguments` defaults to `sys.argv[1:]`."""
    options = read_options(Options, "schedules", arguments)
    console = Console()
    for name, table in {
        "schedules": evaluation(options.rounds, options.seconds),
        "traces": traces(),
    }.items():
        console.print(table.render())
        table.write(options.out / f"{name}.json")
