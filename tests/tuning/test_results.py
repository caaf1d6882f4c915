import dataclasses

import numpy as np
import pytest

import lrsched
from lrsched.tuning._range_test import RangeTestResult
from lrsched.tuning._search import HalvingResult
from lrsched.tuning.batched_runner import ExecutionPlan
from lrsched.tuning.results import (
    RateRange,
    SweepResult,
    empty_results,
    judge_rate,
    results_table,
    varying_parameters,
)


def course(peak, steps=10):
    return lrsched.warmup(5) * peak >> lrsched.cosine(peak, steps)


@pytest.mark.parametrize(
    ("schedules", "names"),
    [
        ([lrsched.cosine(peak, steps=10) for peak in (0.1, 0.2)], ["peak"]),
        ([rate * lrsched.cosine(1.0, steps=10) for rate in (0.1, 0.2)], ["operands[0]"]),
        ([course(0.1), course(0.2)], ["operands[1]", "peak"]),
        (
            [
                lrsched.join(lrsched.linear(1.0, x, 5), lrsched.linear(x, 0.0, 5))
                for x in (0.1, 0.2)
            ],
            ["end", "init"],
        ),
        (
            [lrsched.maximum(lrsched.cosine(p, 5), lrsched.cosine(p, 9)) for p in (0.1, 0.2)],
            ["operands[0].peak", "operands[1].peak"],
        ),
    ],
)
def test_a_number_is_named_as_it_is_read_of_the_schedule(schedules, names):
    found = varying_parameters(schedules)
    assert list(found) == names
    for name, values in found.items():
        if "[" in name and "." in name:
            read = [eval(f"schedule.{name}", {"schedule": one}) for one in schedules]
            assert read == values.tolist()


def test_a_result_prints_in_a_line_whatever_its_size():
    rates, losses = np.geomspace(1e-4, 1.0, 200), np.ones((4, 200))
    assert repr(RangeTestResult(rates, losses, losses)) == (
        "RangeTestResult(rates=<array (200,)>, losses=<array (4, 200)>, smoothed=<array (4, 200)>)"
    )
    few = HalvingResult([lrsched.constant(0.1)], np.ones((2, 1)), [10, 20], 20)
    assert repr(few).startswith(
        "HalvingResult(schedules=[constant(value=0.1)], losses=<array (2, 1)>"
    )
    many = HalvingResult([course(0.1)] * 64, np.ones((2, 64)), [10, 20], 1280)
    assert "schedules=<list of 64>, losses=<array (2, 64)>, steps=[10, 20]" in repr(many)


def swept(losses, initial_loss, rates=(1e-3, 1e-2, 1e-1)):
    """A sweep over peaks that ended at these losses, of shape ``(rates, seeds)``."""
    losses = np.asarray(losses, np.float32)
    schedules = [lrsched.cosine(rate, 10) for rate in rates]
    results = empty_results(losses.size, 1, 1, ["loss"])
    results.metrics["loss"][:, 0] = losses.ravel()
    results.train_loss[:, 0] = initial_loss
    results.diverged[:] = ~np.isfinite(losses.ravel())
    return SweepResult(
        results_table(schedules, range(losses.shape[1]), results),
        schedules,
        results.train_loss,
        results.metrics,
        np.full(losses.size, 10),
        [ExecutionPlan(1, 1)],
        0.0,
        0.0,
    )


def test_the_sensitivity_is_that_of_its_paper():
    sensitivity = swept([[4.5], [4.0], [9.0]], 7.0).sensitivity()
    np.testing.assert_allclose(sensitivity.value, (0.5 + 0 + 3) / 3, rtol=1e-6)
    assert (sensitivity.num_rates, sensitivity.warning) == (3, "")
    np.testing.assert_allclose(sensitivity.rates, (1e-3, 1e-1))
    diverged = swept([[4.5], [4.0], [np.inf]], 7.0).sensitivity()
    assert diverged.value == sensitivity.value
    assert "edge" in str(swept([[4.0], [4.5], [5.0]], 7.0).sensitivity())
    assert "fewer than 3" in swept([[4.0], [4.5]], 7.0, (0.1, 0.2)).sensitivity().warning
    other = swept([[4.5], [4.0], [9.0]], 7.0).sensitivity(initial_loss=5.0)
    np.testing.assert_allclose(other.value, (0.5 + 0 + 1) / 3, rtol=1e-6)


