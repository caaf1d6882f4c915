"""Accuracy of the rules that transfer a rate between sizes: `python -m benchmarks transfer-rules`.

Sweeps the peak of Adam at several widths, batch sizes and lengths. Compares the best peak with the
prediction of a rule of `lrsched.scaling.transfer` from the smallest size. A rule keeps the rate if
the 95 % interval of their ratio over seeds is within a factor of 1.5.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

import lrsched
from benchmarks.options import read_options
from benchmarks.store import RESULTS, write_json
from benchmarks.tables import of_rows
from lrsched import scaling
from lrsched.scaling import Size, transfer

FACTOR = 1.5
ADAM = {"learning_rate": 1.0, "b1": 0.9, "b2": 0.99, "eps": 1e-8}
PATTERNS = [("embed", "embedding"), ("hidden", "hidden"), ("readout", "readout")]
HEADS, LENGTH, VOCABULARY = 4, 32, 16


@dataclass(frozen=True)
class Options:
    """Options of the benchmark."""

    mlp_widths: tuple[int, ...] = (64, 128, 256, 512)
    """Widths of the MLP."""
    transformer_widths: tuple[int, ...] = (64, 128, 256, 512)
    """Widths of the transformer."""
    rates: int = 10
    """Number of rates of each sweep, in ratios of 2."""
    lowest: float = 1.5e-4
    """Lowest rate of each sweep."""
    seeds: int = 4
    """Number of runs of each rate."""
    mlp_steps: int = 200
    """Number of updates of the MLP."""
    transformer_steps: int = 60
    """Number of updates of the transformer."""
    only: str = ""
    """Substring of the names of the rules to measure, such as "batch". Empty measures all."""
    out: Path = RESULTS / "transfer-rules.json"
    """JSON file of the numbers."""


class Problem(NamedTuple):
    """A model and its data.

    Attributes:
      init: Returns parameters from a key and a width; ``mup`` selects muP's initialisation.
      loss: Returns the loss from parameters, a batch and the output multiplier.
      batch: Returns a batch from a key and a number of examples.
    """

    init: Callable[..., Any]
    loss: Callable[..., jax.Array]
    batch: Callable[[jax.Array, int], Any]


def mlp() -> Problem:
    """Return an MLP with two hidden layers on the digits of scikit-learn."""
    from sklearn.datasets import load_digits

    data = load_digits()
    x = jnp.asarray(data.data / 16 - 0.3, jnp.float32)
    y = jnp.asarray(data.target)

    def init(key: jax.Array, width: int, base: int, mup: bool) -> Any:
        keys = jax.random.split(key, 4)
        readout = base if mup else width
        return {
            "embed": jax.random.normal(keys[0], (64, width)) / 8,
            "hidden_1": jax.random.normal(keys[1], (width, width)) * (2 / width) ** 0.5,
            "hidden_2": jax.random.normal(keys[2], (width, width)) * (2 / width) ** 0.5,
            "readout": jax.random.normal(keys[3], (width, 10)) / readout**0.5,
        }

    def loss(params: Any, batch: Any, output: float, base: int) -> jax.Array:
        del base
        inputs, labels = batch
        hidden = jax.nn.relu(inputs @ params["embed"])
        hidden = jax.nn.relu(hidden @ params["hidden_1"])
        hidden = jax.nn.relu(hidden @ params["hidden_2"])
        logits = hidden @ params["readout"] * output
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def batch(key: jax.Array, size: int) -> Any:
        index = jax.random.randint(key, (size,), 0, len(x))
        return x[index], y[index]

    return Problem(init, loss, batch)


def transformer() -> Problem:
    """Return a transformer of one block on sequences of a random Markov chain of order two."""
    rng = np.random.default_rng(0)
    chain = jnp.asarray(
        np.log(rng.dirichlet(np.full(VOCABULARY, 0.1), (VOCABULARY, VOCABULARY)) + 1e-6),
        jnp.float32,
    )

    def init(key: jax.Array, width: int, base: int, mup: bool) -> Any:
        keys = jax.random.split(key, 7)
        readout = base if mup else width
        shapes = {"qkv": (width, 3 * width), "out": (width, width)}
        shapes |= {"up": (width, 4 * width), "down": (4 * width, width)}
        matrices = {
            f"hidden_{name}": jax.random.normal(one, shape) / shape[0] ** 0.5
            for one, (name, shape) in zip(keys, shapes.items(), strict=False)
        }
        return matrices | {
            "embed": jax.random.normal(keys[4], (VOCABULARY, width)),
            "embed_position": jax.random.normal(keys[5], (LENGTH, width)),
            "readout": jax.random.normal(keys[6], (width, VOCABULARY)) / readout**0.5,
        }

    def normalize(x: jax.Array) -> jax.Array:
        return x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-6)

    def loss(params: Any, tokens: jax.Array, output: float, base: int) -> jax.Array:
        x = params["embed"][tokens[:, :-1]] + params["embed_position"]
        batch, length, width = x.shape
        parts = jnp.split(normalize(x) @ params["hidden_qkv"], 3, axis=-1)
        q, k, v = (part.reshape(batch, length, HEADS, width // HEADS) for part in parts)
        # muP's attention scale 1/d instead of 1/sqrt(d), equal at the base width. The standard
        # parametrisation uses it as well, so that the models differ in the rates only.
        scale = (base / HEADS) ** 0.5 / (width // HEADS)
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) * scale
        scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -1e9)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), v)
        x = x + mixed.reshape(batch, length, width) @ params["hidden_out"]
        x = x + jax.nn.gelu(normalize(x) @ params["hidden_up"]) @ params["hidden_down"]
        logits = normalize(x) @ params["readout"] * output
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    def batch(key: jax.Array, size: int) -> jax.Array:
        first, rest = jax.random.split(key)
        start = jax.random.randint(first, (2, size), 0, VOCABULARY)

        def draw(pair: jax.Array, one: jax.Array) -> tuple[jax.Array, jax.Array]:
            token = jax.random.categorical(one, chain[pair[0], pair[1]])
            return jnp.stack([pair[1], token]), token

        _, tokens = jax.lax.scan(draw, start, jax.random.split(rest, LENGTH + 1))
        return tokens.T

    return Problem(init, loss, batch)


class Setting(NamedTuple):
    """Size of a problem and hyperparameters of its runs.

    Attributes:
      width: Width of the model.
      batch: Number of examples of a mini-batch.
      steps: Number of updates.
      base: Base width of muP's multipliers.
      mup: Whether the model has muP's initialisation and output multiplier.
      adam: Hyperparameters of Adam.
      groups: Patterns of parameter names with multipliers of their rate.
    """

    width: int
    batch: int
    steps: int
    base: int
    mup: bool
    adam: dict[str, float]
    groups: list[tuple[str, float]]


def losses(problem: Problem, setting: Setting, rates: np.ndarray, seeds: int) -> np.ndarray:
    """Return the mean loss of the last tenth of each run, shape ``(rates, seeds)``."""
    width, base = setting.width, setting.base
    output = base / width if setting.mup else 1.0
    adam = {key: value for key, value in setting.adam.items() if key != "learning_rate"}
    optimizer = optax.chain(
        optax.scale_by_adam(**adam),
        lrsched.scale_by_learning_rate(
            lrsched.warmup(setting.steps // 10) * lrsched.linear(1.0, 0.0, steps=setting.steps)
        ),
        *([lrsched.learning_rate_groups(setting.groups)] if setting.groups else []),
    )

    def run(argument: tuple[jax.Array, jax.Array]) -> jax.Array:
        rate, key = argument
        start, data = jax.random.split(key)
        params = problem.init(start, width, base, setting.mup)

        def step(carry: Any, one: jax.Array) -> tuple[Any, jax.Array]:
            params, state = carry
            batch = problem.batch(one, setting.batch)
            value, grads = jax.value_and_grad(problem.loss)(params, batch, output, base)
            updates, state = optimizer.update(grads, state, params)
            updates = jax.tree.map(lambda update: rate * update, updates)
            return (optax.apply_updates(params, updates), state), value

        keys = jax.random.split(data, setting.steps)
        _, values = jax.lax.scan(step, (params, optimizer.init(params)), keys)
        return values[-max(setting.steps // 10, 1) :].mean()

    keys = jax.random.split(jax.random.key(0), seeds)
    index = np.arange(len(rates) * seeds)
    arguments = jnp.asarray(rates, jnp.float32)[index // seeds], keys[index % seeds]
    values = jax.jit(lambda arguments: jax.lax.map(run, arguments))(arguments)
    return np.asarray(values).reshape(len(rates), seeds)


def peaks(rates: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the best rate of each seed; NaN where it may be outside of the sweep."""
    best = []
    for column in values.T:
        try:
            best.append(float(scaling.best_rate(rates, column)))
        except ValueError:
            best.append(np.nan)
    return np.array(best)


