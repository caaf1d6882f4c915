import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched

SCHEDULE = lrsched.warmup(3) * 0.1 >> lrsched.cosine(0.1, 20)


def params(dtype=jnp.float32):
    return {"w": jnp.array([1.0, -2.0, 3.0], dtype), "b": jnp.array(0.5, dtype)}


def run(optimizer, start, updates=12, gradient=lambda p: jax.tree.map(lambda x: 2 * x, p)):
    """Gradient descent in one scan; the parameters after it, the rates read after each update."""

    def step(carry, _):
        p, state = carry
        change, state = optimizer.update(gradient(p), state, p)
        return (optax.apply_updates(p, change), state), lrsched.learning_rate(state)

    (p, state), rates = jax.lax.scan(step, (start, optimizer.init(start)), length=updates)
    return p, state, rates


def test_it_is_a_drop_in_for_optax():
    ours = optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(SCHEDULE))
    theirs = optax.chain(optax.scale_by_adam(), optax.scale_by_learning_rate(SCHEDULE))
    mine, his = params(), params()
    state, his_state = ours.init(mine), theirs.init(his)
    for _ in range(30):
        change, state = ours.update(mine, state, mine)
        his_change, his_state = theirs.update(his, his_state, his)
        mine, his = optax.apply_updates(mine, change), optax.apply_updates(his, his_change)
        jax.tree.map(np.testing.assert_array_equal, mine, his)


def test_the_rate_read_back_is_the_rate_applied():
    optimizer = lrsched.scale_by_learning_rate(SCHEDULE)
    state = optimizer.init(params())
    assert lrsched.learning_rate(state) == SCHEDULE(0)
    for step in range(25):
        change, state = optimizer.update({"w": jnp.ones(3)}, state)
        assert lrsched.learning_rate(state) == -change["w"][0]
        assert lrsched.learning_rate(state) == pytest.approx(float(SCHEDULE(step)), rel=5e-7)
    assert state.count == 25


def test_the_sign_may_stay():
    optimizer = lrsched.scale_by_learning_rate(0.5, flip_sign=False)
    change, _ = optimizer.update({"w": jnp.ones(3)}, optimizer.init(params()))
    assert change["w"].tolist() == [0.5] * 3


@pytest.mark.parametrize(
    "rate", [0.1, 1, jnp.float32(0.1), SCHEDULE, optax.linear_schedule(1.0, 0.0, 9)], ids=type
)
def test_the_state_is_a_few_numbers(rate):
    state = lrsched.scale_by_learning_rate(rate).init(params(jnp.bfloat16))
    assert (state.count.dtype, state.learning_rate.dtype) == (jnp.int32, jnp.float32)
    for leaf in jax.tree.leaves(state):
        assert isinstance(leaf, jax.Array)
        assert (leaf.size <= 8, leaf.weak_type) == (True, False)
        assert leaf.dtype in (jnp.float32, jnp.int32)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_updates_keep_the_gradients_dtype_and_round_once(dtype):
    gradient = {"w": jnp.array([1.0, 0.3, 7.0], dtype)}
    optimizer = lrsched.scale_by_learning_rate(0.1)
    change, _ = optimizer.update(gradient, optimizer.init(gradient))
    assert change["w"].dtype == dtype
    exact = np.float32(-0.1) * np.asarray(gradient["w"], np.float32)
    np.testing.assert_array_equal(change["w"], exact.astype(dtype))


def test_mixed_dtypes_and_float64_gradients_keep_theirs():
    with jax.enable_x64(True):
        gradient = {"w": jnp.ones(2, jnp.float64), "b": jnp.ones(2, jnp.bfloat16)}
        optimizer = lrsched.scale_by_learning_rate(SCHEDULE)
        state = optimizer.init(gradient)
        change, after = optimizer.update(gradient, state)
        assert (change["w"].dtype, change["b"].dtype) == (jnp.float64, jnp.bfloat16)
        assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tx: tx,
        lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx),
        lambda tx: optax.named_chain(("rate", tx)),
        lambda tx: optax.masked(tx, {"w": True, "b": True}),
        lambda tx: optax.partition({"all": tx}, {"w": "all", "b": "all"}),
        lambda tx: optax.MultiSteps(tx, 2).gradient_transformation(),
        lambda tx: optax.apply_if_finite(tx, 3),
    ],
    ids=["bare", "chain", "named_chain", "masked", "partition", "MultiSteps", "apply_if_finite"],
)
def test_it_works_and_is_read_inside_every_wrapper_of_optax(wrap):
    optimizer = wrap(lrsched.scale_by_learning_rate(SCHEDULE))
    end, state, rates = jax.jit(lambda p: run(optimizer, p))(params())
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(end))
    assert rates[-1] == lrsched.learning_rate(state) > 0
    twin = wrap(optax.scale_by_learning_rate(SCHEDULE))
    his, twin_state = params(), twin.init(params())
    for _ in range(12):
        change, twin_state = twin.update(jax.tree.map(lambda x: 2 * x, his), twin_state, his)
        his = optax.apply_updates(his, change)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), end, his)