def test_the_usable_range_ends_where_five_percent_of_the_fall_are_missing():
    # The loss falls from 7 to 4; at 4.15 five percent are missing, half-way to 4.3.
    usable = swept([[4.3], [4.0], [np.inf]], 7.0).usable_range()
    np.testing.assert_allclose(usable.low, 10**-2.5, rtol=1e-5)
    np.testing.assert_allclose(usable.high, 10 ** (-2 + 0.15 / 6), rtol=1e-5)
    everywhere = swept([[4.1], [4.0], [4.1]], 7.0).usable_range()
    np.testing.assert_allclose(everywhere, (1e-3, 1e-1))


@pytest.mark.parametrize(
    ("rate", "verdict", "factor"),
    [(1e-4, "too low", 10**1.5), (1e-2, "good", 1.0), (1.0, "too high", 10 ** (-2 + 0.15 / 6))],
)
def test_a_verdict_has_the_factor_to_the_usable_range(rate, verdict, factor):
    found = swept([[4.3, 4.3], [4.0, 4.0], [np.inf, 5.0]], 7.0).verdict(rate)
    assert found.verdict == verdict
    np.testing.assert_allclose(found.factor, factor, rtol=1e-4)
    assert f"{rate:.2g} is {verdict}: the usable range is 0.0032 to 0.011" in str(found)
    assert "3 rates, 2 seeds" in str(found)


@pytest.mark.parametrize(
    ("losses", "rate", "verdict"),
    [
        ([6.0, 5.0, 4.0], 1.0, "untested"),
        ([6.0, 5.0, 4.0], 1e-4, "too low"),
        ([4.0, 5.0, 9.0], 1e-4, "untested"),
        ([4.0, 5.0, 9.0], 1.0, "too high"),
    ],
)
def test_a_rate_beyond_the_sweep_is_untested_where_the_usable_range_reaches_its_end(
    losses, rate, verdict
):
    found = swept([[loss] for loss in losses], 7.0).verdict(rate)
    assert found.verdict == verdict
    if verdict == "untested":
        assert "try this rate, too" in str(found)


def test_a_range_test_that_falls_to_its_end_says_nothing_of_higher_rates():
    rates, losses = np.geomspace(1e-3, 1, 50), np.linspace(2, 1, 50)[None]
    assert RangeTestResult(rates, losses, losses).verdict(10.0).verdict == "untested"
    rises = np.r_[np.linspace(2, 1, 40), np.linspace(1, 3, 10)][None]
    assert RangeTestResult(rates, rises, rises).verdict(10.0).verdict == "too high"


def of_schedules(schedules, losses=(4.3, 4.0, 9.0)):
    found = swept([[loss] for loss in losses[: len(schedules)]], 7.0)
    return dataclasses.replace(found, schedules=schedules)


def test_the_rates_of_a_verdict_are_peaks_whatever_parameter_varies_first():
    by_length = of_schedules([lrsched.cosine(0.1, steps) for steps in (10, 20, 30)])
    for ask in (by_length.usable_range, by_length.sensitivity, lambda: by_length.verdict(0.1)):
        with pytest.raises(ValueError, match="two schedules have the same peak; x must be"):
            ask()
    with pytest.raises(ValueError, match="two schedules have the same peak"):
        by_length.plot(mine=0.1)
    kinds = [lrsched.linear(1e-3, 0.0, 10), lrsched.cosine(1e-2, 10), lrsched.linear(0.1, 0.0, 10)]
    expected = swept([[4.3], [4.0], [9.0]], 7.0).usable_range()
    np.testing.assert_allclose(of_schedules(kinds).usable_range(), expected, rtol=1e-6)


def test_a_validation_loss_above_the_recorded_initial_loss_does_not_shrink_the_range():
    # The validation loss falls from about 8 to 4, and the training loss from 5.
    found = swept([[8.0], [4.15], [4.0]], 5.0)
    np.testing.assert_allclose(found.initial_loss(), 8.0)
    assert found.usable_range().low < 1e-2
    assert swept([[8.0], [6.0], [7.0]], 5.0).initial_loss() == 5.0


def test_what_has_no_verdict_is_said_in_words():
    with pytest.raises(ValueError, match="every run of the sweep diverged"):
        swept([[np.inf]] * 3, 7.0).verdict(0.1)
    with pytest.raises(ValueError, match="no swept rate lowers the loss"):
        swept([[7.0], [8.0], [9.0]], 7.0).usable_range()
    with pytest.raises(ValueError, match="fraction=1 is not accepted"):
        swept([[4.3], [4.0], [9.0]], 7.0).usable_range(fraction=1)
    with pytest.raises(ValueError, match="the schedules differ in no parameter"):
        swept([[4.0]], 7.0, (0.1,)).verdict(0.1)
    with pytest.raises(ValueError, match=r"rate=\[0.1, 0.2\] is not accepted"):
        swept([[4.3], [4.0], [9.0]], 7.0).verdict([0.1, 0.2])
    for rate in (0.0, -1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="rate must be a finite number above 0"):
            judge_rate(rate, RateRange(0.1, 1.0), "")


