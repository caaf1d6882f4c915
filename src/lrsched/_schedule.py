"""What a schedule is: a pure function of the step whose numbers are data.

``@schedule`` turns ``def f(step, *parameters)`` into a factory; calling the factory gives a
`Schedule`, a frozen, hashable, comparable pytree whose numbers and nested schedules are leaves.
The decorator also registers the function by its name, so that a schedule can be pickled, written
as JSON and read back. The library's own schedules are made by it and have no privilege.
"""

import contextlib
import dataclasses
import difflib
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import (
    Any,
    Concatenate,
    Final,
    NamedTuple,
    ParamSpec,
    TypeAlias,
    overload,
)

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched.arguments import (
    FINITE_FLOAT,
    FINITE_FLOATS,
    SIGNED_INT,
    STEPS_OR_FRACTION,
    ArgumentType,
    argument_type_of,
    bind_arguments,
    is_traced,
)
from lrsched.numerics import MAX_STEP

P = ParamSpec("P")
PhaseStart: TypeAlias = tuple[str, int]
"""The name of a phase, and the step at which it begins."""

TAG: Final = "schedule"
_RESERVED: Final = frozenset(
    {TAG, "step", "horizon", "parameters", "replace", "is_instance_of", "plot"}
)
REGISTRY: Final[dict[str, "ScheduleDefinition"]] = {}
_NAMESPACES: Final[dict[str, str]] = {}


@dataclasses.dataclass(frozen=True, eq=False)
class ScheduleDefinition:
    """What the decorator knows of one schedule function; two are equal only if the same."""

    name: str
    function: Callable[..., ArrayLike]
    signature: inspect.Signature
    argument_types: Mapping[str, ArgumentType | None]
    horizon: str | Callable[..., Any] | None
    check: Callable[..., None] | None
    phases: Callable[..., Iterable[tuple[str, Any]]] | None = None

    def create(self, *args: Any, **kwargs: Any) -> "Schedule":
        """The schedule for these arguments, checked and brought into one form."""
        dynamic: dict[str, Any] = {}
        static: dict[str, Any] = {}
        for name, given in bind_arguments(
            self.name, self.signature, args, kwargs
        ).arguments.items():
            value = self._convert(name, given)
            target = static if self._is_static(name, value) else dynamic
            target[name] = value
        made = Schedule(
            StaticData(self, tuple(dynamic), tuple(static.items())), (*dynamic.values(),)
        )
        if self.check is not None and not is_traced(made):
            with jax.ensure_compile_time_eval():  # of numbers that are known, within a jit too
                self.check(**made.parameters)
        return made

    def _convert(self, name: str, given: Any) -> Any:
        if self.signature.parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
            return tuple(self._convert_one(name, item) for item in given)
        return self._convert_one(name, given)

    def _convert_one(self, name: str, given: Any) -> Any:
        if given is None and self.signature.parameters[name].default is None:
            return None
        if self.argument_types[name] is None and _holds_schedules(given):
            return tuple(self._convert_one(name, item) for item in given)
        kind = self.argument_types[name] or _kind_of(given)
        return given if kind is None else kind.validate(self.name, name, given)

    def _is_static(self, name: str, value: Any) -> bool:
        kind = self.argument_types[name]
        if kind is not None and value is not None:
            return kind.static
        return value is None or isinstance(value, str | bool) or _is_function(value)


class StaticData(NamedTuple):
    """The part of a schedule that is program, not data: what jit compiles for."""

    definition: ScheduleDefinition
    names: tuple[str, ...]
    static: tuple[tuple[str, Any], ...]


