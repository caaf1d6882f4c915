"""What a recipe is: the schedules and optimizer arguments of one published training run."""

from __future__ import annotations

import difflib
import functools
import inspect
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import jax
import optax

from lrsched._schedule import Schedule
from lrsched.adaptive.schedule_free import schedule_free_adamw
from lrsched.arguments import (
    BASE_OPTIMIZER,
    NON_NEGATIVE_NUMBER,
    POSITIVE_NUMBER,
    TEXT,
    bind_arguments,
    not_accepted,
    short_repr,
    shorten,
    whole_number,
)
from lrsched.recipes._parts import (
    DECAYS_ALL,
    DECAYS_KERNELS,
    DECAYS_MATRICES,
    DIRECTIONS,
    SCHEDULE_FREE,
    Arguments,
    Decay,
    Number,
    Parts,
    check_parts,
)
from lrsched.serialize import from_dict, to_dict
from lrsched.transforms.composition import map_with_path
from lrsched.transforms.inject import inject_schedules
from lrsched.transforms.matrix import MatrixAxes
from lrsched.transforms.weight_decay import with_weight_decay

if TYPE_CHECKING:
    import chex


class Recipe(NamedTuple):
    """A published training recipe at one scale.

    It prints as a summary, `to_dict` makes it JSON, and `optimizer` builds it from optax.

    Attributes:
      name: Name in `lrsched.recipes.names`.
      family: Kind of training, such as "llm-pretrain".
      scale: Arguments that the recipe was made with, such as the number of steps.
      parts: Schedules, optimizer arguments, weight decay, clipping and averaging.
      batch: Batch size of the published run, as text.
      source: Where the numbers were read.
      missing: Values that the source leaves open. Empty if every number was read in it.
      notes: Properties that a reader would not expect.
    """

    name: str
    family: str
    scale: Mapping[str, Number]
    parts: Parts
    batch: str
    source: str
    missing: str
    notes: str

    @property
    def schedules(self) -> dict[str, Schedule]:
        """Every schedule by name: the rates of all groups, then the other hyperparameters."""
        return {**self.parts.rates, **self.parts.hyperparameters}

    @property
    def horizon(self) -> int | None:
        """The longest horizon of the rates, in updates. `None` if a rate has no horizon."""
        horizons = [schedule.horizon for schedule in self.parts.rates.values()]
        return None if None in horizons else max(horizons)

    def to_dict(self) -> dict[str, object]:
        """Return the recipe as JSON-serialisable values, with every schedule as in `to_dict`."""
        parts = {
            key: _plain(value)
            for key, value in self.parts._asdict().items()
            if value not in ({}, None)
        }
        return {**self._asdict(), "scale": dict(self.scale), "parts": parts}

    @staticmethod
    def from_dict(data: Mapping[str, Any]) -> Recipe:
        """Return the recipe that `to_dict` wrote.

        Raises:
          ValueError: If keys are missing or unknown, or a part is of another type.
        """
        if set(data) != set(Recipe._fields):
            raise ValueError(
                f"Recipe.from_dict: keys {', '.join(map(str, data))} are not accepted; they must "
                f"be {', '.join(Recipe._fields)}."
            )
        name = str(data["name"])
        try:
            parts = dict(data["parts"])
            for key, read in _READERS.items():
                if key in parts:
                    parts[key] = {label: read(one) for label, one in parts[key].items()}
            if "weight_decay" in parts:
                parts["weight_decay"] = Decay(**parts["weight_decay"])
            checked = Parts(**parts)
        except (TypeError, AttributeError) as error:
            raise ValueError(f"Recipe.from_dict: the parts of {name!r}: {error}.") from None
        check_parts(name, checked)
        return Recipe(**{**data, "parts": checked})

    def __str__(self) -> str:
        parts = self.parts
        lines = [f"{self.name} ({self.family}), batch {self.batch or 'not given'}"]
        lines += [f"  {key}: {_number(value)}" for key, value in self.scale.items()]
        lines += [f"  rate of {group}: {_short(rate)}" for group, rate in parts.rates.items()]
        lines += [f"  {name}: {_short(one)}" for name, one in parts.hyperparameters.items()]
        lines.append(f"  optimizer: {_call(parts.optimizer)}")
        lines += [f"  optimizer of {g}: {_call(one)}" for g, one in parts.group_optimizers.items()]
        if parts.weight_decay is not None:
            lines.append(f"  weight decay: {_decay_text(parts.weight_decay)}")
        lines += [
            f"  weight decay of {g}: {_decay_text(one)}" for g, one in parts.group_decays.items()
        ]
        last = {
            "clip": parts.clip,
            "ema": parts.ema,
            "controller": parts.controller and _call(parts.controller),
            "source": self.source,
            "missing": self.missing or None,
            "notes": self.notes or None,
        }
        lines += [f"  {label}: {value}" for label, value in last.items() if value is not None]
        return "\n".join(lines)

    def optimizer(
        self,
        groups: Sequence[tuple[str, str]] = (),
        *,
        directions: Mapping[str, optax.GradientTransformation] | None = None,
        decay_mask: chex.ArrayTree | Callable[[optax.Params], chex.ArrayTree] | None = None,
        matrices: MatrixAxes | None = None,
    ) -> optax.GradientTransformationExtraArgs:
        """Build the optimizer from optax's parts, with every schedule in its state.

        The parameter average and the controller are not part of it: use `lrsched.ema_params` and
        the controller named in ``parts.controller``.

        Args:
          groups: Pairs of a regular expression and the name of a group, for recipes with several.
            A parameter belongs to the first pair whose expression is found in its path, such as
            ``"layer_1/kernel"``.
          directions: Transforms from gradients to a direction by group, for optimizers that optax
            does not have. Rate, weight decay and clipping are still those of the recipe.
          decay_mask: Tree of booleans, or a function of the parameters that returns one: which
            parameters decay. Defaults to the recipe's own description, where it is "all
            parameters", "matrices" or "kernels".
          matrices: For recipes with Muon: function of path and array that returns the
            ``optax.contrib.MuonDimensionNumbers`` of arrays with more than two axes, such as the
            kernels of Flax's attention, as for `lrsched.muon`. Defaults to none.

        Returns:
          An optax transform. Its rates are read by `lrsched.learning_rates`.

        Raises:
          ValueError: If optax has no such optimizer and ``directions`` has none for the group, if a
            description of the decayed parameters needs ``decay_mask``, if a pattern is no regular
            expression, or if ``groups`` or ``directions`` names a group that the recipe lacks.
        """
        rates, own = self.parts.rates, dict(directions or {})
        build = functools.partial(self._of_group, own=own, decay_mask=decay_mask, matrices=matrices)
        for pair in groups:
            if not (len(pair) == 2 and all(isinstance(one, str) for one in pair)):
                raise ValueError(
                    f"{self.name}: {short_repr(pair)} of groups is not accepted; it must be a pair "
                    "of a regular expression and the name of a group."
                )
            try:
                re.compile(pair[0])
            except re.error as error:
                raise ValueError(
                    f"{self.name}: the pattern {pair[0]!r} is not accepted; {error}."
                ) from None
        for group, direction in own.items():
            BASE_OPTIMIZER.validate(self.name, f"the direction of {group}", direction)
        if unknown := [name for name in [*(g for _, g in groups), *own] if name not in rates]:
            raise ValueError(
                f"{self.name}: group {unknown[0]!r} is not accepted; it must be one of "
                f"{', '.join(rates)}."
            )
        if len(rates) == 1:
            optimizer = build(next(iter(rates)))
        else:
            if not groups:
                raise ValueError(
                    f"{self.name}: groups=() is not accepted; this recipe has the groups "
                    f"{', '.join(rates)}; pass pairs of a pattern and a group."
                )
            used = dict.fromkeys(group for _, group in groups)
            optimizer = optax.partition(
                {group: build(group) for group in used},
                functools.partial(_labels, self.name, tuple(groups)),
            )
        if self.parts.clip is not None:
            optimizer = optax.chain(optax.clip_by_global_norm(self.parts.clip), optimizer)
        return optax.with_extra_args_support(optimizer)

    def _of_group(
        self,
        group: str,
        own: Mapping[str, optax.GradientTransformation],
        decay_mask: object,
        matrices: MatrixAxes | None,
    ) -> optax.GradientTransformation:
        arguments = dict(self.parts.group_optimizers.get(group, self.parts.optimizer))
        name = str(arguments.pop("name"))
        if group not in own and name not in DIRECTIONS and name != SCHEDULE_FREE:
            raise ValueError(
                f"{self.name}: optax has no {name}, so that the optimizer of the group {group!r} "
                f"cannot be built; pass its direction by directions={{{group!r}: ...}}, or use the "
                "schedules alone."
            )
        values: dict[str, Any] = {
            key: self.parts.hyperparameters.get(value, value) if isinstance(value, str) else value
            for key, value in arguments.items()
        }
        if name == "muon" and matrices is not None:
            values["matrices"] = matrices
        if name == SCHEDULE_FREE:
            decay = self.parts.weight_decay or Decay(0.0)
            return schedule_free_adamw(
                self.parts.rates[group], weight_decay=float(decay.value), **values
            )
        direction = own[group] if group in own else inject_schedules(DIRECTIONS[name])(**values)
        decay = self.parts.group_decays.get(group, self.parts.weight_decay or Decay(0.0))
        if decay.value == 0:
            return with_weight_decay(direction, self.parts.rates[group], 0.0)
        if decay_mask is None and decay.parameters in _MASKS:
            decay_mask = _MASKS[decay.parameters]
        elif decay_mask is None:
            raise ValueError(
                f"{self.name}: decay_mask=None is not accepted; the recipe decays "
                f"{decay.parameters!r}, so decay_mask must say which parameters those are."
            )
        value = decay.value
        coefficient = self.parts.hyperparameters[value] if isinstance(value, str) else value
        return with_weight_decay(
            direction,
            self.parts.rates[group],
            coefficient,
            decay.coupling,
            cautious=decay.cautious,
            mask=decay_mask,
        )


