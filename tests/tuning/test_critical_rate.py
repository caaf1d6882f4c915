"""`critical_rate` on quadratics with known curvature, where ``2 g.d / (d.H d)`` is exact."""

import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import lrsched
from lrsched import tuning
from lrsched.tuning import _auto
from lrsched.tuning._critical_rate import warmup_steps_at_critical_rate

H = jnp.array([1.0, 4.0, 10.0])


def loss_fn(w, batch):
    """``(w - batch) H (w - batch) / 2``."""
    return jnp.sum(H * (w - batch) ** 2) / 2


def closed_form(optimizer, state, params, batch=0.0, loss_fn=loss_fn):
    """The exact critical rate along the next update, in units of its rate."""
    gradient = jax.grad(loss_fn)(params, batch)
    update, _ = optimizer.update(gradient, state, params)
    rate = float(lrsched.learning_rate(optimizer.update(gradient, state, params)[1]))
    direction = np.float64(update) / rate
    hessian = np.float64(jax.hessian(loss_fn)(params, batch))
    return -2 * np.float64(gradient) @ direction / (direction @ hessian @ direction)


OPTIMIZERS = {
    "sgd": lrsched.inject_schedules(optax.sgd)(1e-3),
    "momentum": lrsched.inject_schedules(optax.sgd)(1e-3, momentum=0.9),
    "nesterov": lrsched.inject_schedules(optax.sgd)(1e-3, momentum=0.9, nesterov=True),
    "adam": lrsched.inject_schedules(optax.adam)(1e-3),
    "adamw": lrsched.inject_schedules(optax.adamw)(1e-3, weight_decay=0.1),
    "prodigy": lrsched.prodigy(1.0),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("updates", [0, 5])
def test_the_interval_contains_the_closed_form(name, updates):
    optimizer, params = OPTIMIZERS[name], jnp.array([1.0, -2.0, 0.5])
    state = optimizer.init(params)
    for _ in range(updates):
        step, state = optimizer.update(jax.grad(loss_fn)(params, 0.0), state, params)
        params = optax.apply_updates(params, step)
    result = tuning.critical_rate(loss_fn, params, optimizer, 0.0, state)
    exact = closed_form(optimizer, state, params)
    assert result.low <= exact * (1 + 1e-5)
    assert result.high >= exact * (1 - 1e-5)
    assert 1 - result.low / result.high <= 2**-4
    np.testing.assert_allclose(result.best_rate, exact / 2, rtol=1e-3)


# Cases of a float64 reference of the algorithm, written apart from the library.
@pytest.mark.parametrize(
    ("curvature", "start", "guess", "low", "high", "probes"),
    [
        ([1, 4, 10], [1, 1, 1], 0.001, 0.216, 0.224, 13),
        ([1, 4, 10], [1, 1, 1], 0.2, 0.2125, 0.225, 6),
        ([100, 0.01], [0.01, 100.0], 0.001, 0.038, 0.04, 11),
        ([2.0], [1.5], 0.001, 0.96, 1.024, 14),
    ],
)
def test_the_search_is_that_of_the_paper(curvature, start, guess, low, high, probes):
    with jax.enable_x64(True):  # 0.04 is within 1e-4 of a crossing
        curvature = jnp.array(curvature, float)
        result = tuning.critical_rate(
            lambda w, _: jnp.sum(curvature * w**2) / 2,
            jnp.array(start, float),
            optax.sgd(1.0),
            None,
            rate=1.0,
            guess=guess,
        )
    np.testing.assert_allclose([result.low, result.high], [low, high], rtol=1e-5)
    # The loss before the update and the two of GeN's parabola come on top.
    assert result.num_losses == probes + 3
    np.testing.assert_allclose(result.sharpness, 2 / low, rtol=1e-5)
    assert result.warning == ""
    assert "critical rate" in str(result)


@pytest.mark.parametrize(
    ("rate", "losses", "best"),
    [
        (0.1, (1.155, 1.0, 0.955), 0.09090909),
        (0.01, (1.02, 1.0, 0.99), 0.015),
        (0.1, (1.05, 1.0, 0.9), np.nan),
        (1.0, (3.0, 1.0, 0.5), 0.83333333),
    ],
)
def test_the_gen_rate_is_that_of_gen(rate, losses, best):
    np.testing.assert_allclose(tuning.gen_rate(rate, *losses), best, rtol=1e-6)


@pytest.mark.parametrize(
    ("loss_fn", "start", "warning"),
    [
        (loss_fn, [0.0, 0.0, 0.0], "the update is zero"),
        (lambda w, _: -jnp.sum(w), [1.0, 1.0, 1.0], "rises at no rate"),
        (lambda w, _: jnp.sum(w) * jnp.nan, [1.0, 1.0, 1.0], "not finite"),
    ],
)
def test_a_search_without_a_crossing_says_so(loss_fn, start, warning):
    result = tuning.critical_rate(loss_fn, jnp.array(start), optax.sgd(0.1), 0.0, rate=0.1)
    assert re.search(warning, result.warning)
    assert np.isnan(result.best_rate)
    assert "no critical rate" in str(result)


def test_an_update_that_points_uphill_is_named():
    result = tuning.critical_rate(loss_fn, jnp.ones(3), optax.scale(0.1), 0.0, rate=0.1)
    assert result.low == 0
    assert "uphill" in result.warning


@pytest.mark.parametrize(
    ("loss_fn", "message"),
    [
        (lambda w, batch: (jnp.sum(w), 1.0), "loss_fn returns a tuple"),
        (lambda w, batch: w, r"loss_fn returns an array of shape \(3,\)"),
        (lambda w, batch: jnp.int32(1), "loss_fn returns a value of type int32"),
    ],
)
def test_a_loss_that_is_no_scalar_is_refused(loss_fn, message):
    with pytest.raises(ValueError, match=f"critical_rate: {message}"):
        tuning.critical_rate(loss_fn, jnp.ones(3), lrsched.scale_by_learning_rate(0.1), None)


def test_a_parabola_whose_minimum_is_beyond_the_critical_rate_gives_no_best_rate():
    def barrier(w, batch):
        return jnp.sum(jnp.where(w > 0, w - jnp.log(w), jnp.nan))

    result = tuning.critical_rate(
        barrier, 3 * jnp.ones(3), lrsched.scale_by_learning_rate(0.1), None
    )
    assert np.isnan(result.best_rate)
    assert "the losses fit no parabola of GeN" in str(result)


def test_a_loss_that_is_not_finite_is_above():
    wall = lambda w, _: jnp.where(w[0] > 0.25, jnp.nan, w[0])  # noqa: E731
    result = tuning.critical_rate(wall, jnp.array([0.0]), optax.scale(1.0), None, rate=1.0)
    assert result.low == 0
    wall = lambda w, _: jnp.where(w[0] < -0.25, jnp.nan, w[0])  # noqa: E731
    result = tuning.critical_rate(wall, jnp.array([0.0]), optax.sgd(1.0), None, rate=1.0)
    assert result.low <= 0.25 < result.high


def test_the_first_update_of_a_warmup_has_a_direction():
    optimizer = optax.chain(
        optax.scale_by_adam(), lrsched.scale_by_learning_rate(lrsched.warmup(10))
    )
    result = tuning.critical_rate(loss_fn, jnp.ones(3), optimizer, 0.0)
    assert result.rate == 0 == result.ratio
    assert result.low <= 2 * 15 / 15 < result.high  # g.d is the sum of H, d.H d too


def test_a_module_in_the_middle_of_a_run_is_not_modified_and_compiles_once():
    model = nnx.Sequential(nnx.Linear(3, 8, rngs=nnx.Rngs(0)), nnx.Dropout(0.5, rngs=nnx.Rngs(1)))
    optimizer = nnx.Optimizer(model, OPTIMIZERS["adam"], wrt=nnx.Param)
    loss_fn = chex.assert_max_traces(lambda model, x: jnp.mean(model(x) ** 2), n=6)
    x = jnp.ones((4, 3))
    before = jax.tree.map(jnp.copy, nnx.state((model, optimizer)))
    first = tuning.critical_rate(loss_fn, model, optimizer, x)
    second = tuning.critical_rate(loss_fn, model, optimizer, x)
    assert first == second
    assert 0 < first.low < first.high < np.inf
    chex.assert_trees_all_equal(before, nnx.state((model, optimizer)))


def test_bfloat16_parameters_and_a_sharded_batch():
    params = jnp.ones(3, jnp.bfloat16)
    result = tuning.critical_rate(loss_fn, params, optax.sgd(0.1), jnp.float32(0), rate=0.1)
    np.testing.assert_allclose(result.low, 0.2197, rtol=0.08)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "holds no learning rate; pass rate="),
        ({"rate": 0.0}, "rate=0.0 is not accepted"),
        ({"rate": 1.0, "tolerance": 1.0}, "tolerance=1.0 is not accepted"),
        ({"rate": 1.0, "max_losses": 3}, "max_losses=3 is not accepted"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        tuning.critical_rate(loss_fn, jnp.ones(3), optax.sgd(0.1), 0.0, **options)


def test_it_is_the_upper_end_of_a_range_test():
    run = tuning.training(loss_fn, jnp.ones(3), lambda rate: optax.sgd(rate), lambda *_: 0.0)
    result = tuning.range_test(run, steps=20, high="critical", seeds=1)
    np.testing.assert_allclose(result.rates[-1], 30 * 0.2197, rtol=0.07)
    with pytest.raises(ValueError, match="high must be a rate or 'critical'"):
        tuning.range_test(run, high="high")


def quartic(start):
    """A training of ``w**4 / 4``: gradient descent leaves the loss as it is at ``2 / w**2``."""
    return tuning.training(
        lambda w, batch: w**4 / 4 + 0 * batch.sum(),
        jnp.float32(start),
        lrsched.scale_by_learning_rate,
        jnp.zeros((4, 1)),
        batch_size=4,
    )


@pytest.mark.parametrize("peak", [0.3, 1.0, 7.0])
def test_a_warmup_lasts_until_the_peak_is_below_the_critical_rate(peak):
    count = warmup_steps_at_critical_rate(quartic(3.0), peak, 50, guess=1e-3, seeds=[0, 1])
    # Nine tenths of the critical rate is 1.8 / w**2, and takes w to -0.8 w. The search ends below
    # it, within a sixteenth.
    low, high = (
        np.ceil(np.log(peak * 9 / (2 * part)) / (-2 * np.log(abs(1 - 2 * part))))
        for part in (0.9 * 15 / 16, 0.9)
    )
    assert low <= count <= high


def test_a_warmup_ends_where_the_search_ends_or_does_not_begin():
    assert warmup_steps_at_critical_rate(quartic(3.0), 1e6, 5, guess=1e-3, seeds=[0]) == 5
    assert warmup_steps_at_critical_rate(quartic(3.0), 0.1, 5, guess=1e-3, seeds=[0]) == 0


def test_auto_measures_the_warmup(monkeypatch):
    asked = []

    def measured(training, peak, max_steps, guess, seeds):
        asked.append((peak, max_steps, seeds))
        return 7

    monkeypatch.setattr(_auto, "warmup_steps_at_critical_rate", measured)
    found = tuning.auto(quartic(3.0), 200, num_probes=2, seeds=1, warmup="auto")
    assert asked == [(found.peak, 20, [0])]
    decay = lrsched.linear(found.peak, 0.0, 193)
    assert found.schedule == lrsched.warmup(7) * found.peak >> decay


@pytest.mark.parametrize("warmup", [200, 300, -1, 1.5, "critical", None])
def test_auto_refuses_a_warmup_that_does_not_fit(warmup):
    with pytest.raises(ValueError, match=f"auto: warmup={warmup!r} is not accepted; warmup must"):
        tuning.auto(quartic(3.0), 200, warmup=warmup)
