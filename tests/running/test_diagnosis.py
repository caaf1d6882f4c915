"""`diagnose` on records with one fault each; tests/benchmarks/test_diagnose.py has whole runs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import lrsched
from lrsched.adaptive.health import recorded_health
from lrsched.running.diagnosis import realised_descent


@functools.partial(jax.jit, static_argnames="loss")
def train(rates, factors, loss=True):
    """Gradient descent on a quadratic in two groups, whose critical rate is 2."""

    def scale(updates, params):
        del params
        return {k: u * f for (k, u), f in zip(sorted(updates.items()), factors, strict=True)}

    recorder = lrsched.record_health(
        optax.chain(lrsched.scale_by_learning_rate(lrsched.table(rates)), optax.stateless(scale)),
        window=16,
    )
    params = {"a": jnp.ones(3), "b": jnp.ones(2)}

    def step(carry, _):
        params, state = carry
        value, grads = jax.value_and_grad(
            lambda p: sum(0.5 * jnp.sum(leaf**2) for leaf in jax.tree.leaves(p))
        )(params)
        extra = {"value": value} if loss else {}
        updates, state = recorder.update(grads, state, params, **extra)
        return (optax.apply_updates(params, updates), state), None

    start = (params, recorder.init(params))
    return jax.lax.scan(step, start, length=len(rates))[0][1]


def run(schedule, steps=100, factors=(1.0, 1.0), loss=True):
    """Return the state after a run; one program serves all schedules of a length."""
    return train(jnp.float32(schedule(np.arange(steps))), jnp.float32(factors), loss=loss)


def problems(state, **options):
    return [finding.kind for finding in lrsched.diagnose(state, **options).findings]


@pytest.mark.parametrize(
    ("rate", "verdict"),
    [(1e-3, "too low"), (0.5, "too low"), (1.4, "good"), (1.99, "too high"), (2.5, "too high")],
)
def test_on_a_quadratic_the_realised_descent_is_that_of_the_closed_form(rate, verdict):
    state = run(lrsched.constant(rate), steps=20 if rate > 2 else 100)
    assert lrsched.diagnose(state).verdict == verdict
    if 0.1 < rate < 1.9:
        np.testing.assert_allclose(
            realised_descent(recorded_health(state)), 1 - rate / 2, atol=0.01
        )


def test_a_frozen_group_is_named_and_so_is_one_without_a_gradient():
    (finding, *_) = lrsched.diagnose(run(lrsched.constant(1.0), factors=(0.0, 1.0))).findings
    assert (finding.kind, finding.source) == ("frozen group", "by definition")
    assert "'a'" in str(finding)
    assert "no gradient" not in finding.text


@pytest.mark.parametrize("length", [50, 80])
def test_a_decay_that_ends_before_the_run_is_named(length):
    state = run(lrsched.linear(1.0, 0.0, steps=length))
    (finding,) = [f for f in lrsched.diagnose(state).findings if f.kind == "early decay"]
    np.testing.assert_allclose(finding.value, 1 - length / 100, atol=0.03)
    assert "lrsched.extend(state, 100)" in finding.fix


def test_a_decay_that_ends_with_the_run_is_not_named_but_with_a_longer_plan_it_is():
    for decay in (lrsched.cosine(1.0, steps=100), lrsched.linear(1.0, 0.0, steps=100)):
        assert "early decay" not in problems(run(decay))
    state = run(lrsched.linear(1.0, 0.0, steps=90))
    assert "early decay" in problems(state, steps=400)


def test_a_run_in_its_first_fifth_is_not_called_too_low():
    state = run(lrsched.constant(1e-3))
    assert "too low" in problems(state, steps=400)
    assert "too low" not in problems(state, steps=1000)


def test_without_losses_nothing_is_said_of_the_rate():
    assert lrsched.diagnose(run(lrsched.constant(1e-3), loss=False)).findings == ()
    assert str(lrsched.diagnose(run(lrsched.constant(1e-3), loss=False))).startswith("no finding")


@pytest.mark.parametrize("num_updates", [1, 2, 19])
def test_a_few_updates_are_no_evidence_on_the_rate(num_updates):
    optimizer = lrsched.record_health(lrsched.scale_by_learning_rate(0.1))
    params = jnp.ones(3)
    state = optimizer.init(params)
    for _ in range(num_updates):
        updates, state = optimizer.update(params, state, params, value=jnp.sum(params**2) / 2)
        params = params + updates
    diagnosis = lrsched.diagnose(state)
    assert diagnosis.verdict == "unknown"
    assert "The rate is not judged" in str(diagnosis)
    assert lrsched.diagnose(state, rate_over_critical=0.1).verdict == "good"
    assert lrsched.diagnose(state, rate_over_critical=3.0).verdict == "too high"


@pytest.mark.parametrize(
    "options",
    [
        {"steps": 0},
        {"weight_decay": -0.1},
        {"steps_per_epoch": 0},
        {"rate_over_critical": float("nan")},
    ],
)
def test_arguments_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=f"diagnose: {next(iter(options))}=.* is not accepted"):
        lrsched.diagnose((), **options)


def test_a_missing_warmup_is_named_where_the_first_updates_are_large():
    assert "no warmup" in problems(run(lrsched.constant(0.3)))
    assert "no warmup" not in problems(run(lrsched.constant(1e-3)))
    assert "no warmup" not in problems(run(lrsched.warmup(10) * 0.3))


def test_a_group_that_grows_alone_is_named():
    state = run(lrsched.warmup(2) * 1.0, steps=20, factors=(2.5, 1.0))
    assert "exploding group" in problems(state)
    assert "exploding group" not in problems(run(lrsched.constant(2.5), steps=20))


def test_updates_that_are_not_finite_are_named():
    state = run(lrsched.constant(1e20), steps=20)
    assert problems(state)[0] == "not finite"


def test_the_timescale_of_weight_decay_is_compared_to_the_run_and_to_an_epoch():
    state = run(lrsched.constant(0.1))
    assert problems(state, weight_decay=0.01)[-1] == "idle decay"  # 1000 updates
    assert problems(state, weight_decay=1.0, steps_per_epoch=20)[-1] == "short memory"  # 10
    assert "decay" not in " ".join(problems(state, weight_decay=0.2, steps_per_epoch=20))


def test_a_probe_above_the_critical_rate_is_named_with_its_source():
    findings = lrsched.diagnose(run(lrsched.constant(1.4)), rate_over_critical=2.0).findings
    (finding,) = [f for f in findings if f.kind == "too high"]
    assert finding.source == "arXiv 2601.16979"
    assert finding.fix == "lrsched.scale_learning_rate(state, 0.25)"


def test_there_are_at_most_five_findings_each_with_its_numbers():
    state = run(lrsched.constant(3.0), factors=(0.0, 1.0), steps=20)
    diagnosis = lrsched.diagnose(
        state, steps=400, weight_decay=1e-4, steps_per_epoch=10, rate_over_critical=1.5
    )
    assert 3 <= len(diagnosis.findings) <= 5
    for line in str(diagnosis).splitlines():
        assert "threshold" in line
        assert "; try " in line
