"""Weight decay in its three meanings, which differ in what the learning rate multiplies."""

from collections.abc import Callable
from typing import Annotated, Any, TypeAlias

import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from lrsched._schedule import Schedule
from lrsched.algebra import as_schedule
from lrsched.arguments import (
    ArgumentType,
    PositiveFloat,
    in_range,
    is_traced,
    one_of,
    validate_arguments,
)
from lrsched.transforms.inject import inject_schedules
from lrsched.transforms.learning_rate import scale_by_learning_rate


def _decay(given: Any) -> Any:
    return given if isinstance(given, Schedule) else in_range(ge=0)(given)


WeightDecay: TypeAlias = Annotated[
    ArrayLike | Schedule,
    ArgumentType("WeightDecay", "a number of 0 or more, or a Schedule", _decay),
]
"""What the parameters are multiplied by before they are taken away."""
Coupling: TypeAlias = Annotated[str, one_of("Coupling", ("coupled", "decoupled", "relative"))]
"""What the learning rate multiplies."""


@validate_arguments
def with_weight_decay(
    direction: optax.GradientTransformation,
    learning_rate: ArrayLike | Schedule | optax.Schedule,
    weight_decay: WeightDecay,
    kind: Coupling = "decoupled",
    *,
    peak: PositiveFloat | None = None,
    mask: Any | Callable[[optax.Params], Any] | None = None,
) -> optax.GradientTransformationExtraArgs:
    """An optimizer of a direction, a learning rate and a weight decay ``w`` of a named kind.

    ``"coupled"``
        ``direction(g + w p)``, times the rate: L2 regularisation, as in PyTorch's Adam and SGD;
    ``"decoupled"``
        ``p <- p - rate (direction(g) + w p)``, as in ``optax.adamw`` and PyTorch's AdamW: another
        peak of the rate is another weight decay;
    ``"relative"``
        ``p <- p - rate direction(g) - (rate / peak) w p``, as in the paper on AdamW and in
        big_vision: the schedule's shape counts, its peak does not. A good ``w`` is smaller by the
        peak, 1e-4 for a decoupled 0.1 at 1e-3.

    The rate is that of `scale_by_learning_rate`, so that it is read and changed in the state; what
    changes it by hand changes the decay of the last two kinds with it.

    Args:
      direction: what turns gradients into a direction, such as ``optax.scale_by_adam()``.
      learning_rate: a number, a `Schedule`, or any callable of the step.
      weight_decay: a number of 0 or more, or a `Schedule`.
      kind: one of the three.
      peak: of "relative": the rate at which the decay is ``w``; by default the schedule's largest
        value until its horizon.
      mask: which parameters decay, as in ``optax.add_decayed_weights``.

    Raises:
      ValueError: another kind, a negative decay, a peak that is not above 0, one that is given to
        another kind, or none for a schedule without a horizon.

    Source: Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2.

    >>> import jax.numpy as jnp, lrsched, optax
    >>> optimizer = lrsched.with_weight_decay(
    ...     optax.identity(), lrsched.linear(0.5, 0.0, steps=2), 0.125, "relative")
    >>> params, state = jnp.array(1.0), optimizer.init(jnp.array(1.0))
    >>> for _ in range(3):
    ...     updates, state = optimizer.update(jnp.array(0.0), state, params)
    ...     print(float(updates))
    -0.125
    -0.0625
    -0.0
    """
    schedule = as_schedule(learning_rate)
    if peak is not None and kind != "relative":
        raise ValueError(f"with_weight_decay: peak={peak!r} has no meaning for kind={kind!r}.")
    if kind == "relative":
        weight_decay = weight_decay * (1 / (_peak(schedule) if peak is None else peak))
    decay = inject_schedules(optax.add_decayed_weights)(weight_decay=weight_decay, mask=mask)
    turned = (decay, direction) if kind == "coupled" else (direction, decay)
    chained = optax.chain(*turned, scale_by_learning_rate(schedule))
    return optax.with_extra_args_support(chained)


def _peak(schedule: Schedule) -> Any:
    if schedule.horizon is None or is_traced(schedule.horizon):
        raise ValueError(
            f"with_weight_decay: {schedule} has no horizon that is known; peak must be given for "
            "kind='relative'."
        )
    found = jnp.max(schedule(jnp.arange(schedule.horizon + 1)))
    if not is_traced(found) and not found > 0:
        raise ValueError(
            f"with_weight_decay: the largest rate of {schedule} is {found}; peak must be given for "
            "kind='relative', above 0."
        )
    return found
