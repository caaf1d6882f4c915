"""Checks an optimizer before the run, by what it does: mistakes of order raise no error themselves.

A transform in a chain cannot see its neighbours, and ``optax.adam(1e-3)`` leaves nothing in the
state that tells of its rate. A few updates show the effect of an order.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from lrsched.adaptive.controller import observed_metric_names
from lrsched.running.edit import all_sites, scale_learning_rate
from lrsched.transforms.composition import path_name

_NUM_UPDATES = 3  # The rate of the first one is 0 under most warmups.
_SMALLEST_COSINE = 0.1


def check_optimizer(
    optimizer: optax.GradientTransformation, params: optax.Params, **extra_args: Any
) -> None:
    """Raise if a few updates of the optimizer ascend, or do not depend on its rate.

    The parameters and their number of updates stay as they are. Each array receives the same
    gradient three times, the signs of its entries, so that a weight decay points the same way. A
    link that normalises by more than the signs, or whose first three updates are 0, is passed.

    Args:
      optimizer: Transform, as it is used in the run.
      params: Parameters, a pytree of arrays.
      **extra_args: Keywords that the run passes to ``update``, such as ``value=1.0``.

    Raises:
      ValueError: If an update ascends, no update changes with the learning rate, or a controller
        receives none of its metrics.

    Example:
      >>> import jax.numpy as jnp, lrsched, optax
      >>> rate = lrsched.scale_by_learning_rate(1e-2)
      >>> lrsched.check_optimizer(optax.chain(optax.scale_by_adam(), rate), jnp.ones(2))
      >>> try:
      ...     lrsched.check_optimizer(optax.chain(optax.adam(1e-3), rate), jnp.ones(2))
      ... except ValueError as error:
      ...     print(str(error).split(";")[0])
      check_optimizer: the updates ascend
    """
    state = optimizer.init(params)
    names = observed_metric_names(state)
    if names and not names & extra_args.keys():
        received = ", ".join(extra_args) or "no metric"
        raise ValueError(
            f"check_optimizer: a controller observes {', '.join(sorted(names))}, and update "
            f"receives {received}; pass it, as in update(updates, state, params, "
            f"{min(names)}=...), or call observe(state, {min(names)}=...)."
        )
    update = optax.with_extra_args_support(optimizer).update
    gradients = jax.tree.map(lambda p: jnp.where(jnp.real(p) < 0, -1, 1).astype(p.dtype), params)

    @jax.jit
    def total_of(state: optax.OptState) -> optax.Updates:
        total = jax.tree.map(jnp.zeros_like, params)
        for _ in range(_NUM_UPDATES):
            updates, state = update(gradients, state, params, **extra_args)
            total = jax.tree.map(jnp.add, total, updates)
        return total

    total = total_of(state)
    for path, change in jax.tree_util.tree_leaves_with_path(
        jax.tree.map(_descent_cosine, total, gradients)
    ):
        if change < -_SMALLEST_COSINE:
            name = path_name(path)
            raise ValueError(
                f"check_optimizer: the updates ascend{f' at {name}' if name else ''}; the "
                "optimizer has two rates, or none with a minus sign: write chain("
                "optax.scale_by_adam(), scale_by_learning_rate(rate)), or "
                "inject_schedules(optax.adam)(rate)."
            )
    sites = [
        site for site in all_sites(state) if not site.is_hyperparameter and not site.is_multiplier
    ]
    if len({site.group for site in sites}) != len(sites) or not sites:
        return  # no rate in the state, or several in one product
    halved = total_of(scale_learning_rate(state, 0.5))
    moves = [bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(total)]
    stays = [
        bool(jnp.all(jnp.abs(new - old) <= 0.01 * jnp.abs(old)))
        for new, old in zip(jax.tree.leaves(halved), jax.tree.leaves(total), strict=True)
    ]
    if any(moves) and all(stays):
        raise ValueError(
            "check_optimizer: no update depends on the learning rate; a transform after it divides "
            "it out: put scale_by_learning_rate behind it, as in chain(optax.scale_by_adam(), "
            "scale_by_learning_rate(rate))."
        )


def _descent_cosine(update: jax.Array, gradient: jax.Array) -> jax.Array:
    """Return the cosine between minus the update and the gradient; 0 for an update of 0."""
    inner = jnp.sum(jnp.real(jnp.conj(gradient) * update))
    norms = jnp.sqrt(jnp.sum(jnp.abs(gradient) ** 2) * jnp.sum(jnp.abs(update) ** 2))
    return jnp.where(norms > 0, -inner / jnp.where(norms > 0, norms, 1), 0.0)
