"""The state of a rate: its schedule as configured beside a fixed record of the edits made to it.

Every edit of a running job writes numbers into the record, and the structure of the state stays:
no edit compiles a step again, and a checkpoint of an edited run restores into a fresh state. The
record describes the future of the rate and not its history, so edits replace one another.
"""

import functools
import json
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._phases import phase_starts
from lrsched._schedule import PhaseStart, Schedule, schedule
from lrsched.algebra import Inner, constant, shift
from lrsched.arguments import (
    NON_NEGATIVE_INT,
    ArgumentType,
    FiniteFloat,
    NonNegativeFloat,
    NonNegativeInt,
    UnitFloat,
    is_traced,
)
from lrsched.numerics import MAX_STEP, fraction
from lrsched.schedules.multiphase import cooldown
from lrsched.schedules.ramps import RAMP, RAMPS, Ramp
from lrsched.transforms.flax_serialization import register_with_flax
from lrsched.transforms.fractional import evaluate_between

if TYPE_CHECKING:
    import chex

Data = TypeVar("Data")

RATE_VERSION: Final = 1
"""Version of the record; part of every fingerprint, so that other versions do not pass as this."""
_RAMP_NAMES: Final = tuple(RAMPS)
_POWER: Final = len(_RAMP_NAMES)
_POWER_PREFIX: Final = "power:"


