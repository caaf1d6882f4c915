"""Compiles a workload and an optimizer into one program; the schedule and the seeds are data."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import numpy as np
import optax
from flax import nnx

import lrsched
from benchmarks.policies import Optimizer
from benchmarks.workloads.base import Array, Data, Split, Workload


class State(NamedTuple):
    """What one update hands to the next; `others` is what a model keeps beside its parameters."""

    params: optax.Params
    others: nnx.State
    opt_state: optax.OptState


class Update(NamedTuple):
    """What one update reports: its mini-batch's loss and the rate it applied."""

    loss: Array
    rate: Array


class Scores(NamedTuple):
    """How the model does on a whole split."""

    loss: Array
    metric: Array


class History(NamedTuple):
    """A training run; a program adds a leading axis for the seeds.

    The updates keep their evaluation as an axis, `(evaluations, steps_per_evaluation)`, so a mean
    over the last axis gives a training curve to set beside the validation curve.
    """

    updates: Update
    validation: Scores
    test: Scores


class Functions(NamedTuple):
    """The pure functions that a run is made of."""

    init: Callable[[lrsched.Schedule, Data, Array], tuple[State, Array]]
    step: Callable[[State, lrsched.Schedule, Split, Array], tuple[State, Update]]
    evaluate: Callable[[State, Split], Scores]


Program: TypeAlias = Callable[[lrsched.Schedule, Data, jax.Array], History]


def compile_program(
    workload: Workload,
    optimizer: Optimizer,
    schedule: lrsched.Schedule,
    data: Data,
    seeds: jax.Array,
) -> Program:
    """Compiles the training of a workload for the arguments' shapes, whatever their values."""
    functions = _functions(workload, optimizer)
    if workload.scan:
        return _compile_scan(functions, schedule, data, seeds)
    return _compile_loop(functions, schedule, data, seeds)


def _functions(workload: Workload, optimizer: Optimizer) -> Functions:
    graphdef = nnx.graphdef(nnx.eval_shape(lambda: workload.model(nnx.Rngs(0))))

    def init(schedule: lrsched.Schedule, data: Data, seed: Array) -> tuple[State, Array]:
        params_key, order_key = jax.random.split(jax.random.key(seed))
        params, others = nnx.state(workload.model(nnx.Rngs(params_key)), nnx.Param, ...)
        state = State(params, others, optimizer(schedule, workload.steps).init(params))
        shape = (workload.evaluations, workload.steps_per_evaluation, workload.batch_size)
        return state, batches(order_key, len(data.train.targets), shape)

    def step(
        state: State, schedule: lrsched.Schedule, train: Split, batch: Array
    ) -> tuple[State, Update]:
        inputs, targets = jax.tree.map(lambda examples: examples[batch], train)

        def loss_of(params: optax.Params) -> jax.Array:
            return workload.loss(
                nnx.merge(graphdef, params, state.others, copy=True)(inputs), targets
            )

        loss, gradients = jax.value_and_grad(loss_of)(state.params)
        updates, opt_state = optimizer(schedule, workload.steps).update(
            gradients, state.opt_state, state.params, value=loss
        )
        params = optax.apply_updates(state.params, updates)
        return State(params, state.others, opt_state), Update(
            loss, lrsched.learning_rate(opt_state)
        )

    def evaluate(state: State, examples: Split) -> Scores:
        inputs, targets = examples
        outputs = nnx.merge(graphdef, state.params, state.others, copy=True)(inputs)
        return Scores(workload.loss(outputs, targets), workload.metric(outputs, targets))

    return Functions(init, step, evaluate)


def batches(key: jax.Array, examples: int, shape: tuple[int, ...]) -> jax.Array:
    """Returns the examples of each mini-batch as indices, the last axis being the mini-batch.

    Every epoch is a fresh permutation, and epochs follow each other without a seam: a mini-batch
    may end one and begin the next, so no example is dropped.
    """
    wanted = math.prod(shape)
    keys = jax.random.split(key, math.ceil(wanted / examples))
    order = jax.vmap(lambda key: jax.random.permutation(key, examples))(keys)
    return order.reshape(-1)[:wanted].reshape(shape)


def _train(
    functions: Functions,
    scan: Callable[..., Any],
    schedule: lrsched.Schedule,
    data: Data,
    seed: Array,
) -> History:
    """Trains one seed, with `scan` as the loop."""

    def step(state: State, batch: Array) -> tuple[State, Update]:
        return functions.step(state, schedule, data.train, batch)

    def step_and_evaluate(state: State, batches: Array) -> tuple[State, tuple[Update, Scores]]:
        state, updates = scan(step, state, batches)
        return state, (updates, functions.evaluate(state, data.validation))

    state, order = functions.init(schedule, data, seed)
    state, (updates, validation) = scan(step_and_evaluate, state, order)
    return History(updates, validation, functions.evaluate(state, data.test))


def _compile_scan(
    functions: Functions, schedule: lrsched.Schedule, data: Data, seeds: jax.Array
) -> Program:
    """One program for all steps and all seeds."""

    def program(schedule: lrsched.Schedule, data: Data, seeds: jax.Array) -> History:
        return jax.vmap(lambda seed: _train(functions, jax.lax.scan, schedule, data, seed))(seeds)

    return jax.jit(program).lower(schedule, data, seeds).compile()


def _compile_loop(
    functions: Functions, schedule: lrsched.Schedule, data: Data, seeds: jax.Array
) -> Program:
    """One program for a step, called from a Python loop over the steps and the seeds."""
    state, order = jax.eval_shape(functions.init, schedule, data, seeds[0])
    init = jax.jit(functions.init).lower(schedule, data, seeds[0])
    step = jax.jit(functions.step, donate_argnums=0).lower(
        state, schedule, data.train, jax.ShapeDtypeStruct(order.shape[-1:], order.dtype)
    )
    # The splits that are held out have one shape, so one compiled evaluation serves both.
    evaluate = jax.jit(functions.evaluate).lower(state, data.validation)
    compiled = Functions(init.compile(), step.compile(), evaluate.compile())

    def program(schedule: lrsched.Schedule, data: Data, seeds: jax.Array) -> History:
        return _stack([_train(compiled, _python_scan, schedule, data, seed) for seed in seeds])

    return program


def _python_scan(
    function: Callable[[Any, Array], tuple[Any, Any]], carry: Any, xs: Array
) -> tuple[Any, Any]:
    """`jax.lax.scan` as a Python loop."""
    outputs = []
    for x in np.asarray(xs):
        carry, output = function(carry, x)
        outputs.append(output)
    return carry, _stack(outputs)


def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)
