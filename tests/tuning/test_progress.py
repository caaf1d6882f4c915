"""The progress bar of sweeps, range tests and `auto`."""

import importlib.util
import warnings

import pytest

from lrsched import tuning
from lrsched.tuning._progress import progress_bar
from tests.tuning.problems import logistic


def test_the_bar_says_compiling_until_updates_begin_and_leaves_stdout_alone(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in a terminal, where every state is drawn
    with progress_bar("sweep", 10, is_wanted=True) as show:
        show(0, "compiling")
        show(10)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "sweep: compiling" in captured.err
    assert "10/10" in captured.err


@pytest.mark.parametrize(("is_wanted", "has_rich"), [(False, True), (True, False)])
def test_there_is_no_bar_where_none_is_wanted_or_rich_is_missing(
    is_wanted, has_rich, capsys, monkeypatch
):
    if not has_rich:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with progress_bar("sweep", 10, is_wanted=is_wanted) as show:
        show(0, "compiling")
        show(10)
    assert capsys.readouterr() == ("", "")


def test_auto_shows_a_bar_for_the_range_test_and_one_for_the_probes(capsys):
    tuning.auto(logistic(), steps=40, num_probes=2, seeds=1, progress=True)
    captured = capsys.readouterr().err
    assert "range test" in captured
    assert "sweep" in captured
    assert "40/40" in captured  # two probes of 20 updates


def test_a_notebook_without_widgets_shows_the_bar_as_text(monkeypatch, capsys):
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    with warnings.catch_warnings(action="error"), progress_bar("sweep", 10, is_wanted=True) as show:
        show(10)
    assert "sweep" in capsys.readouterr().err