def test_a_sweep_prints_a_table_with_its_columns():
    lines = str(swept([[4.3, 4.5], [4.0, 4.0], [np.inf, np.inf]], 7.0)).splitlines()
    assert lines[0] == "3 schedules, 6 runs"
    assert lines[1].split("  ")[0] == "schedule"
    assert lines[1].split() == ["schedule", "peak", "mean", "loss", "lowest", "highest", "diverged"]
    assert lines[2].split() == ["0", "0.001", "4.4", "4.3", "4.5", "0"]
    assert lines[3].split() == ["1", "0.01", "4", "4", "4", "0", "<-", "best"]
    assert lines[4].split() == ["2", "0.1", "inf", "inf", "inf", "2"]


def test_a_range_test_prints_its_suggestions_and_judges_a_rate():
    rates = np.geomspace(1e-4, 1.0, 101)
    losses = np.concatenate([np.full(20, 2.0), np.linspace(2, 1, 41), np.linspace(1, 3, 40)])[None]
    result = RangeTestResult(rates, losses, losses)
    text = str(result)
    assert f"suggestion: {result.suggestion():.2g}; usable:" in text
    assert all(name in text for name in ("90%", "steepest", "minimum/10", "valley", "slide"))
    assert result.verdict(result.suggestion()).verdict == "good"
    low, high = result.verdict(result.range.low / 10), result.verdict(10 * result.range.high)
    assert (low.verdict, high.verdict) == ("too low", "too high")
    np.testing.assert_allclose([low.factor, high.factor], [10, 0.1])
    assert "multiply the rate by 10 to reach it" in str(low)
    flat = RangeTestResult(rates, np.ones((1, 101)), np.ones((1, 101)))
    assert "no rate from 0.0001 to 1 lowers the loss" in str(flat)


def test_halving_prints_what_reached_which_rung():
    losses = np.array([[0.5, 0.25, 0.75], [np.nan, 0.125, np.nan]])
    schedules = [lrsched.constant(rate) for rate in (0.1, 0.2, 0.3)]
    text = str(HalvingResult(schedules, losses, [10, 30], 50)).splitlines()
    assert text[0] == "best: constant(value=0.2) (50 updates)"
    assert text[1].split("  ")[-1].strip() == "schedule"
    assert text[2].split() == ["0.25", "0.125", "constant(value=0.2)"]


def sweep_of(curve):
    """A sweep of one schedule with one seed and this loss curve."""
    result = swept([[curve[-1]]], curve[0], (0.1,))
    return dataclasses.replace(result, train_loss=np.float32(curve)[None])


def test_curves_of_several_sizes_collapse_to_the_reference():
    # Normalised curves of a float64 reference, written apart from the library.
    (curve,) = sweep_of([4.0, 3.5, 3.2, 3.0]).collapse(floor=2.5).curves
    at = np.interp([0.25, 0.5, 0.75, 1.0], np.linspace(0.1, 1, 46), curve)
    np.testing.assert_allclose(at, [3.0, 2.0, 1.4, 1.0], atol=0.03)
    one, two = np.linspace(3.0, 1.0, 200), np.linspace(3.1, 1.0, 200)
    collapse = sweep_of(one).collapse(sweep_of(2 * one), floor=0.0)
    assert collapse.spread < 1e-6
    assert "2 sizes agree within 0.00%" in str(collapse)
    spread = sweep_of(one).collapse(sweep_of(two), floor=0.0).spread
    expected = np.abs(one - two)[19:] / (one + two)[19:]
    np.testing.assert_allclose(spread, np.mean(expected), rtol=0.01)
    with pytest.raises(ValueError, match="others must be sweeps, one by one"):
        sweep_of(one).collapse([sweep_of(two)], floor=0.0)
    with pytest.raises(ValueError, match="floor must be below the final losses"):
        sweep_of(one).collapse(floor=1.0)


def test_a_rate_is_marked_with_its_verdict():
    rates, losses = np.geomspace(1e-3, 1, 50), np.linspace(2, 1, 50)[None]
    ax = RangeTestResult(rates, losses, losses).plot(mine=1e-4)
    assert "mine: 0.0001, too low" in [text.get_text() for text in ax.get_legend().get_texts()]
    ax = swept([[4.5], [4.0], [9.0]], 7.0).plot(mine=0.1)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["mine: 0.1, too high"]
