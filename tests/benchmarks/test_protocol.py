from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched
from benchmarks import protocol as protocols
from benchmarks.policies import POLICIES, Policy, adam
from benchmarks.protocol import Bench, Protocol
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import accuracy
from lrsched import tuning

SMALL = replace(WORKLOADS["digits-mlp"], steps=60, evaluations=4, tuning_seeds=2, around=0.01)
TINY = Protocol(rates=3, seeds=3)


@given(st.integers(2, 20), st.floats(1e-6, 10), st.integers(0, 100))
def test_rates_are_drawn_one_from_each_part_of_the_range(count, around, seed):
    rates = Protocol(rates=count, seed=seed).draw(around)
    places = np.log10(rates / around) / 3 + 0.5
    assert (np.floor(places * count + 1e-9) == np.arange(count)).all()


def test_every_policy_has_the_same_draw_around_its_own_rate():
    bench = Bench(SMALL, TINY)
    np.testing.assert_allclose(bench.rates("prodigy") * 0.01, bench.rates("cosine"))
    np.testing.assert_array_equal(bench.rates("cosine"), bench.rates("plateau"))
    assert Protocol(rates=1).draw(0.1) == 0.1


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_no_seed_is_used_twice(one, other):
    seeds = [
        {*Protocol(seed=seed).tuned_on(SMALL)} | {*Protocol(seed=seed).scored_on()}
        for seed in {one, other}
    ]
    assert len(set.union(*seeds)) == sum(map(len, seeds)) == len(seeds) * 7


@pytest.mark.parametrize("name", ["rates", "seeds", "tuning_seeds"])
def test_nothing_is_not_accepted(name):
    with pytest.raises(ValueError, match=f"{name} must be 1 or more, not 0"):
        Protocol(**{name: 0})


@pytest.fixture(scope="module")
def bench():
    return Bench(SMALL, TINY, budgets=(0.75, 1.0))


@pytest.fixture(scope="module")
def trials(bench):
    return {
        (policy, budget): bench.trial(policy, budget, {})
        for policy in ("constant", "cosine")
        for budget in bench.budgets
    }


def test_all_policies_and_budgets_of_one_optimizer_are_one_program(bench, trials):
    (run,) = bench._runs.values()
    assert len(tuning.batched_runner.cached_runners(run)) == 1


def test_the_rate_is_the_one_with_the_least_mean_loss(trials):
    for trial in trials.values():
        losses = trial.tuning["loss"]
        assert losses.shape == (3, 2)
        assert trial.rate == trial.rates[np.argmin(losses.mean(axis=1))]


def test_what_is_scored_is_shaped_by_seeds_and_evaluations(trials):
    for (_, budget), trial in trials.items():
        assert trial.steps == 60 * budget
        assert trial.evaluated[-1] == trial.steps
        for name in ("loss", "metric", "test_loss", "test_metric", "learning_rate"):
            assert trial.curves[name].shape == (3, 4)
        assert trial.curves["train_loss"].shape == (3, -(-trial.steps // 2))
        assert np.isfinite(trial.curves["train_loss"]).all()
        assert trial.first == pytest.approx(np.log(10), rel=0.2)
        assert (trial.final["loss"] < trial.first).all()


def test_the_rate_applied_is_the_schedule(trials):
    for (policy, _), trial in trials.items():
        expected = POLICIES[policy].schedule(trial.rate, trial.steps)(trial.evaluated - 1)
        for rates in trial.curves["learning_rate"]:
            np.testing.assert_array_equal(np.float32(rates), expected)


def test_policies_start_from_the_same_weights_and_batches(bench, monkeypatch):
    still = Policy("constant", lambda rate, steps: lrsched.constant(0.0))
    monkeypatch.setitem(POLICIES, "still", still)
    monkeypatch.setitem(POLICIES, "late", replace(still, schedule=_only_the_last))
    one, other = (bench.trial(name, 1.0, {}) for name in ("still", "late"))
    np.testing.assert_array_equal(
        one.curves["train_loss"][:, :-1], other.curves["train_loss"][:, :-1]
    )
    assert (one.final["loss"] != other.final["loss"]).all()
    assert one.curves["loss"][0, 0] == one.curves["loss"][0, -1]


def _only_the_last(rate, steps):
    return lrsched.piecewise_constant([0.0, 0.01], [steps - 1])


def test_a_trial_is_the_same_again_in_every_bit(bench, trials):
    again = Bench(SMALL, TINY, budgets=(1.0,)).trial("cosine", 1.0, {})
    first = trials["cosine", 1.0]
    jax.tree.map(np.testing.assert_array_equal, again.curves, first.curves)
    assert again.digest == first.digest


def test_a_loop_on_the_host_trains_alike(trials):
    looped = Bench(replace(SMALL, scan=False), TINY, budgets=(0.75,)).trial("cosine", 0.75, {})
    np.testing.assert_allclose(
        looped.curves["train_loss"], trials["cosine", 0.75].curves["train_loss"], rtol=1e-2
    )


def test_a_rate_that_diverges_is_not_chosen_and_counts_as_infinite(bench, monkeypatch):
    wild = Policy("constant", lambda rate, steps: lrsched.constant(rate), adam, around=1e36)
    monkeypatch.setitem(POLICIES, "wild", wild)
    trial = bench.trial("wild", 0.75, {})
    assert np.isinf(trial.tuning["loss"]).all()
    assert np.isinf(trial.final["test_loss"]).all()


def test_the_digest_is_of_the_content():
    def digest(workload=SMALL, protocol=TINY, policy="cosine", budget=0.75, budgets=(0.75,)):
        return Bench(workload, protocol, budgets).digest(policy, budget)

    whole = SMALL.data()
    other_data = whole._replace(test=whole.validation)
    first = digest()
    assert digest(budgets=(0.75, 1.0)) == first
    assert digest(replace(SMALL, title="another name")) == first
    others = [
        digest(policy="constant"),
        digest(policy="plateau"),
        digest(budget=1.0),
        digest(protocol=replace(TINY, seed=1)),
        digest(protocol=replace(TINY, seeds=4)),
        digest(replace(SMALL, around=0.02)),
        digest(replace(SMALL, batch_size=16)),
        digest(replace(SMALL, metric=lambda logits, labels: 1 - accuracy(logits, labels))),
        digest(replace(SMALL, data=lambda: other_data)),
    ]
    assert len({first, *others}) == 10


def test_the_time_is_told_before(bench):
    compiling, updating = bench.probe()
    assert compiling > 0
    assert updating > 0
    assert min(w.steps_of(b) for w in WORKLOADS.values() for b in w.budgets) >= protocols.RECORDS
