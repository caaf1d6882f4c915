"""Base of every controller: its state, the step count, the guard and `observe`.

A controller is a frozen dataclass that follows a metric. Its fields are its hyperparameters; its
two methods are pure functions. ``init`` returns its initial state, and ``observe`` returns the
state and the scale after new metrics. `scale_by_controller` turns it into an optax transform that
multiplies the updates by the scale. Metrics are optional: a controller changes only when one of its
metrics arrives, so a validation loss that is passed once an epoch counts once.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched.adaptive.base import copy_aliased_leaves, tree_where, zero_count
from lrsched.arguments import concrete_size, short_repr
from lrsched.transforms.composition import (
    RateFactor,
    cast_like,
    rate_factor,
    replace_nodes,
    states_of,
    unwrap_nnx,
)
from lrsched.transforms.learning_rate import scale_update
from lrsched.transforms.rate import broadcast_number, to_state, with_live_leaves

if TYPE_CHECKING:
    from collections.abc import Mapping

    import chex

Class = TypeVar("Class")


class Controller(Protocol):
    """Frozen dataclass that moves a scale by what metrics say.

    `controller_dataclass` makes one: a pytree whose numbers are leaves. Everything that ``observe``
    computes is traced, so it selects with ``jnp.where`` and has no Python branch on a number.
    """

    @property
    def active_from(self) -> ArrayLike:
        """Number of updates before which no metric is observed, such as the length of a warmup."""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the keyword arguments of ``update`` and `observe` that it observes."""

    def init(self) -> chex.ArrayTree:
        """Return the state before the first metric.

        Returns:
          A NamedTuple of float32 and int32 arrays, mostly scalars.
        """

    def observe(
        self, state: Any, scale: jax.Array, metrics: Mapping[str, jax.Array]
    ) -> tuple[chex.ArrayTree, jax.Array]:
        """Return the state and the scale after new metrics.

        Args:
          state: State of the type that ``init`` returns.
          scale: Scale of the latest update, a float32 scalar.
          metrics: The metrics that arrived, finite float32 scalars by their names. It holds at
            least one of ``metric_names``; which ones is known while tracing.

        Returns:
          The new state and the new scale. The base keeps the old pair instead if a metric was not
          finite, arrived before ``active_from`` or would make the scale NaN, infinite or negative.
        """


def static_field(**options: Any) -> Any:
    """Return a dataclass field that jit compiles for, such as a name or the size of a buffer.

    Args:
      **options: Options of ``dataclasses.field``, such as ``default``.

    Returns:
      The field.
    """
    return dataclasses.field(metadata={"static": True}, **options)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static_field))
def controller_dataclass(cls: type[Class]) -> type[Class]:
    """Make a class a frozen dataclass and a pytree.

    Numbers are leaves, which a state stores as arrays. Fields made by `static_field` belong to the
    static structure.

    Args:
      cls: Class with annotated fields.

    Returns:
      The class.
    """
    frozen = dataclasses.dataclass(frozen=True)(cls)
    return jax.tree_util.register_dataclass(frozen)


