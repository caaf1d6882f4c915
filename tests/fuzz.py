"""Random inputs to everything that reads or makes a schedule: ``python -m tests.fuzz``.

Whatever is given, the answer is a schedule or a ``ValueError`` or ``TypeError`` of one line, in
bounded time. A schedule that is made is finite at every step, held from its horizon on, and equal
to what its text, its JSON and its pickle are read back as.
"""

import argparse
import collections
import importlib
import inspect
import json
import pickle
import random
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import lrsched
from lrsched._schedule import REGISTRY, ScheduleDefinition
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
MAX_MESSAGE = 3000


def cyclic() -> dict[str, Any]:
    """A mapping that holds itself."""
    data: dict[str, Any] = {"schedule": "shift", "steps": 1}
    data["inner"] = data
    return data


def deep(depth: int) -> dict[str, Any]:
    data: dict[str, Any] = {"schedule": "constant", "value": 1.0}
    for _ in range(depth):
        data = {"schedule": "shift", "steps": 1, "inner": data}
    return data


def bomb() -> dict[str, Any]:
    """A list of 9**9 values in 9 lists."""
    values: list[Any] = [1.0] * 9
    for _ in range(8):
        values = [values] * 9
    return {"schedule": "table", "values": values}


def is_one_curve(schedule: lrsched.Schedule) -> bool:
    """Whether no number is a list for ``vmap``."""
    try:
        return is_concrete_scalar(schedule)
    except (TypeError, ValueError):
        return False


class Fuzzer:
    """Random inputs of one seed, and what became of them."""

    def __init__(self, seed: int, evaluate: bool = True) -> None:
        self.random = random.Random(seed)
        self.evaluate = evaluate
        self.counts: collections.Counter[str] = collections.Counter()
        self.failures: list[str] = []
        self.slowest = (0.0, "")

    def value(self, depth: int = 0) -> Any:
        """A number, a string, a list, a schedule, or something that nothing accepts."""
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

    def argument(self, definition: ScheduleDefinition, name: str, depth: int) -> Any:
        """A value that is of the right type more often than not."""
        kind = str(definition.argument_types[name])
        pick, choose = self.random.random(), self.random.choice
        if pick < 0.12:
            return self.value(depth)
        if "Int" in kind or "Steps" in kind or kind == "Horizon":
            return choose(INTS)
        if kind in ("Boundaries", "Starts", "Milestones"):
            return sorted(self.random.sample(INTS, 3))
        if kind == "FiniteFloats":
            return [choose(FLOATS) for _ in range(choose((3, 3, 4)))]
        if kind in ("Inner", "Operand"):
            return (self.schedule(depth + 1) if depth < 2 else None) or choose(FLOATS)
        if kind in ("Schedules", "Schedulers"):
            return [self.schedule(2) or lrsched.constant(1.0) for _ in range(4)]
        if kind == "bool":
            return choose((True, False))
        if "Function" in kind or kind == "Lambda":
            return lambda step: 1.0 / (1 + step)
        if "Float" in kind or kind in ("CycleGrowth", "Rate", "Part", "UnitFloat"):
            return choose(FLOATS)
        default = definition.signature.parameters[name].default
        is_given = default is not inspect.Parameter.empty and self.random.random() < 0.5
        return default if is_given else choose(STRINGS)

    def schedule(self, depth: int = 0) -> lrsched.Schedule | None:
        """A schedule of any kind, or None where the arguments were refused."""
        definition = self.random.choice(list(REGISTRY.values()))
        arguments = {
            name: self.argument(definition, name, depth)
            for name, parameter in definition.signature.parameters.items()
            if name != definition.variadic
            and (parameter.default is parameter.empty or self.random.random() < 0.4)
        }
        operands = [self.schedule(2) or 0.5 for _ in range(2)] if definition.variadic else []
        try:
            return definition.create(*operands, **arguments)
        except (ValueError, TypeError) as error:
            self.check_message(definition.name, error)
            return None

    def check_message(self, source: str, error: Exception) -> None:
        message = str(error)
        if "\n" in message or not message or len(message) > MAX_MESSAGE:
            self.failures.append(
                f"{source}: a message of {len(message)} characters: {message!r:.300}"
            )

    def factory(self) -> str:
        made = self.schedule()
        if made is None:
            return "refused"
        if self.evaluate and is_one_curve(made):
            values = np.asarray(made(STEPS))
            if not np.all(np.isfinite(values)):
                self.failures.append(f"not finite: {made!r:.500} at {STEPS[~np.isfinite(values)]}")
            horizon = made.horizon
            if isinstance(horizon, int):
                after = values[horizon <= STEPS]
                if len(after) and not np.all(after == after[0]):
                    self.failures.append(f"not held from {horizon}: {made!r:.500} {after}")
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

    def mapping(self) -> str:
        pick = self.random.random()
        if pick < 0.02:
            data: Any = self.random.choice((cyclic, bomb, lambda: deep(1000), lambda: deep(20)))()
        elif pick < 0.1:
            data = self.value()
        else:
            definition = self.random.choice(list(REGISTRY.values()))
            data = {"schedule": definition.name}
            names = [*definition.signature.parameters, "self", "$schema", "shape", 3]
            for name in self.random.sample(names, self.random.randint(1, len(names))):
                is_known = name in definition.argument_types and name != definition.variadic
                value = self.argument(definition, name, 2) if is_known else self.value(2)
                data[name] = (
                    lrsched.to_dict(value) if isinstance(value, lrsched.Schedule) else value
                )
        return self.outcome("from_dict", lambda: lrsched.from_dict(data), (ValueError,))

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
        joined = "".join(text)
        if self.random.random() < 0.5:
            return self.outcome("parse", lambda: parse(joined), (ValueError,))
        library = self.random.choice(LIBRARIES)
        names = importlib.import_module(f"lrsched.compat.{library}").__all__
        values = [
            repr(self.random.choice((*FLOATS, *INTS, "cos", [1, 2], [0.1, 0.2], None)))
            for _ in range(self.random.randint(0, 4))
        ]
        call = f"{self.random.choice(names)}({', '.join(('optimizer', *values))})"
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
        kinds = {"factory": self.factory, "from_dict": self.mapping, "text": self.text}
        for number in range(count):
            kind = self.random.choice(list(kinds))
            began = time.perf_counter()
            try:
                result = kinds[kind]()
            except Exception as error:
                result = "failed"
                self.failures.append(f"{kind} {number}: {type(error).__name__}: {error!s:.400}")
            seconds = time.perf_counter() - began
            self.counts[f"{kind} {result}"] += 1
            if seconds > self.slowest[0]:
                self.slowest = seconds, f"{kind} {number}"


def main() -> int:
    """Run the fuzzer and print what became of the inputs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=20_000, help="number of inputs")
    parser.add_argument("--seed", type=int, default=1, help="seed of the inputs")
    parser.add_argument("--no-evaluation", action="store_true", help="do not compile schedules")
    parser.add_argument("--x64", action="store_true", help="evaluate with 64-bit numbers enabled")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", options.x64)
    fuzzer = Fuzzer(options.seed, not options.no_evaluation)
    began = time.perf_counter()
    fuzzer.run(options.count)
    for name, number in sorted(fuzzer.counts.items()):
        print(f"{name:20} {number}")
    seconds, which = fuzzer.slowest
    print(f"{time.perf_counter() - began:.0f} s, slowest {seconds:.2f} s ({which})")
    for failure in fuzzer.failures:
        print("FAILURE", failure)
    return 1 if fuzzer.failures else 0


if __name__ == "__main__":
    raise SystemExit(main())
