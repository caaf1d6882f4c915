import re
from xml.etree import ElementTree

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lrsched
from lrsched.pictures import curves as curve


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            lrsched.wsd(1.0, 100, warmup=0.1, cooldown=20),
            [("warmup", 0, 10), ("stable", 10, 80), ("cooldown", 80, 100)],
        ),
        (lrsched.wsd(1.0, 100, 0, 0.2), [("stable", 0, 80), ("cooldown", 80, 100)]),
        (
            lrsched.warmup(10) * 0.1 >> lrsched.constant(0.1),
            [("warmup", 0, 10), ("constant", 10, 40)],
        ),
        (
            lrsched.warmup(10) * 1.0 >> lrsched.constant(1.0, 20) >> lrsched.cosine(1.0, 30),
            [("warmup", 0, 10), ("constant", 10, 30), ("cosine", 30, 60)],
        ),
        (lrsched.warmup(10) * lrsched.rex(1.0, 50), [("warmup", 0, 10), ("rex", 10, 50)]),
        (
            lrsched.cooldown(lrsched.warmup(5) * 0.1, start=20, steps=10),
            [("warmup", 0, 5), ("constant", 5, 20), ("cooldown", 20, 30)],
        ),
        (lrsched.one_cycle(1.0, 100, warmup=30), [("rise", 0, 30), ("fall", 30, 100)]),
        (lrsched.multistep(1.0, [9], 0.1), [("segment 1", 0, 9), ("segment 2", 9, 12)]),
        (lrsched.inverse_sqrt(1.0, timescale=25), [("inverse_sqrt", 0, 100)]),
        (
            lrsched.warmup(10) * (lrsched.warmup(20) * 0.1 >> lrsched.cosine(0.1, 30)),
            [("warmup", 0, 20), ("cosine", 20, 50)],
        ),
        (
            lrsched.warmup(10) * lrsched.step_decay(1.0, 0.5, every=20),
            [
                ("warmup", 0, 10),
                *((f"segment {i}", max(20 * i - 20, 10), 20 * i) for i in range(1, 5)),
            ],
        ),
        (lrsched.triangular(0.0, 1.0, up_steps=5), [("cycle 1", 0, 10), ("cycle 2", 10, 20)]),
        (
            lrsched.shift(lrsched.wsd(1.0, 50, 10, 0.2), 5),
            [("initial", 0, 5), ("warmup", 5, 15), ("stable", 15, 45), ("cooldown", 45, 55)],
        ),
        (
            lrsched.edited(
                lrsched.wsd(1.0, 50, 10, 0.2), pace_step=20, pace_position=20, pace_end=80
            ),
            [("warmup", 0, 10), ("stable", 10, 60), ("cooldown", 60, 80)],
        ),
        (
            lrsched.cosine(1.0, 20) * lrsched.multistep(1.0, [5]),
            [("cosine & segment 1", 0, 5), ("cosine & segment 2", 5, 20)],
        ),
        (lrsched.untuned_warmup(0.75) * 0.1, [("warmup", 0, 7), ("constant", 7, 1000)]),
        (
            lrsched.noise(lrsched.points([2, 4, 8], [1.0, 2.0, 0.0]), seed=0, scale=0.1),
            [("initial", 0, 2), ("segment 1", 2, 4), ("segment 2", 4, 8)],
        ),
    ],
    ids=repr,
)
def test_the_phases_of_a_course_follow_one_another_without_a_gap(schedule, expected):
    assert curve.phases(schedule) == expected


@pytest.mark.parametrize(
    "schedule",
    [
        lrsched.step_decay(1.0, 0.5, every=7),
        lrsched.exponential(1.0, 0.5, every=7, staircase=True),
        lrsched.piecewise_constant([1.0, 0.5, 0.2], [11, 30]),
        lrsched.stretch(lrsched.multistep(1.0, [2, 3, 7]), 20),
        lrsched.edited(
            lrsched.multistep(1.0, [2, 8, 11]), pace_step=5, pace_position=5, pace_end=25
        ),
        lrsched.reverse(lrsched.multistep(1.0, [4, 11, 20])),
        lrsched.shift(lrsched.multistep(1.0, [4, 11, 20]), -6),
        lrsched.repeat(lrsched.constant(1.0, 3) >> lrsched.constant(0.5, 2)).inner,
        lrsched.clip(lrsched.multistep(1.0, [4, 11]), 0.005, 1.0) >> 0.001,
    ],
    ids=repr,
)
def test_a_piece_begins_where_the_rate_jumps(schedule):
    starts = [phase.start for phase in curve.phases(schedule)]
    values = schedule(np.arange(curve.display_steps(schedule)))
    np.testing.assert_array_equal(starts[1:], np.flatnonzero(np.diff(values)) + 1)


