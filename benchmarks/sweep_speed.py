"""64 learning rates, trained in every way there is: `python -m benchmarks.sweep_speed`.

An MLP (64-128-128-10) on digits, Adam, 300 updates of 128 examples, the same for all:

* ``fresh loop``, ``fresh scan``: optax, compiled anew for each rate, as ``optax.adam(rate)`` is;
* ``inject``: ``optax.inject_hyperparams``, compiled once, one rate after the other;
* ``vmap``: the same, all rates in one ``jax.vmap``;
* ``torch``: PyTorch's loop, if it is installed;
* ``lrsched``: `lrsched.tuning.sweep`, on one device and on one for each core.

All of them in one run, one after another, several times; the best time of each counts. Then the
range test beside torch-lr-finder's (``pip install -e ".[bench,peers]"`` brings both), and the sweep
on 1, 2, 4 and 8 host devices, with its collectives.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.workloads.base import cross_entropy
from benchmarks.workloads.digits_mlp import load
from lrsched import constant, tuning
from lrsched.tuning.batched_runner import cached_runners

SIZES = (64, 128, 128, 10)
STEPS, BATCH = 300, 128
COLLECTIVE = r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\("


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    members: int = 64
    """Learning rates, from 1e-4 to 1e-1."""
    rounds: int = 3
    """How often each way is measured; those that compile for each rate, once."""
    skip_fresh: bool = False
    """Leave out what compiles for each rate: minutes."""
    devices: int | None = None
    """Only the sweep, on so many host devices, and print what it took as JSON."""
    out: Path = Path(__file__).parent / "results" / "sweep-speed.json"
    """The numbers."""


def params(key: jax.Array) -> list[dict[str, jax.Array]]:
    """The layers."""
    keys = jax.random.split(key, len(SIZES) - 1)
    return [
        {"w": jax.random.normal(key, (a, b)) / a**0.5, "b": jnp.zeros(b)}
        for key, a, b in zip(keys, SIZES[:-1], SIZES[1:], strict=True)
    ]


def loss_fn(params: list[dict[str, jax.Array]], batch: Any) -> jax.Array:
    """The mean cross-entropy of a batch."""
    hidden, labels = batch
    for place, layer in enumerate(params):
        hidden = hidden @ layer["w"] + layer["b"]
        hidden = jax.nn.relu(hidden) if place < len(params) - 1 else hidden
    return cross_entropy(hidden, labels)


def examples() -> tuple[Any, jax.Array]:
    """The data, and the examples of each batch."""
    train = load().train
    order = jax.random.randint(jax.random.key(1), (STEPS, BATCH), 0, len(train.targets))
    return jax.tree.map(jnp.asarray, tuple(train)), order


def step_of(optimizer: optax.GradientTransformation, data: Any) -> Callable[..., Any]:
    """One update."""

    def step(carry: Any, chosen: jax.Array) -> tuple[Any, jax.Array]:
        weights, state = carry
        loss, gradients = jax.value_and_grad(loss_fn)(
            weights, jax.tree.map(lambda x: x[chosen], data)
        )
        updates, state = optimizer.update(gradients, state, weights)
        return (optax.apply_updates(weights, updates), state), loss

    return step


def fresh(rates: np.ndarray, is_scan: bool) -> tuple[float, float]:
    """Seconds of compiling, a step or the scan of all of them for each rate, and of running."""
    data, order = examples()
    compiling, began = 0.0, time.perf_counter()
    for rate in rates:
        optimizer, weights = optax.adam(float(rate)), params(jax.random.key(0))
        carry = weights, optimizer.init(weights)
        step = step_of(optimizer, data)
        at = time.perf_counter()
        if is_scan:
            scan = jax.jit(partial(jax.lax.scan, step)).lower(carry, order).compile()
            compiling += time.perf_counter() - at
            jax.block_until_ready(scan(carry, order))
        else:
            once = jax.jit(step, donate_argnums=0).lower(carry, order[0]).compile()
            compiling += time.perf_counter() - at
            for chosen in np.asarray(order):
                carry, loss = once(carry, chosen)
            loss.block_until_ready()
    return compiling, time.perf_counter() - began - compiling


def _injected(data: Any) -> Callable[[jax.Array, jax.Array], jax.Array]:
    optimizer = optax.inject_hyperparams(optax.adam, static_args=("b1", "b2", "eps", "eps_root"))(
        learning_rate=0.0
    )

    def train(rate: jax.Array, order: jax.Array) -> jax.Array:
        weights = params(jax.random.key(0))
        state: Any = optimizer.init(weights)
        state = state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})
        _, losses = jax.lax.scan(step_of(optimizer, data), (weights, state), order)
        return losses[-1]

    return train


def inject(rates: np.ndarray) -> tuple[float, float]:
    """Seconds of compiling, and of running."""
    data, order = examples()
    began = time.perf_counter()
    compiled = jax.jit(_injected(data)).lower(jnp.float32(0), order).compile()
    compiling = time.perf_counter() - began
    for rate in rates:
        compiled(jnp.float32(rate), order).block_until_ready()
    return compiling, time.perf_counter() - began - compiling


def vmap(rates: np.ndarray) -> tuple[float, float]:
    """Seconds of compiling, and of running."""
    data, order = examples()
    began = time.perf_counter()
    batched = jax.jit(jax.vmap(_injected(data), in_axes=(0, None)))
    compiled = batched.lower(jnp.float32(rates), order).compile()
    compiling = time.perf_counter() - began
    compiled(jnp.float32(rates), order).block_until_ready()
    return compiling, time.perf_counter() - began - compiling


def torch(rates: np.ndarray) -> tuple[float, float]:
    """Seconds of compiling (none), and of running."""
    import torch as pytorch

    data, order = examples()
    inputs, targets = (pytorch.tensor(np.asarray(x)) for x in data)
    chosen = pytorch.tensor(np.asarray(order)).long()
    began = time.perf_counter()
    for rate in rates:
        model = torch_model()
        optimizer = pytorch.optim.Adam(model.parameters(), lr=float(rate))
        for batch in chosen:
            optimizer.zero_grad()
            loss = pytorch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch].long())
            loss.backward()
            optimizer.step()
    return 0.0, time.perf_counter() - began


def torch_model() -> Any:
    """The same network."""
    from torch import nn

    pairs = [nn.Linear(a, b) for a, b in itertools.pairwise(SIZES)]
    layers = [layer for pair in pairs for layer in (pair, nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def ours(rates: np.ndarray, devices: int) -> tuple[float, float]:
    """Seconds of compiling and choosing the plan, and of running."""
    mesh = jax.make_mesh((devices,), ("runs",), devices=jax.devices()[:devices])
    found = tuning.sweep(
        _run(), [constant(float(rate)) for rate in rates], steps=STEPS, mesh=mesh, progress=False
    )
    return found.compile_seconds, found.run_seconds


def _run() -> tuning.Training:
    data, _ = examples()
    return tuning.training(
        loss_fn, lambda _: params(jax.random.key(0)), optax.adam, data, batch_size=BATCH
    )


def range_tests() -> dict[str, float]:
    """Seconds of a range test of 100 updates: ours, with its compilation and again, and torch's."""
    run, found = _run(), {}
    for seeds in (1, 8):
        for name in ("with its compilation", "again"):
            began = time.perf_counter()
            tuning.range_test(
                run, low=1e-7, high=10.0, steps=100, seeds=seeds, divergence_factor=1e30
            )
            found[f"lrsched, seeds: {seeds}, {name}"] = time.perf_counter() - began
    if find_spec("torch_lr_finder"):
        import torch as pytorch
        from torch_lr_finder import LRFinder

        inputs, targets = (pytorch.tensor(np.asarray(x)) for x in examples()[0])
        batches = pytorch.utils.data.DataLoader(
            pytorch.utils.data.TensorDataset(inputs, targets.long()), BATCH, shuffle=True
        )
        model = torch_model()
        optimizer = pytorch.optim.Adam(model.parameters(), lr=1e-7)
        finder = LRFinder(model, optimizer, pytorch.nn.CrossEntropyLoss())
        began = time.perf_counter()
        finder.range_test(batches, end_lr=10, num_iter=100, diverge_th=1e30)
        found["torch-lr-finder"] = time.perf_counter() - began
    return found


