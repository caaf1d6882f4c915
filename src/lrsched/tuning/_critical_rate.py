"""The critical rate: the largest rate along an update that does not raise the loss of a batch."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched.algebra import constant
from lrsched.arguments import OPEN_UNIT_FLOAT, POSITIVE_NUMBER, whole_number
from lrsched.running.edit import set_learning_rate
from lrsched.transforms.composition import compose_rates, has_rate
from lrsched.tuning._nnx import as_arrays, is_nnx_module, split_variables
from lrsched.tuning._training import check_loss

if TYPE_CHECKING:
    import chex

    from lrsched.tuning._training import Batch, Data, Model, Training


@dataclasses.dataclass(frozen=True)
class CriticalRate:
    """The result of `critical_rate`. ``print`` shows it as a sentence.

    Attributes:
      low: Largest rate that was tried below the crossing; 0 if the loss rises at every rate.
      high: Smallest rate that was tried above the crossing; infinite if there is no crossing.
      rate: Rate of the optimizer's next update.
      best_rate: GeN's optimal rate, the minimum of the parabola through the losses at
        ``-low / 2``, 0 and ``low / 2``; NaN where the loss is not convex along the update.
      loss: Loss of the batch before the update.
      num_losses: Number of losses computed, that before the update included.
      warning: Why there is no critical rate, or an empty string.
    """

    low: float
    high: float
    rate: float
    best_rate: float
    loss: float
    num_losses: int
    warning: str

    @property
    def ratio(self) -> float:
        """The rate of the next update over the critical rate; above 1 this batch's loss rises."""
        return self.rate / self.low if self.low > 0 else float("inf")

    @property
    def sharpness(self) -> float:
        """The curvature along the update, per unit of its descent: ``2 / low``."""
        return 2 / self.low if self.low > 0 else float("inf")

    def __str__(self) -> str:
        if self.warning:
            return f"no critical rate ({self.num_losses} losses): {self.warning}"
        best = (
            f"GeN's optimal rate is {self.best_rate:.3g}"
            if np.isfinite(self.best_rate)
            else "the losses fit no parabola of GeN"
        )
        return (
            f"critical rate {self.low:.3g} to {self.high:.3g} ({self.num_losses} losses); the rate "
            f"of {self.rate:.3g} is {self.ratio:.2g} of it; {best}"
        )


def critical_rate(
    loss_fn: Callable[[Model, Batch], jax.Array],
    model: Model,
    optimizer: Any,
    batch: Batch,
    opt_state: optax.OptState | None = None,
    *,
    rate: float | None = None,
    guess: float | None = None,
    tolerance: float = 2.0**-4,
    max_losses: int = 100,
) -> CriticalRate:
    """Find the largest rate along the optimizer's next update that does not raise the loss.

    ``loss(params + rate * d) <= loss(params)``, where ``d`` is the next update of the optimizer per
    unit of its rate, weight decay included. On a quadratic it is ``-2 g.d / (d.H d)``. The rate is
    doubled or halved from ``guess`` until the loss crosses, and then bisected: about 10 forward
    passes in one compiled program. Nothing is modified, so it may be called at any step of a run;
    a later call with the same functions and shapes does not compile again.

    It bounds one step on one batch. Momentum, whose steps add up, is stable up to a higher rate
    than the first step; training at a rate just below it for many steps lowers the curvature.

    Args:
      loss_fn: ``(model, batch) -> loss``, a scalar, as for `training`.
      model: An ``nnx.Module`` or a pytree of parameters. Dropout draws the same numbers in all
        forward passes.
      optimizer: An optax transform, or an ``nnx.Optimizer``, which brings its state.
      batch: The batch. A larger one has less noise.
      opt_state: State of the optimizer. Defaults to that of ``optimizer.init``.
      rate: Rate of the next update, where the state does not hold one rate that `learning_rate`
        reads (``optax.adam(1e-3)``, several groups). 1.0 gives multiples of the next update.
      guess: Rate to begin with, such as an earlier result. Defaults to that of the next update.
      tolerance: Width of the resulting interval as a fraction of its upper end.
      max_losses: Maximum number of losses.

    Returns:
      The interval of the critical rate, the rate of the next update and GeN's optimal rate.

    Raises:
      ValueError: If an argument is out of range, or the state does not hold one rate and ``rate``
        is ``None``.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> from lrsched import tuning
      >>> loss_fn = lambda w, batch: jnp.sum(jnp.array([1.0, 4.0, 10.0]) * w**2) / 2
      >>> optimizer = lrsched.scale_by_learning_rate(0.001)
      >>> result = tuning.critical_rate(loss_fn, jnp.ones(3), optimizer, None)
      >>> round(result.low, 3), round(result.high, 3)
      (0.216, 0.224)

    References:
      Critical rate: arXiv 2601.16979. Optimal rate: Bu & Xu 2024 (GeN, arXiv 2407.02772). Unlike
      the former's program, a loss that is not finite counts as above, a loss that ties as below,
      and a search without a crossing says so.
    """
    for name, value in {"rate": rate, "guess": guess}.items():
        if value is not None:
            POSITIVE_NUMBER.validate("critical_rate", name, value)
    OPEN_UNIT_FLOAT.validate("critical_rate", "tolerance", tolerance)
    max_losses = whole_number(4).validate("critical_rate", "max_losses", max_losses)
    graph, params, others, wrt = None, model, None, None
    if is_nnx_module(optimizer):
        wrt = optimizer.wrt
        optimizer, opt_state = optimizer.tx, optimizer.opt_state
    if is_nnx_module(model):
        graph, params, others = split_variables(model, wrt)
        opt_state = as_arrays(opt_state)
    if opt_state is None:
        opt_state = optimizer.init(as_arrays(params))

    options = [jnp.float32(x or np.nan) for x in (rate, guess, tolerance)]

    def probe(opt_state: optax.OptState) -> _Probe:
        model_and_batch = loss_fn, optimizer, graph, params, others, opt_state, batch
        return jax.device_get(_probe(*model_and_batch, *options, jnp.int32(max_losses)))

    if rate is None and not has_rate(opt_state):
        raise ValueError(
            "critical_rate: rate=None is not accepted, as the optimizer's state holds no learning "
            "rate; pass rate=, or make the optimizer with inject_schedules or "
            "scale_by_learning_rate."
        )
    if rate is None and len(compose_rates(opt_state)) > 1:
        raise ValueError(
            "critical_rate: rate=None is not accepted with the rates of several groups; pass "
            "rate=1.0 for multiples of their current rates."
        )
    crossing = probe(opt_state)
    if rate is None and crossing.rate == 0:
        # The first update of a warmup has rate 0. The direction per unit of the rate is that of
        # any other rate.
        crossing = probe(set_learning_rate(opt_state, 1e-3 if guess is None else guess))
        crossing = crossing._replace(rate=np.float32(0))
    return _result(crossing)


