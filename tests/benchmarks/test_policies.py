from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from benchmarks.policies import POLICIES, adam, adam_and, on_plateau
from lrsched import tuning

PEAK, STEPS = 0.01, 240


@pytest.mark.parametrize("name", POLICIES)
def test_schedules_reach_the_peak_and_never_pass_it(name):
    rates = np.asarray(POLICIES[name].schedule(PEAK, STEPS)(np.arange(STEPS)))
    assert rates.max() == np.float32(PEAK)
    assert rates.min() >= 0


@pytest.mark.parametrize(
    "name", [name for name, policy in POLICIES.items() if policy.optimizer is not adam]
)
def test_every_optimizer_of_a_policy_trains(name):
    policy = POLICIES[name]
    run = tuning.training(
        lambda w, batch: jnp.mean((batch[:, 0] * w - batch[:, 1]) ** 2),
        jnp.zeros(()),
        policy.optimizer,
        jnp.array([[1.0, 0.1], [2.0, 0.2]]),
    )
    found = tuning.sweep(
        run, [policy.schedule(policy.around or PEAK, STEPS)], steps=STEPS, progress=False
    )
    assert found.table["loss"][0] < 0.5 * found.train_loss[0, 0]


@pytest.mark.parametrize("name", ["step", "linear", "cosine", "wsd", "one-cycle"])
def test_schedules_that_decay_use_the_whole_budget(name):
    schedule = POLICIES[name].schedule(PEAK, STEPS)
    assert schedule(STEPS - 1) < 0.1 * PEAK
    assert schedule(STEPS // 4) > 0.5 * PEAK


def test_step_decay_has_three_stages_whatever_the_budget():
    for steps in (3, 100, 101):
        rates = POLICIES["step"].schedule(PEAK, steps)(np.arange(steps))
        assert len(np.unique(rates)) == 3


def test_plateau_halves_the_rate_that_it_applies():
    optimizer = adam_and(on_plateau)(lrsched.constant(PEAK))
    params = {"w": jnp.zeros(())}
    state = optimizer.init(params)
    update = jax.jit(optimizer.update)
    rates = []
    for _ in range(160):
        updates, state = update({"w": jnp.ones(())}, state, params, value=1.0)
        rates.append(float(lrsched.learning_rate(state)))
        # Adam turns a gradient that stays 1 into an update of 1.
        np.testing.assert_allclose(updates["w"], -rates[-1], rtol=1e-4)
    # The first mean of 20 losses is the best, the next three are no better.
    stages = np.float32(PEAK) * np.repeat([1, 0.5, 0.25], [79, 60, 21])
    np.testing.assert_array_equal(np.float32(rates), stages)


def test_the_page_counts_the_policies():
    page = (Path(__file__).parents[2] / "docs/benchmarks.md").read_text()
    assert f"under {len(POLICIES)} learning-rate policies" in page
