from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from benchmarks.comparison import compare
from benchmarks.policies import SIX, Policy
from benchmarks.training import batches
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import cross_entropy

TRACES: list[tuple[int, ...]] = []


def traced_cross_entropy(logits, labels):
    TRACES.append(logits.shape)
    return cross_entropy(logits, labels)


SMALL = replace(
    WORKLOADS["digits-mlp"],
    loss=traced_cross_entropy,
    evaluations=4,
    steps_per_evaluation=25,
    seeds=2,
)


EXTRA = {
    "cosine again": SIX["cosine"],
    "no rate": Policy(lambda peak, steps: lrsched.constant(0.0)),
}


@pytest.fixture(scope="module")
def comparison():
    """The runs by policy, and the number of traces after each."""
    TRACES.clear()
    runs, traces = {}, {}
    for run in compare(SMALL, SIX | EXTRA):
        runs[run.policy] = run
        traces[run.policy] = len(TRACES)
    return runs, traces


@pytest.fixture(scope="module")
def runs(comparison):
    return comparison[0]


@pytest.mark.parametrize("name", [name for name in SIX if name != "plateau"])
def test_every_update_applied_the_schedule(runs, name):
    expected = SIX[name].schedule(SMALL.peak, SMALL.steps)(np.arange(SMALL.steps))
    for rates in runs[name].history.updates.rate:
        np.testing.assert_array_equal(rates.ravel(), expected)


def test_policies_start_from_the_same_parameters_and_batches(runs):
    first = {name: run.history.updates.loss[:, 0, 0] for name, run in runs.items()}
    for losses in first.values():
        np.testing.assert_allclose(losses, first["constant"], rtol=1e-6)


def test_plateau_follows_the_constant_rate_until_it_first_reduces_it(runs):
    plateau, reference = (runs[name].history.updates for name in ("plateau", "constant"))
    same = plateau.rate == reference.rate
    assert same[:, 0, 0].all()
    np.testing.assert_allclose(plateau.loss[same], reference.loss[same], rtol=1e-4)


def test_a_seed_gives_the_same_losses_again(runs):
    again, first = runs["cosine again"].history, runs["cosine"].history
    jax.tree.map(np.testing.assert_array_equal, again, first)


def test_seeds_differ(runs):
    first, second = runs["cosine"].history.updates.loss
    assert (first != second).all()


def test_schedules_share_one_trace(comparison):
    _, traces = comparison
    one = traces["constant"]
    assert one > 0
    assert all(traces[name] == one for name in SIX if name != "plateau")
    assert all(traces[name] == 2 * one for name in ("plateau", *EXTRA))


def test_loop_and_scan_train_alike(runs):
    (run,) = compare(replace(SMALL, scan=False), {"cosine": SIX["cosine"]})
    looped, scanned = run.history, runs["cosine"].history
    assert jax.tree.map(np.shape, looped) == jax.tree.map(np.shape, scanned)
    np.testing.assert_array_equal(looped.updates.rate, scanned.updates.rate)
    # Rounding differs between the two programs, and training amplifies it.
    for one, other in ((looped.updates, scanned.updates), (looped.validation, scanned.validation)):
        np.testing.assert_allclose(one.loss[:, 0], other.loss[:, 0], rtol=1e-3)


def test_the_model_learns_and_not_without_a_rate(runs):
    learning, still = runs["constant"].history, runs["no rate"].history
    assert (learning.validation.metric[:, -1] > 0.8).all()
    assert (learning.test.metric > 0.8).all()
    assert (still.validation.metric == still.validation.metric[:, :1]).all()
    assert (still.test.metric < 0.4).all()


def test_epochs_are_permutations_without_a_seam():
    order = batches(jax.random.key(0), 10, (2, 3, 5)).reshape(3, 10)
    np.testing.assert_array_equal(jnp.sort(order, axis=1), np.tile(np.arange(10), (3, 1)))
    assert not (order[0] == order[1]).all()
