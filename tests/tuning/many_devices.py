"""Run by `test_sweep.py`: the same sweep on 4 host devices and on one of them."""

import re
import sys

import jax
import numpy as np

jax.config.update("jax_num_cpu_devices", 4)

from lrsched import tuning  # noqa: E402
from tests.tuning.problems import logistic, runners_of  # noqa: E402
from tests.tuning.test_sweep import COSINES  # noqa: E402

COLLECTIVE = r"all-(reduce|gather|to-all)|collective-permute|reduce-scatter"

run = logistic()
mesh = jax.make_mesh((1,), ("runs",), devices=jax.devices()[:1])
alone = tuning.sweep(run, COSINES, seeds=2, mesh=mesh, progress=False)
spread = tuning.sweep(run, COSINES, seeds=2, progress=False)
np.testing.assert_array_equal(alone.train_loss, spread.train_loss)
np.testing.assert_array_equal(alone.table["loss"], spread.table["loss"])
_, on_four = runners_of(run)
per_device = on_four.lanes // 4
assert len({lane // per_device for lane in on_four.lane_order[:4]}) == 4
text = on_four.as_text()
found = re.search(COLLECTIVE, text)
sys.exit(f"{found[0]} in the program" if found else 0)
