"""Random inputs to everything that reads or makes a schedule: ``python -m tests.fuzz``.

For every input, the answer is a schedule, or a ``ValueError`` or ``TypeError`` of one line, in
bounded time. A schedule that is made is finite at every step, constant from its horizon on, and
equal to what its text, its JSON and its pickle are read back as.

Almost every random composition is a program of its own, and compiling one takes 10 to 100 times
as long as evaluating it operation by operation: JAX compiles each operation once for all of them.
One schedule in ``--compile-every`` is compiled as well, and must have the same values.
"""

import argparse
import collections
import contextlib
import importlib
import inspect
import json
import pickle
import random
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

import lrsched
from lrsched import _schedule
from lrsched._schedule import REGISTRY
from lrsched.arguments import ArgumentType, argument_type_of, short_repr
from lrsched.cli.inputs import read_schedule
from lrsched.compat import LIBRARIES
from lrsched.expressions import parse, parse_call
from lrsched.numerics import MAX_STEP
from lrsched.pictures.curves import is_concrete_scalar

for library in (*LIBRARIES, "configs"):
    importlib.import_module(f"lrsched.compat.{library}")

FLOATS = (0.0, 1e-3, 0.1, 0.5, 1.0, 1.5, 2.0, 25.0, 1e4, 1e30, 8e37, 1e-30, 1.2e-38, -0.1, -1e30)
INTS = (0, 1, 2, 3, 7, 8, 10, 64, 100, 1000, 10**6, 2**24 + 1, 2**30, MAX_STEP)
WRONG = (
    *(None, True, "x", "cosine", "", b"x", 1e39, -1e39, 1e-46, 2**31, -(2**31), 10**400),
    *(float("nan"), float("inf"), -float("inf"), 1j, [], {}, (), [[]], [1, "x"], [3, 2, 1], object),
    *({"schedule": "cosine"}, {"schedule": ["cosine"]}, {"schedule": 1}, {"self": 1}, "1e400"),
)
STRINGS = ("linear", "cosine", "1-sqrt", "exponential", "normal", "uniform", "monotone", "square")
STEPS = np.array(
    [0, 1, 2, 3, 5, 9, 17, 99, 127, 128, 999, 1000, 10**5, 2**24 + 1, 10**9, MAX_STEP], np.int64
)
FUNCTIONS = (
    lambda step: 1.0 / (1.0 + step),  # in int32, 1 + step wraps at the last step
    lambda step: jnp.exp(1.0 * step),
    lambda step: jnp.where(step < 100, 1e10, 0.0),
    lambda step: 0.5,
    lambda step: 1 if step < 100 else 0.1,
)
FILE_JUNK = (
    "{",
    "[",
    "]",
    ":",
    ",",
    '"',
    "&a ",
    "*a",
    "!!python/object:os.system ",
    "-",
    "\0",
    "é",
)
YAML_BOMB = "\n".join(
    [
        "schedule: table",
        "a: &a [1, 1, 1]",
        *(
            f"{b}: &{b} [*{a}, *{a}, *{a}]"
            for a, b in map("".join, zip("abcdefgh", "bcdefghi", strict=True))
        ),
    ]
)
MAX_MESSAGE = 3000


def signatures_of(*modules: Any) -> dict[Callable[..., Any], Any]:
    """The public functions of modules, with their signatures and the types of their arguments."""
    result = {}
    for module in modules:
        for name in module.__all__:
            function = getattr(module, name)
            if inspect.isfunction(function):
                with contextlib.suppress(NameError):  # an annotation for type checkers only
                    signature = inspect.signature(function, eval_str=True)
                    result[function] = (
                        signature,
                        {
                            key: argument_type_of(parameter.annotation)
                            for key, parameter in signature.parameters.items()
                        },
                    )
    return result


SIGNATURES = signatures_of(
    lrsched, *(importlib.import_module(f"lrsched.compat.{library}") for library in LIBRARIES)
)
PORTS = [function for function in SIGNATURES if ".compat." in function.__module__]
TRANSFORMS = [
    function
    for function, (signature, _) in SIGNATURES.items()
    if function not in PORTS
    and "GradientTransformation" in str(signature.return_annotation)
    and "merge" not in function.__name__
]


def cyclic() -> dict[str, Any]:
    """Return a mapping that contains itself."""
    data: dict[str, Any] = {"schedule": "shift", "steps": 1}
    data["inner"] = data
    return data


def deep(depth: int) -> dict[str, Any]:
    data: dict[str, Any] = {"schedule": "constant", "value": 1.0}
    for _ in range(depth):
        data = {"schedule": "shift", "steps": 1, "inner": data}
    return data


