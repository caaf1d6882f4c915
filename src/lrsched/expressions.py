"""Read schedules written as text: calls of schedules and their algebra, without running code.

`repr` of a schedule is such a text. It is parsed into a syntax tree that is interpreted node by
node, never evaluated by Python, so that a configuration file cannot run code.
"""

import ast
import importlib
import inspect
import math
import operator
import textwrap
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from lrsched._schedule import REGISTRY, Schedule, get_definition
from lrsched.algebra import as_schedule, staircase
from lrsched.arguments import short_repr, shorten
from lrsched.compat import LIBRARIES
from lrsched.serialize import MAX_SCHEDULES

__all__ = ["LIBRARIES", "parse", "parse_call"]

_OWN_BASE_LR: Final = ("CyclicLR",)
"""Functions whose ``base_lr`` is an argument of the original as well, not the optimizer's rate."""
_MAX_LENGTH: Final = 100_000
_OPTIMIZER_NAMES: Final = ("optimizer", "opt", "optim")
_OPTIMIZERS: Final = frozenset(
    {"Adadelta", "Adagrad", "Adam", "Adamax", "AdamW", "Lion", "NAdam", "RAdam", "RMSprop", "SGD"}
)
"""Constructors that scripts call in the place of the optimizer."""
_INTERVALS: Final = ("epoch", "step")
"""Values of Lightning's ``interval``."""
Factory: TypeAlias = Callable[..., Any]
"""Function that an expression may call."""

_SIGNS: Final[Mapping[type, Callable[[Any], Any]]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
}
_OPERATORS: Final[Mapping[type, tuple[Callable[[Any, Any], Any], bool]]] = {
    ast.Mult: (operator.mul, True),
    ast.Add: (operator.add, True),
    ast.RShift: (operator.rshift, True),
    ast.Sub: (operator.sub, False),
    ast.Div: (operator.truediv, False),
    ast.FloorDiv: (operator.floordiv, False),
    ast.Mod: (operator.mod, False),
    ast.Pow: (lambda base, exponent: _power(base, exponent), False),
}
"""Each operator's function, and whether its operands may be schedules."""
_NUMBER_FUNCTIONS: Final[Mapping[str, Factory]] = {
    "int": int,
    "float": float,
    "round": round,
    "abs": abs,
    "min": min,
    "max": max,
    "math.ceil": math.ceil,
    "math.floor": math.floor,
    "math.sqrt": math.sqrt,
    "math.exp": math.exp,
    "math.log": math.log,
    "math.pow": lambda base, exponent: _power(base, exponent),
}
"""Functions of numbers that training scripts apply to lengths: ``int(0.9 * total_steps)``."""


_EXAMPLES: Final[Mapping[str, str]] = {
    "keras": "CosineDecay(1e-3, decay_steps=1000)",
    "optax": "cosine_decay_schedule(1e-3, decay_steps=1000)",
    "timm": "CosineLRScheduler(optimizer, t_initial=300)",
    "torch": "StepLR(optimizer, step_size=30)",
    "transformers": 'get_scheduler("linear", optimizer, 100, 1000)',
}
"""A call of each library, for messages."""


def parse(text: str) -> Schedule:
    """Return the schedule that an expression describes.

    Args:
      text: Calls of registered schedules; ``>>``, ``*`` and ``+`` of them; numbers, arithmetic of
        numbers and ``int``, ``round``, ``min``, ``max`` of them; strings, lists, tuples, None,
        True and False. ``lrsched.`` before a name is optional; ``torch.StepLR(0.1, 30)`` is the
        function of `lrsched.compat`.

    Returns:
      The schedule; a number is read as a constant schedule.

    Raises:
      ValueError: If the text is anything else. The message has the part that is not accepted.

    Example:
      >>> from lrsched.expressions import parse
      >>> parse("warmup(500) * 3e-4 >> cosine(3e-4, steps=10_000 - 500)").horizon
      10000
    """
    value = _Reader(text, _find_factory).read()
    if isinstance(value, str):
        raise ValueError(
            f"{shorten(text)!r} is not accepted: it is a string; write the call without quotes."
        )
    return as_schedule(value)


