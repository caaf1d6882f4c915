import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lrsched import scaling


def test_the_same_size_keeps_the_rate():
    assert scaling.batch_size(0.1, 256, 256) == scaling.batch_size(0.1, 256, 256, "sqrt") == 0.1
    assert scaling.mup_width(0.1, 64, 64) == scaling.mup_depth(0.1, 8, 8) == 0.1
    assert scaling.horizon(0.1, 100, 100) == 0.1


def test_rules_go_through_jit_and_arrays():
    sizes = jnp.array([256, 512, 1024])
    assert scaling.batch_size(0.1, sizes, 256).tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert jax.jit(lambda width: scaling.mup_width(1.0, width, 64))(256) == 0.25


def fit(**arguments):
    return scaling.fit_power_law([1, 2, 4], [0.1, 0.2, 0.3], **arguments)


@settings(max_examples=20, deadline=None)
@given(exponent=st.floats(-2, 2), factor=st.floats(1e-3, 10), seeds=st.integers(1, 3))
def test_a_power_law_is_found_and_its_interval_is_a_point(exponent, factor, seeds):
    sizes = np.array([8, 32, 128, 512])
    rates = np.tile((factor * sizes**exponent)[:, None], seeds)
    law = scaling.fit_power_law(sizes, rates)
    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.interval == pytest.approx((exponent, exponent), abs=1e-6)
    np.testing.assert_allclose(law(sizes), rates[:, 0], rtol=1e-9)


@pytest.mark.slow
def test_the_interval_holds_the_exponent_as_often_as_it_says():
    rng, sizes = np.random.default_rng(0), np.array([8, 32, 128])
    laws = [
        scaling.fit_power_law(
            sizes, sizes[:, None] ** -0.5 * np.exp(0.2 * rng.normal(size=(3, 2))), 0.8
        )
        for _ in range(300)
    ]
    held = np.mean([low <= -0.5 <= high for low, high in (law.interval for law in laws)])
    assert 0.74 < held < 0.86


def test_the_interval_is_students():
    law = scaling.fit_power_law([1, np.e, np.e**2], np.exp([0.0, 1.3, 2.0]))
    error = np.sqrt((0.1**2 + 0.2**2 + 0.1**2) / 2)  # the residuals, over the spread of x
    assert law.error == pytest.approx(error)
    assert law.interval == pytest.approx((1 - 12.7062 * error, 1 + 12.7062 * error), rel=1e-4)


@settings(max_examples=30, deadline=None)
@given(place=st.floats(np.log(4e-3), np.log(0.4)), skew=st.floats(-0.02, 0.02))
def test_the_best_rate_is_not_quantised_by_the_grid(place, skew):
    rates = np.geomspace(1e-3, 1, 13)
    away = np.log(rates) - place
    losses = 1 + 0.1 * away**2 + skew * away**3
    best = scaling.best_rate(rates, losses)
    assert abs(np.log(best) - place) < 0.2 * np.diff(np.log(rates))[0]


