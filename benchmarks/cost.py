"""What every adaptive method costs, beside optax's counterpart: `python -m benchmarks.cost`.

It measures one update of a transformer's parameters on this machine, in ratio to optax's Adam.
`--tpu` compiles the same update for TPUs instead, which needs none: `pip install -e ".[bench,tpu]"`
brings the compiler. `--quality` trains with the options that make the state smaller.
"""

import importlib.metadata
import json
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
import tyro
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from rich.console import Console
from rich.progress import track
from rich.table import Table

import lrsched
from benchmarks.costs import interleaved_seconds, shown
from benchmarks.policies import adam
from benchmarks.runs import run_of
from benchmarks.store import PACKAGES
from benchmarks.traffic import collectives, cycles, least, moved, size
from benchmarks.workloads import WORKLOADS
from lrsched import tuning

Transform: TypeAlias = optax.GradientTransformation | optax.GradientTransformationExtraArgs
Cost: TypeAlias = dict[str, Any]
"""What was found out about one transform, by the name of what it is."""

ADAM = adam(1e-3)
OURS: dict[str, Transform] = {
    "adam": ADAM,
    "reduce_on_plateau(adam)": optax.chain(ADAM, lrsched.reduce_on_plateau()),
    "prodigy": lrsched.prodigy(),
    "prodigy(slice_p=11)": lrsched.prodigy(slice_p=11),
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
TRANSFORMS = OURS | {f"optax {name}": transform for name, transform in OPTAX.items()}
REFERENCE = "optax adam"
TOPOLOGIES = ("v5e:2x4", "v5p:4x4x4")


def twin(name: str) -> str:
    """The name in `TRANSFORMS` of optax's counterpart, whether there is one or not."""
    return "optax " + name.partition("(")[0]


def shapes(width: int = 256, blocks: int = 6) -> dict[str, jax.ShapeDtypeStruct]:
    """The parameters of a transformer: 50 arrays, 5.3 million numbers by default."""
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
    every = {f"{i} {name}": shape for i in range(blocks) for name, shape in block.items()}
    every |= {"embedding": (8 * width, width), "norm": (width,)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in every.items()}


def step_of(transform: Transform) -> Callable[..., tuple[optax.Params, optax.OptState]]:
    """One update with given gradients and a given loss."""
    update = optax.with_extra_args_support(transform).update

    def step(params: Any, state: Any, gradients: Any, value: Any) -> tuple[Any, Any]:
        updates, state = update(gradients, state, params, value=value)
        return optax.apply_updates(params, updates), state

    return step


def arguments_of(transform: Transform, params: Any) -> tuple[Any, ...]:
    """What describes the parameters, the state, the gradients and the loss of a step."""
    state = jax.eval_shape(transform.init, params)
    return params, state, params, jax.ShapeDtypeStruct((), jnp.float32)


def compiled(transform: Transform, params: Any, devices: Sequence[Any] = ()) -> Any:
    """The step compiled for one device, or for several with every array in as many equal parts.

    What cannot be divided by its first axis is on all devices: scalars, every 11th parameter.
    """
    given = arguments_of(transform, params)
    mesh = Mesh(np.array(devices or jax.devices()[:1]), ("data",))

    def sharding(leaf: Any) -> NamedSharding:
        is_divided = leaf.ndim and leaf.shape[0] % mesh.size == 0
        return NamedSharding(mesh, PartitionSpec("data") if is_divided else PartitionSpec())

    def sharded(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding(leaf))

    results = jax.tree.map(sharding, given[:2])
    step = jax.jit(step_of(transform), donate_argnums=(0, 1), out_shardings=results)
    return step.lower(*jax.tree.map(sharded, given)).compile()


def state_size(transform: Transform, params: Any) -> float:
    """The state's bytes in multiples of the parameters'."""
    return size(jax.eval_shape(transform.init, params)) / size(params)


def collectives_of(name: str, width: int = 256, devices: int = 8) -> Cost:
    """The same of a transform on several of the host's devices, in a process of its own."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    program = compiled(TRANSFORMS[name], shapes(width), jax.devices())
    return collectives(program.as_text())


def ratios(programs: Mapping[str, Any], params: Any, rounds: int) -> dict[str, list[float]]:
    """Quartiles of the time of an update over that of `REFERENCE` in the same round.

    A round runs every program once, in an order of its own.
    """
    random = np.random.default_rng(0)
    value = jnp.ones([], jnp.float32)
    arrays = {k: random.normal(0, 0.02, p.shape).astype(p.dtype) for k, p in params.items()}
    gradients = jax.tree.map(lambda p: jnp.array(p / 100), arrays)
    carries = {
        name: (own := jax.tree.map(jnp.array, arrays), jax.jit(TRANSFORMS[name].init)(own))
        for name in programs
    }
    seconds = interleaved_seconds(
        programs, carries, (gradients, value), track(range(rounds), "time"), random
    )
    return {
        name: np.quantile(own / seconds[REFERENCE], [0.25, 0.5, 0.75]).tolist()
        for name, own in seconds.items()
    }


def on_tpu(name: str, topology: str) -> Cost:
    """The same step compiled ahead of time for so many TPUs, with no TPU here."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    params = shapes(width=4096, blocks=2)
    program = compiled(TRANSFORMS[name], params, devices).as_text()
    transform = TRANSFORMS[name]
    goal = least(step_of(transform), *arguments_of(transform, params)) / size(params)
    copies = moved(program) * len(devices) / size(params)
    return {
        "copies_moved": copies,
        "least": goal,
        "cycles": cycles(program),
        **collectives(program),
    }


def on_this_machine(names: Sequence[str], rounds: int) -> dict[str, Cost]:
    """Time, state and bytes of each transform here, and its all-reduces over 8 devices."""
    params = shapes()
    programs = {name: compiled(TRANSFORMS[name], params) for name in track(names, "compile")}
    times = ratios(programs, params, rounds)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        waits = dict(zip(names, track(pool.map(collectives_of, names), "shard"), strict=True))
    return {
        name: {
            "time_ratio": times[name],
            "state": state_size(TRANSFORMS[name], params),
            "bytes": programs[name].cost_analysis()["bytes accessed"] / size(params),
            **waits[name],
        }
        for name in names
    }


NARROW: dict[str, tuple[Callable[..., Transform], float]] = {
    "prodigy": (lrsched.prodigy, 1.0),
    "prodigy(slice_p=11)": (partial(lrsched.prodigy, slice_p=11), 1.0),
    "prodigy(state_dtype=bfloat16)": (partial(lrsched.prodigy, state_dtype=jnp.bfloat16), 1.0),
    "adam": (adam, WORKLOADS["digits-mlp"].around),
}


def quality(console: Console, seeds: int) -> None:
    """Trains the digits with the options that make Prodigy's state smaller, and Adam beside it."""
    workload = WORKLOADS["digits-mlp"]
    data, steps = workload.data(), workload.steps
    found = Table(title=f"{workload.title}: {steps} updates of half a cosine, {seeds} seeds")
    for heading in ("optimizer", "state / parameters", "validation loss", "validation metric"):
        found.add_column(heading)
    for name, (optimizer, rate) in NARROW.items():
        run = run_of(workload, data, optimizer)
        rows = tuning.sweep(run, [lrsched.cosine(rate, steps)], seeds=seeds, progress=False).table
        found.add_row(
            name,
            f"{state_size(optimizer(rate), shapes()):.2f}",
            *(f"{rows[key].mean():.4f} ± {rows[key].std():.4f}" for key in ("loss", "metric")),
        )
    console.print(found)


def table(title: str, costs: Mapping[str, Cost]) -> Table:
    """One row for each of ours, optax's numbers beside."""
    result = Table(title=title)
    columns = [key for key in costs[REFERENCE] if key != "other_collectives"]
    result.add_column("transform", no_wrap=True)
    for column in columns:
        result.add_column(column.replace("_", " "), justify="right")
        if column != "least":  # of a step that writes nothing before its sums, as ours
            result.add_column("optax", justify="right")
    for name in [name for name in OURS if name in costs]:
        theirs = costs.get(twin(name), {})
        cells = [
            shown(known.get(key))
            for key in columns
            for known in ((costs[name],) if key == "least" else (costs[name], theirs))
        ]
        result.add_row(name, *cells)
    return result


@dataclass(frozen=True)
class Options:
    """What to measure, and where to write it."""

    tpu: bool = False
    """Compile for TPUs rather than measure here."""
    quality: bool = False
    """Train with a smaller state rather than measure here."""
    rounds: int = 60
    """How often every update is timed."""
    seeds: int = 5
    """Runs of each optimizer with `--quality`."""
    transforms: tuple[str, ...] = tuple(OURS)
    """Which of ours; optax's counterparts come with them."""
    out: Path = Path(__file__).parent / "results"
    """Where the numbers go, as JSON."""


def run(options: Options, console: Console) -> None:
    """Measures, shows the tables and writes the numbers."""
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
    for title, found in costs.items():
        console.print(table(title, found))
    versions = {name: importlib.metadata.version(name) for name in PACKAGES[:5]}
    record = {"versions": versions, "platform": platform.platform(), "costs": costs}
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / ("cost-tpu.json" if options.tpu else "cost.json")
    file.write_text(json.dumps(record, indent=1))
    console.print(f"Wrote {file}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line; `arguments` stands for `sys.argv[1:]`."""
    options = tyro.cli(
        Options, prog="python -m benchmarks.cost", description=__doc__, args=arguments
    )
    run(options, Console())


if __name__ == "__main__":
    main()
