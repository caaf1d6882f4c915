"""Accuracy of `lrsched.diagnose` on runs with known faults: `python -m benchmarks diagnose`.

Trains small models at 1/30 to 30 times their best peak, without a warmup, with a decay that ends
too early, with a frozen group, and with a layer whose rate is far too high. Prints the first
findings in a confusion table. All runs of a problem are one compiled program.
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits

import lrsched
from benchmarks.options import read_options
from benchmarks.platforms import use
from benchmarks.store import RESULTS, write_json

STEPS = 300
BATCH = 32
WARMUP = 30


class Problem(NamedTuple):
    """Model, loss and data.

    Attributes:
      init: Function ``key -> params``; the parameters are a dict of layers.
      loss: Function ``(params, batch) -> loss``.
      data: Arrays with a leading axis of examples.
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[[Any, Any], jax.Array]
    data: Any


def _layers(key: jax.Array, sizes: Sequence[int]) -> dict[str, Any]:
    keys = jax.random.split(key, len(sizes))
    return {
        f"layer_{i}": {
            "kernel": jax.random.normal(keys[i], (m, n)) * np.sqrt(2 / m),
            "bias": jnp.zeros(n),
        }
        for i, (m, n) in enumerate(itertools.pairwise(sizes))
    }


def _apply(params: Any, x: jax.Array, activation: Callable[[jax.Array], jax.Array]) -> jax.Array:
    for i in range(len(params)):
        layer = params[f"layer_{i}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = x if i == len(params) - 1 else activation(x)
    return x


def _digits(sizes: Sequence[int]) -> Problem:
    x, y = load_digits(return_X_y=True)

    def loss(params: Any, batch: Any) -> jax.Array:
        logits = _apply(params, batch[0], jax.nn.relu)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch[1]).mean()

    return Problem(lambda key: _layers(key, sizes), loss, (np.float32(x / 8 - 1), np.int32(y)))


def _teacher() -> Problem:
    key, key_x, key_n = jax.random.split(jax.random.key(7), 3)
    x = jax.random.normal(key_x, (2048, 12))
    teacher = _layers(key, (12, 16, 1))
    y = _apply(teacher, x, jnp.tanh)[:, 0] + 0.1 * jax.random.normal(key_n, (2048,))

    def loss(params: Any, batch: Any) -> jax.Array:
        return jnp.mean((_apply(params, batch[0], jnp.tanh)[:, 0] - batch[1]) ** 2)

    return Problem(lambda key: _layers(key, (12, 32, 32, 1)), loss, (np.asarray(x), np.asarray(y)))


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "digits": lambda: _digits((64, 32, 32, 10)),
    "deep digits": lambda: _digits((64, *[24] * 6, 10)),
    "teacher": _teacher,
}
OPTIMIZERS: dict[str, Callable[[Any], optax.GradientTransformation]] = {
    "Adam": lambda rate: optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(rate)),
    "SGD, momentum": lambda rate: optax.chain(
        optax.trace(0.9), lrsched.scale_by_learning_rate(rate)
    ),
}


class Run(NamedTuple):
    """Settings of a run that vary, as leaves that `jax.vmap` batches.

    Attributes:
      peak: Peak rate, float32 scalar.
      warmup: Number of warmup steps, int32 scalar.
      end: Step at which the decay reaches zero, int32 scalar.
      factors: Multipliers of the updates of each layer, float32 of shape ``(layers,)``.
      seed: Seed of the parameters and the mini-batches, uint32 scalar.
    """

    peak: Any
    warmup: Any
    end: Any
    factors: Any
    seed: Any