def on_devices(count: int, rates: np.ndarray) -> dict[str, Any]:
    """The sweep on so many host devices."""
    run, mesh = _run(), jax.make_mesh((count,), ("runs",), devices=jax.devices()[:count])
    schedules = [constant(float(rate)) for rate in rates]
    plan = tuning.ExecutionPlan(1, max(1, min(8, len(rates) // count)))
    seconds = min(
        tuning.sweep(run, schedules, steps=STEPS, mesh=mesh, plan=plan, progress=False).run_seconds
        for _ in range(3)
    )
    (runner,) = cached_runners(run)
    return {"seconds": seconds, "collectives": len(re.findall(COLLECTIVE, runner.as_text()))}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and prints the tables."""
    options = tyro.cli(
        Options, prog="python -m benchmarks.sweep_speed", description=__doc__, args=arguments
    )
    rates = np.logspace(-4, -1, options.members)
    cores = options.devices or os.cpu_count() or 1
    jax.config.update("jax_num_cpu_devices", cores)
    if options.devices:
        print(json.dumps(on_devices(options.devices, rates)))
        return
    console = Console()
    ways: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
        "inject": inject,
        "vmap": vmap,
        **({"torch": torch} if find_spec("torch") else {}),
        "lrsched, 1 device": lambda rates: ours(rates, 1),
        f"lrsched, {cores} devices": lambda rates: ours(rates, cores),
    }
    slow = {
        "fresh loop": partial(fresh, is_scan=False),
        "fresh scan": partial(fresh, is_scan=True),
    }
    if options.skip_fresh:
        slow = {}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in [*slow, *ways]}
    for turn in range(options.rounds):
        for name, way in [*(slow.items() if turn == 0 else ()), *ways.items()]:
            times[name].append(way(rates))
    best = {
        name: (min(t[0] for t in found), min(t[1] for t in found)) for name, found in times.items()
    }
    ours_all = sum(best[f"lrsched, {cores} devices"])
    table = Table("way", "compile, s", "run, s", "both, s", "over ours", title="A sweep")
    for name, (compiling, running) in best.items():
        both = compiling + running
        table.add_row(
            name, f"{compiling:.2f}", f"{running:.2f}", f"{both:.2f}", f"{both / ours_all:.1f}"
        )
    console.print(table)
    tests = range_tests()
    table = Table("range test of 100 updates", "seconds")
    for name, seconds in tests.items():
        table.add_row(name, f"{seconds:.3f}")
    console.print(table)
    spread = {}
    table = Table("host devices", "run, s", "collectives", title=f"Devices, on {cores} cores")
    for count in (1, 2, 4, 8):
        command = [sys.executable, "-m", "benchmarks.sweep_speed", "--devices", str(count)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        spread[count] = json.loads(done.stdout.splitlines()[-1])
        table.add_row(
            str(count), f"{spread[count]['seconds']:.2f}", str(spread[count]["collectives"])
        )
    console.print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"sweep": times, "range tests": tests, "devices": spread}, indent=1)
    )


if __name__ == "__main__":
    main()