def gen_rate(rate: float, backward: float, current: float, forward: float) -> float:
    """Return GeN's optimal rate, the minimum of a parabola through three losses.

    ``slope / curvature`` with ``slope = (backward - forward) / (2 rate)`` and
    ``curvature = (forward + backward - 2 current) / rate**2``.

    Args:
      rate: Rate of the step. Above 0.
      backward: Loss at ``params - rate * d``, a step against the update.
      current: Loss at ``params``.
      forward: Loss at ``params + rate * d``, on the same batch.

    Returns:
      The rate; NaN where the slope or the curvature is not positive.

    Raises:
      ValueError: If ``rate`` is not above 0.

    Example:
      >>> from lrsched import tuning
      >>> round(tuning.gen_rate(0.1, backward=1.155, current=1.0, forward=0.955), 4)
      0.0909

    References:
      Bu & Xu 2024 (GeN, arXiv 2407.02772).
    """
    rate = POSITIVE_NUMBER.validate("gen_rate", "rate", rate)
    slope = (backward - forward) / (2 * rate)
    curvature = (forward + backward - 2 * current) / rate**2
    return slope / curvature if slope > 0 and curvature > 0 else float("nan")


class _Probe(NamedTuple):
    """Result of a search, in units of the rate. Scalars."""

    low: jax.Array
    high: jax.Array
    rate: chex.Array
    backward: jax.Array
    loss: jax.Array
    forward: jax.Array
    num_losses: jax.Array
    has_direction: jax.Array
    is_descent: jax.Array


def _result(crossing: _Probe) -> CriticalRate:
    low, high, rate = float(crossing.low), float(crossing.high), float(crossing.rate)
    warning = ""
    if not np.isfinite(crossing.loss):
        warning = "the loss before the update is not finite."
    elif not crossing.has_direction:
        warning = "the update is zero."
    elif not crossing.is_descent:
        warning = "the update points uphill."
    elif low == 0:
        warning = f"the loss rises at every rate down to {high:.2g}."
    elif not np.isfinite(high):
        warning = f"the loss rises at no rate up to {low:.2g}."
    best = float("nan") if warning else gen_rate(low / 2, *map(float, crossing[3:6]))
    if best > high:  # The loss was measured to be above there, so that it is no parabola.
        best = float("nan")
    return CriticalRate(
        low, high, rate, best, float(crossing.loss), int(crossing.num_losses), warning
    )


# Powers of two beyond which a search gives up: from any guess to any rate of use.
_MAX_DOUBLINGS: Final = 50
# Losses are sums: two that differ by a few units in the last place are equal.
_TIE: Final = 8


