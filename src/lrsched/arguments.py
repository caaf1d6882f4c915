"""Types of arguments, written as annotations, and the checks that they name.

An annotation such as ``steps: PositiveInt`` states what a function accepts, for the reader and the
type checker. It also validates the argument when the function is called and converts it into one
canonical form. Traced numbers cannot be checked; they are clamped to the nearest accepted one.
"""

import dataclasses
import difflib
import inspect
import math
import reprlib
import types
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Final,
    ParamSpec,
    TypeAlias,
    TypeGuard,
    TypeVar,
    Union,
    get_args,
    get_origin,
)

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike

from lrsched.numerics import LARGEST, MAX_STEP

if TYPE_CHECKING:
    import chex

P = ParamSpec("P")
R = TypeVar("R")

# The smallest normal number of float32. XLA flushes smaller ones to zero.
_SMALLEST_NORMAL: Final = 2.0**-126

_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother, _SHORT.maxlong = 3, 160, 400, 40


def shorten(text: str, length: int = 200) -> str:
    """Return a text, or its beginning and three dots if it is longer than ``length``."""
    return text if len(text) <= length else f"{text[: length - 3]}..."


def first_paragraph(error: BaseException) -> str:
    """Return the message of an error in one line.

    JAX explains its errors over many lines; the first paragraph names the fault.
    """
    return " ".join(str(error).partition("\n\n")[0].split())


def short_repr(value: object) -> str:
    """Return a representation of bounded length for an error message.

    Hostile input must not make the message itself expensive: nested containers are abbreviated,
    and integers beyond Python's limit for conversion to text are described.
    """
    try:
        text = _SHORT.repr(value)
        # Arrays are shown in several lines; an error message has one.
        return " ".join(text.split()) if "\n" in text else text
    except Exception:
        return f"<{type(value).__name__}>"


def not_accepted(
    function: str, name: str, value: object, requirement: str, reason: str = ""
) -> ValueError:
    """Return the error of an argument that is not accepted, as one sentence.

    Args:
      function: Name of the function that is called.
      name: Name of the argument.
      value: The argument as passed.
      requirement: The values that are accepted, to follow "must be".
      reason: Why this value is not accepted, if the requirement does not say it.

    Returns:
      The error, to be raised.
    """
    cause = f" ({reason})" if reason else ""
    return ValueError(
        f"{function}: {name}={short_repr(value)} is not accepted{cause}; {name} must be "
        f"{requirement}."
    )


@dataclasses.dataclass(frozen=True)
class ArgumentType:
    """One type of argument.

    Attributes:
      name: Name that ``help()`` shows.
      description: Description of the accepted values, for error messages.
      parse: Function that returns the argument in its canonical form, or raises ``ValueError`` or
        ``TypeError``.
      static: Whether the argument is part of the compiled program instead of its data.
      schema: JSON Schema of the values that a configuration file may hold.
    """

    name: str
    description: str
    parse: Callable[[Any], Any]
    static: bool = False
    schema: Mapping[str, object] = dataclasses.field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        return self.name

    def validate(self, function: str, name: str, value: object) -> Any:
        """Return ``value`` in its canonical form.

        Args:
          function: Name of the function that is called, for the message.
          name: Name of the argument, for the message.
          value: The argument as passed.

        Returns:
          The argument in its canonical form.

        Raises:
          ValueError: If the type does not accept the value.
        """
        try:
            return self.parse(value)
        except (ValueError, TypeError, OverflowError) as error:
            reason = "" if isinstance(error, OverflowError) else str(error)
            raise not_accepted(function, name, value, self.description, reason) from None


