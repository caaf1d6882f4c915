"""The whole job: ported, saved, loaded, extended, cooled down."""

import numpy as np
import tyro

from examples import ported

SIZES = ["--steps", "40", "--warmup", "8", "--saved-at", "20", "--cooldown", "10"]


def test_a_ported_run_is_loaded_extended_and_cooled_down():
    log, before, after = tyro.cli(ported.main, args=SIZES)
    theirs = ported.pytorch_schedule(8, 40)
    np.testing.assert_allclose(log[:20], theirs(np.arange(20)), rtol=1e-5)
    # Half as many updates again: the second half of the course at half its pace or less.
    assert all(rate > theirs(step) for step, rate in enumerate(log[21:40], start=21))
    assert max(np.diff(log[20:])) < 0
    assert 0 < log[-1] < 0.1 * log[39]
    assert after < before
