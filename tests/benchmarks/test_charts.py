"""The charts of the page."""

import itertools
import re
from functools import partial

import hypothesis.strategies as st
import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings

from benchmarks.policies import POLICIES
from benchmarks.report import charts
from benchmarks.report.page import HERE
from benchmarks.report.svg import VARIABLES, inline
from tests.benchmarks.trials import PROTOCOL, study, trial

# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
SIGHTS = {
    "all colours": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    values = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    ratios = TO_XYZ @ np.clip(rgb, 0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    """That of WCAG."""
    low, high = sorted(float(TO_XYZ[1] @ linear(colour)) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def themes():
    """The colours of the light theme and of the dark one."""
    light, dark = (HERE / "style.css").read_text().split("prefers-color-scheme: dark")
    read = [dict(re.findall(r"--([\w-]+): (#\w{6})", part)) for part in (light, dark)]
    return dict(zip(("light", "dark"), read, strict=True))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_stay_apart_whatever_one_sees(theme):
    colours = themes()[theme]
    series = [colours[f"series-{place}"] for place in range(len(charts.SERIES))]
    for sight in SIGHTS.values():
        seen = [lab(sight @ linear(colour)) for colour in series]
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 23
    assert min(contrast(colour, colours["paper"]) for colour in series) >= 3
    for name, behind in itertools.product(("ink", "muted"), ("paper", "raised", "near")):
        assert contrast(colours[name], colours[behind]) >= 4.5, (name, behind)
    assert contrast(colours["warn"], colours["paper"]) >= 4.5


def test_charts_are_drawn_in_the_colours_of_the_light_theme():
    light = themes()["light"]
    assert {light[name]: name for name in VARIABLES.values()} == VARIABLES


def test_every_policy_has_a_line_of_its_own_in_its_panel():
    found = charts.groups(tuple(POLICIES))
    assert sorted(itertools.chain(*found.values())) == sorted(POLICIES)
    for names in found.values():
        styles = [str(charts.style_of(name)) for name in names]
        assert len(set(styles)) == len(names)


@given(
    st.lists(st.floats(-0.2, 1.2, allow_nan=False), min_size=1, max_size=12), st.floats(0.01, 0.2)
)
@settings(max_examples=60, deadline=None)
def test_labels_keep_their_order_and_their_distance(places, gap):
    found = charts.spread(places, gap, 0.0, 1.0)
    order = np.argsort(places, kind="stable")
    assert (np.diff(found[order]) >= gap - 1e-9).all()
    assert found.min() >= -1e-9
    if gap * (len(places) - 1) <= 1:
        assert found.max() <= 1 + 1e-9


def test_labels_with_room_stay_where_they_are():
    np.testing.assert_allclose(charts.spread([0.9, 0.1, 0.5], 0.2, 0, 1), [0.9, 0.1, 0.5])


def test_a_profile_keeps_its_steps():
    factors = np.linspace(1, 8, 71)
    parts = np.where(factors >= 3, 0.5, 0.0)
    ax = charts.panel().add_subplot()
    charts.draw_profile(ax, {"constant": parts, "dog": parts * 0}, factors, ["constant"])
    (line,) = (
        line for line in ax.lines if line.get_color() == charts.SERIES[0] and line.get_clip_on()
    )
    x, y = line.get_data()
    assert (x.tolist(), y.tolist()) == ([1, 3, 8], [0, 0.5, 0.5])
    assert [text.get_text() for text in ax.texts] == ["constant"]


def test_a_diverged_rate_is_a_cross_and_not_a_point():
    found = trial("digits-mlp", "dog", diverged=1)
    ax = charts.panel().add_subplot()
    relative = PROTOCOL.draw(1.0)
    charts.draw_sensitivity(ax, relative, [found], ["dog"])
    (crosses,) = (line for line in ax.lines if line.get_marker() == "x")
    assert crosses.get_xdata().tolist() == [relative[-1]]
    assert all(np.isfinite(line.get_ydata()).sum() < 5 for line in ax.lines)


def test_the_course_of_a_run_that_diverged_ends():
    found = trial("digits-mlp", "constant", diverged=5)
    losses, rates = charts.panel().subplots(2, 1)
    charts.draw_curves(losses, rates, [found], ["constant"])
    y = next(line.get_ydata() for line in losses.lines if len(line.get_ydata()) > 2)
    assert np.isfinite(y[:10]).all()
    assert np.isnan(y[10:]).all()
    assert rates.get_xlim() == losses.get_xlim() == (0, found.steps)


def test_median_shares_are_over_the_workloads():
    trials = study(["digits-mlp", "cancer-logistic"], ["constant"])
    least = {t.workload: float(t.tuning["loss"].mean(axis=1).min()) for t in trials}
    found = charts.median_shares(trials, least)["constant"]
    falls = [
        (t.first - t.tuning["loss"].mean(axis=1)) / (t.first - least[t.workload]) for t in trials
    ]
    np.testing.assert_allclose(found, np.clip(np.mean(falls, axis=0), 0, 1), atol=1e-12)


def test_numbers_are_written_in_few_letters():
    values = [0, 0.05, 1e-4, 123.0, 2e5, 1e-12]
    assert [charts.short(value) for value in values] == [
        "0",
        "0.05",
        "1e-4",
        "123",
        "2e5",
        "1e-12",
    ]


def test_a_chart_in_the_page_has_text_and_the_colours_of_the_theme():
    with mpl.rc_context(charts.PANEL):
        figure = charts.panel()
        ax = figure.add_subplot()
        ax.plot([0, 1], [0, 1], color=charts.SERIES[3])
        ax.set_title("0.123456 <of> 2")
    svg = inline(figure, "mine", "a <label>")
    assert svg.startswith('<svg viewBox="0 0 340 215" role="img" aria-label="a &lt;label&gt;">')
    assert "0.123456 &lt;of&gt; 2</text>" in svg
    assert "var(--series-3)" in svg
    assert "var(--ink)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)
    assert all(name.startswith("mine-") for name in re.findall(r' id="([^"]*)"', svg))
    assert "<style" not in svg
    assert "font-family" not in svg


def test_a_picture_has_a_panel_for_each_family():
    policies = ["constant", "wsd", "cosine", "one-cycle"]
    medians = charts.median_shares(study(["digits-mlp"], policies), {"digits-mlp": 0.01})
    draw = partial(charts.draw_shares, relative=PROTOCOL.draw(1.0), medians=medians)
    figure = charts.family_grid(policies, draw, xlabel="x", ylabel="y")
    titles = [ax.get_title(loc="left") for ax in figure.axes if ax.get_visible()]
    assert titles == list(charts.groups(policies))
    assert len(titles) == 4
    mpl.pyplot.close(figure)
