"""What every adaptive transform guarantees; optax's own are the controls."""

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import chex
import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint
import pytest
from flax import nnx
from flax.training.train_state import TrainState

import lrsched
from tests.adaptive.methods import (
    AVERAGES,
    CONTROLLERS,
    FINDERS,
    METHODS,
    NEEDS_VALUE,
    WARMUP,
    find,
    gradients_of,
    is_sound,
    loss_of,
    parameters,
    train,
    update,
)

ROOT = Path(__file__).parents[2]
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
every_finder = pytest.mark.parametrize("make", FINDERS.values(), ids=FINDERS)
every_controller = pytest.mark.parametrize("make", CONTROLLERS.values(), ids=CONTROLLERS)


# -- nothing poisons a state ---------------------------------------------------------------------


@every_method
def test_any_rate_and_any_gradients_leave_a_finite_state(make):
    steps = np.arange(40)
    rates = [WARMUP(steps), np.ones(40), np.zeros(40), np.where(steps % 3, 1.0, 0.0)]
    factors = [1.0, 0.0, 1.0, 0.01]

    def run(rates, factor):
        def scaled(params):
            return jax.tree.map(lambda g: (factor * g).astype(g.dtype), gradients_of(params))

        return train(make(lrsched.table(rates)), parameters(), 40, gradients_of=scaled)

    assert is_sound(jax.vmap(run)(jnp.float32(rates), jnp.float32(factors)))


@pytest.mark.parametrize("make", [optax.contrib.prodigy, optax.contrib.dadapt_adamw])
def test_optax_is_nan_for_ever_after_a_warmup_from_zero(make):
    optimizer, params = make(WARMUP), parameters(jnp.float32)
    state = optimizer.init(params)
    for _ in range(10):
        params, state = update(optimizer, state, params)
    assert not is_sound(state)


@every_method
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_does_not_reach_the_state(make, poison):
    optimizer, params = make(WARMUP), parameters()
    state = optimizer.init(params)
    for _ in range(4):
        params, state = update(optimizer, state, params)
    bad = gradients_of(params)
    bad["w"] = bad["w"].at[0, 1].set(poison)
    updates, after = optax.with_extra_args_support(optimizer).update(
        bad, state, params, value=1.0, validation=1.0
    )
    assert is_sound([node.learning_rate for node in [after] if hasattr(node, "learning_rate")])
    if isinstance(state, lrsched.AdaptiveState):
        chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, params))
        assert int(after.nonfinite_count) == int(state.nonfinite_count) + 1
        chex.assert_trees_all_equal(after.method_state, state.method_state)
        assert int(after.count) == int(state.count) == 4
    elif make not in FINDERS.values():
        assert is_sound(after)


@pytest.mark.parametrize(
    "around",
    [lrsched.mechanize, lrsched.hypergradient, lambda base: lrsched.schedule_free(base, 0.1)],
    ids=["mechanize", "hypergradient", "schedule_free"],
)
def test_a_base_that_divides_by_zero_does_not_reach_the_state(around):
    sign = optax.stateless(lambda updates, _: jax.tree.map(lambda g: -0.1 * g / abs(g), updates))
    optimizer, params = around(sign), {"w": jnp.array([1.0, 0.0])}  # 0 / 0 in the second
    state = optimizer.init(params)
    for _ in range(4):
        updates, state = optimizer.update(params, state, params)
        params = optax.apply_updates(params, updates)
    assert is_sound((params, state))
    assert params["w"][0] != 1
    assert params["w"][1] == 0


@every_method
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_metric_that_is_not_finite_is_ignored(request, make, poison):
    optimizer, params = optax.with_extra_args_support(make(1.0)), parameters()
    _, state = update(optimizer, optimizer.init(params), params)
    _, after = optimizer.update(
        gradients_of(params), state, params, value=poison, validation=poison
    )
    assert is_sound(after)
    if make in CONTROLLERS.values():
        before, after = find(lrsched.ControllerState, state), find(lrsched.ControllerState, after)
        assert int(after.nonfinite_count) == int(before.nonfinite_count) + 1
        chex.assert_trees_all_equal(
            (after.controller_state, after.scale), (before.controller_state, before.scale)
        )
    elif request.node.callspec.id.split("-")[-1].startswith(NEEDS_VALUE):
        assert int(after.nonfinite_count) == 1
        chex.assert_trees_all_equal(after.method_state, state.method_state)


# -- numbers -------------------------------------------------------------------------------------