def test_skipped_updates_do_not_advance_the_clock():
    optimizer = optax.apply_if_finite(lrsched.scale_by_learning_rate(SCHEDULE), 5)
    state = optimizer.init(params())
    for scale in (1.0, jnp.nan, jnp.inf, 1.0):
        _, state = optimizer.update(jax.tree.map(lambda x, s=scale: s * x, params()), state)
    assert lrsched.learning_rate(state) == SCHEDULE(1)


def test_micro_batches_do_not_advance_the_clock():
    optimizer = optax.MultiSteps(lrsched.scale_by_learning_rate(SCHEDULE), 4)
    state = optimizer.init(params())
    for _ in range(8):
        _, state = optimizer.update(params(), state)
    assert lrsched.learning_rate(state) == SCHEDULE(1)


def test_one_compiled_step_serves_schedules_of_other_numbers():
    traces = []

    @jax.jit
    def step(p, state):
        traces.append(1)
        change, state = lrsched.scale_by_learning_rate(SCHEDULE).update(p, state, p)
        return optax.apply_updates(p, change), state

    for peak, steps in ((0.1, 20), (0.2, 10**6), (1, 7)):
        schedule = lrsched.warmup(2) * peak >> lrsched.cosine(peak, steps)
        p, state = params(), lrsched.scale_by_learning_rate(schedule).init(params())
        for _ in range(3):
            p, state = step(p, state)
        assert lrsched.learning_rate(state) == np.float32(peak)
    assert len(traces) == 1


def test_the_schedule_in_the_state_is_the_one_that_counts():
    optimizer = lrsched.scale_by_learning_rate(0.1)
    state = optimizer.init(params())
    doubled = lrsched.set_schedule(state, 0.2)
    _, state = optimizer.update(params(), doubled)
    assert lrsched.learning_rate(state) == np.float32(0.2)


def test_rates_are_vmapped():
    def end(peak):
        return run(lrsched.scale_by_learning_rate(lrsched.linear(peak, 0.0, 12)), params())[0]["b"]

    peaks = jnp.array([0.01, 0.1, 0.3])
    np.testing.assert_allclose(jax.vmap(end)(peaks), [end(peak) for peak in peaks], rtol=1e-6)


def test_gradients_flow_through_training_to_the_peak():
    def loss(peak):
        p, _, _ = run(lrsched.scale_by_learning_rate(lrsched.linear(peak, 0.0, 12)), params())
        return sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(p))

    slope = float(jax.grad(loss)(0.05))
    assert slope == pytest.approx(float(loss(0.051) - loss(0.049)) / 2e-3, rel=1e-2)


def test_initialisation_is_abstract_where_asked():
    optimizer = lrsched.scale_by_learning_rate(SCHEDULE)
    shapes = jax.eval_shape(params)
    abstract = jax.eval_shape(optimizer.init, shapes)
    concrete = optimizer.init(shapes)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), abstract) == jax.tree.map(
        lambda x: (x.shape, x.dtype), concrete
    )


def test_a_fresh_state_can_be_donated_and_leaves_the_schedule_alone():
    schedule = jax.tree.map(jnp.asarray, SCHEDULE)
    optimizer = lrsched.scale_by_learning_rate(schedule)

    def step(p, state):
        change, state = optimizer.update(p, state, p)
        return optax.apply_updates(p, change), state

    p = params()
    jax.jit(step, donate_argnums=(0, 1))(p, optimizer.init(p))
    assert schedule == SCHEDULE
    assert schedule(0) == SCHEDULE(0)


def test_sharded_equals_unsharded():
    mesh = jax.make_mesh((1,), ("data",))
    sharding = jax.NamedSharding(mesh, jax.P())
    optimizer = lrsched.scale_by_learning_rate(SCHEDULE)
    placed = jax.device_put(params(), sharding)
    with jax.set_mesh(mesh):
        end, _, _ = jax.jit(lambda p: run(optimizer, p))(placed)
    jax.tree.map(np.testing.assert_array_equal, end, run(optimizer, params())[0])


@pytest.mark.parametrize(
    ("rate", "message"),
    [
        ("fast", "'fast' is not a learning rate; it must be a number, a Schedule or a callable"),
        (None, "None is not a learning rate"),
        (float("nan"), "value=nan is not accepted"),
    ],
)
def test_bad_input(rate, message):
    with pytest.raises(ValueError, match=message):
        lrsched.scale_by_learning_rate(rate)


def test_a_schedule_of_several_rates_is_refused_by_its_shape():
    optimizer = lrsched.scale_by_learning_rate(lrsched.cosine(jnp.array([0.1, 0.2]), 9))
    with pytest.raises(ValueError, match=r"array of shape \(2,\); a learning rate must be one"):
        optimizer.init(params())