def _plain(part: object) -> object:
    """Return a part of a recipe as JSON-serialisable values."""
    if isinstance(part, Mapping):
        return {key: _plain(value) for key, value in part.items()}
    if isinstance(part, Decay):
        return part._asdict()
    return to_dict(part) if isinstance(part, Schedule) else part


def _is_matrix(params: optax.Params) -> chex.ArrayTree:
    return jax.tree.map(lambda leaf: leaf.ndim >= 2, params)


def _is_kernel(params: optax.Params) -> chex.ArrayTree:
    return map_with_path(lambda path, _: path.endswith("kernel"), params)


_READERS: Final[Mapping[str, Callable[[Any], object]]] = {
    "rates": from_dict,
    "hyperparameters": from_dict,
    "group_decays": lambda data: Decay(**data),
}
"""Function from JSON values to each value of a part that is a mapping."""
_MASKS: Final = {DECAYS_ALL: None, DECAYS_MATRICES: _is_matrix, DECAYS_KERNELS: _is_kernel}


def _labels(name: str, groups: Sequence[tuple[str, str]], params: optax.Params) -> chex.ArrayTree:
    def label(path: str, leaf: object) -> str:
        del leaf
        for pattern, group in groups:
            if re.search(pattern, path):
                return group
        raise ValueError(f"{name}: no pattern of groups matches the parameter {path!r}; add one.")

    return map_with_path(label, params)