def test_each_seed_has_its_best_rate_and_a_wall_is_not_climbed():
    rates = np.geomspace(1e-3, 1, 13)
    one, two = (np.log(rates / best) ** 2 for best in (0.01, 0.03))
    np.testing.assert_allclose(
        scaling.best_rate(rates, np.stack([one, two], axis=1)), [0.01, 0.03], rtol=1e-6
    )
    falling = np.where(rates < 0.2, 1 - np.log(rates), np.nan)
    assert scaling.best_rate(rates, falling) == pytest.approx(rates[rates < 0.2][-1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scaling.batch_size(0.1, 256, 0), "batch_size: 0 is not accepted; a size must"),
        (
            lambda: scaling.batch_size(0.1, 256, 64, "cubic"),
            "rule='cubic' is not accepted; rule must be one of 'linear', 'sqrt'",
        ),
        (lambda: scaling.mup_width(0.1, -1, 64), "mup_width: -1 is not accepted"),
        (lambda: scaling.mup_depth(0.1, "8", 64), "mup_depth: '8' is not accepted"),
        (lambda: scaling.horizon(0.1, float("nan"), 64), "horizon: nan is not accepted"),
        (
            lambda: scaling.fit_power_law([1, 2, 4], [0.1, 0.2]),
            r"sizes of shape \(3,\) and rates of shape",
        ),
        (
            lambda: scaling.fit_power_law([1, 2, 0], [0.1, 0.2, 0.3]),
            "sizes=.* must be finite numbers above",
        ),
        (
            lambda: scaling.fit_power_law([1, 2, 4], [0.1, 0.2, np.inf]),
            "rates=.* must be finite",
        ),
        (lambda: scaling.fit_power_law([1, 2], [0.1, 0.2]), "2 rates of 2 sizes do not determine"),
        (
            lambda: scaling.fit_power_law([1, 2, 4], [0.1, 0.2, 0.3], 1.0),
            "level=1.0 is not accepted",
        ),
        (lambda: scaling.fit_power_law("x", [0.1]), "sizes='x' is not accepted; sizes must be num"),
        (lambda: scaling.fit_power_law([1, 2, 4], None), "rates=None is not accepted"),
        (lambda: scaling.fit_power_law([[1], [2, 3]], [1, 2]), r"sizes=\[\[1\], \[2, 3\]\] is not"),
        (
            lambda: fit(num_resamples=0),
            "num_resamples=0 is not accepted; num_resamples must be a w",
        ),
        (lambda: scaling.batch_size(None, 2, 1), "batch_size: rate=None is not accepted"),
        (lambda: scaling.batch_size(0.1, 2, 1, []), r"batch_size: rule=\[\] is not accepted"),
        (lambda: scaling.mup_width(0.1, [2], 1), r"mup_width: \[2\] is not accepted; a size"),
        (
            lambda: scaling.mup_depth(0.1, 2, np.array([1, 0])),
            r"array\(.*a size must be a number above",
        ),
        (lambda: scaling.horizon(0.1, 10**400, 1), "horizon: .* is not accepted; a size must be"),
        (lambda: scaling.horizon(0.1, 2, 1, 1j), "horizon: exponent=1j is not accepted"),
        (lambda: scaling.step_law(10**400, 1e9), "step_law: parameters=.* must be a finite number"),
        (lambda: scaling.half_life("x", 1e6), "half_life: decay='x' is not accepted"),
        (lambda: scaling.decay_timescale(None, 0.1), "decay_timescale: learning_rate=None is not"),
        (lambda: scaling.decay_from_timescale([], 10), "decay_from_timescale: number of rates=0"),
        (lambda: scaling.averaging_weights([0.1], None), "averaging_weights: weight_decay=None is"),
        (lambda: scaling.best_rate("x", [1.0]), "best_rate: rates='x' is not accepted"),
        (lambda: scaling.best_rate([], []), r"rates of shape \(0,\) and losses of shape \(0,\)"),
        (lambda: fit(seed=-1), "seed=-1 is not accepted"),
        (lambda: fit(level="x"), "level='x' is not accepted"),
        (lambda: fit()(-1), "size=-1 is not accepted; size must be above 0"),
        (lambda: fit()([1.0, 0.0]), r"size=\[1.0, 0.0\] is not accepted"),
        (lambda: fit()("x"), "size='x' is not accepted; size must be numbers"),
        (lambda: scaling.best_rate([0.1, 0.2], [1.0, 2.0]), "at the end of the sweep, at 0.1"),
        (
            lambda: scaling.best_rate([0.2, 0.1], [1.0, 2.0]),
            "numbers that increase, above 0",
        ),
        (lambda: scaling.best_rate([0.1], [1.0, 2.0]), r"losses of shape \(2,\) do not match"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@settings(max_examples=20, deadline=None)
@given(n=st.floats(-1, 1), d=st.floats(-1, 1), factor=st.floats(1e-3, 10))
def test_a_law_of_several_variables_is_found(n, d, factor):
    sizes = {"N": np.array([1e6, 1e6, 1e8, 1e8, 1e9]), "D": np.array([1e8, 1e10, 1e8, 1e9, 1e11])}
    rates = factor * sizes["N"] ** n * sizes["D"] ** d
    law = scaling.fit_power_law(sizes, rates, num_resamples=20)
    assert law.exponents == pytest.approx({"N": n, "D": d}, abs=1e-8)
    assert law.intervals["D"] == pytest.approx((d, d), abs=1e-6)
    assert law.bootstrap_intervals["N"] == pytest.approx((n, n), abs=1e-6)
    assert law.leave_one_out == pytest.approx(1)
    np.testing.assert_allclose(law(**sizes), rates, rtol=1e-6)
    with pytest.raises(ValueError, match="read them in exponents"):
        law.exponent  # noqa: B018
    with pytest.raises(ValueError, match="sizes must be N, D"):
        law(N=1.0)


@pytest.mark.slow
def test_the_bootstrap_interval_holds_the_exponent_about_as_often_as_it_says():
    rng, sizes = np.random.default_rng(1), np.array([8, 16, 32, 64, 128, 256])
    noise = 0.2 * rng.normal(size=(200, 6, 4))
    laws = [
        scaling.fit_power_law(sizes, sizes[:, None] ** -0.5 * np.exp(one), 0.8, num_resamples=200)
        for one in noise
    ]
    held = np.mean(
        [low <= -0.5 <= high for law in laws for low, high in law.bootstrap_intervals.values()]
    )
    assert 0.7 < held < 0.86


def test_the_leave_one_out_error_is_that_of_the_sizes_left_out():
    rates = np.array([1.0, 2.0, 5.0])
    law = scaling.fit_power_law([1, 2, 4], rates)
    misses = [np.log(1.0 / 0.8), np.log(2 / 5**0.5), np.log(5 / 4)]
    assert law.leave_one_out == pytest.approx(np.exp(np.sqrt(np.mean(np.square(misses)))))
    assert np.isnan(scaling.fit_power_law([1, 2], [[1.0, 1.1], [2.0, 2.1]]).leave_one_out)


def test_sizes_that_move_together_are_refused():
    sizes = {"N": [1.0, 2.0, 4.0, 8.0], "D": [1.0, 4.0, 16.0, 64.0]}
    with pytest.raises(ValueError, match="4 rates of 4 sizes do not determine an interval"):
        scaling.fit_power_law(sizes, [1.0, 2.0, 3.0, 5.0])


def test_a_law_of_several_variables_asks_for_names():
    sizes = {"N": [1e6, 1e6, 1e7, 1e7], "D": [1e8, 1e9, 1e8, 1e9]}
    law = scaling.fit_power_law(sizes, [8.0, 4.0, 2.0, 1.0])
    for size in (1e6, {"N": 1e6, "D": 1e8}):
        with pytest.raises(
            ValueError, match=r"size=.* pass the sizes by name, as in law\(N=..., D"
        ):
            law(size)
