"""Prodigy in bfloat16 finds a rate through a warmup from zero, and learns by it."""

import jax.numpy as jnp
import pytest

from examples import prodigy_bf16


def test_it_learns_in_bfloat16_without_a_rate():
    (_, schedule, first_estimate, applied, first_loss, _), *history = prodigy_bf16.train(
        jnp.bfloat16, steps=60, lines=3, seed=0
    )
    assert schedule == applied == 0.0
    for _, schedule, estimate, applied, *_ in history:
        assert estimate > 1000 * first_estimate
        assert applied == pytest.approx(schedule * estimate, rel=1e-6)
    *_, loss, accuracy = history[-1]
    assert loss < 0.3 * first_loss
    assert accuracy > 0.85
