"""Schedules: pure functions of the step whose parameters are data.

The decorator ``@schedule`` turns ``def f(step, *parameters)`` into a factory. The factory returns a
`Schedule`: a frozen, hashable, comparable pytree whose numbers and nested schedules are leaves. The
decorator also registers the function under its name, so that its schedules can be pickled, written
as JSON and read back. The schedules of this library are defined with the same decorator.
"""

from __future__ import annotations

import dataclasses
import difflib
import dis
import functools
import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import (
    TYPE_CHECKING,
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

from lrsched._functions import intern_function, picklable
from lrsched._plotting import plot as draw
from lrsched.arguments import (
    FINITE_FLOAT,
    FINITE_FLOATS,
    SIGNED_INT,
    ArgumentType,
    argument_type_of,
    bind_arguments,
    is_traced,
    short_repr,
)
from lrsched.numerics import MAX_STEP, clip_finite

if TYPE_CHECKING:
    import chex
    from matplotlib.axes import Axes

P = ParamSpec("P")
PhaseStart: TypeAlias = tuple[str, int]
"""Name of a phase, and the step at which it begins."""
Horizon: TypeAlias = str | Callable[["Schedule"], "chex.Numeric | None"]
"""Name of the parameter that is the horizon, or a function of the schedule that returns it."""
Check: TypeAlias = Callable[["Schedule"], None]
"""Function that raises ``ValueError`` for a schedule whose parameters contradict one another."""
Phases: TypeAlias = Callable[["Schedule", int], Iterable[tuple[str, "chex.Numeric"]]]
"""Function of the schedule and a number of steps that returns the phases that begin in them."""

TAG: Final = "schedule"
_RESERVED: Final = frozenset(
    {TAG, "step", "horizon", "parameters", "replace", "is_instance_of", "plot"}
)
REGISTRY: Final[dict[str, ScheduleDefinition]] = {}
_NAMESPACES: Final[dict[str, str]] = {}


@dataclasses.dataclass(frozen=True, eq=False)
class ScheduleDefinition:
    """Definition of a kind of schedule. Two definitions are equal only if they are the same object.

    Attributes:
      name: Name in JSON, in pickles and in ``repr``.
      function: Function of the step and the parameters.
      signature: Signature of the factory: that of the function without ``step``.
      argument_types: Type of each parameter; ``None`` for one without a known annotation.
      horizon: See `schedule`.
      check: See `schedule`.
      phases: See `schedule`.
    """

    name: str
    function: Callable[..., ArrayLike]
    signature: inspect.Signature
    argument_types: Mapping[str, ArgumentType | None]
    horizon: Horizon | None
    check: Check | None
    phases: Phases | None = None

    def create(self, *args: object, **kwargs: object) -> Schedule:
        """Return the schedule of these arguments, validated and in canonical form.

        Raises:
          TypeError: If an argument is missing or not expected.
          ValueError: If an argument is not accepted.
        """
        dynamic: dict[str, object] = {}
        static: dict[str, object] = {}
        arguments = bind_arguments(self.name, self.signature, args, kwargs).arguments
        for name, argument in arguments.items():
            value = self._convert(name, argument)
            is_static = self._is_static(name, value)
            target = static if is_static else dynamic
            target[name] = intern_function(value) if is_static and callable(value) else value
        result = Schedule(
            StaticData(self, tuple(dynamic), tuple(static.items())), (*dynamic.values(),)
        )
        if self.check is not None and not is_traced(result._children):
            # The parameters are known: a check must not be staged into a surrounding trace.
            with jax.ensure_compile_time_eval():
                self.check(result)
        return result

    @functools.cached_property
    def variadic(self) -> str | None:
        """Name of the parameter that takes any number of positional arguments, or ``None``."""
        parameters = self.signature.parameters.items()
        names = [name for name, p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL]
        return names[0] if names else None

    @functools.cached_property
    def reads_step(self) -> bool:
        """Whether the function reads its first argument at all. `constant` does not."""
        code = getattr(self.function, "__code__", None)
        if code is None or not code.co_argcount or code.co_cellvars:
            return True
        step = code.co_varnames[0]
        return any(instruction.argval == step for instruction in dis.get_instructions(code))

    def _convert(self, name: str, argument: Any) -> Any:
        if name == self.variadic:
            return tuple(self._convert_one(name, item) for item in argument)
        return self._convert_one(name, argument)

    def _convert_one(self, name: str, argument: Any) -> Any:
        if argument is None and self.signature.parameters[name].default is None:
            return None
        argument_type = self.argument_types[name]
        if argument_type is None:
            if _holds_schedules(argument):
                return tuple(self._convert_one(name, item) for item in argument)
            argument_type = _infer_type(argument)
        return (
            argument if argument_type is None else argument_type.validate(self.name, name, argument)
        )

    def _is_static(self, name: str, value: object) -> bool:
        argument_type = self.argument_types[name]
        if argument_type is not None and value is not None:
            return argument_type.static
        return value is None or isinstance(value, str | bool) or is_function(value)


class StaticData(NamedTuple):
    """Auxiliary data of the pytree: what a compiled program depends on.

    Attributes:
      definition: Kind of the schedule.
      names: Names of the parameters that are children of the pytree.
      static: Names and values of the other parameters.
    """

    definition: ScheduleDefinition
    names: tuple[str, ...]
    static: tuple[tuple[str, object], ...]


class Schedule:
    """A number, such as a learning rate, as a function of the step.

    Schedules are made by factories such as ``cosine(peak=3e-4, steps=10_000)``, never directly.
    Parameters are read as attributes and changed by `replace`. Two schedules are equal if they
    compute the same function of the same float32 numbers.

    Values are float32 and finite: magnitudes above 2**126 are clipped to it. From the horizon on,
    the value is constant.

    >>> import lrsched
    >>> schedule = lrsched.cosine(peak=3e-4, steps=10_000)
    >>> schedule
    cosine(peak=0.0003, steps=10000)
    >>> float(schedule(5_000)), schedule.horizon, schedule.peak
    (0.00014999999257270247, 10000, 0.0003)
    >>> schedule.replace(steps=20_000) == lrsched.cosine(3e-4, 20_000)
    True
    """

    __slots__ = ("__weakref__", "_children", "_eager", "_key_cache", "_structure")
    __array_ufunc__ = None  # NumPy scalars leave `number * schedule` to `__rmul__`.
    _children: tuple[Any, ...]
    _structure: StaticData
    # Caches of `__call__` and `__eq__`. A schedule is immutable, so that they never become stale.
    _eager: _EagerProgram | None
    _key_cache: tuple[object, ...] | None

    def __init__(self, structure: StaticData, children: tuple[Any, ...]):
        object.__setattr__(self, "_structure", structure)
        object.__setattr__(self, "_children", children)
        object.__setattr__(self, "_eager", None)
        object.__setattr__(self, "_key_cache", None)

    def __call__(self, step: ArrayLike) -> jax.Array:
        """Return the value at ``step``.

        Args:
          step: Number of updates already applied: an integer or a float of any shape. Negative
            steps count as 0. Integers are exact up to 2**31 - 1 and clipped there; floats are
            rounded to float32.

        Returns:
          A float32 array of the shape of ``step``.

        Raises:
          TypeError: If ``step`` is not a number.
        """
        if type(step) is int:
            program = self._eager
            if program is None:
                program = _EagerProgram(self)
                object.__setattr__(self, "_eager", program)
            return program(step)
        return _evaluate(self, _as_step(step))

    @property
    def horizon(self) -> Any:
        """Step from which the value is constant: an int, a traced value, or ``None``.

        A schedule of horizon ``h`` takes ``h`` updates, at the steps ``0 ... h - 1``. At ``h`` and
        after it, it has its last value. ``None`` means that it never becomes constant.
        """
        horizon = self._structure.definition.horizon
        if horizon is None:
            return None
        if isinstance(horizon, str):
            value = getattr(self, horizon)
        else:
            with jax.ensure_compile_time_eval():
                value = horizon(self)
        is_known = isinstance(value, int | np.integer | np.ndarray | jax.Array) and not is_traced(
            value
        )
        return int(value) if is_known and np.ndim(value) == 0 else value

    @property
    def parameters(self) -> dict[str, Any]:
        """Dict from parameter name to value, in the order of the signature."""
        structure = self._structure
        values = dict(zip(structure.names, self._children, strict=True)) | dict(structure.static)
        return {name: values[name] for name in structure.definition.signature.parameters}

    def replace(self, **changes: object) -> Schedule:
        """Return the same schedule with some parameters changed, validated again.

        Args:
          **changes: New values by parameter name.

        Returns:
          A new schedule.

        Raises:
          ValueError: If there is no parameter of that name, or its value is not accepted.

        >>> import lrsched
        >>> lrsched.linear(1.0, 0.0, steps=10).replace(steps=5)
        linear(init=1.0, end=0.0, steps=5)
        """
        return create_from(self._structure.definition, self.parameters, changes)

    def is_instance_of(self, factory: Callable[..., Schedule]) -> bool:
        """Return whether ``factory`` made this schedule, regardless of its parameters.

        >>> import lrsched
        >>> lrsched.cosine(1.0, steps=10).is_instance_of(lrsched.cosine)
        True
        """
        return inspect.unwrap(factory) is self._structure.definition.function

    def plot(self, ax: Axes | None = None, steps: int | None = None) -> Axes:
        """Plot the curve and its phases with `lrsched.pictures.plots.plot_schedule`.

        Args:
          ax: Axes of matplotlib. Defaults to new axes.
          steps: Number of steps to draw. Defaults to the horizon.

        Returns:
          The axes.
        """
        return draw("plot_schedule", self, ax, steps)

    def _repr_html_(self) -> str | None:
        """Return a picture for notebooks, or ``None`` where the schedule is not a single curve."""
        return draw("sparkline", self)

    def __mul__(self, other: object) -> Schedule:
        return _combine("multiply", self, other)

    def __rmul__(self, other: object) -> Schedule:
        return _combine("multiply", other, self)

    def __add__(self, other: object) -> Schedule:
        return _combine("add", self, other)

    def __radd__(self, other: object) -> Schedule:
        return _combine("add", other, self)

    def __rshift__(self, other: object) -> Schedule:
        return _combine("join", self, other)

    def __rrshift__(self, other: object) -> Schedule:
        return _combine("join", other, self)

    def __getattr__(self, name: str) -> Any:
        structure = object.__getattribute__(self, "_structure")
        if name in structure.names:
            return self._children[structure.names.index(name)]
        for key, value in structure.static:
            if key == name:
                return value
        raise AttributeError(f"{structure.definition.name} has no parameter {name!r}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Schedule does not change; use .replace({name}=...) for a new one")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("a Schedule does not change")

    def __dir__(self) -> Iterator[str]:
        yield from super().__dir__()
        yield from self.parameters

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Schedule):
            return NotImplemented
        return self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[object, ...]:
        """Return what equality and hash are of: the program and the float32 and int32 numbers."""
        key = self._key_cache
        if key is None:
            key = (self._structure, *map(_key_of, self._children))
            object.__setattr__(self, "_key_cache", key)
        return key

    def __repr__(self) -> str:
        parameters = self._structure.definition.signature.parameters
        shown: list[str] = []
        for name, value in self.parameters.items():
            if parameters[name].kind is inspect.Parameter.VAR_POSITIONAL:
                shown += map(show, value)
            elif not _is_default(value, parameters[name].default):
                shown.append(f"{name}={show(value)}")
        return f"{self._structure.definition.name}({', '.join(shown)})"

    def __reduce__(self) -> tuple[object, ...]:
        definition = self._structure.definition
        parameters = {name: picklable(value) for name, value in self.parameters.items()}
        return _restore, (definition.name, definition.function.__module__, parameters)


