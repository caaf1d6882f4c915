"""Run by `test_checkpoint.py`: ``python -m tests.tuning.lost_process DIRECTORY PROCESS PORT``.

It is one of two processes that share the sweep of `faulty_sweep`; the second kills itself after its
first save. It prints the losses, or the message of the error.
"""

import os
import signal
import sys

import jax

HEARTBEAT_TIMEOUT = 10
"""Seconds after which JAX ends a process whose neighbour does not answer; its default is 100."""


def main(directory, process, port):
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
        f"localhost:{port}",
        num_processes=2,
        process_id=process,
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT,
        initialization_timeout=120,
    )
    # Both use the backend of all processes from here on.
    from lrsched import tuning
    from lrsched.tuning.checkpoint import Checkpoint
    from tests.tuning.faulty_sweep import SCHEDULES, regression

    save = Checkpoint.save

    def save_and_end(self, *args):
        save(self, *args)
        os.kill(os.getpid(), signal.SIGKILL)

    if process == 1:
        Checkpoint.save = save_and_end
    try:
        result = tuning.sweep(
            regression(),
            SCHEDULES,
            plan=tuning.ExecutionPlan(1, 1),
            checkpoint=directory,
            checkpoint_seconds=0,
            progress=False,
        )
    except RuntimeError as error:
        print("error:", error)
        sys.stdout.flush()
        os._exit(3)  # JAX's own end of the process waits for the neighbour.
    print(result.table["loss"].tolist())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