def bind_arguments(
    name: str, signature: inspect.Signature, args: Sequence[object], kwargs: Mapping[str, object]
) -> inspect.BoundArguments:
    """Bind arguments to a signature and apply its defaults.

    Args:
      name: Name of the function, for the message.
      signature: Signature of the function.
      args: Positional arguments.
      kwargs: Keyword arguments.

    Returns:
      The bound arguments.

    Raises:
      TypeError: If an argument is missing or not expected. The message lists the arguments.
    """
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError:
        accepted = ", ".join(map(_without_annotation, signature.parameters.values()))
        accepted += _renamed(signature, kwargs)
        try:
            # An unexpected argument is reported before a missing one: it is often the missing one
            # under another name.
            signature.bind_partial(*args, **kwargs)
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}: {error}; it takes {accepted}.") from None
    bound.apply_defaults()
    return bound


_SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "lr": ("peak", "init", "value", "learning_rate", "base_lr"),
    "learning_rate": ("peak", "init", "value", "lr", "base_lr"),
    "init_lr": ("init", "peak"),
    "max_lr": ("peak", "base_lr"),
    "peak_value": ("peak",),
    "init_value": ("init", "peak"),
    "min_lr": ("end", "eta_min", "lr_min"),
    "eta_min": ("end",),
    "end_value": ("end",),
    "T_max": ("steps",),
    "total_steps": ("steps",),
    "decay_steps": ("steps",),
    "transition_steps": ("steps",),
    "num_steps": ("steps",),
    "num_training_steps": ("steps",),
    "warmup_steps": ("warmup",),
    "num_warmup_steps": ("warmup",),
    "decay_rate": ("factor",),
    "gamma": ("factor",),
}
"""Names of arguments in other libraries, and their names here, the likeliest first."""


def _renamed(signature: inspect.Signature, kwargs: Mapping[str, object]) -> str:
    """Name the arguments that unknown keywords are likely to mean, as a clause for a message."""
    known = signature.parameters
    clauses = []
    for key in kwargs.keys() - known.keys():
        synonyms = [name for name in _SYNONYMS.get(key, ()) if name in known]
        near = synonyms[:1] or difflib.get_close_matches(key, known, n=1)
        clauses += [f"{key} is called {name} here" for name in near]
    return "".join(f"; {clause}" for clause in sorted(clauses))


def _without_annotation(parameter: inspect.Parameter) -> str:
    return str(parameter.replace(annotation=inspect.Parameter.empty))


def validate_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Validate a function's arguments at each call by the types that its annotations name.

    Args:
      function: Function whose annotations come from this module.

    Returns:
      The same function with validated arguments. ``help()`` shows the names of the types.
    """
    name = function.__name__
    signature = inspect.signature(function, eval_str=True)
    argument_types = {
        key: argument_type_of(parameter.annotation)
        for key, parameter in signature.parameters.items()
    }

    @wraps(function)
    def validated(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = bind_arguments(name, signature, args, kwargs)
        for key, value in bound.arguments.items():
            argument_type = argument_types[key]
            if argument_type and not (value is None and signature.parameters[key].default is None):
                bound.arguments[key] = argument_type.validate(name, key, value)
        return function(*bound.args, **bound.kwargs)

    # As written where it is text: ArrayLike is a union of eight types once it is evaluated.
    written = inspect.signature(function)
    shown = []
    for key, parameter in written.parameters.items():
        annotation: object = argument_types[key] or parameter.annotation
        if isinstance(annotation, ArgumentType) and parameter.default is None:
            annotation = dataclasses.replace(annotation, name=f"{annotation.name} | None")
        shown.append(parameter.replace(annotation=annotation))
    validated.__signature__ = written.replace(parameters=shown)  # type: ignore[attr-defined]
    return validated


def is_traced(tree: object) -> bool:
    """Return whether any leaf of a pytree is a tracer, whose value is not known yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def concrete_size(name: str, size: ArrayLike) -> int:
    """Return a number that decides shapes, such as the size of an array in a state, as an int.

    Args:
      name: Name of the argument.
      size: Size, a Python integer or an array.

    Returns:
      The size.

    Raises:
      ValueError: If ``size`` is traced.
    """
    if is_traced(size):
        raise ValueError(
            f"{name}={size!r} is not accepted; {name} must be a concrete number, as it decides the "
            "shapes of arrays: write lrsched.inject_schedules(factory)(...), which passes it on as "
            f"it is, or static_args=({name!r},) in optax.inject_hyperparams."
        )
    return int(np.asarray(size))


