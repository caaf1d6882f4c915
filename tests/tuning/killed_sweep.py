"""Run by `test_sweep.py`: ``python -m tests.tuning.killed_sweep DIRECTORY [kill]``.

It prints how many calls of the compiled program it made, then every number of the result; with
``kill`` it kills itself after its fifth save, in the middle of members.
"""

import os
import signal
import sys

from lrsched import tuning
from lrsched.tuning import _sweep as module
from lrsched.tuning.batched_runner import BatchedRunner
from lrsched.tuning.checkpoint import Checkpoint
from tests.tuning.problems import digits
from tests.tuning.test_sweep import PEAKS

import lrsched  # isort: skip

directory, *kill = sys.argv[1:]
module._FIRST_LIMIT = 8
calls, saves = [], []
advance, save = BatchedRunner.advance, Checkpoint.save


def counted_advance(runner, states, limit):
    calls.append(1)
    return advance(runner, states, 8)


def counted_save(self, *args):
    written = save(self, *args)
    saves.append(1)
    if kill and len(saves) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return written


BatchedRunner.advance, Checkpoint.save = counted_advance, counted_save
schedules = [lrsched.cosine(peak, steps=50) for peak in PEAKS]
found = tuning.sweep(
    digits(),
    schedules,
    plan=tuning.ExecutionPlan(1, 2),
    checkpoint=directory,
    checkpoint_seconds=0,
    progress=False,
)
print(len(calls))
print(found.table.tolist())
print(found.train_loss.tolist(), found.validation_loss.tolist())
