"""Schedules that are best where the best is known, and comparisons of many."""

import dataclasses

import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from scipy.optimize import isotonic_regression

import lrsched
from lrsched import theory

STEPS, PEAK = 600, 3e-4
LAW = theory.LossLaw(
    "multi-power", dict(L0=2.65, A=0.6, alpha=0.45, B=438.0, C=2.1, beta=0.6, gamma=0.65)
)


def test_of_a_quadratic_it_is_the_isotonic_regression_between_the_bounds():
    time = np.linspace(0, 1, STEPS)
    wanted = 0.8 - 0.9 * time + 0.4 * np.sin(9 * time)
    best = theory.optimise(lambda rates: jnp.sum((rates - wanted) ** 2), STEPS, 1.0, minimum=0.1)
    known = np.clip(isotonic_regression(wanted, increasing=False).x, 0.1, 1.0)
    found = np.asarray(best(np.arange(STEPS)))
    assert np.abs(found - known).mean() < 3e-3
    assert np.all(np.diff(found) <= 1e-7)
    assert found.min() >= 0.1 - 1e-7
    assert best.horizon == STEPS


def test_it_may_rise_where_that_is_wanted():
    wanted = 0.5 + 0.5 * np.linspace(0, 1.4, STEPS)
    best = theory.optimise(
        lambda rates: jnp.sum((rates - wanted) ** 2), STEPS, peak=1.0, monotone=False
    )
    np.testing.assert_allclose(best(np.arange(STEPS)), np.minimum(wanted, 1.0), atol=2e-2)


def test_under_a_law_it_is_better_than_what_people_use():
    best = theory.optimise(LAW, STEPS, PEAK, warmup=60)
    rise = lrsched.warmup(60) * PEAK
    others = {
        "cosine": rise >> lrsched.cosine(PEAK, STEPS - 60),
        "linear": rise >> lrsched.linear(PEAK, 0.0, STEPS - 60),
        **{
            f"wsd {cooldown} {shape}": lrsched.wsd(PEAK, STEPS, 60, cooldown, ramp=shape)
            for cooldown in (0.1, 0.2, 0.3, 0.5)
            for shape in ("linear", "1-sqrt", "cosine")
        },
    }
    found = theory.compare({"best": best, **others}, LAW)
    assert found.best() == "best"
    np.testing.assert_allclose(best(np.arange(61)), PEAK * np.arange(61) / 60, rtol=1e-5)


def test_under_a_law_that_is_corrected_by_the_mean_it_is_a_plain_shape():
    """The correction holds float32 arrays: float64 ones have failed after the search in float64."""
    at = np.arange(20, 400, 10)
    shapes = (lrsched.constant(PEAK), lrsched.linear(PEAK, 0.0, 400), lrsched.cosine(PEAK, 400))
    noise = np.random.default_rng(3).normal(size=(3, len(at)))
    curves = [
        theory.LossCurve(np.asarray(shape(np.arange(400))), at, sigmoid)
        for shape, sigmoid in zip(
            shapes, 1 + 2 / (1 + np.exp((at - 240) / 30)) + 0.01 * noise, strict=True
        )
    ]
    law = theory.fit_loss_law(curves)
    assert law.calibration is not None
    assert law.calibration.log_law.dtype == np.float32
    best = theory.optimise(law, 400, PEAK, warmup=40)
    assert float(best(40)) == pytest.approx(PEAK)


def test_schedules_without_a_finite_loss_are_no_ties():
    linear, cosine = lrsched.linear(PEAK, 0.0, STEPS), lrsched.cosine(PEAK, STEPS)
    zero = lrsched.constant(0.0)
    result = theory.compare({"linear": linear, "cosine": cosine, "zero": zero}, LAW, STEPS)
    assert "zero" not in result.tied()
    assert "only schedule with a finite" in theory.compare([linear, zero], LAW, STEPS).verdict()


def test_under_the_bound_it_is_nearly_a_line():
    line = lrsched.linear(0.049563, 0.0, 400)
    best = theory.optimise(lambda rates: theory.final_bound(rates).values, 400, peak=0.049563)
    values = [float(theory.final_bound(schedule).values) for schedule in (best, line)]
    assert values[0] <= values[1]
    at = np.arange(0, 400, 10)
    assert np.abs(best(at) - line(at)).max() < 0.06 * 0.049563