class Schedule:
    """A learning rate, or any other number, as a function of the step.

    Made by the factories (``cosine(peak=3e-4, steps=10_000)``), never directly. Its parameters are
    read as attributes and changed by `replace`; two schedules are equal when they compute the same
    function of the same numbers in float32.

    >>> import lrsched
    >>> schedule = lrsched.cosine(peak=3e-4, steps=10_000)
    >>> schedule
    cosine(peak=0.0003, steps=10000)
    >>> float(schedule(5_000)), schedule.horizon, schedule.peak
    (0.00014999999257270247, 10000, 0.0003)
    >>> schedule.replace(steps=20_000) == lrsched.cosine(3e-4, 20_000)
    True
    """

    __slots__ = ("__weakref__", "_children", "_structure")
    __array_ufunc__ = None  # numpy scalars leave `number * schedule` to us
    _children: tuple[Any, ...]
    _structure: StaticData

    def __init__(self, structure: StaticData, children: tuple[Any, ...]):
        object.__setattr__(self, "_structure", structure)
        object.__setattr__(self, "_children", children)

    def __call__(self, step: ArrayLike) -> jax.Array:
        """The value at ``step`` in float32.

        Args:
          step: updates already applied, an integer or a float of any shape. Negative steps count
            as 0. Integers are exact up to 2**31 - 1 and beyond are held there; floats are float32.

        Returns:
          A float32 array of the step's shape.
        """
        value: jax.Array = _evaluate(self, _as_step(step))
        return value

    @property
    def horizon(self) -> Any:
        """The step from which the value is held: an int, a traced value, or None if there is none.

        A schedule with a horizon ``h`` goes through its course in ``h`` updates, at the steps
        ``0 ... h - 1``; at ``h`` and after it has its last value.
        """
        horizon = self._structure.definition.horizon
        if horizon is None:
            return None
        if isinstance(horizon, str):
            value = self.parameters[horizon]
        else:
            with jax.ensure_compile_time_eval():
                value = horizon(**self.parameters)
        is_known = isinstance(value, int | np.integer | jax.Array) and not is_traced(value)
        return int(value) if is_known and np.ndim(value) == 0 else value

    @property
    def parameters(self) -> dict[str, Any]:
        """Every parameter by name, in the order of the signature."""
        structure = self._structure
        values = dict(zip(structure.names, self._children, strict=True)) | dict(structure.static)
        return {name: values[name] for name in structure.definition.signature.parameters}

    def replace(self, **changes: Any) -> "Schedule":
        """The same schedule with some parameters changed, checked as when first made.

        >>> import lrsched
        >>> lrsched.linear(1.0, 0.0, steps=10).replace(steps=5)
        linear(init=1.0, end=0.0, steps=5)
        """
        definition = self._structure.definition
        parameters = self.parameters
        if unknown := changes.keys() - parameters.keys():
            raise ValueError(
                f"{definition.name} has no parameter {sorted(unknown)[0]!r}; "
                f"it has {', '.join(parameters)}."
            )
        bound = inspect.BoundArguments(definition.signature, {**parameters, **changes})
        return definition.create(*bound.args, **bound.kwargs)

    def is_instance_of(self, factory: Callable[..., "Schedule"]) -> bool:
        """Whether this factory made it, whatever the numbers.

        >>> import lrsched
        >>> lrsched.cosine(1.0, steps=10).is_instance_of(lrsched.cosine)
        True
        """
        return inspect.unwrap(factory) is self._structure.definition.function

    def plot(self, ax: Any = None, steps: int | None = None) -> Any:
        """The curve with its phases, as `lrsched.pictures.plots.plot_schedule` draws it.

        Args:
          ax: matplotlib's axes; by default new ones.
          steps: how far to draw; by default to the horizon.

        Returns:
          The axes.
        """
        from lrsched.pictures.plots import plot_schedule

        return plot_schedule(self, ax, steps)

    def _repr_html_(self) -> str | None:
        """A notebook's picture; None, so that it shows the text, where there is not one curve."""
        from lrsched.pictures.curves import sparkline

        return sparkline(self)

    def __mul__(self, other: Any) -> "Schedule":
        return _combine("multiply", self, other)

    def __rmul__(self, other: Any) -> "Schedule":
        return _combine("multiply", other, self)

    def __add__(self, other: Any) -> "Schedule":
        return _combine("add", self, other)

    def __radd__(self, other: Any) -> "Schedule":
        return _combine("add", other, self)

    def __rshift__(self, other: Any) -> "Schedule":
        return _combine("join", self, other)

    def __rrshift__(self, other: Any) -> "Schedule":
        return _combine("join", other, self)

    def __getattr__(self, name: str) -> Any:
        structure = object.__getattribute__(self, "_structure")
        if name in structure.definition.signature.parameters:
            return self.parameters[name]
        raise AttributeError(f"{structure.definition.name} has no parameter {name!r}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"a Schedule does not change; use .replace({name}=...) for a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Schedule does not change")

    def __dir__(self) -> Iterator[str]:
        yield from super().__dir__()
        yield from self.parameters

    def __eq__(self, other: Any) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[Any, ...]:
        leaves, tree = jax.tree.flatten(self)
        return (tree, *map(_leaf_key, leaves))

    def __repr__(self) -> str:
        parameters = self._structure.definition.signature.parameters
        shown: list[str] = []
        for name, value in self.parameters.items():
            if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                shown += map(_show, value)
            elif not _is_default(value, parameters[name].default):
                shown.append(f"{name}={_show(value)}")
        return f"{self._structure.definition.name}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        definition = self._structure.definition
        return _restore, (definition.name, definition.function.__module__, self.parameters)


@overload
def schedule(
    function: Callable[Concatenate[jax.Array, P], ArrayLike], /
) -> Callable[P, Schedule]: ...


@overload
def schedule(
    *,
    horizon: str | Callable[..., Any] | None = None,
    check: Callable[..., None] | None = None,
    phases: Callable[..., Iterable[tuple[str, Any]]] | None = None,
    name: str | None = None,
) -> Callable[[Callable[Concatenate[jax.Array, P], ArrayLike]], Callable[P, Schedule]]: ...


def schedule(
    function: Callable[..., ArrayLike] | None = None,
    /,
    *,
    horizon: str | Callable[..., Any] | None = None,
    check: Callable[..., None] | None = None,
    phases: Callable[..., Iterable[tuple[str, Any]]] | None = None,
    name: str | None = None,
) -> Any:
    """Turn a pure function of the step into a factory of schedules.

    The factory takes what the function takes without ``step``, with the same names, defaults and
    docstring. In the function, numbers arrive as float32 or int32 arrays, ``step`` as an int32 (or
    float32) array of 0 or more, and nested schedules as schedules; whatever it returns becomes
    float32. Annotations from `lrsched.arguments` say what each parameter accepts.

    Args:
      function: ``f(step, *parameters) -> value``, written in ``jax.numpy``, without Python
        branches on the numbers.
      horizon: the name of the parameter that is the horizon, or a function of all parameters (by
        name) that returns it. None: the schedule has no natural end.
      check: called with all parameters (by name) when a schedule is made; raises ``ValueError``
        for what no annotation of a single parameter can see. Not called under a trace.
      phases: for pictures and descriptions: called with how many steps are looked at, and all
        parameters (by name); returns the name and the first step of each phase, in order. None, or
        no phases: it is one, with its own name.
      name: the name in JSON and pickles, the function's own by default.

    Raises:
      ValueError: another function has that name, or a parameter's name is reserved.

    >>> import jax, jax.numpy as jnp, lrsched
    >>> from lrsched.arguments import PositiveInt, FiniteFloat
    >>> from lrsched.numerics import fraction
    >>> @lrsched.schedule(horizon="steps")
    ... def smoothstep(step, peak: FiniteFloat, steps: PositiveInt):
    ...     left = fraction(steps - step, steps)
    ...     return peak * left**2 * (3 - 2 * left)
    >>> schedule = smoothstep(peak=0.1, steps=100)
    >>> schedule, float(schedule(100)), schedule.horizon
    (smoothstep(peak=0.1, steps=100), 0.0, 100)
    >>> jax.vmap(lambda peak: smoothstep(peak, 100)(50))(jnp.array([1.0, 2.0])).tolist()
    [0.5, 1.0]
    """
    if function is None:
        return functools.partial(schedule, horizon=horizon, check=check, phases=phases, name=name)
    definition = _define(function, name or function.__name__, horizon, check, phases)
    _register(definition)

    @functools.wraps(function)
    def factory(*args: Any, **kwargs: Any) -> Schedule:
        return definition.create(*args, **kwargs)

    factory.__signature__ = shown_signature(definition)  # type: ignore[attr-defined]
    return factory


def to_dict(schedule: Schedule) -> dict[str, Any]:
    """The schedule as plain dictionaries, lists, numbers and strings, ready for JSON or YAML.

    Raises:
      ValueError: a parameter is a Python function, or a number is traced.

    >>> import json, lrsched
    >>> text = json.dumps(lrsched.to_dict(lrsched.cosine(3e-4, steps=1_000)))
    >>> text
    '{"schedule": "cosine", "peak": 0.0003, "steps": 1000, "end": 0.0, "exponent": 1.0}'
    >>> lrsched.from_dict(json.loads(text))
    cosine(peak=0.0003, steps=1000)
    """
    definition = schedule._structure.definition
    plain = {name: _plain(definition.name, name, x) for name, x in schedule.parameters.items()}
    return {TAG: definition.name, **plain}


def from_dict(data: Mapping[str, Any]) -> Schedule:
    """The schedule that `to_dict` wrote; parameters that are missing take their defaults.

    The mapping may be of any type, of ``ml_collections`` and ``omegaconf`` too, and as YAML and
    JSON are read: a length may be ``1e4`` or ``"1e4"`` if it is whole. ``$schema`` is left out.

    Raises:
      ValueError: ``data`` names no schedule, one that is not registered (import the module that
        defines it first), or a parameter that the schedule does not have or lacks.

    >>> import lrsched
    >>> lrsched.from_dict({"schedule": "linear", "init": 1, "end": 0, "steps": 10})
    linear(init=1.0, end=0.0, steps=10)
    """
    if not _is_mapping(data) or TAG not in data:
        raise ValueError(f"{data!r} is not a schedule; it must be a mapping with a key {TAG!r}.")
    definition = get_definition(data[TAG])
    given = {
        name: _rebuild(value, definition.argument_types.get(name))
        for name, value in data.items()
        if name not in (TAG, "$schema")
    }
    parameters = definition.signature.parameters
    rest = [n for n, p in parameters.items() if p.kind is inspect.Parameter.VAR_POSITIONAL]
    args = [item for name in rest for item in given.pop(name, ())]
    try:
        return definition.create(*args, **given)
    except TypeError as error:
        raise ValueError(str(error)) from None


def is_number(value: Any) -> bool:
    """Whether ``value`` is a number or an array of numbers, concrete or traced."""
    return isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not isinstance(
        value, bool
    )


# How a call is evaluated: one compiled program for each structure, whatever the numbers. The
# compiled program is inlined where it is called under another trace.


@functools.partial(jax.jit, inline=True)
def _evaluate(schedule: Schedule, step: ArrayLike) -> jax.Array:
    definition = schedule._structure.definition
    arguments: Any = jax.tree.map(_as_array, schedule.parameters, is_leaf=_is_opaque)
    bound = inspect.BoundArguments(definition.signature, arguments)
    step = _as_counter(jnp.asarray(step))
    value = jnp.asarray(definition.function(step, *bound.args, **bound.kwargs), jnp.float32)
    shape = jnp.broadcast_shapes(value.shape, step.shape)
    return jnp.broadcast_to(value, shape)


def _as_step(step: ArrayLike) -> ArrayLike:
    """Steps that live on the host, brought within int32 before jax sees them."""
    if isinstance(step, jax.Array):
        return step
    if type(step) is int:
        return np.int32(min(max(step, 0), MAX_STEP))
    numbers = np.asarray(step)
    if numbers.dtype.kind in "iu":
        if not np.can_cast(numbers.dtype, np.int32):
            numbers = np.minimum(np.maximum(numbers, 0), MAX_STEP)
        return numbers.astype(np.int32, copy=False)
    if jnp.issubdtype(numbers.dtype, jnp.floating):
        return numbers.astype(np.float32)
    raise TypeError(f"step={step!r} is not a step; it must be an integer or a float, of any shape.")


def _as_counter(step: jax.Array) -> jax.Array:
    if jnp.issubdtype(step.dtype, jnp.floating):
        return jnp.maximum(step.astype(jnp.float32), 0)
    if np.iinfo(step.dtype).max > MAX_STEP:
        step = jnp.minimum(step, MAX_STEP)
    return jnp.maximum(step.astype(jnp.int32), 0)


def _as_array(value: Any) -> Any:
    if _is_opaque(value):
        return value
    array = jnp.asarray(value)
    is_integer = jnp.issubdtype(array.dtype, jnp.integer)
    return array.astype(jnp.int32 if is_integer else jnp.float32)


def _is_opaque(value: Any) -> bool:
    return isinstance(value, Schedule | str | bool) or callable(value)


# How a definition is read off a function, and where it is kept.


def _define(
    function: Callable[..., ArrayLike],
    name: str,
    horizon: str | Callable[..., Any] | None,
    check: Callable[..., None] | None,
    phases: Callable[..., Iterable[tuple[str, Any]]] | None,
) -> ScheduleDefinition:
    signature = inspect.signature(function, eval_str=True)
    parameters = list(signature.parameters.values())[1:]
    for parameter in parameters:
        if parameter.name in _RESERVED:
            raise ValueError(
                f"{name}: a parameter may not be called {parameter.name!r}, a name that every "
                "schedule uses itself."
            )
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            raise ValueError(f"{name}: **{parameter.name} is not accepted; name each parameter.")
    kinds = {parameter.name: argument_type_of(parameter.annotation) for parameter in parameters}
    if isinstance(horizon, str) and horizon not in kinds:
        raise ValueError(f"{name}: horizon={horizon!r} is not one of {', '.join(kinds)}.")
    return ScheduleDefinition(
        name, function, signature.replace(parameters=parameters), kinds, horizon, check, phases
    )


def shown_signature(definition: ScheduleDefinition) -> inspect.Signature:
    """The signature that help() shows: each argument's kind, and what the call returns."""
    parameters = [
        parameter.replace(
            annotation=definition.argument_types[parameter.name] or parameter.annotation
        )
        for parameter in definition.signature.parameters.values()
    ]
    return inspect.Signature(parameters, return_annotation=Schedule)


def _kind_of(given: Any) -> ArgumentType | None:
    """The kind of an argument without an annotation; None for what needs no check."""
    if isinstance(given, list | tuple | np.ndarray) and np.ndim(given) > 0:
        return FINITE_FLOATS
    if given is None or isinstance(given, str | bool | Schedule) or callable(given):
        return None
    is_integer = is_number(given) and jnp.issubdtype(jnp.result_type(given), jnp.integer)
    return SIGNED_INT if is_integer else FINITE_FLOAT


def _holds_schedules(given: Any) -> bool:
    return isinstance(given, list | tuple) and any(isinstance(item, Schedule) for item in given)


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, Schedule)


