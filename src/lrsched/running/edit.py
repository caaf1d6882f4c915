"""Changing the learning rate of a running job: pure functions from one optimizer state to another.

They find the rates by their type through any wrapper, as `lrsched.learning_rate` does, and write
numbers only: in a compiled step nothing is compiled anew, unless a schedule of another kind comes.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from lrsched._schedule import Schedule
from lrsched.algebra import as_schedule, by_hand, repace
from lrsched.schedules.multiphase import cooldown
from lrsched.schedules.ramps import Ramp
from lrsched.transforms.composition import RateNode, has_rate, iter_rate_nodes, unwrap_nnx
from lrsched.transforms.learning_rate import to_state


def set_learning_rate(opt_state: Any, value: ArrayLike | None, *, group: str | None = None) -> Any:
    """Hold the learning rate at a value from the next update on, or release it again.

    The value takes the place of the schedule and of `scale_learning_rate`; the scales of
    controllers and the estimates of adaptive methods go on multiplying it. The schedule's clock
    goes on, so that a release (``None``) continues where the schedule would be by then.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).
      value: the rate, 0 or more, may be traced; None follows the schedule again.
      group: the label of a group, where there are several.

    Returns:
      The state with it. `learning_rate` says what the latest update applied, so it shows the value
      after the next one.

    Raises:
      ValueError: a negative value, no such group, several groups and none given, or no one rate.

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
    if (
        value is not None
        and not isinstance(value, jax.core.Tracer)
        and not jnp.all(jnp.asarray(value) >= 0)
    ):
        raise ValueError(
            f"set_learning_rate: value={value!r} is not accepted; value must be a number of 0 or "
            "more, or None."
        )

    def turned(place: Place) -> Schedule:
        if value is None:
            return _with(place.schedule, held=-1.0)
        return _with(place.schedule, held=value, scale=1.0)

    places = _places("set_learning_rate", opt_state, group, one_group=True)
    return _edited(opt_state, places, turned)


def scale_learning_rate(opt_state: Any, factor: ArrayLike, *, group: str | None = None) -> Any:
    """Multiply the learning rate by a factor from the next update on, on top of what scales it.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).
      factor: 0 or more; may be traced. Twice 0.5 is 0.25.
      group: the label of a group, or a pattern of `learning_rate_groups`, whose multiplier is
        scaled then; by default all rates.

    Raises:
      ValueError: a negative factor, no such group, or no one rate.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(0.5)
    >>> state = lrsched.scale_learning_rate(optimizer.init(jnp.zeros(1)), 0.1)
    >>> optimizer.update(jnp.ones(1), state)[0].tolist()
    [-0.05000000074505806]
    """
    if not isinstance(factor, jax.core.Tracer) and not jnp.all(jnp.asarray(factor) >= 0):
        raise ValueError(
            f"scale_learning_rate: factor={factor!r} is not accepted; factor must be a number of 0 "
            "or more."
        )

    def turned(place: Place) -> Schedule:
        return _with(place.schedule, scale=place.schedule.scale * factor)

    places = _multipliers(opt_state, group) or _places("scale_learning_rate", opt_state, group)
    return _edited(opt_state, places, turned)


def set_schedule(
    opt_state: Any, schedule: ArrayLike | Schedule | Any, *, group: str | None = None
) -> Any:
    """Go on with another schedule, at the step where the clock is.

    One of the same kind changes numbers only; a schedule of another kind compiles the step once
    more. What was held or scaled by hand stays so.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).
      schedule: a number, a `Schedule` or a callable of the step.
      group: the label of a group, where there are several.

    Raises:
      ValueError: no such group, several groups and none given, or no one rate.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.cosine(0.1, steps=100))
    >>> state = optimizer.init(jnp.zeros(1))
    >>> lrsched.set_schedule(state, lrsched.cosine(0.1, steps=200)).schedule.horizon
    200
    """
    new = as_schedule(schedule)
    places = _places("set_schedule", opt_state, group, one_group=True)
    return _edited(opt_state, places, lambda place: _under(place, new))


def restart(opt_state: Any, step: ArrayLike = 0) -> Any:
    """Set the clock of every schedule of ours; moments and counts of other transforms stay.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).
      step: where the schedules go on.

    Raises:
      ValueError: no schedule in the state.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=4))
    >>> _, state = optimizer.update(jnp.ones(1), optimizer.init(jnp.zeros(1)))
    >>> optimizer.update(jnp.ones(1), lrsched.restart(state))[0].tolist()
    [-1.0]
    """
    found = [part for part in iter_rate_nodes(opt_state) if part.rate_factor.put is not None]
    if not found:
        raise ValueError("restart: the state holds no schedule of lrsched.")

    def set_to_step(state: Any) -> Any:
        return state._replace(count=jax.tree.map(lambda old: jnp.full_like(old, step), state.count))

    return _changed(opt_state, [(part.state, set_to_step) for part in found])


