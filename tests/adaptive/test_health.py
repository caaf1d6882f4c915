"""`record_health`; what all transforms guarantee is tested in test_contract.py."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched


def recorded(optimizer, params, gradients, values=None):
    """The record of these gradients, stacked along the first axis."""

    def step(carry, inputs):
        params, state = carry
        gradient, value = inputs
        extra = {} if value is None else {"value": value}
        updates, state = optimizer.update(gradient, state, params, **extra)
        return (optax.apply_updates(params, updates), state), updates

    run = jax.jit(lambda: jax.lax.scan(step, (params, optimizer.init(params)), (gradients, values)))
    (_, state), updates = run()
    return state, updates


# Cases of a float64 reference: RMS ratio and cosine of an update and the parameters.
@pytest.mark.parametrize(
    ("param", "update", "ratio", "cosine"),
    [
        (
            [-0.197, -0.756, 0.531, 0.738],
            [-0.0354, 0.2361, -0.1008, 0.035],
            0.21814743,
            -0.63551389,
        ),
        (
            [-1.216, 0.603, 0.563, -1.043],
            [-0.2472, 0.121, 0.1733, 0.1154],
            0.19151693,
            0.56404576,
        ),
        ([0.0, 0.0], [0.1, 0.0], np.nan, np.nan),
    ],
)
def test_the_gauges_are_those_of_the_reference(param, update, ratio, cosine):
    optimizer = lrsched.record_health(optax.scale(1.0))
    params = {"w": jnp.array(param)}
    _, state = optimizer.update({"w": jnp.array(update)}, optimizer.init(params), params)
    found = lrsched.recorded_health(state)
    np.testing.assert_allclose(found.update_ratio[""], [ratio], rtol=1e-5)
    np.testing.assert_allclose(found.cosine[""], [cosine], rtol=1e-5)
    assert np.isnan(found.rate).all()
    assert np.isnan(found.loss).all()


def test_groups_are_the_first_names_that_differ_or_those_of_a_function():
    params = {"params": {"head": {"b": jnp.ones(1), "k": jnp.ones(3)}, "body": {"k": jnp.ones(2)}}}
    state = lrsched.record_health(optax.sgd(0.1)).init(params)
    assert {label: int(size) for label, size in state.sizes.items()} == {"head": 4, "body": 2}
    by_kind = lrsched.record_health(optax.sgd(0.1), label_fn=lambda path: path[-1])
    assert {k: int(v) for k, v in by_kind.init(params).sizes.items()} == {"b": 1, "k": 5}


@pytest.mark.parametrize("count", [1, 7, 8, 17, 100])
def test_a_run_of_any_length_is_recorded_as_means_of_equal_segments(count):
    rng = np.random.default_rng(0)
    gradients, losses = rng.normal(size=(count, 3)), rng.uniform(1, 2, count)
    schedule = lrsched.linear(0.1, 0.0, steps=100)
    optimizer = lrsched.record_health(lrsched.scale_by_learning_rate(schedule), max_records=8)
    state, updates = recorded(optimizer, jnp.ones(3), jnp.float32(gradients), jnp.float32(losses))
    found = lrsched.recorded_health(state)
    parts = np.array_split(
        np.arange(count), np.arange(int(state.updates_per_record), count, state.updates_per_record)
    )
    assert min(count, 4) <= len(found.steps) <= 8
    assert found.steps.tolist() == [(part[0] + part[-1]) // 2 for part in parts]
    rates = np.asarray(schedule(np.arange(count)))
    for mean, values in (
        (found.loss, losses),
        (found.rate, rates),
        (found.descent, -rates * np.sum(gradients**2, axis=1)),
        (found.gradient_rms[""] ** 2, np.mean(gradients**2, axis=1)),
    ):
        np.testing.assert_allclose(mean, [values[part].mean() for part in parts], rtol=1e-4)
    np.testing.assert_allclose(
        [found.first_rate, found.largest_rate, found.first_loss, found.largest_loss],
        [0.1, 0.1, losses[0], losses.max()],
        rtol=1e-6,
    )
    norms = np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose(
        found.gradient_quantiles[""], np.quantile(norms, [0.1, 0.5, 0.9, 1.0]), rtol=1e-5
    )
    np.testing.assert_allclose(updates, -rates[:, None] * gradients, rtol=1e-5)


def test_spikes_follow_the_one_sided_rule_of_levanter():
    # A series of the float64 reference: a spike at 30 of the loss, and of the norm at 31.
    t = np.arange(33)
    losses = 3 + 0.01 * np.sin(t)
    norms = 1 + 0.05 * np.cos(2 * t)
    losses[30], norms[31], losses[32] = 3.5, 5.0, 2.0
    optimizer = lrsched.record_health(optax.sgd(0.0), window=32)
    state, _ = recorded(optimizer, jnp.ones(1), jnp.float32(norms)[:, None], jnp.float32(losses))
    found = lrsched.recorded_health(state)
    assert (found.loss_spikes, found.gradient_spikes) == (1, 1)
    short, _ = recorded(
        lrsched.record_health(optax.sgd(0.0), window=128),
        *(jnp.ones(1), jnp.float32(norms)[:, None], jnp.float32(losses)),
    )
    assert lrsched.recorded_health(short).loss_spikes == 0


def test_what_is_not_finite_is_counted_and_not_recorded():
    gradients = jnp.array([1.0, jnp.nan, 1.0, jnp.inf, 1.0])[:, None]
    losses = jnp.array([1.0, 1.0, jnp.nan, 1.0, 2.0])
    optimizer = lrsched.record_health(optax.apply_if_finite(optax.sgd(0.1), 10))
    state, _ = recorded(optimizer, jnp.ones(1), gradients, losses)
    found = lrsched.recorded_health(state)
    assert (found.num_updates, found.num_nonfinite) == (2, 3)
    assert np.isfinite(np.concatenate([found.loss, found.descent])).all()


def test_bfloat16_is_summed_in_float32_and_vmapped_runs_have_records():
    params = jnp.full(4096, 0.01, jnp.bfloat16)
    optimizer = lrsched.record_health(optax.sgd(0.1))
    _, state = optimizer.update(params, optimizer.init(params), params)
    exact = float(params[0])
    np.testing.assert_allclose(lrsched.recorded_health(state).param_rms[""], exact, rtol=1e-5)
    states = jax.vmap(optimizer.init)(jnp.ones((3, 2)))
    _, states = jax.jit(jax.vmap(optimizer.update))(jnp.ones((3, 2)), states, jnp.ones((3, 2)))
    assert lrsched.recorded_health(jax.tree.map(lambda x: x[1], states)).num_updates == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.record_health(optax.sgd(0.1), max_records=3), "max_records=3 is not"),
        (lambda: lrsched.record_health(0.1), "optimizer=0.1 is not accepted"),
        (
            lambda: lrsched.recorded_health(optax.sgd(0.1).init(1.0)),
            "holds 0 states of record_health",
        ),
        (
            lambda: lrsched.recorded_health(lrsched.record_health(optax.sgd(0.1)).init(1.0)),
            "record is empty",
        ),
        (
            lambda: lrsched.record_health(optax.sgd(0.1)).update(
                1.0, lrsched.record_health(optax.sgd(0.1)).init(1.0)
            ),
            "needs the parameters",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