def _register(definition: ScheduleDefinition) -> None:
    known = REGISTRY.get(definition.name)
    if known is not None and not _is_redefinition(known.function, definition.function):
        raise ValueError(
            f"a schedule called {definition.name!r} is already defined in "
            f"{known.function.__module__}; give this one another name with "
            f"@schedule(name=...)."
        )
    REGISTRY[definition.name] = definition


def _is_redefinition(old: Callable[..., Any], new: Callable[..., Any]) -> bool:
    """The same place in the same module or file: a notebook cell run twice, a reloaded module."""

    def places(function: Callable[..., Any]) -> set[tuple[str, str]]:
        file = getattr(getattr(function, "__code__", None), "co_filename", function.__module__)
        return {(where, function.__qualname__) for where in (function.__module__, file)}

    return not places(old).isdisjoint(places(new))


def register_namespace(prefix: str, module: str) -> None:
    """Import ``module`` when a schedule called ``prefix.name`` is looked up and not yet defined."""
    _NAMESPACES[prefix] = module


def get_definition(name: Any) -> ScheduleDefinition:
    if not isinstance(name, str):
        raise ValueError(f"{name!r} is not the name of a schedule; it must be a string.")
    prefix = name.partition(".")[0]
    if name not in REGISTRY and prefix in _NAMESPACES:
        importlib.import_module(_NAMESPACES[prefix])
    if name not in REGISTRY:
        near = difflib.get_close_matches(str(name), REGISTRY, n=3, cutoff=0.0)
        raise ValueError(
            f"no schedule is called {name!r}; the nearest are {', '.join(near)}. One of your own "
            "must be imported before it is read back."
        )
    return REGISTRY[name]


