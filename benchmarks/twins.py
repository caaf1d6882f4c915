"""Ours beside the peers': the same weights, the same mini-batches: `python -m benchmarks twins`.

An MLP on digits is trained by optax's and PyTorch's schedules and optimizers, and by their
counterparts here; the two curves of the training loss must overlay. It is done in float64, as the
rounding of float32 grows in training; our rates are float32 there as well. PyTorch's rows come with
it: ``pip install torch``.
"""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro
from flax import nnx
from rich.console import Console

import lrsched
from benchmarks.costs import CostTable
from benchmarks.policies import Optimizer, adam
from benchmarks.runs import run_of
from benchmarks.store import RESULTS
from benchmarks.workloads.base import Data, Split
from benchmarks.workloads.digits_mlp import WORKLOAD, mlp
from lrsched import tuning
from lrsched.compat import optax as from_optax
from lrsched.compat import torch as from_torch

RATE, STEPS = 3e-3, 400

Scheduler: TypeAlias = Callable[[Any], Any]
"""``torch optimizer -> torch scheduler``."""


@dataclass(frozen=True)
class Twin:
    """A name, ours, and the peer's that it must follow."""

    name: str
    ours: Optimizer
    theirs: Optimizer


def at(schedule: Any) -> Optimizer:
    """Adam at this schedule, whichever is asked for."""
    return lambda _: adam(schedule)


def optax_at(schedule: Any) -> Optimizer:
    """Optax's Adam at a schedule of optax's."""
    return lambda _: optax.adam(schedule)


def always(transform: optax.GradientTransformation) -> Optimizer:
    """A transform that has its rate already."""
    return lambda _: transform


CYCLES = [{"init_value": 0.0, "peak_value": RATE, "warmup_steps": 10, "decay_steps": 100}] * 4
OPTAX = (
    Twin(
        "warmup_cosine_decay_schedule",
        at(from_optax.warmup_cosine_decay_schedule(0.0, RATE, 20, STEPS)),
        optax_at(optax.warmup_cosine_decay_schedule(0.0, RATE, 20, STEPS)),
    ),
    Twin(
        "cosine_onecycle_schedule",
        at(from_optax.cosine_onecycle_schedule(STEPS, RATE)),
        optax_at(optax.cosine_onecycle_schedule(STEPS, RATE)),
    ),
    Twin(
        "sgdr_schedule",
        at(from_optax.sgdr_schedule(CYCLES)),
        optax_at(optax.sgdr_schedule(CYCLES)),
    ),
    Twin(
        "contrib.reduce_on_plateau",
        lambda _: optax.chain(adam(RATE), lrsched.reduce_on_plateau(0.5, 5, accumulation_size=10)),
        lambda _: optax.chain(
            optax.adam(RATE), optax.contrib.reduce_on_plateau(0.5, 5, accumulation_size=10)
        ),
    ),
    Twin(
        "contrib.prodigy",
        always(lrsched.prodigy(bias_correction=True)),
        always(optax.contrib.prodigy()),
    ),
    Twin(
        "contrib.dadapt_adamw",
        always(lrsched.dadapt_adamw(bias_correction=True)),
        always(optax.contrib.dadapt_adamw()),
    ),
    Twin("contrib.dog", always(lrsched.dog()), always(optax.contrib.dog())),
    Twin(
        "contrib.mechanize",
        lambda _: lrsched.mechanize(adam(RATE)),
        lambda _: optax.contrib.mechanize(optax.adam(RATE)),
    ),
    Twin(
        "contrib.schedule_free_adamw",
        always(lrsched.schedule_free_adamw(RATE)),
        always(optax.contrib.schedule_free_adamw(RATE)),
    ),
)
TORCH: dict[str, dict[str, Any]] = {
    "StepLR": {"step_size": 100, "gamma": 0.1},
    "MultiStepLR": {"milestones": [150, 300], "gamma": 0.1},
    "ExponentialLR": {"gamma": 0.99},
    "LinearLR": {"start_factor": 1.0, "end_factor": 0.0, "total_iters": STEPS},
    "CosineAnnealingLR": {"T_max": STEPS},
    "CosineAnnealingWarmRestarts": {"T_0": 100},
    "CyclicLR": {"base_lr": RATE / 10, "max_lr": RATE, "step_size_up": 50},
    "OneCycleLR": {"max_lr": RATE, "total_steps": STEPS},
    "ReduceLROnPlateau": {"factor": 0.5, "patience": 20},
}
"""Of PyTorch's schedulers, the arguments that both are given."""


def model(rngs: nnx.Rngs) -> nnx.Module:
    """The MLP on digits, its weights NumPy's, so that no version of Flax changes them."""
    made, random = mlp(rngs), np.random.default_rng(0)
    for layer in made.layers:  # type: ignore[attr-defined]
        if isinstance(layer, nnx.Linear):
            fan_in, fan_out = layer.kernel.shape
            kernel = random.normal(size=(fan_in, fan_out)) / fan_in**0.5
            layer.kernel = nnx.Param(jnp.asarray(kernel))
            layer.bias = nnx.Param(jnp.zeros(fan_out))
    return made


def run_under(optimizer: Optimizer) -> tuning.Training:
    """The training run under an optimizer, in float64 where that is enabled."""
    data = WORKLOAD.data()
    parts = (Split(np.asarray(part.inputs, np.float64), part.targets) for part in data)
    return run_of(WORKLOAD, Data(*parts), optimizer, model)