@pytest.mark.parametrize(
    "schedule",
    [
        lrsched.cosine_restarts(1.0, 10, growth=3),
        lrsched.cosine_restarts(1.0, 10, growth=1.3),
        lrsched.cosine_restarts(1.0, 40, decay=0.5),
        lrsched.repeat(lrsched.rex(1.0, 40), times=5),
    ],
    ids=repr,
)
def test_a_cycle_begins_where_the_rate_leaps_up(schedule):
    found = curve.phases(schedule, 200)
    assert [phase.name for phase in found] == [f"cycle {i + 1}" for i in range(len(found))]
    leaps = np.flatnonzero(np.diff(schedule(np.arange(200))) > 0) + 1
    np.testing.assert_array_equal([phase.start for phase in found[1:]], leaps)


def test_of_very_many_pieces_the_last_are_one():
    found = curve.phases(lrsched.step_decay(1.0, 0.999, every=1), 10**9)
    assert [(phase.name, phase.start) for phase in found[-2:]] == [
        ("segment 11", 10),
        ("segment 12 on", 11),
    ]


def test_a_schedule_of_ones_own_names_its_phases():
    @lrsched.schedule(
        horizon="steps",
        phases=lambda s, until: [("up", 0), ("down", s.steps // 2)],
        name="test_curve.tent",
    )
    def tent(step, steps: int):
        return jnp.minimum(step, steps - step)

    assert curve.phases(lrsched.constant(1.0, 5) >> tent(10)) == [
        ("constant", 0, 5),
        ("up", 5, 10),
        ("down", 10, 15),
    ]


def test_an_area_is_the_sum_of_the_rates_of_the_updates():
    assert curve.area(lrsched.linear(1.0, 0.0, 4), 1, 4) == 0.75 + 0.5 + 0.25


def test_a_course_too_long_to_sum_has_a_trapezoid_for_an_area(monkeypatch):
    schedule = lrsched.cosine(1.0, 20_000)
    exact = curve.area(schedule, 0, 20_000)
    monkeypatch.setattr(curve, "MAX_EXACT_STEPS", 1000)
    assert curve.area(schedule, 0, 20_000) == pytest.approx(exact, rel=1e-5)


def test_samples_have_the_steps_next_to_a_seam():
    at, values = curve.sample(lrsched.wsd(1.0, 100_000, 777, 0.2), 100_000, count=10)
    assert {0, 776, 777, 778, 79_999, 80_000, 80_001, 100_000} <= set(at)
    assert values[at == 777] == 1.0


def test_a_picture_ends_before_the_next_cycle_and_shows_the_last_piece():
    cycles = lrsched.repeat(lrsched.rex(1.0, 10))
    assert curve.sample(cycles, curve.display_steps(cycles))[0][-1] == 39
    pieces = lrsched.multistep(1.0, [30, 60])
    at, values = curve.sample(pieces, curve.display_steps(pieces))
    assert (at[-1], values[-1]) == (80, pytest.approx(0.01))


@pytest.mark.parametrize(
    ("schedule", "is_logarithmic"),
    [
        (lrsched.exponential(0.1, 0.1, every=20), True),
        (lrsched.one_cycle(0.1, 100), False),  # only its last steps are low
        (lrsched.cosine(0.1, 100), False),  # it ends at 0
    ],
    ids=repr,
)
def test_an_axis_is_logarithmic_where_most_would_lie_on_the_floor(schedule, is_logarithmic):
    assert curve.is_logarithmic([curve.sample(schedule, 100)[1]]) is is_logarithmic


def test_a_notebook_shows_a_picture_of_one_path_in_the_colour_of_the_text():
    shown = lrsched.warmup(10, lambda x: x**2)._repr_html_()
    path = ElementTree.fromstring(shown).find(".//{*}path")  # well-formed, <lambda> escaped
    assert path.get("stroke") == "currentColor"
    points = np.array(re.findall(r"[ML]([\d.]+) ([\d.]+)", path.get("d")), float)
    assert np.all(np.diff(points[:, 0]) > 0)
    assert np.all(np.diff(points[:, 1]) <= 0)


def test_what_is_not_finite_is_left_out_of_the_picture():
    @lrsched.schedule(horizon="steps", name="test_curve.broken")
    def broken(step, steps: int):
        return jnp.where((step == 3) | (step == 6), jnp.nan, 1.0 * step)

    shown = broken(10)._repr_html_()
    assert shown.count("M") == 3
    path = re.search(r' d="(.*?)"', shown).group(1)
    assert "nan" not in path
    assert "inf" not in path


def test_schedules_that_are_not_one_curve_fall_back_to_their_text():
    assert lrsched.cosine(jnp.ones(3), 10)._repr_html_() is None

    @jax.jit
    def traced(peak):
        assert lrsched.cosine(peak, 10)._repr_html_() is None
        return peak

    traced(1.0)