def ratio_interval(predicted: np.ndarray, best: np.ndarray) -> tuple[float, float, float]:
    """Return the geometric mean of predicted over best rates, and its 95 % interval over seeds."""
    logs = np.log(predicted) - np.log(best)
    if np.isnan(logs).any():
        return (np.nan, np.nan, np.nan)
    # Quantiles 0.975 of Student's t distribution, by the number of seeds.
    quantile = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57}[len(logs)]
    half_width = quantile * logs.std(ddof=1) / len(logs) ** 0.5
    return tuple(np.exp([logs.mean(), logs.mean() - half_width, logs.mean() + half_width]).tolist())


def verdict(low: float, high: float) -> str:
    """Return a text: the interval is within `FACTOR`, outside of it, or overlaps its end."""
    if np.isnan(low):
        return "beyond the sweep"
    if low >= 1 / FACTOR and high <= FACTOR:
        return "keeps it"
    return "does not" if high < 1 / FACTOR or low > FACTOR else "open"


class Case(NamedTuple):
    """Rule on a problem.

    Attributes:
      problem: Name of the problem.
      rule: Name of the rule.
      sizes: Sizes, in ascending order.
      settings: Setting at each size.
      factors: Learning rate that the rule predicts at each size, for a rate of 1 at the smallest.
    """

    problem: str
    rule: str
    sizes: tuple[int, ...]
    settings: tuple[Setting, ...]
    factors: tuple[float, ...]


