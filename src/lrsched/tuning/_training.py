"""A training run as pure functions of a schedule and a key, so that many runs are one program."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lrsched._schedule import Schedule, is_number
from lrsched.adaptive.controller import observe, observed_metric_names
from lrsched.algebra import as_schedule
from lrsched.arguments import ArgumentType, instance_of, not_accepted, short_repr, whole_number
from lrsched.running.read import eval_params
from lrsched.transforms.composition import has_rate
from lrsched.transforms.inject import inject_schedules
from lrsched.tuning._nnx import is_nnx_module, is_of_package, split_module

if TYPE_CHECKING:
    import chex

Key: TypeAlias = jax.Array
# Types that the functions of a user choose. They are Any: no other type of a parameter lets a
# callable accept every function.
Model: TypeAlias = Any
"""Parameters, or an ``nnx.Module``."""
State: TypeAlias = Any
"""Pytree that one update hands to the next, such as a `TrainingState`."""
Data: TypeAlias = Any
"""Arrays of all examples, an iterable of mini-batches, or a function of a key and the step."""
Batch: TypeAlias = Any
"""Pytree of arrays: one mini-batch."""
Optimizer: TypeAlias = Callable[[Schedule], optax.GradientTransformation]
Metrics: TypeAlias = jax.Array | dict[str, jax.Array]
"""A scalar, lower is better; or scalars by name, one of which is "loss"."""
ModelFunction: TypeAlias = Callable[
    [Model, Batch, "chex.ArrayTree", bool], tuple["Metrics", "chex.ArrayTree"]
]
"""``(params, batch, model_state, is_training) -> (loss, model_state)``."""


class TrainingState(NamedTuple):
    """Values that one update passes to the next.

    Attributes:
      params: The parameters.
      opt_state: The state of the optimizer, which contains the schedule.
      model_state: Other state of the model (batch statistics, dropout keys); ``None`` without
        such a state.
    """

    params: optax.Params
    opt_state: optax.OptState
    model_state: chex.ArrayTree | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """A training run as pure functions; `training` makes one from a loss and a model.

    Write one yourself to tune a train step of your own. ``state`` may be any pytree whose optimizer
    state contains the schedule.

    Attributes:
      init: ``(schedule, key) -> state``.
      step: ``(state, batch) -> (state, loss)``: one update, and the loss before it.
      batch: ``(data, key, step) -> batch``: the mini-batch of an update.
      data: Arrays that ``batch`` reads.
      evaluate: ``(state, validation) -> (state, metric)``, where the new state has passed the
        metric to its controllers. The metric is a scalar, lower is better, or a dict of scalars
        with "loss". ``None`` if there is no validation set.
      validation: Arrays that ``evaluate`` reads.
      name: Name of the optimizer; it selects the default range of `range_test`.

    Example:
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

    init: Callable[[Schedule, Key], State]
    step: Callable[[State, Batch], tuple[State, jax.Array]]
    batch: Callable[[Data, Key, jax.Array], Batch]
    data: Data = None
    evaluate: Callable[[State, Data], tuple[State, Metrics]] | None = None
    validation: Data = None
    name: str | None = None


TRAINING: Final = ArgumentType(
    "Training", "a Training, as lrsched.tuning.training makes one", instance_of(Training)
)
"""The training that a sweep, a search or a range test runs."""
SCHEDULE: Final = ArgumentType(
    "Schedule",
    "lrsched schedules, such as lrsched.constant(0.1) for a plain number",
    instance_of(Schedule),
)
"""One of the schedules that a sweep or a search trains with."""


