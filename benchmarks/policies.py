"""The learning-rate policies: a schedule for a peak and a budget, and the optimizer that uses it.

Every schedule is handed to the compiled program as a table of its values, so all policies with
the same optimizer share one compilation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import optax

import lrsched

Optimizer: TypeAlias = Callable[[lrsched.Schedule, int], optax.GradientTransformationExtraArgs]
"""Builds the optimizer from the schedule and the budget in steps."""


def adam(schedule: lrsched.Schedule, steps: int) -> optax.GradientTransformationExtraArgs:
    """Adam at the rate of the schedule."""
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))


def adam_on_plateau(
    schedule: lrsched.Schedule, steps: int
) -> optax.GradientTransformationExtraArgs:
    """Adam whose rate is halved when the training loss has stopped falling.

    One mini-batch's loss is too noisy to judge by, so the rule looks at means over a fortieth of
    the budget.
    """
    return optax.chain(
        adam(schedule, steps),
        lrsched.reduce_on_plateau(
            factor=0.5, patience=2, rtol=0.01, accumulation_size=math.ceil(steps / 40)
        ),
    )


def adam_and(controller: Callable[[], optax.GradientTransformation]) -> Optimizer:
    """Adam at the rate of the schedule, scaled by a controller."""
    return lambda schedule, steps: optax.chain(adam(schedule, steps), controller())


def of(method: Callable[[Any], optax.GradientTransformation]) -> Optimizer:
    """A method whose outer rate is the schedule."""
    return lambda schedule, steps: optax.with_extra_args_support(method(schedule))


@dataclass(frozen=True)
class Policy:
    """A schedule for each (peak, steps), and the optimizer it drives.

    Attributes:
      schedule: ``(peak, steps) -> schedule``.
      optimizer: ``(schedule, steps) -> transform``.
      around: the middle of the rates that it is tuned over; a method that finds the rate itself is
        tuned around 1.
    """

    schedule: Callable[[float, int], lrsched.Schedule]
    optimizer: Optimizer = adam
    around: float = 3e-3


def constant(peak: float, steps: int) -> lrsched.Schedule:
    """The peak all along."""
    return lrsched.constant(peak)


def step_decay(peak: float, steps: int) -> lrsched.Schedule:
    """Three equal stages, each at a tenth of the rate before."""
    return lrsched.step_decay(peak, factor=0.1, every=math.ceil(steps / 3))


def after_warmup(
    rest: Callable[[float, int], lrsched.Schedule],
) -> Callable[[float, int], lrsched.Schedule]:
    """A linear rise over a twentieth of the budget, then the rest."""

    def schedule(peak: float, steps: int) -> lrsched.Schedule:
        rise = math.ceil(steps / 20)
        return lrsched.warmup(rise) * peak >> rest(peak, steps - rise)

    return schedule


def stable_decay(shape: str) -> Callable[[float, int], lrsched.Schedule]:
    """A linear rise, the peak, and a fall to zero of that shape over the last fifth."""
    return lambda peak, steps: lrsched.wsd(peak, steps, warmup=0.05, cooldown=0.2, shape=shape)


def triangles(peak: float, steps: int) -> lrsched.Schedule:
    """Three triangles from a tenth of the peak."""
    return lrsched.triangular(peak / 10, peak, up=max(1, steps // 6))


cosine = after_warmup(lrsched.cosine)

POLICIES: dict[str, Policy] = {
    "constant": Policy(constant),
    "step-decay": Policy(step_decay),
    "linear": Policy(after_warmup(lambda peak, steps: lrsched.linear(peak, 0.0, steps))),
    "cosine": Policy(cosine),
    "wsd": Policy(stable_decay("1-sqrt")),
    "wsd-linear": Policy(stable_decay("linear")),
    "wsd-cosine": Policy(stable_decay("cosine")),
    "one-cycle": Policy(lrsched.one_cycle),
    "restarts": Policy(
        lambda peak, steps: lrsched.cosine_restarts(peak, math.ceil(steps / 3), warmup=steps // 60)
    ),
    "clr": Policy(triangles),
    "inverse-sqrt": Policy(
        after_warmup(lambda peak, steps: lrsched.inverse_sqrt(peak, max(1, steps // 20)))
    ),
    "plateau": Policy(constant, adam_on_plateau),
    "greedy": Policy(constant, adam_and(lambda: lrsched.greedy(decay=0.95))),
    "hypergradient": Policy(
        cosine, of(lambda rate: lrsched.hypergradient(optax.scale_by_adam(), rate)), around=1.0
    ),
    "prodigy": Policy(cosine, of(lrsched.prodigy), around=1.0),
    "dadapt": Policy(cosine, of(lrsched.dadapt_adamw), around=1.0),
    "dog": Policy(constant, of(lrsched.dog), around=1.0),
    "mechanic": Policy(cosine, lambda rate, steps: lrsched.mechanize(adam(rate, steps))),
    "schedule-free": Policy(
        after_warmup(lambda peak, steps: lrsched.constant(peak)), of(lrsched.schedule_free_adamw)
    ),
    "optax-cosine": Policy(cosine, of(optax.adam)),
    # Without the warmup: these two are NaN for ever after a rate of zero.
    "optax-prodigy": Policy(lrsched.cosine, of(optax.contrib.prodigy), around=1.0),
    "optax-dadapt": Policy(lrsched.cosine, of(optax.contrib.dadapt_adamw), around=1.0),
    "optax-dog": Policy(constant, of(optax.contrib.dog), around=1.0),
    "optax-mechanic": Policy(cosine, of(lambda rate: optax.contrib.mechanize(optax.adam(rate)))),
}
SIX = {
    name: POLICIES[name]
    for name in ("constant", "step-decay", "cosine", "wsd", "one-cycle", "plateau")
}
"""What the main program compares."""