def _number(value: Number) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _arguments_text(scale: Mapping[str, Number]) -> str:
    return ", ".join(f"{key}={_number(value)}" for key, value in scale.items())


def _call(arguments: Arguments) -> str:
    shown = ", ".join(f"{key}={value}" for key, value in arguments.items() if key != "name")
    return f"{arguments['name']}({shown})"


def _decay_text(decay: Decay) -> str:
    cautious = ", cautious" if decay.cautious else ""
    return f"{decay.value} of {decay.parameters}, {decay.coupling}{cautious}"


def _short(schedule: Schedule) -> str:
    return shorten(repr(schedule))


RECIPES: Final[dict[str, Callable[..., Recipe]]] = {}
"""Every recipe by name."""
_FAMILIES: Final[dict[str, str]] = {}
"""The family of each recipe, beside `RECIPES`."""


def recipe(
    name: str,
    family: str,
    *,
    source: str,
    batch: str = "",
    free: Sequence[str] = (),
    missing: str = "",
    notes: str = "",
) -> Callable[[Callable[..., Parts]], Callable[..., Recipe]]:
    """Register a function of a scale that returns `Parts` as the recipe called ``name``.

    The function's arguments are the scale: integers are lengths of 1 or more, floats are finite and
    above 0, and both may be 0 where the default is 0, and for ``warmup`` and ``cooldown``. Every
    argument has the published value as its default.

    Args:
      name: Name in lower case, with hyphens.
      family: Kind of training.
      source: Where the numbers were read, with the version.
      batch: Batch size of the published run, as text.
      free: Arguments that the source leaves to the user, whose defaults are examples. The recipe
        says so while they are not set.
      missing: Values that the source leaves open. Empty if every number was read in it.
      notes: Properties that a reader would not expect.

    Returns:
      A decorator; the decorated function returns a `Recipe`.

    Raises:
      ValueError: If another recipe has the name, an argument has no number as its default, or
        ``free`` names no argument. The decorated function raises it if an argument is out of its
        range, the phases are longer than the run, or its parts do not fit together.

    Example:
      >>> import lrsched
      >>> from lrsched import recipes
      >>> @recipes.recipe("my-line", "examples", source="this docstring")
      ... def my_line(steps: int = 100, peak: float = 1e-3) -> recipes.Parts:
      ...     rate = lrsched.linear(peak, 0.0, steps=steps)
      ...     return recipes.Parts({"all": rate}, {"name": "adamw"})
      >>> my_line(steps=10).schedules["all"]
      linear(init=0.001, end=0.0, steps=10)
      >>> del recipes.RECIPES["my-line"]
    """
    texts = {"name": name, "family": family, "source": source}
    texts |= {"batch": batch, "missing": missing, "notes": notes}
    for label, text in texts.items():
        TEXT.validate("recipe", label, text)
    if not name or "/" in name or ":" in name:
        requirement = "a word without '/' and ':', which separate the parts of recipe:NAME/GROUP"
        raise not_accepted("recipe", "name", name, requirement)
    if not (isinstance(free, list | tuple) and all(isinstance(one, str) for one in free)):
        requirement = 'a list of names of arguments, as in ["steps"]'
        raise not_accepted("recipe", "free", free, requirement)

    def decorate(function: Callable[..., Parts]) -> Callable[..., Recipe]:
        signature = _check_function(name, function)
        for argument in free:
            if argument not in signature.parameters:
                raise ValueError(
                    f"recipe: free={argument!r} is not accepted for {name!r}; it must name one of "
                    f"its arguments, {', '.join(signature.parameters)}."
                )

        @functools.wraps(function)
        def create(*args: object, **kwargs: object) -> Recipe:
            bound = bind_arguments(name, signature, args, kwargs)
            for key, value in bound.arguments.items():
                default = signature.parameters[key].default
                bound.arguments[key] = _check_scale(name, key, value, default)
            try:
                parts = function(*bound.args, **bound.kwargs)
            except ValueError as error:
                raise ValueError(f"{name}: {_with_scale(str(error), bound.arguments)}") from None
            except Exception as error:
                raise ValueError(
                    f"{name}: its function raised {type(error).__name__}: {error}"
                ) from error
            check_parts(name, parts)
            scale = dict(bound.arguments)
            passed = signature.bind(*args, **kwargs).arguments
            examples = {key: scale[key] for key in free if key not in passed}
            all_missing = " ".join(filter(None, [missing, _open_arguments(examples)]))
            return Recipe(name, family, scale, parts, batch, source, all_missing, notes)

        create.__annotations__ = {**function.__annotations__, "return": Recipe}
        create.__signature__ = signature.replace(return_annotation=Recipe)  # type: ignore[attr-defined]
        RECIPES[name] = create
        _FAMILIES[name] = family
        return create

    return decorate


