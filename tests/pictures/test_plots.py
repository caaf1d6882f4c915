import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
import pytest

import lrsched
from lrsched import tuning
from lrsched.pictures import plots
from tests.tuning.problems import logistic


@pytest.fixture(scope="module")
def found():
    schedules = [
        lrsched.cosine(peak, steps=steps) for steps in (20, 40) for peak in (1e-4, 1e-2, 1e-1, 1e37)
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
    assert set(gone.get_xdata()) | set(curve.get_xdata()) == {1e-4, 1e-2, 1e-1, 1e37}


def test_along_one_number_it_is_the_best_of_the_others(found):
    ax = found.plot(x="steps")
    means, lengths = found.mean_losses(), np.repeat([20, 40], 4)
    best = [means[lengths == steps].min() for steps in (20, 40)]
    np.testing.assert_allclose(ax.lines[0].get_ydata(), best)


def test_what_is_no_column_is_an_error(found):
    with pytest.raises(ValueError, match="'width' is no column; the table has schedule, peak"):
        found.plot(by="width")
    alike = tuning.sweep(logistic(), [lrsched.cosine(0.1, steps=5)] * 2, progress=False)
    with pytest.raises(ValueError, match="no parameter of the schedules varies"):
        alike.plot()


def test_it_draws_on_axes_that_it_is_given(found):
    _, ax = plt.subplots()
    assert plots.plot_sweep(found, by="steps", ax=ax) is ax


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
    ax = plots.plot_schedule(rate, beside={"momentum": momentum})
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


def test_a_run_is_its_losses_over_its_rate():
    losses = np.linspace(2.0, 1.0, 100)
    top, bottom = plots.plot_run(
        {"a": losses, "b": [losses, losses + 1]},
        {"a": lrsched.cosine(0.1, 100), "b": np.full(100, 0.2)},
        validation={"a": ([49, 99], [1.6, 1.2]), "b": [1.5, 1.4]},
    )
    drawn = [np.array(line.get_data()) for line in top.lines if len(line.get_xdata())]
    np.testing.assert_allclose([line[1, -1] for line in drawn], [1.0, 1.0, 2.0, 1.2, 1.4])
    np.testing.assert_array_equal(drawn[-1][0], [49, 99])  # at equal distances, to the end
    colours = [line.get_color() for line in (top.lines[0], bottom.lines[0])]
    assert colours[0] == colours[1] != bottom.lines[2].get_color()
    legend = [text.get_text() for text in top.get_legend().get_texts()]
    assert legend == ["a", "b", "training", "validation"]
    assert top.get_yscale() == bottom.get_yscale() == "linear"


def test_what_is_not_finite_is_a_gap_under_a_cross():
    losses = np.array([np.nan, 3.0, 2.0, np.inf, np.inf, 2.0, 1.0])
    top, _ = plots.plot_run((10 * np.arange(7), losses), lrsched.constant(0.1))
    drawn, crosses = top.lines
    np.testing.assert_array_equal(drawn.get_ydata(), np.where(np.isfinite(losses), losses, np.nan))
    np.testing.assert_array_equal(crosses.get_xdata(), [0, 30])


def test_of_a_long_run_no_spike_and_no_gap_is_lost():
    losses = np.ones(100_000)
    losses[[7_777, 33_333, 99_998]] = 50.0, 0.01, np.nan
    top, _ = plots.plot_run(losses, lrsched.constant(0.1))
    at, shown = top.lines[0].get_data()
    assert len(at) < 5_000
    assert {7_777, 33_333, 99_998} <= set(at)
    assert (np.nanmax(shown), np.nanmin(shown), np.isnan(shown).sum()) == (50.0, 0.01, 1)
    assert top.lines[1].get_xdata() == [99_998]


def test_losses_and_rates_that_would_lie_on_a_floor_are_on_a_logarithmic_axis():
    losses = np.geomspace(3.0, 1e-2, 300)
    top, bottom = plots.plot_run(
        losses, {"low": lrsched.cosine(1e-4, 300), "high": lrsched.cosine(1.0, 300)}
    )
    assert top.get_yscale() == bottom.get_yscale() == "log"
    # From a hundredth of the lower one's peak, as both end at 0.
    assert bottom.get_ylim()[0] == pytest.approx(1e-6)


def test_steps_and_losses_that_do_not_match_are_an_error():
    with pytest.raises(ValueError, match=r"losses of shape \(1, 3\) at 2 steps are not accepted"):
        plots.plot_run(([1, 2], [1.0, 1.0, 1.0]), lrsched.constant(0.1))
    with pytest.raises(ValueError, match="is not one curve"):
        plots.plot_run([1.0], lrsched.constant(np.ones(2)))


def test_the_runs_of_a_sweep_are_drawn_to_where_each_ended(found):
    top, bottom = found.plot_runs(which=[2, 3, 6])
    legend = [text.get_text() for text in top.get_legend().get_texts()]
    assert legend[:3] == ["peak 0.1, steps 20", "peak 1e+37, steps 20", "peak 0.1, steps 40"]
    runs, marks = top.lines[0:12:2], top.lines[1:12:2]
    means = [found.train_loss[member] for member in (4, 5, 6, 7, 12, 13)]
    for member, run, mark, losses in zip((4, 5, 6, 7, 12, 13), runs, marks, means, strict=True):
        assert len(run.get_xdata()) == found.table["updates"][member]
        np.testing.assert_array_equal(run.get_ydata(), losses[: len(run.get_xdata())])
        assert (len(mark.get_xdata()) > 0) == found.table["diverged"][member]
    assert [line.get_xdata()[-1] for line in bottom.lines[::2]] == [20, 20, 40]
    assert top.lines[12].get_ydata() == found.table["loss"][4]


def test_of_many_schedules_the_best_are_drawn(found):
    top, _ = found.plot_runs()
    legend = [text.get_text() for text in top.get_legend().get_texts()]
    assert legend[:-2] == [f"peak {x}, steps {n}" for n in (20, 40) for x in ("0.0001", 0.01, 0.1)]


def test_the_last_phases_name_stays_within_the_axes():
    ax = lrsched.wsd(3e-4, 100_000, 100, 0.001).plot()
    ax.figure.canvas.draw()
    name = ax.texts[-1].get_window_extent()
    assert ax.texts[-1].get_text() == "cooldown"
    assert name.x1 <= ax.get_window_extent().x1 + 10


def test_what_multiplies_a_schedule_is_called_a_factor():
    def loss_fn(w, batch):
        return jnp.mean((batch - w) ** 2)

    run = tuning.training(loss_fn, jnp.zeros(()), optax.sgd, jnp.ones(8), batch_size=4)
    schedules = [factor * lrsched.cosine(1.0, steps=4) for factor in (0.001, 0.1)]
    result = tuning.sweep(run, schedules, progress=False)
    assert result.plot().get_xlabel() == "factor"
    top, _ = result.plot_runs()
    legend = [text.get_text() for text in top.get_legend().get_texts()]
    assert {"factor 0.001", "factor 0.1"} <= set(legend)