def parse_call(text: str, library: str, base_lr: float = 1.0) -> Schedule:
    """Return the schedule for a call of another library, copied from a training script.

    Args:
      text: A call such as ``CosineAnnealingLR(optimizer, T_max=50)``, an assignment or a return of
        one, or what Lightning's ``configure_optimizers`` returns: ``{"scheduler": call,
        "interval": ...}``, whose ``frequency`` is applied, alone, under ``"lr_scheduler"``, or in
        ``[optimizer], [scheduler]``. A module's name before the call and the optimizer may be left
        out.
      library: ``"keras"``, ``"optax"``, ``"timm"``, ``"torch"`` or ``"transformers"``.
      base_lr: Learning rate of the optimizer, for calls that depend on one.

    Returns:
      The schedule. Its steps are the calls of ``scheduler.step()``.

    Raises:
      ValueError: If the library is not known, or the text is not a call of one of its schedules.

    Example:
      >>> from lrsched.expressions import parse_call
      >>> parse_call("StepLR(self.optimizer, step_size=90 // 3)", "torch", base_lr=0.1)
      step_decay(init=0.1, factor=0.1, every=30)
    """
    if library not in LIBRARIES:
        raise ValueError(
            f"parse_call: library={library!r} is not accepted; library must be one of "
            f"{', '.join(LIBRARIES)}."
        )
    module = importlib.import_module(f"lrsched.compat.{library}")

    def factory(name: str) -> Factory:
        short = name.rpartition(".")[2]
        try:
            function: Factory = getattr(module, short)
        except AttributeError as error:
            raise ValueError(str(error)) from None
        if short not in module.__all__:
            raise ValueError(f"{short!r} is not a schedule of {library}.")
        parameters = list(inspect.signature(function).parameters)
        if short in _OWN_BASE_LR or "base_lr" not in parameters:
            return function
        position = parameters.index("base_lr")

        def with_base_lr(*args: object, **kwargs: object) -> object:
            # The rate goes where the optimizer was, which is not first in `get_scheduler`.
            if "base_lr" in kwargs:
                return function(*args, **kwargs)
            if len(args) < position:
                return function(*args, base_lr=base_lr, **kwargs)
            return function(*args[:position], base_lr, *args[position:], **kwargs)

        return with_base_lr

    value, frequency = _unwrap(_Reader(text, factory, has_optimizer=True).read())
    if isinstance(value, tuple) and value and isinstance(value[0], Schedule):
        value = value[0]  # timm's create_scheduler_v2 returns the number of epochs beside it.
    if not isinstance(value, Schedule):
        raise ValueError(_no_schedule(text, value, library))
    return value if frequency == 1 else staircase(value, every=frequency)


class _Optimizer:
    """The value of an expression that names an optimizer."""


def _unwrap(value: Any) -> tuple[Any, Any]:
    """Return the scheduler and the frequency of what Lightning's ``configure_optimizers`` returns.

    It returns the scheduler in a dictionary, beside the optimizer in a dictionary of the two, or in
    a list beside a list of optimizers.
    """
    match value:
        case [[*optimizers], [scheduler]] if _are_optimizers(optimizers):
            value = scheduler
        case {"lr_scheduler": scheduler}:
            value = scheduler
    if not (isinstance(value, dict) and "scheduler" in value):
        return value, 1
    interval = value.get("interval", "epoch")
    if interval not in _INTERVALS:
        raise ValueError(
            f"parse_call: interval={interval!r} is not accepted; interval must be one of "
            f"{', '.join(map(repr, _INTERVALS))}."
        )
    return value["scheduler"], value.get("frequency", 1)


def _are_optimizers(values: list[object]) -> bool:
    return bool(values) and all(isinstance(value, _Optimizer) for value in values)


