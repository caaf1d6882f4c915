"""Schedules as plain data: dictionaries, lists, numbers and strings for JSON and YAML."""

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

from lrsched._schedule import (
    TAG,
    Schedule,
    as_python,
    create_from,
    get_definition,
    is_function,
    show,
)
from lrsched.arguments import STEPS_OR_FRACTION, ArgumentType, is_traced, not_accepted, short_repr

# Each level of nesting is a level of tracing when the schedule is evaluated, and tracing 64 levels
# reaches Python's recursion limit. The limit also ends the reading of a cyclic mapping.
MAX_DEPTH: Final = 32
# A YAML file of a few hundred bytes can describe billions of values with aliases. A list of numbers
# counts as one value.
MAX_VALUES: Final = 100_000
# XLA takes time quadratic in the number of schedules that are joined: seconds for a hundred, and
# minutes for a thousand.
MAX_SCHEDULES: Final = 128


def to_dict(schedule: Schedule) -> dict[str, Any]:
    """Return the schedule as plain data, ready for JSON or YAML.

    Args:
      schedule: Schedule whose parameters are numbers, strings and schedules.

    Returns:
      A dict of JSON-serialisable values, with the name of the schedule under ``"schedule"``.

    Raises:
      ValueError: If ``schedule`` is not a `Schedule`, or a parameter is a Python function or a
        traced number.

    >>> import json, lrsched
    >>> text = json.dumps(lrsched.to_dict(lrsched.cosine(3e-4, steps=1_000)))
    >>> text
    '{"schedule": "cosine", "peak": 0.0003, "steps": 1000, "end": 0.0, "exponent": 1.0}'
    >>> lrsched.from_dict(json.loads(text))
    cosine(peak=0.0003, steps=1000)
    """
    if not isinstance(schedule, Schedule):
        raise not_accepted(
            "to_dict", "schedule", schedule, "a Schedule, such as lrsched.constant(0.1)"
        )
    definition = schedule._structure.definition
    plain = {name: _plain(definition.name, name, x) for name, x in schedule.parameters.items()}
    return {TAG: definition.name, **plain}


def from_dict(data: Mapping[str, Any]) -> Schedule:
    """Return the schedule that `to_dict` wrote. Missing parameters take their defaults.

    The mapping may be of any type, such as those of ``ml_collections`` and ``omegaconf``. Numbers
    are accepted as YAML and JSON read them: a length may be ``1e4`` or ``"1e4"`` if it is integral.
    The key ``$schema`` is ignored. A ported schedule needs no import of its module.

    Args:
      data: Mapping with the name of the schedule under ``"schedule"`` and its parameters.

    Returns:
      The schedule.

    Raises:
      ValueError: If ``data`` names no registered schedule, a parameter is missing, not known or not
        accepted, or the mapping is cyclic, nested deeper than 32 levels or has more than 128
        schedules or 100,000 values, of which a list of numbers is one.

    >>> import lrsched
    >>> lrsched.from_dict({"schedule": "linear", "init": 1, "end": 0, "steps": 10})
    linear(init=1.0, end=0.0, steps=10)
    """
    return _Reader().schedule(data, 0)


def _plain(function: str, name: str, value: Any) -> Any:
    if isinstance(value, Schedule):
        return to_dict(value)
    if isinstance(value, tuple):
        return [_plain(function, name, item) for item in value]
    if is_traced(value) or is_function(value):
        raise ValueError(
            f"{function}: {name}={show(value)} cannot be written as JSON; only numbers, strings "
            "and schedules defined with @schedule can."
        )
    return as_python(value)


def _is_mapping(value: Any) -> bool:
    """Return whether ``value`` is a mapping, or like one, as ``ml_collections.ConfigDict``."""
    return isinstance(value, Mapping) or (
        hasattr(value, "items") and hasattr(value, "keys") and not isinstance(value, type)
    )


@dataclasses.dataclass
class _Reader:
    """One reading of a mapping, with the numbers of values and schedules that it has read."""

    num_values: int = 0
    num_schedules: int = 0

    def schedule(self, data: Any, depth: int) -> Schedule:
        if depth > MAX_DEPTH:
            raise ValueError(
                f"from_dict: the mapping is not accepted; it must not be cyclic or nested deeper "
                f"than {MAX_DEPTH} levels."
            )
        if not _is_mapping(data) or TAG not in data:
            raise ValueError(
                f"{short_repr(data)} is not a schedule; it must be a mapping with a key {TAG!r}."
            )
        self.num_schedules += 1
        if self.num_schedules > MAX_SCHEDULES:
            raise ValueError(
                f"from_dict: the mapping is not accepted; it must have at most {MAX_SCHEDULES} "
                "schedules (points, piecewise_constant and table hold many rates in one)."
            )
        definition = get_definition(data[TAG])
        parameters = {}
        for name, value in data.items():
            if name in (TAG, "$schema"):
                continue
            # An unknown name is refused before its value is read, which may be of any size.
            if not isinstance(name, str) or name not in definition.signature.parameters:
                raise ValueError(
                    f"{definition.name} has no parameter {short_repr(name)}; "
                    f"it has {', '.join(definition.signature.parameters)}."
                )
            parameters[name] = self.value(value, definition.argument_types[name], depth + 1)
        return create_from(definition, parameters)

    def value(self, value: Any, argument_type: ArgumentType | None, depth: int) -> Any:
        """Return one value as the factory takes it, with plain lists for any kind of sequence."""
        self.num_values += 1
        if self.num_values > MAX_VALUES:
            raise ValueError(
                f"from_dict: the mapping is not accepted; it must have at most {MAX_VALUES} values."
            )
        if _is_mapping(value):
            return self.schedule(value, depth)
        if isinstance(value, Sequence) and not isinstance(value, str | bytes):
            if depth > 2 * MAX_DEPTH:
                raise ValueError(
                    "from_dict: the mapping is not accepted; its lists nest too deeply."
                )
            if all(type(item) is int or type(item) is float for item in value):
                return list(value)
            return [self.value(item, argument_type, depth + 1) for item in value]
        if argument_type is None or argument_type.static:
            return value
        if isinstance(value, str):  # YAML 1.1 reads 3e-4 as a string; it wants 3.0e-4.
            with contextlib.suppress(ValueError):
                value = float(value)
        # All formats read 1e4 as a float. As a length within a total, only a number of steps can be
        # above 1.
        if (
            argument_type is STEPS_OR_FRACTION
            and isinstance(value, float)
            and value > 1
            and value.is_integer()
        ):
            return int(value)
        return value
