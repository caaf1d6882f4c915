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
