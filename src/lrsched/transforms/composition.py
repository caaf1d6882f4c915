"""The one law of composition: the rate applied is the product of what each state contributes.

*schedule x controller scale x group multiplier x manual scale x the method's own estimate*, over
everything that an update went through. What a state contributes is registered where its type is
defined; groups of parameters (``optax.partition``) keep their rates apart.
"""

import functools
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from optax.transforms import PartitionState

RatesByGroup: TypeAlias = dict[str, jax.Array]
"""The rate of each group of parameters; of a state without groups, that of the group ``""``."""


class RateFactor(NamedTuple):
    """What one state multiplies the updates by.

    Attributes:
      factor: a scalar; a dictionary of scalars, one for each group; None where the state keeps
        none.
      inner: the states within it, which contribute too.
      is_scale: whether ``factor`` scales a rate applied elsewhere, and is no rate by itself.
      schedules: the schedules that ``factor`` comes from, in one tree.
      put: ``schedules -> state``: the state with others.
    """

    factor: Any
    inner: Any = ()
    is_scale: bool = False
    schedules: Any = None
    put: Callable[[Any], Any] | None = None


class RateNode(NamedTuple):
    """A state of a known type within another state.

    Attributes:
      group: the labels of the groups that it is in, the outermost first.
      state: itself.
      contribution: what it contributes.
    """

    group: tuple[str, ...]
    state: Any
    rate_factor: RateFactor


def unwrap_nnx(tree: Any, container: Any) -> Any:
    """The arrays of a tree, each out of the structure that ``nnx.Optimizer`` puts around it."""

    def taken_out(held: Any) -> jax.Array:
        (array,) = jax.tree.leaves(held)
        return jnp.asarray(array)

    return jax.tree.map(taken_out, tree, is_leaf=lambda x: jax.tree.structure(x) == container)


@functools.singledispatch
def rate_factor(state: Any) -> RateFactor | None:
    """What a state of a known type contributes; None for all other types."""
    del state
    return None


def iter_rate_nodes(state: Any, group: tuple[str, ...] = ()) -> Iterator[RateNode]:
    """Every state of a known type within ``state``, with its group."""
    own = rate_factor(state)
    if own is not None:
        yield RateNode(group, state, own)
        yield from iter_rate_nodes(own.inner, group)
    elif isinstance(state, PartitionState):
        for label, inner in state.inner_states.items():
            yield from iter_rate_nodes(inner, (*group, str(label)))
    elif isinstance(state, tuple | OrderedDict):  # a chain, a named chain
        for inner in state.values() if isinstance(state, OrderedDict) else state:
            yield from iter_rate_nodes(inner, group)
    else:
        yield from _apart(state, group)


def compose_rates(state: Any) -> RatesByGroup:
    """The product of all contributions, for each group of parameters.

    Raises:
      ValueError: parameters that are grouped in two ways, so that the groups have no one rate.
    """
    _check_that_groups_do_not_cross(state)
    factors = [
        (group, jnp.asarray(factor, jnp.float32))
        for part in iter_rate_nodes(state)
        for group, factor in _factors(part)
    ]
    groups = dict.fromkeys(group for group, _ in factors)
    innermost = [group for group in groups if not any(_is_in(other, group) for other in groups)]
    return {
        "/".join(group): functools.reduce(
            jnp.multiply,
            [factor for outer, factor in factors if outer == group or _is_in(group, outer)],
        )
        for group in innermost
    }


def has_rate(state: Any) -> bool:
    """Whether ``state`` holds a rate, rather than nothing, or only scales of one."""
    return any(
        part.rate_factor.factor is not None and not part.rate_factor.is_scale
        for part in iter_rate_nodes(state)
    )


def _check_that_groups_do_not_cross(state: Any) -> None:
    found = list(iter_rate_nodes(state))
    for part in found:
        if isinstance(part.rate_factor.factor, Mapping):
            others = [
                group
                for other in found
                if other is not part
                for group, _ in _factors(other)
                if _is_in(group, part.group)
            ]
            if others:
                raise ValueError(
                    f"the groups {', '.join(part.rate_factor.factor)} and "
                    f"{', '.join('/'.join(group) for group in others)} cross, so that they have no "
                    "one rate each; group the parameters once, or pass a part of the state."
                )


def _factors(part: RateNode) -> Iterator[tuple[tuple[str, ...], Any]]:
    factor = part.rate_factor.factor
    if isinstance(factor, Mapping):
        for name, of_group in factor.items():
            yield (*part.group, name), of_group
    elif factor is not None:
        yield part.group, factor


def _is_in(group: tuple[str, ...], outer: tuple[str, ...]) -> bool:
    return len(group) > len(outer) and group[: len(outer)] == outer


def _apart(state: Any, group: tuple[str, ...]) -> Iterator[RateNode]:
    """Of anything but a chain, such as a ``TrainState`` or a dictionary of optimizer states.

    Several parts that each hold a rate are groups; with one at most, all of them are a product.
    """
    leaves, _ = jax.tree_util.tree_flatten_with_path(
        state, is_leaf=lambda x: x is not state and (_is_known(x) or isinstance(x, tuple))
    )
    known = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
        for path, leaf in leaves
        if _is_known(leaf) or isinstance(leaf, tuple)
    ]
    are_groups = sum(has_rate(leaf) for _, leaf in known) > 1
    for place, leaf in known:
        yield from iter_rate_nodes(leaf, (*group, place) if are_groups else group)


def _is_known(state: Any) -> bool:
    return rate_factor(state) is not None


def scheduled_rate_factor(state: Any) -> RateFactor:
    """Of a state with the fields ``schedule`` and ``learning_rate``."""
    return RateFactor(
        state.learning_rate,
        schedules=state.schedule,
        put=lambda schedule: state._replace(schedule=schedule),
    )


def injected_rate_factor(values: Mapping[str, Any], inner: Any) -> RateFactor:
    """Of hyperparameters put into an optimizer, which may keep its rate itself."""
    return RateFactor(None if has_rate(inner) else values.get("learning_rate"), inner)


# Optax's own states that keep a rate or a scale.


@rate_factor.register(optax.ScaleByBacktrackingLinesearchState)
@rate_factor.register(optax.ScaleByZoomLinesearchState)
def _(state: Any) -> RateFactor:
    return RateFactor(state.learning_rate)


@rate_factor.register(optax.InjectHyperparamsState)
@rate_factor.register(optax.InjectStatefulHyperparamsState)
def _(state: Any) -> RateFactor:
    return injected_rate_factor(state.hyperparams, state.inner_state)


@rate_factor.register(optax.contrib.ReduceLROnPlateauState)
def _(state: Any) -> RateFactor:
    return RateFactor(state.scale, is_scale=True)
