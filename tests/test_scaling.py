import jax
import jax.numpy as jnp
import pytest

from lrsched import scaling


def test_the_same_size_keeps_the_rate():
    assert scaling.batch_size(0.1, 256, 256) == scaling.batch_size(0.1, 256, 256, "sqrt") == 0.1
    assert scaling.mup_width(0.1, 64, 64) == scaling.mup_depth(0.1, 8, 8) == 0.1
    assert scaling.horizon(0.1, 100, 100) == 0.1


def test_rules_go_through_jit_and_arrays():
    sizes = jnp.array([256, 512, 1024])
    assert scaling.batch_size(0.1, sizes, 256).tolist() == pytest.approx([0.1, 0.2, 0.4])
    assert jax.jit(lambda width: scaling.mup_width(1.0, width, 64))(256) == 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: scaling.batch_size(0.1, 256, 0), "batch_size: 0 is not accepted; a size must"),
        (lambda: scaling.batch_size(0.1, 256, 64, "cubic"), "rule='cubic' is none of linear, sqrt"),
        (lambda: scaling.mup_width(0.1, -1, 64), "mup_width: -1 is not accepted"),
        (lambda: scaling.mup_depth(0.1, "8", 64), "mup_depth: '8' is not accepted"),
        (lambda: scaling.horizon(0.1, float("nan"), 64), "horizon: nan is not accepted"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
