import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lrsched import units


@given(st.floats(0.1, 200), st.integers(1, 10**7), st.integers(1, 4096))
def test_the_product_is_rounded_and_not_each_epoch(epochs, examples, batch):
    exact = epochs * examples / batch
    if exact > 0.5:
        assert abs(units.from_epochs(epochs, examples, batch) - exact) <= 0.5
    else:
        with pytest.raises(ValueError, match="steps round to 0; a length must be 1 to"):
            units.from_epochs(epochs, examples, batch)


def test_units_agree_with_each_other():
    assert units.from_epochs(3, 1000, 10) == units.from_examples(3000, 10) == 300
    assert units.from_tokens(3000 * 512, 512, 10) == 300
    assert units.from_fraction(0.5, units.from_examples(np.int64(3000), 10)) == 150
    assert units.from_fraction(1, 300) == 300


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: units.from_epochs(0, 10, 1), "epochs=0 is not accepted; epochs must be a finite"),
        (lambda: units.from_epochs(float("nan"), 10, 1), "epochs=nan is not accepted"),
        (lambda: units.from_tokens("1e9", 10, 1), "tokens='1e9' is not accepted"),
        (lambda: units.from_examples(10, -1), "batch_size=-1 is not accepted"),
        (lambda: units.from_examples(1, 256), r"0\.00390625 steps round to 0"),
        (lambda: units.from_examples(1e12, 1), r"1e\+12 steps round to 1000000000000"),
        (lambda: units.from_fraction(1.5, 10), r"fraction=1\.5 is not accepted"),
        (lambda: units.from_fraction(True, 10), "fraction=True is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
