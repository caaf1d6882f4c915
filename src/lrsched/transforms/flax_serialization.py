"""Lets Flax's msgpack checkpoints hold schedules and controllers, where Flax is in use."""

import functools
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any, Final

import jax

if TYPE_CHECKING:
    from types import ModuleType

    import optax

_MODULE: Final = "flax.serialization"
_FINGERPRINT: Final = "fingerprint"
_KINDS: Final[dict[type, Callable[[Any], object] | None]] = {}


def register_with_flax(kind: type, fingerprint: Callable[[Any], object] | None = None) -> None:
    """Make ``flax.serialization`` save a pytree type as the list of its numbers.

    Orbax and pickle take any pytree; Flax takes only types that were registered. Flax is not
    imported: where it is imported later, the types are registered then.

    Args:
      kind: The type.
      fingerprint: Checksum of a value's structure, an int32 scalar, which is saved beside the
        numbers and compared when they are restored. Defaults to None, which saves none.
    """
    if kind in _KINDS:
        return
    _KINDS[kind] = fingerprint
    if _MODULE in sys.modules:
        _register(sys.modules[_MODULE], kind, fingerprint)
    elif not any(isinstance(finder, _AfterImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _AfterImport())


class _AfterImport(importlib.abc.MetaPathFinder):
    """Registers the types as soon as Flax's module has been executed."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: "ModuleType") -> None:
            execute(module)
            for kind, fingerprint in _KINDS.items():
                _register(module, kind, fingerprint)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def _register(flax: "ModuleType", kind: type, fingerprint: Callable[[Any], object] | None) -> None:
    flax.register_serialization_state(
        kind,
        functools.partial(_to_state_dict, fingerprint),
        functools.partial(_from_state_dict, fingerprint),
        override=True,
    )


def _to_state_dict(
    fingerprint: Callable[[Any], object] | None, value: "optax.OptState"
) -> dict[str, object]:
    numbers = {str(index): leaf for index, leaf in enumerate(jax.tree.leaves(value))}
    return numbers if fingerprint is None else {**numbers, _FINGERPRINT: fingerprint(value)}


def _from_state_dict(
    fingerprint: Callable[[Any], object] | None, target: "optax.OptState", state: dict[str, object]
) -> "optax.OptState":
    leaves, structure = jax.tree.flatten(target)
    saved = {name: leaf for name, leaf in state.items() if name != _FINGERPRINT}
    is_other = fingerprint is not None and state.get(_FINGERPRINT) != fingerprint(target)
    if is_other or len(leaves) != len(saved):
        raise ValueError(
            f"the checkpoint holds {len(saved)} numbers of another schedule than {target}; restore "
            "into an optimizer with the schedule that was saved, then call migrate or "
            "set_schedule."
        )
    return jax.tree.unflatten(structure, [saved[str(index)] for index in range(len(leaves))])


def is_nnx_variable(node: object) -> bool:
    """Return whether ``node`` is an ``nnx.Variable``, the container of one array."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(node, nnx.Variable)