def training(
    loss_fn: Callable[[Model, Batch], jax.Array],
    model: Model,
    optimizer: Optimizer,
    data: Data,
    *,
    batch_size: int | None = None,
    num_batches: int = 256,
    validation: Data = None,
    metric: Callable[[Model, Batch], Metrics] | None = None,
) -> Training:
    """Make a `Training` from a loss function, a model, an optimizer and data.

    Args:
      loss_fn: ``(model, batch) -> loss``, a scalar. Receives the parameters if ``model`` is a
        pytree of them.
      model: An ``nnx.Module`` or a pytree of parameters, from which all seeds start; or a function
        ``key -> model`` of either, which is called for each seed. It is not modified.
      optimizer: ``rate -> transform``: `optax.adam` and every other function of optax that takes
        a rate, `prodigy` and every other one of this package, or a function such as ``lambda rate:
        optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate, weight_decay=0.1))``.
      data: A pytree of arrays with a leading axis of examples, visited in a new random order in
        each epoch; a function ``(key, step) -> batch``; or an iterable of batches (a generator, a
        list of tuples or dicts, a PyTorch ``DataLoader``, a ``tf.data.Dataset``), of which the
        first ``num_batches`` are read into memory and visited in a new random order in each epoch.
      batch_size: Number of examples in a mini-batch. Defaults to all examples.
      num_batches: Maximum number of batches that are read from an iterable. The default of 256
        covers one `range_test`.
      validation: A validation batch, by which runs are ranked. Controllers that observe
        ``validation`` (`reduce_on_overfitting`) receive the metric on it.
      metric: ``(model, batch) -> metric`` for the validation batch, lower is better. Defaults to
        ``loss_fn``. May return a dict such as ``{"loss": ..., "accuracy": ...}``; runs are ranked
        by "loss". An ``nnx.Module`` is in ``eval()`` mode, averaged parameters are in place.

    Returns:
      The training, which holds no compiled program.

    Raises:
      ValueError: If the arrays differ in length or are empty, ``batch_size`` is not from 1 to
        their length, ``metric`` is given without ``validation``, ``optimizer`` is not a function of
        the rate that returns a transform, ``model`` is a class or has parameters that are no
        floating-point numbers, or an iterable has no batch.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from lrsched import tuning
      >>> x = jnp.linspace(-1, 1, 64)
      >>> def loss_fn(params, batch):
      ...     x, y = batch
      ...     return jnp.mean((params["w"] * x - y) ** 2)
      >>> run = tuning.training(
      ...     loss_fn, {"w": jnp.zeros(())}, optax.adam, (x, 2 * x), batch_size=16)
      >>> result = tuning.range_test(run, steps=50)
      >>> 1e-3 < result.suggestion() < 10
      True
    """
    if metric is not None and validation is None:
        raise ValueError(
            "training: metric is given without a validation set (there is no validation=); pass "
            "validation=, the batch that it evaluates."
        )
    if not callable(loss_fn):
        requirement = (
            "a function of the model and a mini-batch; the order is training(loss_fn, model, "
            "optimizer, data)"
        )
        raise not_accepted("training", "loss_fn", loss_fn, requirement)
    _check_optimizer(optimizer)
    create, call = _model_functions(_scalar(loss_fn), model)
    _, evaluate_model = _model_functions(metric or _scalar(loss_fn), model)
    transform = _with_schedule_in_state(optimizer, create)

    def init(schedule: Schedule, key: Key) -> TrainingState:
        params, model_state = create(key)
        return TrainingState(params, transform(schedule).init(params), model_state)

    def step(state: TrainingState, batch: Batch) -> tuple[TrainingState, jax.Array]:
        (loss, model_state), gradients = jax.value_and_grad(call, has_aux=True)(
            state.params, batch, state.model_state, True
        )
        # Any rate will do here: the schedule that applies is the one in the state.
        update = optax.with_extra_args_support(transform(as_schedule(1.0))).update
        updates, opt_state = update(gradients, state.opt_state, state.params, value=loss)
        return TrainingState(
            optax.apply_updates(state.params, updates), opt_state, model_state
        ), loss

    def evaluate(state: TrainingState, batch: Batch) -> tuple[TrainingState, dict[str, jax.Array]]:
        params = eval_params(state.opt_state, state.params)
        metrics = as_metric_dict(evaluate_model(params, batch, state.model_state, False)[0])
        if "validation" in observed_metric_names(state.opt_state):
            state = state._replace(opt_state=observe(state.opt_state, validation=metrics["loss"]))
        return state, metrics

    arrays, batch = _batch_function(data, batch_size, num_batches)
    return Training(
        init,
        jax.jit(step),
        batch,
        arrays,
        None if validation is None else evaluate,
        validation,
        getattr(inspect.unwrap(optimizer), "__name__", None),
    )