def check_below(
    function: str,
    name: str,
    value: ArrayLike,
    bound_name: str,
    bound: ArrayLike,
    allow_equal: bool = False,
) -> None:
    """Raise ``ValueError`` if one argument is not below another one; traced numbers pass.

    Args:
      function: Name of the function that is called.
      name: Name of the lower argument.
      value: The lower argument, a number or an array.
      bound_name: Name of the higher argument.
      bound: The higher argument.
      allow_equal: Whether the two may be equal.
    """
    if is_traced((value, bound)):
        return
    low, high = np.asarray(value), np.asarray(bound)
    if np.any(low > high if allow_equal else low >= high):
        relation = "at most" if allow_equal else "below"
        raise not_accepted(function, name, value, f"{relation} {bound_name}={short_repr(bound)}")


def _is_unknown(value: object) -> TypeGuard[jax.Array]:
    """Return whether a value cannot be read: under a trace, or partly on other hosts."""
    return isinstance(value, jax.Array) and (is_traced(value) or not value.is_fully_addressable)


def _parse_number(
    value: object,
    is_valid: Callable[[float | np.ndarray], bool | np.ndarray],
    integral: bool = False,
    allow_infinite: bool = False,
) -> "chex.Numeric":
    """Return a Python number, or an array of numbers (for ``vmap``), if all of them are valid."""
    # Schedules are made in loops of sweeps: Python numbers do not go through NumPy.
    if type(value) is int or type(value) is float:
        if not (allow_infinite or math.isfinite(value)):
            raise ValueError
        if not is_valid(value) or (integral and value != int(value)):
            raise ValueError
        return int(value) if integral else value
    if _is_unknown(value):
        return value
    if isinstance(value, str | bytes | bool) or value is None:
        raise TypeError
    numbers = np.asarray(value)
    if not any(jnp.issubdtype(numbers.dtype, kind) for kind in (jnp.integer, jnp.floating)):
        raise TypeError
    wide = numbers.astype(np.float64)
    if not np.all(
        (np.isfinite(wide) | allow_infinite)
        & is_valid(wide)
        & ((wide == np.rint(wide)) | (not integral))
    ):
        raise ValueError
    if isinstance(value, jax.Array):
        return value
    if integral:
        numbers = numbers.astype(np.int64)
    return numbers.item() if numbers.ndim == 0 else _read_only(numbers)


