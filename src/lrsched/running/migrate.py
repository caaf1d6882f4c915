"""Taking the state of one optimizer over into another one: optax's into ours, ours into ours."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrsched._schedule import Schedule
from lrsched.transforms.inject import InjectSchedulesState
from lrsched.transforms.learning_rate import ScaleByLearningRateState
from lrsched.transforms.rate import RateState, evaluate_rate

SCHEDULES = ("new", "saved")


def migrate(saved: Any, fresh: Any, *, schedule: str = "new", step: ArrayLike | None = None) -> Any:
    """Take what an old state has learned over into the fresh state of another optimizer.

    Moments, averages and counts come from ``saved``; where the schedules come from is said. The two
    must be the same optimizers but for how they keep their rate:

    * optax's ``scale_by_schedule`` and ``scale_by_learning_rate`` become `scale_by_learning_rate`,
    * its ``inject_hyperparams`` becomes `inject_schedules`,
    * a constant, a schedule and a callable of ours become one another.

    Args:
      saved: the restored state, of optax's transforms or of ours.
      fresh: what ``init`` of the new optimizer gives.
      schedule: "new" goes on with the schedules of ``fresh``, "saved" with those of ``saved`` where
        it has any. What was held or scaled by hand comes with "saved" only.
      step: where the clocks go on; by default where those of ``saved`` are. Optax keeps no clock
        for a constant rate: there it is the count of another transform, such as Adam's.

    Returns:
      A state of the new optimizer.

    Raises:
      ValueError: the states do not match, which says where; another ``schedule``; no clock.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> params = jnp.zeros(2)
    >>> old = optax.adam(optax.cosine_decay_schedule(0.1, 100))
    >>> _, saved = old.update(params, old.init(params), params)
    >>> new = optax.chain(
    ...     optax.scale_by_adam(), lrsched.scale_by_learning_rate(lrsched.cosine(0.1, steps=100)))
    >>> state = lrsched.migrate(saved, new.init(params))
    >>> int(state[0].count), int(state[1].count)
    (1, 1)
    """
    if schedule not in SCHEDULES:
        raise ValueError(
            f"migrate: schedule={schedule!r} is not accepted; schedule must be one of "
            f"{', '.join(map(repr, SCHEDULES))}."
        )
    elsewhere = _latest_count(saved)

    def clock(old: Any, place: str) -> jax.Array:
        for known in (step, old.count if _has_clock(old) else None, elsewhere):
            if known is not None:
                return jnp.asarray(known, jnp.int32)
        raise ValueError(
            f"migrate: the state saved at {place} keeps no clock, and no other one does; step must "
            "say how many updates were made."
        )

    def fields(old: Any, new: Any, place: str) -> dict[str, Any]:
        return {
            name: taken(getattr(old, name), getattr(new, name), f"{place}.{name}")
            for name in new._fields
        }

    def taken(old: Any, new: Any, place: str) -> Any:
        if isinstance(new, ScaleByLearningRateState) and isinstance(old, RATES_OF_OPTAX):
            return _at(new, clock(old, place))
        if isinstance(new, InjectSchedulesState) and isinstance(old, INJECTED_BY_OPTAX):
            inner = taken(old.inner_state, new.inner_state, f"{place}.inner_state")
            return _at(new, clock(old, place))._replace(inner_state=inner)
        if isinstance(new, RateState | Schedule) and isinstance(old, RateState | Schedule):
            return old if schedule == "saved" else new
        if type(old) is not type(new):
            raise _mismatch(place, old, new)
        if hasattr(new, "_fields"):
            changed = (old if schedule == "saved" else new)._replace(**fields(old, new, place))
            has_schedule = _has_clock(new) and SCHEDULED & set(new._fields)
            return changed._replace(count=clock(old, place)) if has_schedule else changed
        if isinstance(new, dict) and old.keys() == new.keys():
            return type(new)((key, taken(old[key], new[key], f"{place}[{key!r}]")) for key in new)
        if isinstance(new, tuple | list) and len(old) == len(new):
            pairs = enumerate(zip(old, new, strict=True))
            return type(new)(taken(a, b, f"{place}[{index}]") for index, (a, b) in pairs)
        if _shapes(old) != _shapes(new):
            raise _mismatch(place, old, new)
        return old

    return taken(saved, fresh, "state")


SCHEDULED = {"rate", "rates"}
RATES_OF_OPTAX = (optax.ScaleByScheduleState, optax.EmptyState, optax.ScaleState)
INJECTED_BY_OPTAX = (optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)


def _at(fresh: Any, count: jax.Array) -> Any:
    """A fresh state of ours whose clock is at ``count``, with the rates of the update before it."""
    before = jnp.maximum(count - 1, 0)
    if isinstance(fresh, ScaleByLearningRateState):
        return fresh._replace(count=count, learning_rate=evaluate_rate(fresh.rate, before))
    rates = {**fresh.rates, **fresh.schedules}
    values = {name: evaluate_rate(rate, before) for name, rate in rates.items()}
    return fresh._replace(count=count, values=values)


def _has_clock(state: Any) -> bool:
    return "count" in getattr(state, "_fields", ())


def _latest_count(saved: Any) -> Any:
    """The largest count in a state: those of parts that skip updates are behind."""
    nodes = jax.tree.leaves(saved, is_leaf=_has_clock)
    return max((node.count for node in nodes if _has_clock(node)), key=int, default=None)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}


def _mismatch(place: str, saved: Any, fresh: Any) -> ValueError:
    def described(x: Any) -> str:
        if hasattr(x, "shape"):
            return f"an array of shape {x.shape}"
        return f"{type(x).__name__}{f' of {len(x)}' if isinstance(x, tuple | list | dict) else ''}"

    return ValueError(
        f"migrate: at {place}, saved is {described(saved)} and fresh is {described(fresh)}; they "
        "must be the same but for the rate."
    )
