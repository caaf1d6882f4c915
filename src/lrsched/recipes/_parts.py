"""What a recipe consists of, and what its parts may be."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import optax
import optax.contrib

from lrsched._schedule import Schedule
from lrsched.adaptive.kl import adaptive_kl
from lrsched.adaptive.loss import adalrs, backoff_on_spike, bold_driver
from lrsched.adaptive.plateau import greedy, reduce_on_overfitting, reduce_on_plateau
from lrsched.adaptive.schedule_free import schedule_free_adamw
from lrsched.arguments import (
    FLAG,
    TEXT,
    ArgumentType,
    in_range,
    instance_of,
    not_accepted,
    one_of,
    short_repr,
)
from lrsched.transforms.matrix import muon_direction
from lrsched.transforms.weight_decay import COUPLINGS

Number: TypeAlias = float | int
Arguments: TypeAlias = Mapping[str, "Number | bool | str | Sequence[Number]"]
"""The name of an optimizer under ``"name"``, and its arguments; a string that is the name of a
scheduled hyperparameter stands for that schedule."""

DECAYS_ALL: Final = "all parameters"
DECAYS_MATRICES: Final = "matrices"
DECAYS_KERNELS: Final = "kernels"


class Decay(NamedTuple):
    """The weight decay of a recipe.

    Attributes:
      value: Coefficient, or the name of the scheduled hyperparameter that it follows.
      parameters: Which parameters decay: "all parameters", "matrices" (two axes or more),
        "kernels" (those whose path ends so), or another description, for which
        `Recipe.optimizer` needs a mask.
      coupling: Meaning of the coefficient, see `lrsched.with_weight_decay`.
      cautious: Whether only entries decay whose update does not move them away from 0.
    """

    value: Number | str
    parameters: str = DECAYS_ALL
    coupling: str = "decoupled"
    cautious: bool = False


class Parts(NamedTuple):
    """What a recipe's function returns: everything that depends on its scale.

    Attributes:
      rates: Learning-rate schedule by parameter group; a single group is called "all".
      optimizer: Optimizer of all groups without an entry in ``group_optimizers``.
      hyperparameters: Schedules of other hyperparameters by name, such as a momentum.
      group_optimizers: Optimizers of single groups.
      weight_decay: Weight decay of all groups without an entry in ``group_decays``.
      group_decays: Weight decays of single groups.
      clip: Largest global norm of the gradients. `None` disables clipping.
      ema: Decay of the average of the parameters. `None` disables it.
      controller: Controller that changes the rate from a metric: its name under ``"name"``, and
        its arguments. `None` if the rate depends on the step only.
    """

    rates: Mapping[str, Schedule]
    optimizer: Arguments
    hyperparameters: Mapping[str, Schedule] = {}
    group_optimizers: Mapping[str, Arguments] = {}
    weight_decay: Decay | None = None
    group_decays: Mapping[str, Decay] = {}
    clip: float | None = None
    ema: float | None = None
    controller: Arguments | None = None


def _sgd(momentum: float = 0.0, nesterov: bool = False) -> optax.GradientTransformation:
    return optax.trace(momentum, nesterov)


def _rmsprop(
    decay: float = 0.9, momentum: float = 0.0, eps: float = 1e-8
) -> optax.GradientTransformation:
    return optax.chain(optax.scale_by_rms(decay, eps, initial_scale=1.0), optax.trace(momentum))


SCHEDULE_FREE: Final = "schedule_free_adamw"
"""An optimizer as a whole: its weight decay and average are parts of the method."""
DIRECTIONS: Final[dict[str, Callable[..., optax.GradientTransformation]]] = {
    "adafactor": optax.scale_by_factored_rms,
    "ademamix": optax.contrib.scale_by_ademamix,
    "adam": optax.scale_by_adam,
    "adamw": optax.scale_by_adam,
    "amsgrad": optax.scale_by_amsgrad,
    "lion": optax.scale_by_lion,
    "muon": muon_direction,
    "rmsprop": _rmsprop,
    "sgd": _sgd,
}
"""The optax transform that turns gradients into the direction of each optimizer."""

CONTROLLERS: Final[dict[str, Callable[..., optax.GradientTransformationExtraArgs]]] = {
    function.__name__: function
    for function in (
        adalrs,
        adaptive_kl,
        backoff_on_spike,
        bold_driver,
        greedy,
        reduce_on_overfitting,
        reduce_on_plateau,
    )
}
"""The controllers of lrsched by name."""


def _plain(parse: Callable[[object], object]) -> Callable[[object], object]:
    """Return a parser of Python numbers only, which JSON can hold."""

    def parse_plain(value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError
        return parse(value)

    return parse_plain


_CLIP: Final = ArgumentType("PositiveFloat", "a finite number above 0", _plain(in_range(gt=0)))
_EMA: Final = ArgumentType("DecayRate", "a number from 0 to below 1", _plain(in_range(ge=0, lt=1)))
_DECAY: Final = ArgumentType(
    "Coefficient",
    "a number of 0 or more, or the name of one of hyperparameters",
    _plain(in_range(ge=0)),
)
_SCHEDULE: Final = ArgumentType(
    "Schedule", "a schedule, such as lrsched.constant(0.1)", instance_of(Schedule)
)
_RECIPE_DECAY: Final = ArgumentType(
    "Decay", "a recipes.Decay, such as recipes.Decay(0.1)", instance_of(Decay)
)
_COUPLING: Final = one_of("Coupling", COUPLINGS)


def check_parts(recipe: str, parts: object) -> None:
    """Raise ``ValueError`` if a part is of another type, or refers to what the recipe lacks.

    Args:
      recipe: Name of the recipe, for the message.
      parts: Result of the recipe's function.
    """
    if not isinstance(parts, Parts):
        raise ValueError(
            f"{recipe}: the result {short_repr(parts)} is not accepted; return a recipes.Parts."
        )
    for field in ("rates", "hyperparameters", "group_optimizers", "group_decays"):
        _check_mapping(recipe, field, getattr(parts, field))
    if not parts.rates:
        raise not_accepted(recipe, "rates", {}, "a dict with at least one group")
    for key, one in {**parts.rates, **parts.hyperparameters}.items():
        _SCHEDULE.validate(recipe, key, one)
    for field in ("group_optimizers", "group_decays"):
        for group in getattr(parts, field):
            if group not in parts.rates:
                raise ValueError(
                    f"{recipe}: the group {group!r} of {field} is not accepted; it must be one of "
                    f"{', '.join(parts.rates)}."
                )
    _check_optimizer(recipe, "optimizer", parts.optimizer, parts.hyperparameters)
    for group, optimizer in parts.group_optimizers.items():
        _check_optimizer(recipe, f"optimizer of {group}", optimizer, parts.hyperparameters)
    decays = {f"weight decay of {group}": one for group, one in parts.group_decays.items()}
    if parts.weight_decay is not None:
        decays["weight_decay"] = parts.weight_decay
    for label, decay in decays.items():
        _check_decay(recipe, label, decay, parts.hyperparameters)
    for label, kind in (("clip", _CLIP), ("ema", _EMA)):
        if getattr(parts, label) is not None:
            kind.validate(recipe, label, getattr(parts, label))
    if parts.controller is not None:
        _check_controller(recipe, parts.controller)


def _check_mapping(recipe: str, label: str, value: object) -> None:
    if not (isinstance(value, Mapping) and all(isinstance(key, str) for key in value)):
        raise not_accepted(recipe, label, value, "a dict whose keys are strings")


def _named_arguments(recipe: str, label: str, value: Arguments) -> tuple[str, dict[str, Any]]:
    _check_mapping(recipe, label, value)
    if not isinstance(value.get("name"), str):
        raise not_accepted(recipe, label, value, 'a dict with its name, a string, under "name"')
    return str(value["name"]), {key: one for key, one in value.items() if key != "name"}


def _check_optimizer(
    recipe: str, label: str, value: Arguments, hyperparameters: Mapping[str, Schedule]
) -> None:
    name, arguments = _named_arguments(recipe, label, value)
    known = schedule_free_adamw if name == SCHEDULE_FREE else DIRECTIONS.get(name)
    if known is None:  # an optimizer of the user's
        return
    signature = inspect.signature(known)
    try:
        signature.bind_partial(**arguments)
    except TypeError as error:
        raise ValueError(f"{recipe}: the optimizer {name!r}: {error}.") from None
    for key, one in arguments.items():
        default = getattr(signature.parameters.get(key), "default", None)
        takes_number = isinstance(default, int | float)
        if isinstance(one, str) and takes_number and one not in hyperparameters:
            raise ValueError(
                f"{recipe}: {key}={one!r} of the optimizer {name!r} is not accepted; {key} must be "
                "a number or the name of one of hyperparameters."
            )


def _check_decay(
    recipe: str, label: str, value: object, hyperparameters: Mapping[str, Schedule]
) -> None:
    decay: Any = _RECIPE_DECAY.validate(recipe, label, value)
    if not (isinstance(decay.value, str) and decay.value in hyperparameters):
        _DECAY.validate(recipe, f"value of the {label}", decay.value)
    for field, kind in (("parameters", TEXT), ("coupling", _COUPLING), ("cautious", FLAG)):
        kind.validate(recipe, f"{field} of the {label}", getattr(decay, field))


def _check_controller(recipe: str, value: Arguments) -> None:
    name, arguments = _named_arguments(recipe, "controller", value)
    if name not in CONTROLLERS:
        raise not_accepted(recipe, "controller", name, f"one of {', '.join(CONTROLLERS)}")
    try:
        CONTROLLERS[name](**arguments)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{recipe}: the controller {name!r}: {error}") from None