@functools.partial(jax.jit, static_argnames=("loss_fn", "optimizer", "graph"))
def _probe(
    loss_fn: Callable[[Model, Batch], jax.Array],
    optimizer: optax.GradientTransformation,
    graph: Any,
    params: optax.Params,
    others: chex.ArrayTree,
    opt_state: optax.OptState,
    batch: Batch,
    rate: jax.Array,
    guess: jax.Array,
    tolerance: jax.Array,
    max_losses: jax.Array,
) -> _Probe:
    """Return the search along the next update. A NaN stands for an absent rate or guess."""

    def loss_of(params: optax.Params) -> jax.Array:
        model = params
        if graph is not None:
            from flax import nnx

            model = nnx.merge(graph, params, others, copy=True)
        return check_loss("critical_rate", loss_fn(model, batch))

    loss, gradients = jax.value_and_grad(loss_of)(params)
    update = optax.with_extra_args_support(optimizer).update
    direction, new_state = update(
        *map(as_arrays, (gradients, opt_state, params)),
        value=loss,
    )
    rates = compose_rates(new_state)
    applied = next(iter(rates.values())) if len(rates) == 1 else jnp.float32(jnp.nan)
    rate = jnp.where(jnp.isnan(rate), applied, rate)
    slope = sum(
        map(_product, jax.tree.leaves(gradients), jax.tree.leaves(direction)), jnp.float32(0)
    )
    # In units of the next update, so that no direction is divided by a small rate.
    guess = jnp.where(jnp.isnan(guess), rate, guess) / rate
    search = _search(loss_of, params, direction, slope < 0, guess, tolerance, max_losses)
    return search._replace(low=search.low * rate, high=search.high * rate, rate=rate)


def _product(gradient: jax.Array, update: jax.Array) -> jax.Array:
    # JAX's gradient of a complex parameter is the conjugate of the steepest ascent.
    product = jnp.real(gradient * update)
    return jnp.sum(product.astype(jnp.promote_types(product.dtype, jnp.float32)))


