"""The one law of composition: the rate applied is the product of what each state contributes.

*schedule x controller scale x the method's own estimate*, over everything that an update went
through. What a state contributes is registered where its type is defined; groups of parameters
(``optax.partition``) keep their rates apart.
"""

import functools
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import optax
from optax.transforms import PartitionState

Rates: TypeAlias = dict[str, jax.Array]
"""The rate of each group of parameters; of a state without groups, that of the group ``""``."""


class Contribution(NamedTuple):
    """What one state multiplies the updates by.

    Attributes:
      factor: a scalar; None where the state keeps none.
      inner: the states within it, which contribute too.
      is_scale: whether ``factor`` scales a rate applied elsewhere, and is no rate by itself.
    """

    factor: Any
    inner: Any = ()
    is_scale: bool = False


@functools.singledispatch
def contribution(state: Any) -> Contribution | None:
    """What a state of a known type contributes; None for all other types."""
    del state
    return None


def rates(state: Any) -> Rates:
    """The product of all contributions, for each group of parameters."""
    own = contribution(state)
    if own is not None:
        factor = {} if own.factor is None else {"": jnp.asarray(own.factor, jnp.float32)}
        return _product([factor, rates(own.inner)])
    if isinstance(state, PartitionState):
        return _groups((str(label), rates(inner)) for label, inner in state.inner_states.items())
    if isinstance(state, tuple):
        return _product(map(rates, state))
    if isinstance(state, OrderedDict):  # optax.named_chain
        return _product(map(rates, state.values()))
    return _apart(state)


def has_rate(state: Any) -> bool:
    """Whether ``state`` holds a rate, rather than nothing, or only scales of one."""
    for part in jax.tree.leaves(state, is_leaf=_is_known):
        own = contribution(part)
        if own is not None:
            is_rate = own.factor is not None and not own.is_scale
            if is_rate or has_rate(own.inner):
                return True
    return False


def _apart(state: Any) -> Rates:
    """Of anything but a chain, such as a ``TrainState`` or a dictionary of optimizer states.

    Several parts that each hold a rate are groups; with one at most, all of them are a product.
    """
    parts, _ = jax.tree_util.tree_flatten_with_path(
        state, is_leaf=lambda x: x is not state and (_is_known(x) or isinstance(x, tuple))
    )
    known = [
        (jax.tree_util.keystr(path, simple=True, separator="/"), part)
        for path, part in parts
        if _is_known(part) or isinstance(part, tuple)
    ]
    if sum(has_rate(part) for _, part in known) <= 1:
        return _product(rates(part) for _, part in known)
    return _groups((place, rates(part)) for place, part in known)


def _is_known(state: Any) -> bool:
    return contribution(state) is not None


def _groups(named: Iterable[tuple[str, Rates]]) -> Rates:
    return {
        "/".join(filter(None, (label, name))): rate
        for label, found in named
        for name, rate in found.items()
    }


def _product(factors: Iterable[Rates]) -> Rates:
    """Group by group; what has no group belongs to all of them."""
    known = [found for found in factors if found]
    names = dict.fromkeys(name for found in known for name in found if name)
    return {
        name: functools.reduce(
            jnp.multiply,
            [rate for found in known for key, rate in found.items() if key in ("", name)],
        )
        for name in (names or ([""] if known else []))
    }


def injected(values: dict[str, Any], inner: Any) -> Contribution:
    """Of hyperparameters put into an optimizer, which may keep its rate itself."""
    return Contribution(None if has_rate(inner) else values.get("learning_rate"), inner)


# Optax's own states that keep a rate or a scale.


@contribution.register(optax.ScaleByBacktrackingLinesearchState)
@contribution.register(optax.ScaleByZoomLinesearchState)
def _(state: Any) -> Contribution:
    return Contribution(state.learning_rate)


@contribution.register(optax.InjectHyperparamsState)
@contribution.register(optax.InjectStatefulHyperparamsState)
def _(state: Any) -> Contribution:
    return injected(state.hyperparams, state.inner_state)


@contribution.register(optax.contrib.ReduceLROnPlateauState)
def _(state: Any) -> Contribution:
    return Contribution(state.scale, is_scale=True)