def in_range(
    ge: float = -math.inf,
    gt: float = -math.inf,
    le: float = math.inf,
    lt: float = math.inf,
    allow_infinite: bool = False,
) -> Callable[[object], ArrayLike]:
    """Return a parser of real numbers within bounds.

    Args:
      ge: Inclusive lower bound. Defaults to no bound.
      gt: Exclusive lower bound. Defaults to no bound.
      le: Inclusive upper bound. Defaults to no bound.
      lt: Exclusive upper bound. Defaults to no bound.
      allow_infinite: Whether infinities within the bounds are accepted. Defaults to ``False``.

    Returns:
      A function that returns a Python float for a number, and float32 for an array. It raises
      ``ValueError`` or ``TypeError`` for a value out of bounds or above 2**126 in magnitude.
    """
    lowest = max(ge, _next_above(gt))
    highest = min(le, -_next_above(-lt))

    def is_within(values: float | np.ndarray) -> np.ndarray:
        # Exclusive bounds hold in float32 too: 1 - 1e-9 becomes 1.0 there, and 1e-40 becomes 0.0.
        with np.errstate(over="ignore"):
            single = np.asarray(values).astype(np.float32).astype(np.float64)
        single = np.where(np.abs(single) < _SMALLEST_NORMAL, 0.0, single)
        is_small = (np.abs(values) <= LARGEST) | (allow_infinite & np.isinf(values))
        is_high = (values >= ge) & (((values > gt) & (single > gt)) | np.isneginf(gt))
        return (
            is_small & is_high & (values <= le) & (((values < lt) & (single < lt)) | (lt == np.inf))
        )

    def is_within_scalar(value: float) -> bool:
        """Return the same for a Python float, without the cost of NumPy's calls."""
        if not abs(value) <= LARGEST:
            return allow_infinite and math.isinf(value) and ge <= value <= le and gt < value
        single = float(np.float32(value))
        single = 0.0 if abs(single) < _SMALLEST_NORMAL else single
        return ge <= value <= le and gt < value < lt and gt < single < lt

    def parse(value: object) -> ArrayLike:
        if type(value) is float or type(value) is int:
            value = float(value)
            if is_within_scalar(value):
                return value
            raise ValueError(_beyond_float32(value))
        number = _parse_number(value, is_within, allow_infinite=allow_infinite)
        if isinstance(number, jax.Array):
            number = number.astype(jnp.promote_types(number.dtype, jnp.float32))
            return _clamp_traced(number, lowest, highest)
        if isinstance(number, np.ndarray):
            return _read_only(number.astype(np.float32))
        return float(number)

    return parse


def _next_above(bound: float) -> float:
    """Return the least float32 that is above an exclusive bound and not flushed to zero."""
    if bound == 0:
        return _SMALLEST_NORMAL
    if bound == -math.inf:
        return bound
    return float(np.nextafter(np.float32(bound), np.float32(np.inf)))


def _clamp_traced(number: Any, lowest: float = -math.inf, highest: float = math.inf) -> ArrayLike:
    """Return a number, within bounds if it is traced: others were checked.

    A traced number out of bounds would make NaN, as ``0 / steps``.
    """
    if not is_traced(number):
        return number
    # Not jnp.maximum, which halves the gradient at the bound itself, such as an ``end`` of 0.
    if lowest > -math.inf:
        number = jnp.where(number < lowest, lowest, number)
    return jnp.where(number > highest, highest, number) if highest < math.inf else number


def _beyond_float32(value: float) -> str:
    """Return why a finite number has no float32 counterpart, or nothing if it has one."""
    if LARGEST < abs(value) < math.inf:
        return f"above {LARGEST:.2g} in magnitude, it overflows in float32"
    if 0 < abs(value) < _SMALLEST_NORMAL:
        return f"below {_SMALLEST_NORMAL:.2g} in magnitude, it is 0 in float32"
    return ""


def _steps_from(least: int) -> Callable[[object], "chex.Numeric"]:
    def parse(value: object) -> "chex.Numeric":
        if type(value) is int:
            if least <= value <= MAX_STEP:
                return value
            raise ValueError
        number = _parse_number(value, lambda v: (v >= least) & (v <= MAX_STEP), integral=True)
        return _clamp_traced(number, least) if least >= 0 else number

    return parse


def _as_vector(value: Any) -> Any:
    """Return numbers with at least one axis. A list that holds jax arrays is stacked."""
    if isinstance(value, list | tuple) and any(isinstance(item, jax.Array) for item in value):
        value = jnp.stack([jnp.asarray(item) for item in value])
    try:
        num_axes = np.ndim(value)
    except ValueError:  # NumPy explains a ragged list in terms of its own.
        raise ValueError("its lists differ in length") from None
    if num_axes < 1:
        raise TypeError
    return value


def _parse_floats(value: object) -> ArrayLike:
    # NumPy reads True beside numbers as 1.0, which the type of the array no longer shows.
    if isinstance(value, list | tuple) and any(isinstance(item, bool) for item in value):
        raise TypeError
    numbers = _as_vector(value)
    if np.shape(numbers)[-1] == 0:
        raise ValueError
    return in_range()(numbers)


