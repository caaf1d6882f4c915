"""The refined schedule."""

import jax
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

import lrsched
from lrsched import theory


def by_the_paper(norms, power, width):
    """Its code, for as many norms as there are steps."""
    size = 2 * (int(width * len(norms)) // 2) + 1
    padded = np.pad(norms, (0, size), mode="reflect")
    smooth = scipy.ndimage.median_filter(padded, size=size, mode="nearest")[: len(norms)]
    weights = smooth.astype(np.float64) ** -power
    rates = [weights[t] * weights[t + 1 :].sum() for t in range(len(norms))]
    return np.array(rates) / max(rates)


@pytest.mark.parametrize("steps", [1, 7, 30_001])
@pytest.mark.parametrize("norm", ["l1", "l2"])
def test_constant_norms_give_the_line_to_zero(steps, norm):
    refined = theory.refine(steps, 0.3, norm=norm)
    at = np.arange(steps + 1)
    np.testing.assert_allclose(refined(at), lrsched.linear(1.0, 0.0, steps)(at), rtol=3e-7)
    assert refined.horizon == steps
    assert refined(0) == 1
    assert refined(steps) == 0


@pytest.mark.parametrize(("norm", "power"), [("l1", 1), ("l2", 2)])
@pytest.mark.parametrize("width", [0.0, 0.1, 0.3])
def test_it_is_the_papers(norm, power, width):
    rng = np.random.default_rng(0)
    norms = np.float32((1 + 5 * np.exp(-np.arange(301) / 20)) * np.exp(0.3 * rng.normal(size=301)))
    norms[-1] = norms[-2]  # the horizon has no gradient of its own
    refined = theory.refine(300, norms[:300], norm=norm, width=width)
    expected = by_the_paper(norms, power, width)
    found = np.asarray(refined(np.arange(301)))
    middle = slice(0, 300 - int(width * 300))  # a window that is not reflected sees one more norm
    scale = expected[middle].max() / found[middle].max()
    np.testing.assert_allclose(scale * found[middle], expected[middle], rtol=3e-2, atol=3e-3)
    if width == 0:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_its_bound_is_below_that_of_other_shapes():
    norms = lrsched.points([0, 30, 150, 200], [6.0, 1.5, 1.0, 2.0])
    refined = theory.refine(200, norms, width=0.0)
    bounds = [
        float(theory.final_bound(schedule, 200, norms).optimal_values)
        for schedule in (refined, lrsched.linear(1.0, 0.0, 200), lrsched.cosine(1.0, 200), 1.0)
    ]
    assert bounds[0] == min(bounds)
    assert bounds[0] < 0.95 * bounds[1]


def test_gradients_that_shrink_give_a_warmup_and_that_grow_a_faster_fall():
    norms = lrsched.points([0, 20, 90, 100], [5.0, 1.0, 1.0, 3.0])
    rates = np.asarray(theory.refine(100, norms, width=0.0)(np.arange(101)))
    assert 10 <= rates.argmax() <= 25
    assert np.all(np.diff(rates[:15]) > 0)
    assert rates[95] < 0.4 * (1 - 95 / 100)


@settings(max_examples=20, deadline=None)
@given(
    norms=st.lists(st.floats(1e-3, 1e3), min_size=24, max_size=24),
    steps=st.sampled_from([1, 10, 50]),
    factor=st.floats(1e-3, 1e3),
)
def test_only_the_ratios_of_norms_matter_and_rates_stay_below_the_peak(norms, steps, factor):
    refined = theory.refine(steps, norms, peak=0.3)
    rates = np.asarray(refined(np.arange(steps + 1)))
    assert rates.max() == np.float32(0.3)
    assert np.all(rates[:-1] >= 0)
    assert rates[-1] == 0
    scaled = theory.refine(steps, np.multiply(norms, factor), peak=0.3)
    np.testing.assert_allclose(scaled(np.arange(steps + 1)), rates, rtol=1e-3, atol=1e-6)


def test_a_schedule_gives_its_length_and_its_peak():
    run = lrsched.wsd(0.02, steps=50, warmup=5, cooldown=10)
    refined = theory.refine(run, [1.0, 1.0])
    assert (refined.horizon, float(refined(0))) == (50, np.float32(0.02))
    assert theory.refine(run, [1.0], peak=0.5) == theory.refine(50, [1.0], peak=0.5)
    assert lrsched.from_dict(lrsched.to_dict(refined)) == refined


def test_many_norms_are_averaged_first():
    rng = np.random.default_rng(0)
    norms = np.exp(0.05 * rng.normal(size=20_000)) * np.linspace(2, 1, 20_000)
    found = theory.refine(20_000, norms)(np.arange(0, 20_001, 500))
    smooth = theory.refine(20_000, np.linspace(2, 1, 20_000))(np.arange(0, 20_001, 500))
    np.testing.assert_allclose(found, smooth, atol=0.02)


def test_norms_may_be_traced_or_known_under_a_trace():
    norms = jax.numpy.ones(10)
    assert jax.jit(lambda norms: theory.refine(10, norms)(3))(norms) == pytest.approx(0.7)
    assert jax.jit(lambda peak: theory.refine(10, norms, peak)(3))(2.0) == pytest.approx(1.4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: theory.refine(0, 1.0), "schedule_or_steps=0 is not accepted"),
        (lambda: theory.refine(lrsched.constant(1.0), 1.0), "no known horizon"),
        (lambda: theory.refine(9, [1.0, 0.0]), "grad_norms must be finite and above 0"),
        (lambda: theory.refine(9, []), "grad_norms must be finite and above 0"),
        (lambda: theory.refine(9, 1.0, peak=0.0), "peak=0.0 is not accepted"),
        (lambda: theory.refine(9, 1.0, norm="l3"), "norm='l3' is not accepted"),
        (lambda: theory.refine(9, 1.0, width=2.0), "width=2.0 is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
