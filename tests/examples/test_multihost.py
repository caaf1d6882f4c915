"""Two processes agree on loss, scale and rate in every bit; the plateau acts on what both see."""

import numpy as np
import pytest
import tyro

from examples import multihost


@pytest.mark.slow
def test_rate_and_plateau_are_the_same_in_both_processes():
    found = tyro.cli(multihost.main, args=["--steps", "60", "--peak", "8"])
    part, loss, scale, _ = np.moveaxis(found, -1, 0)
    np.testing.assert_array_equal(found[0, :, 1:], found[1, :, 1:])
    assert (part[0, 2:] != part[1, 2:]).all()
    np.testing.assert_allclose(loss[0], part.mean(axis=0), rtol=1e-5)
    assert scale[0, 0] == 1.0
    assert scale[0, -1] < 1.0, "the plateau must have acted"
    assert loss[0, -10:].mean() < 0.3 * loss[0, 0]
    means = loss[0].reshape(-1, 5).mean(axis=1)  # what the rule sees: one mean of five
    best, bad, expected = np.inf, 0, 1.0
    for i, mean in enumerate(means):
        bad = 0 if mean < best * (1 - 1e-4) else bad + 1
        best = min(best, mean)
        if bad == 2:
            expected, bad = expected / 2, 0
        assert scale[0, 5 * i + 4] == expected