def _parse_boundaries(value: object) -> "chex.Array":
    numbers = _as_vector(value)
    if np.shape(numbers)[-1] == 0:
        return _read_only(np.zeros(0, np.int64))
    steps = _steps_from(0)(numbers)
    if not _is_unknown(steps) and np.any(np.diff(steps) <= 0):
        raise ValueError
    return steps


def _parse_steps_or_fraction(value: object) -> "chex.Numeric":
    """Return an int for a length in steps and a float for a fraction: the dtype says which."""
    if type(value) is int and 0 <= value <= MAX_STEP:
        return value
    if type(value) is float and 0 < value < 1:
        return value
    length = _parse_number(value, lambda values: (values >= 0) & (values <= MAX_STEP))
    if is_traced(length):
        return _clamp_traced(length, 0)
    if _is_unknown(length) or jnp.issubdtype(jnp.result_type(length), jnp.integer):
        return length
    values = np.asarray(length)
    if np.all(values == 0):
        return 0
    if not np.all((values > 0) & (values < 1)):
        raise ValueError
    return length


def _parse_cycle_growth(value: object) -> "chex.Numeric":
    return _clamp_traced(_parse_number(value, lambda v: (v >= 1) & (v <= MAX_STEP)), 1)


def instance_of(kind: type[R]) -> Callable[[object], R]:
    """Return a parser that accepts the instances of a class as they are."""

    def parse(value: object) -> R:
        if not isinstance(value, kind):
            raise TypeError
        return value

    return parse


def _read_only(numbers: np.ndarray) -> np.ndarray:
    """Return a read-only copy: int32 for integers, else float32."""
    is_integer = np.issubdtype(numbers.dtype, np.integer)
    numbers = numbers.astype(np.int32 if is_integer else np.float32)
    numbers.flags.writeable = False
    return numbers


def _integer_schema(least: int) -> dict[str, object]:
    return {"type": "integer", "minimum": least, "maximum": MAX_STEP}


_NUMBER = {"type": "number"}

FINITE_FLOAT = ArgumentType("FiniteFloat", "a finite number", in_range(), schema=_NUMBER)
POSITIVE_FLOAT = ArgumentType(
    "PositiveFloat",
    "a finite number above 0",
    in_range(gt=0),
    schema=_NUMBER | {"exclusiveMinimum": 0},
)
SIGNED_INT = ArgumentType(
    "SignedInt",
    "a whole number from -(2**31 - 1) to 2**31 - 1",
    _steps_from(-MAX_STEP),
    schema=_integer_schema(-MAX_STEP),
)
NON_NEGATIVE_INT = ArgumentType(
    "NonNegativeInt",
    "a whole number, 0 or more, at most 2**31 - 1",
    _steps_from(0),
    schema=_integer_schema(0),
)
POSITIVE_INT = ArgumentType(
    "PositiveInt",
    "a whole number, 1 or more, at most 2**31 - 1",
    _steps_from(1),
    schema=_integer_schema(1),
)
CYCLE_GROWTH = ArgumentType(
    "CycleGrowth",
    "a finite number of 1 or more (an int, or a float that rounds lengths to whole steps)",
    _parse_cycle_growth,
    schema=_NUMBER | {"minimum": 1},
)
STEPS_OR_FRACTION = ArgumentType(
    "StepsOrFraction",
    "a whole number of steps (an int, 0 or more) or a fraction of the whole (a float in (0, 1))",
    _parse_steps_or_fraction,
    schema={
        "anyOf": [_integer_schema(0), _NUMBER | {"exclusiveMinimum": 0, "exclusiveMaximum": 1}]
    },
)
FINITE_FLOATS = ArgumentType(
    "FiniteFloats",
    "a list of one or more finite numbers",
    _parse_floats,
    schema={"type": "array", "items": _NUMBER, "minItems": 1},
)
BOUNDARIES = ArgumentType(
    "Boundaries",
    "a list of whole numbers of steps, 0 or more, each above the one before",
    _parse_boundaries,
    schema={"type": "array", "items": _integer_schema(0)},
)
FLAG = ArgumentType(
    "bool", "True or False", instance_of(bool), static=True, schema={"type": "boolean"}
)
TEXT = ArgumentType("str", "a string", instance_of(str), static=True, schema={"type": "string"})


