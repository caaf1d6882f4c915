"""Reading the learning rate out of any optimizer state."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from lrsched.adaptive.method import AdaptiveState
from lrsched.transforms.inject import InjectSchedulesState
from lrsched.transforms.learning_rate import ScaleByLearningRateState

_Node = ScaleByLearningRateState | InjectSchedulesState | AdaptiveState


def learning_rate(opt_state: Any) -> jax.Array:
    """The learning rate that the latest update applied, wherever in the state it is kept.

    The states of `scale_by_learning_rate`, `inject_schedules` and of the methods that adapt their
    own step are found by their type through any wrapper. Before the first update it is the rate
    that the first one will apply; of a method, which cannot know it yet, 0. Inside and outside jit,
    without a host synchronisation.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).

    Returns:
      A float32 scalar; under ``vmap`` outside of it, an array of them.

    Raises:
      ValueError: the state holds no learning rate of ours, or several (they are listed).

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     optax.clip_by_global_norm(1.0), lrsched.inject_schedules(optax.sgd)(learning_rate=0.5))
    >>> float(lrsched.learning_rate(optimizer.init(jnp.zeros(2))))
    0.5
    """
    found = dict(_rates(opt_state, ""))
    if len(found) == 1:
        (rate,) = found.values()
        return rate
    if not found:
        raise ValueError(
            "the state holds no learning rate of lrsched; it must come from an optimizer with "
            "scale_by_learning_rate, inject_schedules or an adaptive method in it."
        )
    raise ValueError(
        f"the state holds {len(found)} learning rates, at {', '.join(found)}; pass the part of the "
        "state that holds the one you want."
    )


def _rates(tree: Any, prefix: str) -> Iterator[tuple[str, jax.Array]]:
    nodes, _ = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: isinstance(x, _Node))
    for path, node in nodes:
        place = prefix + jax.tree_util.keystr(path)
        if isinstance(node, ScaleByLearningRateState | AdaptiveState):
            yield place, jnp.asarray(node.learning_rate)
        elif isinstance(node, InjectSchedulesState):
            if "learning_rate" in node.values:
                yield place, jnp.asarray(node.values["learning_rate"])
            yield from _rates(node.inner_state, f"{place}.inner_state")
