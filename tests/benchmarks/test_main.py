import json

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.policies import SIX
from benchmarks.workloads import WORKLOADS


@pytest.mark.parametrize(
    ("workload", "policies"), [("digits-mlp", tuple(SIX)), ("mnist-cnn", ("wsd",))]
)
def test_the_program_runs_end_to_end(workload, policies, tmp_path, capsys):
    picture = tmp_path / "results" / "all.png"
    options = ["--workloads", workload, "--policies", *policies, "--out", str(picture)]
    main([*options, "--seeds", "1", "--steps-scale", "0.01", "--peak", "0.002"])

    printed = capsys.readouterr().out
    assert WORKLOADS[workload].title in printed
    assert picture.read_bytes().startswith(b"\x89PNG")
    record = json.loads(picture.with_suffix(".json").read_text())
    assert {"lrsched-jax", "jax", "optax", "python"} <= record["versions"].keys()
    assert record["workloads"].keys() == {workload}
    settings = record["workloads"][workload]
    assert settings["peak"] == 0.002
    assert tuple(settings["runs"]) == policies
    for policy, run in settings["runs"].items():
        assert policy in printed
        assert run["run_seconds"] > 0
        for numbers in run["final"].values():
            assert np.shape(numbers) == (1,)
            assert np.isfinite(numbers).all()
        for series in ("rate", "train loss"):
            assert np.shape(run["history"][series]) == (1, settings["steps"])
            assert np.isfinite(run["history"][series]).all()


def test_a_run_that_diverges_is_reported(tmp_path):
    picture = tmp_path / "diverged.png"
    main(
        "--workloads digits-mlp --policies constant --seeds 1 --steps-scale 0.01 "
        f"--peak 1e30 --out {picture}".split()
    )
    record = json.loads(picture.with_suffix(".json").read_text())
    run = record["workloads"]["digits-mlp"]["runs"]["constant"]
    assert not np.isfinite(run["final"]["train loss"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--workloads digits", "unknown workload 'digits'; choose from digits-mlp, mnist-cnn"),
        ("--workloads", "no workload given"),
        ("--policies cosin", "unknown policy 'cosin'"),
        ("--seeds 0", "seeds must be positive, not 0"),
        ("--peak -1", "peak must be positive, not -1"),
        ("--steps-scale nan", "steps_scale must be positive, not nan"),
        ("--out picture.txt", "out must end in .png"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).replace("│", " ").split()
    assert " ".join(message.split()) in " ".join(lines)