def extend(opt_state: Any, steps: ArrayLike, *, group: str | None = None) -> Any:
    """Make the run longer, or shorter, without a jump of the rate: `repace` from here on.

    What is left of the schedule's course is gone through until ``steps``. A schedule made anew for
    the longer run would jump: a cosine for 1000 updates at 900 is at 0.02 of its peak, one for 2000
    is at 0.58.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).
      steps: the length of the whole run in updates, above the step where the clock is.
      group: the label of a group; by default all of them.

    Raises:
      ValueError: a schedule without a horizon, one that has come to its end, ``steps`` that are
        over, no such group, or no one rate.

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.linear(1.0, 0.0, steps=4))
    >>> state = lrsched.extend(lrsched.restart(optimizer.init(jnp.zeros(1)), 2), steps=6)
    >>> state.schedule([2, 3, 4, 5, 6]).tolist()
    [0.5, 0.375, 0.25, 0.125, 0.0]
    """

    def longer(place: Place) -> Schedule:
        if place.schedule.inner.horizon is None:
            raise ValueError(
                f"extend: the schedule {place.schedule.inner} has no horizon, so there is no end "
                "to put off; set_schedule(opt_state, schedule) takes one that has, such as "
                "lrsched.cosine for a cosine that climbs back after its fall."
            )
        return _under(place, repace(place.schedule.inner, place.step, steps))

    return _edited(opt_state, _places("extend", opt_state, group), longer)


def start_cooldown(
    opt_state: Any,
    steps: ArrayLike,
    *,
    shape: Ramp = "1-sqrt",
    end: ArrayLike = 0.0,
    group: str | None = None,
) -> Any:
    """Anneal from the rate of now: `cooldown` from the step where the clock is.

    From the checkpoint of a constant or stable phase one can branch off as many of them as one
    likes. A rate that is held by hand is annealed too.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``).
      steps: the length of the fall.
      shape: as in `wsd`.
      end: the rate after it.
      group: the label of a group; by default all of them.

    Raises:
      ValueError: no such group, or no one rate.

    Source: Hägele et al. 2024 (arXiv 2405.18392).

    >>> import jax.numpy as jnp, lrsched
    >>> optimizer = lrsched.scale_by_learning_rate(lrsched.warmup(2) * 1.0)
    >>> stable = lrsched.restart(optimizer.init(jnp.zeros(1)), 100)
    >>> state = lrsched.start_cooldown(stable, steps=4, shape="linear")
    >>> state.schedule([99, 100, 102, 104]).tolist()
    [1.0, 1.0, 0.5, 0.0]
    """

    def annealed(place: Place) -> Schedule:
        before = by_hand(place.schedule.inner, held=place.schedule.held)
        after = cooldown(before, place.step, steps, end=end, ramp=shape)
        return to_state(by_hand(after, scale=place.schedule.scale))

    return _edited(opt_state, _places("start_cooldown", opt_state, group), annealed)


def check_resume(opt_state: Any, schedule: ArrayLike | Schedule | Any) -> str:
    """What a restored state and the schedule of today's configuration disagree on, in words.

    Args:
      opt_state: the restored state, of one group.
      schedule: what the run was started with today.

    Returns:
      One sentence with the step, both schedules and both rates, and what to do; empty where they
      are the same.

    Raises:
      ValueError: no one rate in the state.

    >>> import jax.numpy as jnp, lrsched
    >>> saved = lrsched.scale_by_learning_rate(lrsched.cosine(0.1, steps=100)).init(jnp.zeros(1))
    >>> lrsched.check_resume(saved, lrsched.cosine(0.1, steps=100))
    ''
    >>> print(lrsched.check_resume(lrsched.restart(saved, 90), 0.01))
    at step 90 the saved schedule cosine(peak=0.1, steps=100) gives 0.00244717, the new one \
constant(value=0.01) 0.01; set_schedule(opt_state, schedule) takes the new one, else the saved one \
goes on.
    """
    (place,) = _places("check_resume", opt_state, one_group=True)
    saved, new = place.schedule, as_schedule(schedule)
    if saved.replace(inner=new) == saved:
        return ""
    is_touched = by_hand(saved.inner) != saved
    step = int(place.step)
    return (
        f"at step {step} the saved schedule {saved if is_touched else saved.inner} gives "
        f"{float(saved(step)):.6g}, the new one {new} {float(new(step)):.6g}; "
        "set_schedule(opt_state, schedule) takes the new one, else the saved one goes on."
    )


