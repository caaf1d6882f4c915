import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from lrsched import tuning
from lrsched.tuning._range_test import RangeTestResult
from tests.tuning.problems import digits, logistic, runners_of


def quadratic(curvature):
    """Gradient descent on ``curvature w**2 / 2``, which diverges above a rate of 2 / curvature."""
    return tuning.training(
        lambda w, batch: curvature * jnp.mean(w**2 + 0 * batch) / 2,
        jnp.ones(()),
        optax.sgd,
        jnp.zeros(1),
    )


@pytest.mark.parametrize("curvature", [0.1, 1.0, 30.0])
def test_the_usable_range_of_a_quadratic_ends_at_two_over_its_curvature(curvature):
    found = tuning.range_test(quadratic(curvature), low=1e-4, high=1e4, steps=400, seeds=1)
    assert 0.5 < found.range.high * curvature / 2 < 2.5
    assert found.range.low < found.suggestion() < found.range.high


def test_the_rates_grow_as_they_say_and_each_is_applied():
    run = quadratic(1.0)
    found = tuning.range_test(run, low=1e-3, high=1.0, steps=50, seeds=1)
    np.testing.assert_allclose(found.rates, np.geomspace(1e-3, 1.0, 50), rtol=1e-5)
    w = np.concatenate([[1.0], np.cumprod(1 - found.rates.astype(float))])[:-1]
    np.testing.assert_allclose(found.losses[0], w**2 / 2, rtol=1e-4)
    straight = tuning.range_test(run, low=0.01, high=1.0, steps=50, rate_spacing="linear", seeds=1)
    np.testing.assert_allclose(straight.rates, np.linspace(0.01, 1.0, 50), rtol=1e-5)


def test_it_stops_working_once_every_seed_has_diverged():
    found = tuning.range_test(logistic(optax.sgd), low=1e-2, high=1e12, steps=200, seeds=2)
    ends = np.sum(~np.isnan(found.losses), axis=1)
    assert np.all(ends < 150)
    assert np.all(np.isnan(found.smoothed) == np.isnan(found.losses))
    run = logistic(optax.sgd)
    tuning.range_test(run, low=1e-2, high=1e12, steps=200, seeds=2)
    (runner,) = runners_of(run)
    assert runner.lanes == 2


def test_seeds_differ_and_bound_the_confidence():
    found = tuning.range_test(logistic(), seeds=4)
    assert len(np.unique(found.losses[:, 0])) == 4
    low, high = found.confidence()
    assert low < found.suggestion() < high < 10 * low


def test_a_model_of_nnx_and_a_second_test_that_compiles_nothing():
    run = digits()
    first = tuning.range_test(run, seeds=2)
    compiled = runners_of(run)
    second = tuning.range_test(run, low=1e-5, high=0.5, seeds=2)
    assert runners_of(run) == compiled
    assert first.range.low < second.range.high


def curve(losses):
    """A range test over four decades whose losses are these, of one seed."""
    losses = np.asarray(losses, float)[None]
    return RangeTestResult(np.geomspace(1e-4, 1.0, losses.shape[1]), losses, losses)


FLAT_FALL_RISE = np.concatenate(
    [np.full(20, 2.0), np.linspace(2, 1, 41), np.linspace(1, 3, 40)[1:]]
)


@pytest.mark.parametrize(
    ("method", "place"),
    [("90%", 56), ("minimum/10", 60), ("valley", 38)],
)
def test_the_methods_on_a_curve_that_one_can_read(method, place):
    found = curve(FLAT_FALL_RISE)
    factor = 10 if method == "minimum/10" else 1
    np.testing.assert_allclose(found.suggestion(method), found.rates[place] / factor, rtol=1e-6)


def test_steepest_and_slide_on_a_curve_with_one_steep_place():
    steps = np.arange(100)
    found = curve(2 - np.tanh((steps - 50) / 4) + 3 * np.clip(steps - 80, 0, None) ** 2)
    np.testing.assert_allclose(found.suggestion("steepest"), found.rates[50], rtol=1e-6)
    assert found.rates[40] < found.suggestion("slide") < found.rates[80]


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "adam"])
def test_the_range_of_an_optimizer_is_looked_up_by_its_name(name):
    found = tuning.range_test(
        logistic(getattr(optax, name)), steps=10, seeds=1, divergence_factor=1e30
    )
    np.testing.assert_allclose(found.rates[[0, -1]], tuning.RANGES[name], rtol=1e-5)


@pytest.mark.parametrize(
    ("run", "others", "message"),
    [
        (logistic, {"low": 1.0, "high": 0.1}, "low=1.0, high=0.1 are not accepted"),
        (logistic, {"low": 0.0}, "above 0"),
        (logistic, {"steps": 2}, "steps=2 is not accepted"),
        (logistic, {"rate_spacing": "cubic"}, "rate_spacing=.cubic. is not accepted"),
        (logistic, {"seeds": []}, "seeds is empty"),
        (logistic, {"divergence_factor": 1.0}, "divergence_factor must be a number above 1"),
    ],
)
def test_bad_input(run, others, message):
    with pytest.raises(ValueError, match=message):
        tuning.range_test(run(), **others)


def test_no_descent_is_said_in_words():
    upwards = tuning.training(
        lambda w, batch: w, jnp.zeros(()), lambda rate: optax.sgd(-1.0 * rate), jnp.zeros(1)
    )
    with pytest.raises(ValueError, match=r"no rate from 1e-07 to 10 lowers the loss: start lower"):
        tuning.range_test(upwards).suggestion()
    broken = tuning.training(lambda w, batch: w * jnp.nan, jnp.zeros(()), optax.sgd, jnp.zeros(1))
    with pytest.raises(ValueError, match="every loss is NaN from the first update on"):
        tuning.range_test(broken).suggestion()
    with pytest.raises(ValueError, match="method='best' is not accepted"):
        curve(FLAT_FALL_RISE).suggestion("best")


def test_it_draws_itself():
    found = tuning.range_test(logistic(), seeds=2)
    ax = found.plot()
    assert ax.get_xscale() == "log"
    assert f"suggested: {found.suggestion():.2g}" in ax.get_legend_handles_labels()[1]


def test_any_optimizer_goes():
    for optimizer in (optax.lion, optax.contrib.muon, lrsched.prodigy, optax.adafactor):
        found = tuning.range_test(logistic(optimizer), seeds=1)
        assert found.range.low < found.range.high


def test_the_fewest_steps_are_three():
    found = tuning.range_test(quadratic(1.0), low=0.1, high=1.0, steps=3, seeds=1)
    assert np.isfinite(found.losses).all()
    assert found.losses.shape == (1, 3)


def test_a_decay_relative_to_the_peak_asks_for_it():
    def optimizer(rate, **options):
        return lrsched.with_weight_decay(optax.identity(), rate, 0.1, "relative", **options)

    with pytest.raises(ValueError, match="the rate of a range test has no") as error:
        tuning.range_test(logistic(optimizer), steps=3)
    assert str(error.value).endswith("pass the largest rate as peak=.")
    found = tuning.range_test(logistic(lambda rate: optimizer(rate, peak=0.1)), steps=3)
    assert np.isfinite(found.losses).all()
