"""Cost of every adaptive method and of its counterpart in optax: `python -m benchmarks cost`.

Measures the time of one update of a transformer's parameters on this machine, relative to optax's
Adam. With `--tpu`, compiles the same update ahead of time for TPUs; this needs the compiler
(`pip install -e ".[bench,tpu]"`) but no TPU. With `--quality`, trains with the options that make
the state smaller.
"""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.progress import track
from rich.table import Table

import lrsched
from benchmarks.costs import REFERENCE, interleaved_seconds, twin
from benchmarks.options import read_options
from benchmarks.policies import adam
from benchmarks.report.measured import of_transforms
from benchmarks.runs import run_of
from benchmarks.store import PACKAGES, RESULTS, versions, write_json
from benchmarks.traffic import collectives, cycles, kernels, least, moved, size
from benchmarks.workloads import WORKLOADS
from lrsched import tuning

Transform: TypeAlias = optax.GradientTransformation | optax.GradientTransformationExtraArgs
Cost: TypeAlias = dict[str, Any]
"""Measurements of one transform, by name."""

ADAM = adam(1e-3)
LRSCHED: dict[str, Transform] = {
    "adam": ADAM,
    "reduce_on_plateau(adam)": optax.chain(ADAM, lrsched.reduce_on_plateau()),
    "prodigy": lrsched.prodigy(),
    "prodigy(slice_p=11)": lrsched.prodigy(slice_p=11),
    'prodigy(slice_p=8, slice_by="row")': lrsched.prodigy(slice_p=8, slice_by="row"),
    "prodigy(state_dtype=bfloat16)": lrsched.prodigy(state_dtype=jnp.bfloat16),
    "dadapt_adamw": lrsched.dadapt_adamw(),
    "dadapt_sgd": lrsched.dadapt_sgd(),
    "dadapt_adagrad": lrsched.dadapt_adagrad(),
    "dadapt_lion": lrsched.dadapt_lion(),
    "dog": lrsched.dog(),
    "ldog": lrsched.ldog(),
    "dowg": lrsched.dowg(),
    "mechanize(adam)": lrsched.mechanize(ADAM),
    "momo": lrsched.momo(),
    "momo_adam": lrsched.momo_adam(),
    "polyak": lrsched.polyak(),
    "alig": lrsched.alig(),
    "adagrad_norm": lrsched.adagrad_norm(1.0),
    "hypergradient(adam)": lrsched.hypergradient(optax.scale_by_adam()),
    "hdm": lrsched.hdm(),
    "cocob": lrsched.cocob(),
    "kt": lrsched.kt(),
    "schedule_free(adam)": lrsched.schedule_free(ADAM),
    "schedule_free_sgd": lrsched.schedule_free_sgd(),
    "schedule_free_adamw": lrsched.schedule_free_adamw(),
    "schedule_free_radam": lrsched.schedule_free_radam(),
    "schedule_free_plus": lrsched.schedule_free_plus(),
}
OPTAX: dict[str, Transform] = {
    "adam": optax.adam(1e-3),
    "reduce_on_plateau": optax.chain(optax.adam(1e-3), optax.contrib.reduce_on_plateau()),
    "prodigy": optax.contrib.prodigy(),
    "dadapt_adamw": optax.contrib.dadapt_adamw(),
    "dog": optax.contrib.dog(),
    "dowg": optax.contrib.dowg(),
    "mechanize": optax.contrib.mechanize(optax.adam(1e-3)),
    "momo": optax.contrib.momo(),
    "momo_adam": optax.contrib.momo_adam(),
    "polyak": optax.polyak_sgd(),
    "cocob": optax.contrib.cocob(),
    "schedule_free": optax.contrib.schedule_free(optax.adam(1e-3), 1e-3),
    "schedule_free_sgd": optax.contrib.schedule_free_sgd(),
    "schedule_free_adamw": optax.contrib.schedule_free_adamw(),
}
TRANSFORMS = LRSCHED | {f"optax {name}": transform for name, transform in OPTAX.items()}
TOPOLOGIES = ("v5e:2x4", "v5p:4x4x4")