class Place(NamedTuple):
    """Where a rate, or a multiplier, comes from.

    Attributes:
      state: what holds it.
      put: ``schedule -> state``: the state with another one.
      schedule: its schedule, a `by_hand`, the numbers as arrays.
      step: the step where its clock is.
      container: the structure that holds each number in the state: an array's own, or that of what
        ``nnx.Optimizer`` puts around it.
    """

    state: Any
    put: Callable[[Schedule], Any]
    schedule: Schedule
    step: jax.Array
    container: Any


def _edited(opt_state: Any, places: Sequence[Place], edit: Callable[[Place], Schedule]) -> Any:
    def put(place: Place, state: Any) -> Any:
        del state  # it is what `place` was read from
        contained = jax.tree.map(lambda x: jax.tree.unflatten(place.container, [x]), edit(place))
        return place.put(contained)

    return _changed(opt_state, [(place.state, functools.partial(put, place)) for place in places])


def _multipliers(opt_state: Any, group: str | None) -> list[Place]:
    """The schedules of the multipliers of this group of `learning_rate_groups`."""
    return [
        _multiplier(part, name)
        for part in iter_rate_nodes(opt_state)
        if part.rate_factor.is_scale and isinstance(part.rate_factor.schedules, Mapping)
        for name in part.rate_factor.schedules
        if "/".join((*part.group, name)) == group
    ]


def _multiplier(part: RateNode, name: str) -> Place:
    schedules, put = part.rate_factor.schedules, part.rate_factor.put
    assert put is not None
    return _place(part, schedules[name], lambda new: put({**schedules, name: new}))


def _places(
    function: str, opt_state: Any, group: str | None = None, one_group: bool = False
) -> list[Place]:
    """The schedules of the rates: of an optimizer around another one, the inner one's."""
    found = [
        part
        for part in iter_rate_nodes(opt_state)
        if part.rate_factor.put is not None
        and not part.rate_factor.is_scale
        and not has_rate(part.rate_factor.inner)
        and part.rate_factor.schedules.is_instance_of(by_hand)
    ]
    groups = list(dict.fromkeys("/".join(part.group) for part in found))
    if not found:
        raise ValueError(
            f"{function}: the state holds no schedule that a hand can change; it must come from an "
            "optimizer with scale_by_learning_rate, inject_schedules or an adaptive method in it."
        )
    if group is not None and group not in groups:
        raise ValueError(
            f"{function}: group={group!r} is not accepted; the state's rates have "
            f"{'the groups ' + ', '.join(groups) if any(groups) else 'no groups'}."
        )
    if group is None and one_group and len(groups) > 1:
        raise ValueError(
            f"{function}: the state holds the rates of {len(groups)} groups; group must be one of "
            f"{', '.join(groups)}."
        )
    chosen = [part for part in found if group in (None, "/".join(part.group))]
    if len(chosen) > len({part.group for part in chosen}):
        raise ValueError(
            f"{function}: several schedules multiply in this state; pass the part of the state "
            "that holds the one you mean."
        )
    return [_place(part, part.rate_factor.schedules, part.rate_factor.put) for part in chosen]


def _place(part: RateNode, kept: Schedule, put: Callable[[Schedule], Any] | None) -> Place:
    assert put is not None
    container = jax.tree.structure(kept.held)
    schedule, step = unwrap_nnx((kept, part.state.count), container)
    return Place(part.state, put, schedule, step, container)


def _changed(tree: Any, changes: Sequence[tuple[Any, Callable[[Any], Any]]]) -> Any:
    """``tree`` with each of these nodes replaced by what its function makes of it.

    A function is given its node with the nodes within it replaced already.
    """
    made = {id(node): change for node, change in changes}

    def visit(x: Any) -> Any:
        if id(x) not in made:
            return x
        inner = jax.tree.map(visit, x, is_leaf=lambda y: y is not x and id(y) in made)
        return made[id(x)](inner)

    return jax.tree.map(visit, tree, is_leaf=lambda x: id(x) in made)


def _with(schedule: Schedule, **numbers: ArrayLike) -> Schedule:
    """A `by_hand` with other numbers, in the dtypes and shapes of the old ones."""
    old = schedule.parameters
    new = {
        name: jnp.broadcast_to(jnp.asarray(number, jnp.float32), jnp.shape(old[name]))
        for name, number in numbers.items()
    }
    return schedule.replace(**new)


def _under(place: Place, schedule: Schedule) -> Schedule:
    """Another schedule under the same hand."""
    return to_state(place.schedule.replace(inner=schedule))
