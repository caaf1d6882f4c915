"""The protocol of adaptive methods, and the engine that makes a transform of each.

A method is a frozen dataclass: its hyperparameters are fields, ``init`` makes its state from the
parameters, ``sums`` names the trees that are summed over all parameters, and ``update`` turns the
sums into updates and a new state. The engine adds what all methods share: the step count and the
schedule of the outer rate, one reduction for all sums, the guard against non-finite gradients,
float32 arithmetic for narrower parameters, complex parameters, and the errors.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike

from lrsched._schedule import Schedule
from lrsched.adaptive._factory import P, make_factory, snake_case
from lrsched.algebra import LearningRate, as_schedule
from lrsched.arguments import Dtype
from lrsched.transforms.composition import RateFactor, cast_like, rate_factor, scheduled_rate_factor
from lrsched.transforms.nonfinite import HEADROOM, NonfinitePolicy, mask_nonfinite
from lrsched.transforms.rate import (
    RateState,
    current_step,
    evaluate_rate,
    evaluate_scalar,
    init_rate,
    to_state,
    with_live_leaves,
    with_live_numbers,
)

if TYPE_CHECKING:
    import chex

State = TypeVar("State")
Tree = TypeVar("Tree")


class AdaptiveState(NamedTuple):
    """State of an adaptive method.

    Attributes:
      count: int32 scalar, the number of updates that this transform has applied.
      rate: State of the outer rate: its schedule, as arrays, with its edits. A plain schedule where
        edits would not reach the rate that is applied.
      learning_rate: float32 scalar, the rate of the latest update: the outer rate times the
        method's own estimate. Around a base optimizer, the factor of the base's rate. 0 before the
        first update.
      nonfinite_count: int32 scalar, the number of updates that were skipped, or whose gradients
        were masked, because a gradient or a metric was not finite. It stays 0 with
        ``nonfinite="propagate"``.
      rounding_errors: One float32 array for each parameter narrower than float32, of its shape: the
        difference between the sum of all updates and what the parameter could represent of it.
      method_state: State of the method.
    """

    count: jax.Array  # type: ignore[assignment]
    rate: RateState | Schedule
    learning_rate: jax.Array
    nonfinite_count: jax.Array
    rounding_errors: list[jax.Array]
    method_state: Any


@rate_factor.register
def _(state: AdaptiveState) -> RateFactor:
    return scheduled_rate_factor(state)._replace(inner_state=state.method_state)


@dataclasses.dataclass(frozen=True)
class MethodInputs(Generic[State]):
    """Inputs of one update of a method: real arrays, in float32 or wider.

    Attributes:
      state: State of the method before the update.
      outer_rate: Scalar, the outer rate; float64 if a parameter is.
      gradients: Incoming updates, a tree like the parameters.
      params: Parameters, with their rounding errors added.
      value: Scalar, the loss; ``None`` if it was not passed and the method does not need it.
      extra_args: The other keyword arguments of ``update``.
      nonfinite: The policy for non-finite gradients.
      grad_norm_sq: Scalar, the squared norm of the gradients. Available in ``update``.
      sums: Scalars, the sum of each tree that ``sums`` returned. Available in ``update``.
      leaf_sums: Sums of each array separately: for each tree of ``sums``, a tree of scalars.
    """

    state: State
    outer_rate: jax.Array
    gradients: "chex.ArrayTree"
    params: "chex.ArrayTree"
    value: Any
    extra_args: dict[str, object]
    nonfinite: str = "skip"
    grad_norm_sq: Any = None
    sums: tuple[jax.Array, ...] = ()
    leaf_sums: tuple["chex.ArrayTree", ...] = ()

    def bias_correction_factor(self, decay: ArrayLike) -> jax.Array:
        """Return ``1 - decay**t`` for the update ``t = state.num_updates + 1``."""
        num_updates = self.state.num_updates  # type: ignore[attr-defined]
        return bias_correction_factor(decay, num_updates, self.outer_rate.dtype)

    def update_base(
        self, base: optax.GradientTransformation, base_state: optax.OptState, params: optax.Params
    ) -> tuple[optax.Updates, optax.OptState]:
        """Return the updates of a base optimizer at ``params``, and its new state."""
        extra_args = self.extra_args | ({} if self.value is None else {"value": self.value})
        base = optax.with_extra_args_support(base)
        updates, base_state = base.update(self.gradients, base_state, params, **extra_args)
        updates = _widen(updates)
        if self.nonfinite != "propagate":
            # Bases such as sign descent by g / |g| make NaN of finite gradients, which the guard
            # has already accepted.
            updates = jax.tree.map(lambda u: jnp.where(jnp.isfinite(u), u, 0), updates)
        return updates, base_state


class MethodOutput(NamedTuple):
    """Result of one update of a method.

    Attributes:
      updates: Function from the state that is kept, the new or the old one, to the updates. If the
        update is skipped, its result is discarded. Reading only the state that is kept allows XLA
        to write it in place.
      state: New state of the method, with the structure of the old one.
      learning_rate: Scalar, the rate that was applied.
      should_update: Boolean scalar. If false, state and parameters stay as they are, as at a rate
        of 0. Where it does not depend on the sums, ``nonfinite="zero"`` writes the state in the
        pass that computes them.
    """

    updates: Callable[[Any], optax.Updates]
    state: optax.OptState
    learning_rate: ArrayLike
    should_update: ArrayLike = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdaptiveMethod(Generic[State]):
    """Base class of adaptive methods; `adaptive_transform` makes a factory of a subclass.

    A subclass is a frozen dataclass. Its fields are the arguments of the factory, annotated with
    their types in `lrsched.arguments`. It has a field ``learning_rate``, or overrides
    `outer_learning_rate`.

    ``nonfinite`` decides about gradients that are not finite, or so large that their squares
    overflow. ``"skip"`` leaves parameters and state unchanged and counts the update. ``"zero"``
    replaces the entries concerned with 0, and counts the update. ``"propagate"`` does nothing, as
    optax. A loss that is not finite skips the update in the first two cases.

    Attributes:
      state_dtype: Dtype of the per-parameter state. A subclass that keeps such a state redeclares
        it as an argument.
      nonfinite: Policy for non-finite gradients: "skip", "zero" or "propagate".
    """

    needs_value: ClassVar[bool] = False
    """Whether ``update`` must be passed ``value=loss``."""
    state_dtype: Dtype | None = dataclasses.field(default=None, init=False)
    nonfinite: NonfinitePolicy = "skip"

    @property
    def outer_learning_rate(self) -> LearningRate:
        """The outer rate: a number, a schedule or a callable of the step."""
        return self.learning_rate  # type: ignore[attr-defined]

    @property
    def is_adjustable(self) -> bool:
        """Whether the updates are proportional to the outer rate, so that it can be overridden."""
        return True

    def init(self, params: optax.Params) -> State:
        """Return the initial state.

        Args:
          params: Parameters: real arrays in the dtype of the per-parameter state.

        Returns:
          A NamedTuple of scalars, of trees like the parameters, and of ``None``. Scalars are stored
          in float32, or in float64 if a parameter is.
        """
        raise NotImplementedError

    def sums(self, inputs: MethodInputs[State]) -> tuple[optax.Updates, ...]:
        """Return the trees whose sums over all parameters ``update`` needs.

        Args:
          inputs: Inputs of the update, without ``grad_norm_sq`` and ``sums``.

        Returns:
          A tuple of trees with the structure of the parameters and arrays of any shape. All of
          them are reduced at once: on sharded parameters, by one all-reduce of a scalar for each.
        """
        del inputs
        return ()

    def update(self, inputs: MethodInputs[State]) -> MethodOutput:
        """Return the updates and the new state; at a rate of 0 ``should_update`` may be false."""
        raise NotImplementedError


def adaptive_transform(
    cls: Callable[P, AdaptiveMethod[State]],
) -> Callable[P, optax.GradientTransformationExtraArgs]:
    """Return the public factory of an adaptive method.

    Args:
      cls: Subclass of `AdaptiveMethod`, a frozen dataclass with ``init`` and ``update``.

    Returns:
      A function with the signature and the docstring of the class. Its result is an optax transform
      whose state is an `AdaptiveState`.

    Raises:
      TypeError: If ``cls`` is not a frozen dataclass, or lacks ``init``, ``update`` or a rate.
    """
    _check_class(cls)
    return make_factory(cls, _make_transform)


def _check_class(cls: object) -> None:
    name = getattr(cls, "__name__", cls)
    if not (isinstance(cls, type) and issubclass(cls, AdaptiveMethod)):
        raise TypeError(f"adaptive_transform: {name} must be a subclass of AdaptiveMethod.")
    if "__dataclass_fields__" not in vars(cls):
        raise TypeError(f"{name} must be decorated with @dataclasses.dataclass(frozen=True).")
    for method in ("init", "update"):
        if getattr(cls, method) is getattr(AdaptiveMethod, method):
            raise TypeError(f"{name} has no method {method}; it must define init and update.")
    has_rate = "learning_rate" in cls.__dataclass_fields__
    if not has_rate and cls.outer_learning_rate is AdaptiveMethod.outer_learning_rate:
        raise TypeError(f"{name} has no field learning_rate; it must declare the outer rate.")


def _make_transform(method: AdaptiveMethod[State]) -> "optax.GradientTransformationExtraArgs":
    name = snake_case(type(method).__name__)
    schedule = as_schedule(method.outer_learning_rate)
    skips = method.nonfinite == "skip"
    zeros = method.nonfinite == "zero"

    def init_concrete(params: optax.Params) -> AdaptiveState:
        _check_params(name, params)
        real = jax.tree.map(
            lambda p: jnp.array(p, method.state_dtype or wide_dtype(p.dtype)),
            complex_as_real(params),
        )
        method_state = method.init(real)
        _check_state(type(method).__name__, method_state)
        narrow = [p for p in jax.tree.leaves(params) if _is_narrow(p)]
        return AdaptiveState(
            jnp.zeros([], jnp.int32),
            init_rate(schedule) if method.is_adjustable else to_state(schedule),
            jnp.zeros([], jnp.float32),
            jnp.zeros([], jnp.int32),
            [jnp.zeros_like(p, jnp.float32) for p in narrow],
            copy_aliased_leaves(_cast_scalars(method_state, _width(params))),
        )

    def init(params: optax.Params) -> AdaptiveState:
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)):
            return jax.eval_shape(init_concrete, params)
        return init_concrete(params)

    def update(
        updates: optax.Updates,
        state: AdaptiveState,
        params: optax.Params | None = None,
        *,
        value: ArrayLike | None = None,
        step: ArrayLike | None = None,
        **extra_args: object,
    ) -> tuple[optax.Updates, AdaptiveState]:
        if params is None:
            raise ValueError(f"{name} needs the parameters: update(updates, state, params).")
        if method.needs_value and value is None:
            raise ValueError(f"{name} needs the loss: update(updates, state, params, value=loss).")
        now = current_step(state.count, step)
        outer: RateState | Schedule = state.rate
        if isinstance(outer, RateState):
            outer = with_live_numbers(outer, schedule)
            outer_rate = evaluate_rate(outer, now)
        else:
            outer = with_live_leaves(outer, schedule)
            outer_rate = evaluate_scalar(outer, now)
        gradients = _widen(complex_as_real(updates))
        inputs: MethodInputs[State] = MethodInputs(
            _widen(state.method_state),
            outer_rate.astype(_width(params)),
            mask_nonfinite(gradients) if zeros else gradients,
            add_rounding_errors(complex_as_real(params), state.rounding_errors),
            _widen(jnp.asarray(value)) if method.needs_value else value,
            extra_args if step is None else {**extra_args, "step": step},
            method.nonfinite,
        )

        # One reduction of all sums. The squared norm of the gradients is the guard; where nothing
        # uses a sum, XLA removes it.
        trees = method.sums(inputs)
        _check_sums(type(method).__name__, trees, updates)
        leaf_sums = tuple(jax.tree.map(jnp.sum, tree) for tree in trees)
        norm_sq, grad_norm_sq, *sums = (
            total.astype(inputs.outer_rate.dtype)
            for total in (
                *tree_sums(tree_square(gradients), tree_square(inputs.gradients)),
                *map(_add_leaves, leaf_sums),
            )
        )
        are_sums_finite = jnp.all(jnp.isfinite(jnp.stack([grad_norm_sq, *sums])))
        is_value_finite = jnp.isfinite(inputs.value) if method.needs_value else jnp.asarray(True)
        is_norm_finite = jnp.isfinite(norm_sq * HEADROOM)
        if skips:
            # Masking makes the gradients of `update` depend on the sums. Otherwise XLA keeps in
            # memory what `sums` has computed of them; recomputing it in the fusion that writes the
            # state moves fewer bytes.
            is_finite = is_norm_finite & are_sums_finite & is_value_finite
            gradients = tree_where(is_finite, gradients, optax.tree.zeros_like(gradients))
            inputs = dataclasses.replace(inputs, gradients=gradients)
        if zeros:
            # The masked sums overflow only if there are many huge entries. Zeros make no scalar of
            # the state infinite, and the updates are discarded below.
            sums = [jnp.where(are_sums_finite, total, 0) for total in sums]

        output = method.update(
            dataclasses.replace(
                inputs, grad_norm_sq=grad_norm_sq, sums=tuple(sums), leaf_sums=leaf_sums
            )
        )
        _check_output(type(method).__name__, output, state.method_state)
        should_update = jnp.asarray(output.should_update)
        new_state, old_state = output.state, inputs.state
        if skips:
            is_accepted = is_finite & (are_scalars_finite(new_state) | ~should_update)
            should_keep = should_apply = should_update & is_accepted
            is_counted = ~is_accepted
        elif zeros:
            # Nothing here waits for the sums, so that the pass that computes them can write the
            # state: a new scalar that is not finite is replaced, the updates are discarded.
            is_accepted = is_value_finite
            should_keep = should_update & is_accepted
            should_apply = should_keep & are_sums_finite & are_scalars_finite(new_state)
            new_state = _keep_finite_scalars(new_state, old_state)
            is_counted = ~(is_norm_finite & is_value_finite)
        else:
            is_accepted = jnp.asarray(True)
            should_keep = should_apply = should_update
            is_counted = jnp.asarray(False)
        kept = tree_where(should_keep, new_state, old_state)
        new_updates = output.updates(kept)
        _check_updates(type(method).__name__, new_updates, gradients)
        wanted = jax.tree.map(lambda u: jnp.where(should_apply, u, 0), new_updates)
        applied = real_as_complex(wanted, updates)
        return applied, AdaptiveState(
            jnp.where(is_accepted, optax.safe_increment(now), state.count),
            outer,
            jnp.where(should_apply, output.learning_rate, 0).astype(jnp.float32),
            state.nonfinite_count + is_counted,
            _rounding_errors(inputs.params, wanted, params, applied),
            cast_like(kept, state.method_state),
        )

    return optax.GradientTransformationExtraArgs(init, update)


# The errors of an author: each is found when the factory is made, or when it is first traced.


def _check_params(name: str, params: optax.Params) -> None:
    for leaf in jax.tree.leaves(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
            raise ValueError(
                f"{name}: a parameter of dtype {jnp.result_type(leaf)} is not accepted; parameters "
                "must be floating-point or complex; exclude others with optax.masked."
            )


def _check_state(name: str, state: object) -> None:
    if not (isinstance(state, tuple) and hasattr(state, "_fields")):
        raise TypeError(
            f"{name}.init returned a {type(state).__name__}; it must return a NamedTuple."
        )


def _check_sums(name: str, trees: object, params: optax.Params) -> None:
    structure: object = jax.tree.structure(params)
    if not isinstance(trees, tuple):
        raise TypeError(
            f"{name}.sums returned a {type(trees).__name__}; it must return a tuple of trees like "
            "the parameters, such as (tree_square(inputs.gradients),)."
        )
    if not all(structure == jax.tree.structure(tree) for tree in trees):
        raise TypeError(
            f"{name}.sums returned a tree of another structure; each must be like the parameters, "
            "as the engine adds up their arrays."
        )


def _check_output(name: str, output: object, state: optax.OptState) -> None:
    if not isinstance(output, MethodOutput):
        raise TypeError(
            f"{name}.update returned a {type(output).__name__}; it must return a MethodOutput."
        )
    if not callable(output.updates):
        raise TypeError(
            f"{name}.update returned updates that are no function; they must be a function of the "
            "state that is kept, such as lambda state: tree_descent(inputs.gradients, rate)."
        )
    structure: object = jax.tree.structure(state)
    if structure != jax.tree.structure(output.state):
        raise TypeError(
            f"{name}.update returned a state of another structure than init; both must return a "
            f"{type(state).__name__} with the same fields."
        )
    for (path, old), new in zip(
        jax.tree.leaves_with_path(state), jax.tree.leaves(output.state), strict=True
    ):
        # A broadcast of both would be accepted silently, and change the state's shapes.
        if jnp.shape(old) != jnp.shape(new):
            raise TypeError(
                f"{name}.update returned a state whose {jax.tree_util.keystr(path)} has the shape "
                f"{jnp.shape(new)}, where that of init has {jnp.shape(old)}; both must have one "
                "shape."
            )
    if jnp.ndim(output.learning_rate) != 0:
        raise TypeError(
            f"{name}.update returned a learning_rate of shape {jnp.shape(output.learning_rate)}; "
            "it must be a scalar."
        )


def _check_updates(name: str, updates: object, gradients: optax.Updates) -> None:
    structure: Any = jax.tree.structure(gradients)
    if jax.tree.structure(updates) != structure:
        raise TypeError(
            f"{name}.update returned updates of another structure; the function must return a tree "
            "like the parameters, such as tree_descent(inputs.gradients, rate)."
        )


# Non-finite scalars of a state.


def _is_float_scalar(leaf: ArrayLike) -> bool:
    return jnp.ndim(leaf) == 0 and jnp.issubdtype(jnp.result_type(leaf), jnp.floating)


def are_scalars_finite(state: "chex.ArrayTree") -> jax.Array:
    """Return whether all floating-point scalars of a state are finite, as a boolean scalar."""
    scalars = [
        jnp.asarray(leaf, float) for leaf in jax.tree.leaves(state) if _is_float_scalar(leaf)
    ]
    return jnp.all(jnp.isfinite(jnp.stack(scalars))) if scalars else jnp.asarray(True)


def _keep_finite_scalars(new: Tree, old: Tree) -> Tree:
    """Return ``new`` with the scalars of ``old`` where those of ``new`` are not finite."""
    return jax.tree.map(
        lambda a, b: jnp.where(jnp.isfinite(a), a, b) if _is_float_scalar(a) else a, new, old
    )


# Trees.


def tree_sums(*trees: "chex.ArrayTree") -> tuple[jax.Array, ...]:
    """Return the sum of each tree over all its arrays, each a scalar; 0 for an empty tree."""
    return tuple(_add_leaves(jax.tree.map(jnp.sum, tree)) for tree in trees)


def _add_leaves(scalars: "chex.ArrayTree") -> jax.Array:
    # Add the scalars one by one: XLA merges all-reduces of added scalars into one. A stack of
    # scalars that is summed afterwards stays one operand per array.
    leaves = jax.tree.leaves(scalars)
    return functools.reduce(jnp.add, leaves) if leaves else jnp.zeros([], jnp.float32)


def tree_square(tree: Tree) -> Tree:
    """Return ``tree**2``; its sum is the squared norm."""
    return jax.tree.map(jnp.square, tree)


def tree_abs(tree: Tree) -> Tree:
    """Return ``abs(tree)``; its sum is the l1 norm."""
    return jax.tree.map(jnp.abs, tree)


def tree_ema(average: Tree, values: Tree, decay: ArrayLike, scale: ArrayLike = 1) -> Tree:
    """Return ``decay * average + (1 - decay) * scale * values``, leaf by leaf."""
    return jax.tree.map(lambda m, g: decay * m + (1 - decay) * scale * g, average, values)


def tree_add_scaled(gradients: Tree, params: Tree, weight_decay: ArrayLike) -> Tree:
    """Return ``gradients + weight_decay * params``, leaf by leaf; a plain 0 does not read them."""
    if isinstance(weight_decay, int | float) and weight_decay == 0:
        return gradients
    return jax.tree.map(lambda g, p: g + weight_decay * p, gradients, params)


def tree_decay(updates: Tree, params: Tree, weight_decay: ArrayLike, rate: jax.Array) -> Tree:
    """Return ``updates - rate * weight_decay * params``; a plain 0 does not read the parameters."""
    if isinstance(weight_decay, int | float) and weight_decay == 0:
        return updates
    return tree_add_scaled(updates, params, -(weight_decay * rate))


def tree_descent(gradients: Tree, rate: jax.Array) -> Tree:
    """Return ``-rate * gradients``, leaf by leaf."""
    return jax.tree.map(lambda g: -rate * g, gradients)


def tree_where(condition: ArrayLike, new: Tree, old: Tree) -> Tree:
    """Return ``new`` if the condition, a boolean scalar, holds, else ``old``."""
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(condition, a, b), new, old)


def copy_aliased_leaves(tree: Tree) -> Tree:
    """Return ``tree`` with a copy of each array that occurs again, so that it can be donated."""
    seen: set[int] = set()

    def copy(leaf: jax.Array) -> jax.Array:
        is_new = id(leaf) not in seen
        seen.add(id(leaf))
        return leaf if is_new else jnp.array(leaf)

    return jax.tree.map(copy, tree)


# Scalars.


def safe_divide(numerator: ArrayLike, denominator: ArrayLike) -> jax.Array:
    """Return ``numerator / denominator``, and 0 where the denominator is 0."""
    is_zero = jnp.asarray(denominator) == 0
    return jnp.where(is_zero, 0.0, numerator / jnp.where(is_zero, 1.0, denominator))


def state_scalar(value: ArrayLike) -> jax.Array:
    """Return a scalar of a state; the engine stores it in float32, or in float64 if needed."""
    return jnp.asarray(value, float)


def zero_count() -> jax.Array:
    """Return an int32 scalar, 0."""
    return jnp.zeros([], jnp.int32)


def bias_correction_factor(
    decay: ArrayLike, num_updates: jax.Array, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """Return ``1 - decay**(num_updates + 1)`` in ``dtype``."""
    # expm1 avoids the cancellation that 1 - 0.999**t has in float32 for small t.
    with np.errstate(divide="ignore"):
        log_decay = jnp.log(decay) if isinstance(decay, jax.Array) else np.log(decay)
        return -jnp.expm1((num_updates.astype(dtype) + 1) * log_decay)


# Complex parameters. A method sees each complex array as one real array with a last axis of 2, so
# that |g|**2 and Re(conj(a) b) are sums of real products, and every method runs as on two reals.


def complex_as_real(tree: Tree) -> Tree:
    """Return ``tree`` with each complex array as a real one with a last axis of real, imaginary."""

    def as_real(leaf: ArrayLike) -> jax.Array:
        leaf = jnp.asarray(leaf)
        is_complex = jnp.iscomplexobj(leaf)
        return jnp.stack([leaf.real, leaf.imag], axis=-1) if is_complex else leaf

    return jax.tree.map(as_real, tree)


def real_as_complex(tree: optax.Updates, like: Tree) -> Tree:
    """Return ``tree`` in the dtypes of ``like``, the reverse of `complex_as_real`."""

    def as_original(leaf: jax.Array, original: ArrayLike) -> jax.Array:
        if jnp.iscomplexobj(original):
            leaf = jax.lax.complex(leaf[..., 0], leaf[..., 1])
        return leaf.astype(jnp.result_type(original))

    return jax.tree.map(as_original, tree, like)


# Parameters narrower than float32. bfloat16 has 8 significand bits, so an update below about 2**-9
# of a parameter is lost in p + u. The error is kept in float32 and added before the next update
# (Kahan summation).


def add_rounding_errors(params: Tree, rounding_errors: list[jax.Array]) -> Tree:
    """Return the parameters with the rounding errors of the narrow ones added, in float32."""
    errors = iter(rounding_errors)
    return jax.tree.map(
        lambda p: p.astype(jnp.float32) + next(errors) if _is_narrow(p) else p, params
    )


def _rounding_errors(
    exact: optax.Params, wanted: optax.Updates, params: optax.Params, applied: optax.Updates
) -> list[jax.Array]:
    """Return what narrow parameters cannot represent of their values after the update."""
    leaves = zip(*map(jax.tree.leaves, (exact, wanted, params, applied)), strict=True)
    errors = [
        before + update - _round(_round(p, p.dtype) + _round(rounded, rounded.dtype), p.dtype)
        for before, update, p, rounded in leaves
        if _is_narrow(p)
    ]
    return [jnp.where(jnp.isfinite(error), error, 0) for error in errors]


def _round(value: jax.Array, dtype: DTypeLike) -> jax.Array:
    """Return ``value`` in float32, rounded to ``dtype``."""
    # Not a cast round trip: XLA may remove x.astype(bf16).astype(f32). XLA keeps reduce_precision.
    form = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    wide = value.astype(jnp.float32)
    return jax.lax.reduce_precision(wide, exponent_bits=form.nexp, mantissa_bits=form.nmant)


def _is_narrow(leaf: ArrayLike) -> bool:
    return jnp.result_type(leaf).itemsize < 4


def _widen(tree: Tree) -> Tree:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, wide_dtype(jnp.result_type(leaf))), tree)


def wide_dtype(dtype: DTypeLike) -> np.dtype:
    """Return a floating-point dtype of at least float32; other dtypes stay as they are."""
    is_real = jnp.issubdtype(dtype, jnp.floating)
    return jnp.promote_types(dtype, jnp.float32) if is_real else np.dtype(dtype)


def _width(params: optax.Params) -> np.dtype:
    """Return the dtype of scalars beside these parameters: float64 if one is, else float32."""
    doubles = (np.dtype(np.float64), np.dtype(np.complex128))
    is_double = any(jnp.result_type(leaf) in doubles for leaf in jax.tree.leaves(params))
    return np.dtype(np.float64 if is_double else np.float32)


def _cast_scalars(method_state: Tree, width: np.dtype) -> Tree:
    """Return the state with its floating-point scalars in ``width``.

    The states of a base optimizer whose rates are known are left as they are.
    """

    def cast(leaf: optax.OptState) -> optax.OptState:
        if rate_factor(leaf) is not None or not _is_float_scalar(leaf):
            return leaf
        return leaf.astype(width)

    return jax.tree.map(cast, method_state, is_leaf=lambda x: rate_factor(x) is not None)
