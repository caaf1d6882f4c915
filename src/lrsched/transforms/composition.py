"""The composition rule: the applied rate is the product of what each state contributes.

*schedule x manual scale x group multiplier x controller scale x the method's own estimate*, for
everything that an update passed through. What a state contributes is registered where its type is
defined; groups of parameters (``optax.partition``) and the several rates of one optimizer keep
their rates apart. This module is the only one that searches an optimizer state for rates.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import optax
from optax.transforms import PartitionState

from lrsched.transforms.flax_serialization import is_nnx_variable
from lrsched.transforms.rate import RateState, check_fingerprint

if TYPE_CHECKING:
    import chex

RatesByGroup: TypeAlias = dict[str, jax.Array]
"""Rate of each group of parameters; of a state without groups, under ``""``."""
Group: TypeAlias = tuple[str, ...]
"""Labels of the groups that something is in, the outermost first."""

LEARNING_RATE: Final = "learning_rate"


Tree = TypeVar("Tree")


class RateFactor(NamedTuple):
    """What one state multiplies the updates by.

    Attributes:
      value: A scalar; a mapping from label to scalar, where the state has several rates; None
        where it keeps none.
      inner_state: The states within it, which contribute too.
      is_multiplier: Whether ``value`` multiplies a rate that is applied elsewhere.
      rates: The rates that edits change, by label; the label is ``""`` where there is one.
      hyperparameters: Other scheduled numbers, by argument name.
      with_rates: ``(state, rates, hyperparameters) -> state``: the state with other ones.
      names: The argument name of each label, where it is not ``learning_rate``.
      is_outer: Whether the rates of inner states come from this state, so that an edit goes here.
    """

    value: "chex.Numeric | Mapping[str, chex.Numeric] | None"
    inner_state: optax.OptState = ()
    is_multiplier: bool = False
    rates: Mapping[str, RateState] = {}
    hyperparameters: Mapping[str, RateState] = {}
    with_rates: Callable[[Any, Any, Any], Any] | None = None
    names: Mapping[str, str] = {}
    is_outer: bool = False


class RateNode(NamedTuple):
    """A state of a known type within another state.

    Attributes:
      group: The labels of the groups that it is in.
      state: The state itself.
      rate_factor: Contribution of the state to the rate.
      is_driven: Whether its rates come from an outer state.
    """

    group: Group
    state: optax.OptState
    rate_factor: RateFactor
    is_driven: bool = False

    def groups(self, values: Mapping[str, object]) -> list[Group]:
        """Return the group of each label: one rate is that of the node's own group."""
        is_one = len(values) == 1 and not self.rate_factor.is_multiplier
        return [self.group if is_one else (*self.group, label) for label in values]


def unwrap_nnx(tree: optax.OptState, leaf_treedef: object) -> optax.OptState:
    """Return a tree of arrays, each out of the structure that ``nnx.Optimizer`` puts around it."""

    def unwrap(wrapped: optax.OptState) -> jax.Array:
        (array,) = jax.tree.leaves(wrapped)
        return jnp.asarray(array)

    return jax.tree.map(unwrap, tree, is_leaf=lambda x: jax.tree.structure(x) == leaf_treedef)


def path_name(path: tuple[object, ...]) -> str:
    """Return the path of a leaf as one string: its names and numbers, joined by slashes."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def wrap_nnx(tree: optax.OptState, leaf_treedef: object) -> optax.OptState:
    """Return a tree of arrays, each within the structure that `unwrap_nnx` takes off."""
    return jax.tree.map(lambda x: jax.tree.unflatten(leaf_treedef, [x]), tree)


def leaves_with_path(tree: "chex.ArrayTree") -> Iterator[tuple[str, Any]]:
    """Yield the path and value of each leaf; an ``nnx.Variable`` is a leaf by its own path."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=is_nnx_variable)
    for path, node in flat:
        for leaf in jax.tree.leaves(node):
            yield path_name(path), leaf


def map_with_path(function: Callable[[str, Any], Any], tree: Tree) -> Tree:
    """Return the tree of ``function(path, leaf)``, with the paths of `leaves_with_path`."""
    return jax.tree_util.tree_map_with_path(
        lambda path, node: jax.tree.map(lambda leaf: function(path_name(path), leaf), node),
        tree,
        is_leaf=is_nnx_variable,
    )


def cast_like(tree: Tree, like: Tree) -> Tree:
    """Return ``tree`` in the dtypes of ``like``."""
    return jax.tree.map(lambda x, old: jnp.asarray(x, jnp.result_type(old)), tree, like)


