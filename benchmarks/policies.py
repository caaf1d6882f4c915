"""The learning-rate policies: a schedule for a rate and a budget, and what uses it."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import optax

import lrsched

Schedules: TypeAlias = Callable[[float, int], lrsched.Schedule]
"""``(rate, steps) -> schedule``, whose highest value is the rate."""
Optimizer: TypeAlias = Callable[[Any], optax.GradientTransformation]
"""``schedule -> transform``; policies that share one share its compiled programs."""


def adam(schedule: Any) -> optax.GradientTransformationExtraArgs:
    """Adam at the rate of the schedule."""
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))


def adam_and(controller: Callable[[], optax.GradientTransformation]) -> Optimizer:
    """Adam at the rate of the schedule, scaled by a controller."""
    return lambda schedule: optax.chain(adam(schedule), controller())


def on_plateau() -> optax.GradientTransformation:
    """Halves the rate when the mean training loss of 20 updates has not fallen for 3 such means.

    One mini-batch's loss is too noisy to judge by.
    """
    return lrsched.reduce_on_plateau(factor=0.5, patience=3, rtol=0.01, accumulation_size=20)


@dataclass(frozen=True)
class Policy:
    """A schedule for each rate and budget, and the optimizer it drives.

    Attributes:
      family: its kind, for tables and colours.
      schedule: ``(rate, steps) -> schedule``.
      optimizer: ``schedule -> transform``.
      around: the middle of the rates that it is tuned over; 1 for a method that finds the rate
        itself, None for the workload's.
      sees_validation: whether it follows the evaluations of a run, which tuning then makes too.
    """

    family: str
    schedule: Schedules
    optimizer: Optimizer = adam
    around: float | None = None
    sees_validation: bool = False


def constant(rate: float, steps: int) -> lrsched.Schedule:
    """The rate all along."""
    return lrsched.constant(rate)


def step_decay(rate: float, steps: int) -> lrsched.Schedule:
    """Three equal stages, each at a tenth of the rate before."""
    return lrsched.step_decay(rate, factor=0.1, every=math.ceil(steps / 3))


def after_warmup(rest: Schedules) -> Schedules:
    """A linear rise over a twentieth of the budget, then the rest."""

    def schedule(rate: float, steps: int) -> lrsched.Schedule:
        rise = math.ceil(steps / 20)
        return lrsched.warmup(rise) * rate >> rest(rate, steps - rise)

    return schedule


def stable_decay(shape: str) -> Schedules:
    """A linear rise, the rate, and a fall to zero of that shape over the last fifth."""
    return lambda rate, steps: lrsched.wsd(rate, steps, warmup=0.05, cooldown=0.2, ramp=shape)


def restarts(rate: float, steps: int) -> lrsched.Schedule:
    """Three half cosines to zero, each after a short rise."""
    return lrsched.cosine_restarts(rate, math.ceil(steps / 3), warmup=steps // 60)


def triangles(rate: float, steps: int) -> lrsched.Schedule:
    """Three triangles from a tenth of the rate."""
    return lrsched.triangular(rate / 10, rate, up_steps=max(1, steps // 6))


def inverse_sqrt(rate: float, steps: int) -> lrsched.Schedule:
    """The rate, and then its fall with the square root of the step."""
    return lrsched.inverse_sqrt(rate, max(1, steps // 20))


cosine = after_warmup(lrsched.cosine)
linear = after_warmup(lambda rate, steps: lrsched.linear(rate, 0.0, steps))


def _finding(
    method: Callable[..., Any], schedule: Schedules = cosine, around: float | None = 1.0
) -> Policy:
    return Policy("finds the rate", schedule, method, around)


POLICIES: dict[str, Policy] = {
    "constant": Policy("constant", constant),
    "step": Policy("decay", step_decay),
    "linear": Policy("decay", linear),
    "cosine": Policy("decay", cosine),
    "inverse-sqrt": Policy("decay", after_warmup(inverse_sqrt)),
    "wsd": Policy("warmup-stable-decay", stable_decay("1-sqrt")),
    **{
        f"wsd-{shape}": Policy("warmup-stable-decay", stable_decay(shape))
        for shape in ("linear", "cosine", "mirror-cosine", "square", "exponential")
    },
    "one-cycle": Policy("cyclic", lrsched.one_cycle),
    "restarts": Policy("cyclic", restarts),
    "clr": Policy("cyclic", triangles),
    "plateau": Policy("follows a metric", constant, adam_and(on_plateau)),
    "greedy": Policy(
        "follows a metric", constant, adam_and(lambda: lrsched.greedy(accumulation_size=5))
    ),
    "overfitting": Policy(
        "follows a metric",
        constant,
        adam_and(lrsched.reduce_on_overfitting),
        sees_validation=True,
    ),
    "hypergradient": _finding(lambda rate: lrsched.hypergradient(optax.scale_by_adam(), rate)),
    "prodigy": _finding(lrsched.prodigy),
    "dadapt": _finding(lrsched.dadapt_adamw),
    "dog": _finding(lrsched.dog, constant),
    "mechanic": _finding(lambda rate: lrsched.mechanize(adam(rate)), around=None),
    "schedule-free": Policy(
        "averages", after_warmup(constant), lrsched.schedule_free_adamw, around=None
    ),
}
SIX = ("constant", "step", "cosine", "wsd", "one-cycle", "plateau")
"""What the quick study compares."""