def _restore(name: str, module: str, parameters: dict[str, Any]) -> Schedule:
    if name not in REGISTRY:
        importlib.import_module(module)
    definition = get_definition(name)
    bound = inspect.BoundArguments(definition.signature, parameters)
    return definition.create(*bound.args, **bound.kwargs)


def _combine(name: str, *operands: Any) -> Schedule:
    """An operator of the algebra, flattened: ``(a * b) * c`` and ``a * (b * c)`` are equal."""
    definition = REGISTRY[name]
    flat: list[Any] = []
    for operand in operands:
        if isinstance(operand, Schedule) and operand._structure.definition is definition:
            flat += operand.operands
        elif isinstance(operand, Schedule) or is_number(operand) or callable(operand):
            flat.append(operand)
        else:
            return NotImplemented  # type: ignore[no-any-return]
    return definition.create(*flat)


# How a leaf is shown, compared and written down.


def _number_of(leaf: Any) -> Any:
    """A concrete leaf as plain Python; float32 numbers by their shortest decimals."""
    if isinstance(leaf, np.ndarray | np.generic | jax.Array):
        array = np.asarray(leaf)
        if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype != np.float64:
            array = array.astype(np.float32).astype(str).astype(np.float64)
        return array.tolist()
    return leaf


def _leaf_key(leaf: Any) -> Any:
    """What makes two leaves equal: the same numbers in float32 and int32."""
    if is_traced(leaf):
        return id(leaf)
    if not is_number(leaf):
        return leaf
    array = np.asarray(leaf)
    if jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(np.float32)
    return array.shape, tuple(array.ravel().tolist())


