"""Changes to the learning rate of a running job: pure functions of an optimizer state.

They find the rates by their type through any wrapper, as `lrsched.learning_rate` does, and write
numbers into a state whose structure stays, so that a compiled step is reused. Only a schedule of
another kind, a Python function as shape, and thawing a frozen group change the structure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched._schedule import Schedule
from lrsched.algebra import LEARNING_RATE, constant, multiply
from lrsched.arguments import (
    DECAY_RATE,
    FINITE_FLOAT,
    NON_NEGATIVE_FLOAT,
    POSITIVE_INT,
    UNIT_FLOAT,
    ArgumentType,
    is_traced,
    not_accepted,
)
from lrsched.numerics import MAX_STEP
from lrsched.running._nodes import (
    StateLeaf,
    StateNode,
    flatten_state,
    is_configuration,
    nodes_of,
    read_state,
)
from lrsched.schedules.ramps import RAMP, Ramp
from lrsched.transforms import rate as rates
from lrsched.transforms.composition import (
    Group,
    check_has_numbers,
    group_label,
    has_rate,
    iter_rate_nodes,
    no_rate_error,
    rates_hint,
    replace_nodes,
    unwrap_nnx,
    wrap_nnx,
)
from lrsched.transforms.groups import FROZEN
from lrsched.transforms.rate import RateState, edit_rate, rate_step

if TYPE_CHECKING:
    import chex

_MULTIPLIER: Final = "multiplier"


def set_learning_rate(
    opt_state: optax.OptState, value: ArrayLike | None, *, group: str | None = None
) -> optax.OptState:
    """Override the learning rate with a value from the next update on, or release it again.

    The value replaces the schedule and the scale of `scale_learning_rate`; the scales of
    controllers and the estimates of adaptive methods keep multiplying it. The step count
    continues, so that a release continues where the schedule is by then.

    Args:
      opt_state: State of an optimizer, or anything that holds one (a ``TrainState``).
      value: The rate, 0 or more. None follows the schedule again. A traced value that is negative
        counts as 0, and one that is not finite is ignored.
      group: Label of the rate. Defaults to None, which requires that there is only one.

    Returns:
      A new state of the same structure. `learning_rate` returns what the latest update applied,
      so it shows the value after the next one.

    Raises:
      ValueError: If ``value`` is negative or not finite, there is no such group, or there are
        several rates and ``group`` is None.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=4))
    >>> state = lrsched.set_learning_rate(optimizer.init(jnp.zeros(1)), 0.5)
    >>> for _ in range(3):
    ...     _, state = optimizer.update(jnp.ones(1), state)
    ...     print(float(lrsched.learning_rate(state)))
    ...     state = lrsched.set_learning_rate(state, None)
    0.5
    0.75
    0.5
    """
    function = "set_learning_rate"
    sites = rate_sites(function, opt_state, group, one_group=True, multipliers=False)
    if value is None:
        return edit_sites(opt_state, sites, rates.release_rate)
    return edit_sites(
        opt_state, sites, rates.override_rate, NON_NEGATIVE_FLOAT.validate(function, "value", value)
    )


def scale_learning_rate(
    opt_state: optax.OptState, factor: ArrayLike, *, group: str | None = None
) -> optax.OptState:
    """Multiply the learning rate by a factor from the next update on.

    Factors multiply: twice 0.5 is 0.25. A rate that is scaled to 0 is set again by
    `set_learning_rate`, the multiplier of a group by `set_hyperparameter`.

    Args:
      opt_state: State of an optimizer, or anything that holds one (a ``TrainState``).
      factor: Factor of the rate, 0 or more. A traced factor that is negative counts as 0, and one
        that is not finite is ignored.
      group: Label of a rate, or of a group of `learning_rate_groups`. Defaults to None, all rates.

    Returns:
      A new state of the same structure.

    Raises:
      ValueError: If ``factor`` is negative or not finite, or there is no such group.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(0.5)
    >>> state = lrsched.scale_learning_rate(optimizer.init(jnp.zeros(1)), 0.1)
    >>> optimizer.update(jnp.ones(1), state)[0].tolist()
    [-0.05000000074505806]
    """
    function = "scale_learning_rate"
    factor = NON_NEGATIVE_FLOAT.validate(function, "factor", factor)
    sites = rate_sites(function, opt_state, group)
    _check_not_frozen(function, sites)
    return edit_sites(opt_state, sites, rates.scale_rate, factor)


def set_hyperparameter(
    opt_state: optax.OptState,
    name: str,
    value: ArrayLike | None = None,
    *,
    scale: ArrayLike | None = None,
    group: str | None = None,
) -> optax.OptState:
    """Override or scale a scheduled hyperparameter that is not a learning rate, or release it.

    These are the scheduled arguments of `inject_schedules`, such as ``weight_decay`` or ``b1``,
    and the multipliers of `learning_rate_groups` and `layerwise_decay` under the name
    ``"multiplier"``. Setting the multiplier of a frozen group thaws it, which changes the structure
    of the state and compiles the step once more.

    A value for ``b1``, ``b2``, ``b3``, ``beta`` or ``momentum`` is at least 0 and below 1, and one
    for ``weight_decay`` or ``eps`` is at least 0, also behind a prefix such as ``adam_``; traced
    values are clipped to these bounds.

    Args:
      opt_state: State of an optimizer, or anything that holds one (a ``TrainState``).
      name: Name of the hyperparameter, as in `metrics`.
      value: The value in place of the schedule. Defaults to None: without ``scale``, the schedule
        is followed again, without a scale.
      scale: Factor that multiplies the value, 0 or more, and at most 1 for a ``value`` that must be
        below 1. Defaults to None, no change.
      group: Label of the group. Defaults to None, every hyperparameter of this name.

    Returns:
      A new state.

    Raises:
      ValueError: If a number is not finite or not within these bounds, a multiplier is negative, no
        scheduled hyperparameter has this name, or there is no such group.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.inject_schedules(optax.adamw)(
    ...     0.1, weight_decay=lrsched.linear(0.1, 0.0, steps=10))
    >>> state = lrsched.set_hyperparameter(optimizer.init(jnp.zeros(1)), "weight_decay", 0.5)
    >>> _, state = optimizer.update(jnp.ones(1), state, jnp.zeros(1))
    >>> float(lrsched.metrics(state)["weight_decay"])
    0.5
    """
    function = "set_hyperparameter"
    sites = _hyperparameter_sites(opt_state, name, group)
    kind, scale_kind, least, largest = _bounds(name)
    if value is not None:
        value = _clipped(kind.validate(function, "value", value), least, largest)
        thawed = [
            site._replace(rate=rates.with_schedule(site.rate, constant(0.0)))
            if site.rate.schedule == FROZEN
            else site
            for site in sites
        ]
        sites = _edited(thawed, rates.override_number, value)
    elif scale is None:
        sites = _edited(sites, rates.reset_rate)
    if scale is not None:
        _check_not_frozen(function, sites)
        scale = scale_kind.validate(function, "scale", scale)
        if scale_kind is UNIT_FLOAT:
            scale = _clipped(scale, 0.0, 1.0)
        sites = _edited(sites, rates.scale_rate, scale)
    return _written(opt_state, sites)


def _bounds(name: str) -> tuple[ArgumentType, ArgumentType, float, float]:
    """Return the types of a hyperparameter and of its scale, and the bounds of traced values."""
    last = name.rpartition("_")[2]
    if last in ("b1", "b2", "b3", "beta", "beta1", "beta2", "momentum"):
        # An average with a decay of 1 never changes, and one above it grows without bound.
        return DECAY_RATE, UNIT_FLOAT, 0.0, float(np.nextafter(np.float32(1), np.float32(0)))
    if last == "eps" or name.endswith("weight_decay") or name == _MULTIPLIER:
        return NON_NEGATIVE_FLOAT, NON_NEGATIVE_FLOAT, 0.0, np.inf
    return FINITE_FLOAT, NON_NEGATIVE_FLOAT, -np.inf, np.inf


def _clipped(value: ArrayLike, least: float, largest: float) -> ArrayLike:
    """Return a traced value within bounds; one that is not finite stays, and is ignored later."""
    if not is_traced(value):
        return value
    return jnp.where(jnp.isfinite(value), jnp.clip(value, least, largest), value)


def set_schedule(
    opt_state: optax.OptState,
    schedule: ArrayLike | Schedule | optax.Schedule,
    *,
    group: str | None = None,
) -> optax.OptState:
    """Continue with another schedule, at the current step count.

    A schedule of the same kind changes numbers only; one of another kind changes the structure of
    the state and compiles the step once more. An override and a scale stay; an extension and a
    cooldown belong to the schedule that is replaced, and end with it.

    Args:
      opt_state: State of an optimizer, or anything that holds one (a ``TrainState``).
      schedule: A number, a `Schedule` or a callable of the step.
      group: Label of the rate. Defaults to None, which requires that there is only one.

    Returns:
      A new state.

    Raises:
      ValueError: If there is no such group, there are several rates and ``group`` is None, or the
        transform received its numbers as JAX arrays, which are their caller's.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.cosine(0.1, steps=100))
    >>> state = optimizer.init(jnp.zeros(1))
    >>> state = lrsched.set_schedule(state, lrsched.cosine(0.1, steps=200))
    >>> lrsched.learning_rate_schedule(state)
    cosine(peak=0.1, steps=200)
    """
    new = LEARNING_RATE.validate("set_schedule", "schedule", schedule)
    sites = rate_sites("set_schedule", opt_state, group, one_group=True, multipliers=False)
    for site in sites:
        if _is_live(site):
            raise ValueError(f"set_schedule: {_owner(site)}")
    changed = [site._replace(rate=rates.with_schedule(site.rate, new)) for site in sites]
    return _written(opt_state, changed)


def restart(
    opt_state: optax.OptState,
    step: ArrayLike = 0,
    *,
    group: str | None = None,
    reset: bool = False,
) -> optax.OptState:
    """Set the step count of the schedules, and the moments and their counts to 0 where asked.

    Args:
      opt_state: State of an optimizer, or anything that holds one (a ``TrainState``).
      step: Step from which the schedules continue. A traced step that is negative or not a number
        counts as 0, and one above 2**31 - 1 as that. Defaults to 0.
      group: Label of a rate, or of a group of `learning_rate_groups`. Defaults to None, all
        schedules in the state.
      reset: Whether to set the moments, and the counts of their bias correction, to 0, as a warm
        restart does whose gradients have little in common with the earlier ones. With ``group``,
        those of the parameters of that label of ``optax.partition``. Defaults to False, so that
        moments and counts of other transforms stay.

    Returns:
      A new state of the same structure.

    Raises:
      ValueError: If ``step`` is not a whole number from 0 to 2**31 - 1, there is no such group, the
        state holds no schedule of lrsched, or ``reset`` is true for moments that do not start at 0,
        such as the estimates of an adaptive method, or for a group without moments of its own.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=4))
    >>> _, state = optimizer.update(jnp.ones(1), optimizer.init(jnp.zeros(1)))
    >>> optimizer.update(jnp.ones(1), lrsched.restart(state))[0].tolist()
    [-1.0]
    """
    start = rates.as_step("restart", step)
    if group is not None:
        rate_sites("restart", opt_state, group)  # raises where there is no such group
    if reset:
        opt_state = _reset_moments(opt_state, group)
    if group is not None:
        return edit_sites(
            opt_state, rate_sites("restart", opt_state, group), rates.move_rate, start
        )
    nodes = [
        node.state for node in iter_rate_nodes(opt_state) if node.rate_factor.with_rates is not None
    ]
    if not nodes:
        raise no_rate_error("restart: the state holds no schedule of lrsched", opt_state)
    sites = [site for site in all_sites(opt_state) if np.any(_is_moved(site))]
    moved = edit_sites(opt_state, sites, rates.unmove_rate) if sites else opt_state

    def set_count(state: optax.OptState) -> optax.OptState:
        return state._replace(
            count=jax.tree.map(
                # A copy for each count, as a state is donated as a whole.
                lambda old: rates.placed_like(
                    jnp.array(rates.broadcast_number(start, jnp.shape(old))), old
                ),
                state.count,
            )
        )

    nodes = [
        node.state for node in iter_rate_nodes(moved) if node.rate_factor.with_rates is not None
    ]
    return replace_nodes(moved, [(state, set_count) for state in nodes])


_STARTS_AT_ZERO: Final = frozenset(
    {
        *("ScaleByAdamState", "ScaleByAmsgradState", "ScaleByBeliefState", "ScaleByLionState"),
        *(
            "ScaleByRmsState",
            "ScaleByRmsWithCountState",
            "ScaleByStddevState",
            "ScaleByNovogradState",
        ),
        *("TraceState", "EmaState", "FactoredState", "MuonState", "ScaleByAdanState"),
        *("MultiStepsState", "ApplyEvery"),
    }
)
"""States of optax whose arrays are 0 before the first update."""
_CONSTANT_FIELDS: Final = ("ns_coeffs", "gradient_step")


def _reset_moments(opt_state: optax.OptState, group: str | None) -> optax.OptState:
    """Return the state with the moments of a group, and their counts, at 0."""

    def is_of_group(node: StateNode) -> bool:
        places = {"/".join(node.labels), "/".join((*node.container, *node.labels))}
        return group is None or any(f"{place}/".startswith(f"{group}/") for place in places)

    leaves = read_state(opt_state)
    nodes = [node for node in nodes_of(leaves) if is_of_group(node)]
    moments = [node for node in nodes if node.name in _STARTS_AT_ZERO]
    stack_ndim = max((jnp.ndim(site.step) for site in all_sites(opt_state)), default=0)
    others = {
        node.title
        for node in nodes
        # Averages, controllers and records are no moments.
        if node not in moments and not (_is_ours(node) and not node.title.endswith("MethodState"))
        if any(_belongs_to_parameter(leaf, stack_ndim) for leaf in node.leaves.values())
    }
    if others:
        raise ValueError(
            f"restart: reset=True is not accepted for {', '.join(sorted(others))}, whose state "
            "does not start at 0; optimizer.init(params) makes a new one."
        )
    if not moments:
        target = "a state without moments"
        if group is not None:
            target = (
                f"group={group!r}, which has no moments of its own; optax.partition gives groups "
                "their own"
            )
        raise ValueError(f"restart: reset=True is not accepted for {target}.")
    _, treedef = flatten_state(opt_state)

    def zero(leaf: StateLeaf) -> optax.OptState:
        if leaf.node not in moments or leaf.field in _CONSTANT_FIELDS:
            return leaf.value
        return jax.tree.map(jnp.zeros_like, leaf.value)

    return jax.tree.unflatten(treedef, [zero(leaf) for leaf in leaves])


def _is_ours(node: StateNode) -> bool:
    return type(node.value).__module__.startswith("lrsched.")


def _belongs_to_parameter(leaf: StateLeaf, stack_ndim: int) -> bool:
    if leaf.field == "hyperparams" or is_configuration(leaf.value):
        return False
    return bool(leaf.path) or jnp.ndim(leaf.array) > stack_ndim


def extend(
    opt_state: optax.OptState, total_steps: ArrayLike, *, group: str | None = None
) -> optax.OptState:
    """Make the run longer, or shorter, without a jump of the rate.

    Stretches the remaining part of the schedule, or of the cooldown in progress, so that it ends
    at ``total_steps``. A new schedule for the longer run would jump: a cosine for 1000 updates is
    at 0.02 of its peak after 900, one for 2000 at 0.58. An extension replaces an earlier one.

    Args:
      opt_state: State of an optimizer, or anything that holds one (a ``TrainState``).
      total_steps: Length of the whole run, in updates, above the current step. A traced length
        that is not counts as the step after the current one.
      group: Label of a rate, or of a group of `learning_rate_groups`. Defaults to None, all rates.

    Returns:
      A new state of the same structure.

    Raises:
      ValueError: If a schedule has no horizon or has reached it, ``total_steps`` is not above the
        current step, or there is no such group.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=4))
    >>> state = lrsched.extend(lrsched.restart(optimizer.init(jnp.zeros(1)), 2), total_steps=6)
    >>> lrsched.learning_rate_schedule(state)([2, 3, 4, 5, 6]).tolist()
    [0.5, 0.375, 0.25, 0.125, 0.0]
    """
    total_steps = POSITIVE_INT.validate("extend", "total_steps", total_steps)
    sites = rate_sites("extend", opt_state, group)
    for site in sites:
        _check_extend(site, total_steps)
    return edit_sites(opt_state, sites, rates.extend_rate, total_steps)


def start_cooldown(
    opt_state: optax.OptState,
    steps: ArrayLike,
    *,
    ramp: Ramp = "1-sqrt",
    end: ArrayLike = 0.0,
    start: ArrayLike = 1.0,
    group: str | None = None,
) -> optax.OptState:
    """Anneal from the current rate to ``end`` within ``steps`` updates, from the next update on.

    From the checkpoint of a constant or stable phase, any number of cooldowns can branch off. A
    rate that is overridden is annealed from its value. A cooldown replaces an earlier one.

    Args:
      opt_state: State of an optimizer, or anything that holds one (a ``TrainState``).
      steps: Length of the cooldown, in updates, at least 1.
      ramp: Shape of the cooldown: "linear", "cosine", "mirror-cosine", "1-sqrt", "square",
        "exponential" or "power:P" for ``x**P``, which are numbers in the state; or a function from
        the remaining fraction ``x`` in [0, 1] to [0, 1], which changes the structure of the state
        and compiles the step once more. "power:2" falls fast at first and slowly at the end.
      end: Rate after the cooldown, 0 or more. Defaults to 0.
      start: Fraction of the way from ``end`` to the current rate at which the cooldown starts, in
        [0, 1]. 0.7 with "linear" is the lowered linear cooldown. Defaults to 1, no jump.
      group: Label of a rate, or of a group of `learning_rate_groups`. Defaults to None, all rates.

    Returns:
      A new state.

    Raises:
      ValueError: If ``steps < 1``, ``end`` is negative or not finite, ``start`` is not in [0, 1],
        ``ramp`` is unknown, the step count is at its largest value of 2**31 - 1, or there is no
        such group.

    Source: Hägele et al. 2024 (arXiv 2405.18392); for ``start``, Dremov et al. 2025
    (arXiv 2508.01483).

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.warmup(2) * 1.0)
    >>> stable = lrsched.restart(optimizer.init(jnp.zeros(1)), 100)
    >>> state = lrsched.start_cooldown(stable, steps=4, ramp="linear")
    >>> lrsched.learning_rate_schedule(state)([99, 100, 102, 104]).tolist()
    [1.0, 1.0, 0.5, 0.0]
    """
    function = "start_cooldown"
    steps = POSITIVE_INT.validate(function, "steps", steps)
    end = NON_NEGATIVE_FLOAT.validate(function, "end", end)
    start = UNIT_FLOAT.validate(function, "start", start)
    ramp = RAMP.validate(function, "ramp", ramp)
    sites = rate_sites(function, opt_state, group)
    _check_not_frozen(function, sites)
    for site in sites:
        if not is_traced((site.rate, site.step)) and np.any(
            np.asarray(rate_step(site.rate, site.step)) >= MAX_STEP
        ):
            raise ValueError(
                f"{function}: the step count is {MAX_STEP}, the largest, at which it stays, so "
                "that the rate would never fall; restart(opt_state, step) sets it."
            )
    if isinstance(ramp, str):
        numbers = rates.ramp_numbers(ramp)
        return edit_sites(opt_state, sites, rates.cool_rate, steps, end, start, *numbers)
    changed = [
        site._replace(
            rate=rates.cooldown_by_function(site.rate, site.step, steps, end, start, ramp)
        )
        for site in sites
    ]
    return _written(opt_state, changed)


def learning_rate_schedule(opt_state: optax.OptState, *, group: str | None = None) -> Schedule:
    """Return the learning rate of a state, with all edits, as one schedule of the step count.

    It prints, plots and is written as JSON as every schedule; an unedited rate gives the schedule
    as configured. The scales of controllers and the estimates of adaptive methods are no part of
    it.

    Args:
      opt_state: State of an optimizer, or anything that holds one (a ``TrainState``).
      group: Label of a rate, or of a group of `learning_rate_groups`, whose rate is the product
        with the multiplier. Defaults to None, which requires that there is only one rate.

    Returns:
      A `Schedule` of the transform's step count.

    Raises:
      ValueError: If there is no such group, there are several rates and ``group`` is None, or the
        state is traced or stacked.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.cosine(0.1, steps=100))
    >>> state = lrsched.extend(optimizer.init(jnp.zeros(1)), total_steps=200)
    >>> lrsched.learning_rate_schedule(lrsched.scale_learning_rate(state, 0.5))
    edited(inner=cosine(peak=0.1, steps=100), scale=0.5, pace_end=200)
    """
    function = "learning_rate_schedule"
    sites = rate_sites(function, opt_state, group, one_group=group is None)
    for site in sites:
        if is_traced(site.rate) or jnp.shape(site.rate.edits.scale):
            raise ValueError(
                f"{function}: the state is traced or stacked; take one member's state first, as in "
                "jax.tree.map(lambda x: x[0], opt_state)."
            )
    found = [rates.rate_schedule(site.rate) for site in sites]
    if sites[0].is_multiplier:
        outer = rate_sites(function, opt_state, None, one_group=True)
        return multiply(*(rates.rate_schedule(site.rate) for site in outer), *found)
    return found[0]


class RateSite(NamedTuple):
    """Where a rate, a multiplier or another scheduled hyperparameter is kept.

    Attributes:
      node: The state that holds it.
      name: Label among the rates of the node, or name among the hyperparameters.
      is_hyperparameter: Which of the two.
      is_multiplier: Whether it multiplies a rate that is applied elsewhere.
      group: The labels of its group.
      rate: The schedule and its edits, as arrays.
      step: Step count of the node.
      leaf_treedef: Structure around each number in the state: an array's own, or that of what
        ``nnx.Optimizer`` puts around it.
    """

    node: optax.OptState
    name: str
    is_hyperparameter: bool
    is_multiplier: bool
    group: Group
    rate: RateState
    step: jax.Array
    leaf_treedef: object


def rate_sites(
    function: str,
    opt_state: optax.OptState,
    group: str | None = None,
    one_group: bool = False,
    multipliers: bool = True,
) -> list[RateSite]:
    """Return the rates that an edit reaches: of an optimizer around another one, the inner one's.

    Args:
      function: Name of the caller, for errors.
      opt_state: State of an optimizer.
      group: Label of a rate or of a group of multipliers. None for all rates.
      one_group: Whether the rates must be those of one group.
      multipliers: Whether ``group`` may be a group of `learning_rate_groups`.
    """
    sites = all_sites(opt_state)
    found = [site for site in sites if not site.is_hyperparameter and not site.is_multiplier]
    groups = list(dict.fromkeys(group_label(site.group) for site in found))
    of_multipliers = [site for site in sites if site.is_multiplier]
    if group is not None and group not in groups:
        chosen = [site for site in of_multipliers if group_label(site.group) == group]
        if chosen and multipliers:
            return chosen
        if chosen:
            raise ValueError(
                f"{function}: group={group!r} is a group of learning_rate_groups, whose rate is "
                "the common one times a multiplier; set_hyperparameter(opt_state, 'multiplier', "
                "value, group=...) sets the multiplier, and optax.partition gives groups their own "
                "rates."
            )
    if not found:
        raise no_rate_error(f"{function}: the state holds no rate that can be changed", opt_state)
    if group is not None and group not in groups:
        known = [*groups, *(group_label(site.group) for site in of_multipliers)]
        named = ", ".join(map(repr, known)) if any(known) else ""
        raise ValueError(
            f"{function}: group={group!r} is not accepted; the state's rates have "
            f"{'the groups ' + named if named else 'no groups'}."
        )
    if group is None and one_group and len(groups) > 1:
        raise ValueError(
            f"{function}: the state holds {len(groups)} rates; group must be one of "
            f"{', '.join(map(repr, groups))}."
        )
    chosen = [site for site in found if group in (None, group_label(site.group))]
    if len(chosen) > len({site.group for site in chosen}):
        raise ValueError(
            f"{function}: several schedules multiply in this state; pass the part of the state "
            "that holds the one you mean."
        )
    return chosen


def _hyperparameter_sites(
    opt_state: optax.OptState, name: str, group: str | None
) -> list[RateSite]:
    sites = [site for site in all_sites(opt_state) if site.is_hyperparameter or site.is_multiplier]
    named = [site for site in sites if name == (_MULTIPLIER if site.is_multiplier else site.name)]
    if not named:
        known = {_MULTIPLIER if site.is_multiplier else site.name for site in sites}
        raise ValueError(
            f"set_hyperparameter: name={name!r} is not accepted; name must be one of the scheduled "
            f"hyperparameters of the state ({', '.join(sorted(known)) or 'it has none'}). "
            "set_learning_rate sets a learning rate." + ("" if known else rates_hint(opt_state))
        )
    chosen = [site for site in named if group in (None, group_label(site.group))]
    if not chosen:
        labels = dict.fromkeys(repr(group_label(site.group)) for site in named)
        requirement = f"one of {', '.join(labels)}"
        raise not_accepted("set_hyperparameter", "group", group, requirement)
    return chosen


def all_sites(opt_state: optax.OptState) -> list[RateSite]:
    """Return every rate, multiplier and other scheduled hyperparameter of a state."""
    check_has_numbers(opt_state)
    sites = []
    for node in iter_rate_nodes(opt_state):
        factor = node.rate_factor
        is_applied = factor.is_multiplier or factor.is_outer or not has_rate(factor.inner_state)
        if factor.with_rates is None:
            continue
        if is_applied and not node.is_driven:
            for (label, rate), group in zip(
                factor.rates.items(), node.groups(factor.rates), strict=True
            ):
                sites.append(_site(node, label, False, group, rate))
        for name, rate in factor.hyperparameters.items():
            sites.append(_site(node, name, True, node.group, rate))
    return sites


def _site(
    node: optax.OptState, name: str, is_hyperparameter: bool, group: Group, rate: RateState
) -> RateSite:
    leaf_treedef = jax.tree.structure(rate.fingerprint)
    unwrapped, step = unwrap_nnx((rate, node.state.count), leaf_treedef)
    is_multiplier = node.rate_factor.is_multiplier
    return RateSite(
        node, name, is_hyperparameter, is_multiplier, group, unwrapped, step, leaf_treedef
    )


def edit_sites(
    opt_state: optax.OptState,
    sites: Sequence[RateSite],
    edit: Callable[..., RateState],
    *numbers: chex.Numeric,
) -> optax.OptState:
    """Return ``opt_state`` with an edit applied to some of its rates."""
    return _written(opt_state, _edited(sites, edit, *numbers))


def _edited(
    sites: Sequence[RateSite], edit: Callable[..., RateState], *numbers: chex.Numeric
) -> list[RateSite]:
    return [site._replace(rate=edit_rate(edit, site.rate, site.step, *numbers)) for site in sites]


def _written(opt_state: optax.OptState, sites: Sequence[RateSite]) -> optax.OptState:
    """Return ``opt_state`` with the rates of ``sites`` written into their nodes."""
    by_node: dict[int, list[RateSite]] = {}
    for site in sites:
        by_node.setdefault(id(site.node.state), []).append(site)
    return replace_nodes(opt_state, [(own[0].node.state, _writer(own)) for own in by_node.values()])


def _writer(sites: Sequence[RateSite]) -> Callable[[optax.OptState], optax.OptState]:
    factor = sites[0].node.rate_factor
    new: list[dict[str, RateState]] = [dict(factor.rates), dict(factor.hyperparameters)]
    for site in sites:
        new[site.is_hyperparameter][site.name] = wrap_nnx(site.rate, site.leaf_treedef)
    return lambda state: factor.with_rates(state, *new)


def _check_extend(site: RateSite, total_steps: chex.Numeric) -> None:
    schedule, edits = site.rate.schedule, site.rate.edits
    if is_traced((site.rate, site.step, total_steps)):
        has_cooldown: chex.Numeric = not is_traced(edits) and np.any(edits.cooldown_steps)
    else:
        has_cooldown = np.any(edits.cooldown_steps)
        step = rate_step(site.rate, site.step)
        total = rates.broadcast_number(total_steps, np.shape(step))
        if np.any(np.asarray(total) <= np.asarray(step)):
            requirement = f"above the current step {np.max(step)}"
            raise not_accepted("extend", "total_steps", total_steps, requirement)
        end = rates.rate_end(site.rate)
        if has_cooldown:
            end = edits.cooldown_start + edits.cooldown_steps
        if end is not None and np.any(np.asarray(step) >= np.asarray(end)):
            raise ValueError(
                f"extend: {'the cooldown of ' if has_cooldown else ''}the schedule {schedule} "
                f"reached its end at step {np.min(end)}, so that "
                "nothing of it is left to stretch; set_schedule(opt_state, schedule) continues "
                "with another one."
            )
    if schedule.horizon is None and not has_cooldown:
        raise ValueError(
            f"extend: the schedule {schedule} has no horizon, so there is no end to move; "
            + (
                _owner(site)
                if _is_live(site)
                else "set_schedule(opt_state, schedule) takes one that has."
            )
        )


def _check_not_frozen(function: str, sites: Sequence[RateSite]) -> None:
    for site in sites:
        if site.rate.schedule == FROZEN:
            raise ValueError(
                f"{function}: the group {group_label(site.group)!r} is frozen; "
                "set_hyperparameter(opt_state, 'multiplier', value, group=...) thaws it."
            )


def _is_moved(site: RateSite) -> chex.Numeric:
    """Return whether a rate has a step of its own; where that is traced, it may have one."""
    offset = site.rate.edits.step_offset
    return is_traced(offset) or np.asarray(offset) != 0


def _is_live(site: RateSite) -> bool:
    return not is_traced(site.rate.is_live) and bool(np.any(site.rate.is_live))


def _owner(site: RateSite) -> str:
    return (
        f"the numbers of {site.rate.schedule} are JAX arrays that the transform received, and "
        "they are used at their current values; change them where they come from, such as the "
        "hyperparams of optax.inject_hyperparams, or build the transform with Python numbers."
    )