def bomb() -> dict[str, Any]:
    """Return a nested list of 9**9 values that is built of 9 list objects."""
    values: list[Any] = [1.0] * 9
    for _ in range(8):
        values = [values] * 9
    return {"schedule": "table", "values": values}


def is_one_curve(schedule: lrsched.Schedule) -> bool:
    """Return whether a schedule has no batched parameters."""
    try:
        return is_concrete_scalar(schedule)
    except (TypeError, ValueError):
        return False


def evaluate_eagerly(schedule: lrsched.Schedule, steps: np.ndarray) -> np.ndarray:
    """Return the values of a schedule without compiling it: one operation at a time."""
    with mock.patch.object(_schedule, "_evaluate", _schedule._evaluate.__wrapped__):
        return np.asarray(schedule(steps))


class Fuzzer:
    """Random inputs of one seed, and the results.

    Args:
      seed: Seed of the inputs.
      evaluate: Whether to evaluate the schedules that are made.
      compile_every: One in this number of schedules is evaluated by a compiled program as well.
      wrong: Fraction of the arguments that are of any type.
      floats: Numbers to choose from.
      names: Names of the schedules to choose from. Defaults to all.
    """

    def __init__(
        self,
        seed: int,
        evaluate: bool = True,
        compile_every: int = 100,
        wrong: float = 0.12,
        floats: Sequence[float] = FLOATS,
        names: Sequence[str] = (),
    ) -> None:
        self.random = random.Random(seed)
        self.wrong, self.floats, self.names = wrong, floats, list(names or REGISTRY)
        self.evaluate, self.compile_every = evaluate, compile_every
        self.counts: collections.Counter[str] = collections.Counter()
        self.seconds: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.slowest: list[tuple[float, str]] = []
        self.shown = ""
        self.folder = Path(tempfile.gettempdir())

    def value(self, depth: int = 0) -> Any:
        """Return a number, a string, a list, a schedule, or an object that no argument accepts."""
        pick, choose = self.random.random(), self.random.choice
        if pick < 0.4:
            return choose(INTS)
        if pick < 0.75:
            return choose(FLOATS)
        if pick < 0.8:
            return choose(STRINGS)
        if pick < 0.9:
            return sorted(self.random.sample(INTS, 3))
        if pick < 0.95 and depth < 2:
            return self.schedule(depth + 1) or 1.0
        return choose(WRONG)

    def argument(self, argument_type: ArgumentType | None, default: Any, depth: int = 0) -> Any:
        """Return a value for an argument, usually one of the correct type."""
        kind, choose = str(argument_type), self.random.choice
        if self.random.random() < self.wrong:
            return self.value(depth)
        if argument_type is not None and "enum" in argument_type.schema:
            return choose(argument_type.schema["enum"])
        if kind == "StepsOrFraction" and self.random.random() < 0.5:
            return choose((0.001, 0.1, 0.25, 0.5))
        if "Int" in kind or "Steps" in kind or kind == "Horizon":
            return choose(INTS)
        if kind in ("Boundaries", "Starts", "Milestones", "LaterMilestones"):
            return sorted(self.random.sample(INTS, 3))
        if kind == "Scales":
            return {step: choose(self.floats) for step in self.random.sample(INTS, 3)}
        if kind == "FiniteFloats":
            return [choose(self.floats) for _ in range(choose((3, 3, 4)))]
        if kind in ("Inner", "Operand"):
            return (self.schedule(depth + 1) if depth < 2 else None) or choose(self.floats)
        if kind in ("Schedules", "Schedulers"):
            return [self.schedule(2) or lrsched.constant(1.0) for _ in range(4)]
        if kind == "bool":
            return choose((True, False))
        if kind == "BaseOptimizer":
            return optax.scale_by_adam()
        if "Function" in kind:
            return choose(FUNCTIONS)
        if "Float" in kind or kind in ("CycleGrowth", "DecayRate", "GrowthLimit", "Rate"):
            return choose(self.floats)
        is_given = default is not inspect.Parameter.empty and self.random.random() < 0.8
        return default if is_given else choose((*self.floats, *STRINGS))

    def arguments(self, signature: inspect.Signature, types: Mapping[str, Any], depth: int) -> Any:
        """Keyword arguments: all that are required, and some of the others."""
        return {
            name: self.argument(types.get(name), parameter.default, depth)
            for name, parameter in signature.parameters.items()
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            and (parameter.default is parameter.empty or self.random.random() < 0.4)
        }

    def schedule(self, depth: int = 0, name: str | None = None) -> lrsched.Schedule | None:
        """A schedule of this name or of any, or None where the arguments were refused."""
        definition = REGISTRY[name or self.random.choice(self.names)]
        arguments = self.arguments(definition.signature, definition.argument_types, depth)
        operands = [self.schedule(2) or 0.5 for _ in range(2)] if definition.variadic else []
        try:
            return definition.create(*operands, **arguments)
        except (ValueError, TypeError) as error:
            self.check_message(definition.name, error)
            return None

    def call(self, function: Callable[..., Any]) -> Any:
        """Return the result of a function with random arguments, or None if it refuses them."""
        signature, types = SIGNATURES[function]
        arguments = self.arguments(signature, types, 2)
        self.shown = f"{function.__name__}({short_repr(arguments)[:300]})"
        try:
            return function(**arguments)
        except (ValueError, TypeError) as error:
            self.check_message(function.__name__, error)
            return None

    def check_message(self, source: str, error: Exception) -> None:
        message = str(error)
        if "\n" in message or not message or len(message) > MAX_MESSAGE:
            self.failures.append(
                f"{source}: a message of {len(message)} characters: {message!r:.300}"
            )

    def factory(self) -> str:
        made = self.schedule()
        return "refused" if made is None else self.check(made)

    def port(self) -> str:
        """Call a ported function."""
        made = self.call(self.random.choice(PORTS))
        if isinstance(made, lrsched.Schedule):
            return self.check(made)
        return "refused" if made is None else "made a transform"

    def transform(self) -> str:
        """Call the factory of an optimizer, a controller or an average."""
        return "refused" if self.call(self.random.choice(TRANSFORMS)) is None else "made"

    def check(self, made: lrsched.Schedule) -> str:
        self.shown = repr(made)
        if self.evaluate and is_one_curve(made):
            self.check_values(made)
        if "function" not in repr(made) and "lambda" not in repr(made):
            for name, read in (
                ("JSON", lambda: lrsched.from_dict(json.loads(json.dumps(lrsched.to_dict(made))))),
                ("repr", lambda: parse(repr(made))),
                ("pickle", lambda: pickle.loads(pickle.dumps(made))),
            ):
                try:
                    if read() != made:
                        self.failures.append(f"{name} differs: {made!r:.500}")
                except Exception as error:
                    self.failures.append(
                        f"{name}: {made!r:.300}: {type(error).__name__} {error!s:.200}"
                    )
        return "made"

    def check_values(self, made: lrsched.Schedule) -> None:
        # The product of a function has one factor for each step: 2**31 of them take minutes.
        steps = STEPS[STEPS <= 10**6] if "torch.product" in self.shown else STEPS
        values = evaluate_eagerly(made, steps)
        self.counts["evaluated"] += 1
        if values.dtype != np.float32 or values.shape != steps.shape:
            self.failures.append(f"{values.dtype}{values.shape}: {made!r:.500}")
        if not np.all(np.isfinite(values)):
            self.failures.append(f"not finite: {made!r:.500} at {steps[~np.isfinite(values)]}")
        horizon = made.horizon
        if isinstance(horizon, int):
            after = values[horizon <= steps]
            if len(after) and not np.all(after == after[0]):
                self.failures.append(f"not held from {horizon}: {made!r:.500} {after}")
        if self.counts["evaluated"] % self.compile_every == 0:
            self.counts["compiled"] += 1
            compiled = np.asarray(made(steps))
            # Relative to the largest value: sums of operands of either sign cancel.
            if not np.allclose(compiled, values, 1e-5, 1e-5 * np.max(np.abs(values))):
                self.failures.append(f"compiled differs: {made!r:.500} {compiled} {values}")

    def mapping(self) -> str:
        data = self.data()
        self.shown = short_repr(data)[:300]
        return self.outcome("from_dict", lambda: lrsched.from_dict(data), (ValueError,))

    def file(self) -> str:
        """Read a JSON or YAML file with some characters replaced, and return the outcome."""
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            is_bomb = self.random.random() < 0.01
            text = YAML_BOMB if is_bomb else json.dumps(self.data(has_bomb=False))[:20_000]
            for _ in range(self.random.choice((0, 0, 1, 3))):
                place = self.random.randrange(len(text) + 1)
                text = text[:place] + self.random.choice(FILE_JUNK) + text[place + 1 :]
            file = self.folder / f"schedule.{self.random.choice(('json', 'yaml', 'yml'))}"
            file.write_text(text)
            self.shown = f"{file.suffix} {text:.300}"
            return self.outcome("file", lambda: read_schedule(str(file)), (ValueError, OSError))
        return "left out"

    def data(self, has_bomb: bool = True) -> Any:
        """Return a mapping that may describe a schedule.

        Args:
          has_bomb: Whether the mapping may be a bomb, which is too large to write to a file.
        """
        pick = self.random.random()
        if pick < 0.02:
            hostile = [cyclic, lambda: deep(1000), lambda: deep(20), *([bomb] if has_bomb else [])]
            data: Any = self.random.choice(hostile)()
        elif pick < 0.1:
            data = self.value()
        else:
            definition = self.random.choice(list(REGISTRY.values()))
            data = {"schedule": definition.name}
            names = [*definition.signature.parameters, "self", "$schema", "shape", 3]
            for name in self.random.sample(names, self.random.randint(1, len(names))):
                is_known = name in definition.argument_types and name != definition.variadic
                types, signature = definition.argument_types, definition.signature
                value = (
                    self.argument(types[name], signature.parameters[name].default, 2)
                    if is_known
                    else self.value(2)
                )
                data[name] = (
                    lrsched.to_dict(value) if isinstance(value, lrsched.Schedule) else value
                )
        return data

    def text(self) -> str:
        made = self.schedule()
        text = list(repr(made) if made else "warmup(10) * 1e-3 >> cosine(1e-3, 90)")
        for _ in range(self.random.randint(0, 4)):
            place = self.random.randrange(len(text) + 1)
            junk = self.random.choice(
                ["(", ")", ",", "=", "1e999", ">>", "**", "x", "'", "\\", "\0"]
            )
            text[place : place + self.random.randint(0, 3)] = [
                junk * self.random.choice((1, 1, 200))
            ]
        joined = self.shown = "".join(text)
        if self.random.random() < 0.5:
            return self.outcome("parse", lambda: parse(joined), (ValueError,))
        library = self.random.choice(LIBRARIES)
        names = importlib.import_module(f"lrsched.compat.{library}").__all__
        values = [
            repr(self.random.choice((*FLOATS, *INTS, "cos", [1, 2], [0.1, 0.2], None)))
            for _ in range(self.random.randint(0, 4))
        ]
        call = f"{self.random.choice(names)}({', '.join(('optimizer', *values))})"
        self.shown = call
        return self.outcome(
            "parse_call", lambda: parse_call(call, library, 0.1), (ValueError,), call
        )

    def outcome(
        self, source: str, run: Callable[[], Any], accepted: tuple[type, ...], shown: str = ""
    ) -> str:
        try:
            run()
        except accepted as error:
            self.check_message(source, error)
            return "refused"
        except Exception as error:
            self.failures.append(f"{source} {shown}: {type(error).__name__}: {error!s:.300}")
            return "failed"
        return "made"

    def run(self, count: int) -> None:
        """Try ``count`` inputs."""
        with tempfile.TemporaryDirectory() as folder:
            self.folder = Path(folder)
            self._run(count)

    def _run(self, count: int) -> None:
        kinds = {
            "factory": self.factory,
            "file": self.file,
            "from_dict": self.mapping,
            "port": self.port,
            "text": self.text,
            "transform": self.transform,
        }
        for number in range(count):
            kind = self.random.choice(list(kinds))
            self.shown = ""
            began = time.perf_counter()
            try:
                result = kinds[kind]()
            except Exception as error:
                result = "failed"
                self.failures.append(f"{kind} {number}: {type(error).__name__}: {error!s:.400}")
            seconds = time.perf_counter() - began
            self.counts[f"{kind} {result}"] += 1
            self.seconds[kind] += seconds
            self.slowest.append((seconds, f"{kind} {number} {self.shown:.200}"))
            # The first evaluation of each kind of schedule compiles its operations.
            self.slowest = sorted(self.slowest, reverse=True)[:3]


def main() -> int:
    """Run the fuzzer and print the number of inputs for each outcome."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="number of inputs")
    parser.add_argument("--seed", type=int, default=1, help="seed of the inputs")
    parser.add_argument("--no-evaluation", action="store_true", help="do not evaluate schedules")
    parser.add_argument(
        "--compile-every", type=int, default=100, help="compile one in this number of schedules"
    )
    parser.add_argument("--x64", action="store_true", help="evaluate with 64-bit numbers enabled")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", options.x64)
    fuzzer = Fuzzer(options.seed, not options.no_evaluation, options.compile_every)
    began = time.perf_counter()
    fuzzer.run(options.count)
    for name, number in sorted(fuzzer.counts.items()):
        print(f"{name:20} {number}")
    print(", ".join(f"{kind} {total:.0f} s" for kind, total in fuzzer.seconds.items()))
    print(f"{time.perf_counter() - began:.0f} s, the slowest:")
    for seconds, which in fuzzer.slowest:
        print(f"{seconds:.2f} s {which}")
    for failure in fuzzer.failures:
        print("FAILURE", failure)
    return 1 if fuzzer.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