OPEN_UNIT_FLOAT = ArgumentType(
    "OpenUnitFloat",
    "a number above 0 and below 1",
    in_range(gt=0, lt=1),
    schema=_NUMBER | {"exclusiveMinimum": 0, "exclusiveMaximum": 1},
)


def whole_number(ge: int = 1) -> ArgumentType:
    """Return the argument type of one concrete whole number, which becomes a Python int.

    Args:
      ge: Inclusive lower bound.

    Returns:
      A static argument type.
    """
    parse = _concrete(_steps_from(ge), int)
    return ArgumentType("int", f"a whole number from {ge} to 2**31 - 1", parse, static=True)


def real_number(description: str, parse: Callable[[object], ArrayLike]) -> ArgumentType:
    """Return the argument type of one concrete real number, which becomes a Python float.

    Args:
      description: Description of the accepted numbers, for error messages.
      parse: Parser of the numbers, as from `in_range`.

    Returns:
      A static argument type.
    """
    return ArgumentType("float", description, _concrete(parse, float), static=True)


def _concrete(
    parse: Callable[[object], ArrayLike], convert: Callable[[Any], R]
) -> Callable[[object], R]:
    """Return a parser that refuses arrays with axes and traced numbers."""

    def parse_one(value: object) -> R:
        number = parse(value)
        if np.ndim(number) or is_traced(number):
            raise TypeError
        return convert(number)

    return parse_one


FINITE_NUMBER: Final[ArgumentType] = real_number("a finite number", in_range())
NON_NEGATIVE_NUMBER: Final[ArgumentType] = real_number(
    "a finite number of 0 or more", in_range(ge=0)
)
POSITIVE_NUMBER: Final[ArgumentType] = real_number("a finite number above 0", in_range(gt=0))


def one_of(name: str, choices: Sequence[str], otherwise: str | None = None) -> ArgumentType:
    """Return the argument type of a choice among strings.

    Args:
      name: Name of the type.
      choices: Accepted strings.
      otherwise: Description of the callables that are accepted as well. If ``None``, no callable
        is accepted.

    Returns:
      A static argument type.
    """

    def parse(value: object) -> object:
        if (isinstance(value, str) and value in choices) or (otherwise and callable(value)):
            return value
        raise ValueError

    description = f"one of {', '.join(map(repr, choices))}"
    description = f"{description}, or {otherwise}" if otherwise else description
    return ArgumentType(name, description, parse, static=True, schema={"enum": list(choices)})


def argument_type_of(annotation: object) -> ArgumentType | None:
    """Return the argument type that an annotation names, also within ``X | None``, or ``None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        return argument_type_of(members[0]) if len(members) == 1 else None
    for item in getattr(annotation, "__metadata__", ()):
        if isinstance(item, ArgumentType):
            return item
    plain = {float: FINITE_FLOAT, int: SIGNED_INT, bool: FLAG, str: TEXT}
    return next((result for known, result in plain.items() if annotation is known), None)


FiniteFloat: TypeAlias = Annotated[ArrayLike, FINITE_FLOAT]
"""A finite number, such as a learning rate."""
PositiveFloat: TypeAlias = Annotated[ArrayLike, POSITIVE_FLOAT]
"""A finite number above 0, such as a factor, an exponent or a divisor."""
PositiveInt: TypeAlias = Annotated[ArrayLike, POSITIVE_INT]
"""A number of steps, or of anything else that is counted, of at least 1."""
NonNegativeInt: TypeAlias = Annotated[ArrayLike, NON_NEGATIVE_INT]
"""A number of steps, or of anything else that is counted, of at least 0."""
StepsOrFraction: TypeAlias = Annotated[ArrayLike, STEPS_OR_FRACTION]
"""A length within a known total: an int in steps, or a float as a fraction of the total.

