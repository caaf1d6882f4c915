"""A training process is killed at a random step and started again: nothing differs in any bit."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples/resume.py"


def run(directory, kill_at=None):
    """The rates that it printed by their steps, and its other lines; killed after that step."""
    command = [sys.executable, str(SCRIPT), str(directory)]
    rates, others = {}, []
    # All of its processes run the same program, which the first of them compiles.
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(directory.parent / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | cache
    ) as process:
        for line in process.stdout:
            first, *rest = line.split()
            if not first.isdigit():
                others.append(line)
                continue
            rates[int(first)] = rest[0]
            if int(first) == kill_at:
                process.kill()
                break
    assert process.returncode == (0 if kill_at is None else -signal.SIGKILL)
    return rates, others


@pytest.mark.slow
def test_a_killed_run_goes_on_bit_by_bit(tmp_path):
    rates, digest = run(tmp_path / "whole")
    kill_at = random.Random().randrange(12, 58)
    before, _ = run(tmp_path / "killed", kill_at)
    after, (resumed, *digest_after) = run(tmp_path / "killed")
    assert 0 < min(after) <= kill_at + 1, f"killed at {kill_at}, resumed: {resumed}"
    assert before | after == rates, f"killed at {kill_at}"
    assert before.items() <= rates.items()
    assert digest_after == digest
    assert len(set(rates.values())) > 30
