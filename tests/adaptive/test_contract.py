"""What every method that adapts its own step guarantees; optax's own are the controls."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lrsched

METHODS = {
    "dadapt_adagrad": lrsched.dadapt_adagrad,
    "dadapt_adamw": lrsched.dadapt_adamw,
    "dadapt_lion": lrsched.dadapt_lion,
    "dadapt_sgd": lrsched.dadapt_sgd,
    "dog": lrsched.dog,
    "dowg": lrsched.dowg,
    "ldog": lrsched.ldog,
    "prodigy": lrsched.prodigy,
    "prodigy, with every option": functools.partial(
        lrsched.prodigy, weight_decay=0.1, decoupled=False, bias_correction=True, slice_p=2
    ),
    "dadapt_adamw, with every option": functools.partial(
        lrsched.dadapt_adamw, weight_decay=0.1, bias_correction=True, growth_rate=1.02
    ),
}
every_method = pytest.mark.parametrize("make", METHODS.values(), ids=METHODS)
DTYPES = [jnp.float32, jnp.bfloat16, jnp.float16]
WARMUP = lrsched.warmup(5) * lrsched.cosine(1.0, steps=40)


def parameters(dtype=jnp.float32):
    return {"w": jnp.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]], dtype), "b": jnp.ones(3, dtype)}


def gradients_of(params):
    """Of a quadratic whose minimum is at 0."""
    return jax.tree.map(lambda leaf: (0.5 * leaf).astype(leaf.dtype), params)


def train(optimizer, params, steps=40, gradients_of=gradients_of):
    def step(carry, _):
        params, state = carry
        updates, state = optimizer.update(gradients_of(params), state, params)
        return (optax.apply_updates(params, updates), state), lrsched.learning_rate(state)

    return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)


def is_finite(tree):
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


@every_method
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_warmup_from_zero_and_zero_gradients_leave_a_finite_state(make, dtype):
    zeros = functools.partial(jax.tree.map, jnp.zeros_like)
    for schedule, gradients in [(WARMUP, gradients_of), (1.0, zeros), (0.0, gradients_of)]:
        carry, rates = train(make(schedule), parameters(dtype), gradients_of=gradients)
        assert is_finite((carry, rates))


@pytest.mark.parametrize("make", [optax.contrib.prodigy, optax.contrib.dadapt_adamw])
def test_optax_is_nan_for_ever_after_a_warmup_from_zero(make):
    optimizer, params = make(WARMUP), parameters()
    state = optimizer.init(params)
    for _ in range(10):
        updates, state = optimizer.update(gradients_of(params), state, params)
        params = optax.apply_updates(params, updates)
    assert not is_finite(state)


@every_method
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_left_out_and_counted(make, poison):
    optimizer, params = make(WARMUP), parameters()
    (params, state), _ = train(optimizer, params, steps=10)
    bad = gradients_of(params)
    bad["w"] = bad["w"].at[0, 1].set(poison)
    updates, after = optimizer.update(bad, state, params)
    assert_same(updates, jax.tree.map(jnp.zeros_like, params))
    assert int(after.ignored) == int(state.ignored) + 1
    assert_same(after.memory, state.memory)
    assert int(after.count) == int(state.count) == 10


@every_method
@pytest.mark.parametrize("dtype", DTYPES)
def test_updates_have_the_dtype_of_the_gradients_and_the_state_is_wide(make, dtype):
    optimizer, params = make(1.0), parameters(dtype)
    updates, state = optimizer.update(gradients_of(params), optimizer.init(params), params)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype(dtype)}
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} <= {"float32", "int32"}


@every_method
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_narrow_parameters_follow_wide_ones(make, dtype):
    (narrow, _), _ = train(make(1.0), parameters(dtype), 30)
    (wide, _), _ = train(make(1.0), parameters(), 30)
    largest = max(float(jnp.max(jnp.abs(leaf))) for leaf in jax.tree.leaves(wide))
    for a, b in zip(jax.tree.leaves(narrow), jax.tree.leaves(wide), strict=True):
        np.testing.assert_allclose(a.astype(jnp.float32), b, atol=0.05 * largest)


def test_first_steps_that_bfloat16_cannot_hold_are_not_lost():
    (_, state), _ = train(lrsched.prodigy(1.0), parameters(jnp.bfloat16), 200)
    assert float(state.memory.estimate) > 1e-3
    optimizer, params = optax.contrib.prodigy(1.0), parameters(jnp.bfloat16)
    state = optimizer.init(params)
    for _ in range(200):
        updates, state = optimizer.update(gradients_of(params), state, params)
        params = optax.apply_updates(params, updates)
    assert_same(params, parameters(jnp.bfloat16))


@every_method
def test_float64_is_kept_where_the_parameters_have_it(make):
    with jax.enable_x64(True):
        params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), parameters())
        (params, state), rates = train(make(WARMUP), params, 10)
        assert all(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(params))
        assert rates.dtype == jnp.float32
        assert state.count.dtype == jnp.int32


@every_method
def test_initialisation_can_be_abstract(make):
    optimizer, params = make(WARMUP), parameters()
    shapes = jax.eval_shape(optimizer.init, params)
    described = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), params)
    for tree in (optimizer.init(described), optimizer.init(params)):
        assert jax.tree.structure(tree) == jax.tree.structure(shapes)
        jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype) or 1 / 0, tree, shapes)


@every_method
def test_parameters_and_a_fresh_state_can_be_donated(make):
    optimizer, params = make(WARMUP), parameters()

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, gradients):
        updates, state = optimizer.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    gradients, state = gradients_of(params), optimizer.init(params)
    params, state = step(params, state, gradients)
    assert is_finite((params, state))


@every_method
def test_one_trace_for_a_loop_and_for_any_rate(make):
    traces = []

    @jax.jit
    def step(params, state):
        traces.append(1)
        updates, state = make(1.0).update(gradients_of(params), state, params)
        return optax.apply_updates(params, updates), state

    for rate in (1.0, 0.5):
        params, state = parameters(), make(rate).init(parameters())
        for _ in range(3):
            params, state = step(params, state)
    assert len(traces) == 1


@every_method
def test_a_batch_of_runs_is_the_runs(make):
    rates = jnp.array([0.5, 1.0])
    batched = jax.vmap(lambda rate: train(make(rate), parameters(), 20)[0][0])(rates)
    for index, rate in enumerate(rates):
        single = train(make(float(rate)), parameters(), 20)[0][0]
        jax.tree.map(
            lambda a, b, i=index: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-6),
            batched,
            single,
        )


WRAPPERS = {
    "chain": lambda make: optax.chain(optax.clip_by_global_norm(10.0), make()),
    "around a base": lambda make: optax.chain(optax.scale_by_adam(), make()),
    "masked": lambda make: optax.masked(make(), {"w": True, "b": False}),
    "partition": lambda make: optax.partition(
        {"a": make(), "rest": optax.set_to_zero()}, {"w": "a", "b": "rest"}
    ),
    "MultiSteps": lambda make: optax.MultiSteps(make(), 2),
    "apply_if_finite": lambda make: optax.apply_if_finite(make(), 3),
    "inject": lambda make: lrsched.inject_schedules(lambda size: optax.chain(make()))(size=1.0),
}


@every_method
@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_it_works_in_every_wrapper_and_its_rate_is_read_through_it(make, wrap):
    (params, _), rates = train(wrap(make), parameters(), 20)
    assert is_finite((params, rates))
    assert float(rates[-1]) > 0


@every_method
def test_a_state_survives_pickle_and_goes_on(make):
    optimizer = make(WARMUP)
    (params, state), _ = train(optimizer, parameters(), 10)
    restored = pickle.loads(pickle.dumps(jax.device_get(state)))
    gradients = gradients_of(params)
    assert_same(
        optimizer.update(gradients, restored, params), optimizer.update(gradients, state, params)
    )


@every_method
def test_it_trains_a_model_of_nnx(make):
    model = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, make(1.0), wrt=nnx.Param)
    inputs = jnp.eye(3)

    @nnx.jit
    def step(model, optimizer):
        loss, gradients = nnx.value_and_grad(lambda model: jnp.mean(model(inputs) ** 2))(model)
        optimizer.update(model, gradients)
        return loss

    losses = [float(step(model, optimizer)) for _ in range(50)]
    assert losses[-1] < losses[0]
    assert float(lrsched.learning_rate(optimizer.opt_state)) > 0


@every_method
def test_the_parameters_are_asked_for(make):
    optimizer = make()
    with pytest.raises(ValueError, match=r"needs the parameters: update\(updates, state, params\)"):
        optimizer.update(parameters(), optimizer.init(parameters()))