A fraction is rounded to the nearest step, so that its gradient is 0.
"""
SignedInt: TypeAlias = Annotated[ArrayLike, SIGNED_INT]
"""An integer of either sign."""
CycleGrowth: TypeAlias = Annotated[ArrayLike, CYCLE_GROWTH]
"""A multiplier of cycle lengths. An int is exact; a float rounds each length to whole steps."""
FiniteFloats: TypeAlias = Annotated[Sequence[ArrayLike] | np.ndarray | jax.Array, FINITE_FLOATS]
"""A list of one or more finite numbers."""
Boundaries: TypeAlias = Annotated[Sequence[ArrayLike] | np.ndarray | jax.Array, BOUNDARIES]
"""A list of steps in increasing order."""
OpenUnitFloat: TypeAlias = Annotated[ArrayLike, OPEN_UNIT_FLOAT]
"""A number strictly between 0 and 1, such as the factor that lowers a rate."""


def _parse_dtype(value: DTypeLike) -> np.dtype:
    dtype = jnp.dtype(value)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError
    return dtype


Dtype: TypeAlias = Annotated[
    DTypeLike,
    ArgumentType(
        "Dtype", "a floating-point dtype, such as jnp.bfloat16", _parse_dtype, static=True
    ),
]
"""The dtype of arrays in a state."""


def _parse_optimizer(value: object) -> object:
    if not (callable(getattr(value, "init", None)) and callable(getattr(value, "update", None))):
        raise TypeError
    return value


BASE_OPTIMIZER = ArgumentType(
    "BaseOptimizer",
    "an optax transform, such as optax.adam(1e-3)",
    _parse_optimizer,
    static=True,
)
BaseOptimizer: TypeAlias = Annotated[optax.GradientTransformation, BASE_OPTIMIZER]
"""The optax transform that an adaptive method wraps."""
Direction: TypeAlias = Annotated[
    optax.GradientTransformation,
    ArgumentType(
        "Direction",
        "an optax transform without a rate, such as optax.scale_by_adam()",
        _parse_optimizer,
        static=True,
    ),
]
"""A transform from gradients to a direction, which a rate multiplies afterwards."""
DECAY_RATE = ArgumentType("DecayRate", "a number from 0 to below 1", in_range(ge=0, lt=1))
DecayRate: TypeAlias = Annotated[float, DECAY_RATE]
"""The decay rate of a moving average. At 0, the average is the latest value."""
UNIT_FLOAT = ArgumentType("UnitFloat", "a number from 0 to 1", in_range(ge=0, le=1))
UnitFloat: TypeAlias = Annotated[float, UNIT_FLOAT]
"""A number from 0 to 1."""
NON_NEGATIVE_FLOAT = ArgumentType("NonNegativeFloat", "a number of 0 or more", in_range(ge=0))
NonNegativeFloat: TypeAlias = Annotated[float, NON_NEGATIVE_FLOAT]
"""A finite number of at least 0, such as ``eps`` or a weight decay."""
FloatAtLeastOne: TypeAlias = Annotated[
    float, ArgumentType("FloatAtLeastOne", "a number of 1 or more", in_range(ge=1))
]
"""A finite number of at least 1."""
GrowthLimit: TypeAlias = Annotated[
    float,
    ArgumentType(
        "GrowthLimit", "a number above 1, or infinity", in_range(gt=1, allow_infinite=True)
    ),
]
"""The largest factor by which an estimate grows in one update. Infinity disables the limit."""
Mode: TypeAlias = Annotated[str, one_of("Mode", ("min", "max"))]
"""Whether a metric improves when it decreases ("min") or when it increases ("max")."""
