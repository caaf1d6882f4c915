"""Checks an optimizer before the run, by what it does: mistakes of order raise no error themselves.

A transform in a chain cannot see its neighbours, and ``optax.adam(1e-3)`` leaves nothing in the
state that tells of its rate. A few updates show the effect of an order.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import jax
import jax.numpy as jnp
import optax

from lrsched.adaptive.coin_betting import CocobMethodState
from lrsched.adaptive.controller import ControllerState, observed_metric_names
from lrsched.adaptive.polyak import AliGMethodState, MomoMethodState, PolyakMethodState
from lrsched.arguments import BASE_OPTIMIZER
from lrsched.running.edit import all_sites, edit_sites
from lrsched.transforms.composition import leaves_with_path, replace_nodes, states_of
from lrsched.transforms.groups import FROZEN, LayerwiseDecayState, LearningRateGroupsState
from lrsched.transforms.matrix import HyperballState
from lrsched.transforms.rate import scale_rate

_NUM_UPDATES: Final = 3  # The rate of the first one is 0 under most warmups.
_MAX_CALLS: Final = 3 * 2**12  # Three updates of that many micro-batches; far above any in use.
_SMALLEST_COSINE: Final = 0.1
# Updates that a rate multiplies change by a half where it is halved. Those of a small rate before
# Adam change, too, by its eps, but less; and not at all where the rate is so large that the
# gradients are far above eps. A clip behind the rate acts at large rates only.
_SMALLEST_CHANGE: Final = 0.25
_ROUNDING: Final = 0.01
_LARGE: Final = 2.0**10
_SPHERE_ROUNDING: Final = 16.0  # For three updates, each rounded a few times.
_SIZE_NEED_NOT_ACT: Final = (
    CocobMethodState,  # A factor of all gradients cancels.
    *(AliGMethodState, MomoMethodState, PolyakMethodState),  # It is a cap.
)
_MULTIPLIERS: Final = {
    LearningRateGroupsState: "learning_rate_groups",
    LayerwiseDecayState: "layerwise_decay",
}


def check_optimizer(
    optimizer: optax.GradientTransformation, params: optax.Params, **extra_args: Any
) -> None:
    """Raise if a few updates of the optimizer ascend, or do not depend on its rate.

    The parameters and their number of updates stay as they are. Each array receives the same
    gradient in three updates, the signs of its entries, so that a weight decay points the same way.
    With ``optax.MultiSteps`` and ``optax.apply_every``, these are three updates of the parameters.
    A link that normalises by more than the signs, or whose first three updates are 0, is passed.
    The rate of `cocob`, `polyak`, `alig`, `momo` and `momo_adam` is a weight or a cap, on which the
    first updates need not depend.

    Args:
      optimizer: Transform, as it is used in the run.
      params: Parameters, a pytree of arrays.
      **extra_args: Keywords that the run passes to ``update``, such as ``value=1.0``.

    Raises:
      ValueError: If an update ascends; no update changes with the learning rate, with the
        multipliers of `learning_rate_groups` or `layerwise_decay`, or with the scale of a
        controller; or a controller receives none of its metrics.

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
    optimizer = BASE_OPTIMIZER.validate("check_optimizer", "optimizer", optimizer)
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
    def step(
        total: optax.Updates, state: optax.OptState
    ) -> tuple[optax.Updates, optax.OptState, list[jax.Array]]:
        updates, state = update(gradients, state, params, **extra_args)
        total = jax.tree.map(jnp.add, total, updates)
        # optax counts micro-batches modulo their number, so that 0 follows an update.
        waits = [node.mini_step for node in states_of(optax.MultiStepsState, state)]
        waits += [node.count for node in states_of(optax.ApplyEvery, state)]
        return total, state, waits

    def total_of(state: optax.OptState) -> optax.Updates:
        total = jax.tree.map(jnp.zeros_like, params)
        num_updates = None
        for _ in range(_MAX_CALLS):
            total, state, waits = step(total, state)
            num_updates = [0] * len(waits or [0]) if num_updates is None else num_updates
            for index, wait in enumerate(waits or [jnp.zeros([])]):
                num_updates[index] += not jnp.any(wait)
            if min(num_updates) >= _NUM_UPDATES:
                break
        return total

    total = total_of(state)
    # On a sphere, a gradient along the weights moves them by rounding errors alone.
    noise = _SPHERE_ROUNDING if any(states_of(HyperballState, state)) else 0.0
    cosine = functools.partial(_descent_cosine, noise=noise)
    for path, change in leaves_with_path(jax.tree.map(cosine, total, gradients, params)):
        if change < -_SMALLEST_COSINE:
            raise ValueError(
                f"check_optimizer: the updates ascend{f' at {path}' if path else ''}; the "
                "optimizer has two rates, or none with a minus sign: write chain("
                "optax.scale_by_adam(), scale_by_learning_rate(rate)), or "
                "inject_schedules(optax.adam)(rate)."
            )

    def stays(scaled: Callable[[float], optax.OptState], factor: float, change: float) -> bool:
        """Return whether updates are made, and none changes by more where a rate is halved."""
        halved = jax.tree.leaves(total_of(scaled(factor / 2)))
        whole = jax.tree.leaves(total if factor == 1 else total_of(scaled(factor)))
        pairs = list(zip(halved, whole, strict=True))
        moves = any(bool(jnp.any(leaf != 0)) for leaf in whole)
        return moves and all(bool(jnp.all(jnp.abs(a - b) <= change * jnp.abs(b))) for a, b in pairs)

    def check_depends(
        name: str, scaled: Callable[[float], optax.OptState], has_bounds: bool = False
    ) -> None:
        if has_bounds:  # A controller brings a large scale back, and a small one halfway.
            is_divided_out = stays(scaled, 1.0, _ROUNDING)
        else:
            is_divided_out = stays(scaled, 1.0, _SMALLEST_CHANGE) and stays(
                scaled, _LARGE, _ROUNDING
            )
        if is_divided_out:
            raise ValueError(
                f"check_optimizer: no update depends on the {name}; a transform after it divides "
                "it out: put it behind that one, as in chain(optax.scale_by_adam(), "
                "scale_by_learning_rate(rate), learning_rate_groups(groups))."
            )

    sites = [site for site in all_sites(state) if not site.is_hyperparameter]
    rates = [site for site in sites if not site.is_multiplier]
    # Without a rate in the state, or with several in one product, nothing can be said of it.
    is_clear = bool(rates) and len({site.group for site in rates}) == len(rates)
    if is_clear and not any(states_of(kind, state) for kind in _SIZE_NEED_NOT_ACT):
        check_depends("learning rate", functools.partial(edit_sites, state, rates, scale_rate))
    for kind, factory in _MULTIPLIERS.items():
        of_kind = [site for site in sites if isinstance(site.node.state, kind)]
        for node in {id(site.node.state): site.node.state for site in of_kind}.values():
            own = [x for x in of_kind if x.node.state is node and x.rate.schedule != FROZEN]
            if own:
                scaled = functools.partial(edit_sites, state, own, scale_rate)
                check_depends(f"multipliers of {factory}", scaled)
    for controller in states_of(ControllerState, state):

        def with_scale(factor: float, node: ControllerState = controller) -> optax.OptState:
            return replace_nodes(state, [(node, lambda x: x._replace(scale=factor * x.scale))])

        name = type(controller.controller).__name__
        check_depends(f"scale of {name}", with_scale, has_bounds=True)


def _descent_cosine(
    update: jax.Array, gradient: jax.Array, param: jax.Array, noise: float
) -> jax.Array:
    """Return the cosine between minus the update and the gradient; 0 for an update of 0.

    An update counts as 0 where its norm is at most ``noise`` units of rounding of the parameters.
    """
    if noise:
        epsilon = jnp.finfo(param.dtype).eps  # type: ignore[no-untyped-call]
        floor = noise * epsilon * jnp.linalg.norm(jnp.ravel(param))
        update = jnp.where(jnp.linalg.norm(jnp.ravel(update)) > floor, update, 0)
    inner = jnp.sum(jnp.real(jnp.conj(gradient) * update))
    norms = jnp.sqrt(jnp.sum(jnp.abs(gradient) ** 2) * jnp.sum(jnp.abs(update) ** 2))
    return jnp.where(norms > 0, -inner / jnp.where(norms > 0, norms, 1), 0.0)
