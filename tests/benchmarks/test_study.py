import numpy as np
import pytest

from benchmarks import study
from benchmarks.__main__ import COMMANDS, main
from benchmarks.policies import POLICIES, SIX
from benchmarks.protocol import Bench
from benchmarks.store import Store, read_study
from benchmarks.workloads import WORKLOADS

SMALL = ["--rates", "2", "--seeds", "2", "--tuning-seeds", "1"]


@pytest.fixture(autouse=True)
def _a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "Store", lambda: Store(tmp_path / "trials"))


@pytest.mark.slow
def test_a_study_runs_once_and_is_read_the_second_time(tmp_path, capsys, monkeypatch):
    out = tmp_path / "here" / "small"
    call = ["run", "digits-mlp", "--policy", "constant", "wsd", "--budget", "0.05", "0.1"]
    main([*call, *SMALL, "--out", str(out)])
    printed = capsys.readouterr().out
    assert WORKLOADS["digits-mlp"].title in printed
    assert "constant" in printed
    assert "</svg>" in out.with_suffix(".svg").read_text()
    name, protocol, trials = read_study(out.with_suffix(".json.gz"))
    assert (name, protocol.rates, protocol.seeds) == ("small", 2, 2)
    assert [(t.policy, t.budget) for t in trials] == [
        (policy, budget) for policy in ("constant", "wsd") for budget in (0.05, 0.1)
    ]
    assert all(np.isfinite(t.final["test_loss"]).all() for t in trials)

    first = out.with_suffix(".json.gz").read_bytes()
    monkeypatch.setattr(Bench, "trial", None)
    main([*call, *SMALL, "--out", str(out)])
    assert out.with_suffix(".json.gz").read_bytes() == first


def test_the_full_study_says_how_long_it_takes(tmp_path, capsys):
    options = ["--workloads", "cancer-logistic", "--policies", "constant", "--budgets", "0.1"]
    main(["full", *options, *SMALL, "--out", str(tmp_path / "full")])
    printed = capsys.readouterr().out
    assert printed.index("The study takes about") < printed.index("Wrote")


def test_quick_is_two_workloads_and_six_policies_and_full_is_everything():
    assert study.QUICK.policies == SIX
    assert len(study.QUICK.workloads) == 2
    assert study.FULL.policies == tuple(POLICIES)
    assert all("install" not in WORKLOADS[name].source for name in study.FULL.workloads)
    assert len(study.FULL.workloads) == 7


def test_what_is_not_here_is_left_out_and_said(capsys, monkeypatch, tmp_path):
    from dataclasses import replace

    away = replace(WORKLOADS["cancer-logistic"], is_here=lambda: False, source="the moon")
    monkeypatch.setitem(WORKLOADS, "cancer-logistic", away)
    with pytest.raises(SystemExit, match="None of the workloads"):
        main(["run", "cancer-logistic", *SMALL, "--out", str(tmp_path / "none")])
    assert "the moon" in capsys.readouterr().out


def test_the_list_names_everything(capsys):
    main(["--list"])
    words = "".join(capsys.readouterr().out.split())
    for name in [*(w.title.split()[0] for w in WORKLOADS.values()), *POLICIES]:
        assert name[:8] in words


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_its_help(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert command.partition("-")[0] in capsys.readouterr().out.replace("_", "-")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run digits", "unknown workload 'digits'; choose from digits-mlp"),
        ("quick --workloads", "no workload given"),
        ("run digits-mlp --policy cosin", "unknown policy 'cosin'"),
        ("run digits-mlp --seeds 0", "seeds must be 1 or more, not 0"),
        ("run digits-mlp --budget -1", "budgets must be above 0 and at most 1000, not -1"),
        ("quickly", "unknown command 'quickly'; choose from quick, full, run"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(arguments.split())
    printed = capsys.readouterr()
    lines = (printed.out + printed.err).replace("│", " ").split()
    assert " ".join(message.split()) in " ".join(lines)
