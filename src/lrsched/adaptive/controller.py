"""What every rule that follows a metric has in common: its state, the clock, the guard.

A rule is a frozen dataclass whose numbers are leaves, with two pure functions: ``init`` makes its
memory, ``observe`` turns a metric into a new memory and a new scale. It multiplies the updates by
the scale, and looks at metrics only when they are given: a validation loss given once an epoch
counts once.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrsched.adaptive.base import cast_like, copy_aliased_leaves, tree_where
from lrsched.transforms.composition import RateFactor, rate_factor, unwrap_nnx
from lrsched.transforms.learning_rate import scale_update
from lrsched.transforms.rate import to_state

Class = TypeVar("Class")


class Rule(Protocol):
    """How metrics move a scale."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of the keyword arguments that it looks at."""

    def init(self) -> Any:
        """The memory before the first metric: scalars, float32 and int32."""

    def observe(
        self, memory: Any, scale: jax.Array, given: Mapping[str, jax.Array]
    ) -> tuple[Any, jax.Array]:
        """The memory and the scale after those of the metrics that were given, all finite."""


@dataclass_transform(frozen_default=True)
def rule(cls: type[Class]) -> type[Class]:
    """A frozen dataclass and pytree; fields made by `static` are part of the program."""
    frozen = dataclasses.dataclass(frozen=True)(cls)
    registered: type[Class] = jax.tree_util.register_dataclass(frozen)
    return registered


def static() -> Any:
    """A field of a `rule` that is no number."""
    return dataclasses.field(metadata={"static": True})


class ControllerState(NamedTuple):
    """State of a transform that scales updates by what a metric says.

    Attributes:
      count: int32 scalar, the updates that this transform has applied.
      rule: the rule, its numbers as float32 and int32 arrays.
      memory: what the rule remembers.
      scale: float32 scalar, what the latest update was multiplied by, or the next one will be if a
        metric was observed since.
      active_from: int32 scalar, the update from which metrics are looked at.
      ignored: int32 scalar, the metrics left out because they were not finite.
    """

    count: jax.Array  # type: ignore[assignment]
    rule: Any
    memory: Any
    scale: jax.Array
    active_from: jax.Array
    ignored: jax.Array


@rate_factor.register
def _(state: ControllerState) -> RateFactor:
    return RateFactor(state.scale, is_multiplier=True)


def controller(rule: Rule, active_from: ArrayLike) -> optax.GradientTransformationExtraArgs:
    """An optax transform out of a rule: it multiplies the updates by the scale.

    Args:
      rule: the rule.
      active_from: the update before which no metric is looked at: the end of a warmup.
    """

    def init(params: optax.Params) -> ControllerState:
        del params
        state = ControllerState(
            jnp.zeros([], jnp.int32),
            to_state(rule),
            rule.init(),
            jnp.ones([], jnp.float32),
            jnp.asarray(active_from, jnp.int32),
            jnp.zeros([], jnp.int32),
        )
        owned: ControllerState = copy_aliased_leaves(state)
        return owned

    def update(
        updates: optax.Updates,
        state: ControllerState,
        params: optax.Params | None = None,
        **given: Any,
    ) -> tuple[optax.Updates, ControllerState]:
        del params
        state = _observed(state, given)
        updates = jax.tree.map(lambda update: scale_update(update, state.scale), updates)
        return updates, state._replace(count=optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)


def observe(opt_state: Any, value: ArrayLike | None = None, **metrics: ArrayLike) -> Any:
    """Show a metric to every controller in a state, outside of the update.

    A pure function, inside and outside jit: for a validation loss once an epoch. What ``update``
    is given by its keywords does the same.

    Args:
      opt_state: an optimizer's state, or anything that holds one (a ``TrainState``); of an
        ``nnx.Optimizer`` its ``opt_state``.
      value: the metric that controllers look at unless they were told another name.
      metrics: metrics under other names, such as ``validation``.

    Returns:
      The state after it; nothing else in it changes.

    Raises:
      ValueError: no controller in the state looks at a metric of this name, or a metric is no
        scalar.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = optax.chain(
    ...     optax.scale_by_adam(), lrsched.scale_by_learning_rate(0.1),
    ...     lrsched.reduce_on_plateau(factor=0.5, patience=1))
    >>> state = optimizer.init(jnp.zeros(2))
    >>> for validation_loss in [1.0, 0.5, 0.75]:
    ...     state = lrsched.observe(state, validation_loss)
    >>> float(lrsched.learning_rate(state))
    0.05000000074505806
    """
    given = {
        name: metric for name, metric in {"value": value, **metrics}.items() if metric is not None
    }
    known = looked_at(opt_state)
    for name in given:
        if name not in known:
            raise ValueError(
                f"no controller in the state looks at a metric called {name!r}; "
                f"they look at {', '.join(sorted(known)) or 'none, as there is no controller'}."
            )
    return jax.tree.map(
        lambda node: _told(node, given) if _is_controller(node) else node,
        opt_state,
        is_leaf=_is_controller,
    )


def looked_at(opt_state: Any) -> set[str]:
    """The names of the metrics that the controllers in a state look at."""
    nodes = jax.tree.leaves(opt_state, is_leaf=_is_controller)
    return {name for node in nodes if _is_controller(node) for name in node.rule.metrics}


def _is_controller(node: Any) -> bool:
    return isinstance(node, ControllerState)


def _told(state: ControllerState, metrics: Mapping[str, Any]) -> ControllerState:
    """The state after them, its numbers in the containers that they were in."""
    after = _observed(unwrap_nnx(state, jax.tree.structure(state.count)), metrics)
    kept: ControllerState = jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(after))
    return kept


def _observed(state: ControllerState, metrics: Mapping[str, Any]) -> ControllerState:
    given = {
        name: _scalar(name, metrics[name])
        for name in state.rule.metrics
        if metrics.get(name) is not None
    }
    if not given:
        return state
    is_finite = jnp.all(jnp.isfinite(jnp.stack(list(given.values()))))
    is_looked_at = is_finite & (state.count >= state.active_from)
    old = (state.memory, state.scale)
    new = state.rule.observe(*old, given)
    memory, scale = cast_like(tree_where(is_looked_at, new, old), old)
    return state._replace(memory=memory, scale=scale, ignored=state.ignored + ~is_finite)


def _scalar(name: str, metric: Any) -> jax.Array:
    value = jnp.asarray(metric, jnp.float32)
    if value.ndim:
        raise ValueError(f"{name} must be one number, not an array of shape {value.shape}.")
    return value