def _parse_named_ramp(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError
    return RAMP.parse(value)


NamedRamp: TypeAlias = Annotated[
    str,
    ArgumentType(
        "NamedRamp",
        RAMP.description.removesuffix(", or a function from [0, 1] to [0, 1]"),
        _parse_named_ramp,
        static=True,
        schema=RAMP.schema,
    ),
]
"""Name of a ramp; a function is program and cannot be a number of the record."""
_MAX_FLOAT: Final = float(np.finfo(np.float32).max)


# Least-squares fits on [0, 1] of sin(pi x / 2) / x in x**2, and of (2**x - 1) / x in x.
_SINE: Final = (
    1.57079633,
    -0.645964095,
    0.0796926013,
    -0.00468165404,
    0.000160252784,
    -3.43180771e-06,
)
_EXPONENTIAL: Final = (
    0.693147181,
    0.240226478,
    0.0555044926,
    0.00961601809,
    0.00133906975,
    0.000146023675,
    2.07359656e-05,
)


class RateEdits(NamedTuple):
    """What was changed on a rate at run time, number by number.

    Attributes:
      scale: float32, factor of the rate.
      override: float32, rate in place of the schedule.
      pace_fraction: float32 in [0, 1), rest of the position in the schedule at ``pace_step``.
      cooldown_from: float32, rate at the start of the whole cooldown.
      cooldown_end: float32, rate after it.
      cooldown_remaining: float32 in [0, 1], fraction of the cooldown that was left at
        ``cooldown_start``: below 1 after a change of its length.
      cooldown_power: float32, exponent of the ramp ``"power:P"``.
      is_overridden: int32, 1 where ``override`` applies. A flag of its own, because every float,
        NaN included, may come out of a traced computation.
      step_offset: int32, added to the step count of the transform.
      pace_step: int32, step from which the rest of the schedule has another length.
      pace_position: int32, position in the schedule at ``pace_step``, rounded down.
      pace_end: int32, step at which the schedule reaches its horizon; 0 for the configured one.
      cooldown_start: int32, first step of the cooldown.
      cooldown_steps: int32, length of the cooldown; 0 for none.
      cooldown_ramp: int32, index of the ramp in `lrsched.schedules.ramps.RAMPS`; the number after
        the last is ``"power:P"``.

    Example:
      >>> import jax.numpy as jnp, lrsched
      >>> state = lrsched.scale_by_learning_rate(0.5).init(jnp.zeros(1))
      >>> float(lrsched.scale_learning_rate(state, 0.25).rate.edits.scale)
      0.25
    """

    scale: jax.Array
    override: jax.Array
    pace_fraction: jax.Array
    cooldown_from: jax.Array
    cooldown_end: jax.Array
    cooldown_remaining: jax.Array
    cooldown_power: jax.Array
    is_overridden: jax.Array
    step_offset: jax.Array
    pace_step: jax.Array
    pace_position: jax.Array
    pace_end: jax.Array
    cooldown_start: jax.Array
    cooldown_steps: jax.Array
    cooldown_ramp: jax.Array


_NUM_FLOATS: Final = RateEdits._fields.index("is_overridden")
_ONES: Final = ("scale", "cooldown_remaining", "cooldown_power")


def _unedited(name: str) -> Any:
    is_float = RateEdits._fields.index(name) < _NUM_FLOATS
    return (np.float32 if is_float else np.int32)(name in _ONES)


NO_EDITS: Final = RateEdits(*map(_unedited, RateEdits._fields))
"""The edits of a rate that was not edited."""


class EditRecord(NamedTuple):
    """The numbers of `RateEdits` as two arrays, in its order.

    A compiled step costs more than a microsecond on the host for each array that goes in and comes
    out, which is more than the arithmetic of all edits. Two arrays cost as much as two numbers.

    Attributes:
      floats: float32 array of shape ``(..., 7)``.
      integers: int32 array of shape ``(..., 8)``.
    """

    floats: jax.Array
    integers: jax.Array


@functools.partial(jax.jit, inline=True)
def pack_edits(edits: RateEdits) -> EditRecord:
    """Return the numbers of ``edits`` as two arrays; those of stacked rates keep their axes."""
    numbers = [jnp.asarray(x, y.dtype) for x, y in zip(edits, NO_EDITS, strict=True)]
    return EditRecord(jnp.stack(numbers[:_NUM_FLOATS], -1), jnp.stack(numbers[_NUM_FLOATS:], -1))


@functools.partial(jax.jit, inline=True)
def unpack_edits(record: EditRecord) -> RateEdits:
    """Return the numbers of a record one by one."""
    return RateEdits(*(array[..., index] for array in record for index in range(array.shape[-1])))


class RateState(NamedTuple):
    """A schedule in use.

    Attributes:
      schedule: Schedule as configured, its numbers as float32 and int32 arrays.
      record: Edits that were made at run time; ``edits`` has them number by number.
      fingerprint: int32 scalar, checksum of the schedule's kind. Checkpoint libraries that restore
        leaf by leaf can fill one kind with the numbers of another; the checksum tells.
      is_live: int32 scalar, 1 where the transform was built with JAX arrays, whose current values
        replace those of ``schedule`` at every update.
    """

    schedule: Schedule
    record: EditRecord
    fingerprint: jax.Array
    is_live: jax.Array

    @property
    def edits(self) -> RateEdits:
        """What was changed at run time, number by number."""
        return unpack_edits(self.record)

    def with_edits(self, edits: RateEdits) -> "RateState":
        """Return this rate with other edits."""
        return self._replace(record=pack_edits(edits))


def init_rate(schedule: Schedule) -> RateState:
    """Return the state of a rate that follows ``schedule``, without edits."""
    return RateState(
        to_state(schedule),
        pack_edits(NO_EDITS),
        jnp.array(fingerprint(schedule)),
        jnp.array(is_live(schedule), jnp.int32),
    )


def to_state(data: Data) -> Data:
    """Return a pytree, such as a schedule, with its numbers as new float32 and int32 arrays."""

    def own(leaf: "chex.Numeric") -> jax.Array:
        is_integer = jnp.issubdtype(jnp.result_type(leaf), jnp.integer)
        return jnp.array(leaf, jnp.int32 if is_integer else jnp.float32)

    register_with_flax(type(data), fingerprint if isinstance(data, Schedule) else None)
    return jax.tree.map(own, data)


def fingerprint(schedule: Schedule, version: int | None = None) -> np.int32:
    """Return the checksum of a schedule's kind: its name and static data, without its numbers.

    A CRC of a canonical text is the same in every process, which ``hash`` is not.

    Args:
      schedule: The schedule.
      version: Version of the record. Defaults to None, the current one.
    """
    version = RATE_VERSION if version is None else version
    text = json.dumps([version, _kind(schedule)], sort_keys=True)
    return np.uint32(zlib.crc32(text.encode())).view(np.int32)


def _kind(value: object) -> object:
    if isinstance(value, Schedule):
        structure = value._structure
        numbers = zip(structure.names, value._children, strict=True)
        static = {name: _name(item) for name, item in structure.static}
        return [structure.definition.name, static, {name: _kind(item) for name, item in numbers}]
    return [_kind(item) for item in value] if isinstance(value, tuple) else 0


def _name(value: object) -> object:
    if value is None or isinstance(value, str | bool | int | float):
        return value
    return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value))}"


