"""Checkpoints of a constant rate merged into the weights that a cooldown would have given."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched._phases import phase_starts
from lrsched._schedule import Schedule
from lrsched.algebra import Inner
from lrsched.arguments import BOUNDARIES, not_accepted, validate_arguments
from lrsched.numerics import widen
from lrsched.transforms.composition import leaves_with_path

Source = TypeVar("Source")
Tree: TypeAlias = optax.Params
"""Parameters, or any other tree of arrays."""
_NUM_SAMPLES: Final = 2**20
"""Most rates that are read between two checkpoints."""
_ROUNDING: Final = 1e-6
"""float32 rates of a plateau differ by rounding, which is no rise of the schedule."""


@validate_arguments
def merge_weights(schedule: Inner, steps: Sequence[int]) -> np.ndarray:
    """Return the weights under which checkpoints of a constant rate merge as after a cooldown.

    With ``w_j`` the mean of the schedule over the updates between the checkpoints ``j - 1`` and
    ``j``, relative to its rate at the first one, the weights are ``1 - w_1, w_1 - w_2, ..., w_k``.
    The merged parameters are the first checkpoint plus each later change times its ``w_j``: what
    training at ``schedule`` gives if the updates did not depend on the rate. If every update is
    kept and the schedule ends at 0, they equal `lrsched.annealing_average`. A mean over more than
    ``2**20`` updates is that of as many even samples, counted in each phase of the schedule.

    Args:
      schedule: Schedule that the run should have followed, on the steps of the run. It must not
        rise after the first checkpoint.
      steps: Number of updates before each checkpoint, increasing. The first one is where the rate
        starts to fall, or earlier.

    Returns:
      A float64 array of weights, shape ``(steps,)``, each of 0 or more, with the sum 1.

    Raises:
      ValueError: If there are less than two steps, they do not increase from 0 or more, the
        schedule rises after the first one or is negative, or it has no rate above 0 there.

    Example:
      >>> import lrsched
      >>> schedule = lrsched.wsd(1.0, steps=100, warmup=0, cooldown=40, ramp="linear")
      >>> lrsched.merge_weights(schedule, [60, 70, 80, 90, 100]).round(4).tolist()
      [0.1125, 0.25, 0.25, 0.25, 0.1375]

    References:
      Tian et al. 2025 (arXiv 2507.17634).
    """
    try:
        counts = np.asarray(BOUNDARIES.parse(steps)).tolist()
    except (TypeError, ValueError):
        counts = []
    if len(counts) < 2:
        raise not_accepted(
            "merge_weights",
            "steps",
            steps,
            "two or more counts of updates that increase from 0 or more, up to 2**31 - 1",
        )
    means, lowest = [], float(schedule(counts[0]))
    peak = lowest
    rising = []
    for start, end in itertools.pairwise(counts):
        mean, highest_rise, lowest = _mean_and_rise(schedule, start, end, lowest)
        means.append(mean)
        if highest_rise > _ROUNDING * abs(peak):
            rising.append(start)
    reason = ""
    if not peak > 0:
        reason = f"its rate at step {counts[0]} is {peak:g}"
    elif rising:
        reason = f"it rises after step {rising[0]}"
    elif lowest < -_ROUNDING * peak:
        reason = f"it is negative before step {counts[-1]}"
    if reason:
        requirement = "above 0 at the first of steps, and never rising or negative after it"
        raise not_accepted("merge_weights", "schedule", schedule, requirement, reason)
    weights = np.maximum(_coefficients(np.array(means) / peak), 0.0)
    return weights / weights.sum()


def _mean_and_rise(
    schedule: Schedule, start: int, end: int, lowest: float
) -> tuple[float, float, float]:
    """Return the mean, the largest rise, and the lowest rate from ``start`` to ``end - 1``.

    A rise is the difference of a rate and the lowest one before it, or ``lowest``.
    """
    inner = [step for _, step in phase_starts(schedule, end) if start < step < end]
    bounds = [start, *inner, end] if end - start > _NUM_SAMPLES else [start, end]
    total = highest_rise = 0.0
    for first, last in itertools.pairwise(bounds):
        count = min(last - first, _NUM_SAMPLES // (len(bounds) - 1))
        # The middles of even stretches; every step where there are as many as samples.
        at = first + ((np.arange(count) + 0.5) * ((last - first) / count)).astype(np.int64)
        rates = np.asarray(schedule(at), np.float64)
        total += (last - first) * float(np.mean(rates))
        running = np.minimum.accumulate(np.concatenate([[lowest], rates]))
        highest_rise = max(highest_rise, float(np.max(rates - running[1:])))
        lowest = float(running[-1])
    return total / (end - start), highest_rise, lowest


def _coefficients(relative: np.ndarray) -> np.ndarray:
    """Return the weights of ``k + 1`` checkpoints from the relative rates of ``k`` changes."""
    return np.concatenate([[1.0], relative]) - np.concatenate([relative, [0.0]])


def merge_checkpoints(
    checkpoints: Sequence[Source],
    weights: ArrayLike,
    *,
    load: Callable[[Source], Tree] | None = None,
    template: Tree | None = None,
) -> Tree:
    """Return the weighted mean of checkpoints, loaded one at a time and summed in float32.

    The memory is that of two checkpoints. Checkpoints with the weight 0 are not loaded. Integer
    leaves, such as counts, are those of the last checkpoint. Merge parameters, not the state of an
    optimizer.

    Args:
      checkpoints: Trees of arrays, paths of Orbax checkpoints that were saved by a
        ``StandardCheckpointer``, steps of a ``CheckpointManager`` with one item, paths of one of
        several items, or anything that ``load`` takes.
      weights: Weight of each checkpoint, with the sum 1, as from `merge_weights`.
      load: Function that returns the tree of one of ``checkpoints``. Defaults to Orbax for paths,
        and to the tree itself otherwise.
      template: Tree whose structure, dtypes and shardings Orbax restores. `None` restores as saved.

    Returns:
      A tree with the structure and the dtypes of the checkpoints.

    Raises:
      ValueError: If the numbers of checkpoints and weights differ, a weight is not finite, their
        sum is not 1, or two checkpoints differ in their structure or in the shape of an array.
      ImportError: If a path is given and Orbax is not installed.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> saved = [{"w": jnp.array(value)} for value in (1.0, 2.0, 4.0)]
      >>> merged = lrsched.merge_checkpoints(saved, [0.25, 0.25, 0.5])
      >>> float(merged["w"])
      2.75
    """
    function = "merge_checkpoints"
    if not isinstance(checkpoints, Sequence) or isinstance(checkpoints, str | bytes):
        requirement = "a list of trees, of paths or of what load takes"
        raise not_accepted(function, "checkpoints", checkpoints, requirement)
    if not (load is None or callable(load)):
        raise not_accepted(function, "load", load, "a function of one of checkpoints")
    try:
        factors = np.asarray(weights, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise not_accepted(function, "weights", weights, "numbers") from None
    if factors.shape != (len(checkpoints),) or not len(checkpoints):
        raise ValueError(
            f"merge_checkpoints: {len(checkpoints)} checkpoints and weights of shape "
            f"{factors.shape} do not match; there must be one weight for each checkpoint."
        )
    if not (np.isfinite(factors).all() and abs(factors.sum() - 1) < 1e-6):
        requirement = "finite, with the sum 1"
        raise not_accepted(function, "weights", factors.tolist(), requirement)
    read = load or _reader(template)
    # The last checkpoint is loaded first, as it gives dtypes and integer leaves.
    last = read(checkpoints[-1])
    merged = jax.tree.map(lambda leaf: _weighted(leaf, factors[-1]), last)
    kinds = jax.tree.map(lambda leaf: None if _is_integer(leaf) else jnp.asarray(leaf).dtype, last)
    integers = jax.tree.map(lambda leaf: leaf if _is_integer(leaf) else None, last)
    shapes, structure = _shapes(last), jax.tree.structure(last)
    del last
    for checkpoint, factor in zip(checkpoints[:-1], factors[:-1], strict=True):
        if factor != 0:
            tree = read(checkpoint)
            _check_like(tree, shapes, structure)
            merged = jax.tree.map(
                lambda total, leaf, factor=factor: total + _weighted(leaf, factor), merged, tree
            )
    return jax.tree.map(
        lambda total, kind, integer: integer if kind is None else total.astype(kind),
        merged,
        kinds,
        integers,
        is_leaf=lambda node: node is None,
    )


def _shapes(tree: Tree) -> dict[str, tuple[int, ...]]:
    return {path: np.shape(leaf) for path, leaf in leaves_with_path(tree)}


def _check_like(tree: Tree, shapes: dict[str, tuple[int, ...]], structure: object) -> None:
    found = _shapes(tree)
    for path in sorted(found.keys() | shapes.keys()):
        if found.get(path) != shapes.get(path):
            one, last = (
                f"shape {table[path]}" if path in table else "no such array"
                for table in (found, shapes)
            )
            raise ValueError(
                f"merge_checkpoints: checkpoints that differ at {path!r} are not accepted ({one} "
                f"in one, {last} in the last); all must have the same arrays."
            )
    if jax.tree.structure(tree) != structure:
        raise ValueError(
            f"merge_checkpoints: checkpoints of the structures {jax.tree.structure(tree)} and "
            f"{structure} are not accepted; all must have the same one."
        )


def _is_integer(leaf: Any) -> bool:
    return not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.inexact)


def _weighted(leaf: Any, factor: float) -> jax.Array:
    return jnp.zeros((), jnp.float32) if _is_integer(leaf) else widen(leaf) * factor


def _item(path: Path) -> Path:
    """Return the tree within the directory of a step of Orbax's ``CheckpointManager``."""
    if not path.is_dir() or (path / "_METADATA").exists():
        return path
    items = sorted(item.parent for item in path.glob("*/_METADATA"))
    if len(items) > 1:
        raise ValueError(
            f"merge_checkpoints: the checkpoint {str(path)!r} is not accepted, as it has the items "
            f"{', '.join(item.name for item in items)}; pass the path of one, such as "
            f"{str(items[0])!r}."
        )
    return items[0] if items else path


def _reader(template: Tree | None) -> Callable[[Any], Tree]:
    def read(checkpoint: Any) -> Tree:
        if not isinstance(checkpoint, str | Path):
            return checkpoint
        try:
            import orbax.checkpoint as ocp
        except ImportError as error:
            raise ImportError(
                "merge_checkpoints: reading a path needs orbax-checkpoint; install it or pass load."
            ) from error
        with ocp.StandardCheckpointer() as checkpointer:
            path = _item(Path(checkpoint).absolute())
            return checkpointer.restore(path, template)

    return read