def as_metric_dict(metrics: Metrics) -> dict[str, jax.Array]:
    """Return metrics by name, as float32 scalars.

    Args:
      metrics: A scalar, which is named "loss", or a dict that contains "loss".

    Returns:
      A dict from name to float32 scalar.

    Raises:
      ValueError: If a dict has no "loss".

    Example:
      >>> from lrsched.tuning._training import as_metric_dict
      >>> as_metric_dict(0.5)
      {'loss': Array(0.5, dtype=float32)}
    """
    named = metrics if isinstance(metrics, dict) else {"loss": metrics}
    if "loss" not in named:
        raise ValueError(
            f"training: the metric gives {', '.join(named)}; one of them must be called loss, by "
            "which runs are ranked."
        )
    return {name: jnp.asarray(value, jnp.float32) for name, value in named.items()}


def shuffled_indices(
    key: Key, step: jax.Array, num_examples: int | jax.Array, batch_size: int
) -> jax.Array:
    """Compute the examples in the mini-batch of an update, with a new random order in each epoch.

    Epochs follow one another without a gap: a mini-batch may end one and begin the next. The order
    is computed where it is needed, so a run can continue at any step, and runs store no
    permutation.

    Args:
      key: Random key of the run; it determines the orders of all epochs.
      step: Number of updates done, int32.
      num_examples: Number of examples in an epoch.
      batch_size: Number of indices to return.

    Returns:
      Indices of examples, int32 of shape ``(batch_size,)``.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from lrsched import tuning
      >>> batches = [tuning.shuffled_indices(jax.random.key(0), step, 10, 5) for step in range(2)]
      >>> sorted(jnp.concatenate(batches).tolist())
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]

    References:
      Hoang, Morris, Rogaway 2012, "An enciphering scheme based on a card shuffle".
    """
    num_epochs = None
    if isinstance(num_examples, int):
        num_epochs = 1 + -(-batch_size // num_examples)
    is_short = num_epochs is not None and num_epochs <= _MAX_TABULATED_EPOCHS
    return _shuffled_indices(key, step, num_examples, batch_size, num_epochs if is_short else None)


@functools.partial(jax.jit, static_argnames=("batch_size", "num_epochs"))
def _shuffled_indices(
    key: Key,
    step: jax.Array,
    num_examples: int | jax.Array,
    batch_size: int,
    num_epochs: int | None,
) -> jax.Array:
    # Swap-or-not shuffle (Hoang et al. 2012): each round swaps x and (pivot - x) mod size on one
    # hash bit. Any position is computed in O(rounds) without storing a permutation, so vmapped runs
    # need no index array and a resumed run needs no data state.
    size = jnp.uint32(num_examples)
    # Split the step before multiplying: step * batch_size exceeds 32 bits in a long run.
    quotient, remainder = jnp.divmod(jnp.asarray(step, jnp.uint32), size)
    position = remainder * jnp.uint32(batch_size) + jnp.arange(batch_size, dtype=jnp.uint32)
    first_epoch = quotient * jnp.uint32(batch_size) + position[0] // size
    epoch, index = quotient * jnp.uint32(batch_size) + position // size, position % size
    # A mini-batch touches few epochs. Hash the rounds of each of them once, not of each position:
    # that halves the time to compile and most of the time to run.
    hashed = epoch if num_epochs is None else first_epoch + jnp.arange(num_epochs, dtype=jnp.uint32)
    for word in jax.random.key_data(key).reshape(-1):
        hashed = _hash32(hashed ^ word)
    rounds = jnp.arange(_SHUFFLE_ROUNDS, dtype=jnp.uint32)[:, None]
    pivots = _hash32(hashed + 2 * rounds) % size
    round_hashes = _hash32(hashed + (2 * rounds + 1))
    if num_epochs is not None:
        # Without the barrier XLA would fuse the hashes into each position again.
        pivots, round_hashes = _optimization_barrier((pivots, round_hashes))

    def of_position(hashes: jax.Array) -> jax.Array:
        if num_epochs is None:
            return hashes
        # A chain of selects: a gather would not fuse with the round.
        value = hashes[0]
        for i in range(1, num_epochs):
            value = jnp.where(epoch - first_epoch == i, hashes[i], value)
        return value

    def swap(index: jax.Array, hashes: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        pivot, round_hash = map(of_position, hashes)
        partner = jnp.where(pivot >= index, pivot - index, pivot + (size - index))
        # The bit must be the same for both partners, or two positions would get one example.
        swap_bit = _hash32(jnp.maximum(index, partner) ^ round_hash) >> 31
        return jnp.where(swap_bit == 1, partner, index), None

    # Unrolled in part: all rounds in one fusion take LLVM as long as the rest of a small model, and
    # a loop over single rounds takes longer to run.
    index, _ = jax.lax.scan(swap, index, (pivots, round_hashes), unroll=_UNROLLED_ROUNDS)
    return index.astype(jnp.int32)


_UNROLLED_ROUNDS: Final = 8
# Longer chains of selects than this cost more than they save.
_MAX_TABULATED_EPOCHS: Final = 4
# Orders of 20 examples pass a chi-square test of uniformity and neighbourhood from here on.
_SHUFFLE_ROUNDS: Final = 24


_optimization_barrier: Any = jax.lax.optimization_barrier


def _hash32(x: jax.Array) -> jax.Array:
    """Mix 32 bits (the constants are those of C. Wellons's ``lowbias32`` search)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def _batch_function(
    data: Data, batch_size: int | None, num_batches: int
) -> tuple[chex.ArrayTree, Callable[[Data, Key, jax.Array], Batch]]:
    """Return the arrays to keep on the device, and the function that makes a mini-batch of them."""
    if _is_iterable_of_batches(data):
        if batch_size is not None:
            raise ValueError(
                f"training: batch_size={batch_size!r} is not accepted where data is an iterable of "
                "batches, which are taken as they come; leave batch_size out."
            )
        stacked = _read_batches(data, num_batches)
        count = len(jax.tree.leaves(stacked)[0])

        def next_batch(arrays: chex.ArrayTree, key: Key, step: jax.Array) -> Batch:
            index = _optimization_barrier(shuffled_indices(key, step, count, 1))[0]
            return jax.tree.map(lambda array: array[index], arrays)

        return stacked, next_batch
    if callable(data):
        if batch_size is not None:
            raise ValueError(
                f"training: batch_size={batch_size!r} is not accepted: data is a function of the "
                "key and the step, which determines the size of the mini-batch itself."
            )
        return None, lambda _, key, step: data(key, step)
    leaves = jax.tree.leaves(data)
    wrong = [leaf for leaf in leaves if not _is_numeric(leaf)] if leaves else [data]
    if wrong:
        raise ValueError(
            f"training: {short_repr(wrong[0])} in data is not accepted; data must be arrays of "
            "numbers with one entry for each example, an iterable of mini-batches, or a function "
            "of the key and the step."
        )
    lengths = {len(leaf) if np.ndim(leaf) else 0 for leaf in leaves}
    if len(lengths) != 1 or not min(lengths):
        raise ValueError(
            f"training: data has arrays of the lengths {sorted(lengths)}; all must have the same "
            "number of examples, at least one, along their first axis."
        )
    (num_examples,) = lengths
    size = num_examples if batch_size is None else batch_size
    if not (isinstance(size, int) and 1 <= size <= num_examples):
        requirement = f"a whole number from 1 to the {num_examples} examples"
        raise not_accepted("training", "batch_size", batch_size, requirement)

    def batch(arrays: chex.ArrayTree, key: Key, step: jax.Array) -> Batch:
        if size == num_examples:
            return arrays
        # Without the barrier XLA computes an index again for every number that it gathers.
        indices = _optimization_barrier(shuffled_indices(key, step, num_examples, size))
        return jax.tree.map(lambda array: array[indices], arrays)

    return jax.tree.map(jnp.asarray, data), batch


def _is_numeric(leaf: object) -> bool:
    dtype = leaf.dtype if isinstance(leaf, jax.Array) else np.asarray(leaf).dtype
    kinds = (np.bool_, jnp.number, jax.dtypes.extended)  # random keys are of an extended dtype
    return any(jnp.issubdtype(dtype, kind) for kind in kinds)


def _is_iterable_of_batches(data: object) -> bool:
    if inspect.isgeneratorfunction(data):
        return True
    is_leaf = bool(jax.tree_util.all_leaves([data]))
    if isinstance(data, str | bytes):
        return False
    if isinstance(data, list) and data and all(isinstance(item, tuple | dict) for item in data):
        return True
    return (
        is_leaf
        and not callable(data)
        and not hasattr(data, "shape")
        and (hasattr(data, "__iter__") or hasattr(data, "__getitem__"))
    )


def _read_batches(data: Data, num_batches: int) -> chex.ArrayTree:
    """Stack the first batches of an iterable; a last, smaller batch is left out."""
    num_batches = whole_number().validate("training", "num_batches", num_batches)
    source = data() if inspect.isgeneratorfunction(data) else data
    # TensorFlow's tensors are converted by the data set itself: jax has no conversion for them.
    iterator: Iterator[Batch] = iter(getattr(source, "as_numpy_iterator", lambda: source)())
    batches = [jax.tree.map(np.asarray, batch) for batch in itertools.islice(iterator, num_batches)]
    if not batches:
        raise ValueError(
            f"training: data={data!r} is not accepted: it has no batch left; pass an iterable of "
            "at least one batch (an iterator can be read once)."
        )
    shapes = [[x.shape for x in jax.tree.leaves(batch)] for batch in batches]
    if len(batches) > 1 and shapes[-1] != shapes[0]:
        batches, shapes = batches[:-1], shapes[:-1]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"training: batch {i} of data has arrays of the shapes {shape}, batch 0 of "
                f"{shapes[0]}; all batches must have the same shapes (pad them, or drop others)."
            )
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *batches)


def _model_functions(
    function: Callable[[Model, Batch], Metrics], model: Model
) -> tuple[Callable[[Key], tuple[Model, chex.ArrayTree]], ModelFunction]:
    """Return the functions that create a model from a key and evaluate ``function`` of it."""
    _check_model(model)
    build = model if callable(model) and not is_nnx_module(model) else None
    if is_nnx_module(model if build is None else jax.eval_shape(build, jax.random.key(0))):
        return split_module(function, model, build)

    def create(key: Key) -> tuple[Model, None]:
        params = model if build is None else build(key)
        return jax.tree.map(jnp.asarray, params), None

    def call(
        params: Model, batch: Batch, model_state: chex.ArrayTree, is_training: bool
    ) -> tuple[Metrics, None]:
        del model_state, is_training
        return function(params, batch), None

    return create, call


def _check_model(model: object) -> None:
    if inspect.isclass(model):
        raise ValueError(
            f"training: model={model.__name__} is not accepted: it is a class; model must be an "
            f"nnx.Module, a pytree of parameters, or a function of a key that makes one, such as "
            f"lambda key: {model.__name__}(rngs=nnx.Rngs(key))."
        )
    if is_of_package(model, "flax.linen"):
        raise ValueError(
            f"training: model={type(model).__name__} is not accepted: it is a flax.linen module, "
            "which holds no parameters; pass lambda key: module.init(key, example_input) as model, "
            "and call module.apply(model, inputs) in loss_fn."
        )
    for leaf in () if callable(model) or is_nnx_module(model) else jax.tree.leaves(model):
        if not (is_number(leaf) or isinstance(leaf, bool)):
            raise ValueError(
                f"training: {short_repr(leaf)} in model is not accepted; model must be an "
                "nnx.Module, a pytree of arrays, or a function of a key that makes one."
            )


def _check_optimizer(optimizer: object) -> None:
    if hasattr(optimizer, "init") and hasattr(optimizer, "update"):
        raise ValueError(
            "training: optimizer is a finished transform, whose rate cannot be varied; optimizer "
            "must be a function of the rate, such as optax.adam or lambda rate: "
            "optax.adamw(rate, weight_decay=0.1)."
        )
    if not callable(optimizer) or isinstance(optimizer, Schedule):
        requirement = "a function of the rate, such as optax.adam"
        raise not_accepted("training", "optimizer", optimizer, requirement)


def check_loss(function: str, loss: Any, advice: str = "") -> jax.Array:
    """Return the loss if it is a real scalar.

    Args:
      function: Name of the function that the message is from.
      loss: Value that the loss function returned.
      advice: End of the sentence on a loss that is not a scalar.

    Raises:
      ValueError: If the loss is not a scalar or not a real floating-point number.
    """
    if loss is None or isinstance(loss, tuple | list | dict) or np.ndim(loss) != 0:
        got = "nothing" if loss is None else f"a {type(loss).__name__}"
        got = f"an array of shape {np.shape(loss)}" if hasattr(loss, "shape") else got
        raise ValueError(
            f"{function}: loss_fn returns {got}; it must return a scalar loss and nothing else: "
            f"take the mean over the batch{advice}."
        )
    if not jnp.issubdtype(jnp.result_type(loss), jnp.floating):
        raise ValueError(
            f"{function}: loss_fn returns a value of type {jnp.result_type(loss)}; it must "
            "return a real floating-point number, of which gradients can be taken."
        )
    return loss


def _scalar(loss_fn: Callable[[Model, Batch], jax.Array]) -> Callable[[Model, Batch], jax.Array]:
    @functools.wraps(loss_fn)
    def checked(model: Model, batch: Batch) -> jax.Array:
        return check_loss(
            "training", loss_fn(model, batch), ", and pass metric= for further values"
        )

    return checked


def _with_schedule_in_state(
    optimizer: Optimizer, create: Callable[[Key], tuple[Model, chex.ArrayTree]]
) -> Optimizer:
    """Return the optimizer with the schedule in its state, injected where it is not there yet."""
    try:
        # Not 0, which is no peak that a weight decay can be relative to.
        example = optimizer(as_schedule(1.0))
    except TypeError as error:  # such as float(rate), or a function without arguments
        raise ValueError(
            f"training: optimizer fails with a schedule as its rate ({error}); optimizer must be a "
            "function of the rate that passes it to optax, such as lambda rate: optax.sgd(rate)."
        ) from None
    if not (hasattr(example, "init") and hasattr(example, "update")):
        raise ValueError(
            f"training: optimizer returns {short_repr(example)}; it must return an optax "
            "transform, such as optax.sgd(rate)."
        )

    def init(key: Key) -> optax.OptState:
        params = create(key)[0]
        for leaf in jax.tree.leaves(params):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.inexact):
                raise ValueError(
                    f"training: model has parameters of type {jnp.result_type(leaf)}, of which no "
                    "gradient can be taken; they must be floating-point numbers."
                )
        return example.init(params)

    if has_rate(jax.eval_shape(init, jax.random.key(0))):
        return optimizer
    return inject_schedules(lambda learning_rate: optimizer(learning_rate))
