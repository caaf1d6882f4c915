"""The picture of a study."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from benchmarks import figures
from benchmarks.analysis import interval
from tests.benchmarks.trials import study, trial


def test_curves_have_a_column_a_workload_and_a_line_a_policy(tmp_path):
    trials = study(["digits-mlp", "cancer-logistic"], ["constant", "prodigy"], (0.25, 1.0))
    figure = figures.curves(trials)
    assert len(figure.axes) == 6
    for ax in figure.axes:
        assert len(ax.lines) == 2
    validation = figure.axes[4].lines[0]
    expected = [interval(column).median for column in trials[1].curves["loss"].T]
    np.testing.assert_allclose(validation.get_ydata(), expected)
    assert validation.get_xdata().tolist() == trials[1].evaluated.tolist()
    figures.save(figure, tmp_path / "new" / "all.png")
    assert (tmp_path / "new" / "all.png").read_bytes().startswith(b"\x89PNG")
    assert not plt.fignum_exists(figure.number)


def test_the_rate_is_the_schedule_s_or_what_an_adaptive_one_was_seen_at():
    found = trial("digits-mlp", "constant")
    steps, rates = figures.rate_of(found)
    assert len(steps) == found.steps
    np.testing.assert_allclose(rates, found.rate)
    found = trial("digits-mlp", "dog")
    steps, rates = figures.rate_of(found)
    assert steps.tolist() == found.evaluated.tolist()
    np.testing.assert_allclose(rates, np.median(found.curves["learning_rate"], axis=0))


@pytest.mark.parametrize("diverged", [2, 5])
def test_a_band_has_a_gap_where_runs_diverged(diverged):
    ax = plt.figure().add_subplot()
    found = trial("digits-mlp", "dog", diverged=diverged)
    figures.band(ax, found.evaluated, found.curves["loss"], "#000000")
    y = ax.lines[0].get_ydata()
    assert np.isfinite(y[:10]).all()
    # The median of five is finite while two have diverged.
    assert np.isnan(y[10:]).all() == (diverged == 5)
    plt.close(ax.figure)