@every_method
def test_updates_have_the_gradients_dtypes_and_the_state_is_wide(make):
    optimizer, params = optax.with_extra_args_support(make(1.0)), parameters()
    state = optimizer.init(params)
    updates, after = optimizer.update(gradients_of(params), state, params, value=1.0)
    assert jax.tree.map(jnp.result_type, updates) == jax.tree.map(jnp.result_type, params)
    assert jax.tree.map(jnp.result_type, after) == jax.tree.map(jnp.result_type, state)
    kinds = (lrsched.AdaptiveState, lrsched.ControllerState, lrsched.AverageState)
    ours = [node for node in jax.tree.leaves(state, is_leaf=lambda x: isinstance(x, kinds))]
    kept = jax.tree.leaves([node for node in ours if isinstance(node, kinds)])
    assert {leaf.dtype.name for leaf in kept} <= {"float32", "int32", "bool"}


@pytest.mark.parametrize(
    "make",
    [make for name, make in METHODS.items() if "after a base" not in name],
    ids=[name for name in METHODS if "after a base" not in name],
)
def test_narrow_parameters_follow_wide_ones(make):
    start = parameters(jnp.float32)
    (narrow, _), _ = train(make(1.0), parameters(), 30)
    (wide, _), _ = train(make(1.0), start, 30)
    for name, leaf in wide.items():
        moved = jnp.max(jnp.abs(leaf - start[name]))
        spacing = 2.0**-7 * jnp.max(jnp.abs(start[name]))
        np.testing.assert_allclose(
            narrow[name].astype(jnp.float32), leaf, atol=0.05 * moved + spacing, err_msg=name
        )


def test_first_steps_that_bfloat16_cannot_hold_are_not_lost():
    params = parameters(jnp.bfloat16)
    (_, state), _ = train(lrsched.prodigy(1.0), params, 200)
    assert float(state.method_state.estimate) > 1e-3

    optimizer = optax.contrib.prodigy(1.0)
    stuck, _ = jax.lax.fori_loop(
        0,
        200,
        lambda _, carry: update(optimizer, carry[1], carry[0]),
        (params, optimizer.init(params)),
    )
    chex.assert_trees_all_equal(stuck, params)


def test_a_sum_that_bfloat16_cannot_hold_is_not_lost():
    params = {"w": jnp.ones(2, jnp.bfloat16)}
    optimizers = [
        optax.contrib.schedule_free_sgd(1.0, weight_lr_power=0.0, state_dtype=jnp.bfloat16),
        lrsched.schedule_free_sgd(1.0, weight_lr_power=0.0),
    ]
    theirs, ours = (
        jax.lax.fori_loop(
            0, 300, lambda _, c, o=o: update(o, c[1], c[0]), (params, o.init(params))
        )[1]
        for o in optimizers
    )
    assert float(theirs.weight_sum) == 256
    assert float(ours.method_state.weight_sum) == 300


@every_method
def test_float64_is_kept_where_the_parameters_have_it(make):
    with jax.enable_x64(True):
        optimizer, params = make(WARMUP), parameters(jnp.float64)
        state = optimizer.init(params)
        for _ in range(2):
            params, state = update(optimizer, state, params)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(params))
        assert lrsched.learning_rate(state).dtype == jnp.float32
        assert is_sound((params, state))


# -- transformations of jax ----------------------------------------------------------------------


@every_method
def test_initialisation_can_be_abstract(make):
    optimizer, params = make(WARMUP), parameters()
    shapes = jax.eval_shape(optimizer.init, params)
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    for tree in (jax.eval_shape(optimizer.init, described), optimizer.init(params)):
        assert jax.tree.structure(tree) == jax.tree.structure(shapes)
        jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or 1 / 0, tree, shapes)


@every_finder
def test_initialisation_takes_descriptions_of_parameters(make):
    described = jax.eval_shape(parameters)
    shapes = jax.eval_shape(make(WARMUP).init, described)
    found = make(WARMUP).init(described)
    assert jax.tree.structure(found) == jax.tree.structure(shapes)


@every_method
def test_parameters_and_a_fresh_state_can_be_donated_and_nothing_is_traced_again(make):
    chex.clear_trace_counter()  # chex counts by name, over all parameters of this test

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    @chex.assert_max_traces(n=1)
    def step(params, state):
        return update(make(1.0), state, params)

    for rate in (1.0, 0.5):
        params = parameters()
        state = make(rate).init(params)
        for _ in range(3):
            params, state = step(params, state)
        assert is_sound((params, state))


@every_method
def test_a_batch_of_runs_is_the_runs(make):
    rates = jnp.array([0.5, 1.0])

    def run(rate):
        return train(make(rate), parameters(jnp.float32), 10)[0][0]

    batched, single = jax.jit(jax.vmap(run))(rates), jax.jit(run)
    for index, rate in enumerate(rates):
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6),
            batched,
            single(rate),
        )


