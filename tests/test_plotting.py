import matplotlib.pyplot as plt
import numpy as np
import pytest

import lrsched
from lrsched import plotting, tuning
from tests.tuning.problems import logistic


@pytest.fixture(scope="module")
def found():
    schedules = [
        lrsched.cosine(peak, steps=steps) for steps in (20, 40) for peak in (1e-4, 1e-2, 1e-1, 1e38)
    ]
    return tuning.sweep(logistic(), schedules, seeds=2, progress=False)


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.close("all")


def test_a_sweep_is_a_curve_for_each_value_with_its_seeds_and_what_diverged(found):
    ax = found.plot(by="steps")
    assert ax.get_legend_handles_labels()[1] == ["steps 20", "steps 40"]
    curve, gone = ax.lines[0], ax.lines[1]
    rows = found.table[found.table["steps"] == 20]
    means = [rows["loss"][rows["peak"] == peak].mean() for peak in (1e-4, 1e-2, 1e-1)]
    np.testing.assert_allclose(curve.get_ydata()[:3], means)
    assert set(gone.get_xdata()) | set(curve.get_xdata()) == {1e-4, 1e-2, 1e-1, 1e38}


def test_along_one_number_it_is_the_best_of_the_others(found):
    ax = found.plot(x="steps")
    means, lengths = found.mean_losses(), np.repeat([20, 40], 4)
    best = [means[lengths == steps].min() for steps in (20, 40)]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), best)


def test_what_is_no_column_is_an_error(found):
    with pytest.raises(ValueError, match="'width' is no column; the table has schedule, peak"):
        found.plot(by="width")
    alike = tuning.sweep(logistic(), [lrsched.cosine(0.1, steps=5)] * 2, progress=False)
    with pytest.raises(ValueError, match="differ in no number"):
        alike.plot()


def test_it_draws_on_axes_that_it_is_given(found):
    _, ax = plt.subplots()
    assert plotting.plot_sweep(found, by="steps", ax=ax) is ax
