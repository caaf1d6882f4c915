"""The bound, against its double sum in float64 and against the paper's figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsched
from lrsched import theory

ANY = settings(max_examples=20, deadline=None)
STEPS = 150


def double_sum(rates, norms=1.0, distance=1.0):
    """The paper's form, term by term: sums over k of sums over s, for each t."""
    rates = np.asarray(rates, np.float64)
    squares = rates**2 * np.broadcast_to(np.float64(norms), rates.shape) ** 2
    found = []
    for t in range(1, len(rates) + 1):
        from_k = np.cumsum(rates[:t][::-1])[::-1]
        squares_from_k = np.cumsum(squares[:t][::-1])[::-1]
        inner = rates[: t - 1] / from_k[1:] * squares_from_k[:-1] / from_k[:-1]
        first = (distance**2 + squares_from_k[0]) / (2 * from_k[0])
        found.append(first + np.sum(inner) / 2)
    return np.array(found)


SHAPES = {
    "constant": lambda steps: lrsched.constant(1.0),
    "linear": lambda steps: lrsched.linear(0.05, 0.0, steps),
    "cosine": lambda steps: lrsched.cosine(0.03, steps),
    "wsd": lambda steps: lrsched.wsd(1e-3, steps, 0.05, 0.2, init=1e-6),
    "restarts": lambda steps: lrsched.cosine_restarts(1.0, max(1, steps // 7)),
    "over six decades": lambda steps: lrsched.exponential(1.0, 1e-6, every=steps),
    "far from 1": lambda steps: lrsched.constant(1e-15),
    "at random": lambda steps: lrsched.table(
        10 ** np.random.default_rng(0).uniform(-6, 0, steps + 1)
    ),
}


@pytest.mark.parametrize(
    ("name", "steps"),
    [*((name, 1000) for name in SHAPES), *(("at random", steps) for steps in (1, 2, 129))],
)
def test_every_iterate_is_that_of_the_double_sum(name, steps):
    schedule = SHAPES[name](steps)
    norms = np.float32(1 + np.random.default_rng(1).random(steps))
    expected = double_sum(schedule(np.arange(steps)), norms, distance=0.3)
    found = theory.convergence_bound(schedule, steps, norms, distance=0.3)
    np.testing.assert_allclose(found.values, expected, rtol=2e-6)
    last = theory.final_bound(schedule, steps, norms, distance=0.3)
    np.testing.assert_allclose(last.values, expected[-1], rtol=1e-6)


@pytest.mark.parametrize("name", ["constant", "at random"])
def test_every_iterate_of_ten_thousand(name):
    schedule = SHAPES[name](10_000)
    expected = double_sum(schedule(np.arange(10_000)))
    found = theory.convergence_bound(schedule, 10_000).values
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_constant_rates_have_a_harmonic_number():
    steps = np.arange(1, STEPS + 1)
    harmonic = np.cumsum(1 / steps) - 1 / steps
    expected = 1 / (2 * 0.5 * steps) + 0.5 / 2 + 0.5 / 2 * harmonic
    found = theory.convergence_bound(np.full(STEPS, 0.5, np.float32)).values
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_float64_where_it_is_there():
    with jax.enable_x64(True):
        rates = 10 ** np.random.default_rng(0).uniform(-6, 0, STEPS)
        found = theory.convergence_bound(rates)
        assert found.values.dtype == jnp.float64
        np.testing.assert_allclose(found.values, double_sum(rates), rtol=1e-12)
        np.testing.assert_allclose(theory.final_bound(rates).values, found.values[-1], rtol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "rate", "bound"),
    [
        (lrsched.constant(1.0), 0.018176, 0.137545),
        (lrsched.linear(1.0, 0.0, steps=400), 0.049563, 0.100630),
    ],
)
def test_the_papers_figures(schedule, rate, bound):
    for found in (
        theory.final_bound(schedule, 400),
        jax.tree.map(lambda x: x[-1], theory.convergence_bound(schedule, 400)),
    ):
        assert round(float(found.optimal_rate), 6) == rate
        assert round(float(found.optimal_values), 6) == bound
    assert round(float(theory.optimal_rate(schedule, 400)), 6) == rate


def test_linear_to_zero_is_best_of_the_shapes_and_cooldowns_are_between():
    at_end = {
        fraction: float(
            theory.final_bound(
                lrsched.wsd(1.0, 400, 0, fraction, ramp="linear"), 400
            ).optimal_values
        )
        for fraction in (0, 0.2, 0.5, 0.8)
    }
    linear = float(theory.final_bound(lrsched.linear(1.0, 0.0, 400)).optimal_values)
    assert at_end[0] > at_end[0.2] > at_end[0.5] > at_end[0.8] > linear
    assert float(theory.final_bound(lrsched.cosine(1.0, 400)).optimal_values) > linear


run_rates = st.lists(st.floats(1e-4, 1.0), min_size=STEPS, max_size=STEPS).map(jnp.float32)
factors = st.floats(0.05, 20.0)


@ANY
@given(rates=run_rates, factor=factors)
def test_the_optimal_rate_is_the_least_of_all_and_undoes_any_factor(rates, factor):
    bound = theory.final_bound(rates)
    assert float(bound.at(factor * bound.optimal_rate)) >= float(bound.optimal_values) * (1 - 1e-6)
    np.testing.assert_allclose(bound.at(bound.optimal_rate), bound.optimal_values, rtol=1e-5)
    scaled = theory.final_bound(factor * rates)
    np.testing.assert_allclose(scaled.values, bound.at(factor), rtol=1e-5)
    np.testing.assert_allclose(factor * scaled.optimal_rate, bound.optimal_rate, rtol=1e-5)


@ANY
@given(rates=run_rates, norm=factors, distance=factors)
def test_rates_scale_as_distance_over_norm_and_the_bound_as_their_product(rates, norm, distance):
    unit, bound = theory.convergence_bound(rates), None
    bound = theory.convergence_bound(rates, grad_norms=norm, distance=distance)
    np.testing.assert_allclose(bound.optimal_rate, unit.optimal_rate * distance / norm, rtol=1e-5)
    np.testing.assert_allclose(
        bound.optimal_values, unit.optimal_values * distance * norm, rtol=1e-5
    )


@settings(max_examples=5, deadline=None)
@given(rates=run_rates, seed=st.integers(0, 99))
def test_the_gradient_is_the_slope(rates, seed):
    direction = rates * np.random.default_rng(seed).uniform(-1, 1, STEPS)

    def total(amount):
        return jnp.sum(theory.convergence_bound(rates + amount * direction).values)

    def last(amount):
        return theory.final_bound(rates + amount * direction).values

    with jax.enable_x64(True):
        rates, direction = np.float64(rates), np.float64(direction)
        for function in (total, last):
            slope = (function(1e-5) - function(-1e-5)) / 2e-5
            scale = 1e-6 * abs(float(function(0.0)))
            np.testing.assert_allclose(jax.grad(function)(0.0), slope, rtol=1e-5, atol=scale)


def test_it_goes_through_jit_vmap_and_a_schedules_numbers():
    def bound(peak, steps):
        return theory.convergence_bound(lrsched.linear(peak, 0.0, steps), STEPS).values[-1]

    peaks, lengths = jnp.array([0.1, 0.2]), jnp.array([STEPS, 160])
    batched = jax.jit(jax.vmap(bound))(peaks, lengths)
    single = [bound(float(p), int(n)) for p, n in zip(peaks, lengths, strict=True)]
    np.testing.assert_allclose(batched, single, rtol=1e-5)
    last = theory.final_bound(lrsched.linear(0.1, 0.0, STEPS))
    slope = jax.grad(lambda peak: theory.final_bound(lrsched.linear(peak, 0.0, STEPS)).values)(0.1)
    np.testing.assert_allclose(slope, (last.noise - last.distance) / 0.1, rtol=1e-5)


def test_a_rate_of_zero_makes_one_iterate_infinite_and_none_after_it():
    rates = np.full(STEPS, 0.5, np.float32)
    rates[[0, 2, 3, 140, STEPS - 1]] = 0
    values = theory.convergence_bound(rates).values
    assert np.array_equal(np.isinf(values), rates == 0)
    assert np.isinf(theory.final_bound(rates).values)
    assert float(theory.final_bound(rates).optimal_rate) == 0
    moved = rates[rates > 0]
    np.testing.assert_allclose(values[-2], theory.final_bound(moved).values, rtol=1e-6)
    of_last = jax.grad(lambda rates: theory.convergence_bound(rates).values[-2])
    assert np.all(np.isfinite(of_last(jnp.asarray(rates))))


def test_norms_may_be_a_number_a_callable_or_one_a_step():
    schedule, steps = lrsched.cosine(0.1, STEPS), np.arange(STEPS)
    norms = lrsched.linear(2.0, 1.0, STEPS)
    by_schedule = theory.final_bound(schedule, grad_norms=norms)
    for same in (lambda step: norms(step), norms(steps), norms(steps).tolist()):
        assert theory.final_bound(schedule, grad_norms=same) == by_schedule
        under_jit = jax.jit(lambda s, same=same: theory.final_bound(s, STEPS, same).values)
        np.testing.assert_allclose(under_jit(schedule), by_schedule.values, rtol=1e-6)
    assert theory.final_bound(0.1, STEPS, 2) == theory.final_bound([0.1] * STEPS, STEPS, 2.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: theory.final_bound(lrsched.constant(1.0)), "no known horizon; pass steps"),
        (lambda: theory.final_bound(0.1, 0), "steps=0 is not accepted"),
        (lambda: theory.final_bound([0.1, -0.1]), "schedule=.* must be finite, and 0 or more"),
        (lambda: theory.final_bound([0.1], 2), "schedule has 1 numbers for steps=2"),
        (lambda: theory.final_bound(0.1, 3, [1.0]), "grad_norms has 1 numbers for steps=3"),
        (lambda: theory.final_bound(0.1, 3, "big"), "grad_norms='big' is not accepted"),
        (lambda: theory.final_bound(0.1, 3, np.nan), "nan"),
        (lambda: theory.convergence_bound(0.1, 3, distance=0.0), "convergence_bound: distance=0.0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_page_has_the_ratios_of_the_best_rates():
    shapes = {
        2.6: (
            lrsched.linear(1.0, 0.0, 200),
            lrsched.warmup(10) * lrsched.cosine(1.0, 200),
        ),
        1.4: (lrsched.wsd(1.0, 200, warmup=0.05, cooldown=0.2),),
    }
    constant = theory.optimal_rate(lrsched.constant(1.0), 200)
    for ratio, of_ratio in shapes.items():
        for shape in of_ratio:
            assert round(float(theory.optimal_rate(shape, 200) / constant), 1) == ratio
