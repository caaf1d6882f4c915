"""Arrays on disk, written whole or not at all, by orbax."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


class Checkpoint:
    """The latest arrays of one process in a directory; without a directory, nothing is kept.

    Args:
      directory: where; each process has a part of its own in it.
      seconds: the time between two saves.
    """

    def __init__(self, directory: str | Path | None, seconds: float) -> None:
        self._manager, self._seconds, self._saved_at = None, seconds, time.monotonic()
        if directory is None:
            return
        import orbax.checkpoint as ocp

        process = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=process, active_processes={process}, barrier_sync_key_prefix=f"p{process}"
        )
        place = Path(directory).absolute() / f"process-{process}"
        place.mkdir(parents=True, exist_ok=True)
        self._manager = ocp.CheckpointManager(
            place,
            options=ocp.CheckpointManagerOptions(
                max_to_keep=2,
                create=False,
                multiprocessing_options=alone,
                enable_async_checkpointing=False,
            ),
        )

    def is_due(self) -> bool:
        """Whether it is time to save."""
        return self._manager is not None and time.monotonic() - self._saved_at >= self._seconds

    def save(self, facts: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Writes them as the latest; ``facts`` must be JSON."""
        if self._manager is None:
            return
        import orbax.checkpoint as ocp

        self._manager.save(
            (self._manager.latest_step() or 0) + 1,
            args=ocp.args.Composite(
                facts=ocp.args.JsonSave(facts), arrays=ocp.args.StandardSave(arrays)
            ),
        )
        self._manager.wait_until_finished()
        self._saved_at = time.monotonic()

    def load(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """The latest, or None."""
        if self._manager is None or self._manager.latest_step() is None:
            return None
        import orbax.checkpoint as ocp

        found = self._manager.restore(
            self._manager.latest_step(),
            args=ocp.args.Composite(
                facts=ocp.args.JsonRestore(), arrays=ocp.args.StandardRestore()
            ),
        )
        return found.facts, {name: np.array(x) for name, x in found.arrays.items()}


def flattened(name: str, tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree, by ``name`` and their places; random keys as their numbers."""

    def raw(leaf: Any) -> np.ndarray:
        return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf)

    return {f"{name}.{i}": raw(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}


def restored(arrays: dict[str, np.ndarray], name: str, like: Any) -> Any:
    """The tree that `flattened` was given, of the structure of ``like``."""

    def made(raw: np.ndarray, leaf: Any) -> Any:
        return jax.random.wrap_key_data(jnp.asarray(raw)) if _is_key(leaf) else raw

    leaves, tree = jax.tree.flatten(like)
    found = [made(arrays[f"{name}.{i}"], leaf) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(tree, found)


def _is_key(leaf: Any) -> bool:
    return bool(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key))