def states_of(kind: type[Tree], tree: "chex.ArrayTree") -> list[Tree]:
    """Return every node of a type within an optimizer state, or within a container of one."""
    nodes = jax.tree.leaves(tree, is_leaf=lambda node: isinstance(node, kind))
    return [node for node in nodes if isinstance(node, kind)]


def single_state(function: str, kind: type[Tree], tree: "chex.ArrayTree", factory: str) -> Tree:
    """Return the one node of a type within an optimizer state.

    Args:
      function: Name of the caller, for the message.
      kind: Type of the node.
      tree: An optimizer state, or a container of one.
      factory: Name of the function whose transform has such a state, for the message.

    Raises:
      ValueError: If there is no such node, or there are several.
    """
    states = states_of(kind, tree)
    if len(states) != 1:
        raise ValueError(
            f"{function}: a state that holds {len(states)} states of {factory} is not accepted; it "
            "must hold one (pass the node that does)."
        )
    return states[0]


def check_has_numbers(state: optax.OptState) -> None:
    """Raise ``ValueError`` if a state is a description without numbers, of ``jax.eval_shape``."""
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(state)):
        raise ValueError(
            "the state is a description, as of jax.eval_shape, and holds no numbers; pass "
            "optimizer.init(params), or the restored state."
        )


@functools.singledispatch
def rate_factor(state: optax.OptState) -> RateFactor | None:
    """Return what a state of a known type contributes; None for all other types."""
    del state
    return None


def iter_rate_nodes(
    state: optax.OptState, group: Group = (), is_driven: bool = False
) -> Iterator[RateNode]:
    """Yield every state of a known type within ``state``, with its group."""
    factor = rate_factor(state)
    if factor is not None:
        for name, rate in (*factor.rates.items(), *factor.hyperparameters.items()):
            check_fingerprint(rate, name)
        yield RateNode(group, state, factor, is_driven)
        yield from iter_rate_nodes(factor.inner_state, group, is_driven or factor.is_outer)
    elif isinstance(state, PartitionState):
        for label, inner in state.inner_states.items():
            yield from iter_rate_nodes(inner, (*group, str(label)), is_driven)
    elif isinstance(state, tuple | OrderedDict):  # a chain, a named chain
        for inner in state.values() if isinstance(state, OrderedDict) else state:
            yield from iter_rate_nodes(inner, group, is_driven)
    else:
        yield from _iter_container(state, group, is_driven)


def compose_rates(state: optax.OptState) -> RatesByGroup:
    """Return the product of all contributions, for each group of parameters.

    Raises:
      ValueError: If parameters are grouped in two ways, so that the groups have no one rate.
    """
    return {group_label(group): rate for group, rate in compose_groups(state).items()}


def compose_groups(state: optax.OptState) -> dict[Group, jax.Array]:
    """Return `compose_rates` under the labels of each group."""
    nodes = list(iter_rate_nodes(state))
    _check_that_groups_do_not_cross(nodes)
    factors = [
        (group, jnp.asarray(factor, jnp.float32))
        for node in nodes
        for group, factor in _factors(node)
    ]
    groups = dict.fromkeys(group for group, _ in factors)
    innermost = [group for group in groups if not any(_is_in(other, group) for other in groups)]
    return {
        group: functools.reduce(
            jnp.multiply,
            [factor for outer, factor in factors if outer == group or _is_in(group, outer)],
        )
        for group in innermost
    }


def group_label(group: Group) -> str:
    """Return the labels of a group as one; the rate called ``""`` has that of its optimizer."""
    return "/".join(filter(None, group))


def has_rate(state: optax.OptState) -> bool:
    """Return whether ``state`` holds a rate, rather than nothing, or only multipliers of one."""
    return any(
        node.rate_factor.value is not None and not node.rate_factor.is_multiplier
        for node in iter_rate_nodes(state)
    )


def no_rate_error(fault: str, state: Any) -> ValueError:
    """Return the error for a state without a rate that can be read or changed."""
    return ValueError(
        f"{fault}; it must come from an optimizer with scale_by_learning_rate, inject_schedules or "
        "an adaptive method in it, as optax's own optimizers (optax.adam(0.1)) keep none."
        + rates_hint(state)
    )


