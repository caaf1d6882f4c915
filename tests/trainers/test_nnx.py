"""Flax nnx on a mesh; a subprocess, as it needs 8 devices."""

import subprocess
import sys


def test_a_killed_run_continues(tmp_path):
    run = subprocess.run(
        [sys.executable, "-m", "tests.trainers.nnx_on_a_mesh", str(tmp_path / "checkpoints")],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
