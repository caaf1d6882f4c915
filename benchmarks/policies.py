"""The learning-rate policies: a schedule for a peak and a budget, and the optimizer that uses it.

Every schedule is handed to the compiled program as a table of its values, so all policies with
the same optimizer share one compilation.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

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


@dataclass(frozen=True)
class Policy:
    """A schedule for each (peak, steps), and the optimizer it drives."""

    schedule: Callable[[float, int], lrsched.Schedule]
    optimizer: Optimizer = adam


def constant(peak: float, steps: int) -> lrsched.Schedule:
    """The peak all along."""
    return lrsched.constant(peak)


def step_decay(peak: float, steps: int) -> lrsched.Schedule:
    """Three equal stages, each at a tenth of the rate before."""
    return lrsched.step_decay(peak, factor=0.1, every=math.ceil(steps / 3))


def cosine_with_warmup(peak: float, steps: int) -> lrsched.Schedule:
    """A linear rise over a twentieth of the budget, then half a cosine to zero."""
    warmup = math.ceil(steps / 20)
    return lrsched.warmup(warmup) * peak >> lrsched.cosine(peak, steps - warmup)


def warmup_stable_decay(peak: float, steps: int) -> lrsched.Schedule:
    """A linear rise, the peak, and a fall to zero over the last fifth."""
    return lrsched.wsd(peak, steps, warmup=0.05, cooldown=0.2)


def one_cycle(peak: float, steps: int) -> lrsched.Schedule:
    """One slow rise to the peak and a slower fall far below the start."""
    return lrsched.one_cycle(peak, steps)


POLICIES: dict[str, Policy] = {
    "constant": Policy(constant),
    "step-decay": Policy(step_decay),
    "cosine": Policy(cosine_with_warmup),
    "wsd": Policy(warmup_stable_decay),
    "one-cycle": Policy(one_cycle),
    "plateau": Policy(constant, adam_on_plateau),
}
