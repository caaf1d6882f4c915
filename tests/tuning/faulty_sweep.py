"""Run by `test_checkpoint.py`: ``python -m tests.tuning.faulty_sweep DIRECTORY FAULT``.

It trains a small sweep that saves after every call, with one fault, and prints every number of the
result. Faults: ``none``; ``kill``: SIGKILL after the third save; ``kill-1``: after the first;
``sigint`` and ``sigterm``: the signal during the third call, with no save due before;
``small-files``: no file may exceed 4 kB from the second save on, until the fifth.
"""

import os
import resource
import signal
import sys

import jax.numpy as jnp
import numpy as np
import optax

import lrsched
from lrsched import tuning
from lrsched.tuning import _sweep as module
from lrsched.tuning.batched_runner import BatchedRunner
from lrsched.tuning.checkpoint import Checkpoint

SCHEDULES = [lrsched.cosine(float(peak), steps=32) for peak in np.logspace(-3, 0, 4)]


def regression():
    """Return a linear regression without other packages, so that a process starts quickly."""
    x = np.random.default_rng(0).standard_normal((64, 8)).astype(np.float32)
    data = (x, x @ np.arange(8, dtype=np.float32))
    return tuning.training(
        lambda w, batch: jnp.mean((batch[0] @ w - batch[1]) ** 2),
        jnp.zeros(8),
        optax.adam,
        data,
        batch_size=16,
        validation=data,
    )


def main(directory, fault):
    module._FIRST_LIMIT = 8
    calls, saves = [], []
    advance, save = BatchedRunner.advance, Checkpoint.save

    def advance_and_count(runner, states, limit):
        calls.append(1)
        if len(calls) == 3 and fault in ("sigint", "sigterm"):
            os.kill(os.getpid(), getattr(signal, fault.upper()))
        return advance(runner, states, 8)

    def save_with_fault(self, *args):
        saves.append(1)
        if fault == "small-files":
            largest = 4096 if 2 <= len(saves) < 5 else resource.RLIM_INFINITY
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, resource.RLIM_INFINITY))
        written = save(self, *args)
        if len(saves) == {"kill": 3, "kill-1": 1}.get(fault):
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    BatchedRunner.advance, Checkpoint.save = advance_and_count, save_with_fault
    result = tuning.sweep(
        regression(),
        SCHEDULES,
        plan=tuning.ExecutionPlan(1, 2),
        checkpoint=directory,
        checkpoint_seconds=60 if fault.startswith("sig") else 0,
        progress=False,
    )
    print(len(calls))
    print(result.table.tolist(), result.train_loss.tolist(), result.validation_loss.tolist())


if __name__ == "__main__":
    main(*sys.argv[1:])
