"""Reading the learning rate, and averaged parameters, out of any optimizer state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import optax

from lrsched.adaptive.averaging import average_of
from lrsched.adaptive.base import AdaptiveState
from lrsched.adaptive.controller import ControllerState
from lrsched.transforms.composition import (
    Group,
    RateNode,
    check_has_numbers,
    compose_groups,
    compose_rates,
    group_label,
    has_rate,
    iter_rate_nodes,
    no_rate_error,
    unwrap_nnx,
)
from lrsched.transforms.nonfinite import NonfiniteGuardState
from lrsched.transforms.rate import RateState, rate_end, rate_step

if TYPE_CHECKING:
    import chex


def learning_rate(opt_state: optax.OptState) -> jax.Array:
    """Return the learning rate that the latest update applied, wherever the state keeps it.

    It is the product of all that the update went through: the schedules of
    `scale_by_learning_rate` and `inject_schedules`, the estimates of the methods that adapt their
    own step, the scales of the controllers; and of optax's ``inject_hyperparams``,
    ``reduce_on_plateau`` and line searches. They are found by their type through any wrapper.
    Before the first update it is the rate that the first one will apply, or 0 for a method that
    cannot know it yet. It works under jit and outside, and never waits for the device.

    Args:
      opt_state: State of an optimizer, or a container of one (a ``TrainState``).

    Returns:
      A float32 scalar; under ``vmap`` outside of it, an array of them.

    Raises:
      ValueError: the state holds no learning rate, or several groups have their own (they are
        listed; see `learning_rates`).

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     optax.clip_by_global_norm(1.0), lrsched.inject_schedules(optax.sgd)(learning_rate=0.5))
    >>> float(lrsched.learning_rate(optimizer.init(jnp.zeros(2))))
    0.5
    """
    found = learning_rates(opt_state)
    if len(found) == 1:
        (rate,) = found.values()
        return rate
    labels = ", ".join(map(repr, found))
    raise ValueError(
        f"the state holds the learning rates of {len(found)} groups: {labels}; "
        "learning_rates(opt_state) gives them all."
    )


def learning_rates(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """Return the rate of each group of parameters, as `learning_rate` finds it.

    The groups are those of ``optax.partition`` by their labels, or several optimizers in one
    container by their places; without groups the one rate is under ``""``.

    Args:
      opt_state: an optimizer's state, or anything that holds one.

    Raises:
      ValueError: the state holds no learning rate.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.partition(
    ...     {"head": lrsched.scale_by_learning_rate(0.5),
    ...      "body": lrsched.scale_by_learning_rate(0.25)},
    ...     {"kernel": "head", "embedding": "body"})
    >>> state = optimizer.init({"kernel": jnp.ones(2), "embedding": jnp.ones(3)})
    >>> {name: float(rate) for name, rate in lrsched.learning_rates(state).items()}
    {'body': 0.25, 'head': 0.5}
    """
    check_has_numbers(opt_state)
    if not has_rate(opt_state):
        raise no_rate_error("the state holds no learning rate", opt_state)
    return dict(sorted(compose_rates(opt_state).items()))


def metrics(opt_state: optax.OptState) -> dict[str, jax.Array]:
    """Return the learning rates and counters of a state in a flat dictionary, for a logger.

    ``learning_rate``
        what the latest update applied, as `learning_rate` finds it;
    ``schedule_step``
        the step at which its schedule was read: a run's first update has 0;
    ``schedule_done``
        whether the schedule is at its horizon, so that the next update has its last value, as all
        later ones will; absent where there is no horizon;
    ``controller_scale``, ``received_metrics``, ``nonfinite_metrics``
        The scale of a controller; the number of times that its metric arrived (of several metrics,
        the one that arrived least often; 0 means that the name of a keyword is wrong); and the
        number of observations that were skipped because a metric was not finite.
    ``estimate``
        of Prodigy and D-Adaptation, the distance that the next update multiplies its rate by;
    ``nonfinite_updates``
        of an adaptive method, `muon` and `hyperball`, the updates left out because they were not
        finite.

    Groups have their label behind a slash (``learning_rate/head``); the second of its kind in one
    group is ``..._2``.

    Args:
      opt_state: State of an optimizer, or a container of one (a ``TrainState``).

    Returns:
      Arrays without axes, on their devices: fetch them together, once.

    Raises:
      ValueError: the state holds no learning rate.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     lrsched.scale_by_learning_rate(0.5), lrsched.reduce_on_plateau(factor=0.1, patience=1))
    >>> found = lrsched.metrics(optimizer.init(jnp.zeros(2)))
    >>> {name: x.item() for name, x in found.items()}  # doctest: +NORMALIZE_WHITESPACE
    {'learning_rate': 0.5, 'schedule_step': 0, 'controller_scale': 1.0, 'received_metrics': 0,
     'nonfinite_metrics': 0}
    """
    learning_rates(opt_state)  # raises where there is none
    nodes = list(iter_rate_nodes(opt_state))
    names = {
        group: node.rate_factor.names[label]
        for node in nodes
        if len(node.rate_factor.names) > 1
        for label, group in zip(
            node.rate_factor.rates, node.groups(node.rate_factor.rates), strict=True
        )
    }
    result = {}
    for group, rate in compose_groups(opt_state).items():
        name, outer = (names[group], group[:-1]) if group in names else ("learning_rate", group)
        result[_key(name, outer)] = rate
    result = dict(sorted(result.items()))
    for node in nodes:
        for name, value in _measured(node).items():
            key = _key(name, node.group)
            count = sum(known == key or known.startswith(f"{key}_") for known in result)
            result[f"{key}_{count + 1}" if count else key] = value
    return result


def _key(name: str, group: Group) -> str:
    return "/".join(filter(None, (name, group_label(group))))


def _measured(node: RateNode) -> dict[str, jax.Array]:
    state, factor = node.state, node.rate_factor
    measured = {}
    if factor.with_rates is not None and not factor.is_multiplier:
        rate = next(iter((*factor.rates.values(), *factor.hyperparameters.values())), None)
        if rate is None:
            measured["schedule_step"] = jnp.maximum(_array(state.count) - 1, 0)
        else:
            measured["schedule_step"] = _steps(rate, state.count)
        if factor.rates and (done := _is_done(rate, state.count)) is not None:
            measured["schedule_done"] = done
    for name in factor.hyperparameters:
        measured[name] = state.values[name]
    if isinstance(state, ControllerState):
        measured |= {
            "controller_scale": state.scale,
            "received_metrics": jnp.min(state.received_count, axis=-1),
            "nonfinite_metrics": state.nonfinite_count,
        }
    if isinstance(state, AdaptiveState | NonfiniteGuardState):
        measured["nonfinite_updates"] = state.nonfinite_count
    if isinstance(state, AdaptiveState) and hasattr(state.method_state, "estimate"):
        measured["estimate"] = state.method_state.estimate
    return {name: _array(value) for name, value in measured.items()}


def _array(leaf: chex.ArrayTree) -> jax.Array:
    (array,) = jax.tree.leaves(leaf)
    return jnp.asarray(array)


@jax.jit
def _steps(rate: RateState, count: jax.Array) -> jax.Array:
    """Return the step at which the schedule was read last, in one compiled call."""
    rate, count = _unwrapped(rate, count)
    return rate_step(rate, jnp.maximum(count - 1, 0))


@jax.jit
def _is_done(rate: RateState, count: jax.Array) -> jax.Array | None:
    """Compiled, as a horizon of concrete numbers would be fetched from its device."""
    rate, count = _unwrapped(rate, count)
    end = rate_end(rate)
    return None if end is None else rate_step(rate, count) >= jnp.asarray(end)


def _unwrapped(rate: RateState, count: chex.Array) -> tuple[RateState, jax.Array]:
    return unwrap_nnx((rate, count), jax.tree.structure(rate.fingerprint))


def eval_params(opt_state: optax.OptState, params: optax.Params) -> optax.Params:
    """Return the parameters to evaluate: the averaged ones of the state, or ``params`` themselves.

    The averages of the schedule-free methods, `ema_params`, `lawa`, `polynomial_average` and
    `annealing_average` are found by type through any wrapper; parameters of groups without one
    (``optax.partition``, ``optax.masked``) stay as they are. For training, continue with
    ``params``.

    Args:
      opt_state: an optimizer's state; a stacked one has the averages of all its runs.
      params: the parameters in training.

    Returns:
      A tree as ``params`` is, in its dtypes.

    Raises:
      ValueError: two averages of the same parameters.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> params = jnp.array([3.0])
    >>> lrsched.eval_params(optax.adam(0.1).init(params), params) is params
    True
    """
    evaluated = params
    for node in jax.tree.leaves(opt_state, is_leaf=_holds_average):
        average = average_of(node)
        if average is not None:
            of_these = jax.tree.map(
                lambda held, p: held if _is_masked(held) else p,
                average.template,
                params,
                is_leaf=_is_masked,
            )
            found = _evaluate_average(node, of_these)
            evaluated = jax.tree.map(
                lambda new, old, p: old if _is_masked(new) else _averaged_once(new, old, p),
                found,
                evaluated,
                params,
                is_leaf=_is_masked,
            )
    return evaluated


def _evaluate_average(node: object, params: optax.Params) -> optax.Params:
    """Return the average of a node, for each of the runs that are stacked along leading axes."""

    def evaluate(node: object, params: optax.Params) -> optax.Params:
        average = average_of(node)
        return params if average is None else average.evaluate(params)

    for _ in jnp.shape(jax.tree.leaves(getattr(node, "count", 0))[0]):
        evaluate = jax.vmap(evaluate)
    return evaluate(node, params)


def _holds_average(node: object) -> bool:
    return average_of(node) is not None


def _is_masked(node: object) -> bool:
    return isinstance(node, optax.MaskedNode)


def _averaged_once(average: jax.Array, known: chex.Array, p: chex.Array) -> jax.Array:
    if known is not p:
        raise ValueError(
            "the state holds two averages of the same parameters; pass the part of the state that "
            "holds the one you want."
        )
    return average.astype(p.dtype)