def rates_hint(state: Any) -> str:
    """Return why a state holds no rate, with what to write, where that can be seen; else ""."""
    if hasattr(state, "init") and hasattr(state, "update"):
        return " This is an optimizer; pass its state, optimizer.init(params) or the latest one."
    if not any(hasattr(leaf, "dtype") for leaf in jax.tree.leaves(state)):
        return f" This is a {type(state).__name__} without an array."
    names = {
        name: None for node in iter_rate_nodes(state) for name in node.rate_factor.hyperparameters
    }
    if not names:
        return ""
    return (
        f" It follows {', '.join(names)}: if one of these is a learning rate, write "
        f"inject_schedules(factory, rates=({next(iter(names))!r},))."
    )


def _check_that_groups_do_not_cross(nodes: Sequence[RateNode]) -> None:
    for node in nodes:
        if isinstance(node.rate_factor.value, Mapping):
            others = [
                group
                for other in nodes
                if other is not node
                for group, _ in _factors(other)
                if _is_in(group, node.group)
            ]
            if others:
                raise ValueError(
                    f"the groups {', '.join(node.rate_factor.value)} and "
                    f"{', '.join(map(group_label, others))} cross, so that they have no "
                    "one rate each; group the parameters once, or pass a part of the state."
                )


def _factors(node: RateNode) -> Iterator[tuple[Group, "chex.Numeric"]]:
    value = node.rate_factor.value
    if isinstance(value, Mapping):
        yield from zip(node.groups(value), value.values(), strict=True)
    elif value is not None:
        yield node.group, value


def _is_in(group: Group, outer: Group) -> bool:
    return len(group) > len(outer) and group[: len(outer)] == outer


def _iter_container(state: optax.OptState, group: Group, is_driven: bool) -> Iterator[RateNode]:
    """Yield the nodes in anything but a chain, such as a ``TrainState`` or a dictionary of states.

    Several parts that each hold a rate are groups; with one at most, all of them are a product.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        state, is_leaf=lambda x: x is not state and (_is_known(x) or isinstance(x, tuple))
    )
    known = [
        (path_name(path), leaf)
        for path, leaf in leaves
        if _is_known(leaf) or isinstance(leaf, tuple)
    ]
    are_groups = sum(has_rate(leaf) for _, leaf in known) > 1
    for place, leaf in known:
        yield from iter_rate_nodes(leaf, (*group, place) if are_groups else group, is_driven)


def _is_known(state: optax.OptState) -> bool:
    return rate_factor(state) is not None


def replace_nodes(
    tree: optax.OptState,
    changes: Sequence[tuple[optax.OptState, Callable[[optax.OptState], optax.OptState]]],
) -> optax.OptState:
    """Return ``tree`` with each of these nodes replaced by what its function makes of it.

    A function receives its node with the nodes within it replaced already.
    """
    change_of = {id(node): change for node, change in changes}

    def visit(x: optax.OptState) -> optax.OptState:
        if id(x) not in change_of:
            return x
        inner = jax.tree.map(visit, x, is_leaf=lambda y: y is not x and id(y) in change_of)
        return change_of[id(x)](inner)

    return jax.tree.map(visit, tree, is_leaf=lambda x: id(x) in change_of)


def scheduled_rate_factor(state: optax.OptState) -> RateFactor:
    """Return the contribution of a state with the fields ``rate`` and ``learning_rate``."""
    if not isinstance(state.rate, RateState):
        # A plain schedule says what another transform applies: an edit would not reach a rate.
        return RateFactor(state.learning_rate, with_rates=lambda state, *_: state)
    return RateFactor(
        state.learning_rate,
        rates={"": state.rate},
        with_rates=lambda state, rates, _: state._replace(rate=rates[""]),
    )


def injected_rate_factor(values: Mapping[str, "chex.Numeric"], inner: optax.OptState) -> RateFactor:
    """Return the contribution of optax's injected hyperparameters.

    The optimizer inside may keep its rate itself, which is then the one that is applied.
    """
    return RateFactor(None if has_rate(inner) else values.get(LEARNING_RATE), inner)


# Optax's own states that keep a rate or a scale.


@rate_factor.register(optax.ScaleByBacktrackingLinesearchState)
@rate_factor.register(optax.ScaleByZoomLinesearchState)
def _(state: optax.OptState) -> RateFactor:
    return RateFactor(state.learning_rate)


@rate_factor.register(optax.InjectHyperparamsState)
@rate_factor.register(optax.InjectStatefulHyperparamsState)
def _(state: optax.OptState) -> RateFactor:
    return injected_rate_factor(state.hyperparams, state.inner_state)


@rate_factor.register(optax.contrib.ReduceLROnPlateauState)
def _(state: optax.OptState) -> RateFactor:
    return RateFactor(state.scale, is_multiplier=True)
