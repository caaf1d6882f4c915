"""Weight decay of each kind, beside optax, PyTorch's formulas and the paper's algorithm."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched

SCHEDULE = lrsched.wsd(0.25, steps=30, warmup=5, cooldown=10)
PARAMS = {"w": jnp.array([1.0, -2.0, 0.5]), "b": jnp.array([4.0])}


def gradients_of(params):
    return jax.tree.map(lambda p: jnp.sin(3 * p), params)


def trained(optimizer, steps=30, params=PARAMS):
    @functools.partial(jax.jit, static_argnums=2)
    def run(params, state, steps):
        def step(carry, _):
            params, state = carry
            updates, state = optimizer.update(gradients_of(params), state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), length=steps)[0]

    return run(params, optimizer.init(params), steps)


def test_decoupled_is_adamw():
    ours = lrsched.with_weight_decay(optax.scale_by_adam(), SCHEDULE, 0.1)
    theirs = optax.adamw(SCHEDULE, weight_decay=0.1)
    ours_state, theirs_state = ours.init(PARAMS), theirs.init(PARAMS)
    for _ in range(10):
        updates, ours_state = ours.update(gradients_of(PARAMS), ours_state, PARAMS)
        expected, theirs_state = theirs.update(gradients_of(PARAMS), theirs_state, PARAMS)
        jax.tree.map(np.testing.assert_array_equal, updates, expected)


def closed_form(kind, decay, peak=0.25):
    """Momentum in float64 as the papers write it."""
    rates = np.asarray(SCHEDULE(np.arange(30)), np.float64)
    params = {name: np.asarray(p, np.float64) for name, p in PARAMS.items()}
    momentum = {name: np.zeros_like(p) for name, p in params.items()}
    for rate in rates:
        for name, p in params.items():
            coupled = decay * p if kind == "coupled" else 0.0
            momentum[name] = 0.9 * momentum[name] + np.sin(3 * p) + coupled
            shrink = {"coupled": 0.0, "decoupled": rate, "relative": rate / peak}[kind]
            params[name] = p - rate * momentum[name] - shrink * decay * p
    return params


@pytest.mark.parametrize("kind", ["coupled", "decoupled", "relative"])
def test_each_kind_is_its_formula(kind):
    optimizer = lrsched.with_weight_decay(optax.trace(0.9), SCHEDULE, 0.01, kind)
    with jax.enable_x64(True):
        params, state = trained(optimizer, params=jax.tree.map(np.float64, PARAMS))
        expected = closed_form(kind, 0.01)
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), params, expected)
    assert float(lrsched.learning_rate(state)) == float(SCHEDULE(29))


def test_the_peak_of_the_rate_does_not_count_where_the_decay_is_relative():
    def shrinkage(peak, kind):
        schedule = lrsched.cosine(peak, steps=20)
        optimizer = lrsched.with_weight_decay(optax.set_to_zero(), schedule, 0.01, kind)
        return trained(optimizer, steps=20)[0]["w"] / PARAMS["w"]

    np.testing.assert_allclose(shrinkage(1e-3, "relative"), shrinkage(1.0, "relative"), rtol=1e-6)
    assert np.all(shrinkage(1e-3, "decoupled") > 0.999)
    np.testing.assert_allclose(shrinkage(1.0, "decoupled"), shrinkage(1.0, "relative"), rtol=1e-6)


def test_a_hand_on_the_rate_changes_the_decay_with_it():
    optimizer = lrsched.with_weight_decay(optax.set_to_zero(), SCHEDULE, 0.5, "relative")
    state = lrsched.set_learning_rate(optimizer.init(PARAMS), 0.125)
    updates, _ = optimizer.update(PARAMS, state, PARAMS)
    np.testing.assert_array_equal(updates["w"], -0.25 * PARAMS["w"])


def test_the_decay_can_follow_a_schedule_and_a_mask():
    optimizer = lrsched.with_weight_decay(
        optax.set_to_zero(), 1.0, lrsched.linear(0.5, 0.0, steps=2), mask={"w": True, "b": False}
    )
    state = optimizer.init(PARAMS)
    for factor in (0.5, 0.25, 0.0):
        updates, state = optimizer.update(PARAMS, state, PARAMS)
        np.testing.assert_array_equal(updates["w"], -factor * PARAMS["w"])
        np.testing.assert_array_equal(updates["b"], 0.0)


@pytest.mark.parametrize("kind", ["coupled", "decoupled", "relative"])
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_dtypes_stay(kind, dtype):
    optimizer = lrsched.with_weight_decay(optax.scale_by_adam(), SCHEDULE, 0.1, kind)
    params = jax.tree.map(lambda p: p.astype(dtype), PARAMS)
    new, state = trained(optimizer, params=params)
    assert {p.dtype for p in jax.tree.leaves(new)} == {jnp.dtype(dtype)}
    assert jax.tree.structure(state) == jax.tree.structure(jax.eval_shape(optimizer.init, params))
    assert all(bool(jnp.all(jnp.isfinite(p))) for p in jax.tree.leaves(new))


def test_peaks_are_swept():
    def run(peak):
        schedule = lrsched.cosine(peak, steps=20)
        optimizer = lrsched.with_weight_decay(optax.scale_by_adam(), schedule, 0.01, "relative")
        return trained(optimizer, steps=5)[0]["b"][0]

    peaks = jnp.array([0.01, 0.1])
    np.testing.assert_allclose(jax.vmap(run)(peaks), [run(0.01), run(0.1)], rtol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_decay": -0.1}, "weight_decay=-0.1 is not accepted"),
        ({"weight_decay": "much"}, "weight_decay='much' is not accepted"),
        ({"kind": "l2"}, "kind='l2' is not accepted; kind must be one of 'coupled', 'decoupled'"),
        ({"peak": 0.1}, "peak=0.1 has no meaning for kind='decoupled'"),
        ({"peak": 0.0, "kind": "relative"}, "peak=0.0 is not accepted"),
        ({"kind": "relative", "learning_rate": lambda t: 0.1}, "has no horizon that is known"),
        ({"kind": "relative", "learning_rate": 0.0 * SCHEDULE}, "the largest rate of .* is 0.0"),
    ],
)
def test_bad_input(arguments, message):
    given = {"learning_rate": SCHEDULE, "weight_decay": 0.1} | arguments
    with pytest.raises(ValueError, match=message):
        lrsched.with_weight_decay(optax.scale_by_adam(), **given)