def _search(
    loss_of: Callable[[Any], jax.Array],
    params: optax.Params,
    direction: chex.ArrayTree,
    is_descent: jax.Array,
    guess: jax.Array,
    tolerance: jax.Array,
    max_losses: jax.Array,
) -> _Probe:
    """Return the crossing of the loss along a direction, in multiples of it."""

    def loss_at(factor: jax.Array) -> jax.Array:
        # bfloat16 losses would tie: compare them in float32 or wider.
        loss = loss_of(_moved(params, direction, factor))
        return loss.astype(_wide(loss))

    guess = guess.astype(jnp.float32)
    loss = loss_at(jnp.float32(0))
    eps = float(np.finfo(loss.dtype).eps)
    limit = loss + _TIE * eps * jnp.abs(loss)
    has_direction = functools.reduce(
        jnp.logical_or, [jnp.any(leaf != 0) for leaf in jax.tree.leaves(direction)]
    )

    def is_open(carry: tuple[jax.Array, jax.Array, jax.Array]) -> jax.Array:
        low, high, count = carry
        span = 2.0**_MAX_DOUBLINGS
        is_bracketed = (low > 0) & jnp.isfinite(high)
        return (
            has_direction
            # Uphill, rates so small that the losses tie would pass for a crossing.
            & is_descent
            & jnp.isfinite(loss)
            & (count < max_losses - 2)
            & jnp.where(
                is_bracketed,
                1 - low / high > tolerance,
                (low < guess * span) & (high > guess / span),
            )
        )

    def narrow(
        carry: tuple[jax.Array, jax.Array, jax.Array],
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        low, high, count = carry
        factor = jnp.where(
            jnp.isinf(high),
            jnp.where(low > 0, 2 * low, guess),
            jnp.where(low > 0, low + (high - low) / 2, high / 2),
        )
        # Written as "not below": a loss that is not finite is above.
        is_above = ~(loss_at(factor) <= limit)
        return jnp.where(is_above, low, factor), jnp.where(is_above, factor, high), count + 1

    low, high, count = jax.lax.while_loop(
        is_open, narrow, (jnp.float32(0), jnp.float32(jnp.inf), jnp.int32(1))
    )
    losses = loss_at(-low / 2), loss, loss_at(low / 2)
    return _Probe(low, high, jnp.float32(1), *losses, count + 2, has_direction, is_descent)


def _moved(params: optax.Params, direction: chex.ArrayTree, factor: jax.Array) -> optax.Params:
    """Return the parameters moved by a multiple of a direction, computed in float32 or wider."""
    leaves, structure = jax.tree.flatten(params)
    moved = [
        (p + factor.astype(_wide(p)) * d.astype(_wide(d))).astype(p.dtype)
        for p, d in zip(leaves, jax.tree.leaves(direction), strict=True)
    ]
    return jax.tree.unflatten(structure, moved)


def _wide(leaf: jax.Array) -> np.dtype:
    return jnp.promote_types(leaf.dtype, jnp.float32)


def critical_rate_at_init(training: Training, guess: float, seeds: Sequence[int]) -> float:
    """Return the critical rate of the first update of a training, the median over seeds.

    Args:
      training: A training whose state has the field ``params``.
      guess: Rate to begin with.
      seeds: The seeds.

    Returns:
      The rate; infinite if no rate raises the loss.

    Raises:
      ValueError: If the state has no field ``params``, or the loss rises at every rate.
    """

    # The data is an argument: XLA would fold a constant of its size into the program.
    def search(seed: jax.Array, data: Data) -> _Probe:
        state, data_key = _start(training, guess, seed, "range_test: high='critical'")
        batch = training.batch(data, data_key, jnp.int32(0))
        return _search_step(training, state, batch)[0]

    searches = jax.jit(jax.vmap(search, (0, None)))
    crossing = jax.device_get(searches(jnp.asarray(seeds, jnp.uint32), training.data))
    rate = guess * float(np.median(np.where(np.isinf(crossing.high), np.inf, crossing.low)))
    if not rate > 0:
        raise ValueError(
            "range_test: high='critical' is not accepted: the loss of the first batch rises at "
            "every rate; pass a number."
        )
    return rate


# A step at the critical rate itself gains nothing: the loss after it is the loss before it.
_SAFETY: Final = 0.9


def warmup_steps_at_critical_rate(
    training: Training, peak: float, max_steps: int, guess: float, seeds: Sequence[int]
) -> int:
    """Return after how many updates a run may use its peak, the median over seeds.

    Every update uses the smaller one of the peak and 0.9 of its own critical rate. The curvature
    falls while the run stays close to the critical rate, so the rate rises as fast as it can.

    Args:
      training: A training whose state has the field ``params``.
      peak: The rate to be reached.
      max_steps: Number of updates after which the search ends.
      guess: Rate to begin with.
      seeds: The seeds.

    Returns:
      The number of updates below the peak, at most ``max_steps``.

    Raises:
      ValueError: If the state has no field ``params``.

    References:
      Kalra & Barkeshli 2024 (arXiv 2406.09405): a warmup lowers the curvature so that a higher
      rate becomes stable, and a run that begins at its critical rate needs less of it.
    """

    def count(seed: jax.Array, data: Data) -> jax.Array:
        state, data_key = _start(training, guess, seed, "auto: warmup='auto'")

        def is_below(carry: tuple[chex.ArrayTree, jax.Array, jax.Array]) -> jax.Array:
            return ~carry[2] & (carry[1] < max_steps)

        def advance(
            carry: tuple[chex.ArrayTree, jax.Array, jax.Array],
        ) -> tuple[chex.ArrayTree, jax.Array, jax.Array]:
            state, step, _ = carry
            batch = training.batch(data, data_key, step)
            crossing, direction, after = _search_step(training, state, batch)
            # In multiples of the update at ``guess``; a search without a crossing has no limit.
            limit = jnp.where(jnp.isinf(crossing.high), jnp.inf, _SAFETY * crossing.low)
            params = _moved(state.params, direction, jnp.minimum(peak / guess, limit))
            return after._replace(params=params), step + 1, limit >= peak / guess

        _, num_updates, is_reached = jax.lax.while_loop(
            is_below, advance, (state, jnp.int32(0), jnp.asarray(False))
        )
        return num_updates - is_reached

    counts = jax.jit(jax.vmap(count, (0, None)))(jnp.asarray(seeds, jnp.uint32), training.data)
    return int(np.median(jax.device_get(counts)))


def _start(
    training: Training, rate: float, seed: jax.Array, argument: str
) -> tuple[Any, jax.Array]:
    """Return the first state of a run at a constant rate, and the key of its batches."""
    init_key, data_key = jax.random.split(jax.random.key(seed))
    state = training.init(constant(rate), init_key)
    if not hasattr(state, "params"):
        raise ValueError(
            f"{argument} is not accepted, as the state of the training has no field params; pass "
            "a number."
        )
    return state, data_key


def _search_step(
    training: Training, state: Any, batch: Batch
) -> tuple[_Probe, chex.ArrayTree, Any]:
    """Return the search along the next update, in multiples of it, the update and the new state."""
    after, _ = training.step(state, batch)
    direction = jax.tree.map(jnp.subtract, after.params, state.params)

    def loss_of(params: optax.Params) -> jax.Array:
        # The gradients of the step are not used here: XLA removes them.
        return training.step(state._replace(params=params), batch)[1]

    crossing = _search(
        *(loss_of, state.params, direction, jnp.asarray(True)),
        *(jnp.float32(1), jnp.float32(2.0**-4), jnp.int32(100)),
    )
    return crossing, direction, after
