"""Learning-rate policies: a schedule for a given peak rate and budget, and its optimizer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import jax
import numpy as np
import optax
from optax.contrib import MuonDimensionNumbers

import lrsched

Schedules: TypeAlias = Callable[[float, int], lrsched.Schedule]
"""``(rate, steps) -> schedule``. The highest value of the schedule is the rate."""
Optimizer: TypeAlias = Callable[[Any], optax.GradientTransformation]
"""``schedule -> transform``. Policies with the same optimizer share its compiled programs."""


def adam(schedule: Any) -> optax.GradientTransformationExtraArgs:
    """Return Adam with the rate of the schedule."""
    return optax.chain(optax.scale_by_adam(), lrsched.scale_by_learning_rate(schedule))


def adam_and(controller: Callable[[], optax.GradientTransformation]) -> Optimizer:
    """Return a factory of Adam with the rate of the schedule, scaled by a controller."""
    return lambda schedule: optax.chain(adam(schedule), controller())


def adamw(**options: Any) -> Optimizer:
    """Return a factory of AdamW that decays the matrices by 0.1 times the rate.

    0.1 is the weight decay of most published language models, see `lrsched.recipes`.
    """

    def optimizer(schedule: Any) -> optax.GradientTransformationExtraArgs:
        return lrsched.with_weight_decay(
            optax.scale_by_adam(), schedule, 0.1, mask=_matrix_mask, **options
        )

    return optimizer


def muon(schedule: Any) -> optax.GradientTransformationExtraArgs:
    """Return Muon for hidden matrices with AdamW for the rest, both with the rate of AdamW."""
    return lrsched.muon(schedule, scale="rms", matrices=hidden_matrices)


def hyperball(schedule: Any) -> optax.GradientTransformationExtraArgs:
    """Return Adam whose hidden matrices keep their norm and have ten times the rate of the rest."""
    matrix_rate = lrsched.multiply(10.0, schedule)
    return lrsched.hyperball(optax.scale_by_adam(), matrix_rate, schedule, matrices=hidden_matrices)


def hidden_matrices(path: str, array: jax.Array) -> bool | MuonDimensionNumbers:
    """Choose kernels with at least 32 rows and columns, attention included.

    Embeddings, biases, convolutions and heads are left out: the authors of Muon leave embeddings
    and heads to AdamW. Heads are called so, or have fewer than 32 classes.
    """
    if "kernel" not in path or "embed" in path or "head" in path:
        return False
    if np.ndim(array) == 3:  # a kernel of Flax's attention: model, heads, width of a head
        return MuonDimensionNumbers((0, 1), 2) if "out" in path else MuonDimensionNumbers(0, (1, 2))
    return np.ndim(array) == 2 and min(np.shape(array)) >= 32


def _matrix_mask(params: optax.Params) -> optax.Params:
    return jax.tree.map(lambda leaf: np.ndim(leaf) > 1, params)


def on_plateau() -> optax.GradientTransformation:
    """Return a controller that halves the rate when the mean training loss stops falling.

    The means are over 20 updates, as the loss of one mini-batch is too noisy. The rate is halved
    after three means without an improvement.
    """
    return lrsched.reduce_on_plateau(factor=0.5, patience=3, rtol=0.01, accumulation_size=20)


@dataclass(frozen=True)
class Policy:
    """Schedule for each rate and budget, and the optimizer that applies it.

    Attributes:
      family: Family of the policy, for tables and colours.
      schedule: Factory ``(rate, steps) -> schedule``.
      optimizer: Factory ``schedule -> transform``.
      around: Geometric centre of the rates of the tuning. 1 for an adaptive method; None for the
        centre of the workload.
      sees_validation: Whether the policy follows the validation metrics of a run. If so, the runs
        of the tuning are evaluated as often as the scored runs.
      needs_matrices: Whether the optimizer needs hidden matrices. If so, workloads without any are
        skipped.
    """

    family: str
    schedule: Schedules
    optimizer: Optimizer = adam
    around: float | None = None
    sees_validation: bool = False
    needs_matrices: bool = False


def constant(rate: float, steps: int) -> lrsched.Schedule:
    """Return a schedule with the same rate at all steps."""
    return lrsched.constant(rate)


def step_decay(rate: float, steps: int) -> lrsched.Schedule:
    """Return a rate that is divided by 10 at 50 % and at 75 % of the budget, as for ResNets."""
    return lrsched.multistep(rate, [math.ceil(steps / 2), math.ceil(3 * steps / 4)], 0.1)


def after_warmup(decay: Schedules) -> Schedules:
    """Return `decay` after a linear warmup over 5 % of the budget."""

    def schedule(rate: float, steps: int) -> lrsched.Schedule:
        warmup_steps = math.ceil(steps / 20)
        return lrsched.warmup(warmup_steps) * rate >> decay(rate, steps - warmup_steps)

    return schedule


def stable_decay(ramp: str) -> Schedules:
    """Return warmup-stable-decay with a warmup of 5 % and a cooldown to zero of 20 %."""
    return lambda rate, steps: lrsched.wsd(rate, steps, warmup=0.05, cooldown=0.2, ramp=ramp)


def restarts(rate: float, steps: int) -> lrsched.Schedule:
    """Return three half cosines to zero, each twice as long as the previous one, as in SGDR."""
    return lrsched.cosine_restarts(rate, math.ceil(steps / 7), growth=2)


def triangles(rate: float, steps: int) -> lrsched.Schedule:
    """Return three triangular cycles between a tenth of the rate and the rate."""
    return lrsched.triangular(rate / 10, rate, up_steps=max(1, steps // 6))


def inverse_sqrt(rate: float, steps: int) -> lrsched.Schedule:
    """Return a constant rate for 5 % of the budget, then a decay with ``1 / sqrt(step)``."""
    return lrsched.inverse_sqrt(rate, max(1, steps // 20))


cosine = after_warmup(lrsched.cosine)
linear = after_warmup(lambda rate, steps: lrsched.linear(rate, 0.0, steps))


def _adaptive(
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
        f"wsd-{ramp}": Policy("warmup-stable-decay", stable_decay(ramp))
        for ramp in ("linear", "cosine", "mirror-cosine", "square", "exponential")
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
    "hypergradient": _adaptive(lambda rate: lrsched.hypergradient(optax.scale_by_adam(), rate)),
    "prodigy": _adaptive(lrsched.prodigy),
    "dadapt": _adaptive(lrsched.dadapt_adamw),
    "dog": _adaptive(lrsched.dog, constant),
    "mechanic": _adaptive(lambda rate: lrsched.mechanize(adam(rate)), around=None),
    "schedule-free": Policy(
        "averages", after_warmup(constant), lrsched.schedule_free_adamw, around=None
    ),
    "adamw": Policy("weight decay", cosine, adamw()),
    "adamc": Policy("weight decay", cosine, adamw(coupling="corrected")),
    "cautious": Policy("weight decay", cosine, adamw(cautious=True)),
    "muon": Policy("rates of matrices", cosine, muon, needs_matrices=True),
    "hyperball": Policy("rates of matrices", cosine, hyperball, needs_matrices=True),
}
SIX = ("constant", "step", "cosine", "wsd", "one-cycle", "plateau")
"""Policies of the quick study."""
