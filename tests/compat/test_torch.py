"""What PyTorch gets wrong or refuses, and how ours differs there."""

import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched.compat import torch


def test_one_cycle_holds_its_last_value_past_the_end():
    schedule = torch.OneCycleLR(1.0, total_steps=50)
    assert schedule.horizon == 49
    last = np.float32(1 / 25 / 1e4)
    np.testing.assert_array_equal(schedule([49, 50, 10**6]), [last] * 3)


def test_warm_restarts_hit_the_one_that_a_logarithm_misses():
    schedule = torch.CosineAnnealingWarmRestarts(0.1, T_0=10, T_mult=3, eta_min=0.01)
    assert schedule(1210) == np.float32(0.1)


def test_a_factor_near_one_keeps_its_digits_over_a_long_run():
    steps = np.arange(0, 200_001, 1000)
    exact = 0.99994**steps
    np.testing.assert_allclose(torch.ExponentialLR(1.0, 0.99994)(steps), exact, rtol=2e-6)
    in_float32 = np.asarray(lrsched.step_decay(1.0, 0.99994, every=1)(steps), np.float64)
    assert np.max(np.abs(in_float32 - exact)) > 1e-5


def test_sequences_nest():
    inner = torch.SequentialLR(1.0, [torch.StepLR(1.0, 5, 0.5), lrsched.constant(0.25)], [10])
    outer = torch.SequentialLR(1.0, [torch.LinearLR(1.0, 0.5, total_iters=4), inner], [4])
    np.testing.assert_array_equal(outer([0, 4, 9, 14]), [0.5, 1.0, 0.5, 0.25])


def test_a_chain_takes_schedules_of_any_kind():
    chain = torch.ChainedScheduler(2.0, [lrsched.cosine(2.0, steps=8), torch.StepLR(2.0, 4, 0.5)])
    steps = jnp.arange(10)
    product = lrsched.cosine(2.0, steps=8) * lrsched.step_decay(1.0, 0.5, every=4)
    np.testing.assert_allclose(chain(steps), product(steps), rtol=1e-6)


def test_the_products_of_a_function_go_over_its_blocks():
    schedule = torch.MultiplicativeLR(1.0, lambda step: 1 + 1 / step)  # telescopes to t + 1
    np.testing.assert_allclose(
        schedule([1, 4095, 4096, 4097, 9000]), [2, 4096, 4097, 4098, 9001], rtol=3e-5
    )


def halved_from_3(step):
    return 0.5 if step >= 3 else 1.0


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lrsched.from_function, [1.0, 1.0, 1.0, 0.5, 0.5, 0.5]),
        (lambda f: torch.LambdaLR(0.1, f), [0.1, 0.1, 0.1, 0.05, 0.05, 0.05]),
        (lambda f: torch.MultiplicativeLR(0.1, f), [0.1, 0.1, 0.1, 0.05, 0.025, 0.0125]),
        (
            lambda f: torch.CyclicLR(0.0, 0.1, 1, scale_fn=f, scale_mode="iterations"),
            [0.0, 0.1, 0.0, 0.05, 0.0, 0.05],
        ),
    ],
    ids=["from_function", "LambdaLR", "MultiplicativeLR", "CyclicLR"],
)
def test_a_function_with_a_python_if_works_as_the_message_says(make, expected):
    with pytest.raises(
        ValueError, match=r"lrsched.table\(\[function\(step\) for step in range"
    ) as e:
        make(halved_from_3)
    assert "\n" not in str(e.value)
    steps, function = 6, halved_from_3
    table = lrsched.table([function(step) for step in range(steps)])
    np.testing.assert_allclose(make(table)(range(steps)), expected, rtol=1e-6)


def test_milestones_of_a_sequence_that_decrease_are_refused():
    parts = [torch.StepLR(0.2, 4)] * 3
    with pytest.raises(ValueError, match="that does not decrease"):
        torch.SequentialLR(0.2, parts, milestones=[8, 6])