@overload
def schedule(
    function: Callable[Concatenate[jax.Array, P], ArrayLike], /
) -> Callable[P, Schedule]: ...


@overload
def schedule(
    *,
    horizon: Horizon | None = None,
    check: Check | None = None,
    phases: Phases | None = None,
    name: str | None = None,
) -> Callable[[Callable[Concatenate[jax.Array, P], ArrayLike]], Callable[P, Schedule]]: ...


def schedule(
    function: Callable[..., ArrayLike] | None = None,
    /,
    *,
    horizon: Horizon | None = None,
    check: Check | None = None,
    phases: Phases | None = None,
    name: str | None = None,
) -> Any:
    """Turn a pure function of the step into a factory of schedules.

    The factory has the signature of the function without ``step``, with the same names, defaults
    and docstring. The function receives numbers as float32 or int32 arrays, ``step`` as an int32 or
    float32 array in ``[0, horizon]``, and nested schedules as schedules. Its result is converted
    to float32. Annotations from `lrsched.arguments` state what each parameter accepts.

    Args:
      function: ``f(step, *parameters) -> value``, written in ``jax.numpy`` without Python branches
        on the numbers.
      horizon: Name of the parameter that is the horizon, or a function of the schedule that returns
        it. The step is clipped to it, so that the value is constant from there on. If ``None``, the
        schedule has no end.
      check: Function of the schedule that raises ``ValueError`` for parameters that contradict one
        another. It runs when a schedule is made, unless a number is traced.
      phases: Function of the schedule and the number of steps to look at. It returns the name and
        the first step of each phase, in order, for plots and descriptions. If ``None``, the
        schedule is a single phase with its own name.
      name: Name in JSON and pickles. Defaults to the function's name.

    Returns:
      The factory, or a decorator if ``function`` is not given.

    Raises:
      ValueError: If another function has that name, a parameter has a reserved name, or
        ``horizon`` is not the name of a parameter.

    >>> import jax, jax.numpy as jnp, lrsched
    >>> from lrsched.arguments import FiniteFloat, PositiveInt
    >>> from lrsched.numerics import fraction
    >>> @lrsched.schedule(horizon="steps")
    ... def smoothstep(step, peak: FiniteFloat, steps: PositiveInt):
    ...     x = fraction(steps - step, steps)
    ...     return peak * x**2 * (3 - 2 * x)
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
    def factory(*args: object, **kwargs: object) -> Schedule:
        return definition.create(*args, **kwargs)

    factory.__signature__ = shown_signature(definition)  # type: ignore[attr-defined]
    return factory


def is_number(value: object) -> bool:
    """Return whether ``value`` is a number or an array of numbers, concrete or traced."""
    return isinstance(value, int | float | np.number | np.ndarray | jax.Array) and not isinstance(
        value, bool
    )


def is_function(value: object) -> bool:
    """Return whether ``value`` is a callable other than a schedule."""
    return callable(value) and not isinstance(value, Schedule)


# Evaluation. There is one compiled program for each structure, regardless of the numbers. Under an
# outer trace, the program is inlined.


NEEDS_NUMBERS: Final = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
"""Errors of a function that asks a tracer for its value. `TracerBoolConversionError` is one."""
WRITE_IN_JAX: Final = (
    "as a Python or NumPy number, as an if does; write it with jax.numpy (jnp.where), or pass its "
    "values in a bounded run, lrsched.table([function(step) for step in range(steps)])"
)
"""What to do about `NEEDS_NUMBERS`, for messages."""


@functools.partial(jax.jit, inline=True)
def _evaluate(schedule: Schedule, step: ArrayLike) -> jax.Array:
    definition = schedule._structure.definition
    schedule = jax.tree.map(_as_array, schedule)
    step = _as_count(jnp.asarray(step))
    # A horizon that is read from the signature alone costs one comparison of integers, which XLA
    # fuses into the program.
    step = _hold(step, schedule.horizon)
    bound = inspect.BoundArguments(definition.signature, schedule.parameters)
    try:
        value = definition.function(step, *bound.args, **bound.kwargs)
    except NEEDS_NUMBERS:
        raise ValueError(
            f"{definition.name}: its function needs the step or a parameter {WRITE_IN_JAX}."
        ) from None
    if value is None:
        raise ValueError(
            f"{definition.name}: its function returned None; it must return the rate, a number or "
            "an array of the shape of the step."
        )
    value = jnp.asarray(value, jnp.float32)
    # Products and interpolations of schedules stay finite: 0 * inf would be NaN.
    value = clip_finite(value)
    shape = jnp.broadcast_shapes(value.shape, step.shape)
    return jnp.broadcast_to(value, shape)


class _EagerProgram:
    """The evaluation of one schedule at Python integers, as a logger asks for it.

    A call of `_evaluate` flattens the schedule in Python and transfers each leaf. Here both are
    done once, so that a call is one dispatch of the compiled program.
    """

    __slots__ = ("constant", "leaves", "program", "schedule")

    def __init__(self, schedule: Schedule) -> None:
        leaves, tree = jax.tree.flatten(schedule)
        self.schedule = schedule
        self.constant: jax.Array | None = None
        self.program: Callable[..., jax.Array] | None = None
        self.leaves: list[jax.Array] = []
        if not any(map(_is_live, leaves)):
            # Under a trace, the leaves would be tracers, which must not outlive it.
            with jax.ensure_compile_time_eval():
                self.leaves = [_as_array(np.asarray(leaf)) for leaf in leaves]
            self.program = _program_of(tree)

    def __call__(self, step: int) -> jax.Array:
        constant = self.constant
        # A caller may have donated the array to a compiled function, which deletes it.
        if constant is not None and not constant.is_deleted():
            return constant
        count = min(max(step, 0), MAX_STEP)
        if self.program is not None:
            value = self.program(count, *self.leaves)
            if not isinstance(value, jax.core.Tracer):
                if not self.schedule._structure.definition.reads_step:
                    self.constant = value
                return value
        # Within a trace, the arrays of this cache may belong to other devices or another mesh.
        return _evaluate(self.schedule, np.int32(count))


@functools.lru_cache(maxsize=512)
def _program_of(tree: chex.ArrayTree) -> Callable[..., jax.Array]:
    @functools.partial(jax.jit, inline=True)
    def program(step: ArrayLike, *leaves: ArrayLike) -> jax.Array:
        return _evaluate(jax.tree.unflatten(tree, leaves), step)

    return program


def _is_live(leaf: object) -> bool:
    """Return whether a leaf is not a number of the host: a jax array, a tracer, or no number."""
    return isinstance(leaf, jax.Array) or not is_number(leaf)


def _as_step(step: ArrayLike) -> ArrayLike:
    """Return steps of the host within int32, as jax would wrap larger ones around."""
    if isinstance(step, jax.Array):
        return step
    try:
        numbers = np.asarray(step)
    except ValueError:  # a ragged list
        numbers = np.asarray(None)
    if numbers.dtype.kind in "iu":
        if not np.can_cast(numbers.dtype, np.int32):
            numbers = np.minimum(np.maximum(numbers, 0), MAX_STEP)
        return numbers.astype(np.int32, copy=False)
    if jnp.issubdtype(numbers.dtype, jnp.floating):
        return numbers.astype(np.float32)
    raise TypeError(
        f"step={short_repr(step)} is not a step; it must be an integer or a float, of any shape."
    )


def _as_count(step: jax.Array) -> jax.Array:
    if jnp.issubdtype(step.dtype, jnp.floating):
        return jnp.maximum(step.astype(jnp.float32), 0)
    if np.iinfo(step.dtype).max > MAX_STEP:
        step = jnp.minimum(step, MAX_STEP)
    return jnp.maximum(step.astype(jnp.int32), 0)


def _hold(step: jax.Array, horizon: chex.Numeric) -> jax.Array:
    """Return the step, clipped to the horizon."""
    if horizon is None:
        return step
    if isinstance(horizon, int):
        horizon = min(horizon, MAX_STEP)
    horizon = jnp.asarray(horizon, jnp.int32)
    # A sum of two traced lengths that is above the largest int32 wraps to a negative number.
    horizon = jnp.where(horizon < 0, MAX_STEP, horizon)
    if jnp.issubdtype(step.dtype, jnp.integer):
        return jnp.minimum(step, horizon)
    # Round up: a float32 below the horizon would be held before the end of the schedule.
    nearest = horizon.astype(jnp.float32)
    is_below = (nearest < 2.0**31) & (nearest.astype(jnp.int32) < horizon)
    return jnp.minimum(step, jnp.where(is_below, jnp.nextafter(nearest, jnp.inf), nearest))


def _as_array(leaf: ArrayLike) -> jax.Array:
    array = jnp.asarray(leaf)
    is_integer = jnp.issubdtype(array.dtype, jnp.integer)
    return array.astype(jnp.int32 if is_integer else jnp.float32)


# Definitions: how they are read from a function, and the registry.


def _define(
    function: Callable[..., ArrayLike],
    name: str,
    horizon: Horizon | None,
    check: Check | None,
    phases: Phases | None,
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
    argument_types = {p.name: argument_type_of(p.annotation) for p in parameters}
    if isinstance(horizon, str) and horizon not in argument_types:
        raise ValueError(
            f"{name}: horizon={horizon!r} is not accepted; horizon must be a function of the "
            f"schedule or one of the parameters behind the step: {', '.join(argument_types)}."
        )
    signature = signature.replace(parameters=parameters)
    return ScheduleDefinition(name, function, signature, argument_types, horizon, check, phases)


def shown_signature(definition: ScheduleDefinition) -> inspect.Signature:
    """Return the signature that ``help()`` shows, with the names of the argument types."""
    parameters = [
        parameter.replace(
            annotation=definition.argument_types[parameter.name] or parameter.annotation
        )
        for parameter in definition.signature.parameters.values()
    ]
    return inspect.Signature(parameters, return_annotation=Schedule)


def _infer_type(argument: object) -> ArgumentType | None:
    """Return the type of an argument without an annotation, or ``None`` if it needs no check."""
    if isinstance(argument, list | tuple | np.ndarray) and np.ndim(argument) > 0:
        return FINITE_FLOATS
    if argument is None or isinstance(argument, str | bool | Schedule) or callable(argument):
        return None
    is_integer = is_number(argument) and jnp.issubdtype(jnp.result_type(argument), jnp.integer)
    return SIGNED_INT if is_integer else FINITE_FLOAT


def _holds_schedules(argument: object) -> bool:
    return isinstance(argument, list | tuple) and any(
        isinstance(item, Schedule) for item in argument
    )


def _register(definition: ScheduleDefinition) -> None:
    known = REGISTRY.get(definition.name)
    if known is not None and not _is_redefinition(known.function, definition.function):
        raise ValueError(
            f"a schedule called {definition.name!r} is already defined in "
            f"{known.function.__module__}; give this one another name with "
            f"@schedule(name=...)."
        )
    REGISTRY[definition.name] = definition


def _is_redefinition(old: Callable[..., object], new: Callable[..., object]) -> bool:
    """Return whether a notebook cell was run again or a module reloaded."""

    def places(function: Callable[..., object]) -> set[tuple[str, str]]:
        file = getattr(getattr(function, "__code__", None), "co_filename", function.__module__)
        return {(where, function.__qualname__) for where in (function.__module__, file)}

    return not places(old).isdisjoint(places(new))


def register_namespace(prefix: str, module: str) -> None:
    """Import a module when a schedule called ``prefix.name`` is looked up and not yet defined.

    Args:
      prefix: Part of the name before the first dot.
      module: Name of the module that defines the schedule.
    """
    _NAMESPACES[prefix] = module


def get_definition(name: object) -> ScheduleDefinition:
    """Return the definition that is registered under a name.

    The module of a ported schedule, such as ``"torch.one_cycle"``, is imported if necessary.

    Args:
      name: Name of the schedule.

    Returns:
      The definition.

    Raises:
      ValueError: If no schedule has that name.
    """
    if isinstance(name, str):
        prefix, dot, _ = name.partition(".")
        if name not in REGISTRY and dot and prefix in _NAMESPACES:
            importlib.import_module(_NAMESPACES[prefix])
        if name in REGISTRY:
            return REGISTRY[name]
    if not isinstance(name, str):
        raise ValueError(f"no schedule is called {short_repr(name)}; its name must be a string.")
    near = difflib.get_close_matches(name[:80], REGISTRY, n=3, cutoff=0.0)
    raise ValueError(
        f"no schedule is called {short_repr(name)}; the nearest are {', '.join(near)}. Import the "
        "module of a custom schedule first, at the command line by --import MODULE."
    )


def create_from(
    definition: ScheduleDefinition,
    parameters: Mapping[str, object],
    changes: Mapping[str, object] | None = None,
) -> Schedule:
    """Return the schedule of these parameters, some of them changed.

    A name that the definition does not have is refused: a pickle of an earlier version may hold it.
    """
    parameters = {**parameters, **(changes or {})}
    if unknown := parameters.keys() - definition.signature.parameters.keys():
        raise ValueError(
            f"{definition.name} has no parameter {sorted(unknown)[0]!r}; "
            f"it has {', '.join(definition.signature.parameters)}."
        )
    keywords = dict(parameters)
    variadic = definition.variadic
    args = keywords.pop(variadic, ()) if variadic else ()
    if not isinstance(args, tuple | list):
        raise ValueError(f"{definition.name}: {variadic} must be a list, not {short_repr(args)}.")
    try:
        return definition.create(*args, **keywords)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _restore(name: str, module: str, parameters: dict[str, object]) -> Schedule:
    """Return the schedule that a pickle describes."""
    if name not in REGISTRY:
        importlib.import_module(module)
    return create_from(get_definition(name), parameters)


def _combine(name: str, *operands: object) -> Schedule:
    """Apply an operator and flatten it: ``(a * b) * c`` and ``a * (b * c)`` are equal."""
    definition = REGISTRY[name]
    flat: list[object] = []
    for operand in operands:
        if isinstance(operand, Schedule) and operand._structure.definition is definition:
            flat += operand.operands
        elif isinstance(operand, Schedule) or is_number(operand) or callable(operand):
            flat.append(operand)
        else:
            return NotImplemented
    return definition.create(*flat)


# Leaves: how they are shown and compared.


def as_python(leaf: ArrayLike) -> Any:
    """Return a concrete leaf as Python numbers. A float32 has its shortest decimal form."""
    if isinstance(leaf, np.ndarray | np.generic | jax.Array):
        array = np.asarray(leaf)
        if jnp.issubdtype(array.dtype, jnp.floating) and array.dtype != np.float64:
            array = array.astype(np.float32).astype(str).astype(np.float64)
        return array.tolist()
    return leaf


def _key_of(value: object) -> object:
    """Return what equality compares of a child: its numbers in float32 and int32."""
    if type(value) is float:
        return (), (float(np.float32(value)),)
    if type(value) is int:
        return (), (value,)
    if isinstance(value, Schedule):
        return value._key()
    if isinstance(value, tuple):
        return tuple(map(_key_of, value))
    if isinstance(value, jax.core.Tracer):
        return id(value)
    if not is_number(value):
        leaves, tree = jax.tree.flatten(value)
        is_leaf = len(leaves) == 1 and leaves[0] is value
        return value if is_leaf else (tree, *map(_key_of, leaves))
    array = np.asarray(value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        array = array.astype(np.float32)
    return array.shape, tuple(array.ravel().tolist())


def show(value: Any) -> str:
    """Return the text of a parameter, which reads back as an expression."""
    if is_traced(value) or isinstance(value, Schedule):
        return repr(value)
    if isinstance(value, tuple):
        # A single element needs its comma: (5) reads back as a number.
        return f"({', '.join(map(show, value))}{',' * (len(value) == 1)})"
    if is_function(value):
        return getattr(value, "__qualname__", repr(value))
    return repr(as_python(value))


def _is_default(value: Any, default: object) -> bool:
    if is_number(value):
        return not is_traced(value) and np.ndim(value) == 0 and as_python(value) == default
    return value is default or (isinstance(value, str | Schedule) and value == default)


def _children_with_keys(schedule: Schedule) -> tuple[Iterator[tuple[object, object]], StaticData]:
    keys = map(jax.tree_util.GetAttrKey, schedule._structure.names)
    return zip(keys, schedule._children, strict=True), schedule._structure


jax.tree_util.register_pytree_with_keys(
    Schedule,
    _children_with_keys,
    lambda structure, children: Schedule(structure, tuple(children)),
    lambda schedule: (schedule._children, schedule._structure),
)