class OneMetric:
    """Mixin of a controller that observes one metric, which its field ``metric`` names."""

    metric: str

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Name of the one metric."""
        return (self.metric,)


class ControllerState(NamedTuple):
    """State of a transform that scales the updates by what metrics say.

    Attributes:
      count: Number of updates that this transform has applied, an int32 scalar.
      controller: The controller, its numbers as float32 and int32 scalars.
      controller_state: State of the controller, as its ``init`` returns it.
      scale: Factor of the latest update, or of the next one if a metric was observed since, a
        float32 scalar.
      received_count: Number of times that each metric of ``controller.metric_names`` arrived, an
        int32 array of shape ``(len(metric_names),)``. It counts metrics that were not used, too.
      nonfinite_count: Number of observations that were skipped because a metric was not finite, an
        int32 scalar.
    """

    count: jax.Array  # type: ignore[assignment]
    controller: Any
    controller_state: Any
    scale: jax.Array
    received_count: jax.Array
    nonfinite_count: jax.Array


@rate_factor.register
def _(state: ControllerState) -> RateFactor:
    return RateFactor(state.scale, is_multiplier=True)


def scale_by_controller(controller: Controller) -> optax.GradientTransformationExtraArgs:
    """Multiply the updates by the scale of a controller.

    Hyperparameters that are JAX arrays are their caller's current numbers: each update writes them
    into the state and uses them. Python and NumPy numbers are configuration: the state keeps the
    numbers that ``init`` stored, so that one transform also updates restored and stacked states.

    Args:
      controller: The controller, see `Controller`.

    Returns:
      A transform with a `ControllerState`. Its ``update`` accepts the metrics as keywords.

    Raises:
      ValueError: If a hyperparameter is an array with axes. At ``init``, if a static one is
        traced.
      TypeError: If the controller is not of a `controller_dataclass`, or its ``metric_names`` is
        not a tuple of names. When a metric arrives, if ``observe`` returns no pair of a state and
        a scale with the structure and the shapes of before.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> from lrsched.adaptive.controller import scale_by_controller
      >>> from lrsched.adaptive.plateau import ReduceOnPlateau
      >>> optimizer = scale_by_controller(ReduceOnPlateau(factor=0.5, patience=1))
      >>> state = optimizer.init(jnp.zeros(1))
      >>> for loss in [1.0, 2.0]:
      ...     updates, state = optimizer.update(jnp.ones(1), state, value=loss)
      >>> updates.tolist()
      [0.5]
    """
    _check_controller(controller)
    controller = _with_concrete_sizes(controller)

    def init(params: optax.Params) -> ControllerState:
        del params
        state = ControllerState(
            count=zero_count(),
            controller=to_state(controller),
            controller_state=controller.init(),
            scale=jnp.ones([], jnp.float32),
            received_count=jnp.zeros(len(controller.metric_names), jnp.int32),
            nonfinite_count=zero_count(),
        )
        return copy_aliased_leaves(state)

    def update(
        updates: optax.Updates,
        state: ControllerState,
        params: optax.Params | None = None,
        **metrics: ArrayLike,
    ) -> tuple[optax.Updates, ControllerState]:
        del params
        state = state._replace(controller=with_live_leaves(state.controller, controller))
        state = _observe(state, metrics)
        updates = jax.tree.map(lambda update: scale_update(update, state.scale), updates)
        return updates, state._replace(count=optax.safe_increment(state.count))

    return optax.GradientTransformationExtraArgs(init, update)


def _check_controller(controller: Controller) -> None:
    """Raise ``TypeError`` for a class that the author of a controller has not finished."""
    name = type(controller).__name__
    if not dataclasses.is_dataclass(controller) or jax.tree_util.all_leaves([controller]):
        raise TypeError(f"{name} must be decorated with @controller_dataclass.")
    names = getattr(controller, "metric_names", None)
    # A text is a sequence of letters, none of which is the name of a metric.
    if not isinstance(names, tuple) or not all(isinstance(each, str) for each in names):
        raise TypeError(
            f"{name}.metric_names is {short_repr(names)}; it must be a property that returns a "
            'tuple of names, such as ("value",).'
        )


def _check_observed(name: str, new: object, old: tuple[chex.ArrayTree, jax.Array]) -> None:
    if not (isinstance(new, tuple) and len(new) == 2):
        raise TypeError(
            f"{name}.observe returned a {type(new).__name__}; it must return a pair, the state and "
            "the scale."
        )
    # Scalars that meet arrays would broadcast silently.
    for title, after, before in zip(("state", "scale"), new, old, strict=True):
        structures: list[Any] = [jax.tree.structure(tree) for tree in (after, before)]
        shapes = [[*map(jnp.shape, jax.tree.leaves(tree))] for tree in (after, before)]
        if structures[0] != structures[1] or shapes[0] != shapes[1]:
            raise TypeError(
                f"{name}.observe returned a pair whose {title} has another structure or other "
                "shapes than before; it must return the state, like that of init, and the scale, "
                "a scalar."
            )


def _with_concrete_sizes(controller: Class) -> Class:
    """Return the controller with Python numbers for the static fields that hold concrete arrays.

    A static field is the size of an array. A traced one stays: `update` reads static fields from
    the state, and ``init`` refuses it.
    """
    concrete = {}
    for field in dataclasses.fields(controller):  # type: ignore[arg-type]
        value = getattr(controller, field.name)
        if not isinstance(value, jax.Array | np.ndarray):
            continue
        if value.ndim:
            raise ValueError(
                f"{type(controller).__name__}: {field.name} of shape {value.shape} is not "
                f"accepted; {field.name} must be one number (use jax.vmap for several)."
            )
        if field.metadata.get("static") and not isinstance(value, jax.core.Tracer):
            concrete[field.name] = concrete_size(field.name, value)
    return dataclasses.replace(controller, **concrete)  # type: ignore[type-var]


def observe(
    opt_state: chex.ArrayTree, value: ArrayLike | None = None, **metrics: ArrayLike
) -> chex.ArrayTree:
    """Pass metrics to every controller in a state, outside of ``update``.

    It is a pure function that works inside and outside ``jit``, for metrics that do not exist at
    every update, such as a validation loss once an epoch. The same metrics can be passed as
    keywords of ``update``.

    Args:
      opt_state: State of an optimizer, or a container of one such as a ``TrainState``; of an
        ``nnx.Optimizer`` its ``opt_state``.
      value: The metric named ``"value"``, which controllers observe by default, a scalar. For a
        stacked state, one number for all runs or an array of one for each.
      **metrics: Metrics with other names, such as ``validation``, likewise.

    Returns:
      A state with the same tree structure. Only the controllers in it change.

    Raises:
      ValueError: If no controller in the state observes a metric of that name, or if a metric is
        not one real number.

    Example:
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
    names = observed_metric_names(opt_state)
    for name in given:
        if name not in names:
            observed = f"the observed names are {', '.join(sorted(names))}"
            raise ValueError(
                f"observe: {name}={given[name]!r} is not accepted; no controller in the state "
                f"observes {name!r} ({observed if names else 'the state holds no controller'})."
            )
    observe_given = functools.partial(_observe_in_containers, metrics=given)
    controllers = states_of(ControllerState, opt_state)
    return replace_nodes(opt_state, [(node, observe_given) for node in controllers])