@functools.lru_cache(maxsize=16)
def trainer(problem_name: str, optimizer_name: str) -> Callable[[Run], tuple[Any, jax.Array]]:
    """Return the compiled function from batched runs to their health records and final losses."""
    problem, make = PROBLEMS[problem_name](), OPTIMIZERS[optimizer_name]

    def train(run: Run, data: Any) -> tuple[Any, jax.Array]:
        schedule = lrsched.wsd(run.peak, run.end, run.warmup, run.end - run.warmup)

        def scale(updates: Any, params: Any) -> Any:
            del params
            return {
                name: jax.tree.map(lambda u, i=i: u * run.factors[i], layer)
                for i, (name, layer) in enumerate(sorted(updates.items()))
            }

        optimizer = lrsched.record_health(
            optax.chain(make(schedule), optax.stateless(scale)), max_records=64, window=64
        )
        init_key, key = jax.random.split(jax.random.key(run.seed))
        params = problem.init(init_key)

        def step(carry: Any, t: jax.Array) -> tuple[Any, None]:
            params, state = carry
            indices = jax.random.randint(jax.random.fold_in(key, t), (BATCH,), 0, len(data[1]))
            batch = jax.tree.map(lambda x: x[indices], data)
            value, gradients = jax.value_and_grad(problem.loss)(params, batch)
            updates, state = optimizer.update(gradients, state, params, value=value)
            return (optax.apply_updates(params, updates), state), None

        start = (params, optimizer.init(params))
        (params, state), _ = jax.lax.scan(step, start, jnp.arange(STEPS))
        return state._replace(inner_state=None), problem.loss(params, data)

    compiled = jax.jit(jax.vmap(train, (0, None)))
    return lambda runs: jax.device_get(compiled(runs, problem.data))


def num_layers(problem_name: str) -> int:
    """Return the number of layers of a problem; each layer is a group of `record_health`."""
    return len(PROBLEMS[problem_name]().init(jax.random.key(0)))


