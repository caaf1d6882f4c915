"""What is particular to one method: its options, its closed forms, its errors."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from tests.adaptive.test_contract import gradients_of, parameters, train

BAD = [
    (
        "prodigy",
        {"b1": 1.0},
        "prodigy: b1=1.0 is not accepted; b1 must be .* 0 to below 1",
    ),
    ("prodigy", {"d0": 0.0}, "prodigy: d0=0.0 .* above 0"),
    ("prodigy", {"growth_rate": 1.0}, "growth_rate=1.0 .* above 1"),
    ("prodigy", {"slice_by": "column"}, "slice_by='column' .*one of 'number', 'row'"),
    ("prodigy", {"slice_p": 1.5}, "slice_p=1.5 .* a whole number, 1 or more"),
    ("prodigy", {"d_coef": "1"}, "d_coef='1'"),
    ("dadapt_adamw", {"eps": 0.0}, "dadapt_adamw: eps=0.0 .* above 0"),
    ("dadapt_adamw", {"weight_decay": -0.1}, "weight_decay=-0.1 .* 0 or more"),
    ("dadapt_sgd", {"momentum": 1.0}, "dadapt_sgd: momentum=1.0 .* below 1"),
    ("dadapt_adagrad", {"eps": 0.0}, "dadapt_adagrad: eps=0.0"),
    ("dadapt_lion", {"b2": np.nan}, "dadapt_lion: b2=nan"),
    ("dog", {"reps_rel": 0.0}, "dog: reps_rel=0.0 .* above 0"),
    ("dog", {"init_eta": -1.0}, "dog: init_eta=-1.0"),
    ("ldog", {"eps": -1.0}, "ldog: eps=-1.0"),
    ("dowg", {"weight_decay": True}, "dowg: weight_decay=True"),
]


@pytest.mark.parametrize(("name", "options", "message"), BAD)
def test_an_option_out_of_its_range_is_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        getattr(lrsched, name)(**options)


@pytest.mark.parametrize("name", ["prodigy", "dadapt_adamw", "dog"])
def test_what_is_kept_can_be_narrow(name):
    optimizer = getattr(lrsched, name)(state_dtype=jnp.bfloat16)
    (params, state), _ = train(optimizer, parameters(), 50)
    kept = [leaf.dtype for leaf in jax.tree.leaves(state.method_state) if leaf.ndim]
    assert set(kept) == {jnp.dtype(jnp.bfloat16)}
    assert jax.tree.all(jax.tree.map(lambda leaf: bool(jnp.all(jnp.isfinite(leaf))), params))


def test_dowg_is_algorithm_1_of_its_paper():
    target, params = np.array([1.0, -2.0]), jnp.array([3.0, 4.0])
    optimizer = lrsched.dowg(reps_rel=1e-2)
    state = optimizer.init(params)
    x = start = np.array([3.0, 4.0])
    distance = 1e-2 * (1 + 5.0)
    weighted = distance**2 * 1e-8
    for _ in range(30):
        gradient = x - target
        distance = max(distance, np.linalg.norm(x - start))
        weighted += distance**2 * gradient @ gradient
        x = x - distance**2 / np.sqrt(weighted) * gradient
        updates, state = optimizer.update(params - target, state, params)
        params = optax.apply_updates(params, updates)
        np.testing.assert_allclose(params, x, rtol=1e-4)


def test_the_estimate_grows_by_no_more_than_it_may():
    optimizer, params = lrsched.dadapt_adamw(d0=1e-3, growth_rate=1.1), parameters()
    state, estimates = optimizer.init(params), []
    for _ in range(20):
        updates, state = optimizer.update(gradients_of(params), state, params)
        params = optax.apply_updates(params, updates)
        estimates.append(float(state.method_state.estimate))
    growth = np.array(estimates[1:]) / np.array(estimates[:-1])
    assert np.all(growth <= 1.1 * (1 + 1e-6))
    assert np.max(growth) > 1.09


def test_the_learning_rate_is_the_outer_one_times_the_estimate():
    optimizer, params = lrsched.prodigy(lrsched.linear(1.0, 0.5, steps=10), d0=0.1), parameters()
    state = optimizer.init(params)
    estimate = state.method_state.estimate
    for step in range(10):
        updates, state = optimizer.update(gradients_of(params), state, params)
        expected = estimate * lrsched.linear(1.0, 0.5, steps=10)(step)
        np.testing.assert_allclose(lrsched.learning_rate(state), expected, rtol=1e-6)
        estimate = state.method_state.estimate
        params = optax.apply_updates(params, updates)