def check_fingerprint(rate: RateState, name: str) -> None:
    """Raise where a checkpoint library has filled a schedule with the numbers of another kind.

    The leaf is read only where that costs no synchronisation: nothing is checked where it is
    traced, on other hosts or still being computed.

    Raises:
      ValueError: If the stored fingerprint is not that of the stored schedule.
    """
    stored: Any
    (stored,) = jax.tree.leaves(rate.fingerprint)
    if not isinstance(stored, jax.Array | np.ndarray | np.generic):
        return  # a description, such as a jax.ShapeDtypeStruct or a sharding
    if is_traced(stored) or not getattr(stored, "is_fully_addressable", True):
        return
    if not getattr(stored, "is_ready", lambda: True)():
        return
    if np.any(np.asarray(stored) != fingerprint(rate.schedule)):
        for version in range(1, RATE_VERSION):
            if np.all(np.asarray(stored) == fingerprint(rate.schedule, version)):
                raise ValueError(
                    f"the state's {name or 'learning rate'} was saved with version {version} of "
                    f"the record of run-time changes, and this is version {RATE_VERSION}; "
                    "migrate(restored, fresh) takes moments and counts over, and the schedules of "
                    "fresh apply."
                )
        raise ValueError(
            f"the state's {name or 'learning rate'} has the schedule {rate.schedule}, but numbers "
            "of a schedule of another kind: a checkpoint was restored into an optimizer with "
            "another schedule. Restore into the optimizer that was saved, then call "
            "migrate(restored, fresh) or set_schedule."
        )


def with_live_numbers(rate: RateState, configured: Schedule) -> RateState:
    """Return ``rate`` with the JAX arrays of ``configured`` written into the same leaves."""
    structure: Any = jax.tree.structure(configured)
    if jax.tree.structure(rate.schedule) != structure:
        # Another schedule was set, when the transform was built with Python numbers.
        return rate
    return rate._replace(schedule=with_live_leaves(rate.schedule, configured))


def with_live_leaves(stored: Data, configured: Data) -> Data:
    """Return a pytree of the state with the JAX arrays of ``configured`` in the same leaves.

    JAX arrays, concrete or traced, are their caller's current values: ``inject_hyperparams`` makes
    a transform again at every update. Python and NumPy numbers are configuration, and the state's
    own numbers apply, so that one transform serves vmapped and restored states.

    Args:
      stored: Pytree of arrays, as `to_state` made it.
      configured: Pytree with the numbers that the transform was built with.

    Returns:
      A pytree of the structure and dtypes of ``stored``.
    """
    leaves = jax.tree.leaves(configured)
    if not any(isinstance(leaf, jax.Array) for leaf in leaves):
        return stored
    old_leaves, structure = jax.tree.flatten(stored)
    current = [
        jnp.asarray(leaf, old.dtype) if isinstance(leaf, jax.Array) else old
        for leaf, old in zip(leaves, old_leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, current)


def is_live(tree: "chex.ArrayTree") -> bool:
    """Return whether a schedule, or a number, has JAX arrays, which are their caller's."""
    return any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(tree))


def current_step(count: jax.Array, step: ArrayLike | None) -> jax.Array:
    """Return the step of this update: the transform's count, or the ``step`` that it received.

    Raises:
      ValueError: If ``step`` is known and not a whole number from 0 to 2**31 - 1, or an array.
    """
    return count if step is None else broadcast_number(as_step("update", step), jnp.shape(count))


def as_step(function: str, step: ArrayLike) -> jax.Array:
    """Return ``step`` as int32: checked where it is known, clamped to a legal one where traced."""
    if not is_traced(step):
        step = NON_NEGATIVE_INT.validate(function, "step", step)
    step = jnp.asarray(step)
    if jnp.issubdtype(step.dtype, jnp.floating):
        # NaN fails both comparisons, and a cast of what int32 cannot hold is undefined.
        whole = jnp.where((step > 0) & (step < 2.0**31), step, 0).astype(jnp.int32)
        return jnp.where(step >= 2.0**31, MAX_STEP, whole)
    return jnp.clip(step, 0, min(MAX_STEP, np.iinfo(step.dtype).max)).astype(jnp.int32)


def evaluate_scalar(schedule: Schedule, step: ArrayLike) -> jax.Array:
    """Return the schedule's value at ``step``, a float32 scalar.

    Raises:
      ValueError: If the value is not a scalar.
    """
    value = schedule(step)
    if value.shape:
        raise ValueError(
            f"the schedule {schedule} gives an array of shape {value.shape}; a learning rate must "
            "be one number (use jax.vmap to train with several)."
        )
    return value


