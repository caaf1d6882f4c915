"""What is trained: pure functions of a schedule and a seed, so that many runs are one program."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched._schedule import Schedule
from lrsched.adaptive.controller import observe, observed_metric_names
from lrsched.algebra import as_schedule
from lrsched.running.read import eval_params
from lrsched.transforms.composition import has_rate
from lrsched.transforms.inject import inject_schedules

Key: TypeAlias = jax.Array
Batch: TypeAlias = Any
Optimizer: TypeAlias = Callable[[Schedule], optax.GradientTransformation]
Metrics: TypeAlias = jax.Array | dict[str, jax.Array]
"""A number, lower is better; or several by their names, of which that is "loss"."""
Call: TypeAlias = Callable[[Any, Batch, Any, bool], tuple[Any, Any]]
"""``(params, batch, others, is_training) -> (loss, others)``."""


class State(NamedTuple):
    """What one update hands to the next.

    Attributes:
      params: the parameters.
      opt_state: the optimizer's state; the schedule is in it.
      others: what else a model keeps (batch statistics, keys of dropout); None where it has none.
    """

    params: Any
    opt_state: optax.OptState
    others: Any = None


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """A training run as pure functions; `training` makes one from a loss and a model.

    A train step of one's own goes in here: ``state`` is any tree whose optimizer state holds the
    schedule, so that it can be read and changed.

    Attributes:
      init: ``(schedule, key) -> state``.
      step: ``(state, batch) -> (state, loss)``: one update, and the loss before it.
      batch: ``(data, key, step) -> batch``: the mini-batch of that update.
      data: arrays that ``batch`` reads.
      evaluate: ``(state, validation) -> (state, number)``, lower is better, and the state with its
        controllers told; or in place of the number a dictionary of them, with "loss" to compare by.
        None: none is held out.
      validation: arrays that ``evaluate`` reads.
      name: the optimizer's, where it has one; it chooses the range of a `range_test`.
      compiled: the programs made of it so far, so that a second sweep compiles nothing.

    >>> import jax, jax.numpy as jnp, lrsched, optax
    >>> from lrsched import tuning
    >>> def init(schedule, key):
    ...     params = jnp.array([3.0])
    ...     return params, lrsched.scale_by_learning_rate(schedule).init(params)
    >>> def step(state, batch):
    ...     params, opt_state = state
    ...     updates, opt_state = lrsched.scale_by_learning_rate(0.0).update(params, opt_state)
    ...     return (params + updates, opt_state), jnp.sum(params**2) / 2
    >>> run = tuning.Training(init, step, batch=lambda data, key, step: None)
    >>> tuning.sweep(run, [lrsched.constant(0.5)], steps=2, progress=False).table["loss"].item()
    1.125
    """

    init: Callable[[Schedule, Key], Any]
    step: Callable[[Any, Batch], tuple[Any, jax.Array]]
    batch: Callable[[Any, Key, jax.Array], Batch]
    data: Any = None
    evaluate: Callable[[Any, Any], tuple[Any, Metrics]] | None = None
    validation: Any = None
    name: str | None = None
    compiled: dict[Any, Any] = dataclasses.field(default_factory=dict, init=False, repr=False)


def training(
    loss_fn: Callable[[Any, Batch], jax.Array],
    model: Any,
    optimizer: Optimizer,
    data: Any,
    *,
    batch_size: int | None = None,
    validation: Any = None,
    metric: Callable[[Any, Batch], Metrics] | None = None,
) -> Training:
    """A `Training` from a loss function, a model, an optimizer and data.

    Args:
      loss_fn: ``(model, batch) -> loss``; of parameters where ``model`` is a tree of them.
      model: an ``nnx.Module``, or a tree of parameters, which all seeds start from; or a function
        ``key -> model`` of either, called for each seed. It is not changed.
      optimizer: ``rate -> transform``: ``optax.adam`` and all others of optax that take a rate;
        `prodigy` and all others of ours; or a function such as ``lambda rate:
        optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.1))``.
      data: a tree of arrays, examples first: each epoch goes through them in an order of its own;
        or a function ``(key, step) -> batch``.
      batch_size: how many of the examples are a mini-batch; all, if None.
      validation: a batch that is held out, to choose by; controllers that look at ``validation``
        (`reduce_on_overfitting`) are told the metric on it.
      metric: ``(model, batch) -> number`` on it, lower is better; ``loss_fn`` by default. Or
        several in a dictionary, ``{"loss": ..., "accuracy": ...}``: "loss" is what is chosen by.
        An ``nnx.Module`` is in its ``eval()`` mode, averaged parameters are in their place.

    Raises:
      ValueError: arrays of different lengths, no example, a batch size that is not from 1 to their
        number, or a metric with nothing to look at.

    >>> import jax.numpy as jnp, optax
    >>> from lrsched import tuning
    >>> x = jnp.linspace(-1, 1, 64)
    >>> def loss_fn(params, batch):
    ...     x, y = batch
    ...     return jnp.mean((params["w"] * x - y) ** 2)
    >>> run = tuning.training(loss_fn, {"w": jnp.zeros(())}, optax.adam, (x, 2 * x), batch_size=16)
    >>> found = tuning.range_test(run, steps=50)
    >>> 1e-3 < found.suggestion() < 10
    True
    """
    if metric is not None and validation is None:
        raise ValueError("training: metric is given, but no validation; a metric looks at it.")
    make, call = _model(loss_fn, model)
    _, judge = _model(metric or loss_fn, model)
    transform = _with_its_schedule_inside(optimizer, make)

    def init(schedule: Schedule, key: Key) -> State:
        params, others = make(key)
        return State(params, transform(schedule).init(params), others)

    def step(state: State, batch: Batch) -> tuple[State, jax.Array]:
        (loss, others), gradients = jax.value_and_grad(call, has_aux=True)(
            state.params, batch, state.others, True
        )
        update = optax.with_extra_args_support(transform(as_schedule(0.0))).update
        updates, opt_state = update(gradients, state.opt_state, state.params, value=loss)
        return State(optax.apply_updates(state.params, updates), opt_state, others), loss

    def evaluate(state: State, held_out: Any) -> tuple[State, dict[str, jax.Array]]:
        params = eval_params(state.opt_state, state.params)
        found = named(judge(params, held_out, state.others, False)[0])
        if "validation" in observed_metric_names(state.opt_state):
            state = state._replace(opt_state=observe(state.opt_state, validation=found["loss"]))
        return state, found

    arrays, batch = _batches(data, batch_size)
    name = getattr(inspect.unwrap(optimizer), "__name__", None)
    return Training(
        init,
        jax.jit(step),
        batch,
        arrays,
        None if validation is None else evaluate,
        validation,
        name,
    )


def named(found: Metrics) -> dict[str, jax.Array]:
    """Metrics by their names, in float32.

    Args:
      found: a number, which is called "loss", or a dictionary that has one of this name.

    Raises:
      ValueError: a dictionary without it.

    >>> from lrsched.tuning._training import named
    >>> named(0.5)
    {'loss': Array(0.5, dtype=float32)}
    """
    metrics = found if isinstance(found, dict) else {"loss": found}
    if "loss" not in metrics:
        raise ValueError(
            f"the metric gives {', '.join(metrics)}; one of them must be called loss: the runs are "
            "compared by it."
        )
    return {name: jnp.asarray(value, jnp.float32) for name, value in metrics.items()}


@functools.partial(jax.jit, static_argnames="batch_size")
def shuffled(key: Key, step: jax.Array, examples: int | jax.Array, batch_size: int) -> jax.Array:
    """The examples of the mini-batch of an update: every epoch in a random order of its own.

    Epochs follow one another without a seam: a mini-batch may end one and begin the next. The order
    is computed where it is needed, by a swap-or-not shuffle, so that a run can go on at any step
    and many runs keep nothing.

    Args:
      key: the seed's; it gives the orders of all epochs.
      step: the updates so far.
      examples: how many there are.
      batch_size: how many are wanted.

    Returns:
      Their indices, ``(batch_size,)``, int32.

    Source: Hoang, Morris, Rogaway 2012 ("An enciphering scheme based on a card shuffle").

    >>> import jax, jax.numpy as jnp
    >>> from lrsched import tuning
    >>> batches = [tuning.shuffled(jax.random.key(0), step, 10, 5) for step in range(2)]
    >>> sorted(jnp.concatenate(batches).tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    size = jnp.uint32(examples)
    whole, left = jnp.divmod(jnp.asarray(step, jnp.uint32), size)
    place = left * jnp.uint32(batch_size) + jnp.arange(batch_size, dtype=jnp.uint32)
    epoch, card = whole * jnp.uint32(batch_size) + place // size, place % size
    deck = epoch
    for word in jax.random.key_data(key).reshape(-1):
        deck = _mixed(deck ^ word)
    for turn in range(_ROUNDS):
        pivot = _mixed(deck + jnp.uint32(2 * turn)) % size
        partner = jnp.where(pivot >= card, pivot - card, pivot + (size - card))
        coin = _mixed(jnp.maximum(card, partner) ^ _mixed(deck + jnp.uint32(2 * turn + 1))) >> 31
        card = jnp.where(coin == 1, partner, card)
    chosen: jax.Array = card.astype(jnp.int32)
    return chosen


_ROUNDS = 24


_kept: Any = jax.lax.optimization_barrier


def _mixed(x: jax.Array) -> jax.Array:
    """A hash of 32 bits."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _batches(
    data: Any, batch_size: int | None
) -> tuple[Any, Callable[[Any, Key, jax.Array], Batch]]:
    if callable(data):
        if batch_size is not None:
            raise ValueError(
                f"training: batch_size={batch_size!r} is not accepted where data is a function of "
                "the key and the step, which makes the mini-batch as large as it likes."
            )
        return None, lambda _, key, step: data(key, step)
    lengths = {len(leaf) if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(data)}
    if len(lengths) != 1 or not min(lengths):
        raise ValueError(
            f"training: data has arrays of the lengths {sorted(lengths)}; all must have the same "
            "number of examples, at least one, along their first axis."
        )
    (examples,) = lengths
    size = examples if batch_size is None else batch_size
    if not (isinstance(size, int) and 1 <= size <= examples):
        raise ValueError(
            f"training: batch_size={batch_size!r} is not accepted; batch_size must be a whole "
            f"number from 1 to the {examples} examples."
        )

    def batch(arrays: Any, key: Key, step: jax.Array) -> Batch:
        if size == examples:
            return arrays
        # Without the barrier XLA computes an index anew for every number that it gathers.
        chosen: Any = _kept(shuffled(key, step, examples, size))
        return jax.tree.map(lambda array: array[chosen], arrays)

    return jax.tree.map(jnp.asarray, data), batch


def _model(
    function: Callable[[Any, Batch], Metrics], model: Any
) -> tuple[Callable[[Key], tuple[Any, Any]], Call]:
    """How a model is made for a seed, and how the function of it is called."""
    build = model if _is_builder(model) else None
    if _is_module(model if build is None else jax.eval_shape(build, jax.random.key(0))):
        from lrsched.flax import functional

        return functional(function, model, build)

    def make(key: Key) -> tuple[Any, None]:
        params = model if build is None else build(key)
        return jax.tree.map(jnp.asarray, params), None

    def call(params: Any, batch: Batch, others: Any, is_training: bool) -> tuple[Metrics, None]:
        del others, is_training
        return function(params, batch), None

    return make, call


def _is_builder(model: Any) -> bool:
    return callable(model) and not _is_module(model)


def _is_module(model: Any) -> bool:
    return any(kind.__module__.startswith("flax.nnx") for kind in type(model).__mro__)


def _with_its_schedule_inside(
    optimizer: Optimizer, make: Callable[[Key], tuple[Any, Any]]
) -> Optimizer:
    """The optimizer such that its state holds the schedule: injected, where it does not already."""

    def init(key: Key) -> Any:
        return optimizer(as_schedule(0.0)).init(make(key)[0])

    if has_rate(jax.eval_shape(init, jax.random.key(0))):
        return optimizer
    return inject_schedules(lambda learning_rate: optimizer(learning_rate))
