"""What an argument of a schedule may be, written as its type annotation.

An annotation such as ``steps: Length`` does three things: it tells the type checker and the reader
what to pass, it refuses anything else when the schedule is made, in one sentence, and it brings
what was passed into one form. Values under a JAX trace pass unchecked.
"""

import dataclasses
import difflib
import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, ParamSpec, TypeAlias, TypeVar, Union, get_args, get_origin

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched.numerics import MAX_STEP

P = ParamSpec("P")
R = TypeVar("R")


@dataclasses.dataclass(frozen=True)
class ArgumentType:
    """One kind of argument: its name, what it accepts in words, how it is brought into one form.

    ``parse`` returns the argument in its one form, or raises ``ValueError`` or ``TypeError``.
    ``static`` arguments are part of the program, the others are its data. ``schema`` is the JSON
    Schema of what it accepts in a file.
    """

    name: str
    description: str
    parse: Callable[[Any], Any]
    static: bool = False
    schema: Mapping[str, Any] = dataclasses.field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        return self.name

    def validate(self, function: str, name: str, given: Any) -> Any:
        """``given`` in its one form; ``ValueError`` that names it and what is accepted."""
        try:
            return self.parse(given)
        except (ValueError, TypeError) as refused:
            detail = f" ({refused})" if str(refused) else ""
            raise ValueError(
                f"{function}: {name}={given!r} is not accepted{detail}; {name} must be "
                f"{self.description}."
            ) from None


