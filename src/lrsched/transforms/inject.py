"""Schedules for any hyperparameter of any optax factory."""

import inspect
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrsched._schedule import Schedule, is_number
from lrsched.algebra import as_schedule
from lrsched.transforms.composition import RateFactor, injected_rate_factor, rate_factor
from lrsched.transforms.learning_rate import current_step, evaluate_scalar, in_use, to_state

LEARNING_RATE: Final = "learning_rate"


class InjectSchedulesState(NamedTuple):
    """State of `inject_schedules`.

    Attributes:
      count: int32 scalar, the updates that this transform has applied.
      schedules: the schedule of each hyperparameter that has one.
      values: the float32 scalar that each of them had at the latest update; before the first, what
        it will have.
      inner_state: the state of the optimizer itself.
    """

    count: jax.Array  # type: ignore[assignment]
    schedules: dict[str, Schedule]
    values: dict[str, jax.Array]
    inner_state: optax.OptState


@rate_factor.register
def _(state: InjectSchedulesState) -> RateFactor:
    own = injected_rate_factor(state.values, state.inner_state)
    if own.factor is None:
        return own
    return own._replace(
        schedules=state.schedules[LEARNING_RATE],
        put=lambda schedule: state._replace(schedules={**state.schedules, LEARNING_RATE: schedule}),
    )


def inject_schedules(
    factory: Callable[..., optax.GradientTransformation],
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """Let any hyperparameter of an optax factory follow a schedule.

    Returns a function with the factory's signature. In its call

    * a `Schedule` is followed, for any argument;
    * a plain callable is followed where the argument is ``learning_rate`` or has a number for its
      default; elsewhere (``mask=``) it is passed on as it is;
    * the number given as ``learning_rate`` becomes a constant schedule, so that it can be read and
      changed; every other number is passed on as it is, so that nothing changes in the last bit.

    ``update(..., step=)`` reads the schedules at a step from outside.

    Scheduled values are float32 scalars whatever the parameters' dtype. The updates and the inner
    state keep the dtypes they have without scheduling: ``optax.inject_hyperparams`` rounds
    everything to the parameters' dtype instead, which is NaN for adamw in bfloat16 (``b2`` becomes
    1) and drifts in float32 adam.

    Args:
      factory: such as ``optax.adamw``, or a function of your own that returns a chain.

    Raises:
      TypeError: an argument that the factory does not take.
      ValueError: a schedule that gives something else than one number.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.inject_schedules(optax.adamw)(
    ...     learning_rate=lrsched.one_cycle(1e-3, steps=100),
    ...     b1=lrsched.linear(0.95, 0.85, steps=30), weight_decay=0.1)
    >>> state = optimizer.init({"w": jnp.ones(3, jnp.bfloat16)})
    >>> sorted(state.values), float(state.values["b1"]) == float(jnp.float32(0.95))
    (['b1', 'learning_rate'], True)
    """
    signature = inspect.signature(factory)

    def scheduled(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        arguments = signature.bind(*args, **kwargs).arguments
        schedules = {
            name: as_schedule(value)
            for name, value in arguments.items()
            if _is_scheduled(signature.parameters[name], value)
        }

        def build(values: dict[str, jax.Array]) -> optax.GradientTransformationExtraArgs:
            bound = inspect.BoundArguments(signature, {**arguments, **values})
            return optax.with_extra_args_support(factory(*bound.args, **bound.kwargs))

        def init(params: optax.Params) -> InjectSchedulesState:
            values = _values(schedules, 0)
            inner_state = build(values).init(params)
            count = jnp.zeros([], jnp.int32)
            return InjectSchedulesState(count, _as_states(schedules), values, inner_state)

        def update(
            updates: optax.Updates,
            state: InjectSchedulesState,
            params: optax.Params | None = None,
            **extra_args: Any,
        ) -> tuple[optax.Updates, InjectSchedulesState]:
            now = current_step(state.count, extra_args.get("step"))
            values = _values(state.schedules, now)
            scaled, inner_state = build(values).update(
                updates, state.inner_state, params, **extra_args
            )
            return _cast_like(scaled, updates), InjectSchedulesState(
                optax.safe_increment(now),
                state.schedules,
                values,
                _cast_like(inner_state, state.inner_state),
            )

        return optax.GradientTransformationExtraArgs(init, update)

    return scheduled


def _is_scheduled(parameter: inspect.Parameter, value: Any) -> bool:
    if isinstance(value, Schedule):
        return True
    is_rate = parameter.name == LEARNING_RATE
    return (is_rate and is_number(value)) or (
        callable(value) and (is_rate or is_number(parameter.default))
    )


def _values(schedules: dict[str, Schedule], count: Any) -> dict[str, jax.Array]:
    return {name: evaluate_scalar(schedule, count) for name, schedule in schedules.items()}


def _as_states(schedules: dict[str, Schedule]) -> dict[str, Schedule]:
    return {
        name: in_use(schedule) if name == LEARNING_RATE else to_state(schedule)
        for name, schedule in schedules.items()
    }


def _cast_like(tree: Any, like: Any) -> Any:
    """``tree`` in the dtypes of ``like``: a float32 hyperparameter must not widen what it meets."""
    return jax.tree.map(lambda new, old: jnp.asarray(new, jnp.result_type(old)), tree, like)
