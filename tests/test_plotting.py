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


def test_a_schedule_is_its_curve_with_its_phases_named():
    ax = lrsched.wsd(3e-4, 1000, warmup=0.2, cooldown=0.2).plot()
    (line,) = ax.lines
    at, values = line.get_data()
    np.testing.assert_array_equal(values, lrsched.wsd(3e-4, 1000, 0.2, 0.2)(at))
    assert [text.get_text() for text in ax.texts] == ["warmup", "stable", "cooldown"]
    assert len(ax.patches) == 2
    assert ax.get_yscale() == "linear"


def test_another_schedule_is_beside_it_on_an_axis_of_its_own():
    rate, momentum = lrsched.one_cycle(0.1, 100), lrsched.one_cycle_momentum(0.8, 0.9, 100)
    ax = plotting.plot_schedule(rate, beside={"momentum": momentum})
    (twin,) = (other for other in ax.figure.axes if other is not ax)
    assert (ax.get_ylabel(), twin.get_ylabel()) == ("learning rate", "momentum")
    assert twin.lines[0].get_ydata().min() == pytest.approx(0.8)


def test_what_falls_by_decades_is_on_a_logarithmic_axis():
    assert lrsched.exponential(0.1, 0.1, every=50).plot(steps=400).get_yscale() == "log"


def test_what_is_not_one_curve_is_not_drawn():
    with pytest.raises(ValueError, match="is not one curve; it must have no traced numbers"):
        lrsched.cosine(np.ones(3), 10).plot()
    with pytest.raises(ValueError, match="steps=0 is not accepted; steps must be"):
        lrsched.cosine(1.0, 10).plot(steps=0)
