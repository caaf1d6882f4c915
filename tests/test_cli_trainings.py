"""`lrsched range-test` and `sweep` on a user's module, and `lrsched explain` on a file."""

import json
import sys

import numpy as np
import pytest

from lrsched.cli import main

MODULE = """
import jax.numpy as jnp, optax, sys
from lrsched import tuning

x = jnp.linspace(-1, 1, 16)

def loss_fn(params, batch):
    x, y = batch
    return jnp.mean((params * x - y) ** 2)

def make_training():
    return tuning.training(loss_fn, jnp.zeros(()), optax.sgd, (x, 2 * x), batch_size=8)

ready = make_training()

def broken():
    raise RuntimeError("no data\\nhere")

def leaves():
    sys.exit("gone")

def wrong():
    return 5

def fails_in_step():
    return tuning.training(
        lambda w, batch: jnp.mean(w @ batch[0]), jnp.zeros((3, 5)), optax.sgd, (x, x))
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "my_trainings.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_trainings", None)


@pytest.mark.parametrize("name", ["make_training", "ready"])
def test_range_test_takes_the_training_of_a_user(here, capsys, name):
    words = ("range-test", f"my_trainings:{name}", "--steps", "40", "--seeds", "1", "--json")
    assert main(words) == 0
    captured = capsys.readouterr()
    (row,) = [json.loads(captured.out)]
    assert row["workload"] == f"my_trainings:{name}"
    assert row["optimizer"] == "sgd"
    assert row["range"][0] < row["suggestion"] < row["range"][1]
    assert captured.err == ""


def test_sweep_takes_the_training_of_a_user_and_shows_a_bar_on_stderr(here, capsys):
    words = ("sweep", "my_trainings:make_training", "--rates", "0.01", "1", "--seeds", "1")
    assert main((*words, "--schedule", "linear(1.0, 0.0, steps=20)")) == 0
    captured = capsys.readouterr()
    assert captured.out.split()[:3] == ["rate", "loss", "best"]
    assert "sweep" in captured.err
    assert "40/40" in captured.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["my_trainings:broken"], "my_trainings:broken: RuntimeError: no data here"),
        (["my_trainings:leaves"], "SystemExit: gone"),
        (["my_trainings:wrong"], "gives a int; it must return a Training"),
        (["my_trainings:absent"], "AttributeError"),
        (["no_such_module:f"], "ModuleNotFoundError: No module named 'no_such_module'"),
        (["my_trainings"], "must be MODULE:FUNCTION"),
        (["my_trainings:ready", "--optimizer", "sgd"], "--optimizer is not accepted beside"),
        (["my_trainings:ready", "--workload", "digits"], "--workload is not accepted beside"),
        (["my_trainings:fails_in_step"], "my_trainings:fails_in_step: TypeError"),
    ],
)
def test_errors_of_a_training_are_one_line(here, capsys, words, message):
    assert main(["range-test", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *_, line = captured.err.splitlines()
    assert line.startswith("lrsched: ")
    assert message in line


@pytest.fixture
def log(tmp_path):
    steps = np.arange(10, 1001, 10)
    rates = np.minimum(1, (1000 - steps) / 40) * 0.1
    rows = [f"{s},{2 + 3 * s**-0.5},{r}" for s, r in zip(steps, rates, strict=True)]
    file = tmp_path / "run.csv"
    file.write_text("\n".join(["step,loss,lr", *rows]))
    return file


def test_explain_prints_sentences_or_json(log, capsys):
    assert main(["explain", str(log), "--no-law"]) == 0
    assert capsys.readouterr().out.startswith("short cooldown: the rate falls from the peak over")
    assert main(["explain", str(log), "--no-law", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["kind"] == "short cooldown"
    assert found["value"] < found["threshold"]


@pytest.mark.parametrize(
    ("words", "message"),
    [(["nowhere.csv"], "nowhere.csv: No such file"), (["setup.txt"], "must be a .csv")],
)
def test_errors_of_explain_are_one_line(capsys, words, message):
    assert main(["explain", *words]) == 2
    assert message in capsys.readouterr().err