def test_a_comparison_is_the_laws_own_losses():
    curve = theory.LossCurve(
        lrsched.linear(0.1, 0.0, 90), np.arange(10, 91, 10), np.linspace(3, 2, 9)
    )
    law = theory.fit_loss_law([curve], "power", starts=1)
    schedules = [lrsched.cosine(peak, steps) for steps in (50, 80) for peak in (0.05, 0.1)]
    table = theory.compare(schedules, law).table
    for row, schedule in zip(table, schedules, strict=True):
        np.testing.assert_allclose(row["loss"], law.final_loss(schedule), rtol=1e-6)
        np.testing.assert_allclose([row["low"], row["high"]], law.final_interval(schedule))
        rates = np.asarray(schedule(np.arange(schedule.horizon)))
        expected = str(schedule), len(rates), rates.sum(), rates.max(), rates[-1]
        assert tuple(row[["name", "steps", "area", "peak", "last"]]) == pytest.approx(expected)


def test_a_gain_within_the_error_of_the_law_is_a_tie_and_no_reason_for_another_schedule():
    at, random = np.arange(20, STEPS + 1, 20), np.random.default_rng(0)
    runs = [
        lrsched.constant(PEAK),
        lrsched.linear(PEAK, 0.0, STEPS),
        lrsched.cosine(PEAK, STEPS, end=PEAK / 10),
    ]
    losses = [
        np.asarray(LAW.predict(run, STEPS, at)) * (1 + 0.02 * random.normal(size=len(at)))
        for run in runs
    ]
    rates = [np.asarray(run(np.arange(STEPS))) for run in runs]
    curves = [theory.LossCurve(*each) for each in zip(rates, [at] * 3, losses, strict=True)]
    law = theory.fit_loss_law(curves, "multi-power", starts=1)
    found = theory.compare({"a": rates[1], "b": rates[1] * 0.999}, law)
    assert set(found.tied()) == {"a", "b"}
    assert "are not told apart" in found.verdict()
    doubtful = dataclasses.replace(law, spread=np.full(2, 0.5))
    best = np.asarray(theory.optimise(doubtful, STEPS, PEAK)(at)) / PEAK
    left = 1 - at / STEPS
    plain = [left**0, left, np.cos(np.pi / 2 * (1 - left)) ** 2, np.minimum(1, left / 0.2)]
    plain += [np.minimum(1, left / 0.5), 1 - np.sqrt(np.maximum(0, 1 - left / 0.2))]
    assert min(np.abs(best - shape).max() for shape in plain) < 0.02


def test_what_if_is_a_fit_and_a_comparison():
    at = np.arange(20, STEPS + 1, 20)
    runs = [np.full(STEPS, PEAK), np.asarray(lrsched.linear(PEAK, 0.0, STEPS)(np.arange(STEPS)))]
    curves = [theory.LossCurve(run, at, np.asarray(LAW.predict(run, at=at))) for run in runs]
    asked = {"longer": lrsched.linear(PEAK, 0.0, 2 * STEPS), "same": runs[1]}
    found = theory.what_if(curves, asked, law="multi-power", starts=1)
    assert found.best() == "longer"
    np.testing.assert_allclose(found.table["loss"][1], LAW.final_loss(runs[1]), atol=1e-2)


def test_a_comparison_is_drawn_with_the_lowest_loss_on_top():
    found = theory.compare({"high": np.full(9, 0.1), "low": np.full(9, 0.2)}, LAW)
    ax = found.plot()
    names = [label.get_text() for label in ax.get_yticklabels()]
    losses = ax.lines[0].get_xdata()
    plt.close("all")
    assert names[np.argmin(losses)] == names[-1] == found.best()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: theory.optimise(LAW, 100, peak=1.0, minimum=2.0), "minimum=2.0 and peak=1.0"),
        (lambda: theory.optimise(LAW, 100, peak=1.0, warmup=99), "warmup=99"),
        (lambda: theory.optimise(LAW, 0, peak=1.0), "steps=0"),
        (lambda: theory.optimise(lambda rates: jnp.nan, 100, peak=1.0), "not finite"),
        (lambda: theory.compare({}, LAW), "schedules is empty"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence(make, says):
    with pytest.raises(ValueError, match=says):
        make()
