from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import lrsched
from benchmarks.policies import POLICIES, adam, adam_and, hidden_matrices, on_plateau
from benchmarks.protocol import Bench, Protocol
from benchmarks.workloads import WORKLOADS
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
    params = {"kernel": jnp.eye(32) + jnp.tri(32)} if policy.needs_matrices else jnp.zeros(())

    def loss_fn(params, batch):
        w = jnp.trace(params["kernel"]) / 32 if policy.needs_matrices else params
        return jnp.mean((batch[:, 0] * w - batch[:, 1]) ** 2)

    run = tuning.training(
        loss_fn,
        params,
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


def test_step_decay_falls_at_half_and_at_three_quarters_of_the_budget():
    for steps, first, second in ((4, 2, 3), (100, 50, 75), (101, 51, 76)):
        rates = POLICIES["step"].schedule(PEAK, steps)(np.arange(steps))
        lengths = [first, second - first, steps - second]
        np.testing.assert_allclose(rates, np.repeat([PEAK, PEAK / 10, PEAK / 100], lengths), 1e-6)


def test_hidden_matrices_are_the_kernels_between_the_embedding_and_the_head():
    model = WORKLOADS["topics-lm"].model(nnx.Rngs(0))
    leaves = jax.tree_util.tree_leaves_with_path(nnx.state(model, nnx.Param))
    chosen = [
        (name, leaf)
        for path, leaf in leaves
        if hidden_matrices(name := jax.tree_util.keystr(path, simple=True, separator="/"), leaf)
    ]
    assert len(chosen) == 2 * 6
    assert all(name.startswith("blocks/") and "kernel" in name for name, _ in chosen)
    assert {leaf.size for _, leaf in chosen} == {32 * 32, 32 * 128}


@pytest.mark.parametrize(
    ("workload", "is_suited"), [("cancer-logistic", False), ("mnist-cnn", True)]
)
def test_policies_of_matrices_are_left_out_where_a_model_has_none(workload, is_suited):
    bench = Bench(WORKLOADS[workload], Protocol())
    assert {bench.suits(name) for name in ("muon", "hyperball")} == {is_suited}
    assert bench.suits("cosine")


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
