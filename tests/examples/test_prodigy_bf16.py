"""Prodigy in bfloat16 finds a rate through a warmup from zero, and learns by it."""

import pytest
import tyro

from examples import prodigy_bf16


def test_it_learns_in_bfloat16_without_a_rate():
    arguments = ["--steps", "60", "--lines", "3", "--dtypes", "bfloat16"]
    ((first, *history),) = tyro.cli(prodigy_bf16.main, args=arguments)
    _, schedule, first_estimate, applied, first_loss, _ = first
    assert schedule == applied == 0.0
    for _, schedule, estimate, applied, *_ in history:
        assert estimate > 1000 * first_estimate
        assert applied == pytest.approx(schedule * estimate, rel=1e-6)
    *_, loss, accuracy = history[-1]
    assert loss < 0.3 * first_loss
    assert accuracy > 0.85
