"""Time of training with 64 learning rates: `python -m benchmarks sweep-speed`.

Trains an MLP (64-128-128-10) on digits with Adam for 300 updates of 128 examples, with:

* ``fresh loop``, ``fresh scan``: ``optax.adam(rate)``, which is compiled again for each rate;
* ``inject``: ``optax.inject_hyperparams``, compiled once, one rate after another;
* ``vmap``: the same, with all rates in one ``jax.vmap``;
* ``torch``: a loop in PyTorch, if it is installed;
* ``lrsched``: `lrsched.tuning.sweep`, on one device and on one device per core.

All methods run in the same process, one after another, several times; the shortest time counts.
Then the range test is compared with that of torch-lr-finder (`pip install -e ".[bench,peers]"`
installs PyTorch and torch-lr-finder), and the sweep runs on 1, 2, 4 and 8 CPU devices.
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
    """Options of the benchmark."""

    members: int = 64
    """Number of learning rates, from 1e-4 to 1e-1."""
    rounds: int = 3
    """Number of timings of each method. Methods that compile for each rate are timed once."""
    skip_fresh: bool = False
    """Whether to skip the methods that compile for each rate, which take minutes."""
    devices: int | None = None
    """Number of CPU devices. If set, run only the sweep on them and print its result as JSON."""
    out: Path = Path(__file__).parent / "results" / "sweep-speed.json"
    """JSON file of the numbers."""


def params(key: jax.Array) -> list[dict[str, jax.Array]]:
    """Return the initial weights and biases of the layers, float32."""
    keys = jax.random.split(key, len(SIZES) - 1)
    return [
        {"w": jax.random.normal(key, (a, b)) / a**0.5, "b": jnp.zeros(b)}
        for key, a, b in zip(keys, SIZES[:-1], SIZES[1:], strict=True)
    ]


def loss_fn(params: list[dict[str, jax.Array]], batch: Any) -> jax.Array:
    """Return the mean cross-entropy of a mini-batch."""
    hidden, labels = batch
    for index, layer in enumerate(params):
        hidden = hidden @ layer["w"] + layer["b"]
        hidden = jax.nn.relu(hidden) if index < len(params) - 1 else hidden
    return cross_entropy(hidden, labels)


def examples() -> tuple[Any, jax.Array]:
    """Return the data, and the indices of each mini-batch, int32 of shape ``(STEPS, BATCH)``."""
    train = load().train
    order = jax.random.randint(jax.random.key(1), (STEPS, BATCH), 0, len(train.targets))
    return jax.tree.map(jnp.asarray, tuple(train)), order


def step_of(optimizer: optax.GradientTransformation, data: Any) -> Callable[..., Any]:
    """Return the function ``(carry, indices) -> (carry, loss)`` of one update."""

    def step(carry: Any, indices: jax.Array) -> tuple[Any, jax.Array]:
        weights, state = carry
        loss, gradients = jax.value_and_grad(loss_fn)(
            weights, jax.tree.map(lambda x: x[indices], data)
        )
        updates, state = optimizer.update(gradients, state, weights)
        return (optax.apply_updates(weights, updates), state), loss

    return step


def fresh(rates: np.ndarray, is_scan: bool) -> tuple[float, float]:
    """Compile and run a step, or a scan over all steps, for each rate.

    Returns:
      Compilation time and run time, in seconds.
    """
    data, order = examples()
    compile_seconds, start = 0.0, time.perf_counter()
    for rate in rates:
        optimizer, weights = optax.adam(float(rate)), params(jax.random.key(0))
        carry = weights, optimizer.init(weights)
        step = step_of(optimizer, data)
        compile_start = time.perf_counter()
        if is_scan:
            scan = jax.jit(partial(jax.lax.scan, step)).lower(carry, order).compile()
            compile_seconds += time.perf_counter() - compile_start
            jax.block_until_ready(scan(carry, order))
        else:
            compiled = jax.jit(step, donate_argnums=0).lower(carry, order[0]).compile()
            compile_seconds += time.perf_counter() - compile_start
            for indices in np.asarray(order):
                carry, loss = compiled(carry, indices)
            loss.block_until_ready()
    return compile_seconds, time.perf_counter() - start - compile_seconds


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
    """Measure one program with an injected rate, run once per rate.

    Returns:
      Compilation time and run time, in seconds.
    """
    data, order = examples()
    start = time.perf_counter()
    compiled = jax.jit(_injected(data)).lower(jnp.float32(0), order).compile()
    compile_seconds = time.perf_counter() - start
    for rate in rates:
        compiled(jnp.float32(rate), order).block_until_ready()
    return compile_seconds, time.perf_counter() - start - compile_seconds


def vmap(rates: np.ndarray) -> tuple[float, float]:
    """Measure one program that trains with all rates in a `jax.vmap`.

    Returns:
      Compilation time and run time, in seconds.
    """
    data, order = examples()
    start = time.perf_counter()
    batched = jax.jit(jax.vmap(_injected(data), in_axes=(0, None)))
    compiled = batched.lower(jnp.float32(rates), order).compile()
    compile_seconds = time.perf_counter() - start
    compiled(jnp.float32(rates), order).block_until_ready()
    return compile_seconds, time.perf_counter() - start - compile_seconds


def torch(rates: np.ndarray) -> tuple[float, float]:
    """Measure a loop in PyTorch.

    Returns:
      Compilation time (zero) and run time, in seconds.
    """
    import torch as pytorch

    data, order = examples()
    inputs, targets = (pytorch.tensor(np.asarray(x)) for x in data)
    indices = pytorch.tensor(np.asarray(order)).long()
    start = time.perf_counter()
    for rate in rates:
        model = torch_model()
        optimizer = pytorch.optim.Adam(model.parameters(), lr=float(rate))
        for batch in indices:
            optimizer.zero_grad()
            loss = pytorch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch].long())
            loss.backward()
            optimizer.step()
    return 0.0, time.perf_counter() - start


def torch_model() -> Any:
    """Return the same network in PyTorch."""
    from torch import nn

    pairs = [nn.Linear(a, b) for a, b in itertools.pairwise(SIZES)]
    layers = [layer for pair in pairs for layer in (pair, nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def lrsched_sweep(rates: np.ndarray, devices: int) -> tuple[float, float]:
    """Measure `lrsched.tuning.sweep` on a number of devices.

    Returns:
      Time of the compilation and of the choice of the plan, and run time, in seconds.
    """
    mesh = jax.make_mesh((devices,), ("runs",), devices=jax.devices()[:devices])
    result = tuning.sweep(
        _run(), [constant(float(rate)) for rate in rates], steps=STEPS, mesh=mesh, progress=False
    )
    return result.compile_seconds, result.run_seconds


def _run() -> tuning.Training:
    data, _ = examples()
    return tuning.training(
        loss_fn, lambda _: params(jax.random.key(0)), optax.adam, data, batch_size=BATCH
    )


def range_tests() -> dict[str, float]:
    """Measure range tests of 100 updates: of lrsched, and of torch-lr-finder if installed.

    Returns:
      A dict from description to seconds. lrsched is measured with its compilation and again.
    """
    run, times = _run(), {}
    for seeds in (1, 8):
        for name in ("with its compilation", "again"):
            start = time.perf_counter()
            # The huge divergence_factor disables the early stop, so that all tests do equal work.
            tuning.range_test(
                run, low=1e-7, high=10.0, steps=100, seeds=seeds, divergence_factor=1e30
            )
            times[f"lrsched, seeds: {seeds}, {name}"] = time.perf_counter() - start
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
        start = time.perf_counter()
        finder.range_test(batches, end_lr=10, num_iter=100, diverge_th=1e30)
        times["torch-lr-finder"] = time.perf_counter() - start
    return times


def on_devices(count: int, rates: np.ndarray) -> dict[str, Any]:
    """Measure the run time of the sweep on several CPU devices, and count its collectives."""
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
    """Measure, print the tables and write the numbers."""
    options = tyro.cli(
        Options, prog="python -m benchmarks sweep-speed", description=__doc__, args=arguments
    )
    rates = np.logspace(-4, -1, options.members)
    cores = options.devices or os.cpu_count() or 1
    jax.config.update("jax_num_cpu_devices", cores)
    if options.devices:
        print(json.dumps(on_devices(options.devices, rates)))
        return
    console = Console()
    methods: dict[str, Callable[[np.ndarray], tuple[float, float]]] = {
        "inject": inject,
        "vmap": vmap,
        **({"torch": torch} if find_spec("torch") else {}),
        "lrsched, 1 device": lambda rates: lrsched_sweep(rates, 1),
        f"lrsched, {cores} devices": lambda rates: lrsched_sweep(rates, cores),
    }
    slow = {
        "fresh loop": partial(fresh, is_scan=False),
        "fresh scan": partial(fresh, is_scan=True),
    }
    if options.skip_fresh:
        slow = {}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in [*slow, *methods]}
    for turn in range(options.rounds):
        for name, method in [*(slow.items() if turn == 0 else ()), *methods.items()]:
            times[name].append(method(rates))
    best = {
        name: (min(compiling for compiling, _ in pairs), min(running for _, running in pairs))
        for name, pairs in times.items()
    }
    lrsched_total = sum(best[f"lrsched, {cores} devices"])
    table = Table(
        "method", "compile, s", "run, s", "total, s", "over lrsched's total", title="A sweep"
    )
    for name, (compiling, running) in best.items():
        total = compiling + running
        table.add_row(
            name,
            f"{compiling:.2f}",
            f"{running:.2f}",
            f"{total:.2f}",
            f"{total / lrsched_total:.1f}",
        )
    console.print(table)
    tests = range_tests()
    table = Table("range test of 100 updates", "seconds")
    for name, seconds in tests.items():
        table.add_row(name, f"{seconds:.3f}")
    console.print(table)
    by_devices = {}
    table = Table("CPU devices", "run, s", "collectives", title=f"Devices, on {cores} cores")
    for count in (1, 2, 4, 8):
        command = [sys.executable, "-m", "benchmarks.sweep_speed", "--devices", str(count)]
        process = subprocess.run(command, capture_output=True, text=True, check=True)
        result = by_devices[count] = json.loads(process.stdout.splitlines()[-1])
        table.add_row(str(count), f"{result['seconds']:.2f}", str(result["collectives"]))
    console.print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"sweep": times, "range tests": tests, "devices": by_devices}, indent=1)
    )


if __name__ == "__main__":
    main()