def bind_arguments(
    name: str, signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> inspect.BoundArguments:
    """The arguments under their names, defaults among them.

    Raises:
      TypeError: one too many, or one missing; it says of what, and what that takes.
    """
    try:
        found = signature.bind(*args, **kwargs)
    except TypeError:
        takes = ", ".join(map(_written, signature.parameters.values()))
        takes += _renamed(signature, kwargs)
        try:
            signature.bind_partial(*args, **kwargs)  # what is too much goes before what is missing
            signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{name}: {error}; it takes {takes}.") from None
    found.apply_defaults()
    return found


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
"""What other libraries call an argument, and its names here, the likeliest first."""


def _renamed(signature: inspect.Signature, kwargs: Mapping[str, Any]) -> str:
    """Name the arguments that unknown keywords are likely to mean, as a clause for a message."""
    known = signature.parameters
    clauses = []
    for key in kwargs.keys() - known.keys():
        synonyms = [name for name in _SYNONYMS.get(key, ()) if name in known]
        near = synonyms[:1] or difflib.get_close_matches(key, known, n=1)
        clauses += [f"{key} is called {name} here" for name in near]
    return "".join(f"; {clause}" for clause in sorted(clauses))


def _written(parameter: inspect.Parameter) -> str:
    return str(parameter.replace(annotation=inspect.Parameter.empty))


def validate_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Check a function's arguments, at each call, by what their annotations name."""
    name = function.__name__
    signature = inspect.signature(function, eval_str=True)
    kinds = {
        key: argument_type_of(parameter.annotation)
        for key, parameter in signature.parameters.items()
    }

    @wraps(function)
    def checking(*args: P.args, **kwargs: P.kwargs) -> R:
        taken = bind_arguments(name, signature, args, kwargs)
        for key, given in taken.arguments.items():
            kind = kinds[key]
            if kind and not (given is None and signature.parameters[key].default is None):
                taken.arguments[key] = kind.validate(name, key, given)
        return function(*taken.args, **taken.kwargs)

    shown = [
        parameter.replace(annotation=kinds[key] or parameter.annotation)
        for key, parameter in signature.parameters.items()
    ]
    checking.__signature__ = signature.replace(parameters=shown)  # type: ignore[attr-defined]
    return checking


def is_traced(tree: Any) -> bool:
    """Whether any number in ``tree`` is a tracer, whose value nobody knows yet."""
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def _unknown(given: Any) -> bool:
    """A jax array whose value cannot be looked at: under a trace, or on other hosts."""
    return isinstance(given, jax.Array) and (is_traced(given) or not given.is_fully_addressable)


def _number(
    given: Any, valid: Callable[[np.ndarray], Any], whole: bool = False, finite: bool = True
) -> Any:
    """A Python number, or an array of numbers (for ``vmap``), each of them ``valid``."""
    if _unknown(given):
        return given
    if isinstance(given, str | bytes | bool) or given is None:
        raise TypeError
    numbers = np.asarray(given)
    if not any(jnp.issubdtype(numbers.dtype, kind) for kind in (jnp.integer, jnp.floating)):
        raise TypeError
    values = numbers.astype(np.float64)
    if not np.all(
        (np.isfinite(values) | (not finite))
        & valid(values)
        & ((values == np.rint(values)) | (not whole))
    ):
        raise ValueError
    if isinstance(given, jax.Array):
        return given
    if whole:
        numbers = numbers.astype(np.int64)
    return numbers.item() if numbers.ndim == 0 else _frozen(numbers)


def in_range(
    ge: float = -np.inf,
    gt: float = -np.inf,
    le: float = np.inf,
    lt: float = np.inf,
    allow_infinite: bool = False,
) -> Callable[[Any], Any]:
    """Numbers within bounds that float32 can hold, floats even where an integer was written."""

    def is_within(values: np.ndarray) -> Any:
        is_held = (np.abs(values) <= _LARGEST) | (allow_infinite & np.isinf(values))
        is_high = (values >= ge) & ((values > gt) | np.isneginf(gt))
        return is_held & is_high & (values <= le) & ((values < lt) | np.isposinf(lt))

    def convert(given: Any) -> Any:
        number = _number(given, is_within, finite=not allow_infinite)
        if isinstance(number, jax.Array):
            return number.astype(jnp.promote_types(number.dtype, jnp.float32))
        if isinstance(number, np.ndarray):
            return _frozen(number.astype(np.float32))
        return float(number)

    return convert


def _steps(least: int) -> Callable[[Any], Any]:
    def convert(given: Any) -> Any:
        return _number(given, lambda v: (v >= least) & (v <= MAX_STEP), whole=True)

    return convert


def _listed(given: Any) -> Any:
    """Numbers in one dimension or more; a list that holds jax numbers is stacked."""
    if isinstance(given, list | tuple) and any(isinstance(item, jax.Array) for item in given):
        given = jnp.stack([jnp.asarray(item) for item in given])
    if np.ndim(given) < 1:
        raise TypeError
    return given


def _values(given: Any) -> Any:
    given = _listed(given)
    if np.shape(given)[-1] == 0:
        raise ValueError
    return in_range()(given)


def _boundaries(given: Any) -> Any:
    given = _listed(given)
    if np.shape(given)[-1] == 0:
        return _frozen(np.zeros(0, np.int64))
    steps = _steps(0)(given)
    if not _unknown(steps) and np.any(np.diff(steps) <= 0):
        raise ValueError
    return steps


def _phase(given: Any) -> Any:
    """An int in steps stays an int, a fraction stays a float: the type says which it is."""
    phase = _number(given, lambda values: (values >= 0) & (values <= MAX_STEP))
    if _unknown(phase) or jnp.issubdtype(jnp.result_type(phase), jnp.integer):
        return phase
    values = np.asarray(phase)
    if np.all(values == 0):
        return 0
    if not np.all((values > 0) & (values < 1)):
        raise ValueError
    return phase


def _instance_of(kind: type) -> Callable[[Any], Any]:
    def convert(given: Any) -> Any:
        if not isinstance(given, kind):
            raise TypeError
        return given

    return convert


def _frozen(numbers: np.ndarray) -> np.ndarray:
    """A copy that nobody can write to, in int32 where the numbers are whole, else float32."""
    is_integer = np.issubdtype(numbers.dtype, np.integer)
    numbers = numbers.astype(np.int32 if is_integer else np.float32)
    numbers.flags.writeable = False
    return numbers


_LARGEST = float(np.finfo(np.float32).max)


def _whole(least: int) -> dict[str, Any]:
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
    _steps(-MAX_STEP),
    schema=_whole(-MAX_STEP),
)
NON_NEGATIVE_INT = ArgumentType(
    "NonNegativeInt", "a whole number of steps from 0 to 2**31 - 1", _steps(0), schema=_whole(0)
)
POSITIVE_INT = ArgumentType(
    "PositiveInt", "a whole number of steps from 1 to 2**31 - 1", _steps(1), schema=_whole(1)
)
CYCLE_GROWTH = ArgumentType(
    "CycleGrowth",
    "a finite number of 1 or more (an int, or a float that rounds lengths to whole steps)",
    lambda given: _number(given, lambda v: (v >= 1) & (v <= MAX_STEP)),
    schema=_NUMBER | {"minimum": 1},
)
STEPS_OR_FRACTION = ArgumentType(
    "StepsOrFraction",
    "a whole number of steps (an int, 0 or more) or a fraction of the whole (a float in (0, 1))",
    _phase,
    schema={"anyOf": [_whole(0), _NUMBER | {"exclusiveMinimum": 0, "exclusiveMaximum": 1}]},
)
FINITE_FLOATS = ArgumentType(
    "FiniteFloats",
    "a list of one or more finite numbers",
    _values,
    schema={"type": "array", "items": _NUMBER, "minItems": 1},
)
BOUNDARIES = ArgumentType(
    "Boundaries",
    "a list of whole numbers of steps, 0 or more, each above the one before",
    _boundaries,
    schema={"type": "array", "items": _whole(0)},
)
FLAG = ArgumentType(
    "bool", "True or False", _instance_of(bool), static=True, schema={"type": "boolean"}
)
TEXT = ArgumentType("str", "a string", _instance_of(str), static=True, schema={"type": "string"})


