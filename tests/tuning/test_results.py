import numpy as np
import pytest

import lrsched
from lrsched.tuning._range_test import RangeTestResult
from lrsched.tuning._search import HalvingResult
from lrsched.tuning.results import varying_parameters


def course(peak, steps=10):
    return lrsched.warmup(5) * peak >> lrsched.cosine(peak, steps)


@pytest.mark.parametrize(
    ("schedules", "names"),
    [
        ([lrsched.cosine(peak, steps=10) for peak in (0.1, 0.2)], ["peak"]),
        ([rate * lrsched.cosine(1.0, steps=10) for rate in (0.1, 0.2)], ["operands[0]"]),
        ([course(0.1), course(0.2)], ["operands[1]", "peak"]),
        (
            [
                lrsched.join(lrsched.linear(1.0, x, 5), lrsched.linear(x, 0.0, 5))
                for x in (0.1, 0.2)
            ],
            ["end", "init"],
        ),
        (
            [lrsched.maximum(lrsched.cosine(p, 5), lrsched.cosine(p, 9)) for p in (0.1, 0.2)],
            ["operands[0].peak", "operands[1].peak"],
        ),
    ],
)
def test_a_number_is_named_as_it_is_read_of_the_schedule(schedules, names):
    found = varying_parameters(schedules)
    assert list(found) == names
    for name, values in found.items():
        if "[" in name and "." in name:
            read = [eval(f"schedule.{name}", {"schedule": one}) for one in schedules]
            assert read == values.tolist()


def test_a_result_prints_in_a_line_whatever_its_size():
    rates, losses = np.geomspace(1e-4, 1.0, 200), np.ones((4, 200))
    assert repr(RangeTestResult(rates, losses, losses)) == (
        "RangeTestResult(rates=<array (200,)>, losses=<array (4, 200)>, smoothed=<array (4, 200)>)"
    )
    few = HalvingResult([lrsched.constant(0.1)], np.ones((2, 1)), [10, 20], 20)
    assert repr(few).startswith(
        "HalvingResult(schedules=[constant(value=0.1)], losses=<array (2, 1)>"
    )
    many = HalvingResult([course(0.1)] * 64, np.ones((2, 64)), [10, 20], 1280)
    assert "schedules=<list of 64>, losses=<array (2, 64)>, steps=[10, 20]" in repr(many)
