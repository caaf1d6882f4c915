import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched

FACTORIES = {
    "sgd": (optax.sgd, {"momentum": 0.9, "nesterov": True}),
    "adam": (optax.adam, {}),
    "adamw": (optax.adamw, {"weight_decay": 0.01}),
    "amsgrad": (optax.amsgrad, {}),
    "nadamw": (optax.nadamw, {}),
    "adamax": (optax.adamax, {}),
    "adagrad": (optax.adagrad, {}),
    "adadelta": (optax.adadelta, {}),
    "adafactor": (optax.adafactor, {}),
    "lamb": (optax.lamb, {}),
    "lars": (optax.lars, {}),
    "lion": (optax.lion, {}),
    "radam": (optax.radam, {}),
    "rmsprop": (optax.rmsprop, {"momentum": 0.9}),
    "yogi": (optax.yogi, {}),
}


def params(dtype=jnp.float32):
    return {"w": jnp.linspace(-1.0, 2.0, 12, dtype=dtype).reshape(3, 4), "b": jnp.ones(4, dtype)}


def train(optimizer, start, updates=200):
    @jax.jit
    def step(p, state):
        gradient = jax.tree.map(lambda x: (jnp.sin(3 * x) + x).astype(x.dtype), p)
        change, state = optimizer.update(gradient, state, p)
        return optax.apply_updates(p, change), state

    state = optimizer.init(start)
    for _ in range(updates):
        start, state = step(start, state)
    return start, state


@pytest.mark.parametrize("name", sorted(FACTORIES.keys() - {"adafactor"}))
def test_nothing_changes_in_the_last_bit_when_nothing_varies(name):
    factory, arguments = FACTORIES[name]
    ours, state = train(lrsched.inject_schedules(factory)(0.01, **arguments), params())
    plain, _ = train(factory(0.01, **arguments), params())
    jax.tree.map(np.testing.assert_array_equal, ours, plain)
    assert lrsched.learning_rate(state) == np.float32(0.01)


def test_adafactor_is_the_same_operation_by_operation():
    # In one program XLA folds the plain optimizer's two literal factors into one.
    ours, plain = lrsched.inject_schedules(optax.adafactor)(0.01), optax.adafactor(0.01)
    p, state, plain_state = params(), ours.init(params()), plain.init(params())
    for _ in range(10):
        change, state = ours.update(p, state, p)
        plain_change, plain_state = plain.update(p, plain_state, p)
        jax.tree.map(np.testing.assert_array_equal, change, plain_change)
        p = optax.apply_updates(p, change)


def test_optax_itself_drifts():
    drifted, _ = train(optax.inject_hyperparams(optax.adam)(0.01), params())
    plain, _ = train(optax.adam(0.01), params())
    assert np.max(np.abs(drifted["w"] - plain["w"])) > 0


@pytest.mark.parametrize("name", FACTORIES)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_low_precision_stays_finite_and_keeps_its_dtypes(name, dtype):
    factory, arguments = FACTORIES[name]
    optimizer = lrsched.inject_schedules(factory)(
        learning_rate=lrsched.cosine(0.01, 100), **arguments
    )
    end, state = train(optimizer, params(dtype), updates=10)
    inner = factory(0.01, **arguments).init(params(dtype))
    assert jax.tree.map(lambda x: x.dtype, state.inner_state) == jax.tree.map(
        lambda x: x.dtype, inner
    )
    for leaf in jax.tree.leaves(end):
        assert leaf.dtype == dtype
        assert np.all(np.isfinite(np.asarray(leaf, np.float32)))


def test_adamw_in_bfloat16_where_optax_is_nan():
    arguments = {"learning_rate": 1e-3, "weight_decay": 0.1}
    broken, _ = train(optax.inject_hyperparams(optax.adamw)(**arguments), params(jnp.bfloat16), 2)
    assert np.any(np.isnan(np.asarray(broken["w"], np.float32)))
    ours, _ = train(lrsched.inject_schedules(optax.adamw)(**arguments), params(jnp.bfloat16), 2)
    plain, _ = train(optax.adamw(**arguments), params(jnp.bfloat16), 2)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(
            np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=2**-7
        ),
        ours,
        plain,
    )


def test_every_hyperparameter_follows_its_schedule():
    schedules = {
        "learning_rate": lrsched.one_cycle(0.1, 30),
        "b1": lrsched.linear(0.95, 0.85, 30),
        "b2": lambda step: 0.9 + 0.001 * step,
        "weight_decay": lrsched.step_decay(0.1, 0.5, 10),
    }
    optimizer = lrsched.inject_schedules(optax.adamw)(**schedules)
    p, state = params(), optimizer.init(params())
    mine = theirs = params()
    for step in range(30):
        now = {name: float(lrsched.as_schedule(s)(step)) for name, s in schedules.items()}
        fixed = optax.adamw(**now)
        their_change, _ = fixed.update(p, state.inner_state, theirs)
        change, state = optimizer.update(p, state, mine)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4), change, their_change)
        for name, value in now.items():
            assert state.values[name] == pytest.approx(value, rel=5e-7)
        mine = theirs = optax.apply_updates(mine, change)
    assert state.count == 30


