"""Every schedule of the library with its closed form in float64, for the tests that hold for all.

The references are written from the papers' formulas, on exact integers, and share no code with the
library. Their numbers are rounded to float32 first, as a schedule's numbers are.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import lrsched


class Case(NamedTuple):
    schedule: lrsched.Schedule
    reference: Callable[[np.ndarray], np.ndarray]
    steps: int  # where it gets interesting: the horizon, or a few periods


def f32(number: float) -> float:
    return float(np.float32(number))


def sin2(part, whole):
    """(1 - cos(pi part / whole)) / 2, which float64 itself loses near 0 in that form."""
    return np.sin(0.5 * np.pi * part / whole) ** 2


def linear(init, end, steps):
    return lambda t: (
        (f32(init) * (steps - np.minimum(t, steps)) + f32(end) * np.minimum(t, steps)) / steps
    )


def polynomial(init, end, steps, power):
    init, end = f32(init), f32(end)
    return lambda t: end + (init - end) * ((steps - np.minimum(t, steps)) / steps) ** f32(power)


def exponential(init, factor, every, end=None, staircase=False):
    def reference(t):
        exponent = t // every if staircase else t / every
        value = f32(init) * f32(factor) ** exponent
        return value if end is None else np.maximum(value, f32(end))

    return reference


def multistep(init, milestones, factor):
    return lambda t: f32(init) * f32(factor) ** np.sum(t[:, None] >= np.array(milestones), axis=1)


def cosine(peak, steps, end=0.0, exponent=1.0):
    peak, end = f32(peak), f32(end)
    return lambda t: end + (peak - end) * sin2(steps - np.minimum(t, steps), steps) ** f32(exponent)


def inverse_sqrt(peak, timescale):
    return lambda t: f32(peak) * np.sqrt(timescale / (timescale + t))


def warmup(steps, ramp, init=0.0):
    init = f32(init)
    return lambda t: init + (1 - init) * ramp(np.minimum(t, steps) / steps)


def wsd(peak, steps, rise, fall, ramp, end=0.0):
    peak, end = f32(peak), f32(end)

    def reference(t):
        left = np.clip(steps - t, 0, fall) / fall
        return np.where(t < rise, peak * t / max(rise, 1), end + (peak - end) * ramp(left))

    return reference


def one_minus_sqrt(x):
    return x / (1 + np.sqrt(1 - x))


def triangular(base, peak, up, down):
    base, peak = f32(base), f32(peak)

    def reference(t):
        c = t % (up + down)
        height = np.where(c < up, c / up, (up + down - c) / down)
        return base + (peak - base) * height

    return reference


def one_cycle(peak, steps, rise, div, final_div):
    peak, init = f32(peak), f32(peak) / f32(div)
    end = init / f32(final_div)

    def reference(t):
        t = np.minimum(t, steps)
        up = init + (peak - init) * sin2(t, rise)
        down = end + (peak - end) * sin2(steps - t, steps - rise)
        return np.where(t < rise, up, down)

    return reference


def cosine_restarts(peak, steps, end=0.0, growth=1, decay=1.0):
    """By walking through the cycles, one after the other."""

    def at(t):
        start, length, cycle = 0, steps, 0
        if growth == 1:
            cycle, start = t // steps, t // steps * steps
        else:
            while start + length <= t:
                start, length, cycle = start + length, length * growth, cycle + 1
        top = f32(peak) * f32(decay) ** cycle
        return f32(end) + (top - f32(end)) * sin2(start + length - t, length)

    return lambda t: np.array([at(int(step)) for step in t])


def piecewise_constant(values, boundaries):
    values = np.array([f32(value) for value in values])
    return lambda t: values[np.sum(t[:, None] >= np.array(boundaries), axis=1)]


def joined(first, length, second):
    return lambda t: np.where(t < length, first(t), second(np.maximum(t - length, 0)))


def cases(steps: int) -> list[Case]:
    """Every schedule with a course of about ``steps`` steps (at least 20)."""
    tenth, third = steps // 10, steps // 3
    return [
        Case(lrsched.constant(3e-4), lambda t: np.full(t.shape, f32(3e-4)), steps),
        Case(
            lrsched.piecewise_constant([0.1, 0.3, 0.02], [tenth, third]),
            piecewise_constant([0.1, 0.3, 0.02], [tenth, third]),
            third,
        ),
        Case(lrsched.table([0.1, 0.3, 0.2]), piecewise_constant([0.1, 0.3, 0.2], [1, 2]), 2),
        Case(lrsched.linear(3e-4, 0.0, steps), linear(3e-4, 0.0, steps), steps),
        Case(lrsched.linear(0.0, 0.7, steps), linear(0.0, 0.7, steps), steps),
        Case(
            lrsched.polynomial(0.3, 1e-5, steps, power=2.0),
            polynomial(0.3, 1e-5, steps, 2.0),
            steps,
        ),
        Case(lrsched.exponential(0.1, 0.3, every=third), exponential(0.1, 0.3, third), steps),
        Case(
            lrsched.exponential(0.1, 0.9, every=tenth, end=1e-3, staircase=True),
            exponential(0.1, 0.9, tenth, 1e-3, staircase=True),
            steps,
        ),
        Case(
            lrsched.step_decay(0.1, 0.1, every=third),
            exponential(0.1, 0.1, third, staircase=True),
            steps,
        ),
        Case(
            lrsched.multistep(0.2, [tenth, third], factor=0.2),
            multistep(0.2, [tenth, third], 0.2),
            third,
        ),
        Case(lrsched.cosine(3e-4, steps), cosine(3e-4, steps), steps),
        Case(
            lrsched.cosine(0.1, steps, end=1e-3, exponent=1.5),
            cosine(0.1, steps, 1e-3, 1.5),
            steps,
        ),
        Case(lrsched.inverse_sqrt(0.1, tenth), inverse_sqrt(0.1, tenth), steps),
        Case(lrsched.warmup(steps), warmup(steps, lambda x: x), steps),
        Case(
            lrsched.warmup(steps, "cosine", init=0.1),
            warmup(steps, lambda x: sin2(x, 1), 0.1),
            steps,
        ),
        Case(lrsched.warmup(steps, "1-sqrt"), warmup(steps, one_minus_sqrt), steps),
        Case(lrsched.warmup(steps, "square"), warmup(steps, lambda x: x * (2 - x)), steps),
        Case(
            lrsched.wsd(0.01, steps, warmup=tenth, cooldown=third),
            wsd(0.01, steps, tenth, third, one_minus_sqrt),
            steps,
        ),
        Case(
            lrsched.wsd(0.01, steps, warmup=0, cooldown=0.5, end=1e-4, shape="linear"),
            wsd(0.01, steps, 0, np.rint(steps / 2), lambda x: x, 1e-4),
            steps,
        ),
        Case(
            lrsched.triangular(0.0, 0.1, up=tenth, down=third),
            triangular(0.0, 0.1, tenth, third),
            steps,
        ),
        Case(
            lrsched.one_cycle(0.1, steps, warmup=tenth),
            one_cycle(0.1, steps, tenth, 25, 1e4),
            steps,
        ),
        Case(lrsched.cosine_restarts(0.1, tenth), cosine_restarts(0.1, tenth), steps),
        Case(
            lrsched.cosine_restarts(0.1, tenth, end=1e-3, growth=3, decay=0.5),
            cosine_restarts(0.1, tenth, 1e-3, 3, 0.5),
            steps,
        ),
        Case(
            lrsched.warmup(tenth) * 0.1 >> lrsched.cosine(0.1, steps - tenth),
            joined(linear(0.0, 0.1, tenth), tenth, cosine(0.1, steps - tenth)),
            steps,
        ),
    ]


def name(case: Case) -> str:
    return repr(case.schedule)