def evaluate_rate(rate: RateState, step: ArrayLike) -> jax.Array:
    """Return the rate at ``step`` with all edits, a float32 scalar.

    Raises:
      ValueError: If the value is not a scalar.
    """
    value: jax.Array = _evaluate_rate(rate, jnp.asarray(step))
    if value.shape != jnp.shape(step):
        raise ValueError(
            f"the schedule {rate.schedule} gives an array of shape {value.shape}; a learning rate "
            "must be one number (use jax.vmap to train with several)."
        )
    return value


@functools.partial(jax.jit, inline=True)
def _evaluate_rate(rate: RateState, step: jax.Array) -> jax.Array:
    edits = rate.edits
    return apply_edits(rate.schedule, edits, _moved(edits, step))


def rate_step(rate: RateState, step: "chex.Numeric") -> jax.Array:
    """Return the step at which the schedule of a rate is read when its transform is at ``step``."""
    return _moved(rate.edits, step)


def _moved(edits: RateEdits, step: "chex.Numeric") -> jax.Array:
    # A sum above 2**31 - 1 wraps around to a negative number in int32.
    moved = step + edits.step_offset
    is_over = (moved < 0) & (edits.step_offset > 0)
    return jnp.where(is_over, MAX_STEP, jnp.maximum(moved, 0))


def apply_edits(schedule: Schedule, edits: RateEdits, step: jax.Array) -> jax.Array:
    """Return ``scale * rate(step)``, with the rate overridden, in its cooldown or at its pace."""
    value = _without_scale(schedule, edits, step)
    return edits.scale * value


def _without_scale(schedule: Schedule, edits: RateEdits, step: jax.Array) -> jax.Array:
    if (horizon := schedule.horizon) is None:
        value = schedule(step)
    else:
        value = evaluate_between(schedule, *_position(horizon, edits, step))
    is_cooling = (edits.cooldown_steps > 0) & (step >= edits.cooldown_start)
    value = jnp.where(is_cooling, _cooled(edits, step), value)
    return jnp.where(edits.is_overridden > 0, edits.override, value)


def _cooled(edits: RateEdits, step: jax.Array) -> jax.Array:
    steps = edits.cooldown_steps
    elapsed = jnp.clip(step - edits.cooldown_start, 0, steps)
    # Both fractions are counted in int32: 1 - x has no relative accuracy near 0.
    pace = edits.cooldown_remaining / jnp.maximum(steps, 1).astype(jnp.float32)
    x = pace * (steps - elapsed).astype(jnp.float32)
    complement = (1 - edits.cooldown_remaining) + pace * elapsed.astype(jnp.float32)
    change = (edits.cooldown_from - edits.cooldown_end) * _named_ramp(edits, x, complement)
    return edits.cooldown_end + change


def _named_ramp(edits: RateEdits, x: jax.Array, complement: jax.Array) -> jax.Array:
    """Return the ramp of an index at ``x``, in few operations.

    Selected by arithmetic, as a switch is a kernel on a TPU. Polynomials on [0, 1] replace the
    sine and the exponential, which would be most of the cost of a rate that has no cooldown; their
    relative error is below 2e-7.
    """
    sine = x * _polynomial(_SINE, x * x)
    cosine = sine * sine
    factors = {
        # The maximum keeps the derivative of the square root finite at the start.
        "1-sqrt": 1 / (1 + jnp.sqrt(jnp.maximum(complement, 1e-30))),
        "square": 1 + complement,
        "exponential": _polynomial(_EXPONENTIAL, x),
    }
    factor = jnp.float32(1)
    for name, named in factors.items():
        factor = jnp.where(edits.cooldown_ramp == _RAMP_NAMES.index(name), named, factor)
    ramp = jnp.where(edits.cooldown_ramp == _RAMP_NAMES.index("cosine"), cosine, x * factor)
    is_mirror = edits.cooldown_ramp == _RAMP_NAMES.index("mirror-cosine")
    ramp = jnp.where(is_mirror, 2 * x - cosine, ramp)
    is_power = edits.cooldown_ramp == _POWER
    return jnp.where(is_power, _power(x, edits.cooldown_power), ramp)


def _power(x: jax.Array, exponent: jax.Array) -> jax.Array:
    # 0**P has no finite gradient for P < 1.
    power = jnp.power(jnp.where(x > 0, x, 1.0), exponent)
    return jnp.where(x > 0, power, 0.0)