def shapes(width: int = 256, blocks: int = 6) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the parameters of a transformer; by default 50 arrays with 5.3 million entries.

    Args:
      width: Width of the model.
      blocks: Number of transformer blocks.

    Returns:
      A dict of float32 `jax.ShapeDtypeStruct`.
    """
    block = {
        "norm": (width,),
        "attention": (width, 3 * width),
        "attention bias": (3 * width,),
        "projection": (width, width),
        "up": (width, 4 * width),
        "up bias": (4 * width,),
        "down": (4 * width, width),
        "down bias": (width,),
    }
    arrays = {f"{i} {name}": shape for i in range(blocks) for name, shape in block.items()}
    arrays |= {"embedding": (8 * width, width), "norm": (width,)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in arrays.items()}


def step_of(transform: Transform) -> Callable[..., tuple[optax.Params, optax.OptState]]:
    """Return the function ``(params, state, gradients, value) -> (params, state)``."""
    update = optax.with_extra_args_support(transform).update

    def step(params: Any, state: Any, gradients: Any, value: Any) -> tuple[Any, Any]:
        updates, state = update(gradients, state, params, value=value)
        return optax.apply_updates(params, updates), state

    return step


def arguments_of(transform: Transform, params: Any) -> tuple[Any, ...]:
    """Return the shapes and dtypes of the arguments of a step (see `step_of`)."""
    state = jax.eval_shape(transform.init, params)
    return params, state, params, jax.ShapeDtypeStruct((), jnp.float32)


def compiled(transform: Transform, params: Any, devices: Sequence[Any] = ()) -> Any:
    """Return the compiled step, with all arrays sharded over the devices along their first axis.

    Scalars, arrays of at most 8 numbers (the record of edits has 7 and 8), and arrays whose first
    axis is not divisible by the number of devices are replicated.

    Args:
      transform: Transform of the step.
      params: Shapes and dtypes of the parameters.
      devices: Devices of the mesh. Defaults to the first device.
    """
    arguments = arguments_of(transform, params)
    mesh = Mesh(np.array(devices or jax.devices()[:1]), ("data",))

    def sharding(leaf: Any) -> NamedSharding:
        is_divided = leaf.ndim and leaf.shape[0] % mesh.size == 0 and leaf.size > 8
        return NamedSharding(mesh, PartitionSpec("data") if is_divided else PartitionSpec())

    def sharded(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding(leaf))

    results = jax.tree.map(sharding, arguments[:2])
    step = jax.jit(step_of(transform), donate_argnums=(0, 1), out_shardings=results)
    return step.lower(*jax.tree.map(sharded, arguments)).compile()


def state_size(transform: Transform, params: Any) -> float:
    """Return the size of the state, as a multiple of the size of the parameters."""
    return size(jax.eval_shape(transform.init, params)) / size(params)


def collectives_of(name: str, width: int = 256, devices: int = 8) -> Cost:
    """Count the collectives of a step over several CPU devices.

    Must run in a new process, as the number of CPU devices cannot change later.
    """
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    program = compiled(TRANSFORMS[name], shapes(width), jax.devices())
    return collectives(program.as_text())


def ratios(programs: Mapping[str, Any], params: Any, rounds: int) -> dict[str, list[float]]:
    """Return the quartiles of the update time over that of `REFERENCE` in the same round.

    Each round runs every program once, in a random order.
    """
    random = np.random.default_rng(0)
    value = jnp.ones([], jnp.float32)
    arrays = {k: random.normal(0, 0.02, p.shape).astype(p.dtype) for k, p in params.items()}
    gradients = jax.tree.map(lambda p: jnp.array(p / 100), arrays)
    # Each program donates its carry, so each needs its own copy of the parameters.
    carries = {
        name: (copy := jax.tree.map(jnp.array, arrays), jax.jit(TRANSFORMS[name].init)(copy))
        for name in programs
    }
    seconds = interleaved_seconds(
        programs, carries, (gradients, value), track(range(rounds), "time"), random
    )
    return {
        name: np.quantile(times / seconds[REFERENCE], [0.25, 0.5, 0.75]).tolist()
        for name, times in seconds.items()
    }


def on_tpu(name: str, topology: str) -> Cost:
    """Compile the step ahead of time for a TPU topology and count its traffic and collectives.

    Returns:
      "copies_moved" and "least", the traffic and its lower bound in copies of the parameters;
      "cycles", the estimate of the compiler; and the numbers of collectives.
    """
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    params = shapes(width=4096, blocks=2)
    program = compiled(TRANSFORMS[name], params, devices).as_text()
    transform = TRANSFORMS[name]
    lower_bound = least(step_of(transform), *arguments_of(transform, params)) / size(params)
    copies = moved(program) * len(devices) / size(params)
    return {
        "copies_moved": copies,
        "least": lower_bound,
        "cycles": cycles(program),
        **collectives(program),
    }


def on_this_machine(names: Sequence[str], rounds: int) -> dict[str, Cost]:
    """Measure time, kernels, state, memory traffic and collectives (over 8 devices)."""
    params = shapes()
    programs = {name: compiled(TRANSFORMS[name], params) for name in track(names, "compile")}
    times = ratios(programs, params, rounds)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        counts = dict(zip(names, track(pool.map(collectives_of, names), "shard"), strict=True))
    return {
        name: {
            "time_ratio": times[name],
            "kernels": kernels(programs[name].as_text()),
            "state": state_size(TRANSFORMS[name], params),
            "bytes": programs[name].cost_analysis()["bytes accessed"] / size(params),
            **counts[name],
        }
        for name in names
    }


NARROW: dict[str, tuple[Callable[..., Transform], float]] = {
    "prodigy": (lrsched.prodigy, 1.0),
    "prodigy(slice_p=11)": (partial(lrsched.prodigy, slice_p=11), 1.0),
    'prodigy(slice_p=8, slice_by="row")': (
        partial(lrsched.prodigy, slice_p=8, slice_by="row"),
        1.0,
    ),
    "prodigy(state_dtype=bfloat16)": (partial(lrsched.prodigy, state_dtype=jnp.bfloat16), 1.0),
    "adam": (adam, WORKLOADS["digits-mlp"].around),
}


def quality(console: Console, seeds: int) -> None:
    """Train on digits with the options that make Prodigy's state smaller, and with Adam."""
    workload = WORKLOADS["digits-mlp"]
    data, steps = workload.data(), workload.steps
    results = Table(
        *("optimizer", "state / parameters", "validation loss", "validation metric"),
        title=f"{workload.title}: {steps} updates of half a cosine, {seeds} seeds",
    )
    for name, (optimizer, rate) in NARROW.items():
        run = run_of(workload, data, optimizer)
        rows = tuning.sweep(run, [lrsched.cosine(rate, steps)], seeds=seeds, progress=False).table
        results.add_row(
            name,
            f"{state_size(optimizer(rate), shapes()):.2f}",
            *(f"{rows[key].mean():.4f} ± {rows[key].std():.4f}" for key in ("loss", "metric")),
        )
    console.print(results)


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    tpu: bool = False
    """Whether to compile for TPUs instead of measuring on this machine."""
    quality: bool = False
    """Whether to train with a smaller state instead of measuring the cost."""
    rounds: int = 60
    """Number of timed updates of every transform."""
    seeds: int = 5
    """Number of runs of each optimizer with `--quality`."""
    transforms: tuple[str, ...] = tuple(LRSCHED)
    """Names of the transforms of lrsched. Their counterparts in optax are added."""
    out: Path = RESULTS
    """Folder of the JSON file with the numbers."""


def run(options: Options, console: Console) -> None:
    """Measure the costs, print the tables and write the numbers."""
    if options.quality:
        quality(console, options.seeds)
        return
    twins = [twin(name) for name in options.transforms if twin(name) in TRANSFORMS]
    names = list(dict.fromkeys([*options.transforms, *twins, REFERENCE]))
    if options.tpu:
        costs = {
            topology: {name: on_tpu(name, topology) for name in track(names, topology)}
            for topology in TOPOLOGIES
        }
    else:
        costs = {f"this machine, {os.cpu_count()} cores": on_this_machine(names, options.rounds)}
    record = {
        "versions": versions(*PACKAGES[:5]),
        "platform": platform.platform(),
        "costs": costs,
    }
    for each in of_transforms(record):
        console.print(each.render())
    file = options.out / ("cost-tpu.json" if options.tpu else "cost.json")
    write_json(file, record)
    console.print(f"Wrote {file}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; `arguments` defaults to `sys.argv[1:]`."""
    run(read_options(Options, "cost", arguments), Console())