def losses(optimizer: Optimizer, steps: int = STEPS) -> np.ndarray:
    """The training loss before each update, ``(steps,)``."""
    run = run_under(optimizer)

    @jax.jit
    def all_of_it(order: jax.Array) -> jax.Array:
        def update(state: Any, step: jax.Array) -> tuple[Any, jax.Array]:
            return run.step(state, run.batch(run.data, order, step))

        state = run.init(lrsched.constant(RATE), jax.random.key(0))
        losses: jax.Array = jax.lax.scan(update, state, jnp.arange(steps))[1]
        return losses

    return np.asarray(all_of_it(jax.random.key(1)))


@functools.cache
def batches(steps: int) -> tuple[np.ndarray, ...]:
    """All mini-batches, in the order of the updates."""
    run = run_under(adam)
    one = partial(run.batch, run.data, jax.random.key(1))
    return tuple(map(np.asarray, jax.jit(jax.vmap(one))(jnp.arange(steps))))


def torch_losses(scheduler: Scheduler | None, steps: int = STEPS) -> np.ndarray:
    """The same of PyTorch's Adam under a scheduler of its own, or at a constant rate."""
    import torch

    weights = [np.asarray(x) for x in jax.tree.leaves(nnx.state(model(nnx.Rngs(0)), nnx.Param))]
    layers = []
    for bias, kernel in zip(weights[::2], weights[1::2], strict=True):
        layer = torch.nn.Linear(*kernel.shape, dtype=torch.tensor(kernel).dtype)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor(kernel.T))
            layer.bias.copy_(torch.tensor(bias))
        layers += [layer, torch.nn.ReLU()]
    network = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    follows = scheduler(optimizer) if scheduler else None
    found = []
    for batch in zip(*batches(steps), strict=True):
        inputs, targets = map(torch.tensor, batch)
        loss = torch.nn.functional.cross_entropy(network(inputs), targets.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
        if isinstance(follows, torch.optim.lr_scheduler.ReduceLROnPlateau):
            follows.step(loss.item())
        elif follows:
            follows.step()
    return np.array(found)


def torch_scheduler(name: str) -> Scheduler:
    """PyTorch's scheduler with the arguments of `TORCH`; none of them moves the momentum."""
    import torch

    fixed = {"cycle_momentum": False} if name in ("CyclicLR", "OneCycleLR") else {}
    factory = getattr(torch.optim.lr_scheduler, name)
    return lambda optimizer: factory(optimizer, **TORCH[name], **fixed)


def like_torch(name: str) -> Optimizer:
    """The same of ours."""
    own_rate = name in ("CyclicLR", "OneCycleLR")
    made = getattr(from_torch, name)(*(() if own_rate else (RATE,)), **TORCH[name])
    if isinstance(made, lrsched.Schedule):
        return at(made)
    return lambda _: told_afterwards(optax.chain(adam(RATE), made))


def told_afterwards(transform: Any) -> optax.GradientTransformationExtraArgs:
    """Hands the loss on after the update, as ``optimizer.step(); scheduler.step(loss)`` does."""

    def update(gradients: Any, state: Any, params: Any = None, *, value: Any) -> tuple[Any, Any]:
        updates, state = transform.update(gradients, state, params)
        return updates, lrsched.observe(state, value=value)

    return optax.GradientTransformationExtraArgs(transform.init, update)


def apart(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    """The greatest difference over the mean loss: in the first hundred updates, and in all."""
    differences = np.abs(ours - theirs) / theirs.mean()
    return float(differences[:100].max()), float(differences.max())


@dataclass(frozen=True)
class Options:
    """How much to compare."""

    steps: int = STEPS
    """Updates."""
    out: Path = RESULTS / "twins.json"
    """The table's numbers; the curves go beside it."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Trains every pair, and prints how far they are apart."""
    options = tyro.cli(Options, prog="python -m benchmarks twins", args=arguments)
    jax.config.update("jax_enable_x64", True)
    console, steps = Console(), options.steps
    rows, curves = [], {}

    def compare(peer: str, name: str, ours: np.ndarray, theirs: np.ndarray) -> None:
        early, whole = apart(ours, theirs)
        curves[f"{peer} {name}"] = {"ours": ours.tolist(), "theirs": theirs.tolist()}
        rows.append([peer, name, f"{early:.1e}", f"{whole:.1e}"])

    for twin in OPTAX:
        compare("optax", twin.name, losses(twin.ours, steps), losses(twin.theirs, steps))
    versions = {name: version(name) for name in ("jax", "optax")}
    if find_spec("torch"):
        versions["torch"] = version("torch")
        compare("torch", "constant rate", losses(at(RATE), steps), torch_losses(None, steps))
        for name in TORCH:
            theirs = torch_losses(torch_scheduler(name), steps)
            compare("torch", name, losses(like_torch(name), steps), theirs)
    table = CostTable(
        title="Ours beside the peers', same weights and batches",
        command="python -m benchmarks twins",
        caption=f"MLP on digits, Adam at {RATE:g}, {steps} updates in float64: the greatest "
        "difference of the training losses over their mean. Optax's mechanize has other numbers by "
        "design; the docstring of ours says which.",
        columns=["peer", "theirs", "first 100 updates", f"all {steps}"],
        rows=rows,
        versions=versions,
    )
    console.print(table.shown())
    table.write(options.out)
    options.out.with_suffix(".curves.json").write_text(json.dumps(curves))


if __name__ == "__main__":
    main()