def _show(value: Any) -> str:
    if is_traced(value) or isinstance(value, Schedule):
        return repr(value)
    if isinstance(value, tuple):
        return f"({', '.join(map(_show, value))}{',' * (len(value) == 1)})"
    if _is_function(value):
        return getattr(value, "__qualname__", repr(value))
    return repr(_number_of(value))


def _is_default(value: Any, default: Any) -> bool:
    if is_number(value):
        return not is_traced(value) and np.ndim(value) == 0 and _number_of(value) == default
    return value is default or (isinstance(value, str | Schedule) and value == default)


def _plain(function: str, name: str, value: Any) -> Any:
    if isinstance(value, Schedule):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(function, name, item) for item in value]
    if is_traced(value) or _is_function(value):
        raise ValueError(
            f"{function}: {name}={_show(value)} cannot be written down; only numbers, strings and "
            "schedules defined with @schedule can."
        )
    return _number_of(value)


def _is_mapping(value: Any) -> bool:
    """Mappings, and what is none by its type, as the dictionaries of ml_collections."""
    return isinstance(value, Mapping) or (hasattr(value, "items") and hasattr(value, "keys"))


def _rebuild(value: Any, kind: ArgumentType | None) -> Any:
    """A value out of a configuration file: its containers are of any type, its numbers as read."""
    if _is_mapping(value):
        return from_dict(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_rebuild(item, kind) for item in value]
    if kind is None or kind.static:
        return value
    if isinstance(value, str):  # 3e-4 is a string to YAML 1.1, which wants 3.0e-4
        with contextlib.suppress(ValueError):
            value = float(value)
    # 1e4 is a float to all of them; as a phase, 0.5 is a fraction and 1e4 can only be steps.
    if kind is STEPS_OR_FRACTION and isinstance(value, float) and value > 1 and value.is_integer():
        return int(value)
    return value


def _children_with_keys(schedule: Schedule) -> tuple[Iterator[Any], StaticData]:
    keys = map(jax.tree_util.GetAttrKey, schedule._structure.names)
    return zip(keys, schedule._children, strict=True), schedule._structure


jax.tree_util.register_pytree_with_keys(
    Schedule,
    _children_with_keys,
    lambda structure, children: Schedule(structure, tuple(children)),
    lambda schedule: (schedule._children, schedule._structure),
)
