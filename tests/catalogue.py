"""Every schedule of the library with its closed form in float64, for the tests that hold for all.

The references are written from the papers' formulas, on exact integers, and share no code with the
library. Their numbers are rounded to float32 first, as a schedule's numbers are.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.interpolate

import lrsched


class Case(NamedTuple):
    schedule: lrsched.Schedule
    reference: Callable[[np.ndarray], np.ndarray]
    steps: int  # where it gets interesting: the horizon, or a few periods
    floor: float = 1e-37  # below it an error counts absolutely: zeros that no step falls on


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


def inverse_sqrt(peak, timescale, shift=0):
    return lambda t: f32(peak) * np.sqrt(timescale / (timescale + t + shift))


def noam(scale, width, rise):
    return lambda t: (
        f32(scale) / np.sqrt(width) * np.minimum((t + 1.0) ** -0.5, (t + 1) * float(rise) ** -1.5)
    )


def inverse_time(init, rate, every, staircase=False):
    return lambda t: f32(init) / (1 + f32(rate) * (t // every if staircase else t / every))


def power_law(peak, exponent, timescale):
    return lambda t: f32(peak) * (1 + t / timescale) ** -f32(exponent)


def power_scheduler(peak, batch, tokens, a, b):
    return lambda t: np.minimum(
        f32(peak), batch * f32(a) * np.maximum(t * float(tokens), 1e-30) ** -f32(b)
    )


def k_decay(peak, steps, k, end=0.0):
    def reference(t):
        # (1 + cos(pi y)) / 2 with 1 - y from what is left, for y next to 1.
        left = np.clip(steps - t, 0, steps - 1e-3) / steps
        rest = np.where(t <= 0, 1.0, -np.expm1(f32(k) * np.log1p(-left)))
        return f32(end) + (f32(peak) - f32(end)) * sin2(rest, 1)

    return reference


def tanh(peak, steps, lower=-6.0, upper=3.0, end=0.0):
    def reference(t):
        z = lower + (upper - lower) * np.minimum(t, steps) / steps
        return f32(end) + (f32(peak) - f32(end)) / (1 + np.exp(2 * z))

    return reference


def rex(peak, steps, end=0.0, beta=0.5):
    def reference(t):
        left = (steps - np.minimum(t, steps)) / steps
        return f32(end) + (f32(peak) - f32(end)) * left / (1 - f32(beta) + f32(beta) * left)

    return reference


def hyperbola(t, steps, bound):
    t = np.minimum(t, steps)
    left, beyond = (steps - t) / bound, (bound - steps) / bound
    start = np.sqrt(1 - beyond**2)
    return np.sqrt(left * (2 * beyond + left)) + beyond**2 / (1 + start)


def hyperbolic(peak, steps, bound, end=0.0):
    return lambda t: f32(end) + (f32(peak) - f32(end)) * hyperbola(t, steps, bound)


def exp_hyperbolic(peak, steps, bound, end):
    return lambda t: f32(end) * (f32(peak) / f32(end)) ** hyperbola(t, steps, bound)


def chebyshev(peak, steps, ratio):
    order = [0]
    while len(order) < steps:
        order = [i for p in order for i in (p, 2 * len(order) - 1 - p)]
    angle = (2 * np.array(order) + 1) * np.pi / (2 * steps)
    rates = f32(peak) / ((1 + f32(ratio)) / 2 - (1 - f32(ratio)) / 2 * np.cos(angle))
    return lambda t: rates[np.minimum(t, steps - 1)]


def cosine_waves(peak, steps, waves, end):
    phase = lambda t: np.pi * f32(waves) * np.minimum(t, steps) / steps  # noqa: E731
    return lambda t: f32(end) + (f32(peak) - f32(end)) * np.cos(phase(t)) ** 2


def log_warmup(steps):
    return lambda t: np.where(t >= steps - 1, 1.0, np.log1p(t) / np.log(steps))


def exponential_warmup(timescale):
    return lambda t: -np.expm1(-(t + 1) / f32(timescale))


def untuned_warmup(b2):
    return lambda t: np.minimum(1.0, (t + 1) * (1 - f32(b2)) / 2)


def radam_warmup(b2):
    b2 = f32(b2)
    limit = 2 / (1 - b2) - 1

    def length(s):
        return limit - 2 * s * np.exp(s * np.log(b2)) / -np.expm1(s * np.log(b2))

    first = next(s for s in range(1, 99) if length(s) > 4)

    def reference(t):
        r = length(t + float(first))
        return np.sqrt((r - 4) * (r - 2) * limit / ((limit - 4) * (limit - 2) * r))

    return reference


def cooled(before, start, steps, end, ramp):
    def reference(t):
        peak = before(np.array([start]))[0]
        left = np.clip(start + steps - t, 0, steps) / steps
        return np.where(t < start, before(t), f32(end) + (peak - f32(end)) * ramp(left))

    return reference


def points(steps, values, kind):
    values = [f32(value) for value in values]
    if kind == "monotone":
        curve = scipy.interpolate.PchipInterpolator(steps, values)
        return lambda t: curve(np.clip(t, steps[0], steps[-1]))
    if kind == "linear":
        return lambda t: np.interp(t, steps, values)

    def reference(t):
        t = np.clip(t, steps[0], steps[-1])
        piece = np.clip(np.searchsorted(steps, t, side="right") - 1, 0, len(steps) - 2)
        start, stop = np.array(steps)[piece], np.array(steps)[piece + 1]
        first, second = np.array(values)[piece], np.array(values)[piece + 1]
        return first + (second - first) * sin2(t - start, stop - start)

    return reference


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


def triangular(base, peak, up, down, cycle_factor=1.0, step_factor=1.0):
    base, peak = f32(base), f32(peak)

    def reference(t):
        c, n = t % (up + down), t // (up + down)
        height = np.where(c < up, c / up, (up + down - c) / down)
        return base + (peak - base) * height * f32(cycle_factor) ** n * f32(step_factor) ** t

    return reference


def one_cycle(peak, steps, rise, div, final_div, three_phase=False):
    peak, init = f32(peak), f32(peak) / f32(div)
    end = init / f32(final_div)

    def reference(t):
        t = np.minimum(t, steps)
        up = init + (peak - init) * sin2(t, rise)
        if three_phase:
            back = init + (peak - init) * sin2(2 * rise - t, rise)
            tail = end + (init - end) * sin2(steps - t, steps - 2 * rise)
            return np.where(t < rise, up, np.where(t < 2 * rise, back, tail))
        down = end + (peak - end) * sin2(steps - t, steps - rise)
        return np.where(t < rise, up, down)

    return reference


def one_cycle_momentum(low, high, steps, rise):
    low, high = f32(low), f32(high)

    def reference(t):
        t = np.minimum(t, steps)
        part = np.where(t < rise, sin2(t, rise), sin2(steps - t, steps - rise))
        return high + (low - high) * part

    return reference


def cosine_restarts(peak, steps, end=0.0, growth=1, decay=1.0, rise=0):
    """By walking through the cycles, one after the other."""

    def at(t):
        start, length, cycle = 0, steps, 0
        if growth == 1:
            cycle, start = t // steps, t // steps * steps
        else:
            while start + length <= t:
                start, length, cycle = start + length, length * growth, cycle + 1
        top, local = f32(peak) * f32(decay) ** cycle, t - start
        if local < rise:
            return f32(end) + (top - f32(end)) * local / rise
        return f32(end) + (top - f32(end)) * sin2(length - local, length - rise)

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
        Case(lrsched.inverse_sqrt(0.1, tenth, shift=third), inverse_sqrt(0.1, tenth, third), steps),
        Case(lrsched.noam(2.0, width=512, warmup=third), noam(2.0, 512, third), steps),
        Case(lrsched.inverse_time(0.1, 0.3, every=tenth), inverse_time(0.1, 0.3, tenth), steps),
        Case(
            lrsched.inverse_time(0.1, 0.3, every=tenth, staircase=True),
            inverse_time(0.1, 0.3, tenth, staircase=True),
            steps,
        ),
        Case(lrsched.power_law(0.1, 0.7, timescale=tenth), power_law(0.1, 0.7, tenth), steps),
        Case(
            lrsched.power_scheduler(0.02, batch_size=128, tokens_per_step=2**19),
            power_scheduler(0.02, 128, 2**19, 4.6, 0.51),
            steps,
        ),
        Case(lrsched.k_decay(0.1, steps, k=2.0), k_decay(0.1, steps, 2.0), steps),
        Case(lrsched.k_decay(0.1, steps, k=0.5, end=0.01), k_decay(0.1, steps, 0.5, 0.01), steps),
        Case(lrsched.tanh(0.1, steps), tanh(0.1, steps), steps),
        Case(lrsched.rex(0.1, steps), rex(0.1, steps), steps),
        Case(lrsched.rex(0.1, steps, end=0.01, beta=0.9), rex(0.1, steps, 0.01, 0.9), steps),
        Case(lrsched.hyperbolic(0.1, steps, max_steps=steps), hyperbolic(0.1, steps, steps), steps),
        Case(
            lrsched.hyperbolic(0.1, third, max_steps=steps, end=1e-3),
            hyperbolic(0.1, third, steps, 1e-3),
            third,
        ),
        Case(
            lrsched.exp_hyperbolic(0.1, third, max_steps=steps, end=1e-3),
            exp_hyperbolic(0.1, third, steps, 1e-3),
            third,
        ),
        Case(lrsched.chebyshev(0.1, steps=128), chebyshev(0.1, 128, 0.05), 127),
        Case(
            lrsched.cosine_waves(0.1, steps, waves=2.5, end=0.01),
            cosine_waves(0.1, steps, 2.5, 0.01),
            steps,
            floor=0.1,
        ),
        Case(lrsched.log_warmup(steps), log_warmup(steps), steps),
        Case(lrsched.exponential_warmup(float(tenth)), exponential_warmup(float(tenth)), steps),
        Case(lrsched.untuned_warmup(0.999), untuned_warmup(0.999), 2000),
        Case(lrsched.radam_warmup(0.99), radam_warmup(0.99), 1000),
        Case(lrsched.radam_warmup(0.9999), radam_warmup(0.9999), 50_000),
        Case(
            lrsched.cooldown(lrsched.inverse_sqrt(0.1, tenth), third, tenth, end=1e-3),
            cooled(inverse_sqrt(0.1, tenth), third, tenth, 1e-3, one_minus_sqrt),
            third + tenth,
        ),
        *(
            Case(
                lrsched.points([1, tenth, third, steps], [0.1, 0.9, 0.2, 0.05], shape),
                points([1, tenth, third, steps], [0.1, 0.9, 0.2, 0.05], shape),
                steps,
            )
            for shape in ("linear", "cosine", "monotone")
        ),
        Case(
            lrsched.warmup(steps, "mirror-cosine"),
            warmup(steps, lambda x: 2 * x - sin2(x, 1)),
            steps,
        ),
        Case(
            lrsched.warmup(steps, "exponential"),
            warmup(steps, lambda x: np.expm1(x * np.log(2))),
            steps,
        ),
        Case(
            lrsched.triangular(0.01, 0.1, up_steps=tenth, cycle_factor=0.5),
            triangular(0.01, 0.1, tenth, tenth, 0.5),
            steps,
        ),
        Case(
            lrsched.triangular(0.01, 0.1, up_steps=tenth, step_factor=1 - 2**-20),
            triangular(0.01, 0.1, tenth, tenth, 1.0, 1 - 2**-20),
            steps,
        ),
        Case(
            lrsched.one_cycle(0.1, steps, warmup=third, three_phase=True),
            one_cycle(0.1, steps, third, 25, 1e4, three_phase=True),
            steps,
        ),
        Case(
            lrsched.one_cycle_momentum(0.85, 0.95, steps, warmup=third),
            one_cycle_momentum(0.85, 0.95, steps, third),
            steps,
        ),
        Case(
            lrsched.cosine_restarts(0.1, third, growth=2, warmup=tenth, end=1e-3),
            cosine_restarts(0.1, third, 1e-3, 2, rise=tenth),
            steps,
        ),
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
            lrsched.wsd(0.01, steps, warmup=0, cooldown=0.5, end=1e-4, ramp="linear"),
            wsd(0.01, steps, 0, np.rint(steps / 2), lambda x: x, 1e-4),
            steps,
        ),
        Case(
            lrsched.triangular(0.0, 0.1, up_steps=tenth, down_steps=third),
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
