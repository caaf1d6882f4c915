"""Schedules written as text: calls and the algebra over registered names, nothing that runs code.

What `repr` of a schedule shows is such a text. It is read as a syntax tree, never evaluated.
"""

import ast
import importlib
import inspect
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from lrsched._schedule import REGISTRY, Schedule, get_definition
from lrsched.algebra import as_schedule

LIBRARIES: Final = ("keras", "optax", "timm", "torch", "transformers")
_OF_THEIR_OWN: Final = ("CyclicLR",)
"""Whose ``base_lr`` is an argument at the peer's too, and not the optimizer's rate."""
_LONGEST: Final = 100_000
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
    ast.Pow: (lambda base, exponent: _power(base, exponent), False),
}


def parse(text: str) -> Schedule:
    """The schedule that an expression is: ``warmup(500) * 3e-4 >> cosine(3e-4, steps=9500)``.

    Args:
      text: calls of registered schedules, ``>>``, ``*`` and ``+`` of them, numbers and arithmetic
        of numbers, strings, lists, None, True and False. ``lrsched.`` before a name is left out;
        ``torch.StepLR(0.1, 30)`` is that of `lrsched.compat`.

    Raises:
      ValueError: anything else, with the part of the text that is not accepted.

    >>> from lrsched.expressions import parse
    >>> parse("warmup(500) * 3e-4 >> cosine(3e-4, steps=10_000 - 500)").horizon
    10000
    """
    return as_schedule(_Reader(text, _named).read())


def parse_call(text: str, peer: str, base_lr: float = 1.0) -> Schedule:
    """Our schedule for a peer's call as it stands in a training script.

    Args:
      text: ``CosineAnnealingLR(optimizer, T_max=50)``; a module's name before it and the optimizer,
        which must be a plain name, may be left out.
      peer: "keras", "optax", "timm", "torch" or "transformers".
      base_lr: the optimizer's rate, for the calls that follow one.

    Raises:
      ValueError: another peer, something else than a call, or a rule that follows a metric.

    >>> from lrsched.expressions import parse_call
    >>> parse_call("StepLR(optimizer, step_size=30)", "torch", base_lr=0.1)
    step_decay(init=0.1, factor=0.1, every=30)
    """
    if peer not in LIBRARIES:
        raise ValueError(
            f"peer={peer!r} is not accepted; it must be one of {', '.join(LIBRARIES)}."
        )
    module = importlib.import_module(f"lrsched.compat.{peer}")

    def factory(name: str) -> Callable[..., Any]:
        short = name.rpartition(".")[2]
        try:
            found: Callable[..., Any] = getattr(module, short)
        except AttributeError as error:
            raise ValueError(str(error)) from None
        if short not in module.__all__:
            raise ValueError(f"{short!r} is no schedule of {peer}.")
        parameters = list(inspect.signature(found).parameters)
        if short in _OF_THEIR_OWN or "base_lr" not in parameters:
            return found
        place = parameters.index("base_lr")

        def at_the_rate(*args: Any, **kwargs: Any) -> Any:
            """The rate goes where the optimizer stood, which is not first in `get_scheduler`."""
            if "base_lr" in kwargs:
                return found(*args, **kwargs)
            if len(args) < place:
                return found(*args, base_lr=base_lr, **kwargs)
            return found(*args[:place], base_lr, *args[place:], **kwargs)

        return at_the_rate

    found = _Reader(text, factory, left_out=("optimizer", "opt", "optim")).read()
    if isinstance(found, tuple) and isinstance(found[0], Schedule):
        found = found[0]  # timm returns the number of epochs beside it
    if not isinstance(found, Schedule):
        raise ValueError(
            f"{text} follows a metric, so that it is a transform and no schedule; in Python it is "
            f"in lrsched.compat.{peer}."
        )
    return found


def _named(name: str) -> Callable[..., Any]:
    name = name.removeprefix("lrsched.").removeprefix("lr.").removeprefix("compat.")
    peer, _, short = name.rpartition(".")
    if peer in LIBRARIES and name not in REGISTRY:
        module = importlib.import_module(f"lrsched.compat.{peer}")
        if short in module.__all__:
            found: Callable[..., Any] = getattr(module, short)
            return found
    return get_definition(name).create


class _Reader:
    """One pass over the syntax tree; whatever it does not know is refused."""

    def __init__(
        self,
        text: str,
        factory: Callable[[str], Callable[..., Any]],
        left_out: tuple[str, ...] = (),
    ) -> None:
        self.text, self.factory, self.left_out = text, factory, left_out

    def read(self) -> Any:
        if len(self.text) > _LONGEST:
            raise ValueError(f"the expression is longer than {_LONGEST} characters.")
        try:
            return self.value(self.expression())
        except SyntaxError as error:
            raise ValueError(f"{self.text!r} is not an expression: {error.msg}.") from None
        except (RecursionError, MemoryError):
            raise ValueError("the expression is nested too deeply.") from None
        except (TypeError, ZeroDivisionError, OverflowError) as error:
            raise ValueError(f"{self.text!r} is not accepted: {error}.") from None

    def expression(self) -> ast.expr:
        match ast.parse(self.text.strip()).body:
            case [ast.Expr(value=node)] | [ast.Assign(value=node)]:  # `scheduler = StepLR(...)`
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
                return {
                    self.value(key): self.value(value)  # type: ignore[arg-type]
                    for key, value in zip(keys, values, strict=True)
                }
            case ast.UnaryOp(op=sign, operand=operand) if type(sign) in _SIGNS:
                return _SIGNS[type(sign)](self.number(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self.operation(op, left, right)
            case ast.Call(func=function, args=args, keywords=keywords):
                given = [arg for arg in args if not self.is_left_out(arg)]
                named = {word.arg: word.value for word in keywords if word.arg != "optimizer"}
                if None in named:
                    self.refuse(node)
                values = [self.value(arg) for arg in given]
                by_name = {str(name): self.value(value) for name, value in named.items()}
                return self.made(self.name(function), values, by_name)
        return self.refuse(node)

    def made(self, name: str, values: list[Any], by_name: dict[str, Any]) -> Any:
        try:
            return self.factory(name)(*values, **by_name)
        except TypeError as error:
            raise ValueError(str(error)) from None

    def operation(self, op: ast.operator, left: ast.expr, right: ast.expr) -> Any:
        compute, is_of_schedules = _OPERATORS[type(op)]
        first, second = self.value(left), self.value(right)
        has_schedule = isinstance(first, Schedule) or isinstance(second, Schedule)
        for node, value in ((left, first), (right, second)):
            if not (_is_number(value) or (is_of_schedules and isinstance(value, Schedule))):
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

    def is_left_out(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.left_out

    def refuse(self, node: ast.expr) -> Any:
        part = ast.get_source_segment(self.text.strip(), node) or ast.unparse(node)
        if isinstance(node, ast.Name):
            raise ValueError(
                f"{part!r} is not accepted; what a name stands for is not known here: write the "
                "number, or the call, in its place."
            )
        raise ValueError(
            f"{part!r} is not accepted; an expression has calls of schedules, >>, * and + of them, "
            "numbers, strings and lists."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _power(base: float, exponent: float) -> float:
    if abs(exponent) > 64 or abs(base) > 2**31:
        raise OverflowError(f"{base}**{exponent} is too large")
    return float(base**exponent) if exponent < 0 else base**exponent
