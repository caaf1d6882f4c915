"""Weight decay with named couplings to the learning rate, masks, groups and schedules."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from lrsched._phases import phase_starts
from lrsched._schedule import Schedule
from lrsched.algebra import as_schedule, constant
from lrsched.arguments import (
    ArgumentType,
    Direction,
    PositiveFloat,
    in_range,
    is_traced,
    one_of,
    short_repr,
    validate_arguments,
)
from lrsched.transforms.composition import leaves_with_path, map_with_path
from lrsched.transforms.inject import inject_schedules
from lrsched.transforms.learning_rate import scale_by_learning_rate

if TYPE_CHECKING:
    import chex

Mask: TypeAlias = optax.Params | Callable[[optax.Params], optax.Params] | None
"""Tree of booleans, a prefix of it, or a function of the parameters that returns one."""


_SMALLEST: Final = 1e-7
"""Below it, a negative value of a schedule is a rounding error of 0."""


def scalar_or_schedule(parse: Callable[[object], ArrayLike]) -> Callable[[object], object]:
    """Return a parser of one number, or of a schedule whose values ``parse`` accepts.

    A schedule is read at its phase boundaries and at 65 even steps until its horizon. One that has
    no known horizon, and a callable that is no `Schedule`, are accepted as they are.
    """

    def parse_either(value: object) -> object:
        if not callable(value):
            if np.ndim(number := parse(value)):
                raise ValueError("it has several values; use jax.vmap to train with several")
            return number
        if isinstance(value, Schedule) and not is_traced(value) and value.horizon is not None:
            end = int(value.horizon)
            starts = [min(start, end) for _, start in phase_starts(value, end)]
            steps = np.unique([*np.linspace(0, end, 65).astype(np.int64), *starts])
            with jax.ensure_compile_time_eval():  # a constructor may be called within a trace
                values = value(steps.astype(np.int32))
            if not is_traced(values):
                parse(np.where(np.abs(values) < _SMALLEST, 0, values))
        return value

    return parse_either


def _parse_coefficient(value: object) -> object:
    if callable(value) and not isinstance(value, Schedule):
        raise TypeError
    return scalar_or_schedule(in_range(ge=0))(value)


def _parse_decay(value: object) -> object:
    if not isinstance(value, list | tuple):
        return _parse_coefficient(value)
    if not value:
        raise ValueError("an empty list decays nothing; pass 0.0 for no decay")
    patterns = []
    for pair in value:
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ValueError(f"{short_repr(pair)} is no pair")
        try:
            re.compile(pair[0])
        except re.error as error:
            raise ValueError(f"{pair[0]!r} is no regular expression: {error}") from None
        if pair[0] in patterns:
            raise ValueError(f"{pair[0]!r} occurs twice")
        patterns.append(pair[0])
    return tuple((pattern, _parse_coefficient(decay)) for pattern, decay in value)


WeightDecay: TypeAlias = Annotated[
    ArrayLike | Schedule | Sequence[tuple[str, ArrayLike | Schedule]],
    ArgumentType(
        "WeightDecay",
        "a number of 0 or more, a Schedule of such numbers, or pairs of a regular expression and "
        "one of these",
        _parse_decay,
    ),
]
"""Weight-decay coefficient, or one for each group of parameters."""
_NUM_SAMPLES: Final = 2**20
_NUM_TRACED: Final = 2**12
COUPLINGS = ("coupled", "decoupled", "relative", "corrected", "squared")
Coupling: TypeAlias = Annotated[str, one_of("Coupling", COUPLINGS)]
"""How the learning rate enters the weight decay."""


@validate_arguments
def with_weight_decay(
    direction: Direction,
    learning_rate: ArrayLike | Schedule | optax.Schedule,
    weight_decay: WeightDecay | None = None,
    coupling: Coupling = "decoupled",
    *,
    timescale: PositiveFloat | None = None,
    cautious: bool = False,
    peak: PositiveFloat | None = None,
    mask: Mask = None,
) -> optax.GradientTransformationExtraArgs:
    """Combine a direction, a learning rate and a weight decay ``w`` into an optimizer.

    ``p <- p - rate direction(g) - k p``, where the coupling names the factor ``k``:

    ``"coupled"``
        ``direction(g + w p)`` and ``k = 0``: L2 regularisation, as in PyTorch's Adam and SGD.
    ``"decoupled"``
        ``k = rate w``, as in ``optax.adamw`` and PyTorch's AdamW. Another peak of the rate is
        another weight decay.
    ``"relative"``
        ``k = (rate / peak) w``, as in the paper on AdamW and in big_vision: the schedule's shape
        counts, its peak does not. A good ``w`` is smaller by the peak, 1e-4 for a decoupled 0.1
        at 1e-3.
    ``"corrected"``
        ``k = rate (rate / peak) w``, AdamC: the norm of weights before a normalisation then settles
        at a value that does not depend on the schedule. Use ``"decoupled"`` for other weights.
    ``"squared"``
        ``k = rate**2 w``, with ``w`` of 20 to 50.

    The rate is that of `scale_by_learning_rate`, so it can be read and changed in the state. An
    edit of the rate multiplies every ``k`` once; the second factor of the last two is that of the
    schedule as configured.

    Args:
      direction: Transform from gradients to a direction, such as ``optax.scale_by_adam()``.
      learning_rate: A number, a `Schedule`, or any callable of the step.
      weight_decay: Coefficient ``w``: a number of 0 or more, or a `Schedule`. Pairs of a regular
        expression and a coefficient give each parameter that of the first expression that is found
        in its path; the others do not decay. Each expression must give its decay to a parameter.
        `None` requires ``timescale``.
      coupling: One of the five.
      timescale: Averaging time of the parameters at the peak of the rate, in updates:
        ``k = 1 / timescale`` there. Replaces ``weight_decay``. Convert epochs by
        `lrsched.units.from_epochs`.
      cautious: Whether only entries decay whose update does not move them away from 0, that is
        ``direction * p >= 0``.
      peak: Rate at which "relative" and "corrected" decay by ``w``, or the peak for ``timescale``.
        Defaults to the schedule's largest value until its horizon, or the value of a constant.
      mask: Which parameters decay, as in ``optax.add_decayed_weights``. `None` means all of them.

    Returns:
      An optax transform, whose updates have the dtypes of the gradients.

    Raises:
      ValueError: If ``coupling`` is unknown, a decay or a value of its schedule is negative, both
        or neither of ``weight_decay`` and ``timescale`` are given, an option has no meaning for the
        coupling, ``peak`` is missing for a schedule without a horizon, a list of pairs is empty or
        has an expression twice, the mask has leaves that are no booleans, or, when the state is
        made, it has another structure than the parameters, or an expression chooses none of them.

    Example:
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

    References:
      Loshchilov & Hutter 2019 (arXiv 1711.05101), algorithm 2. Corrected: Defazio 2025 (arXiv
      2506.02285), who leaves out gains and biases. Cautious: Chen et al. 2025 (arXiv 2510.12402).
      Timescale: Wang & Aitchison 2024 (arXiv 2405.13698).
    """
    schedule = as_schedule(learning_rate)
    _check_booleans(mask)
    if (weight_decay is None) == (timescale is None):
        raise ValueError(
            f"with_weight_decay: weight_decay={weight_decay!r} with timescale={timescale!r} is not "
            "accepted; pass exactly one of them."
        )
    if coupling == "coupled" and (timescale is not None or cautious):
        option = "cautious" if cautious else "timescale"
        raise ValueError(
            f"with_weight_decay: {option} is not accepted with coupling='coupled'; pass it with "
            "another coupling."
        )
    uses_peak = coupling in ("relative", "corrected") or timescale is not None
    if peak is not None and not uses_peak:
        raise ValueError(
            f"with_weight_decay: peak={peak!r} is not accepted with coupling={coupling!r}; pass "
            "peak only with coupling='relative' or 'corrected', or with timescale."
        )
    top: chex.Numeric = 1.0 if not uses_peak else _peak(schedule) if peak is None else peak
    if timescale is not None:
        at_peak = {"relative": 1.0, "squared": top**2}
        # A schedule, and in the factor below: a number is no part of the state, which `training`
        # and others make with one schedule and update with another.
        weight_decay = constant(1 / (timescale * at_peak.get(coupling, top)))
    # The rate multiplies the sum of direction and decay, so the coefficient is k / rate.
    factors = {
        "relative": constant(1 / top),
        "corrected": schedule * (1 / top),
        "squared": schedule,
    }
    factor = factors.get(coupling)
    groups = weight_decay if isinstance(weight_decay, tuple) else ((None, weight_decay),)
    add_decay = inject_schedules(_add_cautious_decay if cautious else optax.add_decayed_weights)
    patterns = [pattern for pattern, _ in groups if pattern is not None]
    decays = [
        add_decay(
            weight_decay=coefficient if factor is None else coefficient * factor,
            mask=mask if pattern is None else _group_mask(patterns, pattern, mask),
        )
        for pattern, coefficient in groups
    ]
    ordered = (*decays, direction) if coupling == "coupled" else (direction, *decays)
    chained = optax.chain(*ordered, scale_by_learning_rate(schedule))

    def init(params: optax.Params) -> optax.OptState:
        _check_coverage(patterns, params)
        _check_prefix(mask, params)
        return chained.init(params)

    return optax.GradientTransformationExtraArgs(init, chained.update)


def _add_cautious_decay(
    weight_decay: ArrayLike = 0.0, mask: Mask = None
) -> optax.GradientTransformation:
    """Add the decay where the update and the parameter have no opposite signs."""

    def update(
        updates: optax.Updates, state: optax.EmptyState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.EmptyState]:
        if params is None:
            raise ValueError(
                "with_weight_decay needs the parameters: update(updates, state, params)."
            )

        def add(direction: jax.Array, param: jax.Array) -> jax.Array:
            # Compare signs: the product of two small bfloat16 numbers underflows to 0.
            opposite = ((direction > 0) & (param < 0)) | ((direction < 0) & (param > 0))
            if jnp.iscomplexobj(param):  # the inner product of the two, as of pairs of reals
                opposite = jnp.real(jnp.conj(direction) * param) < 0
            decay = jnp.asarray(weight_decay).astype(jnp.result_type(param)) * param
            return jnp.where(opposite, direction, direction + decay)

        return jax.tree.map(add, updates, params), state

    decay = optax.GradientTransformation(lambda _: optax.EmptyState(), update)
    return decay if mask is None else optax.masked(decay, mask)


def _check_booleans(mask: Mask) -> None:
    """Raise ``ValueError`` if a mask that is no function has a leaf that is no boolean."""
    if callable(mask):
        return
    for leaf in jax.tree.leaves(mask):
        if not (isinstance(leaf, bool) or getattr(leaf, "dtype", None) == np.bool_):
            raise ValueError(
                f"with_weight_decay: mask={short_repr(mask)} is not accepted, as {short_repr(leaf)}"
                " is no boolean; mask must be a tree of booleans, or a function of the parameters "
                "that returns one."
            )


def _check_prefix(mask: Mask, params: optax.Params) -> None:
    """Raise ``ValueError`` if the mask has another structure than the parameters."""
    allowed = mask(params) if callable(mask) else mask
    if allowed is None or not jax.tree.leaves(params):
        return
    _check_booleans(allowed)
    try:
        jax.tree.map(lambda allow, part: None, allowed, params)
    except (TypeError, ValueError, KeyError):
        raise ValueError(
            f"with_weight_decay: a mask of the structure {jax.tree.structure(allowed)} is not "
            f"accepted; it must be that of the parameters, {jax.tree.structure(params)}, or a "
            "prefix of it."
        ) from None


def _first_match(patterns: Sequence[str], path: str) -> str | None:
    return next((pattern for pattern in patterns if re.search(pattern, path)), None)


def _check_coverage(patterns: Sequence[str], params: optax.Params) -> None:
    """Raise ``ValueError`` if a pattern gives its decay to no parameter."""
    paths = [path for path, _ in leaves_with_path(params)]
    used = {_first_match(patterns, path) for path in paths}
    # A tree without leaves is a description: optax.tree_utils.tree_map_params passes one.
    if paths and (idle := [pattern for pattern in patterns if pattern not in used]):
        raise ValueError(
            f"with_weight_decay: the patterns {', '.join(map(repr, idle))} choose no parameter, as "
            f"none or an earlier one matches; the paths are {', '.join(paths)}."
        )


def _group_mask(
    patterns: Sequence[str], pattern: str, mask: Mask
) -> Callable[[optax.Params], optax.Params]:
    """Return the mask of the parameters whose first matching pattern is ``pattern``."""

    def of_group(params: optax.Params) -> optax.Params:
        allowed = mask(params) if callable(mask) else mask

        chosen = map_with_path(lambda path, _: _first_match(patterns, path) == pattern, params)
        if allowed is None:
            return chosen
        return jax.tree.map(
            lambda allow, part: jax.tree.map(lambda one: bool(allow and one), part), allowed, chosen
        )

    return of_group


def _peak(schedule: Schedule) -> chex.Numeric:
    steps = 0 if schedule.is_instance_of(constant) else schedule.horizon
    if steps is None:
        # A range test passes the numbers of its schedule as data, of which only tracers would show.
        shown = "the rate of a range test" if is_traced(schedule) else schedule
        raise ValueError(
            f"with_weight_decay: peak=None is not accepted, as {shown} has no known horizon; pass "
            "the largest rate as peak=."
        )
    if is_traced(steps):  # a sweep passes the numbers of its schedules as data
        return _largest_until(schedule, steps)
    if is_traced(schedule):
        return _largest(schedule, int(steps) + 1)
    # Under jit as well: a traced peak would count as the caller's current number at an update.
    with jax.ensure_compile_time_eval():
        peak = float(_largest(schedule, int(steps) + 1))
    if not peak > 0:
        raise ValueError(
            f"with_weight_decay: peak=None is not accepted, as the largest rate of {schedule} is "
            f"{peak}; pass a peak above 0."
        )
    return peak


def _largest(schedule: Schedule, steps: int) -> jax.Array:
    """Return the largest value at the steps ``0 ... steps - 1``, in bounded memory and time.

    Above a million steps: the largest of a million even samples, of the values at the boundaries of
    the phases, and of every step between the best of these and its neighbours.
    """
    if steps <= _NUM_SAMPLES:
        return jnp.max(schedule(np.arange(steps)))
    at = np.linspace(0, steps - 1, _NUM_SAMPLES).astype(np.int64)
    if not is_traced(schedule):
        starts = np.array([start for _, start in phase_starts(schedule, steps)], np.int64)
        at = np.concatenate([at, starts - 1, starts, starts + 1]).clip(0, steps - 1)
    at = at.astype(np.int32)
    rates = schedule(at)
    spacing = -(-steps // _NUM_SAMPLES)
    # Subtracted before it is added, which would overflow at the last step of int32.
    first = jnp.clip(jnp.asarray(at)[jnp.argmax(rates)] - spacing, 0, steps - 1 - 2 * spacing)
    return jnp.maximum(jnp.max(rates), jnp.max(schedule(first + jnp.arange(2 * spacing + 1))))


def _largest_until(schedule: Schedule, last: ArrayLike) -> jax.Array:
    """Return the largest value at the steps ``0 ... last``, which may be traced.

    The largest of 4097 even samples and of as many between the best one and its neighbours: of
    every step up to 4096, and of a schedule that rises and then falls up to 8 million steps.
    """

    def even(first: jax.Array, last: jax.Array) -> jax.Array:
        # first + (last - first) * i // n, whose product would overflow int32.
        whole, rest = jnp.divmod(last - first, _NUM_TRACED)
        i = jnp.arange(_NUM_TRACED + 1, dtype=jnp.int32)
        return first + whole * i + rest * i // _NUM_TRACED

    last = jnp.asarray(last, jnp.int32)
    at = even(jnp.zeros_like(last), last)
    rates = schedule(at)
    best, spacing = at[jnp.argmax(rates)], last // _NUM_TRACED + 1
    near = even(jnp.maximum(best - spacing, 0), best + jnp.minimum(spacing, last - best))
    largest: jax.Array = jnp.maximum(jnp.max(rates), jnp.max(schedule(near)))
    return largest
