"""Cost of each policy for non-finite gradients: `python -m benchmarks nonfinite-cost`.

The step computes the loss, the gradients and the update of a perceptron with 4.7 million
parameters. Each method is compared with its counterpart in optax: `"propagate"` and `"zero"` with
the method alone, `"skip"` also with `optax.apply_if_finite` around it. With `--tpu`, compiles the
steps for a TPU and compares the compiler's estimates of their cycles.
"""

import itertools
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding
from rich.console import Console

import lrsched
from benchmarks.cost import TRANSFORMS
from benchmarks.costs import CostTable, interleaved_seconds, twin
from benchmarks.options import read_options
from benchmarks.store import RESULTS, versions
from benchmarks.traffic import cycles, moved

POLICIES = ("propagate", "zero", "skip")
WIDTHS = (784, 1536, 1536, 768, 10)
BATCH = 128
METHODS: dict[str, Callable[..., Any]] = {
    "prodigy": lrsched.prodigy,
    "dadapt_adamw": lrsched.dadapt_adamw,
    "dog": lrsched.dog,
    "dowg": lrsched.dowg,
    "mechanize(adam)": partial(lrsched.mechanize, optax.adam(1e-3)),
    "momo": lrsched.momo,
    "momo_adam": lrsched.momo_adam,
    "cocob": lrsched.cocob,
    "schedule_free(adam)": partial(lrsched.schedule_free, optax.adam(1e-3), 1e-3),
    "schedule_free_adamw": lrsched.schedule_free_adamw,
    "muon": partial(lrsched.muon, 0.02, 1e-3),
}
"""Factories that take ``nonfinite``; `benchmarks.cost` has optax's counterparts."""

COUNTERPARTS = TRANSFORMS | {"optax muon": optax.contrib.muon(0.02, adam_learning_rate=1e-3)}


def transforms_of(name: str) -> dict[str, optax.GradientTransformation]:
    """Return the transforms that one row compares, by the name of their column."""
    create, counterpart = METHODS[name], COUNTERPARTS[twin(name)]
    return {
        "optax": counterpart,
        "apply_if_finite": optax.apply_if_finite(counterpart, max_consecutive_errors=100),
        **{policy: create(nonfinite=policy) for policy in POLICIES},
    }


def parameters() -> list[dict[str, np.ndarray]]:
    """Return the weights and biases of the perceptron, float32."""
    random = np.random.default_rng(0)
    return [
        {
            "kernel": random.normal(0, inputs**-0.5, (inputs, outputs)).astype(np.float32),
            "bias": np.zeros(outputs, np.float32),
        }
        for inputs, outputs in itertools.pairwise(WIDTHS)
    ]


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Return inputs ``[BATCH, 784]`` and labels ``[BATCH]``."""
    random = np.random.default_rng(1)
    inputs = random.normal(size=(BATCH, WIDTHS[0])).astype(np.float32)
    return inputs, random.integers(0, WIDTHS[-1], BATCH)


def loss_of(params: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
    """Return the mean cross-entropy of the perceptron."""
    for layer in params[:-1]:
        inputs = jax.nn.relu(inputs @ layer["kernel"] + layer["bias"])
    logits = inputs @ params[-1]["kernel"] + params[-1]["bias"]
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def step_of(transform: optax.GradientTransformation) -> Callable[..., Any]:
    """Return a whole training step, compiled with donated parameters and state."""
    update = optax.with_extra_args_support(transform).update

    def step(params: Any, state: Any, inputs: Any, labels: Any) -> tuple[Any, Any]:
        value, gradients = jax.value_and_grad(loss_of)(params, inputs, labels)
        updates, state = update(gradients, state, params, value=value)
        return optax.apply_updates(params, updates), state

    return jax.jit(step, donate_argnums=(0, 1))


def time_ratios(name: str, rounds: int) -> dict[str, float]:
    """Return the median, over interleaved rounds, of each step's time over optax's."""
    data = batch()
    programs, carries = {}, {}
    for column, transform in transforms_of(name).items():
        params = jax.tree.map(jnp.array, parameters())
        carries[column] = (params, jax.jit(transform.init)(params))
        programs[column] = step_of(transform)
        carries[column] = programs[column](*carries[column], *data)
    seconds = interleaved_seconds(programs, carries, data, range(rounds), np.random.default_rng(0))
    ratios = {name: float(np.median(times / seconds["optax"])) for name, times in seconds.items()}
    return ratios | {"over_guarded": float(np.median(seconds["skip"] / seconds["apply_if_finite"]))}


def tpu_ratios(name: str, device: Any) -> dict[str, tuple[float, float]]:
    """Return the cycles and the bytes of each step over those of optax's.

    The compiler for TPUs estimates the cycles. The estimate counts the arithmetic of a loop, and
    not that of an update inside a matrix product, so the bytes of main memory stand beside it.
    """
    sharding = SingleDeviceSharding(device)
    counts = {}
    for column, transform in transforms_of(name).items():
        params = parameters()
        arguments = (params, jax.eval_shape(transform.init, params), *batch())
        shapes = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), arguments
        )
        program = step_of(transform).lower(*shapes).compile().as_text()
        counts[column] = np.array([cycles(program), moved(program)])
    ratios = {column: count / counts["optax"] for column, count in counts.items()}
    ratios["over_guarded"] = counts["skip"] / counts["apply_if_finite"]
    return {column: tuple(ratio.tolist()) for column, ratio in ratios.items()}


def results_table(measured: Mapping[str, Mapping[str, Any]], options: "Options") -> CostTable:
    """Return the table of the ratios."""
    columns = (*POLICIES, "apply_if_finite", "over_guarded")
    where = (
        "cycles of the TPU compiler (bytes moved)"
        if options.tpu
        else f"time on {os.cpu_count()} cores"
    )

    def cell(ratio: float | tuple[float, float]) -> str:
        return "{:.2f} ({:.2f})".format(*ratio) if isinstance(ratio, tuple) else f"{ratio:.2f}"

    return CostTable(
        title=f"Whole step over optax's, {where}",
        command="python -m benchmarks nonfinite-cost" + " --tpu" * options.tpu,
        caption="over_guarded: skip over optax.apply_if_finite around optax's method",
        columns=["method", *columns],
        rows=[[name, *(cell(row[key]) for key in columns)] for name, row in measured.items()],
        versions=versions("jax", "optax"),
    )


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    tpu: bool = False
    """Whether to compile for a TPU instead of measuring on this machine."""
    rounds: int = 60
    """Number of timings of every step."""
    methods: tuple[str, ...] = tuple(METHODS)
    """Names of the methods."""
    out: Path = RESULTS
    """Folder of the JSON file with the table."""


def run(options: Options, console: Console) -> None:
    """Measure the ratios, print the table and write it."""
    if options.tpu:
        topology = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x4")
        measure = partial(tpu_ratios, device=topology.devices[0])
    else:
        measure = partial(time_ratios, rounds=options.rounds)
    measured: dict[str, Mapping[str, Any]] = {}
    for name in options.methods:
        measured[name] = measure(name)
        console.print(name, measured[name])
    table = results_table(measured, options)
    console.print(table.render())
    table.write(options.out / ("nonfinite-cost-tpu.json" if options.tpu else "nonfinite-cost.json"))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; `arguments` defaults to `sys.argv[1:]`."""
    run(read_options(Options, "nonfinite-cost", arguments), Console())
