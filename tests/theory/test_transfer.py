"""A rate that is carried by the bound."""

import jax
import numpy as np
import pytest

import lrsched
from lrsched import theory


def stable(steps, cooldown=0.2):
    return lrsched.wsd(1.0, steps, 0, cooldown, ramp="linear")


def test_the_optimal_rate_of_one_schedule_becomes_that_of_the_other():
    carried = theory.transfer_rate(
        theory.optimal_rate(stable(300)), stable(300), lrsched.linear(1.0, 0.0, steps=700)
    )
    np.testing.assert_allclose(
        carried, theory.optimal_rate(lrsched.linear(1.0, 0.0, steps=700)), rtol=1e-6
    )
    back = theory.transfer_rate(carried, lrsched.linear(1.0, 0.0, steps=700), stable(300))
    np.testing.assert_allclose(back, theory.optimal_rate(stable(300)), rtol=1e-6)


def test_distance_and_the_size_of_the_gradients_do_not_matter():
    carried = theory.transfer_rate(0.1, lrsched.constant(1.0), stable(300), 300)
    assert carried == theory.transfer_rate(0.1, 1.0, stable(300), 300, 300)
    big = theory.transfer_rate(0.1, 1.0, stable(300), 300, 300, grad_norms=50.0)
    np.testing.assert_allclose(big, carried, rtol=1e-6)


def test_four_times_the_steps_halve_the_rate_of_a_line_to_zero():
    short, longer = lrsched.linear(1.0, 0.0, steps=1000), lrsched.linear(1.0, 0.0, steps=4000)
    assert float(theory.transfer_rate(1.0, short, longer)) == pytest.approx(0.5, rel=5e-3)


def test_a_rate_goes_through_jit():
    carry = jax.jit(lambda rate: theory.transfer_rate(rate, 1.0, stable(300), 300))
    eager = theory.transfer_rate(0.1, 1.0, stable(300), 300)
    # A compiler may round a fused expression once where two operations round twice: one last bit.
    np.testing.assert_array_max_ulp(np.float32(carry(0.1)), np.float32(eager), maxulp=1)


@pytest.mark.parametrize(
    "make",
    [
        lambda cooldown: stable(2000, cooldown),
        lambda factor: lrsched.constant(1.0, steps=800) >> factor * stable(1200, 1 / 3),
    ],
    ids=["a longer cooldown", "a lower second stage"],
)
def test_a_longer_run_keeps_its_rate(make):
    number = theory.match_optimal_rate(make, stable(1000), between=(0.2, 0.99))
    wanted = theory.optimal_rate(stable(1000))
    np.testing.assert_allclose(theory.optimal_rate(make(number), 2000), wanted, rtol=2e-3)
    assert abs(float(theory.optimal_rate(make(0.99), 2000) / wanted) - 1) > 0.02


def test_where_no_number_keeps_the_rate():
    with pytest.raises(ValueError, match=r"between=.* holds no number at which the best rate is"):
        theory.match_optimal_rate(lambda cooldown: stable(8000, cooldown), stable(100))
