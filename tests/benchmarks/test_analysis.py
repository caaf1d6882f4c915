"""What is said about trials, against numbers by hand, other implementations and properties."""

import itertools

import hypothesis.extra.numpy as npst
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import quantile_test, rankdata

from benchmarks import analysis
from benchmarks.analysis import Interval, Usable
from benchmarks.workloads import WORKLOADS
from tests.benchmarks.trials import study, trial, with_losses, with_tuning

FEW = settings(max_examples=40, deadline=None)
FLOATS = st.floats(-1e6, 1e6, allow_nan=False)


@pytest.mark.parametrize("n", range(1, 10))
@pytest.mark.parametrize("wanted", [0.5, 0.9])
def test_the_confidence_is_the_part_of_all_ways_to_lie_around_the_median(n, wanted):
    found = analysis.interval(np.arange(n, dtype=float), wanted)
    low, high = int(found.low), int(found.high)
    # Each value lies below or above the true median, all ways alike; the interval misses it where
    # its lower end lies above or its upper end below.
    ways = [sum(signs) for signs in itertools.product((0, 1), repeat=n)]
    held = np.mean([low < below <= high for below in ways])
    assert found.confidence == pytest.approx(held)
    # The next narrower interval would hold it too seldom.
    narrower = np.mean([low + 1 < below <= high - 1 for below in ways])
    assert narrower < wanted


@pytest.mark.parametrize("n", [5, 7, 20, 101])
def test_the_interval_is_that_of_scipy(n):
    values = np.random.default_rng(n).normal(size=n)
    found = analysis.interval(values)
    theirs = quantile_test(values, p=0.5).confidence_interval(found.confidence - 1e-9)
    assert (found.low, found.high) == (theirs.low, theirs.high)


@given(npst.arrays(float, st.integers(1, 12), elements=FLOATS), st.randoms())
@FEW
def test_an_interval_is_of_the_values_in_any_order(values, random):
    found = analysis.interval(values)
    assert found.median == pytest.approx(np.median(values))
    assert found.low - 1e-6 <= found.median <= found.high + 1e-6
    assert {found.low, found.high} <= set(values)
    shuffled = random.sample(values.tolist(), len(values))
    assert analysis.interval(np.array(shuffled)) == found


def test_an_infinite_median_is_half_of_the_runs_or_more():
    assert analysis.interval(np.array([1.0, 2, np.inf, np.inf, np.inf])).median == np.inf
    assert analysis.interval(np.array([1.0, 2, 3, np.inf, np.inf])).median == 3


@pytest.mark.parametrize(
    ("one", "other", "does"),
    [((0, 1), (1, 2), True), ((0, 1), (1.1, 2), False), ((0, 9), (3, 4), True)],
)
def test_intervals_overlap_both_ways(one, other, does):
    a, b = (Interval(low, low, high, 0.9) for low, high in (one, other))
    assert analysis.overlap(a, b) == analysis.overlap(b, a) == does


def test_infinite_intervals_overlap_with_each_other_only():
    gone = Interval(np.inf, np.inf, np.inf, 0.9)
    assert analysis.overlap(gone, gone)
    assert not analysis.overlap(gone, Interval(1, 0, 2, 0.9))


def test_trials_are_found_by_their_keys():
    trials = study(["digits-mlp"], ["constant", "wsd"], (0.25, 1.0))
    found = analysis.by_key(trials)
    assert len(found) == 4
    assert found["digits-mlp", "wsd", 0.25] is trials[2]


def test_steps_to_a_target_by_hand():
    found = with_losses([[3, 2, 1], [1, 2, 3], [9, 9, 9], [2.1, 2.0, np.inf]])
    assert analysis.steps_to(found, 2.0).tolist() == [20, 10, np.inf, 20]
    # The median of 10, 20, 20 and infinity; a second takes ten updates.
    assert analysis.median_cost(found, 2.0) == 20
    slow = with_losses([[3, 2, 1]], seconds={"compile": 0, "update": 0.1})
    assert analysis.median_cost(slow, 2.0, timed=True) == pytest.approx(2)
    assert analysis.median_cost(slow, 0.5, timed=True) == np.inf


def test_diverged_runs_are_counted_and_have_no_metric():
    found = with_losses([[1, np.inf], [1, 2], [1, np.nan]])
    assert analysis.diverged(found) == 2
    assert analysis.score(found).tolist() == [-np.inf, 2, -np.inf]


COSTS = st.one_of(st.floats(0.1, 1e3), st.just(np.inf))