def test_a_schedule_for_b1_keeps_a_scan_in_bfloat16_going():
    optimizer = lrsched.inject_schedules(optax.adam)(0.01, b1=lrsched.linear(0.9, 0.8, 9))

    def step(carry, _):
        p, state = carry
        change, state = optimizer.update(p, state, p)
        return (optax.apply_updates(p, change), state), lrsched.learning_rate(state)

    start = params(jnp.bfloat16)
    _, rates = jax.lax.scan(step, (start, optimizer.init(start)), length=5)
    assert rates.tolist() == [np.float32(0.01)] * 5


def test_callables_that_are_not_schedules_are_passed_on():
    def only_weights(tree):
        return {"w": True, "b": False}

    optimizer = lrsched.inject_schedules(optax.adamw)(0.1, weight_decay=1.0, mask=only_weights)
    zero = jax.tree.map(jnp.zeros_like, params())
    change, state = optimizer.update(zero, optimizer.init(params()), params())
    assert np.all(change["b"] == 0)
    np.testing.assert_allclose(change["w"], -0.1 * params()["w"], rtol=1e-6)
    assert set(state.values) == {"learning_rate"}


def test_a_chain_of_ones_own_is_a_factory():
    def clipped(learning_rate, max_norm=1.0):
        return optax.chain(optax.clip_by_global_norm(max_norm), optax.sgd(learning_rate))

    optimizer = lrsched.inject_schedules(clipped)(
        lrsched.constant(1.0), max_norm=lrsched.linear(1.0, 0.0, 2)
    )
    state = optimizer.init(params())
    for norm in (1.0, 0.5):
        change, state = optimizer.update(params(), state)
        assert optax.tree.norm(change) == pytest.approx(norm, rel=1e-5)


def test_extra_arguments_reach_the_optimizer():
    optimizer = lrsched.inject_schedules(optax.polyak_sgd)(max_learning_rate=lrsched.constant(0.1))
    change, _ = optimizer.update(params(), optimizer.init(params()), params(), value=1e-3)
    assert np.all(np.isfinite(change["w"]))


def test_one_trace_serves_other_numbers():
    traces = []

    @jax.jit
    def step(p, state):
        traces.append(1)
        optimizer = lrsched.inject_schedules(optax.adam)(lrsched.cosine(1.0, 1))
        return optimizer.update(p, state, p)

    for peak in (0.1, 0.2, 1):
        optimizer = lrsched.inject_schedules(optax.adam)(lrsched.cosine(peak, 100))
        _, state = step(params(), optimizer.init(params()))
        assert lrsched.learning_rate(state) == np.float32(peak)
    assert len(traces) == 1


def test_abstract_initialisation_and_donation():
    optimizer = lrsched.inject_schedules(optax.adam)(lrsched.cosine(0.1, 100))
    abstract = jax.eval_shape(optimizer.init, params())
    assert abstract.values["learning_rate"].dtype == jnp.float32
    step = jax.jit(lambda p, state: optimizer.update(p, state, p), donate_argnums=(0, 1))
    change, _ = step(params(), optimizer.init(params()))
    assert np.all(np.isfinite(change["w"]))


def test_bad_input():
    with pytest.raises(TypeError, match="unexpected keyword argument 'beta'"):
        lrsched.inject_schedules(optax.adam)(0.1, beta=0.9)
    with pytest.raises(ValueError, match="factory=an optimizer is not accepted"):
        lrsched.inject_schedules(optax.adam(1e-3))
    with pytest.raises(ValueError, match="an optimizer is not a learning rate"):
        lrsched.inject_schedules(optax.adam)(optax.sgd(1e-3))
    with pytest.raises(ValueError, match=r"'0\.1' is not a learning rate"):
        lrsched.inject_schedules(optax.adam)("0.1")
    with pytest.raises(ValueError, match="value=nan is not accepted"):
        lrsched.inject_schedules(optax.adam)(float("nan"))
    batched = lrsched.inject_schedules(optax.adam)(lrsched.cosine(jnp.ones(2), 9))
    with pytest.raises(ValueError, match="must be one number"):
        batched.init(params())


def test_a_rate_of_another_name_is_named_in_the_error():
    def factory(learning_rate_fn, beta1):
        return optax.chain(
            optax.scale_by_adam(b1=beta1), optax.scale_by_learning_rate(learning_rate_fn)
        )

    arguments = {"learning_rate_fn": lrsched.cosine(0.1, steps=10), "beta1": 0.9}
    state = lrsched.inject_schedules(factory)(**arguments).init(params())
    for function in (lrsched.learning_rate, lambda s: lrsched.set_learning_rate(s, 0.1)):
        with pytest.raises(ValueError, match=r"rates=\('learning_rate_fn',\)"):
            function(state)
    named = lrsched.inject_schedules(factory, rates=("learning_rate_fn",))(**arguments)
    assert lrsched.learning_rate(named.init(params())) == np.float32(0.1)
