"""Optimizer states taken apart: the leaves of a state with the transform that each belongs to.

`migrate` and `check_resume` compare two states that may differ in nesting, order and container: a
chain and an injected optimizer, one group and several, a typed state and the plain dictionaries
that a checkpoint library restores without a target. What they share is the fields of the
transforms' states and the paths of the parameters within them.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import jax

from lrsched._schedule import Schedule
from lrsched.arguments import short_repr
from lrsched.transforms.composition import path_name
from lrsched.transforms.flax_serialization import is_nnx_variable
from lrsched.transforms.rate import RateState

if TYPE_CHECKING:
    import chex

Path: TypeAlias = tuple[str, ...]
"""Names and indices from a state, or from a field of it, to a leaf."""

RATE_FIELDS: Final = frozenset(RateState._fields)
INJECTED_FIELDS: Final = frozenset(("hyperparams", "inner_state", "count"))
_LIBRARIES: Final = ("optax", "lrsched")
MULTI_STEPS_FIELDS: Final = frozenset(("mini_step", "gradient_step"))


@dataclasses.dataclass(eq=False)
class StateNode:
    """The state of one transform within an optimizer state.

    Attributes:
      value: The state: a NamedTuple, or a mapping of the same keys.
      fields: Names of its fields.
      name: Name of its type; None for a mapping, which matches every type of the same fields.
      place: Path from the root.
      container: Keys from the root, without indices of chains: ``("opt_state",)`` in a
        ``TrainState``.
      labels: Labels of ``optax.partition``, the outermost first.
      is_in_multi_steps: Whether it counts updates of the parameters, and not micro-batches.
      leaves: The leaves by field and path within the field.
      origins: Nodes that it was translated from.
    """

    value: "chex.ArrayTree"
    fields: frozenset[str]
    name: str | None
    place: Path
    container: Path
    labels: Path
    is_in_multi_steps: bool
    leaves: "dict[tuple[str, Path], StateLeaf]" = dataclasses.field(default_factory=dict)
    origins: "tuple[StateNode, ...]" = ()

    def field(self, name: str) -> Any:
        """Return a field of the state, or None."""
        if isinstance(self.value, Mapping):
            return self.value.get(name)
        return getattr(self.value, name, None)

    @property
    def has_rate_clock(self) -> bool:
        """Whether its count is that of a schedule."""
        is_optax = self.fields == {"count"} or self.fields >= INJECTED_FIELDS
        is_ours = "count" in self.fields and bool({"rate", "rates"} & self.fields)
        return is_optax or is_ours

    @property
    def title(self) -> str:
        """Name of the type, or a list of the fields of a mapping."""
        return self.name or f"a state of {', '.join(sorted(self.fields))}"


@dataclasses.dataclass(eq=False)
class StateLeaf:
    """A leaf of an optimizer state.

    Attributes:
      value: An array, an ``nnx.Variable`` of one, or a configuration: a `RateState`, a `Schedule`
        or a controller as a whole.
      node: The state of the transform that it belongs to; None for other leaves of a container.
      field: Name of the field of ``node``.
      path: Path within the field; of a parameter's moment, the path of the parameter.
      place: Path from the root.
    """

    value: "chex.ArrayTree"
    node: StateNode | None
    field: str
    path: Path
    place: Path

    @property
    def array(self) -> "chex.Array":
        """The array out of its container."""
        (array,) = jax.tree.leaves(self.value)
        return array


def numbers_of(tree: "chex.ArrayTree", path: Path = ()) -> "Iterator[tuple[Path, chex.Array]]":
    """Yield the arrays of a configuration with their paths, as a state without types has them."""
    children = None if is_nnx_variable(tree) else _children(tree)
    if children is None:
        yield from ((path, array) for array in jax.tree.leaves(tree))
        return
    for key, child in children:
        yield from numbers_of(child, path if _is_variable(key, children) else (*path, key))


def _is_variable(key: str, children: "list[tuple[str, chex.ArrayTree]]") -> bool:
    # Orbax restores an nnx.Variable without a target as the mapping {"value": array}.
    return len(children) == 1 and key == "value"


def is_configuration(value: object) -> bool:
    """Return whether a part of a state says what its transform does, rather than what it knows."""
    return isinstance(value, RateState | Schedule) or hasattr(value, "metric_names")


def check_state(function: str, name: str, state: "chex.ArrayTree") -> None:
    """Raise if ``state`` is certainly no optimizer's state, and no container of one.

    A custom transform may keep its state in any tree of arrays.
    """
    leaves = jax.tree.leaves(state)
    is_optimizer = hasattr(state, "init") and hasattr(state, "update")
    has_arrays = any(hasattr(leaf, "shape") for leaf in leaves) or not (leaves or state is None)
    if is_optimizer or not has_arrays:
        value = "an optimizer" if is_optimizer else short_repr(state)
        raise ValueError(
            f"{function}: {name}={value} is not accepted; {name} must be the state of an "
            "optimizer: optimizer.init(params), a later one, or the restored one."
        )
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves):
        raise ValueError(
            f"{function}: {name} holds a ShapeDtypeStruct, which is not a number; it must be a "
            "state of arrays, and not a description of one."
        )


def read_state(state: "chex.ArrayTree") -> list[StateLeaf]:
    """Return the leaves of a state, in the order in which ``jax.tree`` flattens it.

    Configurations and ``nnx.Variable`` are leaves.
    """
    return list(_leaves(state, (), None, "", (), True, (), (), False))


def flatten_state(state: "chex.ArrayTree") -> tuple[list["chex.ArrayTree"], object]:
    """Return the values of `read_state` and the structure around them."""
    return jax.tree.flatten(state, is_leaf=_is_leaf)


def nodes_of(leaves: list[StateLeaf]) -> list[StateNode]:
    """Return the nodes of some leaves once each, in the order of their places."""
    nodes = dict.fromkeys(leaf.node for leaf in leaves if leaf.node is not None)
    return sorted(nodes, key=lambda node: _sort_key(node.place))


def _is_leaf(value: object) -> bool:
    # The variable of a masked parameter holds a MaskedNode, and no array.
    return is_configuration(value) or (is_nnx_variable(value) and bool(jax.tree.leaves(value)))


def _sort_key(place: Path) -> tuple[tuple[bool, int, str], ...]:
    """Return a key that orders indices by number and is the same for lists and dictionaries."""
    return tuple((not key.isdigit(), int(key) if key.isdigit() else 0, key) for key in place)


def _leaves(
    value: "chex.ArrayTree",
    place: Path,
    node: StateNode | None,
    field: str,
    path: Path,
    has_nodes: bool,
    container: Path,
    labels: Path,
    is_in_multi_steps: bool,
) -> Iterator[StateLeaf]:
    if value is None:
        return
    children = None if _is_leaf(value) else _children(value)
    if children is None:
        leaf = StateLeaf(value, node, field, path, place)
        if node is not None:
            node.leaves[field, path] = leaf
        yield leaf
        return
    # A typed state has typed states within it, and the keys of ``inner_states`` are labels, which
    # may be called as fields are: "m" and "v".
    is_typed = node is not None and node.name is not None
    is_by_label = field == "inner_states" and not path
    may_be_state = has_nodes and not (isinstance(value, Mapping) and (is_typed or is_by_label))
    if may_be_state and (fields := _state_fields(value)) is not None:
        name = type(value).__name__ if hasattr(value, "_fields") else None
        own = StateNode(value, fields, name, place, container, labels, is_in_multi_steps)
        is_multi_steps = fields >= MULTI_STEPS_FIELDS
        for key, child in children:
            yield from _leaves(
                child,
                (*place, key),
                own,
                key,
                (),
                "state" in key,
                container,
                labels,
                is_in_multi_steps or is_multi_steps,
            )
        return
    is_sequence = isinstance(value, tuple | list) or _is_sequence(value)
    for key, child in children:
        is_key_of_container = node is None and not is_sequence
        yield from _leaves(
            child,
            (*place, key),
            node,
            field,
            path if _is_variable(key, children) else (*path, key),
            has_nodes and key != "params",
            (*container, key) if is_key_of_container else container,
            (*labels, key) if field == "inner_states" and len(path) == 0 else labels,
            is_in_multi_steps,
        )


def _children(value: "chex.ArrayTree") -> list[tuple[str, "chex.ArrayTree"]] | None:
    """Return the children of a pytree node with their names; None for a leaf."""
    pairs, _ = jax.tree_util.tree_flatten_with_path(value, is_leaf=lambda x: x is not value)
    if len(pairs) == 1 and not pairs[0][0]:
        return None
    return [(path_name(path), x) for path, x in pairs]


def _is_sequence(value: object) -> bool:
    return isinstance(value, Mapping) and all(str(key).isdigit() for key in value)


def _state_fields(value: object) -> frozenset[str] | None:
    """Return the fields of a transform's state; None for all else, such as a tree of parameters."""
    if isinstance(value, Mapping):
        return _fields_of_mapping(frozenset(map(str, value)))
    if not (isinstance(value, tuple) and hasattr(value, "_fields")):
        return None
    kind = type(value)
    is_known = kind.__module__.partition(".")[0] in _LIBRARIES
    return frozenset(kind._fields) if is_known or kind.__name__.endswith("State") else None


@functools.cache
def _fields_of_mapping(keys: frozenset[str]) -> frozenset[str] | None:
    """Return the fields of the state that a mapping of these keys was; None if it was none.

    ``nnx.state`` leaves fields out that hold nothing, such as the ``schedules`` of an optimizer
    whose rates alone are scheduled. A field with ``count`` in its name always holds an array.
    """
    if keys in _known_fields():
        return keys
    partial = [
        fields
        for fields in _known_fields()
        if len(keys) > 1 and keys < fields and not any("count" in name for name in fields - keys)
    ]
    return min(partial, key=len, default=None)


@functools.cache
def _known_fields() -> frozenset[frozenset[str]]:
    """Return the sets of fields of the states of optax and of lrsched.

    A mapping with these keys is a state that was restored without a target.
    """
    kinds = [
        kind
        for kind in tuple.__subclasses__()
        if kind.__module__.partition(".")[0] in _LIBRARIES
        and kind.__name__.endswith("State")
        and kind is not RateState
    ]
    fields = [frozenset(getattr(kind, "_fields", ())) for kind in kinds]
    return frozenset(names for names in fields if names)
