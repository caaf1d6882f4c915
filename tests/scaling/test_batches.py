import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched.expressions import parse
from lrsched.scaling import batch_ramp
from tests.parity.frontier import cases


def stairs(factors, each):
    return lrsched.piecewise_constant(
        [1e-3 * f for f in factors] + [0.0], [each * k for k in range(1, len(factors) + 1)]
    )


POWERS = [
    case
    for case in cases("seesaw")
    if case.values[0].get("power_of") or len(case.values[0]["factors"]) == 3
]


@pytest.mark.parametrize(("inputs", "expected", "rtol"), POWERS)
def test_stages_of_rates_and_batches(inputs, expected, rtol):
    del rtol  # Rates are float32.
    each, cap = 64, inputs.get("cap") or 2**20
    ramp = batch_ramp(stairs(inputs["factors"], each), 256, max_batch_size=int(cap))
    starts = [0]
    for batch in expected["batch"]:
        starts.append(starts[-1] + each * 256 // int(batch))
    np.testing.assert_allclose(ramp.batch_size(starts[:-1]), expected["batch"])
    np.testing.assert_allclose(ramp.learning_rate(starts[:-1]), expected["rate"], rtol=1e-6)
    assert ramp.steps == starts[-1]
    assert ramp.steps / ramp.base_steps == pytest.approx(expected["serial_steps"])


def test_the_ratio_of_rate_and_root_of_the_batch_is_that_of_the_schedule():
    schedule = lrsched.linear(0.0, 1.0, steps=100) >> lrsched.cosine(1.0, steps=900)
    ramp = batch_ramp(schedule, 32, max_batch_size=512)
    steps = np.arange(ramp.steps)
    seen = np.array([ramp.seen(int(step)) for step in steps])
    batch = np.asarray(ramp.batch_size(steps))
    np.testing.assert_array_equal(np.diff(seen), batch[:-1])
    assert set(batch) == {32, 64, 128, 256, 512}
    assert np.all(batch[:100] == 32)
    expected = np.asarray(schedule(seen // 32)) * np.sqrt(batch / 32)
    np.testing.assert_allclose(ramp.learning_rate(steps), expected, rtol=1e-6)
    assert 0 <= ramp.seen(ramp.steps) - 32_000 < 512


def test_half_a_cosine_takes_half_of_the_updates_and_a_quarter_two_over_pi():
    half = batch_ramp(lrsched.cosine(1.0, steps=2**14), 1, max_batch_size=2**12, factor=2)
    assert half.steps / half.base_steps == pytest.approx(0.5, abs=0.16)
    assert half.steps < 0.66 * half.base_steps


def test_it_is_data_and_runs_under_jit():
    ramp = batch_ramp(lrsched.cosine(1.0, steps=1000), 8)
    assert lrsched.from_dict(lrsched.to_dict(ramp.learning_rate)) == ramp.learning_rate
    assert ramp.learning_rate.horizon == ramp.steps
    optimizer = lrsched.scale_by_learning_rate(ramp.learning_rate)
    params = jnp.ones(2)
    updates, _ = optimizer.update(params, optimizer.init(params), params, step=500)
    assert updates[0] == -ramp.learning_rate(500)


@pytest.mark.parametrize("dip", [0.6, 0.3])
def test_a_rise_within_a_stage_keeps_the_ratio(dip):
    # From 0.3 to 0.45 of the peak the batch may stay twice the first.
    ramp = batch_ramp(stairs([1.0, dip, dip * 1.5], 16), 8, max_batch_size=16)
    assert float(jnp.max(ramp.learning_rate(np.arange(ramp.steps)))) <= 1.0001e-3


def test_a_long_schedule_is_read_in_pieces():
    ramp = batch_ramp(lrsched.linear(1.0, 0.0, steps=3_000_000), 1, max_batch_size=4)
    # A millionth of the peak, the accuracy of float32, is three steps.
    np.testing.assert_allclose(ramp.batch_size.boundaries, [1_500_000, 1_875_000], atol=3)
    assert ramp.steps == pytest.approx(1_875_000 + 750_000 / 4, abs=3)


def test_a_constant_schedule_has_one_stage():
    ramp = batch_ramp(lrsched.constant(0.1, steps=10), 8)
    assert (ramp.steps, ramp.seen(7), ramp.batch_size(3)) == (10, 56, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((lrsched.constant(0.1), 8), "schedule must be one with a horizon"),
        ((lrsched.constant(0.0, steps=5), 8), "its largest rate must be above 0"),
        ((lrsched.constant(0.1, steps=5), 8.5), "batch_size=8.5 is not accepted; batch_size must"),
        ((lrsched.constant(0.1, steps=5), 0), "batch_size=0 is not accepted"),
        (("x", 8), "schedule='x' is not accepted"),
        ((lrsched.linear(0.1, -0.1, steps=5), 8), "no rate may be below 0"),
        ((stairs([1.0, 0.1, 1.0], 10), 8), "rises again by step 20, where the batch would have"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        batch_ramp(*arguments)
    with pytest.raises(ValueError, match="factor=1 is not accepted"):
        batch_ramp(lrsched.cosine(1.0, steps=9), 8, factor=1)
    with pytest.raises(ValueError, match="max_batch_size=4 is not accepted"):
        batch_ramp(lrsched.cosine(1.0, steps=9), 8, max_batch_size=4)


@pytest.mark.parametrize(
    ("starts", "multiples", "message"),
    [([2, 5], [1, 2], "starts must be steps that start at 0"), ([0, 5], [1, -0.5], "above 0")],
)
def test_stages_without_a_rate_are_refused(starts, multiples, message):
    with pytest.raises(ValueError, match=message):
        parse(
            f"lrsched.ramped_rate(1.0, starts={starts}, positions=[0, 3], "
            f"multiples={multiples}, steps=9)"
        )