def _no_schedule(text: str, value: object, library: str) -> str:
    if hasattr(value, "init") and hasattr(value, "update"):
        return (
            f"{shorten(text)} follows a metric, so that it is a transform and no schedule; use it "
            f"in Python from lrsched.compat.{library}."
        )
    kinds: dict[type, str] = {
        dict: "a dictionary without a 'scheduler'",
        list: "a list",
        str: "a string",
    }
    kind = kinds.get(type(value), "not a call")
    return (
        f"{shorten(text)} is not accepted, as it is {kind}; write one call, "
        f"such as {_EXAMPLES[library]}."
    )


def _find_factory(name: str) -> Factory:
    if name in REGISTRY:  # whose own name may begin with one of the prefixes
        return REGISTRY[name].create
    name = name.removeprefix("lrsched.").removeprefix("lr.").removeprefix("compat.")
    library, _, short = name.rpartition(".")
    if library in LIBRARIES and name not in REGISTRY:
        module = importlib.import_module(f"lrsched.compat.{library}")
        if short in module.__all__:
            return getattr(module, short)
    return get_definition(name).create


class _Reader:
    """Interpreter of the syntax tree of one expression. It refuses every node it does not know.

    Attributes:
      text: The expression.
      factory: Returns the function that a dotted name stands for; raises ``ValueError``.
      has_optimizer: Whether arguments that name an optimizer are left out.
    """

    def __init__(
        self, text: str, factory: Callable[[str], Factory], has_optimizer: bool = False
    ) -> None:
        # A line of a script is indented, and a text that begins with a space is a syntax error.
        self.text = textwrap.dedent(text).strip() if isinstance(text, str) else text
        self.factory, self.has_optimizer = factory, has_optimizer
        self.num_schedules = 0

    def read(self) -> Any:
        if not isinstance(self.text, str):
            raise ValueError(
                f"{short_repr(self.text)} is not accepted; an expression must be a string."
            )
        if len(self.text) > _MAX_LENGTH:
            raise ValueError(f"the expression is longer than {_MAX_LENGTH} characters.")
        try:
            return self.value(self.expression())
        except SyntaxError as error:
            # Python's message about a long integer names a function of the interpreter.
            is_long = error.msg.startswith("Exceeds the limit")
            reason = "an integer has too many digits" if is_long else error.msg
            raise ValueError(f"{shorten(self.text)!r} is not an expression: {reason}.") from None
        except UnicodeError:
            raise ValueError(
                f"{shorten(self.text)!r} is not an expression: it has an invalid character."
            ) from None
        except (RecursionError, MemoryError):
            raise ValueError("the expression is nested too deeply.") from None
        except (TypeError, ArithmeticError, AttributeError, LookupError) as error:
            raise ValueError(f"{shorten(self.text)!r} is not accepted: {error}.") from None

    def expression(self) -> ast.expr:
        match ast.parse(self.text).body:
            # `scheduler = StepLR(...)`, `self.scheduler: LRScheduler = ...` and `return ...`.
            case [
                ast.Expr(value=ast.expr() as node)
                | ast.Assign(value=ast.expr() as node)
                | ast.AnnAssign(value=ast.expr() as node)
                | ast.Return(value=ast.expr() as node)
            ]:
                return node
        raise SyntaxError("it must be one expression")

    def value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=int() | float() | str() | bool() | None):
                return node.value
            case ast.Name(id="inf"):
                return float("inf")
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self.value(item) for item in items]
            case ast.Dict(keys=keys, values=values) if None not in keys:
                pairs = [
                    (self.value(key), self.value(value))  # type: ignore[arg-type]
                    for key, value in zip(keys, values, strict=True)
                ]
                result = dict(pairs)
                if len(result) < len(pairs):
                    raise ValueError(f"{shorten(self.text)!r} has a key twice in one dictionary.")
                return result
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
                return _SIGNS[type(sign)](self.number(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self.operation(op, left, right)
            case ast.Call(func=function, args=args, keywords=keywords):
                return self.call(node, self.name(function), args, keywords)
            case ast.Name() | ast.Attribute() if self.is_optimizer(node):
                return _Optimizer()
        return self.refuse(node)

    def call(
        self, node: ast.Call, name: str, args: list[ast.expr], keywords: list[ast.keyword]
    ) -> Any:
        if name in _NUMBER_FUNCTIONS and not keywords:
            numbers = [self.number(arg) for arg in args]
            try:
                return _NUMBER_FUNCTIONS[name](*numbers)
            except (TypeError, ValueError):  # as math.sqrt(-1), in the words of Python
                return self.refuse(node)
        values = [self.value(arg) for arg in args if not self.is_optimizer(arg)]
        by_name: dict[str, object] = {}
        for keyword in keywords:
            if keyword.arg is None:
                return self.refuse(node)
            if keyword.arg in by_name:
                raise ValueError(f"{name}: {keyword.arg} is passed twice; pass it once.")
            if not (self.has_optimizer and keyword.arg == "optimizer"):
                by_name[keyword.arg] = self.value(keyword.value)
        if name == "dict" and not values:
            return by_name
        self.num_schedules += 1
        if self.num_schedules > MAX_SCHEDULES:
            raise ValueError(
                f"the expression is not accepted; it must have at most {MAX_SCHEDULES} calls "
                "(points, piecewise_constant and table hold many rates in one)."
            )
        try:
            return self.factory(name)(*values, **by_name)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def operation(self, op: ast.operator, left: ast.expr, right: ast.expr) -> Any:
        compute, accepts_schedules = _OPERATORS[type(op)]
        first, second = self.value(left), self.value(right)
        has_schedule = isinstance(first, Schedule) or isinstance(second, Schedule)
        for node, value in ((left, first), (right, second)):
            if not (_is_number(value) or (accepts_schedules and isinstance(value, Schedule))):
                self.refuse(node)
        if isinstance(op, ast.RShift) and not has_schedule:
            self.refuse(left)
        return compute(first, second)

    def number(self, node: ast.expr) -> Any:
        value = self.value(node)
        return value if _is_number(value) else self.refuse(node)

    def name(self, node: ast.expr) -> str:
        match node:
            case ast.Name(id=name):
                return name
            case ast.Attribute(value=value, attr=attr):
                return f"{self.name(value)}.{attr}"
        return str(self.refuse(node))

    def is_optimizer(self, node: ast.expr) -> bool:
        if self.has_optimizer and isinstance(node, ast.Call):
            return ast.unparse(node.func).rpartition(".")[2] in _OPTIMIZERS
        if not self.has_optimizer or not isinstance(node, ast.Name | ast.Attribute):
            return False
        last = node.id if isinstance(node, ast.Name) else node.attr
        return last in _OPTIMIZER_NAMES or last.endswith("_optimizer")

    def refuse(self, node: ast.expr) -> Any:
        segment = shorten(ast.get_source_segment(self.text, node) or ast.unparse(node))
        if isinstance(node, ast.Name | ast.Attribute):
            hint = "; the optimizer may be left out" if self.has_optimizer else ""
            raise ValueError(
                f"{segment!r} is not accepted, as the value of a name is not known here; write the "
                f"number or the call in its place{hint}."
            )
        if isinstance(node, ast.Lambda):
            raise ValueError(
                f"{segment!r} is not accepted, as functions are not read from text; pass it in "
                "Python, or list the rates in table([...])."
            )
        raise ValueError(
            f"{segment!r} is not accepted; an expression has calls of schedules, >>, * and + of "
            "them, numbers, strings and lists."
        )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _power(base: float, exponent: float) -> float:
    # 9**9**9 would take all memory before anything could check its size.
    if abs(exponent) > 64 or abs(base) > 2**31:
        raise OverflowError(f"{base}**{exponent} is too large")
    return float(base**exponent) if exponent < 0 else base**exponent
