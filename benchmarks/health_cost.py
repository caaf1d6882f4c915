"""Overhead of `record_health` and `noise_scale`: `python -m benchmarks health-cost`.

A step is a forward pass, a backward pass and an Adam update of a small causal transformer. The
variants are interleaved, so that other load slows all of them alike. Each ratio is a median over
the turns.
"""

import functools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from rich.console import Console
from rich.table import Table

import lrsched
from benchmarks.costs import interleaved_seconds
from benchmarks.options import read_options
from benchmarks.platforms import use
from benchmarks.workloads.transformer import Block


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    width: int = 256
    """Width of the model."""
    layers: int = 4
    """Number of transformer blocks."""
    tokens: int = 128
    """Length of a sequence."""
    batch: int = 8
    """Number of sequences of a mini-batch."""
    turns: int = 30
    """Number of timings of each variant."""


class Model(nnx.Module):
    """Causal blocks between an embedding and a linear head over 256 bytes."""

    def __init__(self, options: Options, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(256, options.width, rngs=rngs)
        self.blocks = nnx.List(
            [Block(options.width, 4, rngs, is_causal=True) for _ in range(options.layers)]
        )
        self.head = nnx.Linear(options.width, 256, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the logits of the next byte."""
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        logits: jax.Array = self.head(x)
        return logits


def adam() -> optax.GradientTransformation:
    """Return Adam with a rate of lrsched."""
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(1e-3))


VARIANTS: dict[str, tuple[Callable[[], Any], str]] = {
    "adam": (adam, "adam"),
    "record_health(adam)": (lambda: lrsched.record_health(adam()), "adam"),
    "MultiSteps(adam, 2)": (lambda: optax.MultiSteps(adam(), 2).gradient_transformation(), ""),
    "noise_scale(adam, micro_batches=2)": (
        lambda: lrsched.noise_scale(adam(), 8, micro_batches=2),
        "MultiSteps(adam, 2)",
    ),
}
"""Factory of each variant, and the name of the variant that it is compared with."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the ratios; `arguments` defaults to `sys.argv[1:]`."""
    options = read_options(Options, "health-cost", arguments)
    use("cpu")
    console, ratios = Console(), time_ratios(options)
    table = Table("step", "baseline", "ratio", "lower quartile", "upper quartile")
    for name, (_, baseline) in VARIANTS.items():
        if baseline and baseline != name:
            low, median, high = statistics.quantiles(ratios[name], n=4)
            table.add_row(name, baseline, f"{median:.3f}", f"{low:.3f}", f"{high:.3f}")
    console.print(table)


def time_ratios(options: Options) -> dict[str, list[float]]:
    """Return the ratio of each variant to its baseline in each turn."""
    graph, start = nnx.split(Model(options, nnx.Rngs(0)))
    start = nnx.to_pure_dict(start)
    data = np.random.default_rng(0).integers(0, 256, (options.batch, options.tokens + 1))
    batch = jnp.asarray(data, jnp.int32)

    def loss_fn(params: Any) -> jax.Array:
        state = nnx.state(nnx.merge(graph, nnx.State(params)))
        logits = nnx.merge(graph, state)(batch[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[:, 1:]).mean()

    def twice(optimizer: Any) -> tuple[Callable[[Any, Any], Any], Any]:
        """Return two steps in a row, which make one update of MultiSteps, and their carry."""
        optimizer = optax.with_extra_args_support(optimizer)

        @functools.partial(jax.jit, donate_argnums=(0, 1))
        def step(params: Any, state: Any) -> tuple[Any, Any]:
            value, gradients = jax.value_and_grad(loss_fn)(params)
            updates, state = optimizer.update(gradients, state, params, value=value)
            return optax.apply_updates(params, updates), state

        carry = jax.tree.map(jnp.copy, start), optimizer.init(start)
        return lambda *carry: step(*step(*carry)), carry

    programs, carries = {}, {}
    for name, (make, _) in VARIANTS.items():
        programs[name], carry = twice(make())
        # The first call compiles and is not timed.
        carries[name] = programs[name](*carry)
    seconds = interleaved_seconds(
        programs, carries, (), range(options.turns), np.random.default_rng(0)
    )
    return {
        name: (seconds[name] / seconds[baseline or name]).tolist()
        for name, (_, baseline) in VARIANTS.items()
    }
