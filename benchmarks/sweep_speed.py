"""Time of training with 64 learning rates: `python -m benchmarks sweep-speed`.

Trains an MLP (64-128-128-10) on digits with Adam for 300 updates of 128 examples, or with
``--workload`` the CNN on MNIST for 20 updates or the vision transformer for 50, with:

* ``fresh loop``, ``fresh scan``: ``optax.adam(rate)``, which is compiled again for each rate;
* ``inject``: ``optax.inject_hyperparams``, compiled once, one rate after another. The updates are
  one ``scan``, or a Python loop for convolutions, which are slow in a loop of XLA's CPU backend;
* ``vmap``: the same, with all rates in one ``jax.vmap``;
* ``torch``: a loop in PyTorch, if it is installed;
* ``lrsched``: `lrsched.tuning.sweep`, on one device and on one device per core.

All methods run in the same process, one after another, several times. The shortest time counts, and
the ratio to the better one of ``inject`` and ``vmap`` is the median over the rounds.
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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from rich.console import Console
from rich.table import Table

from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import cross_entropy
from benchmarks.workloads.digits_mlp import load
from lrsched import constant, tuning
from lrsched.tuning.batched_runner import cached_runners

SIZES = (64, 128, 128, 10)
STEPS = {"mlp": 300, "cnn": 20, "transformer": 50}
BATCH = 128
COLLECTIVE = r"(all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter)\("


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    workload: Literal["mlp", "cnn", "transformer"] = "mlp"
    """Model and data. For models other than the MLP only the sweep is measured."""
    members: int = 64
    """Number of learning rates, from 1e-4 to 1e-1."""
    steps: int | None = None
    """Number of updates of each rate. Defaults to 300, 20 and 50 for the three workloads."""
    rounds: int = 3
    """Number of timings of each method. Methods that compile for each rate are timed once."""
    skip_fresh: bool = False
    """Whether to skip the methods that compile for each rate, which take minutes."""
    skip_vmap: bool = False
    """Whether to skip ``vmap``, which keeps the activations of all rates in memory at once."""
    devices: int | None = None
    """Number of CPU devices. If set, run only the sweep on them and print its result as JSON."""
    out: Path = Path(__file__).parent / "results" / "sweep-speed.json"
    """JSON file of the numbers."""


@dataclass(frozen=True)
class Problem:
    """What every method of the comparison trains.

    Attributes:
      params: Function from a random key to the initial parameters.
      loss_fn: Function ``(params, batch) -> loss``, a mean over the mini-batch.
      data: Arrays with a leading axis of examples.
      batch_size: Number of examples of a mini-batch.
      steps: Number of updates of each rate.
      is_scan: Whether the updates of a rate are one loop on the device.
    """

    params: Callable[[jax.Array], Any]
    loss_fn: Callable[[Any, Any], jax.Array]
    data: Any
    batch_size: int
    steps: int
    is_scan: bool = True

    def order(self) -> jax.Array:
        """Return the indices of each mini-batch, int32 of shape ``(steps, batch_size)``."""
        num_examples = len(jax.tree.leaves(self.data)[0])
        shape = (self.steps, self.batch_size)
        return jax.random.randint(jax.random.key(1), shape, 0, num_examples)


def params(key: jax.Array) -> list[dict[str, jax.Array]]:
    """Return the initial weights and biases of the layers of the MLP, float32."""
    keys = jax.random.split(key, len(SIZES) - 1)
    return [
        {"w": jax.random.normal(key, (a, b)) / a**0.5, "b": jnp.zeros(b)}
        for key, a, b in zip(keys, SIZES[:-1], SIZES[1:], strict=True)
    ]


def loss_fn(params: list[dict[str, jax.Array]], batch: Any) -> jax.Array:
    """Return the mean cross-entropy of a mini-batch under the MLP."""
    hidden, labels = batch
    for index, layer in enumerate(params):
        hidden = hidden @ layer["w"] + layer["b"]
        hidden = jax.nn.relu(hidden) if index < len(params) - 1 else hidden
    return cross_entropy(hidden, labels)


def problem_of(workload: str, steps: int | None = None) -> Problem:
    """Return the problem of a workload.

    Args:
      workload: "mlp", "cnn" or "transformer".
      steps: Number of updates. Defaults to 300, 20 and 50.
    """
    steps = steps or STEPS[workload]
    if workload == "mlp":
        data = jax.tree.map(jnp.asarray, tuple(load().train))
        return Problem(params, loss_fn, data, BATCH, steps)
    other = WORKLOADS[{"cnn": "mnist-cnn", "transformer": "mnist-vit"}[workload]]
    structure = nnx.graphdef(nnx.eval_shape(lambda: other.model(nnx.Rngs(0))))

    def create(key: jax.Array) -> Any:
        return nnx.state(other.model(nnx.Rngs(key)), nnx.Param)

    def loss_of_model(params: Any, batch: Any) -> jax.Array:
        inputs, targets = batch
        return other.loss(nnx.merge(structure, params)(inputs), targets)

    data = jax.tree.map(jnp.asarray, tuple(other.data().train))
    return Problem(create, loss_of_model, data, other.batch_size, steps, is_scan=other.scan)


def step_of(problem: Problem, optimizer: optax.GradientTransformation) -> Callable[..., Any]:
    """Return the function ``(carry, indices) -> (carry, loss)`` of one update."""

    def step(carry: Any, indices: jax.Array) -> tuple[Any, jax.Array]:
        weights, state = carry
        loss, gradients = jax.value_and_grad(problem.loss_fn)(
            weights, jax.tree.map(lambda x: x[indices], problem.data)
        )
        updates, state = optimizer.update(gradients, state, weights)
        return (optax.apply_updates(weights, updates), state), loss

    return step


def fresh(problem: Problem, rates: np.ndarray, is_scan: bool) -> tuple[float, float]:
    """Compile and run a step, or a scan over all steps, for each rate.

    Returns:
      Compilation time and run time, in seconds.
    """
    order = problem.order()
    compile_seconds, start = 0.0, time.perf_counter()
    for rate in rates:
        optimizer, weights = optax.adam(float(rate)), problem.params(jax.random.key(0))
        carry = weights, optimizer.init(weights)
        step = step_of(problem, optimizer)
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


def _injected(problem: Problem) -> tuple[Callable[[jax.Array], Any], Callable[..., Any]]:
    """Return ``rate -> carry``, the start of a run, and the step of `step_of`."""
    optimizer = optax.inject_hyperparams(optax.adam, static_args=("b1", "b2", "eps", "eps_root"))(
        learning_rate=0.0
    )

    def start(rate: jax.Array) -> tuple[Any, Any]:
        weights = problem.params(jax.random.key(0))
        state: Any = optimizer.init(weights)
        return weights, state._replace(hyperparams={**state.hyperparams, "learning_rate": rate})

    return start, step_of(problem, optimizer)


def _compile(
    problem: Problem, rates: jax.Array, wrap: Callable[[Any], Any] = lambda function: function
) -> Callable[[jax.Array], jax.Array]:
    """Return a compiled function from rates to last losses; ``wrap`` maps it over the rates."""
    begin, step = _injected(problem)
    order = problem.order()
    if problem.is_scan:
        train = wrap(lambda rate: jax.lax.scan(step, begin(rate), order)[1][-1])
        compiled: Callable[[jax.Array], jax.Array] = jax.jit(train).lower(rates).compile()
        return compiled
    start = jax.jit(wrap(begin)).lower(rates).compile()
    carry, indices = jax.eval_shape(wrap(begin), rates), np.asarray(order)
    # The mini-batch is an argument that all runs of a vmap share.
    update: Any = jax.jit(
        lambda carry, indices: wrap(lambda carry: step(carry, indices))(carry), donate_argnums=0
    )
    update = update.lower(carry, indices[0]).compile()

    def loop(rates: jax.Array) -> jax.Array:
        carry = start(rates)
        for batch in indices:
            carry, loss = update(carry, batch)
        last: jax.Array = loss
        return last

    return loop


def inject(problem: Problem, rates: np.ndarray) -> tuple[float, float]:
    """Measure one program with an injected rate, run once per rate.

    Returns:
      Compilation time and run time, in seconds.
    """
    start = time.perf_counter()
    train = _compile(problem, jnp.float32(0))
    compile_seconds = time.perf_counter() - start
    for rate in rates:
        train(jnp.float32(rate)).block_until_ready()
    return compile_seconds, time.perf_counter() - start - compile_seconds


def vmap(problem: Problem, rates: np.ndarray) -> tuple[float, float]:
    """Measure one program that trains with all rates in a `jax.vmap`.

    Returns:
      Compilation time and run time, in seconds.
    """
    start = time.perf_counter()
    train = _compile(problem, jnp.float32(rates), jax.vmap)
    compile_seconds = time.perf_counter() - start
    train(jnp.float32(rates)).block_until_ready()
    return compile_seconds, time.perf_counter() - start - compile_seconds


def torch(problem: Problem, rates: np.ndarray) -> tuple[float, float]:
    """Measure a loop in PyTorch.

    Returns:
      Compilation time (zero) and run time, in seconds.
    """
    import torch as pytorch

    inputs, targets = (pytorch.tensor(np.asarray(x)) for x in problem.data)
    indices = pytorch.tensor(np.asarray(problem.order())).long()
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


def lrsched_sweep(problem: Problem, rates: np.ndarray, devices: int) -> tuple[float, float]:
    """Measure `lrsched.tuning.sweep` on a number of devices.

    Returns:
      Time of the compilation and of the choice of the plan, and run time, in seconds.
    """
    mesh = jax.make_mesh((devices,), ("runs",), devices=jax.devices()[:devices])
    result = tuning.sweep(
        _run(problem),
        [constant(float(rate)) for rate in rates],
        steps=problem.steps,
        mesh=mesh,
        progress=False,
    )
    return result.compile_seconds, result.run_seconds


def _run(problem: Problem) -> tuning.Training:
    return tuning.training(
        problem.loss_fn,
        lambda _: problem.params(jax.random.key(0)),
        optax.adam,
        problem.data,
        batch_size=problem.batch_size,
    )


def range_tests(problem: Problem) -> dict[str, float]:
    """Measure range tests of 100 updates: of lrsched, and of torch-lr-finder if installed.

    Returns:
      A dict from description to seconds. lrsched is measured with its compilation and again.
    """
    run, times = _run(problem), {}
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

        inputs, targets = (pytorch.tensor(np.asarray(x)) for x in problem.data)
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


def on_devices(problem: Problem, count: int, rates: np.ndarray) -> dict[str, Any]:
    """Measure the run time of the sweep on several CPU devices, and count its collectives."""
    run, mesh = _run(problem), jax.make_mesh((count,), ("runs",), devices=jax.devices()[:count])
    schedules = [constant(float(rate)) for rate in rates]
    plan = tuning.ExecutionPlan(1, 1)

    def seconds_of_sweep() -> float:
        result = tuning.sweep(
            run, schedules, steps=problem.steps, mesh=mesh, plan=plan, progress=False
        )
        return result.run_seconds

    seconds = min(seconds_of_sweep() for _ in range(3))
    (runner,) = cached_runners(run)
    return {"seconds": seconds, "collectives": len(re.findall(COLLECTIVE, runner.as_text()))}


def sweep_table(workload: str, times: Mapping[str, Sequence[tuple[float, float]]]) -> Table:
    """Return the table of a sweep.

    Args:
      workload: Name in the title.
      times: Compilation and run time of each method in each round, in seconds.
    """
    totals = {name: np.sum(pairs, axis=1) for name, pairs in times.items()}
    manual = np.min([totals[name] for name in ("inject", "vmap") if name in totals], axis=0)
    table = Table(
        "method",
        "compile, s",
        "run, s",
        "total, s",
        "over inject or vmap",
        title=f"A sweep: {workload}",
    )
    for name, pairs in times.items():
        compiling, running = np.min(pairs, axis=0)
        # Methods that compile for each rate have one round.
        ratio = np.median(totals[name] / manual[: len(pairs)])
        table.add_row(
            name, f"{compiling:.2f}", f"{running:.2f}", f"{totals[name].min():.2f}", f"{ratio:.2f}"
        )
    return table


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print the tables and write the numbers."""
    options = tyro.cli(
        Options, prog="python -m benchmarks sweep-speed", description=__doc__, args=arguments
    )
    rates = np.logspace(-4, -1, options.members)
    cores = options.devices or os.cpu_count() or 1
    jax.config.update("jax_num_cpu_devices", cores)
    problem = problem_of(options.workload, options.steps)
    if options.devices:
        print(json.dumps(on_devices(problem, options.devices, rates)))
        return
    console = Console()
    is_mlp = options.workload == "mlp"
    methods: dict[str, Callable[[Problem, np.ndarray], tuple[float, float]]] = {
        "inject": inject,
        **({} if options.skip_vmap else {"vmap": vmap}),
        **({"torch": torch} if is_mlp and find_spec("torch") else {}),
        "lrsched, 1 device": partial(lrsched_sweep, devices=1),
        f"lrsched, {cores} devices": partial(lrsched_sweep, devices=cores),
    }
    slow: dict[str, Callable[[Problem, np.ndarray], tuple[float, float]]] = {
        "fresh loop": partial(fresh, is_scan=False),
        "fresh scan": partial(fresh, is_scan=True),
    }
    if options.skip_fresh or not is_mlp:
        slow = {}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in [*slow, *methods]}
    for turn in range(options.rounds):
        for name, method in [*(slow.items() if turn == 0 else ()), *methods.items()]:
            times[name].append(method(problem, rates))
    console.print(sweep_table(options.workload, times))
    record: dict[str, Any] = {"sweep": times}
    if is_mlp:
        record["range tests"] = range_tests(problem)
        table = Table("range test of 100 updates", "seconds")
        for name, seconds in record["range tests"].items():
            table.add_row(name, f"{seconds:.3f}")
        console.print(table)
        record["devices"] = {}
        table = Table("CPU devices", "run, s", "collectives", title=f"Devices, on {cores} cores")
        for count in (1, 2, 4, 8):
            command = [sys.executable, "-m", "benchmarks.sweep_speed", "--devices", str(count)]
            process = subprocess.run(command, capture_output=True, text=True, check=True)
            result = record["devices"][count] = json.loads(process.stdout.splitlines()[-1])
            table.add_row(str(count), f"{result['seconds']:.2f}", str(result["collectives"]))
        console.print(table)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
