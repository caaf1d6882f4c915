"""Schedules from the configuration sections of DeepSpeed, Megatron-LM, torchtitan and OLMo-core.

Each function takes a section as it is read from JSON, YAML or TOML, or as parsed arguments, and
returns a `Schedule` of composed parts that can be printed, saved, swept and changed. Step ``t`` of
the schedule is the rate of update ``t``, counted from 0, as the trainer applies it. A key that is
not known is refused, so that no setting is lost silently.

DeepSpeed and Megatron-LM also schedule the momentum or the weight decay; these are not converted.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from lrsched._schedule import Schedule, schedule
from lrsched.algebra import add, constant, join, maximum, shift
from lrsched.arguments import (
    FINITE_FLOAT,
    FLAG,
    NON_NEGATIVE_FLOAT,
    NON_NEGATIVE_INT,
    POSITIVE_FLOAT,
    POSITIVE_INT,
    UNIT_FLOAT,
    ArgumentType,
    FiniteFloat,
    PositiveInt,
    check_below,
    not_accepted,
    one_of,
)
from lrsched.compat._porting import after_warmup
from lrsched.compat.optax import join_schedules
from lrsched.numerics import clip_finite
from lrsched.schedules.constant import piecewise_constant
from lrsched.schedules.decay import cosine, linear
from lrsched.schedules.multiphase import cooldown, wsd
from lrsched.schedules.power import inverse_sqrt, inverse_time
from lrsched.schedules.warmup import log_warmup

__all__ = ["from_deepspeed", "from_megatron", "from_olmo", "from_torchtitan"]

REQUIRED: Final = object()
"""Marks a key without a default."""
Section: TypeAlias = Mapping[str, Any]
"""Section of a configuration file: values of JSON by their keys."""
Spec = Mapping[str, tuple[ArgumentType, object]]
"""The keys of a section, with the type and the default of each."""


def _number(function: str, name: str, argument_type: ArgumentType, value: Any) -> Any:
    """Return a checked scalar. Arrays, which the types accept for ``jax.vmap``, are refused.

    Raises:
      ValueError: If ``value`` is not accepted, or has one value for each parameter group.
    """
    if np.ndim(value) > 0 or isinstance(value, Mapping):
        raise ValueError(
            f"{function}: {name}={value!r} is not accepted; a list there has one value for each "
            "parameter group. Convert the section once for each group."
        )
    return argument_type.validate(function, name, value)


def _read(function: str, section: Section, spec: Spec) -> dict[str, Any]:
    """Return the values of a section, with defaults, checked by their types.

    Raises:
      ValueError: If a key is unknown or missing, or a value is not accepted.
    """
    for key, value in section.items():
        if key not in spec:
            raise ValueError(
                f"{function}: {key}={value!r} is not accepted; the keys are {', '.join(spec)}."
            )
        if isinstance(value, str) and value == "auto":
            raise ValueError(
                f"{function}: {key}='auto' is not accepted; write the number that the trainer "
                "fills in."
            )
    values: dict[str, Any] = {}
    for key, (argument_type, default) in spec.items():
        value = section.get(key, default)
        if value is REQUIRED:
            raise ValueError(f"{function}: {key} is missing; the section must have it.")
        is_absent = value is None and default is None
        values[key] = None if is_absent else _number(function, key, argument_type, value)
    return values


def _section(function: str, name: str, given: object) -> Section:
    if not isinstance(given, Mapping):
        raise not_accepted(function, name, given, "a mapping")
    return given


def _lookup(config: object, *keys: str) -> Any:
    """Return a value of nested mappings, or None if any key is missing."""
    for key in keys:
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


# DeepSpeed


def from_deepspeed(config: Section, base_lr: float | None = None) -> Schedule:
    """Return the schedule of a DeepSpeed configuration.

    DeepSpeed sets the rate when the scheduler is made and then after each update, one step late:
    update 0 and update 1 of `WarmupLR` both have ``warmup_min_lr``, and update 0 of
    `WarmupCosineLR` has a rate of 0. Both are kept.

    Args:
      config: The configuration with its key ``"scheduler"``, or the scheduler's block with
        ``"type"`` (``"WarmupLR"``, ``"WarmupDecayLR"``, ``"WarmupCosineLR"``, ``"OneCycle"`` or
        ``"LRRangeTest"``) and ``"params"``.
      base_lr: Learning rate of the optimizer. Defaults to that of the configuration's
        ``"optimizer"``.

    Returns:
      The schedule. The momentum that `OneCycle` cycles is not converted.

    Raises:
      ValueError: If the type or a parameter is not known, or a value is not accepted.

    Example:
      >>> from lrsched.compat import configs
      >>> block = {"type": "WarmupDecayLR", "params": {
      ...     "total_num_steps": 8, "warmup_num_steps": 4, "warmup_type": "linear",
      ...     "warmup_max_lr": 1.0}}
      >>> configs.from_deepspeed(block)([0, 1, 3, 5, 7, 9]).tolist()
      [0.0, 0.0, 0.5, 1.0, 0.5, 0.0]

    References:
      ``deepspeed/runtime/lr_schedules.py`` of DeepSpeed 0.19.8.
    """
    function = "from_deepspeed"
    config = _section(function, "config", config)
    if "scheduler" in config:
        if base_lr is None:
            base_lr = _lookup(config, "optimizer", "params", "lr")
        config = _section(function, "scheduler", config["scheduler"])
    name = str(config.get("type"))
    if name not in _DEEPSPEED:
        requirement = f"one of {', '.join(map(repr, _DEEPSPEED))}"
        raise not_accepted(function, "type", name, requirement)
    convert, spec = _DEEPSPEED[name]
    params = _read(f"{function}: {name}", _section(function, "params", config.get("params")), spec)
    params.pop("last_batch_iteration", None)
    return convert(base_lr, params)


def _deepspeed_warmup(low: Any, high: Any, params: Section) -> Schedule:
    """Return the rise from ``low`` to ``high``, of at least two steps as in DeepSpeed."""
    steps = max(2, params["warmup_num_steps"])
    if params["warmup_type"] == "linear":
        return linear(low, high, steps)
    return add(log_warmup(steps) * (high - low), low)


def _base_lr_of(name: str, base_lr: float | None) -> float:
    if base_lr is None:
        raise ValueError(f"from_deepspeed: {name} needs base_lr, the optimizer's learning rate.")
    return float(_number("from_deepspeed", "base_lr", FINITE_FLOAT, base_lr))


def _warmup_lr(base_lr: float | None, params: Section) -> Schedule:
    high = params["warmup_max_lr"]
    if high is None:
        high = _base_lr_of("WarmupLR without warmup_max_lr", base_lr)
    return shift(_deepspeed_warmup(params["warmup_min_lr"], high, params) >> high, 1)


def _warmup_decay_lr(base_lr: float | None, params: Section) -> Schedule:
    del base_lr  # WarmupDecayLR sets absolute rates.
    low, high = params["warmup_min_lr"], params["warmup_max_lr"]
    remaining = params["total_num_steps"] - max(2, params["warmup_num_steps"])
    decay = linear(high, low, remaining) if remaining > 0 else constant(low)
    return shift(_deepspeed_warmup(low, high, params) >> decay, 1)


def _warmup_cosine_lr(base_lr: float | None, params: Section) -> Schedule:
    peak = _base_lr_of("WarmupCosineLR", base_lr)
    rise = _deepspeed_warmup(params["warmup_min_ratio"] * peak, peak, params)
    remaining = max(1, params["total_num_steps"] - max(2, params["warmup_num_steps"]))
    # The cosine is one step ahead of the warmup: its first value is already below the peak.
    decay = shift(cosine(peak, remaining, params["cos_min_ratio"] * peak), -1)
    return constant(0.0, 1) >> rise >> decay


def _one_cycle(base_lr: float | None, params: Section) -> Schedule:
    del base_lr  # OneCycle sets absolute rates.
    low, high = params["cycle_min_lr"], params["cycle_max_lr"]
    up = params["cycle_first_step_size"]
    down = params["cycle_second_step_size"]
    down = up if down is None else down
    up_stairs, down_stairs = params["cycle_first_stair_count"], params["cycle_second_stair_count"]
    down_stairs = up_stairs if down_stairs is None else down_stairs
    rise = _stairs(low, high, up, up_stairs) if up_stairs else linear(low, high, up)
    phases = [rise]
    if down and down_stairs:
        phases.append(_stairs(high, low, down, down_stairs, is_rising=False))
    elif down:
        phases.append(linear(high, low, down))
    every, rate = params["decay_step_size"], params["decay_lr_rate"]
    phases.append(inverse_time(low, rate, every) if every and rate else constant(low))
    return join(*phases)


def _stairs(init: float, end: float, steps: int, count: int, is_rising: bool = True) -> Schedule:
    """Return ``count`` equal changes between two rates, in ``steps`` steps.

    A rise changes at the first step of each stair, a fall after the last one, as DeepSpeed rounds
    the position in the cycle down in both halves.
    """
    values = [init]
    boundaries: list[int] = []
    for index in range(1, count + 1):
        start = -(-index * steps // count) if is_rising else (index - 1) * steps // count + 1
        value = init + (end - init) * index / count
        if boundaries and start == boundaries[-1]:
            values[-1] = value  # More stairs than steps.
        else:
            values.append(value)
            boundaries.append(start)
    held = piecewise_constant(values, boundaries)
    # The staircase has its own horizon; the phase takes all of its steps.
    return join_schedules([held, held.replace(values=[values[-1]], boundaries=[])], [steps])


def _range_test(base_lr: float | None, params: Section) -> Schedule:
    del base_lr  # LRRangeTest sets absolute rates.
    return _lr_range_test(
        params["lr_range_test_min_lr"],
        params["lr_range_test_step_size"],
        params["lr_range_test_step_rate"],
        params["lr_range_test_staircase"],
    )


@schedule(name="configs.lr_range_test")
def _lr_range_test(
    step: jax.Array, min_lr: FiniteFloat, steps: PositiveInt, rate: FiniteFloat, staircase: bool
) -> ArrayLike:
    """Rise without an end: ``min_lr (1 + rate t / steps)``, in stairs if ``staircase``."""
    steps = jnp.asarray(steps)
    whole = (step // steps).astype(jnp.float32)
    # Count whole intervals in integers: the quotient of two large floats could miss a stair.
    part = 0.0 if staircase else (step % steps).astype(jnp.float32) / steps.astype(jnp.float32)
    # 0 times an infinite rise would be NaN.
    return min_lr * (1 + clip_finite(rate * (whole + part)))


_WARMUP_TYPE: Final = one_of("WarmupType", ("log", "linear"))


def _minus_one(given: object) -> int:
    if given != -1:
        raise ValueError
    return -1


_RESUMED: Final = ArgumentType(
    "LastBatchIteration", "-1, as the step count is in the optimizer state", _minus_one
)
_DEEPSPEED_WARMUP: Final[Spec] = {
    "warmup_num_steps": (POSITIVE_INT, 1000),
    "warmup_type": (_WARMUP_TYPE, "log"),
    "last_batch_iteration": (_RESUMED, -1),
}
_DEEPSPEED: Final[Mapping[str, tuple[Callable[[float | None, Section], Schedule], Spec]]] = {
    "WarmupLR": (
        _warmup_lr,
        {
            "warmup_min_lr": (NON_NEGATIVE_FLOAT, 0.0),
            "warmup_max_lr": (NON_NEGATIVE_FLOAT, None),
            **_DEEPSPEED_WARMUP,
        },
    ),
    "WarmupDecayLR": (
        _warmup_decay_lr,
        {
            "total_num_steps": (POSITIVE_INT, REQUIRED),
            "warmup_min_lr": (NON_NEGATIVE_FLOAT, 0.0),
            "warmup_max_lr": (NON_NEGATIVE_FLOAT, 0.001),
            **_DEEPSPEED_WARMUP,
        },
    ),
    "WarmupCosineLR": (
        _warmup_cosine_lr,
        {
            "total_num_steps": (POSITIVE_INT, REQUIRED),
            "warmup_min_ratio": (NON_NEGATIVE_FLOAT, 0.0),
            "cos_min_ratio": (NON_NEGATIVE_FLOAT, 0.0001),
            **_DEEPSPEED_WARMUP,
        },
    ),
    "OneCycle": (
        _one_cycle,
        {
            "cycle_min_lr": (NON_NEGATIVE_FLOAT, REQUIRED),
            "cycle_max_lr": (NON_NEGATIVE_FLOAT, REQUIRED),
            "decay_lr_rate": (NON_NEGATIVE_FLOAT, 0.0),
            "cycle_first_step_size": (POSITIVE_INT, 2000),
            "cycle_second_step_size": (NON_NEGATIVE_INT, None),
            "cycle_first_stair_count": (NON_NEGATIVE_INT, 0),
            "cycle_second_stair_count": (NON_NEGATIVE_INT, None),
            "decay_step_size": (NON_NEGATIVE_INT, 0),
            "cycle_momentum": (FLAG, True),
            "cycle_min_mom": (FINITE_FLOAT, 0.8),
            "cycle_max_mom": (FINITE_FLOAT, 0.9),
            "decay_mom_rate": (FINITE_FLOAT, 0.0),
            "last_batch_iteration": (_RESUMED, -1),
        },
    ),
    "LRRangeTest": (
        _range_test,
        {
            "lr_range_test_min_lr": (NON_NEGATIVE_FLOAT, 0.001),
            "lr_range_test_step_size": (POSITIVE_INT, 2000),
            "lr_range_test_step_rate": (NON_NEGATIVE_FLOAT, 1.0),
            "lr_range_test_staircase": (FLAG, False),
            "last_batch_iteration": (_RESUMED, -1),
        },
    ),
}


# Megatron-LM


_MEGATRON: Final[Spec] = {
    "lr": (NON_NEGATIVE_FLOAT, REQUIRED),
    "min_lr": (NON_NEGATIVE_FLOAT, 0.0),
    "lr_decay_style": (
        one_of("DecayStyle", ("constant", "linear", "cosine", "inverse-square-root", "WSD")),
        "linear",
    ),
    "lr_wsd_decay_style": (
        one_of("WSDDecayStyle", ("exponential", "linear", "cosine", "minus_sqrt")),
        "exponential",
    ),
    "lr_warmup_init": (NON_NEGATIVE_FLOAT, 0.0),
    "lr_warmup_fraction": (UNIT_FLOAT, None),
    "lr_warmup_iters": (NON_NEGATIVE_INT, 0),
    "lr_warmup_samples": (NON_NEGATIVE_INT, 0),
    "lr_decay_iters": (POSITIVE_INT, None),
    "lr_decay_samples": (POSITIVE_INT, None),
    "lr_wsd_decay_iters": (POSITIVE_INT, None),
    "lr_wsd_decay_samples": (POSITIVE_INT, None),
    "train_iters": (POSITIVE_INT, None),
    "train_samples": (POSITIVE_INT, None),
    "global_batch_size": (POSITIVE_INT, None),
}


def from_megatron(arguments: object) -> Schedule:
    """Return the schedule of Megatron-LM's training arguments.

    Megatron counts samples. Lengths in iterations are updates as they are; lengths in samples, and
    the warmup of ``lr_warmup_fraction``, are rounded to the nearest update.

    Args:
      arguments: The parsed arguments (``argparse.Namespace``), or a mapping with their names, with
        ``_`` or ``-``: ``lr``, ``min_lr``, ``train_iters`` or ``train_samples`` and
        ``global_batch_size``, and those that begin with ``lr_``. Others are ignored.

    Returns:
      The schedule of the learning rate. The schedule of the weight decay is not converted.

    Raises:
      ValueError: If an argument is missing, not accepted, or unknown and begins with ``lr_``.

    Example:
      >>> from lrsched.compat import configs
      >>> schedule = configs.from_megatron({
      ...     "lr": 1.0, "min-lr": 0.5, "train-iters": 100, "lr-warmup-iters": 10,
      ...     "lr-decay-style": "WSD", "lr-wsd-decay-style": "linear", "lr-wsd-decay-iters": 20})
      >>> schedule([0, 5, 10, 80, 90, 100]).tolist()
      [0.0, 0.5, 1.0, 1.0, 0.75, 0.5]

    References:
      ``OptimizerParamScheduler`` of Megatron-Core 0.16.1, and ``get_optimizer_param_scheduler`` of
      Megatron-LM's ``megatron/training/training.py``, which computes its lengths.
    """
    function = "from_megatron"
    items = arguments if isinstance(arguments, Mapping) else getattr(arguments, "__dict__", None)
    named = _section(function, "arguments", items)
    section = {key.lstrip("-").replace("-", "_"): value for key, value in named.items()}
    if len(section) < len(named):
        raise ValueError(
            f"{function}: an argument is given twice, with _ and with -; pass it once."
        )
    # A namespace has hundreds of other arguments, and None for those that were not passed.
    relevant = {
        key: value
        for key, value in section.items()
        if value is not None and (key in _MEGATRON or key.startswith("lr_"))
    }
    if section.get("decoupled_lr") is not None:
        raise ValueError(
            f"{function}: decoupled_lr is not accepted, as it is a second rate, of the embedding "
            "and the output layer; leave it out, and convert the section again with that rate as "
            "lr for that group."
        )
    values = _read(function, relevant, _MEGATRON)
    total, warmup, annealing = _megatron_lengths(function, values)
    peak, end, init = values["lr"], values["min_lr"], values["lr_warmup_init"]
    check_below(function, "min_lr", end, "lr", peak, allow_equal=True)
    check_below(function, "lr_warmup_init", init, "lr", peak, allow_equal=True)
    if warmup >= total:
        raise ValueError(
            f"{function}: a warmup of {warmup} updates is not accepted; it must be shorter than "
            f"the decay's end at {total}."
        )
    style = values["lr_decay_style"]
    if style == "constant":
        return after_warmup(init, peak, warmup, constant(peak))
    if style == "inverse-square-root":
        decay = inverse_sqrt(peak, max(warmup, 1))
        # max(t, 1) in the denominator: without a warmup, updates 0 and 1 have the same rate.
        decay = decay if warmup else constant(peak, 1) >> decay
        until_end = after_warmup(init, peak, warmup, maximum(decay, end) if end else decay)
        return join_schedules([until_end, constant(end)], [total + 1])
    if style == "WSD":
        if annealing is None:
            raise ValueError(f"{function}: lr_decay_style='WSD' needs lr_wsd_decay_iters.")
        ramp = {"minus_sqrt": "1-sqrt"}.get(values["lr_wsd_decay_style"])
        return wsd(peak, total, warmup, annealing, end, ramp or values["lr_wsd_decay_style"], init)
    length = total - warmup
    fall = linear(peak, end, length) if style == "linear" else cosine(peak, length, end)
    return after_warmup(init, peak, warmup, fall)


def _megatron_lengths(function: str, values: Section) -> tuple[int, int, int | None]:
    """Return the ends of the decay and of the warmup, and the length of the annealing."""
    is_in_iters = values["train_iters"] is not None or values["train_samples"] is None
    unit, other = ("iters", "samples") if is_in_iters else ("samples", "iters")
    for key in ("lr_warmup", "lr_decay", "lr_wsd_decay", "train"):
        if values[f"{key}_{other}"]:
            name, requirement = f"{key}_{other}", f"passed as {key}_{unit} with train_{unit}"
            raise not_accepted(function, name, values[name], requirement)
    total = values[f"lr_decay_{unit}"] or values[f"train_{unit}"]
    if total is None:
        raise ValueError(f"{function}: train_iters or train_samples is missing; pass one of them.")
    fraction, warmup = values["lr_warmup_fraction"], values[f"lr_warmup_{unit}"]
    if fraction is not None and warmup:
        requirement = f"left out with lr_warmup_{unit}={warmup!r}"
        raise not_accepted(function, "lr_warmup_fraction", fraction, requirement)
    if fraction is not None:
        warmup = fraction * total
    batch_size = 1
    if not is_in_iters:
        batch_size = values["global_batch_size"]
        if batch_size is None:
            raise ValueError(f"{function}: train_samples needs global_batch_size.")
    annealing = values[f"lr_wsd_decay_{unit}"]
    return (
        max(round(total / batch_size), 1),
        round(warmup / batch_size),
        None if annealing is None else max(round(annealing / batch_size), 1),
    )


# torchtitan


_TORCHTITAN: Final[Spec] = {
    "warmup_steps": (NON_NEGATIVE_INT, 200),
    "total_steps": (POSITIVE_INT, None),
    "decay_ratio": (UNIT_FLOAT, None),
    "decay_type": (one_of("DecayType", ("linear", "sqrt", "cosine")), "linear"),
    "min_lr_factor": (UNIT_FLOAT, 0.0),
}


def from_torchtitan(
    config: Section, base_lr: float | None = None, steps: int | None = None
) -> Schedule:
    """Return the schedule of a torchtitan configuration.

    The warmup is one step ahead, ``(t + 1) / warmup_steps``, and the decay would reach its end at
    ``total_steps``, one step after the last update.

    Args:
      config: The configuration with its table ``[lr_scheduler]``, or that table.
      base_lr: Learning rate of the optimizer. Defaults to ``lr`` of ``[optimizer]``.
      steps: Number of updates of the run. Defaults to ``steps`` of ``[training]``.

    Returns:
      The schedule.

    Raises:
      ValueError: If a key is not known, a value is not accepted, or the rate or the length is
        missing.

    Example:
      >>> from lrsched.compat import configs
      >>> config = {"optimizer": {"lr": 1.0}, "training": {"steps": 20},
      ...           "lr_scheduler": {"warmup_steps": 4, "decay_ratio": 0.5}}
      >>> configs.from_torchtitan(config)([0, 1, 3, 10, 15]).tolist()
      [0.25, 0.5, 1.0, 1.0, 0.5]

    References:
      ``torchtitan/components/optimizer/lr_scheduler.py`` of torchtitan 0.3.0.
    """
    function = "from_torchtitan"
    config = _section(function, "config", config)
    if "lr_scheduler" in config:
        base_lr = _lookup(config, "optimizer", "lr") if base_lr is None else base_lr
        steps = _lookup(config, "training", "steps") if steps is None else steps
        config = _section(function, "lr_scheduler", config["lr_scheduler"])
    values = _read(function, config, _TORCHTITAN)
    peak = _number(function, "base_lr", POSITIVE_FLOAT, base_lr)
    total = values["total_steps"]
    total = _number(function, "steps", POSITIVE_INT, steps) if total is None else total
    # torchtitan shortens phases that do not fit, the decay last.
    warmup = min(values["warmup_steps"], total)
    ratio = values["decay_ratio"]
    decay = total - warmup if ratio is None else min(round(total * ratio), total - warmup)
    ramp = {"sqrt": "1-sqrt"}.get(values["decay_type"], values["decay_type"])
    rise = shift(linear(0.0, peak, warmup), -1) if warmup else None
    # The rise is at the peak at warmup - 1 already, which is its horizon.
    length = total - max(warmup - 1, 0)
    end = peak * values["min_lr_factor"]
    fall = wsd(peak, length, 0, decay, end, ramp) if decay else constant(peak)
    return fall if rise is None else rise >> fall


# OLMo-core


_OLMO_COMMON: Final[Spec] = {
    "units": (one_of("Units", ("steps", "tokens")), "steps"),
    "lr_field": (one_of("LRField", ("lr",)), "lr"),
    "initial_lr_field": (one_of("InitialLRField", ("initial_lr",)), "initial_lr"),
}
_OLMO_WARMUP: Final[Spec] = {
    "warmup": (NON_NEGATIVE_INT, None),
    "warmup_steps": (NON_NEGATIVE_INT, None),
    "warmup_fraction": (UNIT_FLOAT, None),
    "warmup_min_lr": (NON_NEGATIVE_FLOAT, 0.0),
}
_OLMO_DECAY: Final[Spec] = {
    "decay": (NON_NEGATIVE_INT, None),
    "decay_steps": (NON_NEGATIVE_INT, None),
    "decay_fraction": (UNIT_FLOAT, None),
    "decay_min_lr": (NON_NEGATIVE_FLOAT, 0.0),
}
_OLMO_FLOOR: Final[Spec] = {"alpha_f": (NON_NEGATIVE_FLOAT, 0.1)}
_OLMO_LENGTH: Final[Spec] = {"t_max": (POSITIVE_INT, None)}
_OLMO: Final[Mapping[str, tuple[str, Spec]]] = {
    "ConstantScheduler": ("constant", {}),
    "ConstantWithWarmup": ("constant_with_warmup", _OLMO_WARMUP),
    "WSD": ("wsd", {**_OLMO_WARMUP, **_OLMO_DECAY}),
    "LinearWithWarmup": (
        "linear_with_warmup",
        {**_OLMO_WARMUP, **_OLMO_FLOOR, **_OLMO_LENGTH},
    ),
    "InvSqrtWithWarmup": ("inv_sqrt_with_warmup", {**_OLMO_WARMUP, **_OLMO_FLOOR}),
    "CosWithWarmup": ("cos_with_warmup", {**_OLMO_WARMUP, **_OLMO_FLOOR, **_OLMO_LENGTH}),
    "HalfCosWithWarmup": (
        "half_cos_with_warmup",
        {**_OLMO_WARMUP, **_OLMO_FLOOR, **_OLMO_LENGTH},
    ),
    "CosWithWarmupAndLinearDecay": (
        "cos_with_warmup_and_linear_decay",
        {**_OLMO_WARMUP, **_OLMO_FLOOR, **_OLMO_LENGTH, **_OLMO_DECAY},
    ),
}
"""The registered name and the keys of each scheduler class."""


def from_olmo(
    section: Section,
    base_lr: float,
    steps: int | None = None,
    tokens_per_step: int | None = None,
) -> Schedule:
    """Return the schedule of an OLMo-core scheduler section.

    OLMo-core counts the current update, so that update 0 has the value at step 1.

    Args:
      section: The scheduler's section with ``"_CLASS_"`` (``"olmo_core.optim.CosWithWarmup"``) or
        the registered name ``"type"`` (``"cos_with_warmup"``), and its keys. Constant, linear,
        cosine, half-cosine and inverse-square-root schedulers with a warmup, ``WSD`` and
        ``CosWithWarmupAndLinearDecay`` are converted.
      base_lr: Learning rate of the optimizer, above ``warmup_min_lr`` and ``decay_min_lr``.
      steps: Number of updates of the run. Not needed by schedulers that do not depend on it.
      tokens_per_step: Number of tokens in one update, for ``units: tokens``. Lengths in tokens are
        rounded to the nearest update.

    Returns:
      The schedule.

    Raises:
      ValueError: If the scheduler or a key is not known, or a value is missing or not accepted.

    Example:
      >>> from lrsched.compat import configs
      >>> section = {"_CLASS_": "olmo_core.optim.scheduler.WSD", "warmup": 4, "decay_fraction": 0.5}
      >>> configs.from_olmo(section, base_lr=1.0, steps=20)([0, 3, 9, 14, 19]).tolist()
      [0.25, 1.0, 1.0, 0.5, 0.0]

    References:
      ``olmo_core/optim/scheduler.py`` and ``olmo_core/train/trainer.py`` of OLMo-core 3.0.0.
    """
    function = "from_olmo"
    section = dict(_section(function, "section", section))
    named = section.pop("_CLASS_", None), section.pop("type", None)
    name = str(named[0] or "").rpartition(".")[2] or named[1]
    classes = {registered: key for key, (registered, _) in _OLMO.items()}
    name = classes.get(name, name)
    if name not in _OLMO:
        raise ValueError(
            f"{function}: the scheduler {name!r} is not accepted; it must be one of "
            f"{', '.join(_OLMO)}. Compose others with a >> b."
        )
    values = _read(f"{function}: {name}", section, {**_OLMO_COMMON, **_OLMO[name][1]})
    peak = _number(function, "base_lr", POSITIVE_FLOAT, base_lr)
    lengths = _OLMoLengths(f"{function}: {name}", values, steps, tokens_per_step)
    return shift(_olmo_schedule(name, values, float(peak), lengths), -1)


class _OLMoLengths:
    """The lengths of a section, in updates."""

    def __init__(
        self,
        function: str,
        values: Section,
        steps: int | None,
        tokens_per_step: int | None,
    ) -> None:
        self.function, self.values, self.unit = function, values, 1
        self.steps = steps
        if values["units"] == "tokens":
            self.unit = _number(function, "tokens_per_step", POSITIVE_INT, tokens_per_step)

    @property
    def run(self) -> int:
        return int(_number(self.function, "steps", POSITIVE_INT, self.steps))

    @property
    def total(self) -> int:
        """The length of the curve: ``t_max`` if it is set, else that of the run."""
        t_max = self.values.get("t_max")
        return self.run if t_max is None else max(round(t_max / self.unit), 1)

    def of(self, key: str, total: Callable[[], int], default: float | None = None) -> int:
        """Return ``warmup`` or ``decay``, given as a length or as a fraction of ``total``."""
        names = (key, f"{key}_steps", f"{key}_fraction")
        values = {name: self.values[name] for name in names if self.values[name] is not None}
        if not values and default is not None:
            values = {names[2]: default}
        if len(values) != 1:
            raise ValueError(
                f"{self.function}: {', '.join(values) or 'no warmup'} is not accepted; pass {key} "
                f"or {key}_fraction, one of the two."
            )
        ((name, value),) = values.items()
        return int(round(total() * value) if name == names[2] else round(value / self.unit))


def _olmo_schedule(name: str, values: Section, peak: float, lengths: _OLMoLengths) -> Schedule:
    if name == "ConstantScheduler":
        return constant(peak)
    # WSD and the constant schedule know no t_max; `total` is the length of the run for them.
    warmup = lengths.of("warmup", lambda: lengths.total)
    init, end = values["warmup_min_lr"], values.get("alpha_f", 0.0) * peak
    check_below(lengths.function, "warmup_min_lr", init, "base_lr", peak)
    if name == "ConstantWithWarmup":
        return after_warmup(init, peak, warmup, constant(peak))
    if name == "InvSqrtWithWarmup":
        if warmup == 0:
            raise not_accepted(lengths.function, "warmup", 0, "above 0")
        return after_warmup(init, peak, warmup, inverse_sqrt(peak - end, warmup) + end)
    decay = 0
    if "decay" in values:
        decay = lengths.of("decay", lambda: lengths.run, default=0.1)
    if name == "WSD":
        return wsd(peak, lengths.run, warmup, decay, values["decay_min_lr"], "linear", init)
    remaining = lengths.total - warmup
    if remaining < 1:
        raise ValueError(
            f"{lengths.function}: a warmup of {warmup} updates is not accepted; it must be below "
            f"the length {lengths.total}."
        )
    if name == "LinearWithWarmup":
        return after_warmup(init, peak, warmup, linear(peak, end, remaining))
    if name == "HalfCosWithWarmup":
        # The rise ends at half the peak, where the second half of the cosine begins.
        second_half = shift(cosine(peak, 2 * remaining, end), -remaining)
        return after_warmup(init, end + (peak - end) / 2, warmup, second_half)
    curve = after_warmup(init, peak, warmup, cosine(peak, remaining, end))
    if decay == 0:
        return curve
    return cooldown(curve, lengths.run - decay, decay, values["decay_min_lr"], "linear")
