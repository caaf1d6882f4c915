"""What a schedule costs, and what a change of one does: `python -m benchmarks schedules`.

First each schedule beside its counterpart in optax: one value outside of jit, one value of a
compiled function, one update of a compiled step that uses it, and the size of its program. They are
timed in turn, in one run. Then how often a step is traced when something about the rate changes.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.console import Console

import lrsched
from benchmarks.costs import CostTable
from benchmarks.store import RESULTS

STEPS, UPDATES, PEAKS = 10_000, 1000, 8

Schedule: TypeAlias = Callable[[Any], Any]


def cycles(count: int) -> list[dict[str, Any]]:
    """So many of optax's cosine cycles."""
    one = {"init_value": 0.0, "peak_value": 1.0, "warmup_steps": 10, "decay_steps": 100}
    return [one] * count


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
    """Lines of the lowered program of one value."""
    return len(jax.jit(lambda step: schedule(step)).lower(jnp.int32(3)).as_text().splitlines())


def eager(schedule: Schedule) -> Callable[[], Any]:
    """One value for a Python number, outside of jit, as a logger asks for it."""
    return lambda: float(schedule(1234))


def jitted(schedule: Schedule) -> Callable[[], Any]:
    """One value of a compiled function."""
    function, step = jax.jit(lambda step: schedule(step)), jnp.int32(1234)
    return lambda: jax.block_until_ready(function(step))


def in_step(schedule: Schedule) -> Callable[[], Any]:
    """Many updates of SGD on 64 numbers in one compiled loop."""
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


def in_turn(calls: Sequence[Callable[[], Any]], rounds: int, seconds: float) -> np.ndarray:
    """Seconds of each call, ``(rounds, calls)``: every round runs each for about so long."""
    counts = []
    for call in calls:
        call()
        began = time.perf_counter()
        call()
        counts.append(max(1, min(1000, int(seconds / (time.perf_counter() - began)))))
    found = np.empty((rounds, len(calls)))
    for row in found:
        for place in np.random.default_rng(0).permutation(len(calls)):
            began = time.perf_counter()
            for _ in range(counts[place]):
                calls[place]()
            row[place] = (time.perf_counter() - began) / counts[place]
    return found


def evaluation(rounds: int, seconds: float) -> CostTable:
    """Every pair, in every way to use it."""
    ways: dict[str, tuple[Callable[[Schedule], Callable[[], Any]], float]] = {
        "eager, µs": (eager, 1e6),
        "jitted, µs": (jitted, 1e6),
        "in a step, ns": (in_step, 1e9 / UPDATES),
    }
    rows = []
    for name, pair in PAIRS.items():
        row = [name]
        for way, scale in ways.values():
            found = in_turn([way(schedule) for schedule in pair], rounds, seconds) * scale
            ours, theirs = np.median(found, axis=0)
            ratio = np.median(found[:, 1] / found[:, 0])
            row.append(f"{ours:.3g} : {theirs:.3g} ({ratio:.2g}x)")
        rows.append([*row, " : ".join(f"{program_size(schedule):,}" for schedule in pair)])
    return CostTable(
        title="One value of a schedule, ours : optax's",
        command="python -m benchmarks schedules",
        caption="Medians, timed in turn; in brackets optax's time over ours. Eager: a float of one "
        "step outside of jit. In a step: an update of 64 numbers by SGD in a compiled loop, all of "
        "it. Program: lines of StableHLO.",
        columns=["schedule", *ways, "program, lines"],
        rows=rows,
        versions=versions(),
    )


def traces() -> CostTable:
    """How often a train step is traced anew when something about its rate changes."""
    rows = []
    for name, change in CHANGES.items():
        rows.append([name, str(ours_after(change)), *theirs_after(name)])
    return CostTable(
        title="Traces of a train step after a change",
        command="python -m benchmarks schedules",
        caption="Further traces of a jitted step, each a compilation. optax.adam(schedule): a new "
        "closure is a new step. inject_hyperparams: a number can be set, a schedule is a closure.",
        columns=["change", "lrsched", "optax.adam(schedule)", "inject_hyperparams"],
        rows=rows,
        versions=versions(),
    )


Change: TypeAlias = Callable[[Any], Any]
CHANGES: dict[str, Change] = {
    "another peak": lambda state: lrsched.set_schedule(state, lrsched.cosine(0.2, STEPS)),
    "another horizon": lambda state: lrsched.set_schedule(state, lrsched.cosine(0.1, 2 * STEPS)),
    "the rate held by hand": lambda state: lrsched.set_learning_rate(state, 0.01),
    "the rate halved by hand": lambda state: lrsched.scale_learning_rate(state, 0.5),
    f"{PEAKS} peaks, one after another": lambda state: [
        lrsched.set_schedule(state, lrsched.cosine(float(peak), STEPS))
        for peak in np.geomspace(1e-4, 1e-1, PEAKS)
    ],
}


class Counted:
    """A jitted step that counts its traces."""

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
        """One step; returns the new state."""
        return self._step(self.params, state)[1]


def ours_after(change: Change) -> int:
    """Further traces of a step whose state holds the schedule."""
    step = Counted(
        optax.chain(
            optax.scale_by_adam(), lrsched.scale_by_learning_rate(lrsched.cosine(0.1, STEPS))
        )
    )
    state = step.run(step.state)
    changed = change(state)
    for new in changed if isinstance(changed, list) else [changed]:
        step.run(new)
    return step.count - 1


def theirs_after(change: str) -> tuple[str, str]:
    """The same of a closure that is made anew, and of injected numbers where they can do it."""
    peaks = np.geomspace(1e-4, 1e-1, PEAKS if change.startswith(str(PEAKS)) else 1)
    closures = 0
    for peak in peaks:
        step = Counted(optax.adam(optax.cosine_decay_schedule(float(peak), STEPS)))
        step.run(step.state)
        closures += step.count
    injected = partial(optax.inject_hyperparams(optax.adam))
    if change in ("another peak", "another horizon") or change.startswith(str(PEAKS)):
        count = 0
        for peak in peaks:
            step = Counted(injected(optax.cosine_decay_schedule(float(peak), STEPS)))
            step.run(step.state)
            count += step.count
        return str(closures), str(count)
    step = Counted(injected(0.1))
    state = step.run(step.state)
    rates = {**state.hyperparams, "learning_rate": jnp.float32(0.05)}
    step.run(state._replace(hyperparams=rates))
    return str(closures), str(step.count - 1)


def versions() -> dict[str, str]:
    """Of what is measured."""
    return {name: version(name) for name in ("jax", "optax")}


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    rounds: int = 11
    """How often each is timed."""
    seconds: float = 0.02
    """The time of each in a round."""
    out: Path = RESULTS
    """The folder of the tables' numbers."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, prints the tables and writes them."""
    options = tyro.cli(Options, prog="python -m benchmarks schedules", args=arguments)
    console = Console()
    for name, table in {
        "schedules": evaluation(options.rounds, options.seconds),
        "traces": traces(),
    }.items():
        console.print(table.shown())
        table.write(options.out / f"{name}.json")


if __name__ == "__main__":
    main()