@given(st.lists(st.lists(COSTS, min_size=3, max_size=3), min_size=1, max_size=4))
@FEW
@pytest.mark.filterwarnings("error")
def test_profiles_rise_from_the_wins_to_all_that_is_solved(rows):
    costs = {str(place): row for place, row in enumerate(rows)}
    factors = np.array([1.0, 2, 1e6])
    found = analysis.profile(costs, factors)
    for name, parts in found.items():
        assert (np.diff(parts) >= 0).all()
        assert parts[-1] == np.mean(np.isfinite(costs[name]))
    solved = np.isfinite(np.min(rows, axis=0)).mean()
    assert sum(parts[0] for parts in found.values()) >= solved - 1e-12
    # A problem's unit does not matter.
    scaled = {name: np.array(row) * [2.0, 4, 8] for name, row in costs.items()}
    for name, parts in analysis.profile(scaled, factors).items():
        np.testing.assert_array_equal(parts, found[name])


def test_ranks_are_means_of_the_ranks_in_each_workload():
    policies = ["constant", "wsd", "clr", "dog"]
    table = {"digits-mlp": [1.0, 2, 2, np.inf], "cancer-logistic": [4.0, 3, 1, 2]}
    trials = [
        with_losses([[loss]] * 3, workload=workload, policy=policy)
        for workload, losses in table.items()
        for policy, loss in zip(policies, losses, strict=True)
    ]
    expected = np.mean([rankdata(losses) for losses in table.values()], axis=0)
    assert analysis.ranks(trials, 1.0) == dict(zip(policies, expected.tolist(), strict=True))
    # A workload that lacks a policy does not count.
    assert analysis.ranks(trials[:-1], 1.0)["dog"] == 4
    assert analysis.ranks(trials, 4.0) == {}


def test_shared_keeps_the_workloads_with_all_policies_at_all_budgets():
    trials = study(["digits-mlp", "cancer-logistic"], ["constant", "wsd"], (0.25, 1.0))
    assert analysis.shared(trials) == trials
    assert {t.workload for t in analysis.shared(trials[:-1])} == {"digits-mlp"}
    assert analysis.shared([]) == []


def test_the_usable_range_is_where_straight_lines_cross_the_bar():
    found = with_tuning([1, 10, 100], [0.1, 0.0, 0.1])
    # 95 % of the fall from 1 to 0 is a loss of 0.05: half a decade to either side of 10.
    width = analysis.usable(found, least=0.0)
    assert np.log10([width.low, width.high]) == pytest.approx([0.5, 1.5], abs=2e-3)
    assert width.decades == pytest.approx(1.0, abs=4e-3)
    assert analysis.bounded(found, width)
    half = analysis.usable(found, least=0.0, part=0.5)
    assert (half.low, half.high) == pytest.approx((1, 100))
    assert not analysis.bounded(found, half)


def test_a_policy_that_never_falls_far_enough_has_no_usable_rate():
    assert analysis.usable(with_tuning([1, 10, 100], [0.9, 0.8, np.inf]), least=0).decades == 0


@given(st.lists(st.floats(0, 2), min_size=3, max_size=9), st.floats(0.1, 0.99))
@FEW
def test_more_is_asked_of_fewer_rates(losses, part):
    found = with_tuning(np.geomspace(1e-4, 1e-1, len(losses)), losses)
    wide = analysis.usable(found, 0.0, part / 2)
    narrow = analysis.usable(found, 0.0, part)
    assert narrow.decades <= wide.decades + 1e-9
    assert wide.decades <= 3 + 1e-9


def test_the_width_of_no_range_is_zero():
    assert Usable(0.0, 0.0).decades == 0
    assert Usable(0.1, 10.0).decades == pytest.approx(2)


@pytest.mark.parametrize(
    ("rates", "rate", "where"),
    [((1, 2, 3), 1, "lowest"), ((1, 2, 3), 2, ""), ((1, 2, 3), 3, "highest"), ((1,), 1, "")],
)
def test_a_chosen_rate_at_an_edge_is_known(rates, rate, where):
    losses = [1.0] * len(rates)
    assert analysis.edge(with_tuning(rates, losses, rate=float(rate))) == where


def test_shares_are_of_the_best_fall():
    found = with_tuning([1, 2, 3, 4], [0.5, 0.75, 3.0, np.inf])
    assert analysis.shares(found, 0.5).tolist() == [1, 0.5, 0, 0]


def test_the_least_loss_is_that_of_all_rates_of_all_policies():
    trials = [
        with_tuning([1, 2], [0.5, 0.75], policy="constant"),
        with_tuning([1, 2], [0.25, np.inf], policy="wsd"),
        with_tuning([1, 2], [0.1, 0.1], policy="dog", budget=4.0),
    ]
    assert analysis.least_loss(trials, "digits-mlp", 1.0) == 0.25


def test_a_made_up_trial_is_what_the_benchmarks_would_write():
    found = trial("cancer-logistic", "wsd", diverged=1)
    assert found.curves["loss"].shape == (5, WORKLOADS["cancer-logistic"].evaluations)
    assert analysis.diverged(found) == 1
