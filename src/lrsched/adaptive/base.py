"""What every method that adapts its own step has in common: the clock, the guard, the reductions.

A method is a few pure functions. ``init`` makes its memory from the parameters; ``prepare``, where
there is one, works out what the others share; ``measure`` says what is summed over all parameters;
``move`` turns the sums into an update and a new memory. What is here does the rest: the schedule of
the outer rate, one reduction for all sums, wide arithmetic under narrow parameters, and no step at
all where a gradient or a metric is not finite.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike, DTypeLike

from lrsched._schedule import Schedule
from lrsched.algebra import as_schedule
from lrsched.transforms.composition import RateFactor, rate_factor, scheduled_rate_factor
from lrsched.transforms.rate import (
    RateState,
    current_step,
    evaluate_rate,
    evaluate_scalar,
    init_rate,
    to_state,
    with_live_numbers,
)

Memory = TypeVar("Memory")


class AdaptiveState(NamedTuple):
    """State of a method that adapts its own step.

    Attributes:
      count: int32 scalar, the updates that this transform has applied; the schedule's clock.
      rate: the schedule of the outer rate with its edits; a plain schedule where edits would not
        reach the rate that is applied.
      learning_rate: float32 scalar, the rate of the latest update: the outer one times the
        method's own estimate; around a base optimizer, what the base's rate is multiplied by.
        Before the first update it is 0.
      ignored: int32 scalar, the updates left out because a gradient or a metric was not finite.
      remainders: what parameters narrower than float32 could not hold of the updates so far, in
        float32, one array for each of them: nothing is lost of first steps of 1e-6.
      memory: what the method itself remembers.
    """

    count: jax.Array  # type: ignore[assignment]
    rate: RateState | Schedule
    learning_rate: jax.Array
    ignored: jax.Array
    remainders: list[jax.Array]
    memory: Any


@rate_factor.register
def _(state: AdaptiveState) -> RateFactor:
    return scheduled_rate_factor(state)._replace(inner_state=state.memory)


@dataclasses.dataclass(frozen=True)
class MethodInputs(Generic[Memory]):
    """What a method knows at one update, in float32 or wider.

    Attributes:
      memory: what it remembers.
      rate: the outer rate, a scalar, in float64 where a parameter is.
      gradients: the updates that come in.
      params: the parameters.
      value: the loss, a scalar, or None where it is neither asked for nor given.
      extra: the other keyword arguments of ``update``.
      prepared: what `prepare` returned.
      square: the squared norm of the gradients.
      sums: the sum of each tree that `measure` named, over all parameters.
      sums_by_array: the same for each array by itself: a tree of scalars for each.
    """

    memory: Memory
    rate: jax.Array
    gradients: Any
    params: Any
    value: Any
    extra: dict[str, Any]
    prepared: Any = None
    square: Any = None
    sums: tuple[jax.Array, ...] = ()
    sums_by_array: tuple[Any, ...] = ()

    def bias_correction_factor(self, decay: float) -> jax.Array:
        """``1 - decay**t`` at the ``t``-th update that the memory has steps of."""
        memory: Any = self.memory
        return bias_correction_factor(decay, memory.steps, self.rate.dtype)

    def base_updates(
        self, base: optax.GradientTransformation, state: Any, params: Any
    ) -> tuple[Any, Any]:
        """What a base optimizer makes of the gradients, at ``params``; and its new state.

        What is not finite of it, of finite gradients, is no step.
        """
        given = self.extra if self.value is None else {**self.extra, "value": self.value}
        base = optax.with_extra_args_support(base)
        updates, state = base.update(self.gradients, state, params, **given)
        finite = jax.tree.map(lambda u: jnp.where(jnp.isfinite(u), u, 0), _widened(updates))
        return finite, state


class MethodOutput(NamedTuple):
    """What a method does.

    Attributes:
      updates: ``memory -> updates``, called with what is kept: the new memory, or the old one where
        the update is left out, whose result does not count then. What reads only what is kept lets
        XLA write the memory in place.
      memory: what it remembers from now on.
      learning_rate: the rate that it applied.
      moves: whether there is a step at all: if not, memory and parameters stay as they are.
    """

    updates: Callable[[Any], Any]
    memory: Any
    learning_rate: ArrayLike
    moves: ArrayLike = True


def adaptive_transform(
    name: str,
    learning_rate: ArrayLike | Schedule | optax.Schedule,
    init: Callable[[Any], Any],
    move: Callable[[MethodInputs[Any]], MethodOutput],
    measure: Callable[[MethodInputs[Any]], tuple[Any, ...]] = lambda step: (),
    *,
    prepare: Callable[[MethodInputs[Any]], Any] = lambda step: None,
    needs_value: bool = False,
    sums_see_all: bool = False,
    is_applied: bool = True,
    state_dtype: DTypeLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """An optax transform out of a method's functions.

    Args:
      name: what errors call it.
      learning_rate: the outer rate: a number, a `Schedule` or a callable of the step.
      init: ``params -> memory``, a named tuple of scalars and of trees like the parameters, which
        it is given in the dtype that the state is kept in.
      move: ``step -> Move``. Memory goes back into the dtypes that ``init`` gave it.
      measure: ``step -> trees`` to be summed, all at once; each is as the parameters are, with
        arrays of any shape for leaves.
      prepare: ``step -> anything``, which ``measure`` and ``move`` find as ``step.prepared``.
      needs_value: whether ``update`` must be given ``value=``.
      sums_see_all: whether a gradient that is not finite makes one of the sums so, so that the
        guard needs no reading of the gradients of its own.
      is_applied: whether it is the outer rate that the updates are multiplied by, so that a hand
        can change it; one that says what a base applies cannot be.
      state_dtype: of what is kept for each parameter; by default the parameters' own, or float32
        where that is narrower.
    """
    schedule = as_schedule(learning_rate)

    def init_state(params: optax.Params) -> AdaptiveState:
        if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)):
            abstract: AdaptiveState = jax.eval_shape(init_state, params)
            return abstract
        kept = jax.tree.map(lambda p: jnp.array(p, state_dtype or _wide(p.dtype)), params)
        narrow = [p for p in jax.tree.leaves(params) if _is_narrow(p)]
        return AdaptiveState(
            jnp.zeros([], jnp.int32),
            init_rate(schedule) if is_applied else to_state(schedule),
            jnp.zeros([], jnp.float32),
            jnp.zeros([], jnp.int32),
            [jnp.zeros_like(p, jnp.float32) for p in narrow],
            copy_aliased_leaves(_in_one_width(params, init(kept))),
        )

    def update(
        updates: optax.Updates,
        state: AdaptiveState,
        params: optax.Params | None = None,
        *,
        value: ArrayLike | None = None,
        step: ArrayLike | None = None,
        **extra: Any,
    ) -> tuple[optax.Updates, AdaptiveState]:
        if params is None:
            raise ValueError(f"{name} needs the parameters: update(updates, state, params).")
        if needs_value and value is None:
            raise ValueError(f"{name} needs the loss: update(updates, state, params, value=loss).")
        now = current_step(state.count, step)
        outer: RateState | Schedule = state.rate
        if isinstance(outer, RateState):
            outer = with_live_numbers(outer, schedule)
            outer_rate = evaluate_rate(outer, now)
        else:
            outer_rate = evaluate_scalar(outer, now)
        metric: Any = _widened(jnp.asarray(value)) if needs_value else value
        known: MethodInputs[Any] = MethodInputs(
            _widened(state.memory),
            outer_rate.astype(_width(params)),
            _widened(updates),
            add_rounding_errors(params, state.remainders),
            metric,
            extra if step is None else {**extra, "step": step},
        )
        known = dataclasses.replace(known, prepared=prepare(known))
        by_array = tree_sums(tree_square(known.gradients), *measure(known))
        square, *sums = jnp.sum(by_array, axis=1)
        guards = sums if sums_see_all else [square, *sums]
        seen = jnp.stack([*guards, *([metric] if needs_value else [])])
        is_finite = jnp.all(jnp.isfinite(seen))

        shape = jax.tree.structure(params)

        # Gradients that depend on the sums keep XLA from writing what it prepared for these: to
        # prepare it again, in the pass that writes the memory, moves fewer bytes.
        gradients = tree_where(is_finite, known.gradients, tree_zeros_like(known.gradients))
        known = dataclasses.replace(
            known,
            gradients=gradients,
            square=square,
            sums=tuple(sums),
            sums_by_array=tuple(jax.tree.unflatten(shape, row) for row in by_array[1:]),
        )
        moved = move(dataclasses.replace(known, prepared=prepare(known)))
        is_finite &= _is_sound(moved.memory) | ~jnp.asarray(moved.moves)
        moves = is_finite & moved.moves
        kept = tree_where(moves, moved.memory, known.memory)
        wanted = jax.tree.map(lambda u: jnp.where(moves, u, 0), moved.updates(kept))
        applied = jax.tree.map(lambda new, old: new.astype(old.dtype), wanted, updates)
        return applied, AdaptiveState(
            jnp.where(is_finite, optax.safe_increment(now), state.count),
            outer,
            jnp.where(moves, moved.learning_rate, 0).astype(jnp.float32),
            state.ignored + ~is_finite,
            _lost(known.params, wanted, params, applied),
            cast_like(kept, state.memory),
        )

    return optax.GradientTransformationExtraArgs(init_state, update)


def _is_sound(memory: Any) -> jax.Array:
    """Whether no scalar of a memory has overflown."""
    leaves = map(jnp.asarray, jax.tree.leaves(memory))
    scalars = [leaf.astype(float) for leaf in leaves if leaf.ndim == 0]
    return jnp.all(jnp.isfinite(jnp.stack(scalars))) if scalars else jnp.asarray(True)


def tree_sums(*trees: Any) -> jax.Array:
    """The sum of each array of each tree, in one matrix: sharded parameters cost one all-reduce."""
    rows = [jnp.stack([jnp.sum(leaf) for leaf in jax.tree.leaves(tree)]) for tree in trees]
    return jnp.stack(rows)


def tree_square(tree: Any) -> Any:
    """``tree**2``: summed, the squared norm."""
    return jax.tree.map(jnp.square, tree)


def tree_mul(first: Any, second: Any) -> Any:
    """``first * second``, leaf by leaf: summed, an inner product."""
    return jax.tree.map(jnp.multiply, first, second)


def tree_abs(tree: Any) -> Any:
    """``abs(tree)``: summed, the l1 norm."""
    return jax.tree.map(jnp.abs, tree)


def tree_add_scaled(gradients: Any, params: Any, weight_decay: ArrayLike) -> Any:
    """``gradients + weight_decay * params``, leaf by leaf; a plain 0 does not read them."""
    if isinstance(weight_decay, int | float) and weight_decay == 0:
        return gradients
    return jax.tree.map(lambda g, p: g + weight_decay * p, gradients, params)


def tree_descent(gradients: Any, rate: jax.Array) -> Any:
    """``-rate * gradients``, leaf by leaf."""
    return jax.tree.map(lambda g: -rate * g, gradients)


def tree_where(condition: ArrayLike, new: Any, old: Any) -> Any:
    """``new`` where the condition, a scalar, holds, else ``old``."""
    return jax.tree.map(lambda a, b: a if a is b else jnp.where(condition, a, b), new, old)


def cast_like(tree: Any, old: Any) -> Any:
    """``tree`` in the dtypes of ``old``."""
    return jax.tree.map(lambda a, b: jnp.asarray(a, jnp.result_type(b)), tree, old)


def copy_aliased_leaves(tree: Any) -> Any:
    """``tree`` without an array that is there twice, so that a state can be donated."""
    seen: set[int] = set()

    def own(leaf: Any) -> Any:
        is_new = id(leaf) not in seen
        seen.add(id(leaf))
        return leaf if is_new else jnp.array(leaf)

    return jax.tree.map(own, tree)


def safe_divide(part: ArrayLike, whole: ArrayLike) -> jax.Array:
    """``part / whole``, and 0 where ``whole`` is 0."""
    is_zero = jnp.asarray(whole) == 0
    return jnp.where(is_zero, 0.0, part / jnp.where(is_zero, 1.0, whole))


def state_scalar(value: ArrayLike) -> jax.Array:
    """A scalar of a memory, which is kept in float32, or in float64 where a parameter is."""
    return jnp.asarray(value, float)


def bias_correction_factor(
    decay: float, steps: jax.Array, dtype: DTypeLike = jnp.float32
) -> jax.Array:
    """``1 - decay**(steps + 1)``, without the cancellation that float32 has for 0.999."""
    with np.errstate(divide="ignore"):
        return -jnp.expm1((steps.astype(dtype) + 1) * np.log(decay))


def zero_count() -> jax.Array:
    """An int32 scalar of a memory, at 0."""
    return jnp.zeros([], jnp.int32)


def tree_zeros_like(tree: Any) -> Any:
    """A tree of a memory, at 0."""
    return jax.tree.map(jnp.zeros_like, tree)


# Parameters narrower than float32: what they could not hold of an update is kept, and added again.


def add_rounding_errors(params: Any, remainders: list[jax.Array]) -> Any:
    """The parameters with what the narrow ones of them could not hold."""
    rest = iter(remainders)
    return jax.tree.map(
        lambda p: p.astype(jnp.float32) + next(rest) if _is_narrow(p) else p, params
    )


def _lost(whole: Any, wanted: Any, params: Any, applied: Any) -> list[jax.Array]:
    leaves = zip(*map(jax.tree.leaves, (whole, wanted, params, applied)), strict=True)
    left = [
        held + wish - _rounded(_rounded(p, p.dtype) + _rounded(update, update.dtype), p.dtype)
        for held, wish, p, update in leaves
        if _is_narrow(p)
    ]
    return [jnp.where(jnp.isfinite(rest), rest, 0) for rest in left]


def _rounded(value: jax.Array, dtype: DTypeLike) -> jax.Array:
    """``value`` in float32, as ``dtype`` holds it: XLA may leave a cast and its reverse out."""
    form = jnp.finfo(dtype)  # type: ignore[no-untyped-call]
    wide = value.astype(jnp.float32)
    return jax.lax.reduce_precision(wide, exponent_bits=form.nexp, mantissa_bits=form.nmant)


def _widened(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, _wide(jnp.result_type(leaf))), tree)


def _in_one_width(params: Any, memory: Any) -> Any:
    """The scalars of a memory in float64 where a parameter is, in float32 otherwise.

    The states of a base optimizer whose rates are known are left as they are.
    """
    width = _width(params)

    def cast(leaf: Any) -> Any:
        if rate_factor(leaf) is not None:
            return leaf
        is_scalar = leaf.ndim == 0 and jnp.issubdtype(leaf.dtype, jnp.floating)
        return leaf.astype(width) if is_scalar else leaf

    return jax.tree.map(cast, memory, is_leaf=lambda x: rate_factor(x) is not None)


def _width(params: Any) -> np.dtype:
    return jnp.result_type(jnp.float32, *jax.tree.leaves(params))


def _wide(dtype: DTypeLike) -> np.dtype:
    is_real = jnp.issubdtype(dtype, jnp.floating)
    return jnp.promote_types(dtype, jnp.float32) if is_real else np.dtype(dtype)


def _is_narrow(leaf: jax.Array) -> bool:
    return leaf.dtype.itemsize < 4
