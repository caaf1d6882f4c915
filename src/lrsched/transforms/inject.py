"""Schedules for any hyperparameter of any optax factory."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import optax

from lrsched._schedule import Schedule, is_number
from lrsched.algebra import as_schedule
from lrsched.arguments import not_accepted, short_repr
from lrsched.transforms.composition import (
    LEARNING_RATE,
    RateFactor,
    cast_like,
    has_rate,
    rate_factor,
)
from lrsched.transforms.rate import (
    RateState,
    current_step,
    evaluate_rate,
    evaluate_scalar,
    init_rate,
    with_live_numbers,
)

_SUFFIX: Final = f"_{LEARNING_RATE}"


class InjectSchedulesState(NamedTuple):
    """State of `inject_schedules`.

    Attributes:
      count: int32 scalar, number of updates that this transform has applied.
      rates: The learning rates by argument name, with the edits made to them.
      schedules: The other scheduled hyperparameters by argument name, likewise.
      values: float32 scalars by argument name: the values of the latest update; before the first,
        those that it will have.
      inner_state: State of the optimizer.
    """

    count: jax.Array  # type: ignore[assignment]
    rates: dict[str, RateState]
    schedules: dict[str, RateState]
    values: dict[str, jax.Array]
    inner_state: optax.OptState

    @property
    def hyperparams(self) -> Mapping[str, jax.Array]:
        """The values of the latest update under optax's name, read-only.

        An assignment would be lost at the next update, so it raises; `set_learning_rate` and
        `set_hyperparameter` change a value.
        """
        return MappingProxyType(self.values)


@rate_factor.register
def _(state: InjectSchedulesState) -> RateFactor:
    labels = rate_labels(state.rates)
    values = {labels[name]: state.values[name] for name in state.rates}
    return RateFactor(
        None if has_rate(state.inner_state) or not values else values,
        state.inner_state,
        rates={labels[name]: rate for name, rate in state.rates.items()},
        hyperparameters=state.schedules,
        with_rates=_with_rates,
        names={label: name for name, label in labels.items()},
        is_outer=bool(state.rates),
    )


def _with_rates(
    state: InjectSchedulesState, rates: Mapping[str, RateState], schedules: Mapping[str, RateState]
) -> InjectSchedulesState:
    labels = rate_labels(state.rates)
    return state._replace(
        rates={name: rates[labels[name]] for name in state.rates}, schedules=dict(schedules)
    )


def rate_labels(names: Sequence[str] | Mapping[str, object]) -> dict[str, str]:
    """Return the label of each rate of an optimizer: the prefix of ``*_learning_rate``.

    >>> rate_labels(["learning_rate", "adam_learning_rate"])
    {'learning_rate': '', 'adam_learning_rate': 'adam'}
    >>> rate_labels(["learning_rate_fn"])
    {'learning_rate_fn': ''}
    """
    if len(names) == 1:
        return dict.fromkeys(names, "")
    labels = {name: "" if name == LEARNING_RATE else name.removesuffix(_SUFFIX) for name in names}
    return labels


def inject_schedules(
    factory: Callable[..., optax.GradientTransformation], *, rates: Sequence[str] = ()
) -> Callable[..., optax.GradientTransformationExtraArgs]:
    """Let any hyperparameter of an optax factory follow a schedule.

    Returns a function with the factory's signature. In its call

    * a `Schedule` is followed, for any argument;
    * arguments called ``learning_rate`` or ``*_learning_rate``, and those named by ``rates``, are
      learning rates: a number becomes a constant schedule, so that it can be read and changed;
    * a plain callable is followed where the argument is a learning rate or has a number for its
      default; elsewhere (``mask=``) it is passed on as it is;
    * every other number is passed on as it is, so that nothing changes in the last bit.

    An optimizer with several rates has them under their labels: the prefix of
    ``*_learning_rate``, and ``""`` for ``learning_rate`` itself. ``update(..., step=)`` reads the
    schedules at an external step.

    Scheduled values are float32 scalars regardless of the parameters' dtype. The updates and the
    inner state keep the dtypes they have without scheduling: ``optax.inject_hyperparams`` rounds
    everything to the parameters' dtype instead, which is NaN for adamw in bfloat16 (``b2`` becomes
    1) and drifts in float32 adam.

    Args:
      factory: A function that returns an optimizer, such as ``optax.adamw``.
      rates: Names of further arguments that are learning rates, such as
        ``("learning_rate_fn",)``. Defaults to none.

    Returns:
      A function that takes the factory's arguments and returns an optax transform with an
      `InjectSchedulesState`.

    Raises:
      TypeError: If an argument is passed that the factory does not take.
      ValueError: If ``factory`` is not a function or has no argument of a name in ``rates``, or
        the value of a schedule is not a scalar.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.inject_schedules(optax.adamw)(
    ...     learning_rate=lrsched.one_cycle(1e-3, steps=100),
    ...     b1=lrsched.linear(0.95, 0.85, steps=30), weight_decay=0.1)
    >>> state = optimizer.init({"w": jnp.ones(3, jnp.bfloat16)})
    >>> sorted(state.hyperparams), float(state.hyperparams["b1"]) == float(jnp.float32(0.95))
    (['b1', 'learning_rate'], True)
    """
    if not callable(factory):
        is_optimizer = hasattr(factory, "init") and hasattr(factory, "update")
        raise ValueError(
            f"inject_schedules: factory={'an optimizer' if is_optimizer else short_repr(factory)} "
            "is not accepted; factory must be a function that returns an optimizer, as in "
            "inject_schedules(optax.adam)(1e-3)."
        )
    signature = inspect.signature(factory)
    if unknown := [name for name in rates if name not in signature.parameters]:
        name = getattr(factory, "__name__", factory)
        requirement, reason = f"arguments of {name}", f"it has no {unknown[0]!r}"
        raise not_accepted("inject_schedules", "rates", tuple(rates), requirement, reason)

    def is_rate(name: str) -> bool:
        return name in rates or name == LEARNING_RATE or name.endswith(_SUFFIX)

    def scheduled(*args: Any, **kwargs: Any) -> optax.GradientTransformationExtraArgs:
        arguments = signature.bind(*args, **kwargs).arguments
        schedules = {
            name: as_schedule(value)
            for name, value in arguments.items()
            if _is_scheduled(signature.parameters[name], value, is_rate(name))
        }

        def build(values: dict[str, jax.Array]) -> optax.GradientTransformationExtraArgs:
            bound = inspect.BoundArguments(signature, {**arguments, **values})
            return optax.with_extra_args_support(factory(*bound.args, **bound.kwargs))

        def init(params: optax.Params) -> InjectSchedulesState:
            values = {name: evaluate_scalar(schedule, 0) for name, schedule in schedules.items()}
            inner_state = build(values).init(params)
            rates = {name: init_rate(schedule) for name, schedule in schedules.items()}
            return InjectSchedulesState(
                jnp.zeros([], jnp.int32),
                {name: rate for name, rate in rates.items() if is_rate(name)},
                {name: rate for name, rate in rates.items() if not is_rate(name)},
                values,
                inner_state,
            )

        def update(
            updates: optax.Updates,
            state: InjectSchedulesState,
            params: optax.Params | None = None,
            **extra_args: Any,
        ) -> tuple[optax.Updates, InjectSchedulesState]:
            now = current_step(state.count, extra_args.get("step"))
            rates, others = (
                {name: with_live_numbers(rate, schedules[name]) for name, rate in stored.items()}
                for stored in (state.rates, state.schedules)
            )
            values = {
                name: evaluate_rate(rate, now) for name, rate in sorted({**rates, **others}.items())
            }
            scaled, inner_state = build(values).update(
                updates, state.inner_state, params, **extra_args
            )
            return cast_like(scaled, updates), InjectSchedulesState(
                optax.safe_increment(now),
                rates,
                others,
                values,
                cast_like(inner_state, state.inner_state),
            )

        return optax.GradientTransformationExtraArgs(init, update)

    return scheduled


def _is_scheduled(parameter: inspect.Parameter, value: object, is_rate: bool) -> bool:
    if isinstance(value, Schedule):
        return True
    # Text and sequences are no learning rates: `as_schedule` refuses them in a sentence.
    return (is_rate and (is_number(value) or isinstance(value, str | list | tuple))) or (
        callable(value) and (is_rate or is_number(parameter.default))
    )
