"""Controllers that count; `tests/parity/methods/test_plateaus.py` compares other libraries."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import lrsched


def scales(optimizer, metrics):
    """The scale after each of the metrics, which are numbers or keyword arguments."""
    state, found = optimizer.init(jnp.ones(1)), []
    for metric in metrics:
        named = metric if isinstance(metric, dict) else {"value": metric}
        state = lrsched.observe(state, **named)
        found.append(float(state.scale))
    return found


@pytest.mark.parametrize("best", [-1.0, 1.0, 0.0])
def test_a_constant_metric_of_any_sign_lowers_the_rate(best):
    assert scales(lrsched.reduce_on_plateau(0.5, 2), [best] * 5) == [1, 1, 0.5, 0.5, 0.25]


@given(st.floats(-8, 8, width=32), st.floats(0, 0.5), st.floats(0, 1))
def test_the_margin_is_relative_to_the_magnitude_of_the_best_value(best, rtol, atol):
    rule = lrsched.reduce_on_plateau(0.5, 1, rtol=rtol, atol=atol)
    margin = np.float32(rtol) * abs(np.float32(best)) + np.float32(atol)
    slack = 1e-5 * (1 + abs(best))
    assert scales(rule, [best, best - margin - slack])[1] == 1
    assert scales(rule, [best, best - margin + slack])[1] == 0.5


def test_mode_max_takes_a_higher_metric_for_better():
    rising = [0.1, 0.2, 0.3, 0.3, 0.2]
    assert scales(lrsched.reduce_on_plateau(0.5, 1, mode="max"), rising)[-2:] == [0.5, 0.25]
    assert scales(lrsched.reduce_on_plateau(0.5, 1), rising)[1:3] == [0.5, 0.25]


def test_min_scale_and_cooldown_limit_the_reductions():
    rule = lrsched.reduce_on_plateau(0.5, 1, min_scale=0.3, cooldown=2)
    assert scales(rule, [1.0] * 9) == pytest.approx([1, 0.5, 0.5, 0.5, 0.3, 0.3, 0.3, 0.3, 0.3])


@pytest.mark.parametrize(
    "smoothing", [{}, {"window_size": 3}, {"ema_decay": 0.75}, {"accumulation_size": 3}]
)
def test_smoothed_metrics_are_compared(smoothing):
    metrics = [3.0, 1.0, 2.0, 1.5, 1.5, 1.6, 1.7, 1.8, 1.9]
    found = scales(lrsched.reduce_on_plateau(0.5, 1, **smoothing), metrics)
    averaged = averages(metrics, **smoothing)
    best, expected = np.inf, None
    for index, value in averaged:
        if value < best * (1 - 1e-4):
            best = value
        elif expected is None:
            expected = index
    assert found.index(0.5) == expected


def averages(metrics, window_size=1, ema_decay=0.0, accumulation_size=1):
    """Yield each observation with the index of the metric at which it is complete."""
    blocks = [
        (end - 1, np.mean(metrics[end - accumulation_size : end]))
        for end in range(accumulation_size, len(metrics) + 1, accumulation_size)
    ]
    total = weight = 0.0
    for index, (at, _) in enumerate(blocks):
        mean = np.mean([value for _, value in blocks[max(index + 1 - window_size, 0) : index + 1]])
        total = ema_decay * total + (1 - ema_decay) * mean
        weight = ema_decay * weight + (1 - ema_decay)
        yield at, total / weight


def epochs(*pairs):
    """A training loss twice, then a validation loss, for each pair."""
    return [
        metric
        for training, validation in pairs
        for metric in [{"value": training}, {"value": training}, {"validation": validation}]
    ]


def test_overfitting_is_a_rising_validation_loss_with_a_falling_training_loss():
    rule = lrsched.reduce_on_overfitting(0.5, patience=2)
    overfits = epochs((1.0, 1.0), (0.9, 0.9), (0.8, 0.95), (0.7, 1.0))
    assert scales(rule, overfits)[-4:] == [1, 1, 1, 0.5]
    diverges = epochs((1.0, 1.0), (0.9, 0.9), (1.1, 0.95), (1.2, 1.0))
    assert scales(rule, diverges)[-1] == 1
    learns = epochs((1.0, 1.0), (0.9, 0.9), (0.8, 0.85), (0.7, 0.8))
    assert scales(rule, learns)[-1] == 1


def test_overfitting_is_measured_from_the_latest_reduction():
    rule = lrsched.reduce_on_overfitting(0.5, patience=1)
    start = epochs((1.0, 0.9), (0.8, 1.0))
    level = epochs(*[(0.8 - 0.1 * n, 1.0) for n in range(1, 5)])
    assert scales(rule, start + level)[-1] == 0.5
    assert scales(rule, start + level + epochs((0.2, 1.1)))[-1] == 0.25


def test_a_validation_metric_without_a_training_loss_changes_nothing():
    rule = lrsched.reduce_on_overfitting(0.5, patience=1)
    assert scales(rule, [{"validation": v} for v in [1.0, 2.0, 3.0]]) == [1, 1, 1]


def test_overfitting_needs_two_metric_names():
    with pytest.raises(
        ValueError, match=r"validation_metric='value' is not accepted; .* another name"
    ):
        lrsched.reduce_on_overfitting(validation_metric="value")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.reduce_on_plateau(mode="least"), "mode='least' .* one of 'min', 'max'"),
        (lambda: lrsched.reduce_on_plateau(1.0), "factor=1.0 .* above 0 and below 1"),
        (lambda: lrsched.reduce_on_plateau(0.5, 0), "patience=0 .* whole number, 1 or more"),
        (lambda: lrsched.reduce_on_plateau(cooldown=-1), "cooldown=-1"),
        (lambda: lrsched.reduce_on_plateau(ema_decay=1.0), "ema_decay=1.0"),
        (lambda: lrsched.greedy(max_scale=0.5), "greedy: max_scale=0.5 .* 1 or more"),
        (lambda: lrsched.bold_driver(up_factor=1.0), "bold_driver: up_factor=1.0 .* above 1"),
        (lambda: lrsched.adalrs(window=0), "adalrs: window=0"),
    ],
)
def test_an_argument_out_of_its_range_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