def _polynomial(coefficients: Sequence[float], x: jax.Array) -> jax.Array:
    *lower, highest = coefficients
    value: jax.Array = jnp.asarray(highest, jnp.float32)
    for coefficient in reversed(lower):
        value = value * x + coefficient
    return value


def _position(
    horizon: "chex.Numeric", edits: RateEdits, step: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the position in the schedule at ``step``: its whole steps, and the fraction of one."""
    if jnp.issubdtype(step.dtype, jnp.floating):
        whole = jnp.floor(step).astype(jnp.int32)
        part = step - whole
    else:
        whole, part = step, jnp.zeros_like(step, jnp.float32)
    # The positions lie on two lines, from (0, 0) to (pace_step, pace_position) and from there to
    # (pace_end, horizon). Each is followed from its nearer end: lengths are counted in int32 and
    # rounded once, so the remaining part of the schedule is accurate to its last step.
    middles = edits.pace_step >> 1, edits.pace_step + ((edits.pace_end - edits.pace_step) >> 1)
    is_from_zero, is_from_end = whole < middles[0], whole >= middles[1]
    anchor_step = jnp.where(is_from_end, edits.pace_end, edits.pace_step)
    anchor = jnp.where(is_from_end, horizon, edits.pace_position)
    anchor_step, anchor = (jnp.where(is_from_zero, 0, x) for x in (anchor_step, anchor))
    anchor_part = jnp.where(is_from_zero | is_from_end, 0.0, edits.pace_fraction)
    before = _pace(edits.pace_position, edits.pace_fraction, edits.pace_step)
    after = _pace(
        horizon - edits.pace_position, -edits.pace_fraction, edits.pace_end - edits.pace_step
    )
    pace = jnp.where(whole < edits.pace_step, before, after)
    elapsed = jnp.minimum(whole, edits.pace_end) - anchor_step
    distance = (elapsed.astype(jnp.float32) + part) * pace
    # A boundary that the product misses by 1e-7 is a phase that begins a step late.
    nearest = jnp.rint(distance)
    is_near = jnp.abs(distance - nearest) <= 4e-7 * jnp.abs(nearest)
    offset = anchor_part + jnp.where(is_near, nearest, distance)
    rounded = jnp.floor(offset)
    is_paced = edits.pace_end > 0
    position = jnp.where(is_paced, anchor + rounded.astype(jnp.int32), whole)
    return position, jnp.where(is_paced, offset - rounded, part)


def _pace(whole: "chex.Numeric", part: jax.Array, steps: jax.Array) -> jax.Array:
    return (jnp.asarray(whole).astype(jnp.float32) + part) / jnp.maximum(steps, 1).astype(
        jnp.float32
    )


def rate_end(rate: RateState) -> "chex.Numeric | None":
    """Return the step from which the rate is constant, or None where the schedule has no end."""
    horizon = rate.schedule.horizon
    if horizon is None:
        return None
    edits = rate.edits
    end = jnp.where(edits.pace_end > 0, edits.pace_end, horizon)
    cooldown_end = edits.cooldown_start + edits.cooldown_steps
    return jnp.where(edits.cooldown_steps > 0, cooldown_end, end)


# The edits: pure functions of one rate. Where a number is traced and cannot be checked, it is
# clamped to a legal one, so that no update is NaN and none ascends.


def edit_rate(
    edit: Callable[..., RateState], rate: RateState, step: ArrayLike, *numbers: ArrayLike
) -> RateState:
    """Apply an edit to a rate, or to each of the rates that are stacked along leading axes."""
    shape = jnp.shape(rate.edits.scale)
    for _ in shape:
        edit = jax.vmap(edit)
    return edit(rate, *(broadcast_number(x, shape) for x in (step, *numbers)))


def broadcast_number(number: ArrayLike, shape: tuple[int, ...]) -> jax.Array:
    """Return a number for each of the rates that are stacked along the axes of ``shape``.

    Raises:
      ValueError: If ``number`` is an array of another shape.
    """
    array = jnp.asarray(number)
    try:
        return jnp.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"a value of shape {array.shape} is not accepted for rates of shape {shape}; it must "
            "be one number, or one for each of the runs of a stacked state."
        ) from None


def placed_like(number: jax.Array, like: "chex.Numeric") -> jax.Array:
    """Return a number on the devices of the one that it replaces, so that nothing is recompiled.

    Traced numbers and arrays that are bound to no device stay as they are.
    """
    if is_traced((number, like)) or not getattr(like, "committed", False):
        return number
    # From a copy on the host, as only that can be put on the devices of other processes.
    return jax.device_put(np.array(number), like.sharding)


def override_rate(rate: RateState, step: jax.Array, value: jax.Array) -> RateState:
    """Put ``value`` in place of the schedule and the scale; a non-finite one is ignored."""
    del step
    return _override(rate, jnp.maximum(value, 0))


def override_number(rate: RateState, step: jax.Array, value: jax.Array) -> RateState:
    """Do as `override_rate` for a hyperparameter that may be negative."""
    del step
    return _override(rate, value)


def _override(rate: RateState, value: jax.Array) -> RateState:
    edits, value = rate.edits, value.astype(jnp.float32)
    is_legal = jnp.isfinite(value)
    return _edited(
        rate,
        override=jnp.where(is_legal, value, edits.override),
        is_overridden=jnp.where(is_legal, 1, edits.is_overridden),
        scale=jnp.where(is_legal, 1.0, edits.scale),
    )


def release_rate(rate: RateState, step: jax.Array) -> RateState:
    """Follow the schedule again."""
    del step
    return _edited(rate, is_overridden=0)


def reset_rate(rate: RateState, step: jax.Array) -> RateState:
    """Follow the schedule again, without a scale."""
    del step
    return _edited(rate, is_overridden=0, scale=1.0)


def scale_rate(rate: RateState, step: jax.Array, factor: jax.Array) -> RateState:
    """Multiply the scale by ``factor``; a non-finite one is ignored."""
    del step
    factor = jnp.where(jnp.isfinite(factor), jnp.maximum(factor, 0), 1).astype(jnp.float32)
    return _edited(rate, scale=jnp.minimum(rate.edits.scale * factor, _MAX_FLOAT))


def move_rate(rate: RateState, step: jax.Array, new_step: jax.Array) -> RateState:
    """Read the schedule at ``new_step`` when its transform is at ``step``."""
    return _edited(rate, step_offset=new_step - step)


def unmove_rate(rate: RateState, step: jax.Array) -> RateState:
    """Read the schedule at the transform's own step."""
    del step
    return _edited(rate, step_offset=0)


def extend_rate(rate: RateState, step: jax.Array, total_steps: jax.Array) -> RateState:
    """Reach the end of the schedule, or of the cooldown in progress, at ``total_steps``."""
    edits, step = rate.edits, rate_step(rate, step)
    total = jnp.maximum(as_step("extend", total_steps), jnp.minimum(step, MAX_STEP - 1) + 1)
    has_cooldown = edits.cooldown_steps > 0
    begin = jnp.maximum(step, edits.cooldown_start)
    cooldown_end = edits.cooldown_start + edits.cooldown_steps
    is_cooling = has_cooldown & (begin < cooldown_end)
    remaining = edits.cooldown_remaining * fraction(cooldown_end - begin, edits.cooldown_steps)
    cooled = {
        "cooldown_start": jnp.where(is_cooling, begin, edits.cooldown_start),
        "cooldown_steps": jnp.where(
            is_cooling, jnp.maximum(total - begin, 1), edits.cooldown_steps
        ),
        "cooldown_remaining": jnp.where(is_cooling, remaining, edits.cooldown_remaining),
    }
    if (horizon := rate.schedule.horizon) is None:
        return _edited(rate, **cooled)
    position, part = _position(horizon, edits, step)
    is_running = ~has_cooldown & (position < horizon)
    paced = {
        "pace_step": jnp.where(is_running, step, edits.pace_step),
        "pace_position": jnp.where(is_running, position, edits.pace_position),
        "pace_fraction": jnp.where(is_running, part, edits.pace_fraction),
        "pace_end": jnp.where(is_running, total, edits.pace_end),
    }
    return _edited(rate, **cooled, **paced)


def cool_rate(
    rate: RateState,
    step: jax.Array,
    steps: jax.Array,
    end: jax.Array,
    start: jax.Array,
    ramp: jax.Array,
    power: jax.Array,
) -> RateState:
    """Anneal from the current rate to ``end`` within ``steps`` updates, by the ramp of an index.

    The first rate is ``end + start * (rate - end)``.
    """
    step = rate_step(rate, step)
    steps = jnp.clip(as_step("start_cooldown", steps), 1, MAX_STEP - step)
    value = _without_scale(rate.schedule, rate.edits, step)
    end = jnp.where(jnp.isfinite(end), jnp.maximum(end, 0), 0)
    start = jnp.where(start >= 0, jnp.minimum(start, 1), 1)  # NaN, which may be traced, is 1
    return _edited(
        rate,
        is_overridden=0,
        cooldown_start=step,
        cooldown_steps=jnp.maximum(steps, 1),
        cooldown_from=_cooldown_from(value, end, start),
        cooldown_end=end,
        cooldown_remaining=1.0,
        cooldown_ramp=ramp,
        cooldown_power=power,
    )


def _cooldown_from(value: jax.Array, end: "chex.Numeric", start: "chex.Numeric") -> jax.Array:
    # The sum of a rounded difference is not always the value itself.
    return jnp.where(jnp.asarray(start) == 1, value, end + start * (value - end))


def _edited(rate: RateState, **numbers: "chex.Numeric") -> RateState:
    """Return ``rate`` with other numbers in the record, in its dtypes."""
    edits = rate.edits
    changed = {
        name: jnp.asarray(number, getattr(NO_EDITS, name).dtype) for name, number in numbers.items()
    }
    return rate.with_edits(edits._replace(**changed))


def with_schedule(rate: RateState, schedule: Schedule) -> RateState:
    """Return ``rate`` with another schedule; what is scaled or overridden stays so."""
    shape = jnp.shape(rate.edits.scale)

    def spread(leaf: jax.Array) -> jax.Array:
        return placed_like(jnp.broadcast_to(leaf, shape + leaf.shape), rate.edits.scale)

    fresh: RateState = jax.tree.map(spread, init_rate(schedule))
    kept = ("scale", "override", "is_overridden", "step_offset")
    edits = rate.edits
    kept_edits = fresh.edits._replace(**{name: getattr(edits, name) for name in kept})
    return fresh.with_edits(kept_edits)._replace(is_live=rate.is_live)


def cooldown_by_function(
    rate: RateState,
    step: jax.Array,
    steps: "chex.Numeric",
    end: "chex.Numeric",
    start: "chex.Numeric",
    ramp: Ramp,
) -> RateState:
    """Anneal along a Python function: the structure changes once.

    The cooldown of the constant rate of now is all that the future holds, so that a further one
    has the same structure.
    """
    if jnp.shape(rate.edits.scale):
        raise ValueError(
            "start_cooldown: a function as ramp is not accepted for stacked states; apply "
            "jax.vmap to start_cooldown, or use one of the named ramps."
        )
    step = rate_step(rate, step)
    value = _cooldown_from(_without_scale(rate.schedule, rate.edits, step), end, start)
    changed = with_schedule(rate, cooldown(constant(value), step, steps, end=end, ramp=ramp))
    return _edited(changed, is_overridden=0)


def ramp_numbers(ramp: str) -> tuple[int, float]:
    """Return the numbers that stand for a named ramp in the record: its index and exponent.

    >>> ramp_numbers("cosine"), ramp_numbers("power:1.5")
    ((1, 1.0), (6, 1.5))
    """
    if ramp.startswith(_POWER_PREFIX):
        return _POWER, float(ramp.removeprefix(_POWER_PREFIX))
    return _RAMP_NAMES.index(ramp), 1.0


def _ramp_name(edits: RateEdits) -> str:
    if edits.cooldown_ramp == _POWER:
        # A float32 prints the few digits that were written.
        return _POWER_PREFIX + str(np.float32(edits.cooldown_power))
    return _RAMP_NAMES[edits.cooldown_ramp]


# Reading a rate back as one schedule.


def _edited_horizon(schedule: Schedule) -> "chex.Numeric | None":
    horizon, pace_end = schedule.inner.horizon, schedule.pace_end
    start, steps = schedule.cooldown_start, schedule.cooldown_steps
    if is_traced((pace_end, start, steps)):
        if horizon is None:
            return None
        end = jnp.where(pace_end > 0, pace_end, horizon)
        return jnp.where(steps > 0, start + steps, end)
    if np.any(np.asarray(steps) > 0):
        return start + steps
    return pace_end if horizon is not None and np.any(pace_end) else horizon


def _edited_phases(schedule: Schedule, until: int) -> list[PhaseStart]:
    """Return the first whole steps at which the schedule is in its phases."""
    inner, first, end = schedule.inner, int(schedule.pace_step), int(schedule.pace_end)
    start, steps = int(schedule.cooldown_start), int(schedule.cooldown_steps)
    anchor = int(schedule.pace_position)

    def reached(position: int) -> int:
        if position <= anchor:
            return -(-position * first // max(anchor, 1))
        remaining = max(int(inner.horizon) - anchor, 1)
        return first - (anchor - position) * (end - first) // remaining

    found = phase_starts(inner, until)
    if end and inner.horizon is not None:
        found = [(name, reached(at)) for name, at in phase_starts(inner, inner.horizon + 1)]
    if steps:
        before = [(name, at) for name, at in found if at < start]
        found = [*before, ("cooldown", start), ("final", start + steps)]
    return found


@schedule(horizon=_edited_horizon, phases=_edited_phases)
def edited(
    step: jax.Array,
    inner: Inner,
    scale: NonNegativeFloat = 1.0,
    override: FiniteFloat | None = None,
    pace_step: NonNegativeInt = 0,
    pace_position: NonNegativeInt = 0,
    pace_fraction: UnitFloat = 0.0,
    pace_end: NonNegativeInt = 0,
    cooldown_start: NonNegativeInt = 0,
    cooldown_steps: NonNegativeInt = 0,
    cooldown_from: FiniteFloat = 0.0,
    cooldown_end: FiniteFloat = 0.0,
    cooldown_remaining: UnitFloat = 1.0,
    cooldown_ramp: NamedRamp = "linear",
) -> ArrayLike:
    """A schedule with the edits of a running job: what `learning_rate_schedule` reads back.

    From ``pace_step`` on, the rest of ``inner`` is passed through until ``pace_end``; from
    ``cooldown_start`` on, the rate falls from ``cooldown_from`` to ``cooldown_end``; ``override``
    replaces both, and ``scale`` multiplies the result.

    Args:
      inner: The schedule as configured.
      scale: Factor of the rate, 0 or more. Defaults to 1.
      override: Rate in place of the schedule. Defaults to None, the schedule.
      pace_step: Step from which the rest of the schedule has another length.
      pace_position: Position in ``inner`` at ``pace_step``, rounded down.
      pace_fraction: Rest of that position, in [0, 1).
      pace_end: Step at which ``inner`` is at its horizon. Defaults to 0, the configured horizon.
      cooldown_start: First step of the cooldown.
      cooldown_steps: Length of the cooldown, in updates. Defaults to 0, no cooldown.
      cooldown_from: Rate at the start of the whole cooldown.
      cooldown_end: Rate after it.
      cooldown_remaining: Fraction of the cooldown that is left at ``cooldown_start``.
      cooldown_ramp: Name of the ramp, as in `wsd`, or ``"power:P"``.

    Returns:
      A `Schedule`.

    >>> import lrsched
    >>> lrsched.edited(lrsched.linear(1.0, 0.0, steps=4), scale=0.5)([0, 2, 4]).tolist()
    [0.5, 0.25, 0.0]
    """
    ramp, power = ramp_numbers(cooldown_ramp)
    numbers: dict[str, chex.Numeric] = {
        "scale": scale,
        "override": 0.0 if override is None else override,
        "pace_fraction": pace_fraction,
        "cooldown_from": cooldown_from,
        "cooldown_end": cooldown_end,
        "cooldown_remaining": cooldown_remaining,
        "cooldown_power": power,
        "is_overridden": override is not None,
        "step_offset": 0,
        "pace_step": pace_step,
        "pace_position": pace_position,
        "pace_end": pace_end,
        "cooldown_start": cooldown_start,
        "cooldown_steps": cooldown_steps,
        "cooldown_ramp": ramp,
    }
    edits = RateEdits(**{name: jnp.asarray(number) for name, number in numbers.items()})
    return apply_edits(inner, edits, step)


def rate_schedule(rate: RateState) -> Schedule:
    """Return a rate with its edits as one schedule of the transform's step count."""
    edits = jax.tree.map(lambda leaf: np.asarray(leaf).item(), rate.edits)
    if edits == jax.tree.map(lambda leaf: leaf.item(), NO_EDITS):
        return rate.schedule
    own = ("is_overridden", "step_offset", "cooldown_power")
    names = [name for name in edits._fields if name not in own]
    numbers = {name: getattr(edits, name) for name in names}
    numbers["override"] = edits.override if edits.is_overridden else None
    numbers["cooldown_ramp"] = _ramp_name(edits)
    if not edits.cooldown_steps:
        numbers["cooldown_ramp"] = "linear"
    result = edited(rate.schedule, **numbers)
    return shift(result, -edits.step_offset) if edits.step_offset else result
