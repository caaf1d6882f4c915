"""The decorator of ported functions: argument checks in the words of the source library."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Annotated, Any, Final, NoReturn, ParamSpec, TypeAlias, TypeVar, overload

import numpy as np
from jax.typing import ArrayLike

from lrsched._schedule import Schedule, is_number
from lrsched.arguments import (
    NON_NEGATIVE_INT,
    POSITIVE_INT,
    ArgumentType,
    argument_type_of,
    bind_arguments,
    is_traced,
    validate_arguments,
)
from lrsched.schedules.decay import linear

P = ParamSpec("P")
R = TypeVar("R")
MissingAttribute: TypeAlias = Callable[[str], NoReturn]

# Python numbers, not traced ones: ported functions compare them and take fractions of them.
Count: TypeAlias = Annotated[int, NON_NEGATIVE_INT]
"""A number of metrics, epochs or updates, 0 or more."""
PositiveCount: TypeAlias = Annotated[int, POSITIVE_INT]
"""A number of metrics, epochs or updates, 1 or more."""

REFUSED: Final[Mapping[str, str]] = {
    "last_epoch": "the step count is in the optimizer state, which a checkpoint restores; to begin "
    "later without one, use lrsched.shift(schedule, -steps)",
}
"""Arguments that change the rate in the source library, and what replaces them here."""
DROPPED: Final = frozenset({"verbose"})
"""Keywords of older versions of the source libraries that do not change the rate."""


@overload
def ported(function: Callable[P, R], /) -> Callable[P, R]: ...


@overload
def ported(
    *, refused: Mapping[str, str] | None = None
) -> Callable[[Callable[P, R]], Callable[P, R]]: ...


def ported(
    function: Callable[..., Any] | None = None, /, *, refused: Mapping[str, str] | None = None
) -> Any:
    """Check the arguments of a ported function by their annotations.

    Errors use the argument names of the source library, not those of the resulting schedule.
    Arguments that do not change the rate (``verbose``, ``name``) are accepted and ignored.

    Args:
      function: The ported function, if the decorator is used without parentheses.
      refused: Names of arguments that must keep their default, with the clause that says what
        replaces them. A name that the function lacks is refused if it is passed as a keyword.
        Added to `REFUSED`.

    Returns:
      The function with checks, or a decorator.

    Raises:
      ValueError: From the decorated function, if an argument is not accepted, has one value for
        each parameter group, or is an optimizer.
    """
    if function is None:
        return lambda decorated: _ported(decorated, {**REFUSED, **(refused or {})})
    return _ported(function, REFUSED)


def _ported(function: Callable[..., R], refused: Mapping[str, str]) -> Callable[..., R]:
    validated = validate_arguments(function)
    name = function.__name__
    signature = inspect.signature(function, eval_str=True)
    types = {key: argument_type_of(p.annotation) for key, p in signature.parameters.items()}
    foreign = DROPPED - types.keys()

    @wraps(validated)
    def call(*args: object, **kwargs: object) -> R:
        kwargs = {key: value for key, value in kwargs.items() if key not in foreign}
        for key in kwargs.keys() - types.keys() & (refused.keys() | {"optimizer"}):
            rate = "base_lr" if "base_lr" in types else next(iter(types))
            reason = refused.get(key, _rate_for_optimizer(name, rate))
            raise ValueError(f"{name}: {key} is not accepted; {reason}.")
        for key, value in bind_arguments(name, signature, args, kwargs).arguments.items():
            default = signature.parameters[key].default
            if key in refused and value != default:
                raise ValueError(
                    f"{name}: {key}={value!r} is not accepted; {key} must be left at {default!r}, "
                    f"as {refused[key]}."
                )
            if _is_optimizer(value):
                kind = type(value).__name__
                raise ValueError(
                    f"{name}: {key}=<{kind}> is not accepted; {_rate_for_optimizer(name, key)}."
                )
            if _is_per_group(types[key], value):
                raise ValueError(
                    f"{name}: {key}={value!r} is not accepted; a list there has one value for each "
                    f"parameter group. Make one schedule for each group, and assign them with "
                    "lrsched.learning_rate_groups or optax.partition."
                )
        return validated(*args, **kwargs)

    return call


def _rate_for_optimizer(function: str, argument: str) -> str:
    return (
        f"{argument} takes the place of the optimizer: pass its learning rate, as in "
        f"{function}(0.1, ...)"
    )


def _is_optimizer(value: object) -> bool:
    """Return whether ``value`` is an optimizer of optax (``init``, ``update``) or PyTorch."""
    return hasattr(value, "param_groups") or (hasattr(value, "init") and hasattr(value, "update"))


def _is_per_group(argument_type: ArgumentType | None, value: object) -> bool:
    """Return whether ``value`` is a list although the argument takes a single value.

    Arrays pass: they are batches for ``jax.vmap``, and no source library writes groups as arrays.
    """
    if argument_type is None or not isinstance(value, list | tuple) or not value:
        return False
    if not all(is_number(item) or callable(item) for item in value):
        return False
    try:
        argument_type.parse(value[0])
    except TypeError:
        return False  # The argument takes lists.
    except ValueError:
        return True  # It takes numbers, and this one is out of range.
    return True


def is_known(number: ArrayLike, value: float) -> bool:
    """Return whether all numbers are known and ``value``: a warmup of length 0 is left out."""
    return not is_traced(number) and bool(np.all(np.asarray(number) == value))


def after_warmup(init: ArrayLike, peak: ArrayLike, steps: ArrayLike, curve: Schedule) -> Schedule:
    """Return a line from ``init`` to ``peak`` before the curve, or the curve if ``steps`` is 0."""
    return curve if is_known(steps, 0) else linear(init, peak, steps) >> curve


def exact_growth(growth: ArrayLike) -> ArrayLike:
    """Return a whole ratio of cycle lengths as an int, for which cycles are counted exactly."""
    if is_traced(growth) or np.any(np.asarray(growth) % 1):
        return growth
    return np.asarray(growth).astype(int)


def steps_in_any_order(name: str, step: ArgumentType) -> ArgumentType:
    """Return the argument type of a list of steps, each of the type ``step``, which it sorts."""

    def parse(steps: Any) -> list[int]:
        return sorted(map(step.parse, steps))

    return ArgumentType(name, f"a list, each {step.description}", parse)


def missing_attribute(
    module: str, public: list[str], replacements: Mapping[str, str]
) -> MissingAttribute:
    """Return a module's ``__getattr__`` that names the nearest function.

    Args:
      module: Name of the module.
      public: Public names of the module.
      replacements: Names of the source library that the module lacks, with the clause that says
        what to use instead.

    Returns:
      A function of a name that always raises ``AttributeError``.
    """

    def refuse(name: str) -> NoReturn:
        clause = replacements.get(name)
        if clause is None:
            near = difflib.get_close_matches(name, public, n=3, cutoff=0.4)
            # A constructor of optimizers, or a function of numbers, has no name that is near.
            clause = f"the nearest are {', '.join(near)}" if near else f"it has {', '.join(public)}"
        raise AttributeError(f"{module} has no {name!r}; {clause}.", name=name)

    return refuse
