"""Lists of schedules and transforms: family, name, signature and first sentence of each."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Final

import lrsched
from lrsched._schedule import REGISTRY, ScheduleDefinition, shown_signature
from lrsched.recipes import get

RECIPE: Final = "recipe:"
"""Prefix of the name of a recipe."""
_EMPTY: Final = inspect.Parameter.empty


def schedules() -> list[dict[str, str]]:
    """Return a row for each registered schedule, sorted by family, without ported ones."""
    rows = [
        _row(one.function.__module__, name, _signature_of(one), one.function)
        for name, one in REGISTRY.items()
        if not one.function.__module__.startswith("lrsched.compat.")
    ]
    return sorted(rows, key=lambda row: row["family"])


def _signature_of(definition: ScheduleDefinition) -> str:
    """Return the arguments of a schedule, with the types that `lrsched.arguments` names."""
    named = [
        parameter if definition.argument_types[name] else parameter.replace(annotation=_EMPTY)
        for name, parameter in shown_signature(definition).parameters.items()
    ]
    return str(inspect.Signature(named))


def arguments_of(name: str) -> str:
    """Return the arguments of a schedule or a recipe, for ``lrsched show NAME --help``.

    Args:
      name: Name of a schedule, or "recipe:NAME". Anything else, such as an expression, has no
        arguments.

    Returns:
      The signature, the summary and the description of the arguments, or an empty text.
    """
    if name.startswith(RECIPE):
        function: Callable[..., object] = get(name.partition("/")[0])
        signature = str(inspect.signature(function)).rpartition(" -> ")[0]
    elif name in REGISTRY:
        function, signature = REGISTRY[name].function, _signature_of(REGISTRY[name])
    else:
        return ""
    about = inspect.getdoc(function) or ""
    described = re.search(r"^Args:\n(?:.+\n)+", about, re.M)
    summary = about.partition("\n")[0]
    return "\n".join(filter(None, [f"{name}{signature}", summary, described and described[0]]))


def transforms() -> list[dict[str, str]]:
    """Return a row for each public transform of `lrsched.adaptive`, sorted by family."""
    rows = []
    for name in lrsched.__all__:
        thing = getattr(lrsched, name)
        module = getattr(thing, "__module__", "")
        if inspect.isfunction(thing) and module.startswith("lrsched.adaptive."):
            signature = inspect.signature(thing)
            if "GradientTransformation" in str(signature.return_annotation):
                shown = signature.replace(return_annotation=_EMPTY)
                rows.append(_row(module, name, _without_annotations(shown), thing))
    return sorted(rows, key=lambda row: row["family"])


def _without_annotations(signature: inspect.Signature) -> str:
    plain = [one.replace(annotation=_EMPTY) for one in signature.parameters.values()]
    return re.sub(r"<function (\w+) at \w+>", r"\1", str(signature.replace(parameters=plain)))


def _row(module: str, name: str, signature: str, thing: object) -> dict[str, str]:
    about = (inspect.getdoc(thing) or "").partition("\n")[0]
    family = module.rpartition(".")[2].replace("_", " ")
    return {"family": family, "name": name, "signature": signature, "about": about}