WRAPPERS = {
    "chain and masked": lambda make: optax.chain(
        optax.clip_by_global_norm(10.0),
        optax.masked(make(), {"w": True, "b": False, "c": True}),
        optax.masked(optax.set_to_zero(), {"w": False, "b": True, "c": False}),
    ),
    "partition and inject": lambda make: optax.partition(
        {
            "a": lrsched.inject_schedules(lambda size: optax.chain(make()))(size=1.0),
            "rest": optax.set_to_zero(),
        },
        {"w": "a", "b": "rest", "c": "a"},
    ),
    "MultiSteps and apply_if_finite": lambda make: optax.MultiSteps(
        optax.apply_if_finite(make(), 3), 2
    ),
}


@every_method
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_it_works_in_every_wrapper_and_its_rate_is_read_through_it(make, wrap):
    optimizer, params = wrap(make), parameters()
    state = optimizer.init(params)
    step = jax.jit(functools.partial(update, optimizer))
    for _ in range(16):
        params, state = step(state, params)
    assert is_sound((params, state))
    assert float(lrsched.learning_rate(state)) > 0
    evaluated = lrsched.eval_params(state, params)
    assert jax.tree.structure(evaluated) == jax.tree.structure(params)


# -- checkpoints and models ----------------------------------------------------------------------


@every_method
def test_a_state_survives_every_kind_of_checkpoint_and_goes_on(make, tmp_path):
    optimizer, params = make(WARMUP), parameters(jnp.float32)
    state = optimizer.init(params)
    for _ in range(3):
        params, state = update(optimizer, state, params)
    expected = update(optimizer, state, params)
    fresh = optimizer.init(params)

    pickled = pickle.loads(pickle.dumps(jax.device_get(state)))
    packed = flax.serialization.from_bytes(fresh, flax.serialization.to_bytes(state))
    with orbax.checkpoint.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "state", state)
        checkpointer.wait_until_finished()
        shapes = jax.eval_shape(lambda: fresh)
        stored = checkpointer.restore(tmp_path / "state", shapes)
    for restored in (pickled, packed, stored):
        chex.assert_trees_all_equal(update(optimizer, restored, params), expected)


@every_method
def test_it_trains_a_model_of_nnx(make):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make(1.0), wrt=nnx.Param)
    inputs = jnp.eye(3)

    @nnx.jit
    def step(model, optimizer):
        loss, gradients = nnx.value_and_grad(lambda model: jnp.mean(model(inputs) ** 2))(model)
        optimizer.update(model, gradients, value=loss, validation=loss)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(60)]
    assert min(losses) < losses[0]
    assert float(lrsched.learning_rate(optimizer.opt_state)) > 0


@every_method
def test_it_trains_a_model_of_linen(make):
    model, inputs = nn.Dense(2), jnp.eye(3)
    variables = model.init(jax.random.key(0), inputs)
    optimizer = optax.with_extra_args_support(make(1.0))
    state = TrainState.create(apply_fn=model.apply, params=variables, tx=optimizer)

    @jax.jit
    def step(state):
        loss, gradients = jax.value_and_grad(
            lambda params: jnp.mean(state.apply_fn(params, inputs) ** 2)
        )(state.params)
        updates, opt_state = state.tx.update(
            gradients, state.opt_state, state.params, value=loss, validation=loss
        )
        params = optax.apply_updates(state.params, updates)
        return state.replace(step=state.step + 1, params=params, opt_state=opt_state), loss

    losses = []
    for _ in range(60):
        state, loss = step(state)
        losses.append(float(loss))
    assert min(losses) < losses[0]
    assert float(lrsched.learning_rate(state)) > 0


# -- many devices --------------------------------------------------------------------------------


def test_sharded_over_8_devices_is_unsharded_with_one_all_reduce():
    script = Path(__file__).parent / "sharded.py"
    environment = os.environ | {
        "XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "src"))),
    }
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- what must be given --------------------------------------------------------------------------


@pytest.mark.parametrize("make", (FINDERS | AVERAGES).values(), ids=FINDERS | AVERAGES)
def test_the_parameters_are_asked_for(make):
    optimizer = optax.with_extra_args_support(make())
    with pytest.raises(
        ValueError, match=r"needs? the parameters: update\(updates, state, params\)"
    ):
        optimizer.update(parameters(), optimizer.init(parameters()), value=1.0)


@pytest.mark.parametrize("name", sorted(name for name in FINDERS if name.startswith(NEEDS_VALUE)))
def test_the_loss_is_asked_for(name):
    optimizer, params = FINDERS[name](), parameters()
    with pytest.raises(ValueError, match=r"needs the loss: update\(updates, state, params, value="):
        optimizer.update(gradients_of(params), optimizer.init(params), params)


def test_the_gradient_through_a_run_is_the_slope_of_its_loss():
    def final(rate):
        optimizer = lrsched.schedule_free_sgd(rate)
        (params, _), _ = train(optimizer, parameters(jnp.float32), 5)
        return loss_of(params)

    slope = (final(0.31) - final(0.29)) / 0.02
    np.testing.assert_allclose(jax.grad(final)(0.3), slope, rtol=1e-2)