def one_of(name: str, names: Sequence[str], otherwise: str | None = None) -> ArgumentType:
    """One of ``names``; with ``otherwise``, which says what it does, any callable as well."""

    def convert(given: Any) -> Any:
        if (isinstance(given, str) and given in names) or (otherwise and callable(given)):
            return given
        raise ValueError

    accepts = f"one of {', '.join(map(repr, names))}"
    accepts = f"{accepts}, or {otherwise}" if otherwise else accepts
    return ArgumentType(name, accepts, convert, static=True, schema={"enum": list(names)})


def argument_type_of(annotation: Any) -> ArgumentType | None:
    """The kind that an annotation names, also in ``Kind | None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not types.NoneType]
        return argument_type_of(members[0]) if len(members) == 1 else None
    for part in getattr(annotation, "__metadata__", ()):
        if isinstance(part, ArgumentType):
            return part
    plain = {float: FINITE_FLOAT, int: SIGNED_INT, bool: FLAG, str: TEXT}
    return next((kind for known, kind in plain.items() if annotation is known), None)


FiniteFloat: TypeAlias = Annotated[ArrayLike, FINITE_FLOAT]
"""A rate, or anything else that a schedule takes on: a finite number."""
PositiveFloat: TypeAlias = Annotated[ArrayLike, POSITIVE_FLOAT]
"""A factor, an exponent or a divisor: a finite number above 0."""
PositiveInt: TypeAlias = Annotated[ArrayLike, POSITIVE_INT]
"""A length in steps, at least 1."""
NonNegativeInt: TypeAlias = Annotated[ArrayLike, NON_NEGATIVE_INT]
"""A length in steps that may be 0."""
StepsOrFraction: TypeAlias = Annotated[ArrayLike, STEPS_OR_FRACTION]
"""A length within a known whole: steps, or a fraction of it, which rounds: its gradient is 0."""
SignedInt: TypeAlias = Annotated[ArrayLike, SIGNED_INT]
"""A whole number of either sign."""
FiniteFloats: TypeAlias = Annotated[Sequence[ArrayLike] | np.ndarray | jax.Array, FINITE_FLOATS]
"""One or more finite numbers."""
Boundaries: TypeAlias = Annotated[Sequence[ArrayLike] | np.ndarray | jax.Array, BOUNDARIES]
"""Steps in increasing order."""


def _optimizer(given: Any) -> Any:
    if not (callable(getattr(given, "init", None)) and callable(getattr(given, "update", None))):
        raise TypeError
    return given


BaseOptimizer: TypeAlias = Annotated[
    optax.GradientTransformation,
    ArgumentType(
        "BaseOptimizer", "an optax transform, such as optax.adam(1e-3)", _optimizer, static=True
    ),
]
"""The optimizer that an adaptive method wraps."""
DecayRate: TypeAlias = Annotated[
    float, ArgumentType("DecayRate", "a number from 0 to below 1", in_range(ge=0, lt=1))
]
"""The decay of a moving average; 0 keeps the latest value only."""
OpenUnitFloat: TypeAlias = Annotated[
    float, ArgumentType("OpenUnitFloat", "a number above 0 and below 1", in_range(gt=0, lt=1))
]
"""A number strictly between 0 and 1, such as the factor that a rate is lowered by."""
UnitFloat: TypeAlias = Annotated[
    float, ArgumentType("UnitFloat", "a number from 0 to 1", in_range(ge=0, le=1))
]
"""A number from 0 to 1."""
NonNegativeFloat: TypeAlias = Annotated[
    float, ArgumentType("NonNegativeFloat", "a number of 0 or more", in_range(ge=0))
]
"""A finite number of at least 0, such as an ``eps``, a margin or a weight decay."""
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
"""The largest factor by which an estimate grows in one update; infinity is no limit."""
Mode: TypeAlias = Annotated[str, one_of("Mode", ("min", "max"))]
"""Whether a metric improves when it decreases ("min") or when it increases ("max")."""
