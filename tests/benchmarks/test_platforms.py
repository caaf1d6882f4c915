import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_platform_that_is_not_there_is_one_sentence():
    command = [sys.executable, "-m", "benchmarks", "run", "digits-mlp", "--platform", "gpu"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        pytest.skip("there is a GPU")
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("platform='gpu' is not available: JAX finds no such")
    assert "Traceback" not in done.stderr
