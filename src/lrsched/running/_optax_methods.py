"""The states of optax's ``contrib`` methods in the fields of lrsched's.

The methods are the same algorithms, so that every sum and estimate has a counterpart, but for the
sum of updates of ``mechanize``, which optax does not keep.
"""

from collections.abc import Callable
from typing import Any, Final

import jax.numpy as jnp

from lrsched.adaptive.base import AdaptiveState
from lrsched.adaptive.coin_betting import CocobMethodState
from lrsched.adaptive.dadaptation import DAdaptMethodState
from lrsched.adaptive.distance import DistanceMethodState
from lrsched.adaptive.mechanic import MechanicMethodState
from lrsched.adaptive.polyak import MomoMethodState
from lrsched.adaptive.prodigy import ProdigyMethodState
from lrsched.adaptive.schedule_free import ScheduleFreeMethodState
from lrsched.running._nodes import StateLeaf, StateNode

_ADAM: Final = {"exp_avg": "mu", "exp_avg_sq": "nu"}
_D: Final = {"grad_sum": "grad_sum", "estim_lr": "estimate", "numerator_weighted": "numerator"}

# For each state of optax, by its fields: the state of lrsched, and the new names of the fields.
_RENAMED: Final[dict[frozenset[str], tuple[type, dict[str, str]]]] = {
    frozenset((*_ADAM, *_D, "params0", "count")): (
        ProdigyMethodState,
        {**_ADAM, **_D, "params0": "params0", "count": "num_updates"},
    ),
    frozenset((*_ADAM, *_D, "count")): (
        DAdaptMethodState,
        {**_ADAM, **_D, "count": "num_updates"},
    ),
    frozenset(("is_init_step", "init_params", "max_dist", "sum_sq_norm_grads")): (
        DistanceMethodState,
        {
            "init_params": "params0",
            "max_dist": "max_distance",
            "sum_sq_norm_grads": "grad_sq_sum",
            "is_init_step": "num_updates",
        },
    ),
    frozenset(("init_params", "weighted_sq_norm_grads", "estim_sq_dist")): (
        DistanceMethodState,
        {
            "init_params": "params0",
            "estim_sq_dist": "max_distance",
            "weighted_sq_norm_grads": "grad_sq_sum",
        },
    ),
    frozenset(("exp_avg", "barf", "gamma", "lb", "count")): (
        MomoMethodState,
        {
            "exp_avg": "mu",
            "barf": "value_avg",
            "gamma": "param_grad_avg",
            "lb": "lower_bound",
            "count": "num_updates",
        },
    ),
    frozenset(("exp_avg", "exp_avg_sq", "barf", "gamma", "lb", "count")): (
        MomoMethodState,
        {
            **_ADAM,
            "barf": "value_avg",
            "gamma": "param_grad_avg",
            "lb": "lower_bound",
            "count": "num_updates",
        },
    ),
    frozenset(("init_particles", "cumulative_gradients", "scale", "subgradients", "reward")): (
        CocobMethodState,
        {
            "init_particles": "params0",
            "cumulative_gradients": "neg_grad_sum",
            "scale": "max_abs_grad",
            "subgradients": "abs_grad_sum",
            "reward": "reward",
        },
    ),
    frozenset(("base_optimizer_state", "count", "r", "m", "v", "s", "x0")): (
        MechanicMethodState,
        {"x0": "delta", "s": "scales", "r": "rewards", "v": "variance", "m": "max_abs_gain"},
    ),
    frozenset(("b1", "weight_sum", "step_count", "max_lr", "base_optimizer_state", "z")): (
        ScheduleFreeMethodState,
        {
            "b1": "b1",
            "weight_sum": "weight_sum",
            "step_count": "num_updates",
            "max_lr": "max_lr",
            "z": "z",
        },
    ),
}

# Numbers that count from elsewhere, by the old name of the field. A function of a function takes
# the number of the fresh state, too.
_CONVERTED: Final[dict[str, Callable[[Any], object]]] = {
    # optax adds eps to the sum where it is used, lrsched at the start.
    "sum_sq_norm_grads": lambda saved: lambda fresh: saved + fresh,
    "is_init_step": lambda saved: jnp.where(saved, 0, 1).astype(jnp.int32),
    "estim_sq_dist": jnp.sqrt,
    "step_count": lambda saved: saved - 1,
    # optax clips rewards where it uses them. It computes the sum of the base's updates from the
    # parameters, which no state holds: the sum starts again at the present parameters.
    "r": lambda saved: jnp.maximum(saved, 0),
    "x0": jnp.zeros_like,
}


def translate_method(node: StateNode, inner: list[StateNode]) -> list[StateNode]:
    """Return the nodes of lrsched that a state of optax's ``contrib`` corresponds to; else none.

    Args:
      node: State of a transform.
      inner: The states within it.
    """
    if node.fields not in _RENAMED:
        return []
    kind, names = _RENAMED[node.fields]
    leaves = {
        (names[field], path): _converted(leaf, field)
        for (field, path), leaf in node.leaves.items()
        if field in names
    }
    origins = [node]
    if kind is ProdigyMethodState:
        leaves["max_estimate", ()] = leaves["estimate", ()]
    if kind is ScheduleFreeMethodState:
        # The second moment of schedule-free Adam is all that its base keeps.
        moments = [base for base in inner if "nu" in base.fields and "mu" not in base.fields]
        for base in moments:
            origins.append(base)
            for (field, path), leaf in base.leaves.items():
                if field == "nu":
                    leaves["base_state", path] = leaf
    result = [_node(kind, node, leaves, origins)]
    count = leaves.get(("num_updates", ()), node.leaves.get(("count", ())))
    if count is not None and "is_init_step" not in node.fields:
        result.append(_node(AdaptiveState, node, {("count", ()): count}, []))
    return result


def _converted(leaf: StateLeaf, field: str) -> StateLeaf:
    convert = _CONVERTED.get(field)
    value = leaf.value if convert is None else convert(leaf.array)
    return StateLeaf(value, leaf.node, leaf.field, leaf.path, leaf.place)


def _node(
    kind: Any, node: StateNode, leaves: dict[Any, StateLeaf], origins: list[StateNode]
) -> StateNode:
    result = StateNode(
        None,
        frozenset(kind._fields),
        kind.__name__,
        node.place,
        node.container,
        node.labels,
        node.is_in_multi_steps,
        origins=tuple(origins),
    )
    for (field, path), leaf in leaves.items():
        result.leaves[field, path] = StateLeaf(leaf.value, result, field, path, leaf.place)
    return result
