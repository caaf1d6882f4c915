"""Python functions as static data of a schedule: equal where made alike, and picklable.

JAX compares static data with ``==``. Two functions that a factory such as
``optax.cosine_decay_schedule`` makes from the same numbers are different objects, so that an
optimizer that is built a second time would compile its step again, and no pickle finds them by
name.
"""

import functools
import importlib
import importlib.util
import marshal
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Final

import jax
import numpy as np

_INTERNED: Final[weakref.WeakValueDictionary[Hashable, Any]] = weakref.WeakValueDictionary()
_MAX_ARRAY_SIZE: Final = 4096
_ATOMS: Final = (bool, int, float, complex, str, bytes, type(None), np.generic)


def intern_function(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the first function that was made alike: of the same code, numbers and globals.

    Args:
      function: Any callable. What is neither a plain function nor a ``functools.partial`` of one,
        or has variables that cannot be compared, is returned as it is. A function that ``jax.jit``
        made without a name to import is replaced by the one that it compiles: a pickle takes the
        code of that.
    """
    function = _without_jit(function)
    try:
        key = _interned_key(function)
        known = _INTERNED.get(key)
        # The variables of a function may have been assigned since.
        if known is not None and _interned_key(known) == key:
            return known
        _INTERNED[key] = function
    except (TypeError, ValueError, RecursionError):
        pass
    return function


def _without_jit(value: Any) -> Any:
    while isinstance(value, jax.stages.Wrapped) and not _has_name(value):
        value = value.__wrapped__  # type: ignore[attr-defined]
    return value


def picklable(value: Any) -> Any:
    """Return a static value in a form that pickle takes: functions without a name by their code."""
    value = _without_jit(value)
    if isinstance(value, functools.partial):
        return _PartialByValue(value)
    is_local = isinstance(value, types.FunctionType) and not _has_name(value)
    return _FunctionByValue(value) if is_local else value


class _PartialByValue:
    """Pickles a ``functools.partial`` with the functions in it as `picklable`."""

    def __init__(self, partial: functools.partial[Any]):
        self.partial = partial

    def __reduce__(self) -> tuple[Any, ...]:
        partial = self.partial
        return _load_partial, tuple(map(_by_value, (partial.func, partial.args, partial.keywords)))


def _load_partial(function: Any, args: Any, keywords: Any) -> Any:
    return functools.partial(function, *args, **keywords)


class _FunctionByValue:
    """Pickles a function that cannot be imported by name; loading it gives the function."""

    def __init__(self, function: types.FunctionType):
        self.function = function

    def __reduce__(self) -> tuple[Any, ...]:
        function = self.function
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        try:
            return _load_function, (
                importlib.util.MAGIC_NUMBER,
                marshal.dumps(function.__code__),
                # A decorator with functools.wraps has the module of what it decorates.
                function.__globals__["__name__"],
                function.__module__,
                function.__qualname__,
                _by_value(function.__defaults__),
                _by_value(function.__kwdefaults__),
                _by_value(cells),
            )
        except ValueError as error:
            raise pickle.PicklingError(_explain(function.__qualname__, str(error))) from None


def _load_function(
    magic: bytes,
    code: bytes,
    namespace_module: str,
    module: str,
    name: str,
    defaults: Any,
    keyword_defaults: Any,
    cells: Any,
) -> Any:
    if magic != importlib.util.MAGIC_NUMBER:
        raise ValueError(_explain(name, "it was pickled by another version of Python"))
    namespace = vars(importlib.import_module(namespace_module))
    closure = tuple(map(types.CellType, cells))
    function = types.FunctionType(marshal.loads(code), namespace, name, defaults, closure)
    function.__kwdefaults__ = keyword_defaults
    function.__qualname__, function.__module__ = name, module
    return function


def _explain(name: str, reason: str) -> str:
    return (
        f"the schedule is the Python function {name}, which cannot be pickled: {reason}. Use a "
        "schedule of lrsched, such as lrsched.cosine for optax.cosine_decay_schedule, or define "
        "one with @lrsched.schedule."
    )


def _by_value(value: Any) -> Any:
    """Return variables with the functions in them as `picklable`."""
    if isinstance(value, list | tuple):
        return type(value)(map(_by_value, value))
    if isinstance(value, dict):
        return {key: _by_value(item) for key, item in value.items()}
    return picklable(value)


def _has_name(function: Any) -> bool:
    module: object = sys.modules.get(function.__module__)
    try:
        found = functools.reduce(getattr, function.__qualname__.split("."), module)
    except AttributeError:
        return False
    return found is function


def _interned_key(function: Any) -> Hashable:
    return _key(function) if isinstance(function, functools.partial) else _function_key(function)


def _function_key(function: Any) -> Hashable:
    """Return what two functions that compute the same have in common.

    Raises:
      TypeError: If it is no plain function, or a variable cannot be compared.
    """
    if not isinstance(function, types.FunctionType):
        raise TypeError
    names = [name for name in _names(function.__code__) if name in function.__globals__]
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    key = (
        function.__code__,
        function.__module__,
        _key(function.__defaults__),
        _key(function.__kwdefaults__),
        _key(cells),
        # A function of a notebook reads numbers that the next cell may assign again.
        tuple((name, _global_key(function.__globals__[name])) for name in names),
    )
    hash(key)
    return key


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _global_key(value: Any) -> Hashable:
    is_named = isinstance(value, types.ModuleType | types.FunctionType | type) or callable(value)
    return id(value) if is_named else _key(value)


def _key(value: Any) -> Hashable:
    value = _without_jit(value)
    if isinstance(value, _ATOMS):
        return type(value), value
    if isinstance(value, list | tuple):
        return type(value), tuple(map(_key, value))
    if isinstance(value, dict):
        return dict, tuple((_key(name), _key(item)) for name, item in value.items())
    if isinstance(value, np.ndarray) and value.size <= _MAX_ARRAY_SIZE:
        return value.dtype.str, value.shape, value.tobytes()
    if isinstance(value, types.FunctionType):
        return _function_key(value)
    if isinstance(value, functools.partial):
        return functools.partial, _key(value.func), _key(value.args), _key(value.keywords)
    hash(value)
    return type(value), value