def cases(options: Options) -> list[Case]:
    """Return every rule on every problem, with its settings and predicted rates."""
    result = []

    def add(problem: str, rule: str, sizes: Sequence[int], at: Callable[..., Setting], **how: Any):
        moved = [how["move"](size, sizes[0]) for size in sizes]
        settings = tuple(at(size, one) for size, one in zip(sizes, moved, strict=True))
        factors = tuple(one.hyperparameters["learning_rate"] for one in moved)
        result.append(Case(problem, rule, tuple(sizes), settings, factors))

    def moved_by(rule: str | None, field: str) -> Callable[..., Any]:
        def move(size: int, base: int) -> Any:
            sizes = {"from_": Size(**{field: base}), "to": Size(**{field: size})}
            return transfer(ADAM, **sizes, rule=[rule] if rule else [])

        return move

    def inverse(size: int, base: int) -> Any:
        scaled = {**ADAM, "learning_rate": base / size}
        return transfer(scaled, from_=Size(), to=Size(), rule=[])

    for problem, widths, batch, steps in (
        ("MLP", options.mlp_widths, 64, options.mlp_steps),
        ("transformer", options.transformer_widths, 4, options.transformer_steps),
    ):

        def standard(width: int, moved: Any, shape: Any = (batch, steps, widths[0])) -> Setting:
            return Setting(width, *shape, False, moved.hyperparameters, [])

        def mup(width: int, moved: Any, shape: Any = (batch, steps, widths[0])) -> Setting:
            groups = moved.learning_rate_groups(PATTERNS)
            return Setting(width, *shape, True, moved.hyperparameters, groups)

        add(problem, "width: same rate", widths, standard, move=moved_by(None, "width"))
        add(problem, "width: 1/width for all", widths, standard, move=inverse)
        add(problem, "width: mup", widths, mup, move=moved_by("mup", "width"))

    examples = 64 * options.mlp_steps
    sizes = (32, 64, 128, 256)

    def at_batch(batch: int, moved: Any) -> Setting:
        return Setting(64, batch, examples // batch, 64, False, moved.hyperparameters, [])

    for rule in (None, "linear", "adam-sde"):
        name = f"batch: {rule or 'same rate'}"
        add("MLP", name, sizes, at_batch, move=moved_by(rule, "batch"))
    lengths = tuple(options.mlp_steps * k // 2 for k in (1, 2, 4, 8))

    def at_length(steps: int, moved: Any) -> Setting:
        return Setting(64, 64, steps, 64, False, moved.hyperparameters, [])

    for rule in (None, "horizon"):
        name = f"length: {rule or 'same rate'}"
        add("MLP", name, lengths, at_length, move=moved_by(rule, "tokens"))
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the sweeps, print the table and write the numbers."""
    options = read_options(Options, "transfer-rules", arguments)
    rates = options.lowest * 2.0 ** np.arange(options.rates)
    problems = {"MLP": mlp(), "transformer": transformer()}
    known: dict[str, np.ndarray] = {}
    rows = []
    lines = []
    started = time.monotonic()
    for case in cases(options):
        if options.only not in f"{case.problem} {case.rule}":
            continue
        best, ratios = [], []
        for setting in case.settings:
            # Rules that differ only in the predicted rate share a sweep.
            key = case.problem + repr(
                setting._replace(
                    adam={k: v for k, v in setting.adam.items() if k != "learning_rate"}
                )
            )
            if key not in known:
                problem = problems[case.problem]
                known[key] = peaks(rates, losses(problem, setting, rates, options.seeds))
            best.append(known[key])
        for factor, one in zip(case.factors, best, strict=True):
            ratios.append(ratio_interval(best[0] * factor / case.factors[0], one))
        means = [float(np.exp(np.log(one).mean())) for one in best]
        shown = ", ".join(f"{m:.2f} ({low:.2f} to {high:.2f})" for m, low, high in ratios[1:])
        said = verdict(*ratios[-1][1:])
        lines.append(
            {
                "model": case.problem,
                "rule": case.rule,
                "sizes": ", ".join(map(str, case.sizes)),
                "best peaks": ", ".join(f"{mean:.2g}" for mean in means),
                "predicted / best": shown,
                "verdict at the largest": said,
            }
        )
        rows.append(
            {
                "problem": case.problem,
                "rule": case.rule,
                "sizes": case.sizes,
                "peaks": means,
                "ratios": ratios,
                "verdict": said,
            }
        )
        print(f"{time.monotonic() - started:.0f} s: {rows[-1]}", flush=True)
    write_json(options.out, rows)
    Console(width=200).print(of_rows("Rules of transfer", lines))