def observed_metric_names(opt_state: chex.ArrayTree) -> set[str]:
    """Return the names of the metrics that the controllers in a state observe.

    Args:
      opt_state: State of an optimizer, or a container of one.

    Returns:
      A set of names; empty if the state holds no controller.
    """
    controllers = states_of(ControllerState, opt_state)
    return {name for node in controllers for name in node.controller.metric_names}


def _observe_in_containers(
    state: ControllerState, metrics: Mapping[str, ArrayLike]
) -> ControllerState:
    # nnx.Optimizer wraps every array of a state in a Variable. The arithmetic needs the arrays, and
    # the caller needs the wrappers back.
    plain: ControllerState = unwrap_nnx(state, jax.tree.structure(state.count))
    # The states of several runs may be stacked along leading axes.
    shape, observe_metrics = plain.count.shape, _observe
    if shape:
        metrics = {name: broadcast_number(metric, shape) for name, metric in metrics.items()}
    for _ in shape:
        observe_metrics = jax.vmap(observe_metrics)
    after = observe_metrics(plain, metrics)
    return jax.tree.unflatten(jax.tree.structure(state), jax.tree.leaves(after))


def _observe(state: ControllerState, metrics: Mapping[str, ArrayLike]) -> ControllerState:
    """Return the state after those of the metrics that the controller observes."""
    names = state.controller.metric_names
    values = {
        name: _as_scalar(name, metrics[name]) for name in names if metrics.get(name) is not None
    }
    if not values:
        return state
    is_finite = jnp.all(jnp.isfinite(jnp.stack(list(values.values()))))
    old = (state.controller_state, state.scale)
    new = state.controller.observe(*old, values)
    _check_observed(type(state.controller).__name__, new, old)
    # Hyperparameters that are traced pass unchecked. A factor of -1 or NaN among them would turn
    # descent into ascent, or lose the scale for all later updates.
    is_valid_scale = jnp.isfinite(new[1]) & (new[1] >= 0)
    is_observed = is_finite & is_valid_scale & (state.count >= state.controller.active_from)
    controller_state, scale = cast_like(tree_where(is_observed, new, old), old)
    return state._replace(
        controller_state=controller_state,
        scale=scale,
        received_count=state.received_count + np.array([name in values for name in names]),
        nonfinite_count=state.nonfinite_count + ~is_finite,
    )


def _as_scalar(name: str, metric: ArrayLike) -> jax.Array:
    """Return a metric as a float32 scalar."""
    try:
        # A float64 beyond float32 becomes infinite, and the observation is skipped.
        with np.errstate(over="ignore"):
            value = jnp.asarray(metric)
    except (TypeError, ValueError, OverflowError):
        value = None
    if value is None or jnp.iscomplexobj(value):
        raise ValueError(f"{name}={metric!r} is not accepted; {name} must be one real number.")
    if value.ndim:
        raise ValueError(
            f"{name} of shape {value.shape} is not accepted; {name} must be one number of shape () "
            f"(pass {name}.mean(), or use jax.vmap for several runs)."
        )
    return value.astype(jnp.float32)