def stacked(runs: Sequence[Run]) -> Run:
    """Stack runs into one `Run` whose leaves have a leading axis of runs."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *runs)


BEST = {
    ("digits", "Adam"): 0.03,
    ("digits", "SGD, momentum"): 0.1,
    ("deep digits", "Adam"): 0.01,
    ("deep digits", "SGD, momentum"): 0.03,
    ("teacher", "Adam"): 0.06,
    ("teacher", "SGD, momentum"): 0.1,
}
"""Best peak of each problem and optimizer: grid of half decades, mean final loss of two seeds."""


def cases(problem: str, optimizer: str, seeds: Sequence[int]) -> list[tuple[str, Run]]:
    """Return the runs of a problem, each with the name of its fault."""
    best, layers = BEST[problem, optimizer], num_layers(problem)
    ones = np.ones(layers)
    frozen, exploding, faster = ones.copy(), ones.copy(), ones.copy()
    frozen[0], exploding[layers // 2], faster[0] = 0, 100, 30
    rows = [
        *((f"{factor:.3g} x", factor, WARMUP, STEPS, ones) for factor in FACTORS),
        ("no warmup", 1, 0, STEPS, ones),
        ("no warmup, 3 x", 3, 0, STEPS, ones),
        ("early decay", 1, WARMUP, STEPS // 2, ones),
        ("frozen group", 1, WARMUP, STEPS, frozen),
        ("exploding layer", 1, WARMUP, STEPS, exploding),
        ("exploding layer, 30 x", 1, WARMUP, STEPS, faster),
    ]
    return [
        (name, Run(factor * best, warmup, end, factors, seed))
        for name, factor, warmup, end, factors in rows
        for seed in seeds
    ]


FACTORS = (1 / 30, 1 / 10, 1 / 3, 1, 3, 30)


class Diagnosed(NamedTuple):
    """Run with a known fault, and the first finding of `lrsched.diagnose`.

    Attributes:
      problem: Names of the problem and the optimizer.
      case: Name of the fault.
      truth: Correct findings. A rate is "good" if its decrease of the loss is at least 95 % of the
        best decrease, otherwise "too low" or "too high".
      said: Kind of the first finding, or "good" without a finding.
      loss: Final loss on all examples.
      sentences: Text of all findings.
    """

    problem: str
    case: str
    truth: tuple[str, ...]
    said: str
    loss: float
    sentences: str

    @property
    def is_right(self) -> bool:
        """Whether the first finding is correct."""
        return self.said in self.truth


TRUTH = {
    "no warmup": ("no warmup",),
    "no warmup, 3 x": ("no warmup", "too high"),
    "early decay": ("early decay",),
    "frozen group": ("frozen group",),
    "exploding layer": ("exploding group",),
    "exploding layer, 30 x": ("exploding group",),
}
RATES = tuple(f"{factor:.3g} x" for factor in FACTORS)


def diagnose_cases(problem: str, optimizer: str, seeds: Sequence[int]) -> list[Diagnosed]:
    """Train all cases of a problem and diagnose each run from its health record.

    Args:
      problem: Name in `PROBLEMS`.
      optimizer: Name in `OPTIMIZERS`.
      seeds: Seeds of the runs of each case.

    Returns:
      One row per case and seed.
    """
    named = cases(problem, optimizer, seeds)
    states, losses = trainer(problem, optimizer)(stacked([run for _, run in named]))
    means = [
        np.mean([loss for (name, _), loss in zip(named, losses, strict=True) if name == rate])
        for rate in RATES
    ]
    best, initial = int(np.nanargmin(means)), float(np.median(states.first[:, 1]))

    def truth(name: str, loss: float) -> tuple[str, ...]:
        if name in TRUTH:
            return TRUTH[name]
        if loss <= means[best] + 0.05 * (initial - means[best]):
            return ("good",)
        # A rate that is too high may end in non-finite values.
        return ("too low",) if RATES.index(name) < best else ("too high", "not finite")

    rows = []
    for i, (name, _) in enumerate(named):
        diagnosis = lrsched.diagnose(jax.tree.map(lambda leaf, i=i: leaf[i], states))
        said = diagnosis.findings[0].kind if diagnosis.findings else "good"
        loss = float(losses[i])
        title = f"{problem}, {optimizer}"
        rows.append(Diagnosed(title, name, truth(name, loss), said, loss, str(diagnosis)))
    return rows


def confusion(rows: Sequence[Diagnosed]) -> Table:
    """Return a table that counts the first findings of each case."""
    said = list(dict.fromkeys(["good", *(row.said for row in rows)]))
    right = sum(row.is_right for row in rows)
    table = Table(
        *("case", "correct finding", *said, "correct"),
        title=f"First finding of {len(rows)} runs: {right} are correct",
    )
    for case in (*RATES, *TRUTH):
        for truth in dict.fromkeys(row.truth for row in rows if row.case == case):
            selected = [row for row in rows if (row.case, row.truth) == (case, truth)]
            counts = Counter(row.said for row in selected)
            table.add_row(
                case,
                " or ".join(truth),
                *(str(counts[name] or "") for name in said),
                f"{sum(row.is_right for row in selected)} / {len(selected)}",
            )
    return table


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    seeds: tuple[int, ...] = (100, 101)
    """Seeds of the runs. The thresholds of `lrsched.diagnose` were chosen on the seeds 0 and 1."""
    verbose: bool = False
    """Whether to print the findings of each run."""
    out: Path = RESULTS / "diagnose.json"
    """JSON file of the rows."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Train and diagnose all cases, print the table and write the rows."""
    options = read_options(Options, "diagnose", arguments)
    use("cpu")
    console, rows = Console(), []
    for problem, optimizer in BEST:
        new = diagnose_cases(problem, optimizer, options.seeds)
        rows.extend(new)
        right = sum(row.is_right for row in new)
        console.print(f"{problem}, {optimizer}: {right} of {len(new)} are correct")
        if options.verbose:
            for row in new:
                mark = "" if row.is_right else "  WRONG"
                console.print(f"{row.case}, loss {row.loss:.3g}{mark}\n{row.sentences}\n")
    console.print(confusion(rows))
    write_json(options.out, [row._asdict() for row in rows])
