"""Lets Flax's msgpack checkpoints hold schedules and rules, where Flax is in use."""

import sys
from typing import Any

import jax


def register_with_flax(kind: type) -> None:
    """Make ``flax.serialization`` save a pytree type as the list of its numbers.

    Orbax and pickle take any pytree; Flax takes only types it was told of. Nothing is imported:
    without Flax there is nobody to tell.
    """
    flax = sys.modules.get("flax.serialization")
    if flax is not None:
        flax.register_serialization_state(kind, _to_state_dict, _from_state_dict, override=True)


def _to_state_dict(value: Any) -> dict[str, Any]:
    return {str(index): leaf for index, leaf in enumerate(jax.tree.leaves(value))}


def _from_state_dict(target: Any, state: dict[str, Any]) -> Any:
    leaves, structure = jax.tree.flatten(target)
    if len(leaves) != len(state):
        raise ValueError(
            f"the checkpoint holds {len(state)} numbers where {target} has {len(leaves)}; restore "
            "into an optimizer with the schedule that was saved."
        )
    return jax.tree.unflatten(structure, [state[str(index)] for index in range(len(leaves))])
