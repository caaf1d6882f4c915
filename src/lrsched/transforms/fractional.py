"""Schedules between their whole steps, at the accuracy that they have at whole steps.

A float32 step has 24 significand bits, so at a horizon of 2**30 it is off by up to 32 steps, and
the rate near an end of 0 by 100 %. Here a position is an int32 and a fraction. The jaxpr of a
schedule is evaluated on both: what is subtracted is subtracted in int32, and the fraction is added
where an integer becomes a float. At a fraction of 0 every operation gives the same bits as without.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from lrsched._schedule import Schedule

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr


Value: TypeAlias = Any
"""A number, an array or a `Fractional`. JAX gives the values of a jaxpr no type."""


class Fractional(NamedTuple):
    """The number ``whole + part``.

    Attributes:
      whole: Integer array.
      part: float32 array of the same shape.
      bounds: Known range of the part: "floor" for [0, 1), "ceil" for (-1, 0], "any". With the
        first two, most comparisons with an integer need the whole only.
    """

    whole: jax.Array
    part: jax.Array
    bounds: str = "floor"


def evaluate_between(schedule: Schedule, whole: jax.Array, part: jax.Array) -> jax.Array:
    """Return the value of a schedule at ``whole + part``, bit-equal to it at whole steps.

    Operations that have no meaning between integers, such as a random number or an index, take
    the whole step.

    Args:
      schedule: The schedule.
      whole: int32 scalar, 0 or more.
      part: float32 scalar in [0, 1).
    """
    traced = jax.make_jaxpr(lambda schedule, step: schedule(step))(schedule, whole)
    leaves = jax.tree.leaves(schedule)
    (value,) = _evaluate(traced, [*leaves, Fractional(whole, part)])
    return _floor(value)


def _evaluate(closed: "ClosedJaxpr", arguments: Sequence[Value]) -> list[Value]:
    """Evaluate a jaxpr on arrays and `Fractional` numbers."""
    # The import of jax.extend loads Pallas, which takes as long as the rest of lrsched.
    from jax.extend.core import Literal

    jaxpr = closed.jaxpr
    values: dict[object, Value] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    values.update(zip(jaxpr.invars, arguments, strict=True))

    def read(atom: object) -> Value:
        return atom.val if isinstance(atom, Literal) else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        name, params = equation.primitive.name, equation.params
        if not any(isinstance(value, Fractional) for value in inputs):
            outputs = _bind(equation, inputs)
        elif name in _CALLS and (inner := _inner_jaxpr(params)) is not None:
            outputs = _evaluate(inner, inputs)
        elif name in _RULES:
            outputs = [_RULES[name](*inputs)]
        elif name in _SHAPES_ONLY:
            # The operand is first; shapes and axes are parameters.
            whole, part, bounds = inputs[0]
            part = jnp.broadcast_to(part, jnp.shape(whole))
            shaped = [_bind(equation, [x])[0] for x in (whole, part)]
            outputs = [Fractional(shaped[0], shaped[1], bounds)]
        elif name == "convert_element_type":
            outputs = [_converted(inputs[0], params["new_dtype"])]
        else:
            outputs = _bind(equation, [_floor(value) for value in inputs])
        values.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _bind(equation: Any, inputs: Sequence[Value]) -> list[Value]:
    bound = equation.primitive.get_bind_params(equation.params)
    # Before JAX 0.10, functions among the parameters were returned apart.
    functions, params = bound if isinstance(bound, tuple) else ((), bound)
    outputs = equation.primitive.bind(*functions, *inputs, **params)
    return list(outputs) if equation.primitive.multiple_results else [outputs]


def _inner_jaxpr(params: dict[str, object]) -> "ClosedJaxpr | None":
    from jax.extend.core import ClosedJaxpr

    inner = params.get("jaxpr") or params.get("call_jaxpr") or params.get("fun_jaxpr")
    return inner if isinstance(inner, ClosedJaxpr) else None


def _split(value: Value) -> Fractional:
    """Return a number as `Fractional`, with its part in [0, 1)."""
    if not isinstance(value, Fractional):
        return Fractional(value, jnp.float32(0))
    if value.bounds == "floor":
        return value
    rounded = jnp.floor(value.part)
    return Fractional(value.whole + rounded.astype(value.whole.dtype), value.part - rounded)


def _parts(value: Value) -> Fractional:
    return value if isinstance(value, Fractional) else Fractional(value, jnp.float32(0))


def _floor(value: Value) -> Value:
    return _split(value).whole if isinstance(value, Fractional) else value


def _converted(value: Fractional, dtype: DTypeLike) -> Value:
    if jnp.issubdtype(dtype, jnp.integer):
        return value._replace(whole=value.whole.astype(dtype))
    if jnp.issubdtype(dtype, jnp.floating):
        return value.whole.astype(dtype) + value.part.astype(dtype)
    return _floor(value).astype(dtype)


def _less(first: Value, second: Value) -> Value:
    if not isinstance(first, Fractional):
        return ~_less_equal(second, first)
    if not isinstance(second, Fractional) and first.bounds == "floor":
        return first.whole < second
    a, b = _split(first), _split(second)
    return (a.whole < b.whole) | ((a.whole == b.whole) & (a.part < b.part))


def _less_equal(first: Value, second: Value) -> Value:
    if not isinstance(first, Fractional):
        return ~_less(second, first)
    if not isinstance(second, Fractional) and first.bounds == "ceil":
        return first.whole <= second
    a, b = _split(first), _split(second)
    return (a.whole < b.whole) | ((a.whole == b.whole) & (a.part <= b.part))


def _equal(first: Value, second: Value) -> Value:
    a, b = _split(first), _split(second)
    return (a.whole == b.whole) & (a.part == b.part)


def _common_bounds(*values: Value) -> str:
    """Return the bounds that hold for all; those of an integer are any of them."""
    known = {value.bounds for value in values if isinstance(value, Fractional)}
    return known.pop() if len(known) == 1 else "any"


def _select(predicate: Value, *cases: Value) -> Value:
    split = [_parts(case) for case in cases]
    shape = jnp.shape(split[0].whole)
    parts = (jnp.broadcast_to(case.part, shape) for case in split)
    wholes = (case.whole for case in split)
    return Fractional(
        jax.lax.select_n(predicate, *wholes),
        jax.lax.select_n(predicate, *parts),
        _common_bounds(*cases),
    )


def _chosen(is_first: Value, first: Value, second: Value) -> Fractional:
    a, b = _parts(first), _parts(second)
    return Fractional(
        jnp.where(is_first, a.whole, b.whole),
        jnp.where(is_first, a.part, b.part),
        _common_bounds(first, second),
    )


def _maximum(first: Value, second: Value) -> Fractional:
    if not isinstance(first, Fractional):
        first, second = second, first
    # Where both are equal either is right, so the cheaper comparison decides.
    is_first = _less_equal(first, second) if first.bounds == "ceil" else _less(first, second)
    return _chosen(~is_first, first, second)


def _minimum(first: Value, second: Value) -> Fractional:
    if not isinstance(first, Fractional):
        first, second = second, first
    is_first = _less_equal(first, second) if first.bounds == "ceil" else _less(first, second)
    return _chosen(is_first, first, second)


def _multiply(first: Value, second: Value) -> Value:
    if isinstance(first, Fractional) and isinstance(second, Fractional):
        return _floor(first) * _floor(second)
    if not isinstance(first, Fractional):
        first, second = second, first
    factor = jnp.asarray(second)
    product = first.part * factor.astype(jnp.float32)
    return _split(Fractional(first.whole * factor, product, "any"))


def _divide(first: Value, second: Value) -> Value:
    return jax.lax.div(*jnp.broadcast_arrays(_floor(first), _floor(second)))


def _remainder(first: Value, second: Value) -> Value:
    whole, part, _ = _split(first)
    remainder = jax.lax.rem(*jnp.broadcast_arrays(whole, _floor(second)))
    return Fractional(remainder, jnp.broadcast_to(part, jnp.shape(remainder)))


def _sign(value: Fractional) -> Value:
    whole, part, _ = _split(value)
    return jnp.where((whole == 0) & (part > 0), 1, jnp.sign(whole)).astype(whole.dtype)


def _add(first: Value, second: Value) -> Fractional:
    a, b = _parts(first), _parts(second)
    is_shift = isinstance(first, Fractional) != isinstance(second, Fractional)
    bounds = _common_bounds(first, second) if is_shift else "any"
    return Fractional(a.whole + b.whole, a.part + b.part, bounds)


def _negative(value: Fractional) -> Fractional:
    flipped = {"floor": "ceil", "ceil": "floor", "any": "any"}
    return Fractional(-value.whole, -value.part, flipped[value.bounds])


def _subtract(first: Value, second: Value) -> Fractional:
    return _add(first, _negative(second) if isinstance(second, Fractional) else -second)


def _mask(first: Value, second: Value) -> Value:
    """Return the low bits of a number, with its part."""
    if not isinstance(first, Fractional):
        first, second = second, first
    if isinstance(second, Fractional) or first.whole.dtype == bool:
        return jnp.bitwise_and(_floor(first), _floor(second))
    whole, part, _ = _split(first)
    return Fractional(jnp.bitwise_and(whole, second), part)


_CALLS: Final = frozenset({"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"})
_SHAPES_ONLY: Final = frozenset(
    {"broadcast_in_dim", "reshape", "squeeze", "transpose", "slice", "copy", "rev"}
)
_RULES: Final[dict[str, Callable[..., Value]]] = {
    "add": _add,
    "sub": _subtract,
    "neg": _negative,
    "mul": _multiply,
    "div": _divide,
    "rem": _remainder,
    "sign": _sign,
    "max": _maximum,
    "min": _minimum,
    "clamp": lambda low, value, high: _minimum(_maximum(value, low), high),
    "and": _mask,
    "select_n": _select,
    "lt": _less,
    "le": _less_equal,
    "gt": lambda first, second: ~_less_equal(first, second),
    "ge": lambda first, second: ~_less(first, second),
    "eq": _equal,
    "ne": lambda first, second: ~_equal(first, second),
    "stop_gradient": lambda value: value,
}