def _with_scale(error: str, scale: Mapping[str, Number]) -> str:
    """Return an error; one of a schedule, whose arguments are others, with those of the recipe."""
    is_of_schedule = re.match(r"[a-z_]+: ", error)
    return (
        f"{error.removesuffix('.')} (with {_arguments_text(scale)})." if is_of_schedule else error
    )


def _check_function(name: str, function: object) -> inspect.Signature:
    """Return the signature of a recipe's function, whose arguments must all have a number."""
    if name in RECIPES:
        raise ValueError(f"recipe: name={name!r} is not accepted; another recipe has it.")
    if not inspect.isfunction(function):
        raise ValueError(
            f"recipe: {short_repr(function)} is not accepted for {name!r}; @recipe(...) must be "
            "above a function."
        )
    signature = inspect.signature(function)
    for key, parameter in signature.parameters.items():
        default = parameter.default
        is_number = isinstance(default, int | float) and not isinstance(default, bool)
        if not is_number or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
            raise ValueError(
                f"recipe: the argument {key!r} of {name!r} is not accepted; every argument must "
                "have a number as its default, the published value, as in steps=1000."
            )
        _check_scale(name, key, default, default)
    return signature


def _open_arguments(examples: Mapping[str, Number]) -> str:
    """Return the sentence about arguments whose defaults are examples, or nothing."""
    if not examples:
        return ""
    verb = "is an example" if len(examples) == 1 else "are examples"
    values = [_number(value) for value in examples.values()]
    return f"The source leaves {_listed([*examples])} open, and {_listed(values)} {verb}."


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _check_scale(name: str, key: str, value: Any, default: Number) -> Number:
    """Return an argument of a recipe: a length as an int, any other number as it is."""
    takes_zero = default == 0 or key in ("warmup", "cooldown")
    if isinstance(default, int):
        kind = whole_number(0 if takes_zero else 1)
    else:
        kind = NON_NEGATIVE_NUMBER if takes_zero else POSITIVE_NUMBER
    return kind.validate(name, key, value)


