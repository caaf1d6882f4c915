"""Loss curves of lrsched, optax and PyTorch from the same weights: `python -m benchmarks twins`.

Trains an MLP on digits with schedules and optimizers of optax and PyTorch, and with their
counterparts in lrsched, on the same mini-batches. The two curves of the training loss must agree.
Training is in float64, as rounding errors of float32 grow over a run; the rates of lrsched stay
float32. The rows of PyTorch need `pip install torch`.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console

import lrsched
from benchmarks.costs import CostTable
from benchmarks.options import read_options
from benchmarks.policies import Optimizer, adam
from benchmarks.runs import run_of
from benchmarks.store import RESULTS, versions, write_json
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
    """Pair of an optimizer of another library and its counterpart in lrsched.

    Attributes:
      name: Name in the other library.
      port: Factory of the counterpart in lrsched.
      original: Factory of the original.
    """

    name: str
    port: Optimizer
    original: Optimizer


def with_adam(schedule: Any) -> Optimizer:
    """Return a factory of Adam with this schedule; the factory ignores its argument."""
    return lambda _: adam(schedule)


def with_optax_adam(schedule: Any) -> Optimizer:
    """Return a factory of optax's Adam with this schedule of optax."""
    return lambda _: optax.adam(schedule)


def fixed(transform: optax.GradientTransformation) -> Optimizer:
    """Return a factory of a transform that already has its rate."""
    return lambda _: transform


