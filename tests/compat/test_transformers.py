"""Lengths of the warmup-stable-decay schedule, as transformers 5.23 reads them."""

import numpy as np
import pytest

from lrsched.compat import transformers


@pytest.mark.parametrize("num_training_steps", [None, 40, 90, 5_000])
def test_the_stable_length_wins_over_the_length_of_the_run(num_training_steps):
    schedule = transformers.get_scheduler(
        "warmup_stable_decay",
        4e-4,
        num_warmup_steps=20,
        num_training_steps=num_training_steps,
        scheduler_specific_kwargs={
            "num_stable_steps": 50,
            "num_decay_steps": 40,
            "decay_type": "linear",
        },
    )
    expected = 4e-4 * np.array([0.0, 0.5, 1.0, 1.0, 0.5, 0.0, 0.0])
    steps = np.array([0, 10, 20, 70, 90, 110, 9_999])
    np.testing.assert_allclose(schedule(steps), expected, rtol=1e-6)


@pytest.mark.parametrize("num_cycles", [0.5, 7.0, 1e6, 3.7e12, 8e37])
@pytest.mark.parametrize("steps", [1, 10, 97, 2**20])
def test_any_number_of_cycles_gives_cosines(num_cycles, steps):
    schedule = transformers.get_cosine_schedule_with_warmup(1.0, 0, steps, num_cycles=num_cycles)
    early = np.array([0, 1, 9, 10, 11, 99])
    # In exact integers: the original's float64 has lost the fraction of so many turns.
    halves = int(2 * np.float32(num_cycles))
    turns = np.array([halves * int(step) % (2 * steps) for step in early]) / (2 * steps)
    np.testing.assert_allclose(
        schedule(early), (1 + np.cos(2 * np.pi * turns)) / 2, rtol=0, atol=2e-6
    )
    late = np.asarray(schedule(np.array([2**24 + 1, 2**31 - 1])))
    assert np.all((late >= 0) & (late <= 1 + 1e-6))


@pytest.mark.parametrize("num_cycles", [0.3, 0.5, 3.5, 7.0])
@pytest.mark.parametrize("steps", [1000, 2**24 + 1, 2**31 - 1])
def test_waves_are_within_3e_7_a_cycle_at_any_step(num_cycles, steps):
    schedule = transformers.get_cosine_schedule_with_warmup(1.0, 0, steps, num_cycles=num_cycles)
    random = np.random.default_rng(0)
    late = np.r_[random.integers(0, steps, 300), random.integers(0, 2**31, 300), 2**31 - 1]
    # The fraction of the turns in exact integers, as float64 has 53 bits for all of them.
    numerator, denominator = float(np.float32(num_cycles)).as_integer_ratio()
    whole = denominator * steps
    turns = np.array([numerator * int(step) % whole / whole for step in late])
    expected = (1 + np.cos(2 * np.pi * turns)) / 2
    np.testing.assert_allclose(schedule(late), expected, rtol=0, atol=3e-7 * (1 + num_cycles))