def get(name: str) -> Callable[..., Recipe]:
    """Return the recipe called ``name``, as a function of its scale.

    Args:
      name: Name of a recipe, or the start of one name only, with or without the prefix "recipe:".
        Case, hyphens, underscores and dots do not count: "olmo-2-7b" is "olmo2-7b-stage1".

    Returns:
      A function whose arguments default to the published scale, and that returns a `Recipe`.

    Raises:
      ValueError: If there is no such recipe, or several names start so; the message names them.

    Example:
      >>> from lrsched import recipes
      >>> recipe = recipes.get("nanogpt-gpt2-124m")(steps=20_000, warmup=100)
      >>> recipe.schedules["all"].horizon
      19999
    """
    plain = str(name).removeprefix("recipe:")
    if plain in RECIPES:
        return RECIPES[plain]
    starting = [one for one in RECIPES if _bare(one).startswith(_bare(plain))] if plain else []
    exact = [one for one in starting if _bare(one) == _bare(plain)]
    if len(exact or starting) == 1:
        return RECIPES[(exact or starting)[0]]
    if starting:
        hint = f"it is the start of {len(starting)} names, {_listed(sorted(starting))}"
    elif near := difflib.get_close_matches(plain, RECIPES, n=3, cutoff=0.4):
        hint = f"similar names are {_listed(near)}"
    else:
        hint = "lrsched.recipes.names() lists all"
    raise ValueError(f"recipes.get: name={plain!r} is not accepted; {hint}.")


def _bare(name: str) -> str:
    return re.sub(r"[-_.]", "", name.lower())


def names() -> list[str]:
    """Return the names of all recipes, by family and then by name.

    Example:
      >>> from lrsched import recipes
      >>> recipes.names()[:2]
      ['dit-xl2', 'edm2-img512-xs']
    """
    return sorted(RECIPES, key=lambda name: (_FAMILIES[name], name))


def listing() -> list[dict[str, str]]:
    """Return one row for each recipe: family, name, arguments, summary, optimizer and source.

    Returns:
      A list of dicts with the keys "family", "name", "signature", "about", "optimizer" and
      "source", all of them strings, ordered by family and name.

    Example:
      >>> from lrsched import recipes
      >>> recipes.listing()[0]["signature"]
      '(peak=0.0001)'
    """
    return [_row(name) for name in names()]


def _row(name: str) -> dict[str, str]:
    create = RECIPES[name]
    example = create()
    return {
        "family": example.family,
        "name": name,
        "signature": f"({_arguments_text(example.scale)})",
        "about": (inspect.getdoc(create) or "").partition("\n")[0],
        "optimizer": _call(example.parts.optimizer),
        "source": example.source,
    }


def to_json(recipe: Recipe) -> str:
    """Return a recipe as indented JSON text.

    Args:
      recipe: Recipe at some scale.

    Returns:
      JSON text, which `Recipe.from_dict` reads after ``json.loads``.

    Example:
      >>> import json
      >>> from lrsched import recipes
      >>> json.loads(recipes.to_json(recipes.dit_xl2()))["parts"]["ema"]
      0.9999
    """
    return json.dumps(recipe.to_dict(), indent=2)
