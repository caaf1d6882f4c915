"""Run twice by `test_sweep.py`: ``python -m tests.tuning.two_processes PROCESS PORT``."""

import sys

import jax

process, port = map(int, sys.argv[1:])
jax.config.update("jax_cpu_collectives_implementation", "gloo")
jax.distributed.initialize(f"localhost:{port}", num_processes=2, process_id=process)

from lrsched import tuning  # noqa: E402
from tests.tuning.problems import logistic  # noqa: E402
from tests.tuning.test_sweep import COSINES  # noqa: E402

found = tuning.sweep(logistic(), COSINES, seeds=3, progress=False)
print("losses:", *found.table["loss"])
