import numpy as np
import pytest

import lrsched

STEPS = np.arange(400)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lrsched.power_law(0.1, 0.5, 30), lrsched.inverse_sqrt(0.1, 30)),
        (lrsched.power_law(0.1, 1.0, 30), lrsched.inverse_time(0.1, 1.0, 30)),
        (
            lrsched.inverse_sqrt(0.1, 30, shift=50),
            lrsched.shift(lrsched.inverse_sqrt(0.1, 30), -50),
        ),
        (
            lrsched.noam(0.1 * 128**0.5 * 50**0.5, width=128, warmup=50),
            lrsched.shift(lrsched.warmup(50) * 0.1 >> lrsched.inverse_sqrt(0.1, 50), -1),
        ),
        (
            lrsched.power_scheduler(0.02, 64, 2**20),
            lrsched.power_scheduler(0.02, 128, 2**20, amplitude=2.3),
        ),
    ],
    ids=lambda schedule: repr(schedule)[:20],
)
def test_special_cases_are_each_other(one, other):
    np.testing.assert_allclose(one(STEPS), other(STEPS), rtol=3e-6)


def test_none_has_an_end():
    for schedule in (
        lrsched.inverse_sqrt(0.1, 30),
        lrsched.inverse_time(0.1, 1.0),
        lrsched.noam(1.0, 512, 40),
        lrsched.power_law(0.1, 0.3, 10),
        lrsched.power_scheduler(0.02, 64, 2**20),
    ):
        assert schedule.horizon is None
        assert schedule(10**9) < schedule(10**8)


def test_the_power_scheduler_is_flat_until_its_law_takes_over():
    rates = np.asarray(lrsched.power_scheduler(0.02, 128, 2**19)(np.arange(0, 3000)))
    assert rates[0] == rates[1] == np.float32(0.02)
    assert np.all(np.diff(rates) <= 0)
    assert rates[-1] < 0.02


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: lrsched.inverse_time(0.1, -1), "rate=-1 is not accepted"),
        (lambda: lrsched.inverse_sqrt(0.1, timescale=0), "timescale=0 is not accepted"),
        (lambda: lrsched.inverse_sqrt(0.1, 10, shift=-1), "shift=-1 is not accepted"),
        (lambda: lrsched.noam(1.0, 0, 10), "width=0 is not accepted"),
        (lambda: lrsched.power_law(0.1, 0, 10), "exponent=0 is not accepted"),
        (lambda: lrsched.power_scheduler(0.1, 0, 10), "batch_size=0 is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