CYCLES = [{"init_value": 0.0, "peak_value": RATE, "warmup_steps": 10, "decay_steps": 100}] * 4
SCHEDULES: dict[str, tuple[Any, ...]] = {
    "warmup_cosine_decay_schedule": (0.0, RATE, 20, STEPS),
    "cosine_onecycle_schedule": (STEPS, RATE),
    "sgdr_schedule": (CYCLES,),
}
"""Arguments of each schedule of optax and of its port."""
OPTAX = (
    *(
        Twin(
            name,
            with_adam(getattr(from_optax, name)(*arguments)),
            with_optax_adam(getattr(optax, name)(*arguments)),
        )
        for name, arguments in SCHEDULES.items()
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
        fixed(lrsched.prodigy(bias_correction=True)),
        fixed(optax.contrib.prodigy()),
    ),
    Twin(
        "contrib.dadapt_adamw",
        fixed(lrsched.dadapt_adamw(bias_correction=True)),
        fixed(optax.contrib.dadapt_adamw()),
    ),
    Twin("contrib.dog", fixed(lrsched.dog()), fixed(optax.contrib.dog())),
    Twin(
        "contrib.mechanize",
        lambda _: lrsched.mechanize(adam(RATE)),
        lambda _: optax.contrib.mechanize(optax.adam(RATE)),
    ),
    Twin(
        "contrib.schedule_free_adamw",
        fixed(lrsched.schedule_free_adamw(RATE)),
        fixed(optax.contrib.schedule_free_adamw(RATE)),
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
"""Arguments of each scheduler of PyTorch and of its port."""


def model(rngs: nnx.Rngs) -> nnx.Module:
    """Return the MLP on digits with weights from NumPy, which do not depend on Flax's version."""
    network, random = mlp(rngs), np.random.default_rng(0)
    for layer in network.layers:  # type: ignore[attr-defined]
        if isinstance(layer, nnx.Linear):
            fan_in, fan_out = layer.kernel.shape
            kernel = random.normal(size=(fan_in, fan_out)) / fan_in**0.5
            layer.kernel = nnx.Param(jnp.asarray(kernel))
            layer.bias = nnx.Param(jnp.zeros(fan_out))
    return network


def run_under(optimizer: Optimizer) -> tuning.Training:
    """Return the training with an optimizer; the inputs are float64 if JAX enables it."""
    data = WORKLOAD.data()
    splits = (Split(np.asarray(split.inputs, np.float64), split.targets) for split in data)
    return run_of(WORKLOAD, Data(*splits), optimizer, model)


def losses(optimizer: Optimizer, steps: int = STEPS) -> np.ndarray:
    """Train with an optimizer and return the loss before each update, of shape ``(steps,)``."""
    run = run_under(optimizer)

    @jax.jit
    def train(data_key: jax.Array) -> jax.Array:
        def update(state: Any, step: jax.Array) -> tuple[Any, jax.Array]:
            return run.step(state, run.batch(run.data, data_key, step))

        state = run.init(lrsched.constant(RATE), jax.random.key(0))
        losses: jax.Array = jax.lax.scan(update, state, jnp.arange(steps))[1]
        return losses

    return np.asarray(train(jax.random.key(1)))


@functools.cache
def batches(steps: int) -> tuple[np.ndarray, ...]:
    """Return the mini-batches of `losses`: inputs and targets of shape ``(steps, batch, ...)``."""
    run = run_under(adam)
    batch = partial(run.batch, run.data, jax.random.key(1))
    return tuple(map(np.asarray, jax.jit(jax.vmap(batch))(jnp.arange(steps))))


def torch_losses(scheduler: Scheduler | None, steps: int = STEPS) -> np.ndarray:
    """Train with PyTorch's Adam.

    Args:
      scheduler: Factory of the scheduler. None for a constant rate.
      steps: Number of updates.

    Returns:
      The loss before each update, of shape ``(steps,)``.
    """
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
    lr_scheduler = scheduler(optimizer) if scheduler else None
    values = []
    for batch in zip(*batches(steps), strict=True):
        inputs, targets = map(torch.tensor, batch)
        loss = torch.nn.functional.cross_entropy(network(inputs), targets.long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
        if isinstance(lr_scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            lr_scheduler.step(loss.item())
        elif lr_scheduler:
            lr_scheduler.step()
    return np.array(values)


def torch_scheduler(name: str) -> Scheduler:
    """Return PyTorch's scheduler with the arguments of `TORCH` and a constant momentum."""
    import torch

    options = {"cycle_momentum": False} if name in ("CyclicLR", "OneCycleLR") else {}
    factory = getattr(torch.optim.lr_scheduler, name)
    return lambda optimizer: factory(optimizer, **TORCH[name], **options)


def port_of_torch(name: str) -> Optimizer:
    """Return Adam with the port of a scheduler of PyTorch."""
    has_rate = name in ("CyclicLR", "OneCycleLR")
    port = getattr(from_torch, name)(*(() if has_rate else (RATE,)), **TORCH[name])
    if isinstance(port, lrsched.Schedule):
        return with_adam(port)
    return lambda _: observe_after_update(optax.chain(adam(RATE), port))


def observe_after_update(transform: Any) -> optax.GradientTransformationExtraArgs:
    """Pass the loss to the controllers after the update.

    This is the order of ``optimizer.step(); scheduler.step(loss)``: the loss of a mini-batch first
    changes the rate of the next update.
    """

    def update(gradients: Any, state: Any, params: Any = None, *, value: Any) -> tuple[Any, Any]:
        updates, state = transform.update(gradients, state, params)
        return updates, lrsched.observe(state, value=value)

    return optax.GradientTransformationExtraArgs(transform.init, update)


def max_differences(port: np.ndarray, original: np.ndarray) -> tuple[float, float]:
    """Return the maximum difference of two curves relative to the mean loss of the original.

    Returns:
      The maximum over the first 100 updates, and over all updates.
    """
    differences = np.abs(port - original) / original.mean()
    return float(differences[:100].max()), float(differences.max())


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    steps: int = STEPS
    """Number of updates."""
    out: Path = RESULTS / "twins.json"
    """JSON file of the table. The curves are written next to it, with the suffix .curves.json."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train every pair, print the differences and write them."""
    options = read_options(Options, "twins", arguments)
    jax.config.update("jax_enable_x64", True)
    console, steps = Console(), options.steps
    rows, curves = [], {}

    def compare(library: str, name: str, port: np.ndarray, original: np.ndarray) -> None:
        early, overall = max_differences(port, original)
        curves[f"{library} {name}"] = {"ours": port.tolist(), "theirs": original.tolist()}
        rows.append([library, name, f"{early:.1e}", f"{overall:.1e}"])

    for twin in OPTAX:
        compare("optax", twin.name, losses(twin.port, steps), losses(twin.original, steps))
    packages = ["jax", "optax"]
    if find_spec("torch"):
        packages.append("torch")
        compare("torch", "constant rate", losses(with_adam(RATE), steps), torch_losses(None, steps))
        for name in TORCH:
            original = torch_losses(torch_scheduler(name), steps)
            compare("torch", name, losses(port_of_torch(name), steps), original)
    table = CostTable(
        title="Ports of lrsched and originals, same weights and mini-batches",
        command="python -m benchmarks twins",
        caption=f"MLP on digits, Adam at {RATE:g}, {steps} updates in float64: maximum difference "
        "of the training losses over their mean. mechanize deviates from optax by design; its "
        "docstring lists the deviations.",
        columns=["library", "original", "first 100 updates", f"all {steps}"],
        rows=rows,
        versions=versions(*packages),
    )
    console.print(table.render())
    table.write(options.out)
    write_json(options.out.with_suffix(".curves.json"), curves)
